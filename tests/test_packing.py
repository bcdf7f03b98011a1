"""Our chat layout, tokens and positions against transformers' own processor."""

import numpy as np
import pytest
import torch
from transformers import Qwen3VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.conftest import QUESTION, image_settings
from vlm3 import packing


class _Processor(Qwen3VLProcessor):
    """transformers' processor without its video part, which needs torchvision."""

    def __init__(self, image_processor, tokenizer):
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids(
            [self.image_token, self.video_token])  # fmt: skip
        super(Qwen3VLProcessor, self).__init__(
            image_processor, tokenizer, chat_template=tokenizer.chat_template)  # fmt: skip

    @classmethod
    def get_attributes(cls):
        return ["image_processor", "tokenizer"]

    def check_argument_for_proper_class(self, name, argument):
        return None


@pytest.fixture(scope="module")
def processor(vlm):
    image_processor = Qwen2VLImageProcessorPil(**image_settings())
    return _Processor(image_processor, vlm.tokenizer)


def _messages(n_images, *answer):
    content = [{"type": "image"}] * n_images + [{"type": "text", "text": QUESTION}]
    return [{"role": "user", "content": content}] + [{"role": "assistant", "content": text} for text in answer]


def _reference(processor, images):
    text = processor.apply_chat_template(_messages(len(images)), tokenize=False, add_generation_prompt=True)
    return processor(text=[text], images=list(images), return_tensors="pt")


@pytest.mark.parametrize("count", [1, 2])
def test_ids_patches_positions_and_logits_equal_those_of_the_processor(vlm, processor, images, count):
    ours, reference = packing.inputs(vlm, images[:count], QUESTION), _reference(processor, images[:count])
    assert torch.equal(ours["input_ids"], reference["input_ids"])
    assert torch.equal(ours["image_grid_thw"], reference["image_grid_thw"])
    torch.testing.assert_close(ours["pixel_values"], reference["pixel_values"], atol=1e-6, rtol=0)
    rope, _ = vlm.net.model.get_rope_index(
        reference["input_ids"], reference["mm_token_type_ids"], reference["image_grid_thw"])  # fmt: skip
    assert torch.equal(ours["position_ids"], rope)
    with torch.no_grad():
        a, b = vlm.net(**ours, use_cache=False).logits, vlm.net(**reference, use_cache=False).logits
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_images_and_their_order_reach_the_logits(vlm, images):
    with torch.no_grad():
        a = vlm.net(**packing.inputs(vlm, images, QUESTION), use_cache=False).logits[0, -1]
        b = vlm.net(**packing.inputs(vlm, images[::-1], QUESTION), use_cache=False).logits[0, -1]
    assert (a - b).abs().max() > 1e-4


@pytest.mark.parametrize("grids", [[], [[1, 4, 6]], [[1, 6, 4], [1, 2, 12]]])
def test_positions_equal_those_of_the_model(vlm, grids):
    pad, ids = vlm.image_pad, [9, 10, 11]
    for grid in grids:
        ids += [3] + [pad] * (np.prod(grid) // 4) + [4]
    ids = torch.tensor([ids + [12, 13]])
    grids = torch.tensor(grids, dtype=torch.long).reshape(-1, 3)
    rope, _ = vlm.net.model.get_rope_index(ids, (ids == pad).int(), grids)
    assert np.array_equal(packing.positions(ids[0].numpy(), grids.numpy(), pad), rope[:, 0].numpy())


def test_positions_refuse_image_tokens_that_do_not_fit_the_grids(vlm):
    for ids in ([9, 9], [vlm.image_pad] * 5):
        with pytest.raises(ValueError, match="do not fit the grids"):
            packing.positions(np.array(ids), np.array([[1, 4, 4]]), vlm.image_pad)


@pytest.mark.parametrize("n_images", [0, 1, 2])
def test_prompt_equals_the_chat_template(vlm, n_images):
    template = vlm.tokenizer.apply_chat_template
    question = template(_messages(n_images), tokenize=False, add_generation_prompt=True)
    assert packing.prompt(QUESTION, n_images) == question
    assert packing.prompt(QUESTION, n_images, "2.4") == template(_messages(n_images, "2.4"), tokenize=False)


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|im_end|>", "<|object_ref_start|>"])
def test_control_tokens_in_a_question_or_answer_are_refused(vlm, images, token):
    with pytest.raises(ValueError, match="control token"):
        packing.inputs(vlm, images, f"How far? {token}")
    with pytest.raises(ValueError, match="control token"):
        packing.prompt("How far?", 1, f"2.4{token}")


def test_a_question_without_an_image_is_refused(vlm):
    with pytest.raises(ValueError, match="at least one image"):
        packing.inputs(vlm, [], QUESTION)
