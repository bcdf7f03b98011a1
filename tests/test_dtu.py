"""DTU as MVSNet packs it: folders made in the published layout, since the set is not at hand."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.readers import demand_reader
from tests.worlds import facing, fit, save, save_cam, save_pfm, wall, wall_depth
from vlm3.geometry import Camera, invert, project, transform
from vlm3.sources.dtu import Dtu

# of the first camera that is published, with its principal point from pixel centres
MATRIX = np.array([[2892.33, 0, 823.205], [0, 2883.18, 619.071], [0, 0, 1]])
EXTRINSIC = """extrinsic
0.970263 0.00747983 0.241939 -191.02
-0.0147429 0.999493 0.0282234 3.28832
-0.241605 -0.030951 0.969881 22.5401
0.0 0.0 0.0 1.0

intrinsic
361.54125 0.0 82.900625
0.0 360.3975 66.383875
0.0 0.0 1.0

425.0 2.5
"""
FULL = Camera(2892.33, 2883.18, 823.705, 619.571, 1600, 1200)
SMALL = FULL.resized(800, 600).cropped(80, 44, 640, 512)
POSES = facing(0, 0, -0.7, 4), facing(0.08, -0.02, -0.66, -3)


def quarter(matrix: np.ndarray) -> np.ndarray:
    """As published for the depth maps of small photographs: halved, cut, and a quarter of that."""
    found = matrix.copy()
    found[:2] *= 0.5
    found[:2, 2] -= [80, 44]
    found[:2] *= 0.25
    return found


def in_mm(pose: np.ndarray) -> np.ndarray:
    """4x4 cam_from_world."""
    found = np.linalg.inv(pose)
    found[:3, 3] *= 1000
    return found


@pytest.fixture(scope="module")
def walls():
    return [wall(SMALL, pose) for pose in POSES]


@pytest.fixture(scope="module")
def made(tmp_path_factory, walls):
    root = tmp_path_factory.mktemp("dtu")
    for k, (pose, view) in enumerate(zip(POSES, walls, strict=True)):
        save_cam(quarter(MATRIX), in_mm(pose), root / f"Cameras/train/{k:08d}_cam.txt")
        save_cam(MATRIX, in_mm(pose), root / f"Cameras/{k:08d}_cam.txt")
        photo = f"rect_{k + 1:03d}"
        save(view.image, root / f"Rectified/scan10_train/{photo}_3_r5000.png")
        for other in (f"scan2_train/{photo}_3", f"scan10_train/{photo}_6"):
            path = root / f"Rectified/{other}_r5000.png"
            path.parent.mkdir(exist_ok=True)
            shutil.copy(root / f"Rectified/scan10_train/{photo}_3_r5000.png", path)
        stored = 1000 * view.depth_m[::4, ::4]
        save_pfm(stored, root / f"Depths/scan10_train/depth_map_{k:04d}.pfm")
    return root


@pytest.fixture
def root(tmp_path, made):
    return Path(shutil.copytree(made, tmp_path / "dtu"))


def test_scans_come_in_the_order_of_their_numbers_with_the_lightings_asked_for(root):
    views = demand_reader(Dtu(root))
    assert Dtu(root).scenes == ("scan2", "scan10")
    assert len(views) == 4
    assert len(Dtu(root, scenes="scan10", lightings=[3, 6])) == 4
    assert [f.name for f in Dtu(root, lightings=[6]).frames] == [
        "scan10_train/rect_001_6_r5000",
        "scan10_train/rect_002_6_r5000",
    ]


@pytest.mark.parametrize("lightings", [[], [7], ["max"]])
def test_there_are_seven_lightings(root, lightings):
    with pytest.raises(ValueError, match="from 0 to 6"):
        Dtu(root, lightings=lightings)


def test_a_published_camera_sees_a_point_where_its_millimetres_say(root):
    (root / "Cameras/train/00000000_cam.txt").write_text(EXTRINSIC)
    view = Dtu(root, "scan2")[0]
    numbers = np.array(EXTRINSIC.split()[1:17], float).reshape(4, 4)
    point_mm = np.array([20.0, -35.0, 650.0])
    x, y, w = MATRIX @ (numbers[:3, :3] @ point_mm + numbers[:3, 3])
    # pixels of the full photograph from their centres, half as large, cut on both sides
    expected = (np.array([x / w, y / w]) + 0.5) / 2 - [80, 44]
    cam = transform(invert(view.world_from_cam), point_mm / 1000)
    assert project(cam, view.camera) == pytest.approx(expected, abs=2e-3)
    assert cam[2] == pytest.approx(w / 1000)


def test_sparse_depth_is_that_of_the_nearest_pixel_and_two_views_fit(root, walls):
    views = list(Dtu(root, "scan10"))
    for view, truth in zip(views, walls, strict=True):
        np.testing.assert_allclose(view.depth_m[::4, ::4], truth.depth_m[::4, ::4], rtol=1e-6)
        # at most two pixels away, on a wall turned by 4 degrees
        np.testing.assert_allclose(view.depth_m, truth.depth_m, rtol=5e-4)
        np.testing.assert_allclose(view.camera.K, SMALL.K, atol=1e-9)
        np.testing.assert_allclose(view.world_from_cam, truth.world_from_cam, atol=1e-9)
    share, colour = fit(*views)
    assert share == 1
    assert colour < 3


def test_raw_depth_of_full_photographs_serves_small_ones_at_every_pixel(root, walls):
    depth_m = wall_depth(FULL, POSES[0])
    save_pfm(1000 * depth_m, root / "Depths_raw/scan10/depth_map_0000.pfm")
    view = Dtu(root, "scan10")[0]
    np.testing.assert_allclose(view.depth_m, walls[0].depth_m, rtol=1e-4)


def test_full_photographs_have_full_cameras_and_depth_without_what_is_not_trusted(root):
    depth_m = wall_depth(FULL, POSES[1])
    depth_m[:100] = 0
    mask = np.full(depth_m.shape, 255, np.uint8)
    mask[:, :200] = 10
    save(mask, root / "Depths_raw/scan3/depth_visual_0001.png")
    save_pfm(1000 * depth_m, root / "Depths_raw/scan3/depth_map_0001.pfm")
    save(np.zeros((1200, 1600, 3), np.uint8), root / "Rectified/scan3/rect_002_3_r5000.png")
    view = Dtu(root, "scan3")[0]
    np.testing.assert_allclose(view.camera.K, FULL.K, atol=1e-9)
    known = np.isfinite(view.depth_m)
    assert not known[:100].any()
    assert not known[:, :200].any()
    np.testing.assert_allclose(view.depth_m[100:, 200:], depth_m[100:, 200:], rtol=1e-6)


def test_scans_without_depth_have_poses(root):
    assert Dtu(root, "scan2")[0].depth_m is None


def broken(root, path: str, write, told: str) -> None:
    write(root / path)
    with pytest.raises((ValueError, FileNotFoundError), match=told) as caught:
        Dtu(root, "scan10")[0]
    assert path.split("/")[-1] in str(caught.value)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda path: path.unlink(), "missing; download"),
        (lambda path: path.write_text(EXTRINSIC[:150]), "needs extrinsic.* download"),
        (lambda path: path.write_text("intrinsic"), "not in their places"),
        (lambda path: path.write_text(EXTRINSIC.replace("0.97", "x")), "needs extrinsic"),
        (lambda path: path.write_text(EXTRINSIC.replace("0.97", "9.97")), "not a rotation"),
    ],
)
def test_a_camera_file_that_is_none_is_named(root, write, told):
    broken(root, "Cameras/train/00000000_cam.txt", write, told)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), "pixels are 81920 bytes"),
        (lambda path: path.write_bytes(b"PF" + path.read_bytes()[2:]), "not a grey PFM"),
        (lambda path: save_pfm(np.ones((3, 4)), path), "depth of 4x3 pixels"),
    ],
)
def test_a_depth_map_that_is_none_is_named(root, write, told):
    broken(root, "Depths/scan10_train/depth_map_0000.pfm", write, told)


def test_photographs_of_another_size_are_not_those_of_the_cameras(root):
    def write(path):
        save(np.zeros((300, 400, 3), np.uint8), path)

    broken(root, "Rectified/scan10_train/rect_001_3_r5000.png", write, "400x300 pixels, DTU's have")


def test_depth_maps_may_be_stored_with_their_high_bytes_first(root, walls):
    path = root / "Depths/scan10_train/depth_map_0000.pfm"
    before = Dtu(root, "scan10")[0].depth_m
    save_pfm(1000 * walls[0].depth_m[::4, ::4], path, order=">")
    np.testing.assert_array_equal(Dtu(root, "scan10")[0].depth_m, before)


def test_a_folder_without_photographs_is_refused(tmp_path):
    (tmp_path / "Rectified").mkdir()
    with pytest.raises(FileNotFoundError, match="give the folder with Cameras, Rectified"):
        Dtu(tmp_path)
