"""What learning one thing costs another, as recorded: both arms learn the same, and are asked
about rooms that neither saw."""

import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tests.conftest import ROOT
from vlm3 import mixture
from vlm3.scoring import evaluate
from vlm3.scoring.evaluate import Evaluation

sys.path.insert(0, str(ROOT / "book" / "record"))
import forgetting

sys.path.pop(0)


def test_the_arms_differ_in_what_learns_and_how_fast_alone():
    args = Namespace(out=Path("runs"), steps=7)
    arms = {name: asdict(forgetting.config(name, args)) for name in forgetting.ARMS}
    every = arms["all"]

    def differs(name: str) -> set[str]:
        return {key for key in every if every[key] != arms[name][key]}

    assert differs("adapters") == {"out", "lr", "lora"}
    assert differs("all, stopped") == {"out", "steps"}
    assert differs("all, mixed") == {"out", "steps", "mixture"}
    assert len({arm["out"] for arm in arms.values()}) == len(arms)


def test_half_of_the_mixed_samples_are_of_what_the_model_knows():
    drawn = mixture.load(forgetting.taught("all, mixed")).counts(160)
    assert drawn.pop("skills") == 80
    assert drawn == dict.fromkeys(forgetting.TASKS, 20)


def test_skills_are_asked_of_rooms_that_were_not_learned_from():
    taught = evaluate.named(Evaluation("skills", str(forgetting.taught("all"))))
    tested = forgetting.unseen(taught)
    pictures = [[source.items[k].image for k in range(5)] for source in (taught, tested)]
    assert not any(np.array_equal(a, b) for a in pictures[0] for b in pictures[1])
    assert tested.focal_px == taught.focal_px
