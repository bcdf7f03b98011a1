"""nerfstudio's layout: folders made as it is documented."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.readers import demand_reader
from tests.worlds import demand_same, facing, fit, room, save, wall
from vlm3.geometry import project, transform
from vlm3.sources.nerfstudio import Nerfstudio

GL_FROM_CV = np.diag([1.0, -1, -1, 1])


@pytest.fixture(scope="module")
def views():
    return room(128, 96, 70, off=0.05)


def intrinsics(camera) -> dict:
    told = {"fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx, "cy": camera.cy}
    return told | {"w": camera.width, "h": camera.height}


def save_mm(depth_m: np.ndarray, path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(1000 * depth_m).astype(np.uint16)).save(path)


def write(folder, views, told: dict, each=({}, {})) -> None:
    """A capture, whose frames stand in the file in backward order. each: what else they say."""
    frames = []
    for k, view in reversed(list(enumerate(views))):
        save(view.image, folder / f"images/frame_{k:05d}.png")
        save_mm(view.depth_m, folder / f"depths/frame_{k:05d}.png")
        frame = {
            "file_path": f"./images/frame_{k:05d}.png",
            "depth_file_path": f"depths/frame_{k:05d}.png",
            "transform_matrix": (view.world_from_cam @ GL_FROM_CV).tolist(),
        }
        frames.append(frame | each[k])
    (folder / "transforms.json").write_text(json.dumps(told | {"frames": frames}))


def changed(folder, **told) -> None:
    path = folder / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | told))


@pytest.fixture
def root(tmp_path, views):
    shared = intrinsics(views[0].camera) | {"camera_model": "OPENCV", "k1": 0.0, "k2": 0.0}
    write(tmp_path / "office", [views[0], views[0]], shared)
    each = [intrinsics(view.camera) for view in views]
    write(tmp_path / "poster", views, {"camera_model": "PINHOLE"}, each)
    return tmp_path


def test_captures_give_the_views_that_were_written_in_the_order_of_their_names(root, views):
    reader = Nerfstudio(root, scale_m=1)
    found = demand_reader(reader)
    assert reader.metric
    assert reader.scenes == ("office", "poster")
    for view, original in zip(found, (views[0], views[0], *views), strict=True):
        demand_same(view, original, depth=5e-4)  # whole millimetres
    assert fit(*found[2:])[0] == pytest.approx(fit(*views)[0], abs=0.01)


def test_a_capture_may_be_the_folder_itself(root):
    reader = Nerfstudio(root / "poster")
    assert reader.scenes == ("poster",)
    assert len(reader) == 2


def test_without_a_scale_views_are_not_metric_and_with_one_all_lengths_have_it(root):
    reader, scaled = Nerfstudio(root, "poster"), Nerfstudio(root, "poster", scale_m=3.0)
    assert not reader.metric
    for view, larger in zip(reader, scaled, strict=True):
        np.testing.assert_allclose(larger.depth_m, 3 * view.depth_m, rtol=1e-6)
        np.testing.assert_allclose(larger.world_from_cam[:3, 3], 3 * view.world_from_cam[:3, 3])
    assert fit(*scaled) == pytest.approx(fit(*reader))


def test_what_is_up_and_behind_minus_z_is_seen_above_the_middle(root):
    path = root / "poster/transforms.json"
    told = json.loads(path.read_text())
    told["frames"][1]["transform_matrix"] = np.eye(4).tolist()
    path.write_text(json.dumps(told))
    view = Nerfstudio(root, "poster")[0]
    # four units ahead of a camera without turn is z = -4; up is y
    seen = transform(np.linalg.inv(view.world_from_cam), [1, 2, -4])
    assert seen == pytest.approx([1, -2, 4])
    camera = view.camera
    expected = [camera.cx + camera.fx / 4, camera.cy - camera.fy / 2]
    assert project(seen, camera) == pytest.approx(expected)


def test_positions_that_were_scaled_fit_the_depth_again(root, views):
    path = root / "poster/transforms.json"
    told = json.loads(path.read_text()) | {"applied_scale": 0.2}
    told["applied_transform"] = [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]
    for frame in told["frames"]:
        for row in frame["transform_matrix"][:3]:
            row[3] *= 0.2
    path.write_text(json.dumps(told))
    for view, original in zip(Nerfstudio(root, "poster"), views, strict=True):
        demand_same(view, original, depth=5e-4)


def test_depth_of_fewer_pixels_is_that_of_the_pixel_around(root, views):
    save_mm(views[0].depth_m[::4, ::4], root / "poster/depths/frame_00000.png")
    depth_m = Nerfstudio(root, "poster")[0].depth_m
    blocks = np.kron(views[0].depth_m[::4, ::4], np.ones((4, 4)))
    np.testing.assert_allclose(depth_m, blocks, rtol=5e-4)


def test_frames_without_depth_have_poses(root):
    path = root / "poster/transforms.json"
    told = json.loads(path.read_text())
    for frame in told["frames"]:
        del frame["depth_file_path"]
    path.write_text(json.dumps(told))
    view = Nerfstudio(root, "poster")[0]
    assert view.depth_m is None
    assert view.world_from_cam is not None


BENT = {
    "OPENCV": dict(k1=-0.12, k2=0.03, p1=0.002, p2=-0.001),
    "OPENCV with k3": dict(k1=-0.12, k2=0.03, k3=0.01, p1=0.002, p2=-0.001),
    "OPENCV_FISHEYE": dict(k1=0.03, k2=-0.01, k3=0.002, k4=-0.001, p1=0.01),
}


def bent_rays(xy: np.ndarray, fisheye: bool, k1=0.0, k2=0.0, k3=0.0, k4=0.0, p1=0.0, p2=0.0):
    """(..., 2) x / z and y / z of what a lens shows at xy; found by trying OpenCV's formulas."""
    found = xy.copy()
    for _ in range(60):
        x, y = np.moveaxis(found, -1, 0)
        r2 = x * x + y * y
        if fisheye:
            r = np.sqrt(r2)
            t = np.arctan(r)
            shown = t * (1 + k1 * t**2 + k2 * t**4 + k3 * t**6 + k4 * t**8) / np.maximum(r, 1e-12)
            found = xy / shown[..., None]
        else:
            radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
            slip = [2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y]
            found = (xy - np.stack(slip, -1)) / radial[..., None]
    return found


@pytest.mark.parametrize("name", BENT)
def test_a_lens_that_bends_is_undone_in_picture_and_depth(tmp_path, name):
    pytest.importorskip("pycolmap")
    fx, fy, cx, cy, width, height = 150.0, 147.0, 97.0, 70.0, 192, 144
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    model = name.split()[0]
    seen = np.stack([(u - cx) / fx, (v - cy) / fy], -1)
    rays = bent_rays(seen, model == "OPENCV_FISHEYE", **BENT[name])
    pose = facing(0.1, 0, -2, 8)
    to = np.dstack([rays, np.ones_like(u)]) @ pose[:3, :3].T
    depth_m = -pose[2, 3] / to[..., 2]
    x, y = np.moveaxis((pose[:3, 3] + to * depth_m[..., None])[..., :2], -1, 0)
    waves = np.stack([np.sin(20 * x), np.sin(25 * y), np.sin(9 * (x + y))], -1)
    save(np.round(127.5 + 120 * waves).astype(np.uint8), tmp_path / "a.png")
    save_mm(depth_m, tmp_path / "a_depth.png")
    frame = {"file_path": "a.png", "depth_file_path": "a_depth.png"}
    frame["transform_matrix"] = (pose @ GL_FROM_CV).tolist()
    told = dict(fl_x=fx, fl_y=fy, cx=cx, cy=cy, w=width, h=height, camera_model=model, **BENT[name])
    (tmp_path / "transforms.json").write_text(json.dumps(told | {"frames": [frame]}))
    (view,) = Nerfstudio(tmp_path)
    straight = wall(view.camera, view.world_from_cam)
    np.testing.assert_allclose(view.depth_m, straight.depth_m, rtol=3e-3)
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(view.image[inner].astype(int) - straight.image[inner]).mean() < 2
    assert view.size[0] > 150


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"fl_x": None}, "frame 0: .*; export it again"),
        ({"camera_model": "EQUIRECTANGULAR"}, "'EQUIRECTANGULAR' is no lens"),
        ({"k4": 0.1}, "k4 = 0.1 of OPENCV means different things"),
        ({"frames": {}}, "transforms.json: has no frames; export"),
        ({"frames": [{"file_path": "a.png"}]}, "frame 0: needs 'transform_matrix'"),
        ({"frames": [{"transform_matrix": []}]}, "frame 0: needs 'file_path'"),
        ({"frames": [{"file_path": 3, "transform_matrix": []}]}, "name of a photograph, got 3"),
        ({"frames": [{"file_path": "a.png", "transform_matrix": [[1, 0]]}]}, "frame 0: cannot"),
    ],
)
def test_a_file_of_frames_that_is_none_names_the_frame(root, told, error):
    changed(root / "office", **told)
    with pytest.raises(ValueError, match=error):
        Nerfstudio(root)


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        ({"file_path": "../../secret.png"}, "leaves the folder"),
        ({"file_path": "images/absent.png"}, "absent.png: no such photo"),
        ({"depth_file_path": "absent.png"}, "absent.png: missing; download"),
        ({"depth_file_path": "images/frame_00000.png"}, "needs one channel"),
        ({"w": 64}, "the photograph is 128x96, its calibration is for 64x96"),
        ({"transform_matrix": np.diag([1.0, 1, -1, 1]).tolist()}, "not a rotation"),
    ],
)
def test_a_frame_that_cannot_be_read_says_why(root, frame, error):
    path = root / "poster/transforms.json"
    told = json.loads(path.read_text())
    told["frames"] = [told["frames"][1] | frame]
    path.write_text(json.dumps(told))
    with pytest.raises((ValueError, FileNotFoundError), match=error):
        Nerfstudio(root, "poster")[0]


def test_a_file_that_is_not_json_is_named(root):
    (root / "office/transforms.json").write_text('{"frames": [')
    with pytest.raises(ValueError, match=r"transforms\.json: not whole as json"):
        Nerfstudio(root)
