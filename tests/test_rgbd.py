"""Folders of RGB-D frames: made ones for every branch, and real ones warped into each other."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests import worlds
from tests.readers import FORMATS, REAL, demand_reader, real
from vlm3.geometry import Camera
from vlm3.sources.rgbd import Rgbd
from vlm3.views import View

CAMERA = Camera(90.0, 88.0, 41.0, 29.0, 80, 60)
COUNTED = "90 0 40.5\n0 88 28.5\n0 0 1\n"  # from pixel centres


def frame(folder: Path, number: int, view: View | None = None, kind: str = "png") -> Path:
    """Frame `number` of a folder, of the wall of `worlds` unless told; returns its photograph."""
    pose = worlds.facing(0.05 * number, 0.1, -2, 2 * number)
    view = view or worlds.wall(CAMERA, pose)
    stem = f"frame-{number:06}"
    worlds.save(view.image, folder / f"{stem}.color.{kind}")
    worlds.save(np.round(1000 * view.depth_m).astype(np.uint16), folder / f"{stem}.depth.png")
    np.savetxt(folder / f"{stem}.pose.txt", pose, fmt="%.7e", delimiter="\t ")
    return folder / f"{stem}.color.{kind}"


def room(root: Path, frames: int = 3) -> Path:
    for number in range(frames):
        frame(root, number)
    (root / "camera-intrinsics.txt").write_text(COUNTED)
    return root


def test_views_are_what_was_written(tmp_path):
    views = demand_reader(Rgbd(room(tmp_path)))
    for number, view in enumerate(views):
        right = worlds.wall(CAMERA, worlds.facing(0.05 * number, 0.1, -2, 2 * number))
        worlds.demand_same(view, right, depth=3e-4)
        assert (view.image == right.image).all()
        assert view.camera == CAMERA
    agree, colours = worlds.fit(views[0], views[2])
    assert agree == 1
    assert colours < 12


def test_frames_may_lack_depth_and_pose_and_be_jpg(tmp_path):
    photo = frame(tmp_path, 7, kind="jpg")
    (tmp_path / "camera-intrinsics.txt").write_text(COUNTED)
    for ending in ("depth.png", "pose.txt"):
        photo.with_name(f"frame-000007.{ending}").unlink()
    (view,) = Rgbd(tmp_path)
    assert view.depth_m is None
    assert view.world_from_cam is None
    assert (tmp_path / "frame-000007.color.jpg").exists()


def test_unknown_depth_is_what_the_folder_says(tmp_path):
    room(tmp_path, 1)
    stored = np.full((60, 80), 3000, np.uint16)
    stored[0], stored[1], stored[2] = 0, 65535, 7
    worlds.save(stored, tmp_path / "frame-000000.depth.png")
    depth_m = Rgbd(tmp_path)[0].depth_m
    assert np.isnan(depth_m[:2]).all()
    np.testing.assert_allclose(depth_m[2:, 0], [0.007, *[3.0] * 57])
    meta = {"depth_units_per_m": 10000, "invalid": [0, 7]}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    depth_m = Rgbd(tmp_path)[0].depth_m
    assert np.isnan(depth_m[[0, 2]]).all()
    np.testing.assert_allclose(depth_m[[1, 3], 0], [6.5535, 0.3], rtol=1e-6)


def test_a_lost_pose_is_none(tmp_path):
    room(tmp_path, 1)
    (tmp_path / "frame-000000.pose.txt").write_text("nan inf -inf 0 " * 4)
    assert Rgbd(tmp_path)[0].world_from_cam is None


def test_the_nearest_intrinsics_count_and_7_scenes_has_a_nominal_camera(tmp_path):
    inner = room(tmp_path / "office" / "part", 1)
    (tmp_path / "camera-intrinsics.txt").write_text("70 0 39.5\n0 70 29.5\n0 0 1\n")
    assert Rgbd(tmp_path)[0].camera == CAMERA
    (inner / "camera-intrinsics.txt").rename(tmp_path / "office" / "camera-intrinsics.txt")
    assert Rgbd(tmp_path)[0].camera == CAMERA
    (tmp_path / "office" / "camera-intrinsics.txt").unlink()
    assert Rgbd(tmp_path)[0].camera == Camera(70, 70, 40, 30, 80, 60)
    # a file above root is of something else
    with pytest.raises(ValueError, match=r"is 80x60, .* no camera-intrinsics.txt .* write fx 0 cx"):
        Rgbd(tmp_path / "office")[0]
    frame(
        tmp_path / "office", 9, View(np.zeros((480, 640, 3), np.uint8), None, np.ones((480, 640)))
    )
    assert Rgbd(tmp_path / "office")[0].camera == Camera(585, 585, 320.5, 240.5, 640, 480)


def test_a_scene_is_a_folder_and_the_sequences_of_7_scenes_are_one(tmp_path):
    for folder in ("chess/seq-01", "chess/seq-02", "heads/seq-01"):
        room(tmp_path / folder, 2)
    reader = Rgbd(tmp_path)
    assert reader.scenes == ("chess", "heads")
    assert reader.frames[2].name == "chess/seq-02/frame-000000"
    chess = Rgbd(tmp_path / "chess")
    assert chess.scenes == ("chess",)
    assert [frame.name for frame in chess.frames[:3:2]] == [
        "seq-01/frame-000000",
        "seq-02/frame-000000",
    ]
    assert len(Rgbd(tmp_path, scenes="h*")) == 2
    assert [frame.name for frame in Rgbd(tmp_path, frames=(1, 2)).frames] == [
        "chess/seq-01/frame-000001",
        "heads/seq-01/frame-000001",
    ]
    demand_reader(chess)


def test_labels_are_boxes_of_objects_with_their_place(tmp_path):
    room(tmp_path, 2)
    worlds.save(np.full((60, 80), 2000, np.uint16), tmp_path / "frame-000000.depth.png")
    labels = np.zeros((60, 80), np.uint8)
    labels[:20] = 5  # a table
    labels[30:40, 10:30], labels[30:40, 30:40] = 20, 23  # two faces of one object
    labels[50:60, 60:80] = 31
    for number in (0, 1):
        worlds.save(labels, tmp_path / f"frame-{number:06}.label.png")
    assert Rgbd(tmp_path)[0].boxes == ()
    reader = Rgbd(tmp_path, objects=(20, 39, 10))
    one, two = reader[0].boxes
    assert one[:4] == (10, 30, 40, 40)
    assert two[:4] == (60, 50, 80, 60)
    # by hand: (25 - 41) / 90 and (35 - 29) / 88, times 2 m
    np.testing.assert_allclose(one.centre_m, [-0.35556, 0.13636, 2], atol=1e-5)
    np.testing.assert_allclose(one.size_m[:2], [0.66667, 0.22727], atol=1e-5)
    (tmp_path / "frame-000001.depth.png").unlink()
    assert reader[1].boxes == ()
    (tmp_path / "frame-000000.label.png").unlink()
    assert reader[0].boxes == ()
    demand_reader(reader)


def test_errors_name_the_file_and_the_way_out(tmp_path):
    room(tmp_path, 1)
    stem = tmp_path / "frame-000000"

    def demand(words: str) -> None:
        with pytest.raises(ValueError, match=words):
            Rgbd(tmp_path, objects=(1, 9, 1))[0]

    worlds.save(np.ones((30, 40), np.uint8), stem.with_suffix(".label.png"))
    demand(r"frame-000000.label.png: is \(40, 30\), its photograph \(80, 60\): resize it")
    stem.with_suffix(".pose.txt").write_text("1 0 0 0 0 1 0 0 0 0 2 0 0 0 0 1")
    demand("frame-000000.pose.txt: not a rotation and a translation")
    stem.with_suffix(".pose.txt").write_text("1 0 0")
    demand("frame-000000.pose.txt: needs 4x4 numbers, has 3; take the pose files of the publisher")
    stem.with_suffix(".pose.txt").unlink()
    (tmp_path / "meta.json").write_text('{"depth_units_per_m": ')
    demand("meta.json: not whole as json")
    (tmp_path / "meta.json").write_text('{"depth_units_per_m": "mm"}')
    demand("meta.json: depth_units_per_m must be a number above 0, got 'mm'")
    (tmp_path / "meta.json").unlink()
    worlds.save(np.ones((30, 40), np.uint16), stem.with_suffix(".depth.png"))
    demand("frame-000000.depth.png: is 40x30, its photograph 80x60: bring both to one camera")
    worlds.save(np.ones((60, 80), np.uint8), stem.with_suffix(".depth.png"))
    demand("frame-000000.depth.png: has 8 bits per pixel, .* take the 16-bit files")
    stem.with_suffix(".depth.png").write_bytes(b"\x89PNG\r\n")
    demand("frame-000000.depth.png: not a picture that can be read whole")
    (tmp_path / "camera-intrinsics.txt").write_text("90 0 40.5")
    demand("camera-intrinsics.txt: needs 3x3 numbers, has 3; write fx 0 cx")
    photo = stem.with_suffix(".color.png")
    photo.write_bytes(photo.read_bytes()[:99])
    demand("frame-000000.color.png: not a picture that can be read whole")
    photo.unlink()
    with pytest.raises(FileNotFoundError, match="nothing to read; give the folder with frame-0000"):
        Rgbd(tmp_path)


def disagreement(view1: View, view2: View) -> tuple[float, float]:
    """Median of |z / z seen - 1| of pixels of view 1 in view 2, and correlation of their greys."""
    rows, columns = np.nonzero(np.isfinite(view1.depth_m))
    z = view1.depth_m[rows, columns].astype(float)
    cam1 = np.linalg.inv(view1.camera.K) @ np.stack([columns + 0.5, rows + 0.5, np.ones(len(z))])
    world = view1.world_from_cam @ np.vstack([cam1 * z, np.ones(len(z))])
    x, y, z2 = view2.camera.K @ (np.linalg.inv(view2.world_from_cam) @ world)[:3]
    with np.errstate(invalid="ignore", divide="ignore"):
        u, v = np.floor(x / z2), np.floor(y / z2)
    lands = (z2 > 0) & (u >= 0) & (u < view2.size[0]) & (v >= 0) & (v < view2.size[1])
    at = v[lands].astype(int), u[lands].astype(int)
    off = np.abs(z2[lands] / view2.depth_m[at] - 1)
    greys = view1.image.mean(-1)[rows, columns][lands], view2.image.mean(-1)[at]
    return float(np.nanmedian(off)), float(np.corrcoef(*greys)[0, 1])


@pytest.mark.parametrize(
    ("folder", "step", "off", "alike"),
    [  # as measured over the whole folder, rounded up: 0.26, 0.48, 0.55 and 0.50 %
        (REAL / "hololens", 3, 0.005, 0.8),
        (REAL / "kitchen", 5, 0.008, 0.8),
        (REAL / "desk", 10, 0.008, 0.85),
        (FORMATS / "seven_scenes", 1, 0.006, 0.85),
    ],
)
def test_real_frames_carried_into_others_by_depth_and_pose_agree(folder, step, off, alike):
    reader = Rgbd(real(folder))
    starts = range(0, len(reader) - step, max(1, len(reader) // 4))
    found = np.array([disagreement(reader[k], reader[k + step]) for k in starts])
    assert np.median(found[:, 0]) < off
    assert np.median(found[:, 1]) > alike
    first, second = reader[0], reader[step]
    poses = first.world_from_cam, second.world_from_cam
    swapped = [
        View(view.image, view.camera, view.depth_m, world_from_cam=pose)
        for view, pose in zip((first, second), poses[::-1], strict=True)
    ]
    assert disagreement(*swapped)[0] > 5 * disagreement(first, second)[0]


def test_the_board_lies_in_the_plane_zero_of_its_world():
    reader = Rgbd(real(REAL / "board"))
    first, second = reader[0], reader[2]
    assert first.depth_m is None

    def likeness(height_m: float) -> float:
        """Of the two pictures of a part of the plane z = height_m."""
        xy = np.random.default_rng(0).uniform(-0.25, 0.25, (2, 3000))
        points = np.vstack([xy, np.full(3000, height_m), np.ones(3000)])
        seen, inside = [], np.ones(3000, bool)
        for view in (first, second):
            x, y, z = view.camera.K @ (np.linalg.inv(view.world_from_cam) @ points)[:3]
            inside &= (
                (z > 0) & (x >= 0) & (x < z * view.size[0]) & (y >= 0) & (y < z * view.size[1])
            )
            seen.append((view, x / z, y / z))
        greys = [
            view.image.mean(-1)[v[inside].astype(int), u[inside].astype(int)] for view, u, v in seen
        ]
        return float(np.corrcoef(*greys)[0, 1])

    heights = [likeness(h) for h in (-0.1, -0.05, 0.0, 0.05, 0.1)]
    assert np.argmax(heights) == 2
    assert heights[2] > 0.6
    assert heights[2] > max(heights[1], heights[3]) + 0.1


def test_real_objects_on_tables_have_sizes_of_household_things():
    reader = Rgbd(real(REAL / "tables"), objects=(20, 219, 10))
    boxes = [box for k in range(0, len(reader), 10) for box in reader[k].boxes]
    assert len(boxes) > 40
    centres, sizes = (
        np.array([getattr(box, of) for box in boxes]) for of in ("centre_m", "size_m")
    )
    assert ((centres[:, 2] > 0.4) & (centres[:, 2] < 1.4)).all()
    assert ((sizes[:, :2] > 0.01) & (sizes[:, :2] < 0.6)).all()
    assert 0.08 < np.median(sizes[:, :2]) < 0.25
