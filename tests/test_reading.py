"""What readers of data sets share, against data sets, files and boxes made by hand."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from tests.readers import demand_reader
from vlm3.geometry import Camera, rotation_from_ypr
from vlm3.sources.reading import Frame, Reader, extras, files, lidar, named, solids
from vlm3.sources.reading.reader import names
from vlm3.sources.rgbd import Rgbd
from vlm3.views import Box, View

CAMERA = Camera(100.0, 80.0, 41.0, 29.0, 80, 60)


@dataclass(frozen=True)
class _Frame(Frame):
    value: int


class Made(Reader):
    """Frames that a text file lists: scene, value."""

    layout = "frames.txt"

    def _frames(self):
        path = self.root / "frames.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        for k, (scene, value) in enumerate(line.split() for line in lines):
            yield _Frame(scene, f"{scene}/{k}", int(value))

    def _view(self, frame):
        if frame.value == 1:
            raise FileNotFoundError("1.png: missing")
        if frame.value == 2:
            raise KeyError("intrinsics")
        return View(np.full((4, 6, 3), frame.value, np.uint8), Camera(5, 5, 3, 2, 6, 4))


def made(root: Path, *lines: str) -> Path:
    root.mkdir(exist_ok=True)
    (root / "frames.txt").write_text("\n".join(lines))
    return root


def values(reader: Reader) -> list[int]:
    return [int(view.image[0, 0, 0]) for view in reader]


HOUSE = "kitchen 10", "office_1 20", "kitchen 11", "office_2 30", "kitchen 12", "office_1 21"


def test_a_reader_is_a_sequence_of_views_scene_by_scene(tmp_path):
    reader = Made(made(tmp_path, *HOUSE))
    assert reader.scenes == ("kitchen", "office_1", "office_2")
    assert values(reader) == [10, 11, 12, 20, 21, 30]
    assert reader[-1].image[0, 0, 0] == 30
    assert len(demand_reader(reader)) == 6
    assert reader.metric
    assert pickle.loads(pickle.dumps(reader)).frames == reader.frames


def test_scenes_are_chosen_by_name_or_pattern(tmp_path):
    root = made(tmp_path, *HOUSE)
    assert Made(root, "office_1").scenes == ("office_1",)
    assert Made(root, "office_*").scenes == ("office_1", "office_2")
    assert Made(root, ["office_2", "k*"]).scenes == ("kitchen", "office_2")
    with pytest.raises(
        ValueError, match=r"no scene 'Kitchen'; its 3 scenes are kitchen, office_1, office_2$"
    ):
        Made(root, ["office_*", "Kitchen"])
    many = made(tmp_path / "many", *(f"room{k:02} 9" for k in range(12)))
    with pytest.raises(ValueError, match=r"its 12 scenes are room00, .*, room07, \.\.\.$"):
        Made(many, "cellar")


def test_frames_are_a_part_of_each_scene(tmp_path):
    root = made(tmp_path, *HOUSE)
    assert values(Made(root, frames=(1, None))) == [11, 12, 21]
    assert values(Made(root, frames=(0, 2))) == [10, 11, 20, 21, 30]
    assert values(Made(root, "kitchen", (None, -1))) == [10, 11]
    with pytest.raises(ValueError, match="its scenes have no frames from 3 to 9"):
        Made(root, frames=(3, 9))


def test_a_folder_without_the_data_says_what_it_should_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: no such folder; give the one with frames"):
        Made(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="nothing to read; give the folder with frames.txt"):
        Made(tmp_path)


def test_an_error_names_the_frame_whatever_went_wrong(tmp_path):
    reader = Made(made(tmp_path, "room 9", "room 1", "room 2", "room 999"))
    with pytest.raises(FileNotFoundError, match="^1.png: missing$"):
        reader[1]
    with pytest.raises(ValueError, match=r", frame room/2: KeyError: 'intrinsics'$"):
        reader[2]
    with pytest.raises(ValueError, match=r", frame room/3: OverflowError: "):
        reader[3]
    with pytest.raises(IndexError):
        reader[4]


def test_readers_are_found_by_their_names():
    assert named("rgbd") is Rgbd
    assert named(f"{__name__}:Made") is Made
    assert {"rgbd", "tum", "scannet"} <= set(names())
    assert "photo" not in names()
    for name in names():
        assert issubclass(named(name), Reader)
        assert named(name).layout
    with pytest.raises(ValueError, match="no reader of 'kitty'; there are .*rgbd, .* module:Class"):
        named("kitty")


def test_a_library_that_is_not_there_says_how_to_get_it():
    assert extras.need("json").loads("1") == 1
    with pytest.raises(ImportError, match=r"needs no_such_thing: pip install 'vlm3\[readers\]'"):
        extras.need("no_such_thing")


# files


def test_a_table_of_numbers_is_read_by_its_shape(tmp_path):
    path = tmp_path / "pose.txt"
    path.write_text("\ufeff1 2e-1 -inf\n nan\t5 6\n\n")
    found = files.matrix(path, (2, 3), "x")
    np.testing.assert_array_equal(found, [[1, 0.2, -np.inf], [np.nan, 5, 6]])
    with pytest.raises(ValueError, match=r"pose.txt: needs 3x3 numbers, has 6; write it"):
        files.matrix(path, (3, 3), "write it")
    path.write_text("1 2 three")
    with pytest.raises(ValueError, match=r"pose.txt: not a table of numbers \(.*three.*\); write"):
        files.matrix(path, (1, 3), "write it")
    path.write_bytes("1 2 3".encode("utf-16"))
    with pytest.raises(ValueError, match="pose.txt: not a text file in UTF-8"):
        files.matrix(path, (1, 3), "write it")
    with pytest.raises(FileNotFoundError, match="absent.txt: missing; write it"):
        files.matrix(tmp_path / "absent.txt", (1, 3), "write it")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path.name}: missing; write it"):
        files.there(tmp_path, "write it")


def test_json_that_is_missing_or_cut_short_names_itself(tmp_path):
    path = tmp_path / "scene.json"
    path.write_text('{"frames": [1, 2')
    with pytest.raises(
        ValueError, match="scene.json: not whole as json .*; download the data set's"
    ):
        files.json_of(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="scene.json: not whole as json"):
        files.json_of(path)
    path.write_text('\ufeff{"frames": [1, 2]}')
    assert files.json_of(path) == {"frames": [1, 2]}
    with pytest.raises(FileNotFoundError, match="absent.json: missing; make it"):
        files.json_of(tmp_path / "absent.json", "make it")


angles = st.floats(-180, 180)


@given(angles, angles, angles, st.integers(0, 2**32 - 1))
def test_a_pose_with_few_digits_becomes_rigid_and_stays_where_it_was(yaw, pitch, roll, seed):
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_ypr(yaw, pitch, roll)
    pose[:3, 3] = np.random.default_rng(seed).uniform(-1e4, 1e4, 3)
    rounded = np.round(pose, 3)
    for numbers in (rounded, rounded[:3], rounded.tolist()):
        found = files.rigid(numbers, "here")
        np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(found[:3, :3]) > 0
        np.testing.assert_array_equal(found[3], [0, 0, 0, 1])
        np.testing.assert_array_equal(found[:3, 3], rounded[:3, 3])
        assert np.abs(found - pose).max() < 2e-3


def test_what_is_no_pose_is_refused_by_name():
    turned = np.eye(4)
    turned[:3, :3] = rotation_from_ypr(30, 20, 10)
    turned[:3, 3] = 1, 2, 3
    files.rigid(turned, "here")
    scaled, mirrored, skewed, lost, nowhere, shrunk = (turned.copy() for _ in range(6))
    scaled[:3, :3] *= 1.02
    mirrored[:, 1] *= -1
    skewed[0, 1] += 0.05
    lost[1, 1] = np.nan
    nowhere[0, 3] = -np.inf
    shrunk[3, 3] = 0.5
    for bad in (scaled, mirrored, skewed, lost, nowhere, shrunk, turned.T, np.zeros((3, 4))):
        with pytest.raises(ValueError, match=r"^0.txt: not a rotation and a translation: \[\["):
            files.rigid(bad, "0.txt")


def test_depth_is_told_in_metres_and_unknown_is_nan(tmp_path):
    path = tmp_path / "depth.png"
    stored = np.array([[0, 1, 1000], [65535, 5000, 40000]], np.uint16)
    Image.fromarray(stored).save(path)
    np.testing.assert_array_equal(files.grey(path), stored)
    nan, depth_m = np.nan, files.depth_png(path, 1000)
    assert depth_m.dtype == np.float32
    np.testing.assert_array_equal(depth_m, np.float32([[nan, 0.001, 1], [65.535, 5, 40]]))
    found = files.depth_png(path, 5000, (0, 65535))
    np.testing.assert_array_equal(found, np.float32([[nan, 0.0002, 0.2], [nan, 1, 8]]))
    assert files.depth_png(path, 256)[1, 2] == 156.25


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_depth_may_have_more_bits(tmp_path, dtype):
    Image.fromarray(np.array([[0, 70000, 2000]], dtype)).save(tmp_path / "depth.tiff")
    np.testing.assert_array_equal(
        files.depth_png(tmp_path / "depth.tiff", 1000), np.float32([[np.nan, 70, 2]])
    )


def test_pictures_that_are_no_depth_are_refused_by_name(tmp_path):
    path = tmp_path / "depth.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 9, (40, 40)).astype(np.uint8)).save(path)
    assert files.grey(path).dtype == np.uint8
    with pytest.raises(ValueError, match="depth.png: has 8 bits .* take the 16-bit files"):
        files.depth_png(path, 1000)
    Image.fromarray(rng.integers(0, 9, (40, 40, 3)).astype(np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"depth.png: needs one channel, has shape \(40, 40, 3\)"):
        files.depth_png(path, 1000)
    Image.fromarray(rng.integers(0, 9999, (40, 40)).astype(np.uint16)).save(path)
    for cut in (20, 200, path.stat().st_size - 40):
        (tmp_path / "cut.png").write_bytes(path.read_bytes()[:cut])
        with pytest.raises(ValueError, match="cut.png: not a picture that .* download it again"):
            files.grey(tmp_path / "cut.png")
    with pytest.raises(FileNotFoundError, match="absent.png: missing; ask for it"):
        files.grey(tmp_path / "absent.png", "ask for it")


def test_records_are_whole_rows(tmp_path):
    path, points = tmp_path / "sweep.bin", np.arange(15, dtype="<f4").reshape(3, 5)
    points.tofile(path)
    np.testing.assert_array_equal(files.records(path, "<f4", 5, "x"), points)
    with pytest.raises(
        ValueError, match="sweep.bin: 60 bytes are no whole number of points of 16 "
    ):
        files.records(path, np.float32, 4, "download it")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="sweep.bin: 0 bytes .*; download it"):
        files.records(path, "<f4", 5, "download it")
    with pytest.raises(FileNotFoundError, match="absent.bin: missing; download it"):
        files.records(tmp_path / "absent.bin", "<f4", 5, "download it")


def test_no_table_leads_out_of_the_folder(tmp_path):
    root = tmp_path / "data"
    (root / "a").mkdir(parents=True)
    assert files.inside(root, "a/../b.png", "t") == root.resolve() / "b.png"
    (root / "link").symlink_to(tmp_path)
    for name in ("../b.png", "/etc/passwd", "a/../../b.png", "link/b.png"):
        with pytest.raises(ValueError, match=r"rgb.txt: image '.*' leaves the folder"):
            files.inside(root, name, "rgb.txt")
    for name in ("", None, 3, "a\0b"):
        with pytest.raises(ValueError, match="rgb.txt: image must be a path"):
            files.inside(root, name, "rgb.txt")


# laser points


def test_a_point_lies_where_it_is_projected_by_hand():
    # u = 100 x / z + 41, v = 80 y / z + 29
    found = lidar.on_image(np.array([[0.5, -0.25, 2.0], [-0.4, 0.5, 4.0]]), CAMERA)
    np.testing.assert_allclose(found, [[66, 19, 2], [31, 39, 4]])


def test_only_what_is_in_front_and_in_the_image_is_kept():
    z = 2.0
    at = {
        (u, v): [(u - 41) * z / 100, (v - 29) * z / 80, z]
        for u in (-0.1, 0, 79.9, 80)
        for v in (30,)
    }
    at |= {(40, v): [-0.02, (v - 29) * z / 80, z] for v in (-0.1, 0.1, 59.9, 60.1)}
    behind = [[0, 0, -2], [0, 0, 0], [0, 0, 0.05], [np.nan, 0, 2], [0, 0, np.inf], [0, 0, np.nan]]
    found = lidar.on_image(np.array([*at.values(), *behind]), CAMERA)
    kept = {(round(u, 6), round(v, 6)) for u, v, _ in found}
    assert kept == {(0, 30), (79.9, 30), (40, 0.1), (40, 59.9)}
    View(np.zeros((60, 80, 3), np.uint8), CAMERA, points=found)
    for none in (np.zeros((0, 3)), np.array(behind[:1], float)):
        assert lidar.on_image(none, CAMERA).shape == (0, 3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 400))
def test_of_one_pixel_only_the_nearest_point_is_kept(seed, n):
    points = np.random.default_rng(seed).uniform([-1, -1, 0.2], [1, 1, 4], (n, 3))
    nearest: dict[tuple[int, int], tuple[float, ...]] = {}
    for x, y, z in points:
        u, v = 100 * x / z + 41, 80 * y / z + 29
        pixel = int(np.floor(u)), int(np.floor(v))
        if 0 <= pixel[0] < 80 and 0 <= pixel[1] < 60:
            nearest[pixel] = min(nearest.get(pixel, (np.inf,)), (z, u, v))
    right = np.array(sorted(nearest.values())).reshape(-1, 3)
    found = sorted(lidar.on_image(points, CAMERA)[:, [2, 0, 1]].tolist())
    np.testing.assert_allclose(np.array(found).reshape(-1, 3), right)


# solids


def pose(x: float, y: float, z: float, *ypr: float) -> np.ndarray:
    found = np.eye(4)
    found[:3, :3] = rotation_from_ypr(*(ypr or (0, 0, 0)))
    found[:3, 3] = x, y, z
    return found


def test_a_box_straight_ahead_has_the_outline_of_its_near_face():
    # its near face is at z = 4: 41 +- 100 * 0.5 / 4, 29 +- 80 * 0.25 / 4
    box = solids.on_image(pose(0, 0, 5), (1.0, 0.5, 2.0), 1, "crate", CAMERA)
    assert box == Box(28.5, 24, 53.5, 34, "crate", (0, 0, 5), (2, 0.5, 1))
    assert all(type(number) is float for number in (*box[:4], *box.centre_m, *box.size_m))


@pytest.mark.parametrize(
    ("up", "size"), [(0, (3.0, 1.0, 2.0)), (1, (3.0, 2.0, 1.0)), (2, (2.0, 3.0, 1.0))]
)
def test_width_is_the_longer_side_of_those_that_lie(up, size):
    assert solids.on_image(pose(0, 0, 9), (1.0, 2.0, 3.0), up, "", CAMERA).size_m == size


def test_a_box_is_cut_at_the_edge_and_left_out_where_too_little_shows():
    # a plate of 1 x 1 m at z = 4: 25 x 20 pixels, its middle at u = 41 + 25 x
    for x, left, right in ((1.2, 58.5, 80), (-1.8, 0, 8.5)):
        box = solids.on_image(pose(x, 0, 4), (1.0, 1.0, 0.0), 1, "plate", CAMERA)
        np.testing.assert_allclose(box[:4], (left, 19, right, 39))
        View(np.zeros((60, 80, 3), np.uint8), CAMERA, boxes=(box,))
        assert box.centre_m == (x, 0, 4)
    # 0.36 and 0.28 of its width are seen
    assert solids.on_image(pose(-1.78, 0, 4), (1.0, 1.0, 0.0), 1, "", CAMERA) is not None
    assert solids.on_image(pose(-1.86, 0, 4), (1.0, 1.0, 0.0), 1, "", CAMERA) is None
    assert solids.on_image(pose(-1.86, 0, 4), (1.0, 1.0, 0.0), 1, "", CAMERA, 0.2) is not None
    for away in (pose(0, 0, -5), pose(9, 0, 4), pose(0, 0, 0.02)):
        assert solids.on_image(away, (1.0, 1.0, 0.1), 1, "", CAMERA) is None


coordinate, side, turn = st.floats(-2, 2), st.floats(0.2, 4), st.floats(-180, 180)


@given(coordinate, coordinate, st.floats(-1, 6), turn, turn, turn, st.tuples(side, side, side))
def test_a_box_bounds_all_of_its_edges_that_lie_ahead(x, y, z, yaw, pitch, roll, size):
    cam_from_box = pose(x, y, z, yaw, pitch, roll)
    along = np.linspace(-0.5, 0.5, 2_001)
    edges = [
        np.insert(np.broadcast_to(ends, (len(along), 2)), axis, along, 1)
        for axis in range(3)
        for ends in ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5))
    ]
    points = np.concatenate(edges) * size @ cam_from_box[:3, :3].T + cam_from_box[:3, 3]
    ahead = points[points[:, 2] > solids.NEAR_M]
    assume(len(ahead))
    uv = ahead[:, :2] / ahead[:, 2:] * [100, 80] + [41, 29]
    low, high = np.clip(uv.min(0), 0, (80, 60)), np.clip(uv.max(0), 0, (80, 60))
    box = solids.on_image(cam_from_box, size, 1, "", CAMERA, shown=-1)
    # where an edge comes to the front between two points, they miss its end
    off_px = 1e-6 if len(ahead) == len(points) else 2.0
    np.testing.assert_allclose(box[:4], [*low, *high], atol=off_px)
