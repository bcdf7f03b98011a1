"""The tiny tokenizer: made from the questions alone, exact about numbers, lossless about everything
else."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from vlm3 import tasks
from vlm3.qwen import tokenizer as tiny

TASKS = sorted(Path(tasks.__file__).parent.glob("*.toml"))
PACKAGED = tiny.CORPUS.parent


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.train(tiny.packaged_corpus())


def test_training_twice_gives_the_packaged_file_to_the_byte(tokenizer):
    packaged = (PACKAGED / "tokenizer.json").read_text(encoding="utf-8")
    assert tokenizer.backend_tokenizer.to_str(pretty=True) == packaged.rstrip("\n")
    assert tiny.train(tiny.packaged_corpus()).backend_tokenizer.to_str(
        pretty=True
    ) == packaged.rstrip("\n")
    assert (PACKAGED / "chat_template.jinja").read_text(encoding="utf-8") == tiny.CHAT_TEMPLATE


def test_importing_the_tokenizer_does_not_import_torch():
    code = "import sys; import vlm3.qwen.tokenizer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_digit_is_a_token_and_so_is_every_mark_with_at_most_the_space_before_it(tokenizer):
    for text in (
        "(812, 1033)",
        "-0.0213",
        "yaw -12.5, pitch +3.0",
        "20:7/3%",
        "1 + 2 , (3)",
        "Where is (1,2) ?",
    ):
        shown = [tokenizer.decode([token]) for token in tokenizer.encode(text)]
        assert all(re.fullmatch(r"\d| ?[^\w\s]?| ?[a-zA-Z ]+", piece) for piece in shown), shown
    assert tokenizer.tokenize("at 1047.5") == ["at", "Ġ", "1", "0", "4", "7", ".", "5"]
    assert tokenizer.tokenize("at (1, -2)") == ["at", "Ġ(", "1", ",", "Ġ-", "2", ")"]
    for length in range(1, 5):
        assert len(tokenizer.tokenize("7" * length + "." * length)) == 2 * length


def test_a_phrase_between_numbers_and_marks_is_one_token_and_never_more_than_three(tokenizer):
    texts = [re.sub("[0-9]", "7", text) for text in tiny.packaged_corpus()]
    lengths = [
        len(tokenizer.tokenize(p)) for text in texts for p in re.findall(r"(?: ?[a-zA-Z]+)+", text)
    ]
    assert max(lengths) <= 3
    assert np.mean(np.equal(lengths, 1)) > 0.99


def test_a_question_takes_fewer_tokens_than_words_beside_its_numbers(tokenizer):
    texts = [text for text in tiny.packaged_corpus() if text.startswith("user")]
    words = [len(re.findall(r"[a-zA-Z]+", text)) for text in texts]
    numbers = [len("".join(re.findall(r" ?[+-]?\d[\d.]*", text))) for text in texts]
    beside = np.array([len(tokenizer.tokenize(text)) for text in texts]) - numbers
    assert beside.max() <= 40
    assert beside.mean() < 27 < 32 < np.mean(words)


def test_special_tokens_are_one_token_each_and_have_qwens_names(tokenizer):
    assert tokenizer.convert_ids_to_tokens(range(8)) == list(tiny.SPECIALS)
    assert [len(tokenizer.tokenize(name)) for name in tiny.SPECIALS] == [1] * 8
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|endoftext|>", "<|im_end|>")
    assert len(tokenizer) <= tiny.VOCABULARY


def test_any_text_survives_the_round_trip(tokenizer):
    rng = np.random.default_rng(0)
    for _ in range(300):
        points = rng.integers(0, rng.choice([0x80, 0x800, 0xD800]), rng.integers(0, 40))
        text = "".join(map(chr, points)) + rng.choice(
            ["", " ", "\n\n", " ,", "don't", "<|im_end|>", "🚀 e\u0301"]
        )
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert max(ids, default=0) < tiny.VOCABULARY


def test_chat_template_lays_out_images_first_and_several_turns(tokenizer):
    image, text = {"type": "image"}, {"type": "text", "text": "How far?"}
    messages = [
        {"role": "user", "content": [image, image, text]},
        {"role": "assistant", "content": "2.4"},
        {"role": "user", "content": "And now?"},
    ]
    picture = "<|vision_start|><|image_pad|><|vision_end|>"
    expected = (
        f"<|im_start|>user\n{picture}{picture}How far?<|im_end|>\n"
        "<|im_start|>assistant\n2.4<|im_end|>\n"
        "<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        == expected
    )


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_every_question_has_five_distinct_wordings_with_the_same_placeholders(path):
    task = tomllib.loads(path.read_text(encoding="utf-8"))
    tables = {name: table for name, table in task.items() if isinstance(table, dict)}
    for name, table in tables.items():
        questions = table["questions"]
        assert len(set(questions)) == len(questions) >= 5, name
        assert (
            len({tuple(sorted(set(re.findall(r"{\w+}", question)))) for question in questions}) == 1
        ), name
        assert table["answer"].format_map(_Anything()), name


@pytest.mark.parametrize("table", ["z", "range", "angle", "rotation", "distance"])
def test_questions_name_their_unit(table):
    tasks = [tomllib.loads(path.read_text(encoding="utf-8")) for path in TASKS]
    questions = [
        question for task in tasks for question in task.get(table, {}).get("questions", [])
    ]
    assert questions
    assert all(re.search(r"metres|degrees", question) for question in questions)


def test_rounding_to_zero_never_prints_a_negative_zero():
    pose = tomllib.loads((TASKS[0].parent / "pose.toml").read_text(encoding="utf-8"))
    answer = pose["rotation"]["answer"].format(yaw=-0.04, pitch=12.345, roll=-3.0)
    assert answer == "yaw +0.0, pitch +12.3, roll -3.0 degrees"


class _Anything(dict):
    def __missing__(self, key):
        return 1.0
