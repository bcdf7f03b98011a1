"""The log of a run as numbers to show."""

from vlm3.training import log


def test_means_are_of_the_records_that_have_the_task():
    losses = (
        {"depth": 1.0},
        {"depth": 2.0, "pose": 5.0},
        {"pose": 7.0},
        {"depth": 4.0},
        {"depth": 9.0},
    )
    records = [{"step": step, "losses": each} for step, each in enumerate(losses, 1)]
    first, second = ({"depth": 1.5, "pose": 5.0}, {"depth": 4.0, "pose": 7.0})
    assert log.means(records, 2) == [{"step": 2, "losses": first}, {"step": 4, "losses": second}]
