"""TUM RGB-D: straight pictures of a bent lens, and poses and depth of the right time.

Sequences are made here as the publisher describes them; no real one is at hand.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import worlds
from tests.readers import demand_reader
from vlm3.focal import unify_focal
from vlm3.geometry import Camera, relative_pose, rotation_angle_deg
from vlm3.sources import tum
from vlm3.sources.tum import Tum

START = 1305031102.0  # seconds, as in the real ones
BENT = (517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)  # freiburg1
SMALL = [60, 60, 31.5, 23.5]
HEAD = "# color images\n# file: 'rgbd_dataset.bag'\n# timestamp filename\n"


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def table(path: Path, rows: list) -> None:
    path.write_text(HEAD + "".join(" ".join(map(str, row)) + "\n" for row in rows))


def sequence(
    root: Path,
    photos=(0.0, 0.035, 0.07),
    depths=(0.004, 0.037, 0.066),
    trajectory=None,
    name="rgbd_dataset_freiburg3_made",
    size=(640, 480),
) -> Path:
    """Grey photographs and depth, each k of which has value k + 1; times in s after START."""
    folder = root / name
    for kind, times, pixel in (("rgb", photos, np.uint8), ("depth", depths, np.uint16)):
        rows = [(f"{START + t:.6f}", f"{kind}/{START + t:.6f}.png") for t in times]
        shape = (size[1], size[0], 3) if kind == "rgb" else (size[1], size[0])
        for k, (_, file) in enumerate(rows, 1):
            save(folder / file, np.full(shape, k, pixel) * (5000 if kind == "depth" else 1))
        table(folder / f"{kind}.txt", rows)
    if trajectory is not None:
        table(folder / "groundtruth.txt", [(f"{START + t:.4f}", *pose) for t, *pose in trajectory])
    return root


def turning(t: float, deg_per_s: float = 100.0) -> tuple[float, ...]:
    """A camera that turns about y and moves along x at 2 m/s, as a row of groundtruth.txt."""
    half = np.radians(deg_per_s * t) / 2
    return t, 2 * t, 0, -3, 0, np.sin(half), 0, np.cos(half)


def bent_photograph(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What freiburg1's camera sees of the wall of `worlds`: colours, and depth in 1 / 5000 m."""
    (fx, fy, cx, cy), (k1, k2, p1, p2, k3) = BENT
    columns, rows = np.meshgrid(np.arange(640.0), np.arange(480.0))
    bent = np.stack([(columns - cx) / fx, (rows - cy) / fy]).reshape(2, -1)
    xy = bent
    for _ in range(15):  # from the photograph to rays, which the reader never does
        (x, y), r2 = xy, (xy**2).sum(0)
        slid = [2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y]
        xy = (bent - slid) / (1 + r2 * (k1 + r2 * (k2 + r2 * k3)))
    to = np.column_stack([*xy, np.ones(xy.shape[1])]) @ pose[:3, :3].T
    depth_m = -pose[2, 3] / to[:, 2]
    x, y = (pose[:3, 3] + to * depth_m[:, None])[:, :2].T
    waves = np.stack([np.sin(20 * x), np.sin(25 * y), np.sin(9 * (x + y))], -1)
    image = np.round(127.5 + 120 * waves).astype(np.uint8).reshape(480, 640, 3)
    return image, np.round(5000 * depth_m).astype(np.uint16).reshape(480, 640)


def test_a_bent_photograph_and_its_depth_are_what_a_pinhole_camera_sees_of_the_same_wall(tmp_path):
    trajectory = [turning(t) for t in np.arange(-0.02, 0.1, 0.01)]
    name = "rgbd_dataset_freiburg1_wall"
    folder = sequence(tmp_path, trajectory=trajectory, name=name) / name
    for t, t_depth in ((0.0, 0.004), (0.07, 0.066)):
        image, depth = bent_photograph(worlds.facing(2 * t, 0, -3, 100 * t))
        save(folder / f"rgb/{START + t:.6f}.png", image)
        save(folder / f"depth/{START + t_depth:.6f}.png", depth)
    reader = Tum(tmp_path)
    first, _, last = demand_reader(reader)
    for view in (first, last):
        seen = worlds.wall(view.camera, view.world_from_cam)
        assert np.abs(view.image.astype(int) - seen.image).max() < 6  # 100 levels without the lens
        np.testing.assert_allclose(view.depth_m, seen.depth_m, rtol=3e-3)
        assert view.camera.fx == 517.3
        assert view.size > (600, 430)
    agree, colours = worlds.fit(first, last)
    assert agree == 1
    assert colours < 3
    unify_focal(first, 1000.0)


def test_a_photograph_has_the_depth_nearest_in_time_which_no_other_is_nearer_to(tmp_path):
    # 2nd depth: nearer to the 3rd photograph; 4th photograph: no depth within 0.02 s
    photos, depths = (0.0, 0.030, 0.045, 0.080, 0.120), (0.003, 0.044, 0.110)
    frames = Tum(sequence(tmp_path, photos, depths)).frames
    depth_of = {f.photo[-9:-4]: f.depth[-9:-4] for f in frames}
    assert depth_of == {"00000": "03000", "45000": "44000", "20000": "10000"}


def test_tables_need_not_be_in_order(tmp_path):
    root = sequence(tmp_path)
    path = root / "rgbd_dataset_freiburg3_made" / "depth.txt"
    before = Tum(root).frames
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert Tum(root).frames == before
    view = Tum(root)[1]
    assert (view.image[0, 0, 0], view.depth_m[0, 0]) == (2, 2)


def test_a_pose_is_that_of_the_time_of_the_photograph(tmp_path):
    trajectory = [turning(t) for t in np.arange(-0.02, 0.1, 0.01)]
    views = demand_reader(Tum(sequence(tmp_path, trajectory=trajectory)))
    for view, t in zip(views, (0.0, 0.035, 0.07), strict=True):
        off = relative_pose(worlds.facing(2 * t, 0, -3, 100 * t), view.world_from_cam)
        assert rotation_angle_deg(off) < 1e-4  # the nearest would be 0.5 degrees off
        assert np.linalg.norm(off[:3, 3]) < 1e-6


def test_a_quaternion_and_its_negative_are_one_rotation(tmp_path):
    trajectory = [turning(t) for t in np.arange(-0.02, 0.1, 0.01)]
    turned = [
        row[:4] + tuple(-np.array(row[4:])) if k % 2 else row for k, row in enumerate(trajectory)
    ]
    views = [
        Tum(sequence(tmp_path / n, trajectory=t))[1]
        for n, t in zip("ab", (trajectory, turned), strict=True)
    ]
    np.testing.assert_allclose(views[0].world_from_cam, views[1].world_from_cam, atol=1e-12)


def test_where_the_trajectory_is_interrupted_or_secret_there_is_no_pose(tmp_path):
    trajectory = [turning(t) for t in (0.005, 0.012, 0.02, 0.03, 0.04, 0.045, 0.08)]
    views = list(Tum(sequence(tmp_path / "a", trajectory=trajectory)))
    assert [view.world_from_cam is not None for view in views] == [False, True, False]
    for name, short in (("b", None), ("c", []), ("d", trajectory[:1])):
        view = Tum(sequence(tmp_path / name, trajectory=short))[0]
        assert view.world_from_cam is None
        assert view.depth_m is not None


def test_a_time_that_is_told_twice_is_one(tmp_path):
    trajectory = [turning(t) for t in (0.03, 0.03, 0.04)]
    assert Tum(sequence(tmp_path, trajectory=trajectory))[1].world_from_cam is not None


def test_freiburg3_is_straight_as_it_is_and_the_ros_default_is_at_hand(tmp_path, monkeypatch):
    monkeypatch.setattr("vlm3.sources.reading.lenses.need", lambda name: pytest.fail(name))
    root = sequence(tmp_path)
    assert Tum(root)[0].camera == Camera(535.4, 539.2, 320.6, 248.1, 640, 480)
    found = Tum(root, camera=[525, 525, 319.5, 239.5])[0]
    assert found.camera == Camera(525, 525, 320, 240, 640, 480)
    assert (found.image == 1).all()
    assert (found.depth_m == 1).all()


def test_unknown_depth_stays_unknown(tmp_path):
    root = sequence(tmp_path)
    (path,) = root.glob("*/depth/*.066000.png")
    pixels = np.full((480, 640), 5000, np.uint16)
    pixels[:, :320] = 0
    save(path, pixels)
    depth_m = Tum(root)[2].depth_m
    assert np.isnan(depth_m[:, :320]).all()
    assert (depth_m[:, 320:] == 1).all()


def test_sequences_are_scenes_and_those_of_one_hall_are_one_place(tmp_path):
    for name in ("rgbd_dataset_freiburg2_desk", "rgbd_dataset_freiburg2_xyz", "mine"):
        sequence(tmp_path, name=name, size=(64, 48))
    reader = Tum(tmp_path, camera=SMALL)
    assert reader.scenes == ("mine", "rgbd_dataset_freiburg2_desk", "rgbd_dataset_freiburg2_xyz")
    assert [frame.place for frame in reader.frames[::3]] == ["mine", "freiburg2", "freiburg2"]
    alone = Tum(tmp_path / "mine", camera=SMALL)
    assert alone.frames[0].name == f"mine/{START:.6f}"
    assert alone.scenes == ("mine",)
    demand_lens = [*SMALL, 0.1, 0, 0, 0, 0]
    assert Tum(tmp_path, camera=demand_lens)[0].size < (64, 48)


def test_a_camera_that_nobody_knows_must_be_given(tmp_path):
    reader = Tum(sequence(tmp_path, name="mine"))
    with pytest.raises(ValueError, match=r"mine is not of freiburg1, .* give camera = \[fx"):
        reader[0]
    half = Tum(sequence(tmp_path / "half", size=(320, 240)))
    with pytest.raises(ValueError, match="is 320x240, calibrated at 640x480: give camera"):
        half[0]
    with pytest.raises(ValueError, match="4 numbers, or 9"):
        Tum(tmp_path, camera=[525, 525])


def test_errors_name_the_file_and_the_way_out(tmp_path):
    folder = sequence(tmp_path, trajectory=[turning(0)]) / "rgbd_dataset_freiburg3_made"

    def demand(words: str, kind: type[Exception] = ValueError) -> None:
        with pytest.raises(kind, match=words):
            Tum(tmp_path)[0]

    (folder / "groundtruth.txt").write_text("1 2 3\n")
    demand("groundtruth.txt: not lines of 8 numbers; download the sequence again")
    (folder / "groundtruth.txt").unlink()
    kept = (folder / "rgb.txt").read_text()
    (folder / "rgb.txt").write_text(kept + "1305031105.1 a b\n")
    demand("rgb.txt: not lines of a time and a file; download")
    (folder / "rgb.txt").write_text(kept.replace("rgb/", "../../", 1))
    demand(r"rgb.txt: image '../../1305031102.000000.png' leaves the folder")
    (folder / "rgb.txt").write_text(kept)
    save(folder / f"depth/{START + 0.004:.6f}.png", np.ones((48, 64), np.uint16))
    demand(r"depth/1305031102.004000.png: is \(48, 64\), its photograph \(480, 640\)")
    save(folder / f"depth/{START + 0.004:.6f}.png", np.ones((480, 640), np.uint8))
    demand("1305031102.004000.png: has 8 bits per pixel")
    photo = folder / f"rgb/{START:.6f}.png"
    photo.write_bytes(photo.read_bytes()[:300])
    demand("1305031102.000000.png: not a picture that can be read whole")
    photo.unlink()
    demand("1305031102.000000.png: no such photo", FileNotFoundError)
    (folder / "depth.txt").write_text(HEAD)
    demand("nothing to read; give the folder with rgbd_dataset_freiburg1_desk", FileNotFoundError)
    (folder / "depth.txt").unlink()
    demand("depth.txt: missing; download the sequence again", FileNotFoundError)


def test_a_long_sequence_is_listed_in_no_time(tmp_path):
    folder = tmp_path / "rgbd_dataset_freiburg2_long"
    folder.mkdir()
    times = np.arange(4000) / 30
    for kind in ("rgb", "depth"):
        table(folder / f"{kind}.txt", [(f"{START + t:.6f}", f"{kind}/{t}.png") for t in times])
    table(
        folder / "groundtruth.txt", [(START + t, *turning(t)[1:]) for t in np.arange(0, 133, 0.01)]
    )
    frames = Tum(tmp_path).frames
    assert len(frames) == 4000
    assert sum(frame.pose is not None for frame in frames) >= 3989
    assert tum.CALIBRATED["freiburg1"] == sum(BENT, ())
