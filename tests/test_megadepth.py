"""MegaDepth, made as D2-Net leaves it on a disk: the real one has 200 GB."""

import numpy as np
import pytest
from PIL import Image

from tests.readers import demand_reader
from tests.test_eth3d import quaternion
from tests.worlds import facing, fit, wall
from vlm3.geometry import Camera, invert
from vlm3.sources.megadepth import DEPTHS, Megadepth

h5py = pytest.importorskip("h5py")

CAMERAS = {1: Camera(150, 151, 101, 74, 200, 150), 2: Camera(180, 180, 80, 88, 170, 176)}
POSES = {"a_o.jpg": (1, facing(0, 0, -3, 0)), "b_o.jpg": (2, facing(0.4, 0.2, -2.5, -10))}


def save(depth, path, name="depth"):
    with h5py.File(path, "w") as file:
        file[name] = depth


@pytest.fixture
def made(tmp_path):
    """Two photographs of one place; a third has a mask, a fourth has nothing."""
    scene, depths = tmp_path / "Undistorted_SfM" / "0022", tmp_path / DEPTHS / "0022/dense0/depths"
    for folder in (scene / "images", scene / "sparse-txt", depths):
        folder.mkdir(parents=True)
    rows = ""
    for k, (name, (number, pose)) in enumerate(POSES.items()):
        view = wall(CAMERAS[number], pose)
        Image.fromarray(view.image).save(scene / "images" / name, "png")
        depth = view.depth_m.copy()
        depth[:4], depth[4:8] = 0, -1
        save(depth, depths / f"{name[:-4]}.h5")
        yaw = np.degrees(np.arctan2(pose[0, 2], pose[0, 0]))
        t = " ".join(map(str, invert(pose)[:3, 3]))
        rows += f"{k} {quaternion(-yaw)} {t} {number} {name}\n\n"
    for k, name in enumerate(("c_o.jpg", "d_o.jpg")):
        Image.new("RGB", (200, 150)).save(scene / "images" / name)
        rows += f"{k + 8} 1 0 0 0 0 0 0 1 {name}\n\n"
    save(np.full((150, 200), -1, np.int8), depths / "c_o.h5")
    cameras = (
        f"{number} PINHOLE {c.width} {c.height} {c.fx} {c.fy} {c.cx} {c.cy}\n"
        for number, c in CAMERAS.items()
    )
    (scene / "sparse-txt" / "cameras.txt").write_text("".join(cameras))
    (scene / "sparse-txt" / "images.txt").write_text(rows)
    (tmp_path / "Undistorted_SfM" / "0100").mkdir()  # another scene, not downloaded whole
    return tmp_path


def test_depth_and_poses_of_two_photographs_fit(made):
    views = demand_reader(reader := Megadepth(made))
    assert [frame.name for frame in reader.frames] == ["0022/a_o.jpg", "0022/b_o.jpg"]
    assert [view.camera for view in views] == list(CAMERAS.values())
    for view in views:
        assert np.isnan(view.depth_m[:8]).all()
        assert np.isfinite(view.depth_m[8:]).all()
    assert fit(*views)[0] > 0.9
    assert fit(*views[::-1])[0] > 0.9
    assert fit(*views)[1] < 6


def test_scale_is_unknown_until_it_is_given(made):
    free, metric = Megadepth(made), Megadepth(made, scale_m=4.0)
    assert (free.metric, metric.metric) == (False, True)
    np.testing.assert_allclose(metric[1].depth_m, 4 * free[1].depth_m, rtol=1e-6)
    places = free[1].world_from_cam[:3, 3], metric[1].world_from_cam[:3, 3]
    np.testing.assert_allclose(places[1], 4 * places[0])


def test_a_pixel_more_or_less_is_rounding_and_more_is_another_picture(made):
    path = made / DEPTHS / "0022/dense0/depths/a_o.h5"
    (depth,) = (view.depth_m for view in [Megadepth(made)[0]])
    save(np.pad(np.nan_to_num(depth), ((0, 1), (0, 2)), "edge"), path)
    moved = Megadepth(made)[0].depth_m
    assert moved.shape == (150, 200)
    np.testing.assert_allclose(moved[9:], depth[9:], atol=0.02)
    save(np.ones((150, 240), np.float32), path)
    with pytest.raises(ValueError, match="a_o.h5: has 240x150 pixels, its photograph 200x150: und"):
        Megadepth(made)[0]


def test_broken_depth_is_named_with_a_way_out(made):
    path = made / DEPTHS / "0022/dense0/depths/a_o.h5"
    save(np.ones((150, 200), np.float32), path, name="mask")
    with pytest.raises(ValueError, match="a_o.h5: no depth can be read in it .* download it"):
        Megadepth(made)[0]
    path.write_bytes(bytes(200_000))
    with pytest.raises(ValueError, match="a_o.h5: no depth can be read in it .* download it"):
        Megadepth(made)[0]
    reader = Megadepth(made)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="a_o.h5: missing; download it again"):
        reader[0]


def test_the_folder_that_is_needed_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="Undistorted_SfM/<scene> .images, sparse-txt. and"):
        Megadepth(tmp_path)
