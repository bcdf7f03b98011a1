"""A new corpus and a new tokenizer for a new tiny model, from the questions that tasks ask today.

python book/record/tokenizer.py [--seed 0]

Writes all files of the packaged checkpoint but its weights, which fit the tokenizer of their
training: run it before a training that begins with random weights, never after one.
"""

import argparse
import gzip
from collections.abc import Iterator

import numpy as np

from vlm3 import tasks
from vlm3.qwen import files, model, tokenizer

FILLS = 20  # of each wording, with numbers and relations drawn anew


def corpus(rng: np.random.Generator) -> Iterator[str]:
    """User and assistant turns of all tasks: every wording, filled in with random values."""
    for name in tasks.NAMES:
        templates = tasks.get(name).templates
        note = templates.get("note", "")
        for table in (value for value in templates.values() if isinstance(value, dict)):
            for question in table["questions"] * FILLS:
                filling = _filling(table, templates.get("scale", 1), rng)
                yield f"user\n{note} {question}".format(**filling)
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
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--seed", type=int, default=0)
    turns = list(corpus(np.random.default_rng(asked.parse_args().seed)))
    packed = gzip.compress("\n".join(turns + [""]).encode(), 9, mtime=0)
    tokenizer.CORPUS.write_bytes(packed)
    made = tokenizer.train(turns)
    model.describe(model.config("tiny", made), made, files.PACKAGED)
    print(f"{len(made)} tokens written to {files.PACKAGED}")


if __name__ == "__main__":
    main()
