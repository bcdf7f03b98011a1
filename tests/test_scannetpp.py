"""ScanNet++, made from its documentation and its toolkit's code: the real one is not for all."""

import json
import shutil
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.readers import demand_reader
from tests.test_eth3d import quaternion
from tests.test_lenses import photographed
from tests.worlds import facing, fit
from vlm3.geometry import invert, pixel_centres, rays
from vlm3.sources.scannetpp import Scannetpp

FISHEYE = (72.0, 71.0, 88.5, 57.0, -0.03, 0.01, -0.005, 0.001)  # about as published, / 10
PHONE = (143.0, 143.5, 96.5, 71.0, 0.05, -0.1, 0.001, -0.001)
SIZES = {"dslr": (176, 116), "iphone": (192, 144)}
POSES = {
    "dslr": {"DSC00001": facing(0, 0, -3, 0), "DSC00005": facing(0.5, 0.2, -2.6, -15)},
    "iphone": {"frame_000000": facing(-0.2, 0, -2, 5), "frame_000002": facing(0.3, -0.1, -2, 12)},
}


def transforms(poses):
    """As the toolkit writes them: other axes of the camera, then other axes of the world."""
    frames = []
    for name, pose in poses.items():
        theirs = pose @ np.diag([1, -1, -1, 1])
        theirs = theirs[[1, 0, 2, 3]]
        theirs[2] *= -1
        frames.append({"file_path": f"{name}.JPG", "transform_matrix": theirs.tolist()})
    return frames


def millimetres(depth_m, path):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.round(1000 * depth_m).astype(np.uint16)).save(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A room with all that the toolkit extracts."""
    root = tmp_path_factory.mktemp("scannetpp")
    scene = root / "data" / "00dd871005"
    for part, kind, model, params in (
        ("dslr", "resized_images", "OPENCV_FISHEYE", FISHEYE),
        ("iphone", "rgb", "OPENCV", PHONE),
    ):
        (scene / part / kind).mkdir(parents=True)
        for name, pose in POSES[part].items():
            image, depth_m = photographed(model, params, *SIZES[part], pose)
            path = scene / part / kind / f"{name}.{'JPG' if part == 'dslr' else 'jpg'}"
            Image.fromarray(image).save(path, "png")
            millimetres(depth_m, scene / part / "render_depth" / f"{name}.png")
            if part == "iphone":
                depth_m[:7, :7] = 0
                millimetres(depth_m[3::6, 3::6], scene / part / "depth" / f"{name}.png")
    _write_dslr(scene / "dslr")
    _write_phone(scene / "iphone")
    return root


def _write_dslr(folder):
    names = "fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4"
    first, second = transforms(POSES["dslr"])
    told = dict(zip(names, FISHEYE, strict=True), w=176, h=116, camera_model="OPENCV_FISHEYE")
    gone = second | {"file_path": "DSC00009.JPG"}  # of the hidden test frames
    bad = first | {"file_path": "DSC00003.JPG", "is_bad": True}
    told |= {"frames": [second | {"is_bad": False}, bad], "test_frames": [first, gone]}
    (folder / "nerfstudio").mkdir()
    (folder / "nerfstudio" / "transforms.json").write_text(json.dumps(told))
    shutil.copy(folder / "resized_images" / "DSC00001.JPG", folder / "resized_images/DSC00003.JPG")


def _write_phone(folder):
    (folder / "colmap").mkdir()
    camera = f"1 OPENCV 192 144 {' '.join(map(str, PHONE))}\n"
    (folder / "colmap" / "cameras.txt").write_text(camera)
    rows, tracked = "", {}
    for k, (name, pose) in enumerate(POSES["iphone"].items()):
        yaw = np.degrees(np.arctan2(pose[0, 2], pose[0, 0]))
        t = " ".join(map(str, invert(pose)[:3, 3]))
        rows += f"{k} {quaternion(-yaw)} {t} 1 iphone/{name}.jpg\n\n"
        intrinsic = [[1430.0, 0, 959.5], [0, 1430.0, 719.5], [0, 0, 1]]
        tracked[name] = {"aligned_pose": pose.tolist(), "intrinsic": intrinsic, "pose": None}
    (folder / "colmap" / "images.txt").write_text(rows)
    (folder / "pose_intrinsic_imu.json").write_text(json.dumps(tracked))


@pytest.fixture
def made(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def test_photographs_of_both_cameras_fit_one_world(whole):
    views = demand_reader(Scannetpp(whole)) + demand_reader(Scannetpp(whole, part="iphone"))
    assert [view.size for view in views[:2]] == [(176, 116)] * 2
    for one in views:
        for other in views:
            agree, colours = fit(one, other)
            assert agree > 0.99
            assert colours < 3
    poses = [pose for part in POSES.values() for pose in part.values()]
    for view, pose in zip(views, poses, strict=True):
        np.testing.assert_allclose(view.world_from_cam, pose, atol=1e-9)


def test_frames_are_those_that_are_there_and_not_bad(whole):
    reader = Scannetpp(whole)
    names = [f"00dd871005/dslr/{name}" for name in POSES["dslr"]]
    assert [frame.name for frame in reader.frames] == names
    assert len(Scannetpp(whole / "data")) == 2
    assert reader.metric


def test_depth_of_the_phone_is_its_own_and_that_of_the_nearest_of_its_pixels(made):
    folder = made / "data" / "00dd871005" / "iphone"
    own = Scannetpp(made, part="iphone")[0]
    exact = _exact(own)
    assert len(np.unique(own.depth_m)) < 24 * 32
    assert np.isnan(own.depth_m[:5, :5]).all()
    off = own.depth_m - exact
    assert np.nanmax(np.abs(off)) < 0.05  # three pixels beside the ray
    assert np.abs(np.nanmean(off)) < 0.002
    shutil.rmtree(folder / "depth")
    of_scan = Scannetpp(made, part="iphone")[0]
    assert np.abs(of_scan.depth_m - exact).max() < 0.012
    shutil.rmtree(folder / "render_depth")
    assert Scannetpp(made, part="iphone")[0].depth_m is None


def _exact(view):
    to = rays(pixel_centres(view.camera), view.camera) @ view.world_from_cam[:3, :3].T
    return -view.world_from_cam[2, 3] / to[..., 2]


def _part(depth_mm, packed):
    """A frame of depth.bin, its length before it."""
    if packed == "lz4":
        part = pytest.importorskip("lz4.block").compress(depth_mm.tobytes(), store_size=False)
    else:
        packer = zlib.compressobj(wbits=-15)
        part = packer.compress((depth_mm / np.float32(1000)).tobytes()) + packer.flush()
    return len(part).to_bytes(4, "little") + part


@pytest.mark.parametrize("packed", ["lz4", "zlib"])
def test_depth_is_read_out_of_one_file_of_all_frames(made, packed):
    folder = made / "data" / "00dd871005" / "iphone"
    shutil.rmtree(folder / "depth")
    stored = np.full((192, 256), 1000, np.uint16)
    stored[:9, :9] = 0
    parts = [_part(stored * np.uint16(k), packed) for k in (1, 2, 3)]
    (folder / "depth.bin").write_bytes(b"".join(parts))
    reader = Scannetpp(made, part="iphone")
    for view, depth_m in zip(reader, (1.0, 3.0), strict=True):  # of frames 0 and 2
        np.testing.assert_allclose(np.unique(view.depth_m[20:, 20:]), [depth_m])
        assert np.isnan(view.depth_m[0, 0])


@pytest.mark.parametrize(
    ("cut", "frame", "words"),
    [
        (lambda whole: whole[:-9], 0, "not packed frame by frame, or cut short; extract it with"),
        (lambda whole: b"\x03\0\0\0abc", 0, "depth.bin: frame 0 is broken .* extract it with"),
        (lambda whole: whole, 1, "depth.bin: has 1 frames, frame 2 is needed; extract it with"),
    ],
)
def test_a_broken_file_of_depth_is_named(made, cut, frame, words):
    folder = made / "data" / "00dd871005" / "iphone"
    shutil.rmtree(folder / "depth")
    whole = _part(np.full((192, 256), 1000, np.uint16), "zlib")
    (folder / "depth.bin").write_bytes(cut(whole))
    with pytest.raises(ValueError, match=words):
        Scannetpp(made, part="iphone")[frame]


@pytest.mark.parametrize(("name", "codec"), [("rgb.mp4", "mp4v"), ("rgb.mkv", "MJPG")])
def test_a_film_stands_in_for_photographs(made, name, codec):
    folder = made / "data" / "00dd871005" / "iphone"
    writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter_fourcc(*codec), 30, (192, 144))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV cannot write {name}")
    for k in range(3):
        writer.write(np.full((144, 192, 3), (200, 40 * k, 20), np.uint8))
    writer.release()
    (folder / "rgb" / "frame_000002.jpg").unlink()
    own, filmed = list(Scannetpp(made, part="iphone"))
    assert np.ptp(own.image) > 200
    assert np.abs(filmed.image.mean((0, 1)) - [20, 80, 200]).max() < 8  # of frame 2, as RGB
    (folder / name).write_bytes(b"no film")
    with pytest.raises(ValueError, match=f"{name}: frame 2 cannot be read; extract it with"):
        Scannetpp(made, part="iphone")[1]


def test_without_refined_poses_the_phone_tells_its_own(made):
    folder = made / "data" / "00dd871005" / "iphone"
    shutil.rmtree(folder / "colmap")
    for path in (folder / "rgb").iterdir():
        Image.open(path).resize((1920, 1440)).save(path, "jpeg")
    view = Scannetpp(made, part="iphone")[1]
    assert (view.camera.fx, view.camera.cx, view.camera.cy) == (1430, 960, 720)
    np.testing.assert_allclose(view.world_from_cam, POSES["iphone"]["frame_000002"])
    assert view.depth_m.shape == (1440, 1920)
    path = folder / "pose_intrinsic_imu.json"
    path.write_text(path.read_text().replace("aligned_pose", "unaligned_pose"))
    with pytest.raises(ValueError, match="frame_000000: needs intrinsic and aligned_pose"):
        Scannetpp(made, part="iphone")
    path.unlink()
    with pytest.raises(
        FileNotFoundError, match="has neither nerfstudio/transforms.json nor colmap"
    ):
        Scannetpp(made, part="iphone")


def test_labels_of_depthlm_are_neither_depth_nor_distance(whole):
    view = Scannetpp(whole, part="iphone", depthlm_compat=True)[0]
    assert view.camera.fx == pytest.approx(1427.4375 / 10)
    assert (view.camera.cx, view.camera.cy) == pytest.approx((96, 72))
    with Image.open(whole / "data/00dd871005/iphone/depth/frame_000000.png") as picture:
        z = np.asarray(picture)[100 // 6, 150 // 6] / 1000
    x, y = (150.5 - 96) / 142.74375, (100.5 - 72) / 142.74375
    assert view.depth_m[100, 150] == pytest.approx(np.sqrt(x**2 + y**2 + z**2), abs=1e-5)
    with pytest.raises(ValueError, match="give part='iphone'"):
        Scannetpp(whole, depthlm_compat=True)
    with pytest.raises(ValueError, match="part must be 'dslr' or 'iphone', got 'phone'"):
        Scannetpp(whole, part="phone")


def test_missing_photographs_are_named(made):
    shutil.rmtree(made / "data" / "00dd871005" / "dslr" / "resized_images")
    with pytest.raises(FileNotFoundError, match="resized_images: no photographs; download them"):
        Scannetpp(made)
    shutil.rmtree(made / "data" / "00dd871005" / "dslr")
    with pytest.raises(FileNotFoundError, match="give the folder with data/<scene>/dslr or, with"):
        Scannetpp(made)
