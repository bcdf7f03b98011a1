"""Many questions answered at once against asking each alone, token by token, without any cache."""

from collections import Counter

import numpy as np
import pytest
import torch

from tests.conftest import QUESTION
from tests.training import NETWORK
from vlm3.geometry import Camera
from vlm3.qwen import attention, batching, model
from vlm3.qwen.decode import answer, greedy, likely
from vlm3.views import QA, Sample, View

QUESTIONS = (
    QUESTION,
    "How far?",
    "Is the object in box (1, 2, 30, 400) bigger? Yes or no.",
    QUESTION,
    "7",
)


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
    return Sample(
        tuple(map(view, images)), tuple(QA("", (), q) for q in questions), "depth", "test"
    )


@torch.no_grad()
def alone(vlm, images, question, longest):
    """What transformers' own network says, one question and one token at a time."""
    inputs, said = batching.inputs(vlm, images, question), []
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
    for question, (text, logprobs) in zip(QUESTIONS, found, strict=True):
        expected, scores = alone(talkative, images[:count], question, 6)
        assert text == expected
        np.testing.assert_allclose(logprobs, scores, atol=1e-4)


def test_samples_answered_side_by_side_do_not_see_each_other(talkative, images):
    samples = [sample(images[:1]), sample(images), sample(images[1:], QUESTIONS[:2])]
    together = greedy(talkative, samples, longest=5)
    for each, found in zip(samples, together, strict=True):
        (expected,) = greedy(talkative, [each], longest=5)
        assert [a.text for a in found] == [a.text for a in expected]


WORDS = (
    "How",
    "far is it,",
    "metres",
    "from",
    "pixel (81, 7)",
    "to box",
    "1 2 30 400",
    "left",
    "right",
    "turned?",
)
WORDY = 6  # tokens of an answer


@pytest.fixture(scope="module")
def decided():
    """A network of two small layers that is sure of its words and may end an answer after any of
    them."""
    vlm = model.new(model.config("tiny", **NETWORK), seed=1)
    language = vlm.net.model.language_model
    with torch.no_grad():
        for weight in language.layers.parameters():
            weight.mul_(4)
        language.norm.weight.mul_(60)
        language.embed_tokens.weight[vlm.tokenizer.eos_token_id] *= 3
        language.embed_tokens.weight[vlm.image_pad] = (
            0  # an answer with an image's token cannot be read back
        )
    return vlm


def cases(count, questions=10):
    """Samples of one image and of two, in turns, of many sizes, each with questions of one word to
    sixty."""
    rng, found = np.random.default_rng(0), []
    for number in range(count):
        sizes = 32 * rng.integers(1, 4, (1 + number % 2, 2))
        asked = [" ".join(rng.choice(WORDS, rng.integers(1, 60))) for _ in range(questions)]
        found.append(sample([rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes], asked))
    return found


@torch.no_grad()
def plain(vlm, images, rows):
    """Logarithms of probabilities (N, L, V) after each token of N rows: transformers' own forward
    pass, each row a question of its own with its own images and what was said so far; short rows
    are filled up at the end."""
    asked = [batching.inputs(vlm, images, question) for question, _ in rows]
    said = [torch.tensor(tokens, dtype=torch.long) for _, tokens in rows]
    ids = [
        torch.cat([inputs["input_ids"][0], tokens])
        for inputs, tokens in zip(asked, said, strict=True)
    ]
    longest, places = max(map(len, ids)), []
    for inputs in asked:
        where = inputs["position_ids"][:, 0]
        places.append(
            torch.cat([where, where[:, -1:] + torch.arange(1, longest - where.shape[1] + 1)], 1)
        )
    filled = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    pixels, grids = (
        torch.cat([inputs[name] for inputs in asked]) for name in ("pixel_values", "image_grid_thw")
    )
    logits = vlm.net(
        input_ids=filled,
        position_ids=torch.stack(places, 1),
        pixel_values=pixels,
        image_grid_thw=grids,
        use_cache=False,
    ).logits.log_softmax(-1)
    return [scores[: len(row)] for scores, row in zip(logits, ids, strict=True)]


def greedily(vlm, asked):
    """Tokens of the answers to a sample's questions, by plain forward passes."""
    images, said = [view.image for view in asked.views], [[] for _ in asked.qas]
    for _ in range(WORDY):
        going = [n for n, tokens in enumerate(said) if vlm.tokenizer.eos_token_id not in tokens]
        rows = [(asked.qas[n].question, said[n]) for n in going]
        for n, scores in zip(going, plain(vlm, images, rows) if rows else (), strict=True):
            said[n].append(scores[-1].argmax().item())
    return said


def text(vlm, tokens):
    return vlm.tokenizer.decode(tokens[:-1] if tokens[-1] == vlm.tokenizer.eos_token_id else tokens)


def test_texts_of_500_random_questions_answered_together_are_those_of_each_question_alone(decided):
    samples = cases(50)
    together = [
        found for k in range(0, 50, 5) for found in greedy(decided, samples[k : k + 5], WORDY)
    ]
    alone = [greedily(decided, asked) for asked in samples]
    lengths = Counter(len(tokens) for said in alone for tokens in said)
    assert sum(lengths.values()) == 500
    assert len(lengths) > 3
    for found, said in zip(together, alone, strict=True):
        assert [a.text for a in found] == [text(decided, tokens) for tokens in said]
        assert [len(a.logprobs) for a in found] == [len(tokens) for tokens in said]


def test_the_narrowest_search_is_the_greedy_answer(decided):
    samples = cases(3)
    narrow = likely(decided, samples, widest=1, longest=WORDY)
    assert [[found] for each in greedy(decided, samples, WORDY) for found in each] == sum(
        narrow, []
    )


def test_a_wide_search_finds_the_greedy_answer_among_better_ones_and_at_most_all_there_is(decided):
    samples = cases(4, questions=5)
    pairs = zip(likely(decided, samples, 32, 4), greedy(decided, samples, 4), strict=True)
    for among, alone in (both for each in pairs for both in zip(*each, strict=True)):
        totals = [a.logprob for a in among]
        assert totals == sorted(totals, reverse=True)
        assert np.exp(totals).sum() <= 1 + 1e-5
        assert len({(a.text, a.logprobs) for a in among}) == len(among)
        assert alone.text in [a.text for a in among]


def test_probabilities_of_a_wide_search_are_those_of_a_plain_forward_pass(decided, monkeypatch):
    monkeypatch.setattr(decided.tokenizer, "decode", lambda tokens: " ".join(map(str, tokens)))
    for asked in cases(2, questions=3):
        images = [view.image for view in asked.views]
        for qa, among in zip(asked.qas, likely(decided, [asked], 32, 4)[0], strict=True):
            tokens = [list(map(int, a.text.split())) for a in among[:20]]
            tokens = [
                said + [decided.tokenizer.eos_token_id] * (len(a.logprobs) - len(said))
                for said, a in zip(tokens, among, strict=False)
            ]
            for a, said, scores in zip(
                among,
                tokens,
                plain(decided, images, [(qa.question, t) for t in tokens]),
                strict=False,
            ):
                expected = scores[-len(said) - 1 : -1].gather(1, torch.tensor(said)[:, None])[:, 0]
                np.testing.assert_allclose(a.logprobs, expected, atol=1e-3)


@pytest.mark.parametrize(("widest", "longest"), [(0, 5), (4, 0)])
def test_a_search_of_no_width_or_length_is_refused(decided, widest, longest):
    with pytest.raises(ValueError, match="1 or more"):
        likely(decided, cases(1), widest, longest)


def test_places_that_transformers_remembers_of_another_image_do_not_leak_into_answers(
    talkative, images
):
    fresh = answer(talkative, [view(images[1])], QUESTIONS, longest=4)
    for count in (1, 2):
        inputs = batching.inputs(talkative, images[:1] * count, QUESTION)
        del inputs["position_ids"]
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == talkative.image_pad).int()
        with torch.no_grad():
            talkative.net(**inputs)
            remembered = talkative.net.model.rope_deltas.clone()
            talkative.net.generate(**inputs, max_new_tokens=3)
        assert (remembered != 0).any()
        assert answer(talkative, [view(images[1])], QUESTIONS, longest=4) == fresh


def test_an_image_answered_before_leaves_nothing_behind(talkative, images):
    fresh = answer(talkative, [view(images[0])], QUESTIONS, longest=4)
    answer(talkative, [view(images[1])], QUESTIONS, longest=4)
    again = answer(talkative, [view(images[0])], QUESTIONS, longest=4)
    assert fresh == again


def test_no_question_gives_no_answer_and_others_are_answered_all_the_same(vlm, images):
    assert answer(vlm, [view(images[0])], []) == []
    found = greedy(vlm, [sample(images[:1], ()), sample(images[:1], QUESTIONS[:2])], longest=2)
    assert [len(answers) for answers in found] == [0, 2]


def test_the_network_attends_as_before_once_it_has_answered(vlm, images):
    before = vlm.net.config.text_config._attn_implementation
    answer(vlm, [view(images[0])], QUESTIONS[:1], longest=1)
    assert vlm.net.config.text_config._attn_implementation == before != attention.NAME


def test_an_answer_ends_with_its_turn_or_after_the_longest(talkative, images):
    for a in answer(talkative, [view(images[0])], QUESTIONS, longest=3):
        assert 1 <= len(a.logprobs) <= 3
        assert max(a.logprobs) <= 0
