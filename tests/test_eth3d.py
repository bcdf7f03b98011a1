"""ETH3D, made from its documentation: no real scene lies here, since one has gigabytes."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.readers import demand_reader
from tests.test_lenses import photographed
from tests.worlds import facing, fit
from vlm3.geometry import invert, pixel_centres, project, rays
from vlm3.sources.eth3d import Eth3d
from vlm3.sources.reading import lenses

WIDTH, HEIGHT = 123, 80
BENDS = (0.21047, 0.21102, -5.36e-06, 0.000515, -0.158023, 0.406856, -8.46e-05, 0.000861)
LENSES = {4: (70, 69, 62, 39, *BENDS), 9: (75, 74, 60, 41, *BENDS)}  # two cameras in one scene
POSES = {  # w x y z of cam_from_world beside the pose that it means
    "DSC_0001": (4, facing(0.0, 0.1, -3.0, 0.0)),
    "DSC_0002": (9, facing(0.4, -0.1, -2.5, -20.0)),
}
HOLE = np.s_[10:20, 30:50]


def quaternion(yaw_deg):
    half = np.radians(yaw_deg) / 2
    return f"{np.cos(half)!r} 0 {np.sin(half)!r} 0".replace("np.float64(", "").replace(")", "")


def told(folder, name, cameras, seen=""):
    """A calibration in COLMAP's text."""
    folder.mkdir(parents=True)
    rows = (
        f"{number} {model} {width} {height} {' '.join(map(str, params))}\n"
        for number, (model, params, (width, height)) in cameras.items()
    )
    (folder / "cameras.txt").write_text("# cameras\n" + "".join(rows))
    lines = []
    for k, (photo, (camera, pose)) in enumerate(POSES.items()):
        yaw = np.degrees(np.arctan2(pose[0, 2], pose[0, 0]))
        t = " ".join(map(str, invert(pose)[:3, 3]))
        lines += [f"{k} {quaternion(-yaw)} {t} {camera} {name}/{photo}.JPG\n", f"{seen}\n"]
    (folder / "images.txt").write_text("# images\n" + "".join(lines))
    (folder / "points3D.txt").write_text("7 0.25 -0.5 0 0 0 0 0.5\n")


@pytest.fixture
def made(tmp_path):
    """A scene with all that its archives hold, its photographs saved without loss."""
    scene = tmp_path / "courtyard"
    bent = {k: ("THIN_PRISM_FISHEYE", params, (WIDTH, HEIGHT)) for k, params in LENSES.items()}
    told(scene / "dslr_calibration_jpg", "dslr_images", bent, "1 2 7")
    for kind in ("images/dslr_images", "ground_truth_depth/dslr_images"):
        (scene / kind).mkdir(parents=True)
    for photo, (camera, pose) in POSES.items():
        image, depth_m = photographed("THIN_PRISM_FISHEYE", LENSES[camera], WIDTH, HEIGHT, pose)
        save(image, scene / "images" / "dslr_images" / f"{photo}.JPG")
        depth_m[HOLE] = np.inf
        depth_m.tofile(scene / "ground_truth_depth" / "dslr_images" / f"{photo}.JPG")
    return tmp_path


def save(image, path):
    Image.fromarray(image).save(path, "png")


@pytest.mark.parametrize("shrink", [1, 2])
def test_depth_and_poses_of_two_photographs_fit(made, shrink):
    views = demand_reader(reader := Eth3d(made, shrink=shrink))
    assert reader.metric
    assert reader.scenes == ("courtyard",)
    assert [f.name for f in reader.frames] == [f"courtyard/dslr_images/{p}.JPG" for p in POSES]
    assert views[0].size == (WIDTH // shrink, HEIGHT // shrink)
    for one, other in (views, views[::-1]):
        lands = replace(one, depth_m=np.where(np.isfinite(one.depth_m), one.depth_m, 1e6))
        known = replace(other, depth_m=np.where(np.isfinite(other.depth_m), other.depth_m, 1e6))
        agree, colours = fit(lands, known)
        assert agree > 0.85  # the holes are 2 % of each
        assert colours < 7  # of 255, a pixel of the wall being 4 to 8 cm wide


def test_each_photograph_has_its_own_camera(made):
    views = list(Eth3d(made, shrink=1))
    assert [(view.camera.fx, view.camera.fy) for view in views] == [(70, 69), (75, 74)]
    assert [view.camera.cx for view in views] == [62, 60]
    assert Eth3d(made)[0].camera.fx == 35


def test_depth_is_that_of_the_pixel_that_saw_it_and_holes_are_unknown(made):
    view = Eth3d(made, shrink=1)[1]
    _, pose = POSES["DSC_0002"]
    to = rays(pixel_centres(view.camera), view.camera) @ pose[:3, :3].T
    exact = -pose[2, 3] / to[..., 2]
    assert np.nanmax(np.abs(view.depth_m - exact)) < 0.03  # at most half a pixel beside the ray
    assert np.abs(np.nanmean(view.depth_m - exact)) < 0.001  # one that is lost would be 0.006
    unknown = np.isnan(view.depth_m).mean()
    assert 0.01 < unknown < 0.05


def test_labels_of_depthlm_are_distances(made):
    view, compat = Eth3d(made)[1], Eth3d(made, depthlm_compat=True)[1]
    length = np.linalg.norm(rays(pixel_centres(view.camera), view.camera), axis=-1)
    np.testing.assert_allclose(compat.depth_m, view.depth_m * length, rtol=1e-5)
    assert np.nanmax(compat.depth_m / view.depth_m) > 1.2


def test_without_depth_the_points_of_the_reconstruction_stand_in(made):
    (made / "courtyard" / "ground_truth_depth" / "dslr_images" / "DSC_0002.JPG").unlink()
    with_depth, without = Eth3d(made)
    assert with_depth.points is None
    assert without.depth_m is None
    cam = invert(POSES["DSC_0002"][1]) @ [0.25, -0.5, 0, 1]
    expected = [*project(cam[:3], without.camera), cam[2]]
    np.testing.assert_allclose(without.points, [expected], atol=1e-6)


def test_what_the_publisher_undistorted_is_read_too(made):
    scene = made / "courtyard"
    shown = {k: lenses.lens("THIN_PRISM_FISHEYE", LENSES[k], WIDTH, HEIGHT) for k in LENSES}
    straight = {
        k: ("PINHOLE", (of.camera.fx, of.camera.fy, of.camera.cx, of.camera.cy), of.camera.size)
        for k, of in shown.items()
    }
    told(scene / "dslr_calibration_undistorted", "dslr_images_undistorted", straight, "1 2 7")
    (scene / "images" / "dslr_images_undistorted").mkdir()
    for own in Eth3d(made, shrink=1).frames:
        path = scene / "images" / "dslr_images_undistorted" / own.photo.split("/")[1]
        save(own.lens().image(own.image()), path)
    ours, theirs = list(Eth3d(made)), list(Eth3d(made, undistorted=True))
    for our, their in zip(ours, theirs, strict=True):
        assert their.camera == our.camera
        assert np.abs(their.image.astype(int) - our.image).mean() < 1
        np.testing.assert_allclose(their.world_from_cam, our.world_from_cam)
        assert their.depth_m is None
        assert len(their.points) == 1
    whole = Eth3d(made, undistorted=True, shrink=1)[0].image
    assert whole.shape[:2] == (HEIGHT, WIDTH)
    blocks = whole[:, : WIDTH - 1].reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean((1, 3))
    assert np.abs(theirs[0].image - blocks).max() <= 0.5


def test_what_is_broken_is_named_with_a_way_out(made, tmp_path):
    path = made / "courtyard" / "ground_truth_depth" / "dslr_images" / "DSC_0001.JPG"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"DSC_0001.JPG: 123x80 pixels are 39360 bytes, has 39352"):
        Eth3d(made)[0]
    with pytest.raises(ValueError, match="shrink must be a whole number from 1, got 0"):
        Eth3d(made, shrink=0)
    cameras = made / "courtyard" / "dslr_calibration_jpg" / "cameras.txt"
    cameras.write_text(cameras.read_text().replace("THIN_PRISM_FISHEYE", "FULL_OPENCV"))
    with pytest.raises(ValueError, match="PINHOLE or THIN_PRISM_FISHEYE, not FULL_OPENCV"):
        Eth3d(made)[0]
    cameras.unlink()
    with pytest.raises(FileNotFoundError, match="cameras.txt: missing; export the model again"):
        Eth3d(made)
    with pytest.raises(FileNotFoundError, match="or, with undistorted=True"):
        Eth3d(made, undistorted=True)
