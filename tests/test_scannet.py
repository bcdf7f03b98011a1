"""ScanNet as SensReader exports it: depth of one camera on the photograph of another.

Scans are made here as the publisher's reader.py writes them; no real one is at hand.
"""

from pathlib import Path

import numpy as np
import pytest

from tests import worlds
from tests.readers import demand_reader
from vlm3.focal import unify_focal
from vlm3.geometry import Camera
from vlm3.sources.scannet import Scannet

COLOUR = Camera(146.3, 145.9, 81.2, 60.4, 162, 121)
DEPTH = Camera(90.0, 91.0, 41.0, 29.0, 80, 60)  # sees less on the sides than COLOUR
NAME = "scene0000_00"


def matrix(path: Path, values: np.ndarray) -> None:
    """As SensReader does, six digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, values, fmt="%f")


def intrinsic(camera: Camera) -> np.ndarray:
    found = np.eye(4)
    found[:3, :3] = camera.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    return found


def scan(root: Path, numbers=(0, 1, 10, 2), name: str = NAME) -> Path:
    """Frames of a wall that a camera walks along, turned by up to 40 degrees."""
    folder = root / name
    for kind, camera in (("color", COLOUR), ("depth", DEPTH)):
        matrix(folder / f"intrinsic/intrinsic_{kind}.txt", intrinsic(camera))
        matrix(folder / f"intrinsic/extrinsic_{kind}.txt", np.eye(4))
    for number in numbers:
        pose = worlds.facing(0.1 * number, 0.2, -2, 4 * number)
        worlds.save(worlds.wall(COLOUR, pose).image, folder / f"color/{number}.jpg")
        millimetres = np.round(1000 * worlds.wall(DEPTH, pose).depth_m).astype(np.uint16)
        worlds.save(millimetres, folder / f"depth/{number}.png")
        matrix(folder / f"pose/{number}.txt", pose)
    return root


def test_depth_lies_on_the_pixel_of_the_photograph_that_sees_the_same(tmp_path):
    views = demand_reader(Scannet(scan(tmp_path)))
    for view, number in zip(views, (0, 1, 2, 10), strict=True):
        assert view.size == COLOUR.size
        np.testing.assert_allclose(view.camera.K, COLOUR.K, atol=1e-5)
        pose = worlds.facing(0.1 * number, 0.2, -2, 4 * number)
        np.testing.assert_allclose(view.world_from_cam, pose, atol=1e-5)
        right = worlds.wall(COLOUR, pose)
        known = np.isfinite(view.depth_m)
        # half a pixel of depth, across a wall that is turned, at its far side; half a millimetre
        slope = np.tan(np.radians(4 * number))
        pixel = slope / (1 - 41 / 90 * slope) / DEPTH.fx
        off = np.abs(view.depth_m / right.depth_m - 1)[known]
        assert off.max() < 0.5 * pixel + 5e-4
        assert np.abs(view.image.astype(int) - right.image).mean() < 12  # jpg


def test_what_only_the_photograph_shows_has_no_depth(tmp_path):
    depth_m = Scannet(scan(tmp_path, [0]))[0].depth_m
    columns = np.flatnonzero(np.isfinite(depth_m).any(0))
    rows = np.flatnonzero(np.isfinite(depth_m).any(1))
    # the edges of the depth image as rays, by hand: (0 - 41) / 90 and (80 - 41) / 90
    edges = [146.3 * -41 / 90 + 81.2, 146.3 * 39 / 90 + 81.2]
    np.testing.assert_allclose([columns[0], columns[-1] + 1], edges, atol=0.5)
    edges = [145.9 * -29 / 91 + 60.4, 145.9 * 31 / 91 + 60.4]
    np.testing.assert_allclose([rows[0], rows[-1] + 1], edges, atol=0.5)
    assert np.isfinite(depth_m[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]).all()


def test_two_views_fit(tmp_path):
    first, _, second, _ = Scannet(scan(tmp_path))
    agree, colours = worlds.fit(first, second)
    assert agree > 0.55  # of those that land, the others where depth is unknown
    assert colours < 12
    unify_focal(first, 300.0)


def test_zero_is_unknown_and_lost_poses_are_none(tmp_path):
    scan(tmp_path, [0, 1])
    worlds.save(np.zeros((60, 80), np.uint16), tmp_path / NAME / "depth/0.png")
    (tmp_path / NAME / "pose/0.txt").write_text("-inf -inf -inf -inf\n" * 4)
    lost, good = Scannet(tmp_path)
    assert np.isnan(lost.depth_m).all()
    assert lost.world_from_cam is None
    assert good.world_from_cam is not None


def test_frames_are_in_order_and_scans_of_one_room_one_place(tmp_path):
    for name in ("scene0001_00", "scene0000_01", NAME):
        scan(tmp_path, [10, 9], name)
    (tmp_path / "scene0002_00").mkdir()  # not exported
    (tmp_path / "scannetv2_val.txt").write_text("scene0001_00\n")
    reader = Scannet(tmp_path)
    assert reader.scenes == (NAME, "scene0000_01", "scene0001_00")
    places = [frame.place for frame in reader.frames[::2]]
    assert places == ["scene0000", "scene0000", "scene0001"]
    assert [frame.name for frame in reader.frames[:2]] == [f"{NAME}/9", f"{NAME}/10"]
    alone = Scannet(tmp_path / NAME)
    assert [frame.name for frame in alone.frames] == [f"{NAME}/9", f"{NAME}/10"]
    assert Scannet(tmp_path, scenes="scene0000_*").scenes == (NAME, "scene0000_01")


def test_errors_name_the_file_and_the_way_out(tmp_path):
    folder = scan(tmp_path, [0]) / NAME

    def demand(words: str, kind: type[Exception] = ValueError) -> None:
        with pytest.raises(kind, match=words):
            Scannet(tmp_path)[0]

    matrix(folder / "pose/0.txt", 2 * np.eye(4))
    demand("pose/0.txt: not a rotation and a translation")
    (folder / "pose/0.txt").write_text("1 0 0\n")
    demand(f"0.txt: needs 4x4 numbers, has 3; export it: .*--filename {NAME}.sens --export_poses")
    (folder / "pose/0.txt").unlink()
    demand("pose/0.txt: missing; export it: reader.py", FileNotFoundError)
    png = folder / "depth/0.png"
    png.write_bytes(png.read_bytes()[:60])
    demand("depth/0.png: not a picture that can be read whole")
    worlds.save(np.zeros((60, 80), np.uint8), png)
    demand("depth/0.png: has 8 bits per pixel")
    png.unlink()
    demand("depth/0.png: missing; export it: .*--export_depth_images", FileNotFoundError)
    (folder / "intrinsic/intrinsic_color.txt").unlink()
    demand("intrinsic_color.txt: missing; .*--export_intrinsics", FileNotFoundError)
    (folder / "color/0.jpg").write_bytes(b"\xff\xd8\xff")
    demand("color/0.jpg: not a picture that can be read whole")
    (folder / "color/0.jpg").unlink()
    demand("nothing to read; give the folder with scene0000_00 and so on", FileNotFoundError)
