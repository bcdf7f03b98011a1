"""Numbers as distributions, against ones worked out by hand."""

import math

import pytest

from vlm3.scoring.spread import spread
from vlm3.views import Answer


def of(*pairs):
    """The spread of (value, probability), each probability made of two tokens'."""
    answers = [Answer(str(value), (math.log(p) / 2, math.log(p) / 2)) for value, p in pairs]
    return spread([value for value, _ in pairs], answers)


@pytest.fixture
def uneven():
    """1 m with a half, 2 m with three tenths, 10 m with two."""
    return of((2.0, 0.3), (1.0, 0.5), (10.0, 0.2))


def test_mean_and_median_are_those_worked_out_by_hand(uneven):
    assert uneven.values.tolist() == [1, 2, 10]
    assert uneven.probabilities.tolist() == pytest.approx([0.5, 0.3, 0.2])
    assert uneven.mean() == pytest.approx(0.5 * 1 + 0.3 * 2 + 0.2 * 10)
    assert uneven.median() == 1  # half lies at or below it
    assert of((1.0, 0.4), (2.0, 0.3), (10.0, 0.3)).median() == 2


def test_within_counts_what_lies_inside_a_factor_and_not_on_its_limits():
    found = of((2.0, 0.1), (2.5, 0.2), (2.4, 0.3), (1.6, 0.15), (1.61, 0.25))
    assert found.within(2.0) == pytest.approx(
        0.1 + 0.3 + 0.25
    )  # 2.5 is 1.25 x 2, and 2 is 1.25 x 1.6
    assert found.within(2.0, factor=1.3) == pytest.approx(1)
    assert found.within(50.0) == 0


def test_the_surest_value_has_most_company_rather_than_most_probability():
    found = of((1.0, 0.4), (3.0, 0.2), (3.3, 0.2), (3.6, 0.2))
    assert found.surest() == pytest.approx(3.0)
    assert found.within(found.surest()) == pytest.approx(0.6)
    assert found.surest(factor=1.05) == 1
    assert found.median() == 3.0


def test_texts_of_one_value_add_up():
    found = spread(
        [2.5, 2.5], [Answer("2.5", (math.log(0.3),)), Answer("2.50 m", (math.log(0.1),))]
    )
    assert found.values.tolist() == [2.5]
    assert found.probabilities.tolist() == pytest.approx([1])
    assert found.followed == pytest.approx(0.4)


def test_answers_that_are_no_positive_number_are_left_out_but_were_followed():
    odd = [(None, 0.2), (-1.0, 0.1), (0.0, 0.05)]
    odd += [(math.inf, 0.05), (math.nan, 0.05), (True, 0.05)]
    found = of((4.0, 0.3), (8.0, 0.1), *odd)
    assert found.values.tolist() == [4, 8]
    assert found.probabilities.tolist() == pytest.approx([0.75, 0.25])
    assert found.followed == pytest.approx(0.9)


def test_nothing_but_words_is_no_distribution():
    assert of() is None
    assert of((None, 0.9), (-2.0, 0.1)) is None


def test_half_of_the_probability_counts_as_half_in_spite_of_rounding():
    tenths = of(*((k / 10, 0.1) for k in range(1, 11)))
    assert tenths.median() == 0.5
