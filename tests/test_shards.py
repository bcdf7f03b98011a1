"""Packing into shards and reading them: made items, and frames of a HoloLens where they lie."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.readers import REAL, open_files, real
from tests.walls import Made, Paired, wall, write_frames
from vlm3 import disk
from vlm3.focal import unify_focal, unify_pair
from vlm3.geometry import Camera
from vlm3.mixture import Mixture, Source
from vlm3.sources import folders, rows, shards
from vlm3.sources.curation import parquet
from vlm3.sources.curation.packing import (
    Packing,
    begin,
    finish,
    pack,
    pack_shard,
    shards_of,
)
from vlm3.sources.reading import Frame
from vlm3.sources.rgbd import Rgbd
from vlm3.sources.shards import Shards
from vlm3.tasks.correspondence import covisible
from vlm3.views import Pair, View

FINE = Packing(focal_px=100.0, quality=None, points=40, per_shard=10)


def packed(items: Sequence, out: object, how: Packing = FINE, **options) -> Shards:
    pack(items, out, how, **options)
    return Shards(out)


def same(a: View, b: View) -> bool:
    depth = a.depth_m is b.depth_m or np.array_equal(a.depth_m, b.depth_m, equal_nan=True)
    points = a.points is b.points or np.array_equal(a.points, b.points)
    poses = np.array_equal(a.world_from_cam, b.world_from_cam)
    boxes = str(a.boxes) == str(b.boxes)  # in which NaN is NaN
    return depth and points and poses and boxes and a.camera == b.camera and same_image(a, b)


def same_image(a: View, b: View) -> bool:
    return np.array_equal(a.image, b.image)


@pytest.fixture(scope="module")
def walls(tmp_path_factory) -> Path:
    """A pack of 25 walls in three shards."""
    out = tmp_path_factory.mktemp("packs") / "walls"
    pack(Made(25), out, FINE)
    return out


def test_a_packed_view_is_the_view_at_the_focal_length(walls):
    found = Shards(walls)
    assert len(found) == 25
    for k in (0, 9, 10, 24):
        wanted = unify_focal(wall(k), 100.0)
        assert same_image(found[k], wanted)
        assert found[k].camera == wanted.camera
        assert np.array_equal(found[k].world_from_cam, wanted.world_from_cam)
        assert str(found[k].boxes) == str(wanted.boxes)
        assert same(unify_focal(found[k], 100.0), found[k])  # nothing is resampled twice
    assert found[-1].camera == found[24].camera
    with pytest.raises(IndexError):
        found[25]


def test_points_are_what_was_measured_at_pixels_of_the_view_before_it_was_resampled(walls):
    view, before = Shards(walls)[3], wall(3)
    assert view.depth_m is None
    assert view.points.shape == (40, 3)
    assert len(np.unique(view.points, axis=0)) == 40
    column, row = ((view.points[:, :2] * np.array([80, 76]) / 100).T - 0.5).round(3)
    assert np.array_equal(column, column.round())
    assert np.array_equal(view.points[:, 2], before.depth_m[row.astype(int), column.astype(int)])


def test_a_point_at_the_edge_stays_inside_where_single_floats_would_round_it_out():
    edge = np.array([[np.nextafter(64.0, 0), np.nextafter(56.0, 0), 2.0]])
    view = View(wall(0).image, wall(0).camera, points=edge)
    (found,) = [parquet.rows.view_of(parquet.rows.row_of(view, None))]
    assert (found.points[0, :2] < (64, 56)).all()
    assert np.allclose(found.points, edge)


def test_jpeg_costs_little_of_a_photograph_and_depth_is_kept_to_a_twentieth_of_a_per_cent(tmp_path):
    smooth = np.mgrid[:56, :64].sum(0).astype(np.uint8)[..., None].repeat(3, -1)
    far = np.geomspace(1e-3, 6e4, 56 * 64).reshape(56, 64).astype(np.float32)
    far[0, 0], far[0, 1] = np.nan, 1e9
    view = View(smooth, Camera(100.0, 100.0, 32, 28, 64, 56), far)
    found = packed([view], tmp_path, Packing(focal_px=100.0, dense=True))[0]
    assert np.abs(found.image[:56].astype(int) - smooth).max() <= 3
    depth_m = found.depth_m[:56]
    assert np.isnan(depth_m[0, 0])
    assert depth_m[0, 1] == 65504
    assert np.isnan(found.depth_m[56:]).all()
    assert np.abs(depth_m / far - 1)[far < 6e4].max() < 0.0005
    assert found.points is None


def test_of_several_views_the_depth_is_kept_so_that_covisibility_can_be_asked_anew(tmp_path):
    found = packed(Made(12, several=2), tmp_path)
    first, second = found[11]
    assert found.frames[11] == Frame("room 2", "11/0")
    assert first.points is None
    uv1 = np.array([[50.0, 40.0], [20.0, 50.0]])
    uv2, seen = covisible(first, second, uv1)
    wanted, _ = covisible(*(unify_focal(wall(11, j), 100.0) for j in (0, 1)), uv1)
    assert seen.all()
    assert np.abs(uv2 - wanted).max() < 0.02


def test_a_pair_keeps_as_many_matches_as_points_the_same_in_both_views(tmp_path):
    found = packed(Paired(3), tmp_path)[2]
    assert isinstance(found, Pair)
    wanted = unify_pair(Paired(3)[2], focal_px=100.0)
    assert found.uv1.shape == found.uv2.shape == (40, 2)
    for uv1, uv2 in zip(found.uv1, found.uv2, strict=True):
        (place,) = np.flatnonzero(np.abs(wanted.uv1 - uv1).max(1) < 1e-4)
        assert np.abs(wanted.uv2[place] - uv2).max() < 1e-4
    assert found.view1.points.shape == (40, 3)
    assert found.view1.depth_m is None


def test_any_process_packs_any_shard_to_the_same_bytes(walls, tmp_path):
    pack(Made(25), tmp_path / "two", FINE, processes=2)
    for part in ((1, 2), (0, 2)):
        pack(Made(25), tmp_path / "array", FINE, part=part)
    begin(Made(25), "memory://mapped", FINE)
    for k in (2, 0, 1):
        assert pack_shard(Made(25), k, "memory://mapped", FINE)["items"] == (5 if k == 2 else 10)
    wanted = Shards(walls).manifest
    assert shards_of(25, 10) == len(wanted["shards"]) == 3
    assert finish(tmp_path / "array") == finish("memory://mapped") == wanted
    assert Shards(tmp_path / "two").manifest == wanted


def test_what_was_stopped_goes_on_where_it_was(walls, tmp_path):
    with pytest.raises(ValueError, match="item 12: photo 12 is gone; mend it, or let may_fail = 1"):
        pack(Made(25, fails=(12,)), tmp_path, FINE)
    with pytest.raises(FileNotFoundError, match="no manifest.json; .* the same command goes on"):
        Shards(tmp_path)
    with pytest.raises(ValueError, match="2 of 3 shards are not packed yet, .* made/00001.json"):
        finish(tmp_path)
    mended = Made(25)
    assert packed(mended, tmp_path).manifest == Shards(walls).manifest
    assert mended.opened == list(range(10, 25))
    pack(mended, tmp_path, FINE)
    assert len(mended.opened) == 15


def test_a_shard_that_could_not_be_written_is_not_told_of(tmp_path, monkeypatch):
    plain = folders.Folder.write

    def full(self, name, content):
        if name.startswith("00001"):
            raise OSError("no space left")
        plain(self, name, content)

    monkeypatch.setattr(folders.Folder, "write", full)
    with pytest.raises(OSError, match="no space left"):
        pack(Made(25), tmp_path, FINE)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["00000.json"]


def test_two_commands_do_not_fill_one_folder_unless_they_say_that_they_share_it(tmp_path):
    with disk.held(tmp_path):
        with pytest.raises(BlockingIOError, match="in use by process"):
            pack(Made(5), tmp_path, FINE)
        pack(Made(5), tmp_path, FINE, part=(1, 2))


def test_items_that_may_fail_are_left_out_and_named_in_the_manifest(tmp_path):
    how = Packing(focal_px=100.0, per_shard=10, may_fail=1)
    found = packed(Made(25, fails=(4, 12)), tmp_path, how)
    assert found.sizes == (9, 9, 5)
    assert found.manifest["left_out"] == {
        "4": "OSError: photo 4 is gone",
        "12": "OSError: photo 12 is gone",
    }
    assert [found.frames[k].name for k in (3, 4, 9)] == ["3/0", "5/0", "10/0"]
    assert found[9].points[:, 2].min() > 2.09  # depth tells the number of the wall


def test_the_manifest_tells_origin_terms_and_what_each_shard_holds(tmp_path):
    origin = {"from": "vlm3.sources.rgbd:Rgbd", "arguments": {"root": "/data"}}
    how = Packing(100.0, per_shard=10, origin=origin, terms="CC BY-NC-SA 4.0")
    told = packed(Made(12), tmp_path, how).manifest
    assert (told["origin"], told["terms"], told["focal_px"]) == (origin, how.terms, 100.0)
    assert (told["items"], told["packed"], told["kind"], told["views"]) == (12, 12, "view", 1)
    assert [shard["items"] for shard in told["shards"]] == [10, 2]
    assert told["made_with"][0].keys() == {"vlm3", "numpy", "pillow", "pyarrow", "datasets"}
    names = {path.name for path in tmp_path.glob("*.parquet")}
    assert names == {shard["file"] for shard in told["shards"]}


def test_another_configuration_never_shares_a_folder(walls, tmp_path):
    with pytest.raises(ValueError, match="focal_px was 100.0, is 50.0; seed was 0, is 1"):
        pack(Made(25), walls, Packing(50.0, quality=None, points=40, per_shard=10, seed=1))
    with pytest.raises(ValueError, match="items was 25, is 26"):
        pack(Made(26), walls, FINE)
    pack_shard(Made(25), 0, tmp_path, Packing(100.0, per_shard=10))
    with pytest.raises(ValueError, match="00000-of-00003.parquet was packed with another config"):
        pack(Made(25), tmp_path, FINE)


def test_as_many_other_frames_are_another_pack(tmp_path):
    root = write_frames(tmp_path / "frames", 6)
    packed(Rgbd(root, frames=(0, 4)), tmp_path / "out")
    with pytest.raises(ValueError, match="frames was '[0-9a-f]{16}', is "):
        pack(Rgbd(root, frames=(2, 6)), tmp_path / "out", FINE)


def test_a_pack_that_was_never_begun_has_nothing_to_finish(tmp_path):
    with pytest.raises(FileNotFoundError, match="no config.json: no pack was begun there"):
        finish(tmp_path)


def test_depth_is_the_same_where_pillow_hands_out_32_bits(walls, monkeypatch):
    wanted = rows.view_of(rows.row_of(wall(0), None)).depth_m
    pixels = rows._pixels
    monkeypatch.setattr(rows, "_pixels", lambda p: _widened(pixels(p)))
    found = rows.view_of(rows.row_of(wall(0), None)).depth_m
    assert np.array_equal(found, wanted, equal_nan=True)


def _widened(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.int32) if pixels.dtype == np.uint16 else pixels


def test_what_cannot_be_packed_says_so(tmp_path):
    with pytest.raises(ValueError, match="nothing to pack"):
        pack([], tmp_path, FINE)
    with pytest.raises(ValueError, match=r"part must be \(i, n\)"):
        pack(Made(3), tmp_path, FINE, part=(2, 2))
    with pytest.raises(ValueError, match="not of one kind: .*'view', 1.*'views', 2"):
        pack([wall(0), (wall(0), wall(1))], tmp_path / "mixed", FINE)
    unknown = View(wall(0).image, None)
    with pytest.raises(ValueError, match="item 0: no focal length known"):
        pack([unknown], tmp_path / "unknown", FINE)


def test_streamed_from_a_bucket_kept_whole_or_on_a_disk_items_are_the_same(walls, tmp_path):
    bucket = fsspec.filesystem("memory")
    bucket.put(str(walls) + "/", "/bucket/walls/", recursive=True)
    near, far = Shards(walls), Shards("memory://bucket/walls")
    kept = Shards("memory://bucket/walls", keep_in=tmp_path / "kept", keep=2)
    as_file = Shards(f"file://{walls}")
    for k in (24, 0, 13, 7):
        assert all(same(near[k], other[k]) for other in (far, kept, as_file))
    assert near.frames == far.frames == kept.frames
    assert len(list((tmp_path / "kept").glob("*.parquet"))) == 2


def test_shards_go_to_other_processes_with_nothing_held_open(walls):
    found = Shards(walls)
    before = open_files()
    views = [found[k] for k in range(25)]
    assert open_files() <= before
    other = pickle.loads(pickle.dumps(found))
    assert all(same(other[k], views[k]) for k in range(0, 25, 6))


def test_one_item_from_a_bucket_costs_one_request_for_its_group_alone(tmp_path, monkeypatch):
    how = Packing(focal_px=100.0, quality=None, per_shard=40)
    pack(Made(40), "memory://counted", how)
    asked = []
    plain = folders.Folder.opened

    def counting(self, name):
        file = plain(self, name)
        read = file.read
        file.read = lambda size=-1: asked.append(size) or read(size)
        return file

    found = Shards("memory://counted")
    assert found[0] is not None  # where in the shard what lies is known from now on
    shards._group.cache_clear()
    monkeypatch.setattr(folders.Folder, "opened", counting)
    assert found[17] is not None
    assert len(asked) == 1
    assert asked[0] < found.manifest["shards"][0]["bytes"] / 4  # a fifth: 8 of 40 items
    assert found[18] is not None
    assert len(asked) == 1


def test_a_damaged_shard_is_named_with_the_way_out(tmp_path):
    found = packed(Made(25), tmp_path / "pack")
    file = sorted((tmp_path / "pack").glob("*.parquet"))[1]
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    again = Shards(tmp_path / "pack")
    assert same(again[0], found[0])
    with pytest.raises(ValueError, match="00001-of-00003.parquet: cannot be read .* pack it again"):
        again[12]
    fsspec.filesystem("memory").put(str(tmp_path / "pack") + "/", "/hurt/", recursive=True)
    with pytest.raises(ValueError, match="00001-of-00003.parquet: not what its manifest tells of"):
        Shards("memory://hurt", keep_in=tmp_path / "kept")[12]
    file.unlink()
    with pytest.raises(FileNotFoundError, match="00001-of-00003.parquet: missing; .* pack it"):
        again[12]
    (tmp_path / "pack" / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="manifest.json: damaged"):
        Shards(tmp_path / "pack")


@pytest.mark.parametrize("hurt", ["gone", "cut", "changed"])
def test_packing_again_mends_a_damaged_shard_and_leaves_the_others(hurt, tmp_path):
    packed(Made(25), tmp_path)
    first, file = sorted(tmp_path.glob("*.parquet"))[:2]
    content, before = bytearray(file.read_bytes()), first.stat().st_mtime_ns
    whole = bytes(content)
    if hurt == "changed":
        content[len(content) // 2] ^= 1
    file.write_bytes(content[: 1000 if hurt == "cut" else None])
    if hurt == "gone":
        file.unlink()
    packed(Made(25), tmp_path)
    assert file.read_bytes() == whole
    assert first.stat().st_mtime_ns == before


def test_a_folder_in_which_nothing_was_packed_yet_may_be_begun_otherwise(tmp_path):
    broken = Made(25, fails=(4,))
    with pytest.raises(ValueError, match="let may_fail = 1"):
        pack(broken, tmp_path, FINE)
    told = pack(broken, tmp_path, replace(FINE, may_fail=1))  # as it was told to
    assert list(told["left_out"]) == ["4"]


@pytest.mark.parametrize("wrong", [{"per_shard": 0}, {"points": -3}, {"may_fail": -1}])
def test_a_packing_that_cannot_be_is_refused_before_anything_is_written(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        Packing(**wrong)


def test_a_pack_is_not_asked_about_at_a_longer_focal_length_than_its_own(walls):
    assert Source(Shards(walls), "depth", focal_px=100.0)
    with pytest.raises(ValueError, match="focal_px = 200, but these views were packed at 100 px"):
        Source(Shards(walls), "depth", focal_px=200.0)


def test_hugging_face_datasets_opens_the_files_and_shows_the_photographs(walls, tmp_path):
    datasets = pytest.importorskip("datasets")
    files = str(walls / "*.parquet")
    table = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path)
    )
    assert len(table) == 25
    row, view = table[13], Shards(walls)[13]
    assert row["image"].size == view.size
    assert np.array_equal(np.asarray(row["image"]), view.image)
    assert (row["item"], row["scene"], row["frame"]) == (13, "room 1", "13/0")
    assert row["camera"][:2] == [100.0, 100.0]
    assert np.allclose(row["points"], view.points)
    assert row["boxes"][0]["name"] == "crate"
    assert np.array_equal(row["world_from_cam"], view.world_from_cam)


def test_a_mixture_asks_the_same_of_shards_wherever_they_are(walls):
    fsspec.filesystem("memory").put(str(walls) + "/", "/mixed/", recursive=True)
    near, far = (
        Mixture({"walls": Source(Shards(at), "depth", 3, 100.0)}, seed=5)
        for at in (walls, "memory://mixed")
    )
    assert all(near[k].qas == far[k].qas for k in range(0, 60, 7))


def test_in_shard_order_is_told_to_the_mixture_as_the_sizes_of_its_stretches(walls):
    assert Shards(walls).stretches is None
    assert Shards(walls, in_shard_order=True).stretches == (10, 10, 5)


def test_shards_of_real_frames_hold_what_the_reader_gives(tmp_path):
    reader = Rgbd(real(REAL / "hololens"), frames=(0, 12))
    found = packed(reader, tmp_path, Packing(focal_px=1000.0, per_shard=8))
    assert found.frames[11] == Frame(reader.frames[11].scene, reader.frames[11].name)
    wanted, view = unify_focal(reader[11], 1000.0), found[11]
    assert view.camera == wanted.camera
    off = np.abs(view.image.astype(float) - wanted.image)
    assert off.mean() < 1
    column, row = view.points[:, :2].astype(int).T
    known = np.isfinite(wanted.depth_m[row, column])
    gap = np.abs(view.points[:, 2] / wanted.depth_m[row, column] - 1)[known]
    assert known.mean() > 0.98
    assert np.median(gap) < 1e-6


PACKED = {"FOCAL_PX": "100", "PER_SHARD": "5"}


def test_two_tasks_of_a_slurm_array_pack_what_one_command_packs(tmp_path):
    root = write_frames(tmp_path / "frames", 12)
    origin = {"from": "rgbd", "arguments": {"root": str(root)}}
    script = [str(ROOT / "book/record/pack_slurm.sh"), "2", "rgbd", str(root)]
    around = os.environ | PACKED | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    script.append(str(tmp_path / "out"))
    tasks = [
        subprocess.Popen(script, env=around | {"SLURM_ARRAY_TASK_ID": task}) for task in ("0", "1")
    ]
    assert [task.wait() for task in tasks] == [0, 0]
    subprocess.run(script, env=around, check=True)
    how = Packing(100.0, per_shard=5, origin=origin)
    wanted = packed(Rgbd(root), tmp_path / "one", how).manifest
    assert Shards(tmp_path / "out").manifest == wanted


def test_ray_packs_what_one_command_packs(tmp_path):
    pytest.importorskip("ray")
    root = write_frames(tmp_path / "frames", 12)
    origin = {"from": "rgbd", "arguments": {"root": str(root)}}
    script = [sys.executable, str(ROOT / "book/record/pack_ray.py"), "rgbd", str(root)]
    script += [str(tmp_path / "out"), "--focal-px", "100", "--per-shard", "5", "--workers", "2"]
    subprocess.run(script, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    how = Packing(100.0, per_shard=5, origin=origin)
    wanted = packed(Rgbd(root), tmp_path / "one", how).manifest
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == wanted
