"""Our chat layout, tokens and positions against transformers' own processor; packed questions
against lone ones."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import Qwen3VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.conftest import QUESTION, SMALL, image_settings
from vlm3 import tasks
from vlm3.geometry import Camera
from vlm3.mixture import Mixture, Source
from vlm3.qwen import attention, batching, model, packing
from vlm3.qwen.packing import SHARED, UNSUPERVISED, Packed
from vlm3.views import QA, Sample, View


class _Processor(Qwen3VLProcessor):
    """transformers' processor without its video part, which needs torchvision."""

    def __init__(self, image_processor, tokenizer):
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids(
            [self.image_token, self.video_token]
        )
        super(Qwen3VLProcessor, self).__init__(
            image_processor, tokenizer, chat_template=tokenizer.chat_template
        )

    @classmethod
    def get_attributes(cls):
        return ["image_processor", "tokenizer"]

    def check_argument_for_proper_class(self, name, argument):
        return None


@pytest.fixture(scope="module")
def processor(vlm):
    image_processor = Qwen2VLImageProcessorPil(**image_settings())
    return _Processor(image_processor, vlm.tokenizer)


QAS = (  # of unlike lengths, the third like the first
    QA("", (), "How far is pixel (812, 1033)?", "2.41"),
    QA("", (), "How far is pixel (7, 1033), in metres along the optical axis?", "13.0 metres"),
    QA("", (), "How far is pixel (812, 1033)?", "2.41"),
    QA("", (), "Which way is up?"),
)


def _sample(images: list[np.ndarray], *qas: QA) -> Sample:
    return Sample(tuple(View(image, None) for image in images), qas, "depth", "here")


def _logits(vlm, batch: batching.Batch, masked: bool = False) -> torch.Tensor:
    """(R, V) of the supervised rows, by the attention over trees or by torch's with a mask."""
    attention.use(vlm.net, not masked)
    try:
        return vlm.net(**batch.inputs(masked), use_cache=False).logits
    finally:
        attention.use(vlm.net, False)


def _answered(processor, images: list[np.ndarray], *qas: QA) -> dict[str, torch.Tensor]:
    """A conversation about the images, as transformers lays it out."""
    turns = []
    for qa in qas:
        pictures = [{"type": "image"}] * (0 if turns else len(images))
        turns.append(
            {"role": "user", "content": [*pictures, {"type": "text", "text": qa.question}]}
        )
        turns.append({"role": "assistant", "content": qa.answer})
    chat = processor.apply_chat_template(turns, tokenize=False)
    return processor(text=[chat], images=list(images), return_tensors="pt")


@torch.no_grad()
def _alone(vlm, processor, images: list[np.ndarray], qa: QA) -> torch.Tensor:
    """(R, V) logits of one question's answer and the end of its turn, by transformers' own path
    from end to end."""
    answer = len(vlm.tokenizer(qa.answer, add_special_tokens=False)["input_ids"]) + 1
    logits = vlm.net(**_answered(processor, images, qa), use_cache=False).logits[0]
    return logits[-2 - answer : -2]  # the line break comes last, and nothing is predicted from it


def _messages(n_images, *answer):
    content = [{"type": "image"}] * n_images + [{"type": "text", "text": QUESTION}]
    return [{"role": "user", "content": content}] + [
        {"role": "assistant", "content": text} for text in answer
    ]


def _reference(processor, images):
    text = processor.apply_chat_template(
        _messages(len(images)), tokenize=False, add_generation_prompt=True
    )
    return processor(text=[text], images=list(images), return_tensors="pt")


@pytest.mark.parametrize("count", [1, 2])
def test_ids_patches_positions_and_logits_equal_those_of_the_processor(
    vlm, processor, images, count
):
    ours, reference = (
        batching.inputs(vlm, images[:count], QUESTION),
        _reference(processor, images[:count]),
    )
    assert torch.equal(ours["input_ids"], reference["input_ids"])
    assert torch.equal(ours["image_grid_thw"], reference["image_grid_thw"])
    torch.testing.assert_close(ours["pixel_values"], reference["pixel_values"], atol=1e-6, rtol=0)
    rope, _ = vlm.net.model.get_rope_index(
        reference["input_ids"], reference["mm_token_type_ids"], reference["image_grid_thw"]
    )
    assert torch.equal(ours["position_ids"], rope)
    with torch.no_grad():
        a, b = vlm.net(**ours, use_cache=False).logits, vlm.net(**reference, use_cache=False).logits
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_images_and_their_order_reach_the_logits(vlm, images):
    with torch.no_grad():
        a = vlm.net(**batching.inputs(vlm, images, QUESTION), use_cache=False).logits[0, -1]
        b = vlm.net(**batching.inputs(vlm, images[::-1], QUESTION), use_cache=False).logits[0, -1]
    assert (a - b).abs().max() > 1e-4


@pytest.fixture(scope="module", params=[1, 2])
def merging(request):
    """Networks whose tokens stand for one patch, and for 2 x 2."""
    vision = SMALL["vision"] | {"spatial_merge_size": request.param}
    return model.new(model.config("tiny", text=SMALL["text"], vision=vision), seed=1)


def test_patches_come_in_the_order_in_which_the_model_merges_them(merging, images):
    settings = image_settings() | {"merge_size": merging.merge}
    processor = Qwen2VLImageProcessorPil(**settings)
    theirs = processor(images=images, return_tensors="pt")["pixel_values"]
    ours = batching.inputs(merging, images, QUESTION)
    torch.testing.assert_close(ours["pixel_values"], theirs, atol=1e-6, rtol=0)
    assert (ours["input_ids"] == merging.image_pad).sum() == len(theirs) / merging.merge**2


def test_a_packed_sample_has_the_logits_of_its_question_alone_however_patches_merge(
    merging, images
):
    packed = packing.pack(
        _sample(images, QA("", (), QUESTION, "3.5")),
        merging.tokenizer,
        "isolated",
        "token",
        merging.merge,
    )
    with torch.no_grad():
        alone = merging.net(**batching.inputs(merging, images, QUESTION), use_cache=False)
        together = _logits(merging, batching.collate([packed]))
    torch.testing.assert_close(together[0], alone.logits[0, -1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("grids", [[], [[1, 4, 6]], [[1, 6, 4], [1, 2, 12]]])
def test_positions_equal_those_of_the_model(merging, grids):
    vlm, pad, ids = merging, merging.image_pad, [9, 10, 11]
    for grid in grids:
        ids += [3] + [pad] * (np.prod(grid) // vlm.merge**2) + [4]
    ids = torch.tensor([ids + [12, 13]])
    grids = torch.tensor(grids, dtype=torch.long).reshape(-1, 3)
    rope, _ = vlm.net.model.get_rope_index(ids, (ids == pad).int(), grids)
    assert np.array_equal(
        packing.positions(ids[0].numpy(), grids.numpy(), pad, vlm.merge), rope[:, 0].numpy()
    )


def test_positions_refuse_image_tokens_that_do_not_fit_the_grids(vlm):
    for ids in ([9, 9], [vlm.image_pad] * 5):
        with pytest.raises(ValueError, match="do not fit the grids"):
            packing.positions(np.array(ids), np.array([[1, 4, 4]]), vlm.image_pad)


@pytest.mark.parametrize("n_images", [0, 1, 2])
def test_prompt_equals_the_chat_template(vlm, n_images):
    template = vlm.tokenizer.apply_chat_template
    question = template(_messages(n_images), tokenize=False, add_generation_prompt=True)
    assert packing.prompt(QUESTION, n_images) == question
    assert packing.prompt(QUESTION, n_images, "2.4") == template(
        _messages(n_images, "2.4"), tokenize=False
    )


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|im_end|>", "<|object_ref_start|>"])
def test_control_tokens_in_a_question_or_answer_are_refused(vlm, images, token):
    with pytest.raises(ValueError, match="control token"):
        batching.inputs(vlm, images, f"How far? {token}")
    with pytest.raises(ValueError, match="control token"):
        packing.prompt("How far?", 1, f"2.4{token}")


def test_a_question_without_an_image_is_refused(vlm):
    with pytest.raises(ValueError, match="at least one image"):
        batching.inputs(vlm, [], QUESTION)


# Isolated packing


@pytest.mark.parametrize("masked", [False, True], ids=["tree", "mask"])
@pytest.mark.parametrize("count", [1, 2])
@torch.no_grad()
def test_packed_questions_have_the_logits_of_questions_asked_alone(
    vlm, processor, images, count, masked
):
    batch = batching.collate([packing.pack(_sample(images[:count], *QAS), vlm.tokenizer)])
    expected = torch.cat([_alone(vlm, processor, images[:count], qa) for qa in QAS])
    found = _logits(vlm, batch, masked)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("masked", [False, True], ids=["tree", "mask"])
@torch.no_grad()
def test_samples_of_a_batch_do_not_see_each_other(vlm, images, masked):
    several = [_sample(images, *QAS), _sample(images[1:], QAS[1]), _sample(images[:1], *QAS[:2])]
    packs = [packing.pack(sample, vlm.tokenizer) for sample in several]
    packs.append(packing.pack(several[0], vlm.tokenizer, "chat"))
    together = _logits(vlm, batching.collate(packs), masked)
    alone = torch.cat([_logits(vlm, batching.collate([packed]), masked) for packed in packs])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_the_tree_has_the_gradients_of_the_mask(vlm, images):
    batch = batching.collate(
        [packing.pack(_sample(images[:n], *QAS), vlm.tokenizer) for n in (1, 2)]
    )

    def gradients(masked: bool) -> tuple[torch.Tensor, ...]:
        rows = batch.supervised
        losses = cross_entropy(_logits(vlm, batch, masked), batch.targets[rows], reduction="none")
        return torch.autograd.grad((losses * batch.weights[rows]).sum(), list(vlm.net.parameters()))

    assert max(gradient.abs().max() for gradient in gradients(masked=True)) > 0.1
    for ours, expected in zip(gradients(masked=False), gradients(masked=True), strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_ids_and_positions_of_a_branch_are_those_of_its_question_alone(vlm, images, count):
    packed = packing.pack(_sample(images[:count], *QAS), vlm.tokenizer)
    for number, qa in enumerate(QAS, 1):
        rows = (packed.branches == SHARED) | (packed.branches == number)
        alone = batching.inputs(vlm, images[:count], qa.question)
        asked = alone["input_ids"].shape[1]
        assert packed.ids[rows][:asked].tolist() == alone["input_ids"][0].tolist()
        assert vlm.tokenizer.decode(packed.ids[rows][asked:]) == f"{qa.answer}<|im_end|>\n"
        where = packed.positions[:, rows]
        assert where[:, :asked].tolist() == alone["position_ids"][:, 0].tolist()
        assert (np.diff(where[:, asked - 1 :]) == 1).all()


def test_what_all_questions_begin_with_is_there_once(vlm, images):
    lone = packing.pack(_sample(images, QAS[0]), vlm.tokenizer)
    asked = batching.inputs(vlm, images, QAS[0].question)["input_ids"].shape[1]
    assert (
        lone.branches == SHARED
    ).sum() == asked - 1  # the last is kept, to predict the answer from
    twice = packing.pack(_sample(images, QAS[0], QAS[0]), vlm.tokenizer)
    assert len(twice) == 2 * len(lone) - (asked - 1)
    assert (twice.branches == SHARED).sum() == asked - 1


def test_the_note_of_a_task_is_shared(vlm):
    stream = Mixture({"pairs": Source([_deep_view()], "depth", 8)})
    packed = packing.pack(stream[0], vlm.tokenizer)
    templates = tasks.get("depth").templates
    shared = vlm.tokenizer.decode(packed.ids[packed.branches == SHARED])
    assert len(stream[0].qas) == packed.branches.max() == 8
    assert shared.startswith("<|im_start|>user\n<|vision_start|><|image_pad|>")
    assert templates["note"].format(scale=templates["scale"]) in shared


def _deep_view() -> View:
    camera = Camera(1000, 1000, 16, 16, 32, 32)
    return View(np.zeros((32, 32, 3), np.uint8), camera, np.full((32, 32), 2, np.float32))


def test_a_sample_to_be_answered_ends_each_branch_where_its_answer_will_begin(vlm, images):
    sample = _sample(images, *QAS)
    asked, packed = (
        packing.pack_questions(sample, vlm.tokenizer),
        packing.pack(sample, vlm.tokenizer),
    )
    assert (asked.targets == UNSUPERVISED).all()
    for number, qa in enumerate(QAS, 1):
        lone = batching.inputs(vlm, images, qa.question)["input_ids"][0]
        assert (
            asked.ids[(asked.branches == SHARED) | (asked.branches == number)].tolist()
            == lone.tolist()
        )
        mine = asked.branches == number
        before = packed.positions[:, packed.branches == number][:, : mine.sum()]
        assert asked.positions[:, mine].tolist() == before.tolist()


@pytest.mark.parametrize(
    "questions",
    [
        ("Count from 0. How far is (1, 2)?", "Count from 0. What is at (3, 4)?"),
        ("Count from 0. how far?", "Count from 0. how deep?"),  # no sentence begins here
        ("Far?", "Deep?"),
        ("It is 2. Far", "It is 2. Far"),
    ],
)
def test_tokens_are_those_of_whole_questions_however_much_is_read_once(vlm, images, questions):
    qas = [QA("", (), question, "1.5") for question in questions]
    packed = packing.pack(_sample(images[:1], *qas), vlm.tokenizer)
    for number, question in enumerate(questions, 1):
        rows = (packed.branches == SHARED) | (packed.branches == number)
        whole = batching.inputs(vlm, images[:1], question)["input_ids"][0].tolist()
        assert packed.ids[rows][: len(whole)].tolist() == whole


# Chats


def test_a_chat_is_laid_out_as_transformers_does_it(vlm, processor, images):
    packed = packing.pack(_sample(images, *QAS), vlm.tokenizer, "chat")
    reference = _answered(processor, images, *QAS)
    assert packed.ids.tolist() == reference["input_ids"][0].tolist()
    rope, _ = vlm.net.model.get_rope_index(
        reference["input_ids"], reference["mm_token_type_ids"], reference["image_grid_thw"]
    )
    assert packed.positions.tolist() == rope[:, 0].tolist()
    with torch.no_grad():
        ours = _logits(vlm, batching.collate([packed]))
        expected = vlm.net(**reference, use_cache=False).logits[0, packed.targets != UNSUPERVISED]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_only_in_a_chat_does_an_answer_see_earlier_ones(vlm, images):
    @torch.no_grad()
    def last(layout: str, answer: str) -> torch.Tensor:
        sample = _sample(images[:1], QAS[0]._replace(answer=answer), QAS[1])
        return _logits(vlm, batching.collate([packing.pack(sample, vlm.tokenizer, layout)]))[-4:]

    torch.testing.assert_close(
        last("isolated", "2.41"), last("isolated", "9.87"), atol=1e-6, rtol=0
    )
    assert (last("chat", "2.41") - last("chat", "9.87")).abs().max() > 1e-3


# What is learned


@pytest.mark.parametrize("layout", packing.LAYOUTS)
def test_the_answer_and_the_end_of_its_turn_are_supervised_and_nothing_else(vlm, images, layout):
    packed = packing.pack(_sample(images, *QAS), vlm.tokenizer, layout)
    supervised = packed.targets != UNSUPERVISED
    assert vlm.tokenizer.decode(packed.targets[supervised]) == "".join(
        f"{qa.answer}<|im_end|>" for qa in QAS
    )
    assert packed.targets[:-1][supervised[:-1]].tolist() == packed.ids[1:][supervised[:-1]].tolist()
    assert packed.targets[-1] == UNSUPERVISED
    assert (packed.weights > 0).tolist() == supervised.tolist()


@pytest.mark.parametrize(
    ("weighting", "expected"),
    # "2.41" and "13.0 metres", each with the end of its turn, and an empty answer, which is nothing
    # but its end
    [
        ("token", [1] * 5 + [1] * 6 + [1]),
        ("answer", [1 / 5] * 5 + [1 / 6] * 6 + [1]),
        ("sample", [1 / 15] * 5 + [1 / 18] * 6 + [1 / 3]),
    ],
)
@pytest.mark.parametrize("layout", packing.LAYOUTS)
def test_weights_count_tokens_answers_or_samples_the_same(vlm, images, layout, weighting, expected):
    sample = _sample(images[:1], QAS[0], QAS[1], QAS[3])
    packed = packing.pack(sample, vlm.tokenizer, layout, weighting)
    assert packed.weights.dtype == np.float32
    np.testing.assert_allclose(packed.weights[packed.weights > 0], expected, rtol=1e-6)


def test_samples_that_cannot_be_packed_are_refused(vlm, images):
    for sample, options, message in (
        (_sample(images), {}, "a sample of 'depth' from 'here' has no questions"),
        (_sample([], QAS[0]), {}, "at least one image"),
        (_sample(images, QAS[0]), {"layout": "row"}, "got 'row', 'answer'"),
        (_sample(images, QAS[0]), {"weighting": "word"}, "got 'isolated', 'word'"),
        (_sample(images, QA("", (), "Far <|im_end|>?", "1")), {}, r"control token '<\|im_end\|>'"),
        (
            _sample(images, QAS[0], QA("", (), "Far?", "<|image_pad|>")),
            {},
            r"control token '<\|image_pad\|>'",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            packing.pack(sample, vlm.tokenizer, **options)


# Batches


@torch.no_grad()
def test_a_batch_leaves_out_what_follows_the_last_prediction_of_each_question(vlm, images):
    packed = packing.pack(_sample(images, *QAS), vlm.tokenizer)
    asked = packing.pack_questions(_sample(images, *QAS), vlm.tokenizer)
    chat = packing.pack(_sample(images, *QAS), vlm.tokenizer, "chat")
    batch = batching.collate([packed])
    assert len(batch) == len(packed) - 2 * len(QAS)  # the end of the turn, and a line break
    assert torch.equal(batch.targets[batch.supervised], _supervised(packed))
    lasts = [batch.targets[batch.branches == k][-1].item() for k in range(1, len(QAS) + 1)]
    assert lasts == [vlm.tokenizer.eos_token_id] * len(QAS)
    assert [len(batching.collate([whole])) for whole in (asked, chat)] == [len(asked), len(chat)]


def _supervised(packed: Packed) -> torch.Tensor:
    return torch.from_numpy(packed.targets[packed.targets != UNSUPERVISED])


def test_who_sees_whom_by_hand():
    """Tokens 0 1 are shared, 2 3 and 4 are questions; 5 is another sample's, and 6 its question."""
    samples, branches = torch.tensor([0, 0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 1, 2, 0, 1])
    seen = [np.flatnonzero(row).tolist() for row in batching.visible(samples, branches)[0, 0]]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [5], [5, 6]]


def _packed(shared: int, *lengths: int, source: str = "") -> Packed:
    branches = np.repeat(np.arange(len(lengths) + 1), [shared, *lengths])
    zeros = np.zeros_like(branches)
    return Packed(
        zeros,
        np.stack([zeros] * 3),
        branches,
        zeros,
        zeros.astype(np.float32),
        (np.zeros((32, 32, 3), np.uint8),),
        np.array([[1, 2, 2]]),
        "depth",
        source,
    )


def test_batches_hold_all_samples_in_their_order_and_no_more_tokens_than_asked_for():
    packs = [_packed(3 + k % 4, *[1 + k % 5] * (1 + k % 3), source=str(k)) for k in range(40)]
    found = list(batching.batches(packs, 50))
    assert len(found) > 5
    assert all(len(batch) <= 50 for batch in found)
    assert [name for batch in found for name in batch.sources] == [p.source for p in packs]
    assert all(
        len(a) + len(packs[int(b.sources[0])]) > 50 for a, b in pairwise(found)
    )  # full before the next begins
    assert all(batch.grids.tolist() == [[1, 2, 2]] * len(batch.sources) for batch in found)


def test_a_sample_longer_than_the_budget_is_alone_in_its_batch():
    packs = [_packed(3, 2, source="a"), _packed(30, 9, source="long"), _packed(4, 2, source="b")]
    found = batching.batches(packs, 20)
    assert [(batch.sources, len(batch)) for batch in found] == [
        (("a",), 5),
        (("long",), 39),
        (("b",), 6),
    ]


def test_batches_ask_for_no_more_samples_than_they_hold():
    asked = []
    packs = (asked.append(k) or _packed(3, 2) for k in range(100))
    next(batching.batches(packs, 20))  # four samples of five tokens, and the one that is too many
    assert asked == [0, 1, 2, 3, 4]


def test_no_samples_make_no_batches():
    assert list(batching.batches([], 20)) == []


def test_images_wait_as_bytes_and_are_cut_into_patches_when_the_network_asks(vlm, images):
    batch = batching.collate([packing.pack(_sample(images, *QAS), vlm.tokenizer)])
    assert (batch.pixels.dtype, batch.pixels.numel()) == (torch.uint8, sum(i.size for i in images))
    rows = batch.inputs()["pixel_values"]
    assert rows.dtype == torch.float32
    assert torch.equal(rows, batching.inputs(vlm, images, QUESTION)["pixel_values"])


def test_a_batch_moves_whole(vlm, images):
    batch = batching.collate([packing.pack(_sample(images, *QAS), vlm.tokenizer)])
    moved = batch.to("meta")
    tensors = [part for part in vars(moved).values() if isinstance(part, torch.Tensor)]
    tensors += [*moved.tree.stems, *moved.tree.twigs, moved.tree.back]
    assert len(tensors) == 11
    stays = [tensor for tensor in tensors if tensor.device.type != "meta"]
    assert len(stays) == 1
    assert stays[0] is moved.grids
    assert (moved.tasks, moved.sources, len(moved)) == (("depth",), ("here",), len(batch))


def test_all_of_a_batch_is_pinned(vlm, images, monkeypatch):
    pinned = []
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda tensor, *_: pinned.append(tensor) or tensor.clone()
    )
    batch = batching.collate([packing.pack(_sample(images, *QAS), vlm.tokenizer)])
    found = batch.pin_memory()
    assert len(pinned) == 10
    assert torch.equal(found.ids, batch.ids)
    assert torch.equal(found.tree.back, batch.tree.back)
