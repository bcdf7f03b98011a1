"""Who answers: one file for each, with `answerer(model, source) -> Answerer`.

`network` is a Qwen3-VL, read by this package; `vllm` the same served by vLLM; `constant` and
`opencv` see no network and are what a model has to beat. A file more in this folder is one more
that `--model NAME` or `--model NAME:MODEL` knows.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from vlm3.mixture import Source
from vlm3.qwen.decode import Answer
from vlm3.views import Sample

NAMES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


class Answerer(NamedTuple):
    """answer: samples to the answers of all their questions; source: as this one is to be asked;
    identity: what tells its answers from those of another of the same name."""

    answer: Callable[[Sequence[Sample]], list[list[Answer]]]
    source: Source
    identity: str = ""


def get(model: str, source: Source) -> Answerer:
    """By name: "constant", "opencv", "vllm:Qwen/Qwen3-VL-4B-Instruct"; anything else is a model for
    `vlm3.qwen.model`."""
    kind, _, rest = model.partition(":")
    kind, rest = (kind, rest) if kind in NAMES else ("network", model)
    return import_module(f"vlm3.scoring.predictors.{kind}").answerer(rest, source)
