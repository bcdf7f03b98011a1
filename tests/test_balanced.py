"""Frames of which the rarer depths come more often."""

import numpy as np
import pytest

from tests.walls import write_frames
from vlm3.sources.curation.balanced import Balanced, repeats


def shares(medians_m: np.ndarray, **how) -> np.ndarray:
    """Of near frames (1 m) and of far ones (4 m), of all that come."""
    times = repeats(medians_m, **{"bins": 4, "far": 0.0, "most": 100} | how)
    found = np.array([times[medians_m == m].sum() for m in (1.0, 4.0)])
    return found / found.sum()


NEAR_AND_FAR = np.repeat([1.0, 4.0], [90, 10])


def test_rare_depths_come_as_often_as_frequent_ones():
    assert shares(NEAR_AND_FAR) == pytest.approx([0.5, 0.5])
    assert shares(NEAR_AND_FAR[::-1]) == pytest.approx([0.5, 0.5])


def test_with_far_the_share_grows_as_depth_does():
    assert shares(NEAR_AND_FAR, far=1.0) == pytest.approx([0.2, 0.8])


def test_no_frame_comes_more_often_than_most():
    times = repeats(NEAR_AND_FAR, bins=4, far=1.0, most=3)
    assert sorted(set(times)) == [1, 3]


def test_frames_of_one_depth_come_once_each():
    assert repeats(np.full(5, 2.0), bins=8, far=1.0, most=8).tolist() == [1] * 5


def test_items_are_frames_of_the_reader_and_keep_their_names(tmp_path):
    items = Balanced("rgbd", {"root": str(write_frames(tmp_path / "frames", 6))}, bins=2, far=4.0)
    assert len(items) == len(items.frames) == len(items.order) >= 6
    assert set(items.order) == set(range(6))
    last = items[len(items) - 1]
    assert np.array_equal(last.image, items.reader[int(items.order[-1])].image)
    assert items.frames[-1] == items.reader.frames[items.order[-1]]
    assert items.metric


def test_a_frame_without_depth_is_named(tmp_path):
    root = write_frames(tmp_path / "frames", 3)
    next(root.rglob("*000001.depth.png")).unlink()
    with pytest.raises(ValueError, match="frame .*frame-000001 has no depth, by which frames are"):
        Balanced("rgbd", {"root": str(root)})
    with pytest.raises(ValueError, match="bins and most must be 1 or more, got 0 and 8"):
        Balanced("rgbd", {"root": str(root)}, bins=0)
