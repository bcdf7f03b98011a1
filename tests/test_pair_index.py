"""The index of pairs: what it says, and how it is made. The data are made, see `tests.walks`."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.walks import CAMERA, Unscaled, Walk, depth_of, lines, quick
from vlm3 import disk
from vlm3.geometry import relative_pose, rotation_angle_deg
from vlm3.sources.curation import candidates as curation_candidates
from vlm3.sources.curation import parts
from vlm3.sources.curation.candidates import candidates
from vlm3.sources.curation.covisibility import Glances, covisibility
from vlm3.sources.curation.indexing import rows
from vlm3.views import View, points_of


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A root with the index of two rooms of 40 frames."""
    root = tmp_path_factory.mktemp("made")
    quick(Walk(root), root / "index")
    return root


def test_a_pair_tells_what_its_two_views_see_of_each_other_and_how_the_camera_moved(made):
    reader = Walk(made)
    place = {frame.name: k for k, frame in enumerate(reader.frames)}
    found = lines(made / "index")
    for line in found[::97]:
        a, b = (reader[place[name]] for name in line["frames"])
        motion = relative_pose(a.world_from_cam, b.world_from_cam)
        assert line["covisible"] == pytest.approx(covisibility(a, b, 24), abs=1e-3)
        assert line["angle_deg"] == pytest.approx(rotation_angle_deg(motion[:3, :3]), abs=0.01)
        assert line["distance_m"] == pytest.approx(np.linalg.norm(motion[:3, 3]), rel=1e-3)
        assert {reader.frames[place[name]].scene for name in line["frames"]} == {line["scene"]}


def test_each_two_frames_are_compared_once_and_hardly_a_pair_that_sees_much_is_missed(made):
    reader = Walk(made, scenes="room0")
    found = [frozenset(line["frames"]) for line in lines(made / "index")]
    assert len(set(found)) == len(found)
    frames = Glances.join([Glances.of(view, 24) for view in reader])
    a, b = np.triu_indices(len(reader), 1)
    both = np.minimum(frames.shares(a, b), frames.shares(b, a))
    much = {
        frozenset((reader.frames[i].name, reader.frames[j].name))
        for i, j, share in zip(a, b, both, strict=True)
        if share > 0.2
    }
    assert len(much) > 50
    assert len(much - set(found)) < 0.05 * len(much)


def test_no_more_neighbours_are_measured_than_told(made, tmp_path):
    quick(Walk(made), tmp_path, neighbours=3)
    found = lines(tmp_path)
    assert 120 < len(found) <= 3 * 80 < len(lines(made / "index"))
    assert max(Counter(line["frames"][0] for line in found).values()) == 3


def along(x_m: list[float]) -> Glances:
    """Frames side by side."""
    poses = np.tile(np.eye(4), (len(x_m), 1, 1))
    poses[:, 0, 3] = x_m
    image = np.zeros((96, 128, 3), np.uint8)
    views = [View(image, CAMERA, depth_of(p), world_from_cam=p) for p in poses]
    return Glances.join([Glances.of(view, 24) for view in views])


def test_rare_motions_are_measured_as_well_as_common_ones():
    scene = along([0, 0.5, 0.9, 1.8, *np.linspace(0.001, 0.01, 40)])
    found = candidates(scene, 0, 6, np.random.default_rng(0))
    assert len(found) == 6
    assert {1, 2, 3} < set(found.tolist())


def test_the_index_does_not_depend_on_the_number_of_processes(tmp_path):
    reader = Walk(tmp_path, rooms=3, steps=30)
    for processes in (1, 2):
        quick(reader, tmp_path / str(processes), processes)
    assert (tmp_path / "1" / "pairs.jsonl").read_bytes() == (
        tmp_path / "2" / "pairs.jsonl"
    ).read_bytes()
    assert sorted(path.name for path in (tmp_path / "2").iterdir() if path.name[0] != ".") == [
        "config.json",
        "frames.jsonl",
        "made.json",
        "pairs.jsonl",
    ]


class Stopped(Walk):
    """Counts what is read, and stops after so many frames."""

    left = 0

    def _view(self, frame):
        if not Stopped.left:
            raise OSError("the disk")
        Stopped.left -= 1
        return super()._view(frame)


def test_a_stopped_index_goes_on_where_it_was_and_reads_no_part_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART", 16)
    reader = Stopped(tmp_path, rooms=2, steps=40)
    Stopped.left = 70  # four parts, and six frames of the fifth, which is the last
    with pytest.raises(OSError, match="the disk"):
        quick(reader, tmp_path / "index")
    with pytest.raises(FileNotFoundError, match="not finished.*vlm3 data pairs .*Stopped"):
        rows(tmp_path / "index", reader)
    Stopped.left = 16
    monkeypatch.setattr(parts, "candidates", stopping(candidates, 50))
    with pytest.raises(OSError, match="the disk"):
        quick(reader, tmp_path / "index")
    assert Stopped.left == 0
    asked = stopping(candidates, 80)
    monkeypatch.setattr(parts, "candidates", asked)
    quick(reader, tmp_path / "index")  # reads nothing
    assert asked.left == 80 - 32  # of five parts three were there
    monkeypatch.undo()
    whole = quick(Walk(tmp_path, steps=40), tmp_path / "whole")
    assert lines(whole) == lines(tmp_path / "index")


def stopping(act, after: int):
    def found(*args):
        if not found.left:
            raise OSError("the disk")
        found.left -= 1
        return act(*args)

    found.left = after
    return found


def test_a_finished_index_is_not_made_again(made):
    before = (made / "index" / "pairs.jsonl").stat().st_mtime_ns
    assert quick(Walk(made), made / "index") == made / "index"
    assert (made / "index" / "pairs.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["config.json", "frames.jsonl", "pairs.jsonl"])
def test_an_index_that_was_cut_off_is_named_with_the_way_out(name, made, tmp_path):
    index = shutil.copytree(made / "index", tmp_path / "index")
    (index / name).write_bytes((index / name).read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{name}: cut off.*make it again: vlm3 data pairs"):
        rows(index, Walk(made))
    (index / name).unlink()
    with pytest.raises(ValueError, match=f"{name}: cut off, changed or gone"):
        rows(index, Walk(made))


@pytest.mark.parametrize(
    ("arguments", "how", "told"),
    [
        ({"steps": 39}, {}, "frames was 80, is 78"),
        ({"seed": 1}, {}, "arguments/seed was 0, is 1"),
        ({"scenes": "room1"}, {}, "names was"),
        ({}, {"neighbours": 5}, "neighbours was 24, is 5"),
    ],
)
def test_the_index_of_something_else_is_not_gone_on_with(made, arguments, how, told):
    with pytest.raises(ValueError, match=told):
        quick(Walk(made, **arguments), made / "index", **how)


def test_one_command_at_a_time_makes_an_index(made, tmp_path):
    with disk.held(tmp_path / "index"), pytest.raises(BlockingIOError, match="is in use by"):
        quick(Walk(made), tmp_path / "index")


def test_frames_that_cannot_be_read_have_no_pairs_and_are_told_of(tmp_path):
    reader = Walk(tmp_path, broken=("room0/00003", "room1/00005"))
    for _ in range(2):  # the second time it is there already
        with pytest.warns(UserWarning, match="2 of 80 frames .* room0/00003 .*cut short"):
            quick(reader, tmp_path / "index")
    named = {name for line in lines(tmp_path / "index") for name in line["frames"]}
    assert named == {frame.name for frame in reader.frames} - set(reader.broken)
    frames = [json.loads(t) for t in (tmp_path / "index" / "frames.jsonl").open()]
    assert [f["name"] for f in frames if "cut short" in f.get("error", "")] == list(reader.broken)


def test_where_no_frame_can_be_used_the_first_reason_is_told_each_time(tmp_path):
    names = [f"room0/{k:05}" for k in range(3)]
    reader = Walk(tmp_path, rooms=1, steps=3, broken=names)
    for _ in range(2):
        with pytest.raises(ValueError, match="none of 3 frames .* room0/00000: .*cut short"):
            quick(reader, tmp_path / "index")


def test_a_disk_that_goes_away_is_no_broken_frame(tmp_path):
    (tmp_path / "data").mkdir()
    reader = Walk(tmp_path / "data", rooms=1, steps=3, broken=["room0/00001"])
    (tmp_path / "data").rmdir()
    with pytest.raises(ValueError, match="room0/00001: cut short"):
        quick(reader, tmp_path / "index")


def test_a_damaged_part_is_named(tmp_path):
    reader = Walk(tmp_path, rooms=1, steps=3)
    (tmp_path / "index" / "parts").mkdir(parents=True)
    part = tmp_path / "index" / "parts" / "frames-00000000.npz"
    part.write_bytes(b"PK\x03\x04half")
    with pytest.raises(ValueError, match="frames-00000000.npz: damaged .* remove it and go on"):
        quick(reader, tmp_path / "index")


def test_where_lengths_are_no_metres_about_the_same_pairs_are_found(tmp_path, made):
    quick(Unscaled(tmp_path), tmp_path / "index")
    found = {tuple(line["frames"]): line["covisible"] for line in lines(tmp_path / "index")}
    metric = {tuple(line["frames"]): line["covisible"] for line in lines(made / "index")}
    both = found.keys() & metric.keys()
    assert len(both) > 0.9 * len(metric)
    assert np.abs([np.subtract(found[k], metric[k]) for k in both]).mean() < 0.02


class Scanned(Walk):
    """Of every other frame only what a scanner sees."""

    def _view(self, frame):
        view = super()._view(frame)
        if int(frame.name[-1]) % 2:
            return view
        known = np.where(np.arange(48)[:, None] % 4, np.nan, view.depth_m)
        return replace(view, depth_m=None, points=points_of(known))


def test_frames_with_laser_points_are_paired_like_those_with_depth(tmp_path, made, monkeypatch):
    monkeypatch.setattr(parts, "PART", 16)
    quick(Scanned(tmp_path), tmp_path / "index")
    found = {tuple(line["frames"]): line["covisible"] for line in lines(tmp_path / "index")}
    dense = {tuple(line["frames"]): line["covisible"] for line in lines(made / "index")}
    some = [pair for pair in dense if any(int(name[-1]) % 2 == 0 for name in pair)]
    both = [pair for pair in some if pair in found]
    assert len(both) > 0.6 * len(some)
    assert np.median([np.abs(np.subtract(found[pair], dense[pair])) for pair in both]) < 0.05


def test_in_a_large_scene_the_nearest_frames_are_looked_at_and_as_many_others(monkeypatch):
    monkeypatch.setattr(curation_candidates, "_MOST", 20)
    found = candidates(along(np.arange(100) / 100), 0, 50, np.random.default_rng(0))
    assert set(range(1, 11)) <= set(found.tolist())
    assert len(found) == 20
    assert found.max() > 25
