"""Everything is two metres away: a baseline, as a reader would add it. Nothing else knows of it."""

from collections.abc import Sequence

from vlm3.mixture import Source
from vlm3.scoring.predictors import Predictor
from vlm3.views import Answer, Sample


def predictor(model: str, source: Source) -> Predictor:
    return Predictor(said, source, "two metres, version 1")


def said(samples: Sequence[Sample]) -> list[list[Answer]]:
    return [[Answer("2.00") for _ in sample.qas] for sample in samples]
