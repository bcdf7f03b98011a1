import pytest

from tests.walls import Made
from vlm3.mixture import Mixture, Source
from vlm3.mixture.passes import MANY, passes


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    sources = {name: Source(Made(size), "depth") for name, size in (("few", 4), ("many", 400))}
    return Mixture(sources, "uniform", seed=3)


def test_each_source_has_its_items_its_samples_and_how_often_it_is_gone_through(mixture):
    few, many = passes(mixture, 100)
    drawn = [mixture.draw(k).source for k in range(100)]
    assert few[:4] == ("few", 4, drawn.count("few"), drawn.count("few") / 4)
    assert many[:4] == ("many", 400, drawn.count("many"), drawn.count("many") / 400)


def test_only_what_comes_more_than_four_times_is_warned_of_with_ways_out(mixture):
    few, many = passes(mixture, 100)
    assert few.passes > MANY > many.passes
    assert f"{few.passes:.3g} times, and above 4 passes" in few.warning
    assert "add items, lower its weight, or train for fewer samples" in few.warning
    assert many.warning == ""
    assert not any(row.warning for row in passes(mixture, 100, many=100))
    assert not any(row.warning for row in passes(mixture, 0))
