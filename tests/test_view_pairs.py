"""Pairs drawn from an index: within ranges, evenly, and only of the data that it was made from. The
data are made, see `tests.walks`."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.walks import WALK, Walk, lines, quick
from vlm3 import mixture
from vlm3.geometry import relative_pose, rotation_angle_deg
from vlm3.sources.curation import pairs as curation_pairs
from vlm3.sources.curation.candidates import bins
from vlm3.sources.curation.covisibility import covisibility
from vlm3.sources.curation.indexing import index
from vlm3.sources.curation.pairs import Pairs


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A root with the index of two rooms of 40 frames."""
    root = tmp_path_factory.mktemp("made")
    quick(Walk(root), root / "index")
    return root


def pairs(made: Path, **how) -> Pairs:
    return Pairs(WALK, {"root": made}, made / "index", **how)


def test_pairs_are_views_of_one_scene_within_all_ranges(made):
    ranges = {"covisible": (0.2, 0.6), "angle_deg": (10, 50), "distance_m": (0.3, 2)}
    found = pairs(made, **ranges)
    assert len(found) > 30
    for k in (0, len(found) - 1):
        a, b = found[k]
        motion = relative_pose(a.world_from_cam, b.world_from_cam)
        assert 0.19 < min(covisibility(a, b, 24)) < 0.61
        assert 10 <= rotation_angle_deg(motion[:3, :3]) <= 50
        assert 0.3 <= np.linalg.norm(motion[:3, 3]) <= 2
    with pytest.raises(IndexError):
        found[len(found)]


def test_a_pair_says_of_which_frames_it_is_and_whether_in_metres(made):
    found = pairs(made)
    row = found.rows[3]
    names = [found.reader.frames[row[end]].name for end in ("first", "second")]
    assert [frame.name for frame in found.frames[3]] == names
    assert len(found.frames) == len(found)
    assert found.metric is True


def test_of_the_two_ways_the_smaller_share_counts(made):
    found = pairs(made, covisible=(0.3, 1))
    assert found.rows["covisible"].min() >= 0.3
    assert len(found) < sum(max(line["covisible"]) >= 0.3 for line in lines(made / "index"))


def test_any_beginning_holds_scenes_and_motions_as_evenly_as_it_can(made):
    everything = pairs(made).rows
    few = pairs(made, most=60).rows
    assert (few == everything[:60]).all()
    assert np.count_nonzero(few["first"] < 40) == 30  # the other half is of the other room
    unit = float(np.median(everything["distance_m"]))

    def counts(found: np.ndarray) -> np.ndarray:
        return np.bincount(bins(found["angle_deg"], found["distance_m"], unit))

    mine, there = (counts(found[found["first"] < 40]) for found in (few, everything))
    mine = np.pad(mine, (0, len(there) - len(mine)))
    open_ = mine < there  # of the other bins all are taken
    assert np.ptp(mine[open_]) <= 1
    assert mine[~open_].max() <= mine[open_].max()


def test_a_seed_is_an_order(made):
    names = [pairs(made, seed=seed).rows["first"].tolist() for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    assert sorted(names[0]) == sorted(names[2])


def test_pairs_go_to_other_processes_as_they_are(made):
    found = pairs(made)
    again = pickle.loads(pickle.dumps(found))
    assert (again.rows == found.rows).all()
    assert (again[3][1].depth_m == found[3][1].depth_m).all()


def test_an_index_serves_parts_of_its_data(made):
    train, test = (
        Pairs(WALK, {"root": made, "scenes": "room1", "frames": part}, made / "index")
        for part in ((0, 30), (30, None))
    )
    for found, first in ((train, 0), (test, 30)):
        numbers = {
            int(found.reader.frames[k].name.split("/")[1])
            for name in ("first", "second")
            for k in found.rows[name]
        }
        assert min(numbers) >= first
        assert max(numbers) < first + 30
    assert len(train) > len(test) > 5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"rooms": 3}, "lacks 40 of 120 frames, the first is room2/00000"),
        ({"scenes": "room1", "steps": 41}, "lacks 1 of 41 frames, the first is room1/00040"),
    ],
)
def test_an_index_that_lacks_frames_is_refused(made, arguments, told):
    with pytest.raises(ValueError, match=told):
        Pairs(WALK, {"root": made} | arguments, made / "index")


def test_an_index_of_another_reader_is_refused(made):
    with pytest.raises(ValueError, match="is an index of .*:Walk, not of .*:Unscaled"):
        Pairs("tests.walks:Unscaled", {"root": made}, made / "index")


def test_other_data_of_the_same_names_are_noticed_when_they_are_read(made):
    elsewhere = Pairs(WALK, {"root": made, "seed": 5}, made / "index")
    with pytest.raises(ValueError, match="degrees apart, not .*index of other data"):
        elsewhere[0]


def test_an_absent_index_says_which_arguments_its_command_needs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--index \S+ --option seed=3$"):
        Pairs(WALK, {"root": tmp_path, "seed": 3}, tmp_path / "none")


def test_where_no_index_can_be_made_another_place_is_asked_for(made, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PermissionError, match="cannot be made .*: say another --index"):
        index(Walk(made), tmp_path / "file" / "index")


def test_an_absent_index_says_which_command_makes_it(made, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no index .*vlm3 data pairs {WALK} {made} --inde"):
        Pairs(WALK, {"root": made}, tmp_path / "absent")


def test_ranges_that_leave_nothing_tell_what_there_is(made):
    with pytest.raises(
        ValueError, match="none of .* covisible from 0.1 to 0.8, angle_deg from 179"
    ):
        pairs(made, angle_deg=(179, 180))
    with pytest.raises(ValueError, match="most must be 1 or more"):
        pairs(made, most=0)
    with pytest.raises(ValueError, match="no pairs of these frames"):
        Pairs(WALK, {"root": made, "frames": (0, 1)}, made / "index")


def test_scenes_of_one_frame_have_no_pairs(tmp_path):
    quick(Walk(tmp_path, rooms=3, steps=1), tmp_path / "index")
    assert lines(tmp_path / "index") == []
    with pytest.raises(ValueError, match="no pairs of these frames"):
        Pairs(WALK, {"root": tmp_path, "rooms": 3, "steps": 1}, tmp_path / "index")


def test_without_an_index_that_of_a_small_reader_is_made_beside_the_data_and_used_again(tmp_path):
    (tmp_path / "data").mkdir()
    found = Pairs(WALK, {"root": tmp_path / "data", "rooms": 1})
    assert found.index.parent == tmp_path
    assert found.index.name.startswith("data-pairs-")
    before = (found.index / "pairs.jsonl").stat().st_mtime_ns
    assert len(Pairs(WALK, {"root": tmp_path / "data", "rooms": 1})) == len(found)
    assert (found.index / "pairs.jsonl").stat().st_mtime_ns == before
    other = Pairs(WALK, {"root": tmp_path / "data", "rooms": 1, "frames": (0, 20)})
    assert other.index != found.index


def test_without_an_index_that_of_a_large_reader_is_asked_for(made, monkeypatch):
    monkeypatch.setattr(curation_pairs, "SMALL", 79)
    with pytest.raises(FileNotFoundError, match="vlm3 data pairs"):
        Pairs(WALK, {"root": made, "seed": 3})


def test_a_mixture_draws_pairs_from_a_file(made, tmp_path):
    (tmp_path / "pairs.toml").write_text(
        f"""[sources.walk]
from = "vlm3.sources.curation.pairs:Pairs"
task = "pose"
focal_px = 100
[sources.walk.arguments]
of = "{WALK}"
arguments = {{ root = "{made}" }}
index = "{made}/index"
distance_m = [0, inf]
most = 20
"""
    )
    sample = mixture.load(tmp_path / "pairs.toml")[0]
    assert len(sample.views) == 2
    assert sample.qas
