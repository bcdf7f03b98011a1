"""The tiny tokenizer: byte-level BPE with Qwen's special tokens and Qwen's way with numbers.

Every digit is a token of its own and so is every punctuation mark, often with the space before it: a number is always
spelled digit by digit. Words keep the space before them, and a phrase of the questions, from one number or mark to
the next, is mostly one token: a question is then hardly longer than the numbers in it. Any text makes the round trip,
byte by byte if need be.

`python -m vlm3.tokenizer` writes the packaged files anew, all but the weights. The tokenizer depends on the
questions in `vlm3/tasks/*.toml` and on a seed, on nothing else. Weights fit the tokenizer of their training.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 1536
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
            "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")  # fmt: skip
PIECES = r"\p{N}|(?: ?\p{L}+)+| ?[^\s\p{L}\p{N}]|\s"  # one digit, a phrase, one mark, one space
CHAT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}
{{- message.content }}
{%- else %}
{%- for part in message.content %}
{{- '<|vision_start|><|image_pad|><|vision_end|>' if part.type == 'image' else part.text }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
_TASKS = Path(__file__).parent / "tasks"
_FILLS = 20  # of each question, with numbers and relations drawn anew


def train(seed: int = 0) -> PreTrainedTokenizerFast:
    """The tiny tokenizer; equal seeds and equal templates give equal tokenizers."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=list(SPECIALS), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    bpe.train_from_iterator(corpus(np.random.default_rng(seed)), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, clean_up_tokenization_spaces=False,
                                        pad_token="<|endoftext|>", eos_token="<|im_end|>")  # fmt: skip
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def corpus(rng: np.random.Generator) -> Iterator[str]:
    """User and assistant turns of all tasks: every question template, filled in with random values."""
    for path in sorted(_TASKS.glob("*.toml")):
        task = tomllib.loads(path.read_text(encoding="utf-8"))
        for table in (value for value in task.values() if isinstance(value, dict)):
            for question in table["questions"] * _FILLS:
                filling = _filling(table, task.get("scale", 1), rng)
                yield f"user\n{task['note']} {question}".format(**filling)
                yield f"assistant\n{table['answer']}".format(**filling)


def _filling(table: dict, scale: int, rng: np.random.Generator) -> dict:
    """A random value for every placeholder that the templates know."""
    places = {name: _text(rng.integers(0, scale, 2)) for name in ("point", "match")}
    boxes = {name: _text(rng.integers(0, scale, 4)) for name in ("box_a", "box_b")}
    numbers = dict(zip(("yaw", "pitch", "roll", "x", "y", "z"), rng.normal(0, 1, 6), strict=True))
    words = {
        "words": ", ".join(rng.choice(table[axis]) for axis in "xyz" if axis in table),
        "relation": rng.choice(list(table.get("relations", {"": ""}).values())),
        "value": rng.choice(table["values"]) if "values" in table else rng.gamma(2, 2),
    }
    return places | boxes | numbers | words | {"scale": scale, "hour": rng.integers(1, 13)}


def _text(numbers: np.ndarray) -> str:
    return f"({', '.join(map(str, numbers))})"


def main() -> None:
    """Write the packaged tokenizer and the descriptions of the tiny model; weights are left alone."""
    from vlm3 import model  # needs torch, which training a tokenizer does not

    tokenizer = train()
    model.describe(model.config("tiny", tokenizer), tokenizer, model.PACKAGED)
    print(f"{len(tokenizer)} tokens written to {model.PACKAGED}")


if __name__ == "__main__":
    main()
