"""Answers of many questions at once against asking each alone, token by token, without any cache."""

import numpy as np
import pytest
import torch

from tests.conftest import QUESTION
from vlm3 import attention, packing
from vlm3.answer import answer, answer_all
from vlm3.geometry import Camera
from vlm3.views import QA, Sample, View

QUESTIONS = (QUESTION, "How far?", "Is the object in box (1, 2, 30, 400) bigger? Yes or no.", QUESTION, "7")


@pytest.fixture(scope="module")
def talkative(vlm):
    """The small network with weights so large that it does not say the same thing to everything."""
    before = {name: weight.clone() for name, weight in vlm.net.state_dict().items()}
    with torch.no_grad():
        for weight in vlm.net.model.language_model.layers.parameters():
            weight.mul_(4)
    yield vlm
    vlm.net.load_state_dict(before)


def view(image):
    height, width = image.shape[:2]
    return View(image, Camera(100.0, 100.0, width / 2, height / 2, width, height))


def sample(images, questions=QUESTIONS):
    return Sample(tuple(map(view, images)), tuple(QA(q, "", None) for q in questions), "depth", "test")


@torch.no_grad()
def alone(vlm, images, question, longest):
    """What transformers' own network says, one question and one token at a time."""
    inputs, said = packing.inputs(vlm, images, question), []
    for _ in range(longest):
        scores = vlm.net(**inputs, use_cache=False).logits[0, -1].log_softmax(-1)
        said.append((scores.argmax().item(), scores.max().item()))
        if said[-1][0] == vlm.tokenizer.eos_token_id:
            break
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([[said[-1][0]]])], 1)
        last = inputs["position_ids"][..., -1:]
        inputs["position_ids"] = torch.cat([inputs["position_ids"], last + 1], 2)
    tokens, logprobs = zip(*said, strict=True)
    return vlm.tokenizer.decode([t for t in tokens if t != vlm.tokenizer.eos_token_id]), logprobs


@pytest.mark.parametrize("count", [1, 2])
def test_answers_together_are_those_of_each_question_alone(talkative, images, count):
    found = answer(talkative, [view(image) for image in images[:count]], QUESTIONS, longest=6)
    assert len({a.text for a in found}) > 2
    for question, (text, logprobs, _) in zip(QUESTIONS, found, strict=True):
        expected, scores = alone(talkative, images[:count], question, 6)
        assert text == expected
        np.testing.assert_allclose(logprobs, scores, atol=1e-4)


def test_samples_answered_side_by_side_do_not_see_each_other(talkative, images):
    samples = [sample(images[:1]), sample(images), sample(images[1:], QUESTIONS[:2])]
    together = answer_all(talkative, samples, longest=5)
    for each, found in zip(samples, together, strict=True):
        (expected,) = answer_all(talkative, [each], longest=5)
        assert [a.text for a in found] == [a.text for a in expected]


def test_an_image_answered_before_leaves_nothing_behind(talkative, images):
    fresh = answer(talkative, [view(images[0])], QUESTIONS, longest=4)
    answer(talkative, [view(images[1])], QUESTIONS, longest=4)
    again = answer(talkative, [view(images[0])], QUESTIONS, longest=4)
    assert fresh == again


def test_no_question_gives_no_answer_and_others_are_answered_all_the_same(vlm, images):
    assert answer(vlm, [view(images[0])], []) == []
    found = answer_all(vlm, [sample(images[:1], ()), sample(images[:1], QUESTIONS[:2])], longest=2)
    assert [len(answers) for answers in found] == [0, 2]


def test_the_network_attends_as_before_once_it_has_answered(vlm, images):
    before = vlm.net.config.text_config._attn_implementation
    answer(vlm, [view(images[0])], QUESTIONS[:1], longest=1)
    assert vlm.net.config.text_config._attn_implementation == before != attention.NAME


def test_an_answer_ends_with_its_turn_or_after_the_longest(talkative, images):
    for a in answer(talkative, [view(images[0])], QUESTIONS, longest=3):
        assert 1 <= len(a.logprobs) <= 3
        assert max(a.logprobs) <= 0
