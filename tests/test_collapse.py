"""Answers that have become one are caught, and honest ones are not."""

import math

import pytest

from tests.test_bootstrap import folder
from vlm3.scoring.collapse import collapse


def said(tmp_path, task: str, kind: str, texts: list[str], truths: list):
    answers = [[(kind, *each)] for each in zip(texts, truths, strict=True)]
    return collapse(folder(tmp_path / "out", task, answers))[kind]


def test_the_spread_of_answers_stands_beside_that_of_the_truth(tmp_path):
    found = said(tmp_path, "depth", "z", ["1.0", "3.0", "3.0", "no idea"], [1.0, 5.0, 1.0, 5.0])
    assert found.questions == 4
    assert found.spread == pytest.approx(math.sqrt(8 / 9))
    assert found.spread_of_truth == pytest.approx(2)
    assert (found.most, found.share) == ("3.00 m", 0.5)
    assert not found.collapsed  # half is not more than half


@pytest.mark.parametrize(("same", "collapsed"), [(5, False), (6, True), (10, True)])
def test_a_number_given_to_more_than_half_of_the_questions_is_a_collapse(tmp_path, same, collapsed):
    texts = ["0.3 metres"] * same + [f"{k}.5 metres" for k in range(10 - same)]
    truths = [{"distance_m": 0.3 + 0.1 * k, "pair": str(k)} for k in range(10)]
    found = said(tmp_path, "pose", "distance", texts, truths)
    assert found.collapsed == collapsed
    assert found.share == same / 10


@pytest.mark.parametrize(("yes", "collapsed"), [(5, False), (7, False), (8, True), (10, True)])
def test_a_word_may_be_as_frequent_as_the_truth_and_not_much_more(tmp_path, yes, collapsed):
    texts = ["yes"] * yes + ["no"] * (10 - yes)
    truths = [("left_predicate", k % 2 == 0) for k in range(10)]
    found = said(tmp_path, "objects", "left_predicate", texts, truths)
    assert (found.collapsed, found.most) == (collapsed, "yes" if yes >= 5 else "no")
    assert math.isnan(found.spread)


def test_what_is_always_true_may_always_be_said(tmp_path):
    found = said(tmp_path, "depth", "z", ["2.0"] * 5, [2.0] * 5)
    assert not found.collapsed


def test_vectors_and_what_nobody_can_read_do_not_stop_it(tmp_path):
    truths = [{"direction": (1.0, 0.0, 0.0), "pair": str(k)} for k in range(2)]
    found = said(tmp_path, "pose", "direction", ["(0, 0, 1)", "(0, 1, 0)"], truths)
    assert found.spread == pytest.approx(math.sqrt((0 + 0.25 + 0.25) / 3))
    assert found.spread_of_truth == 0
    other = tmp_path / "other"
    other.mkdir()
    silent = said(other, "pose", "direction", ["left", ""], truths)
    assert (silent.most, silent.share, silent.collapsed) == ("", 0, False)
