"""TartanAir, both editions: folders made in the published layout, since neither is at hand."""

import cv2
import numpy as np
import pytest

from tests.readers import demand_reader
from tests.worlds import demand_same, fit, room, save
from vlm3.geometry import project, transform
from vlm3.sources.tartanair import Tartanair


@pytest.fixture(scope="module")
def views():
    return room(128, 96, 90)


@pytest.fixture(scope="module")
def squares():
    return room(96, 96, 90)


def pose_line(world_from_cam: np.ndarray) -> str:
    """tx ty tz qx qy qz qw of a camera whose axes are forward, right, down."""
    right, down, forward = world_from_cam[:3, :3].T
    turn = cv2.Rodrigues(np.column_stack([forward, right, down]))[0].ravel()
    angle = np.linalg.norm(turn)
    quaternion = [*(turn / angle * np.sin(angle / 2)), np.cos(angle / 2)]
    return " ".join(f"{x:.12e}" for x in [*world_from_cam[:3, 3], *quaternion])


def write(flight, views, camera: str, packed: bool) -> None:
    for k, view in enumerate(views):
        name = f"{k:06d}_{camera}"
        save(view.image, flight / f"image_{camera}/{name}.png")
        folder = flight / f"depth_{camera}"
        folder.mkdir(exist_ok=True)
        if packed:  # as its publisher reads it
            bytes_ = np.ascontiguousarray(view.depth_m)[..., None].view(np.uint8)
            assert cv2.imwrite(str(folder / f"{name}_depth.png"), bytes_)
        else:
            np.save(folder / f"{name}_depth.npy", view.depth_m)
    lines = "\n".join(pose_line(view.world_from_cam) for view in views)
    (flight / f"pose_{camera}.txt").write_text(lines + "\n")


@pytest.fixture
def root(tmp_path, views, squares):
    write(tmp_path / "abandonedfactory/Easy/P000", views, "left", packed=False)
    write(tmp_path / "abandonedfactory/Easy/P000", views[:1], "right", packed=False)
    write(tmp_path / "office/office/Hard/P001", views, "left", packed=False)
    write(tmp_path / "House/Data_easy/P002", squares, "lcam_front", packed=True)
    return tmp_path


def test_both_editions_give_the_views_that_were_written(root, views, squares):
    reader = Tartanair(root)
    found = demand_reader(reader)
    assert reader.scenes == ("House", "abandonedfactory", "office")
    for view, original in zip(found, (*squares, *views, *views), strict=True):
        demand_same(view, original)
    assert fit(*found[:2])[0] == pytest.approx(fit(*squares)[0], abs=0.01)


def test_other_cameras_are_asked_for_by_name(root):
    assert len(Tartanair(root, cameras=["left", "right"])) == 5
    assert Tartanair(root, cameras="right").frames[0].name == (
        "abandonedfactory/Easy/P000/000000_right"
    )


@pytest.mark.parametrize("camera", ["lcam_fish", "lcam_equirect", "front"])
def test_a_fisheye_is_no_pinhole_camera(root, camera):
    with pytest.raises(ValueError, match=f"'{camera}' is no pinhole camera"):
        Tartanair(root, cameras=[camera])


def test_what_is_north_east_and_below_is_ahead_right_and_down(root):
    # a camera without turn at (3, 4, -2) looks along x, its right is y, its down is z
    path = root / "abandonedfactory/Easy/P000/pose_left.txt"
    half = np.sqrt(0.5)
    path.write_text(f"3 4 -2 0 0 0 1\n3 4 -2 0 0 {half} {half}\n")
    north, east = Tartanair(root, "abandoned*")
    point = [3 + 5.0, 4 + 1.0, -2 + 2.0]
    seen = transform(np.linalg.inv(north.world_from_cam), point)
    assert seen == pytest.approx([1, 2, 5])
    assert project(seen, north.camera) == pytest.approx([64 + 64 / 5, 48 + 64 * 2 / 5])
    # turned by 90 degrees around what is down it looks east, and north is at its left
    seen = transform(np.linalg.inv(east.world_from_cam), [3 + 1, 4 + 5, -2])
    assert seen == pytest.approx([-1, 0, 5])


def test_the_published_camera_is_a_square_look_from_the_middle(root):
    (root / "big/Easy/P000").mkdir(parents=True)
    (root / "big/Easy/P000/pose_left.txt").write_text("0 0 0 0 0 0 1\n")
    save(np.zeros((480, 640, 3), np.uint8), root / "big/Easy/P000/image_left/000000_left.png")
    view = Tartanair(root, "big")[0]
    camera = view.camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (320, 320, 320, 240)
    assert view.depth_m is None


def test_the_sky_has_no_depth(root, views):
    path = root / "abandonedfactory/Easy/P000/depth_left/000000_left_depth.npy"
    sky = views[0].depth_m.copy()
    sky[:20], sky[20:30], sky[30:40] = 10000, np.inf, 999
    np.save(path, sky.astype(np.float16))
    depth_m = Tartanair(root, "abandoned*")[0].depth_m
    assert np.isnan(depth_m[:30]).all()
    assert (depth_m[30:40] == 999).all()
    assert depth_m.dtype == np.float32


EASY, V2 = "abandonedfactory/Easy/P000/", "House/Data_easy/P002/"
DEPTH, PACKED = "depth_left/000000_left_depth.npy", "depth_lcam_front/000000_lcam_front_depth.png"


@pytest.mark.parametrize(
    ("name", "write", "told"),
    [
        (EASY + "pose_left.txt", lambda p: p.unlink(), "missing; unpack"),
        (EASY + "pose_left.txt", lambda p: p.write_text("1 2 3 4 5 6"), "needs lines of tx"),
        (EASY + "pose_left.txt", lambda p: p.write_text("1 2 3 0 0 0 9"), "not a rotation"),
        (EASY + "pose_left.txt", lambda p: p.write_text(""), "has 0 poses"),
        (EASY + DEPTH, lambda p: p.unlink(), "missing; unpack"),
        (EASY + DEPTH, lambda p: p.write_bytes(p.read_bytes()[:999]), "not an array"),
        (V2 + PACKED, lambda p: p.write_bytes(p.read_bytes()[:999]), "not a picture"),
        (
            V2 + PACKED,
            lambda p: save(np.zeros((96, 96), np.uint8), p),
            r"has shape \(96, 96\), not",
        ),
    ],
)
def test_a_file_that_is_none_is_named(root, name, write, told):
    write(root / name)
    with pytest.raises((ValueError, FileNotFoundError), match=told) as caught:
        Tartanair(root, name.split("/")[0])[0]
    assert name.split("/")[-1] in str(caught.value)
