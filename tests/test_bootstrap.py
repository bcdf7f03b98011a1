"""Intervals of scores, against ones computed the long way, and what chance would give."""

import json
from pathlib import Path

import numpy as np
import pytest

from vlm3 import tasks
from vlm3.scoring import bootstrap


def folder(out: Path, task: str, answers: list[list[tuple[str, str, object]]]) -> Path:
    """Predictions of an evaluation: of each item (kind, text, truth) of its questions."""
    out.mkdir()
    asked = {"toy": {"templates": {}, "size": len(answers)}}
    told = {"task": task, "source": "toy", "samples": len(answers), "asked": asked}
    (out / "config.json").write_text(json.dumps(told))
    with (out / "predictions-0.jsonl").open("w") as file:
        for item, each in enumerate(answers):
            said = [
                {"question": "?", "kind": k, "about": [], "text": t, "logprob": 0.0, "truth": truth}
                for k, t, truth in each
            ]
            file.write(json.dumps({"item": item, "answers": said}) + "\n")
    return out


def depths(rng: np.random.Generator, items: int, right: float, questions: int = 1) -> list:
    """Answers of which a share is right, all questions of an item alike."""
    texts = ["2.0" if rng.random() < right else "9.0" for _ in range(items)]
    return [[("z", text, 2.0)] * questions for text in texts]


def poses(rng: np.random.Generator, items: int) -> list:
    found = []
    for item in range(items):
        yaw, pair = rng.normal(0, 20), {"pair": str(item)}
        turn = {"yaw_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0, **pair}
        found.append(
            [
                ("rotation", f"yaw {yaw:.0f}, pitch 0, roll 0 degrees", turn),
                ("direction", "(1.0, 0.0, 0.0)", {"direction": (1.0, 0.0, 0.0), **pair}),
                ("distance", f"{rng.uniform(0.5, 2):.2f} m", {"distance_m": 1.0, **pair}),
            ][: 1 + item % 3]
        )
    return found


def objects(rng: np.random.Generator, items: int) -> list:
    """A mixed number of relations and lengths of each item."""
    found = []
    for _ in range(items):
        words = [("left_predicate", rng.choice(["yes", "no"]), ("left_predicate", True))]
        metres = [("width_data", f"{rng.uniform(0.5, 2):.2f} m", ("width_data", 1.0))]
        found.append(words * int(rng.integers(3)) + metres * int(rng.integers(1, 3)))
    return found


MADE = {"depth": depths, "pose": poses, "objects": objects}


@pytest.mark.parametrize(
    ("task", "score"),
    [
        *(("depth", name) for name in ("delta_1", "abs_rel", "rmse_m")),
        *(("pose", name) for name in ("auc_30", "rotation_error_deg", "distance_25")),
        *(("objects", name) for name in ("qualitative", "quantitative", "abs_rel", "parsed")),
    ],
)
def test_a_resample_has_the_score_of_its_items_taken_as_often(task, score, rng, tmp_path):
    given = (rng, 30, 0.6) if task == "depth" else (rng, 30)
    out = folder(tmp_path / "out", task, MADE[task](*given))
    found, draws = bootstrap.items(out), bootstrap.draws(np.arange(30), 5, seed=3)
    whole, many = bootstrap.resampled(tasks.get(task), found, score, draws)
    assert whole == pytest.approx(bootstrap.interval(out, score).value)
    for drawn, quick in zip(draws, many, strict=True):
        assert drawn.sum() == 30
        slow = bootstrap._again(tasks.get(task), found, score, drawn)
        assert quick == pytest.approx(slow, nan_ok=True)


def test_an_interval_is_as_wide_as_chance_says_and_scenes_count_not_questions(rng, tmp_path):
    outs = [
        folder(tmp_path / str(n), "depth", depths(np.random.default_rng(1), 400, 0.5, questions=n))
        for n in (1, 8)
    ]
    first, second = (bootstrap.interval(out) for out in outs)
    assert first == pytest.approx(second)  # eight questions that stand or fall together are one
    assert first.high - first.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.1)
    assert first.low < first.value < first.high


def test_a_model_is_no_better_than_itself_and_a_pairing_is_sharper_than_two_intervals(tmp_path):
    rng = np.random.default_rng(2)
    worse = depths(rng, 300, 0.5)
    better = [[("z", "2.0", 2.0)] if rng.random() < 0.1 else each for each in worse]
    a, b = (folder(tmp_path / n, "depth", w) for n, w in (("a", better), ("b", worse)))
    assert bootstrap.difference(a, a) == (0, 0, 0)
    gain, loss = bootstrap.difference(a, b), bootstrap.difference(b, a)
    assert gain.value == pytest.approx(bootstrap.interval(a).value - bootstrap.interval(b).value)
    assert gain == pytest.approx((-loss.value, -loss.high, -loss.low))
    assert 0 < gain.low < gain.high < 0.1
    assert gain.high - gain.low < bootstrap.interval(a).high - bootstrap.interval(a).low


def test_what_cannot_be_compared_or_is_no_score_is_refused(rng, tmp_path):
    few, many = (folder(tmp_path / str(n), "depth", depths(rng, n, 0.5)) for n in (5, 6))
    with pytest.raises(ValueError, match="not about the same items"):
        bootstrap.difference(few, many)
    with pytest.raises(ValueError, match="no score 'beauty': there are delta_1"):
        bootstrap.interval(few, "beauty")
    with pytest.raises(ValueError, match="n must be 1 or more"):
        bootstrap.interval(few, n=0)
