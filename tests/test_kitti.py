"""KITTI's object, odometry, raw and depth sets: what its devkits say of a frame is what is read.

Frames are made here as the devkits describe them; real ones are read where they are at hand.
"""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.readers import FORMATS, demand_reader, real
from vlm3.geometry import relative_pose, transform, unproject
from vlm3.sources.kitti import Kitti

SIZE = 60, 40
# P = K [I | t]: cameras at (-0.05, 0, -0.002) and (0.45, 0, -0.002) m from camera 0
LEFT = "50 0 29.5 2.559 0 50 19.5 0.039 0 0 1 0.002"
RIGHT = "50 0 29.5 -22.441 0 50 19.5 0.039 0 0 1 0.002"
TURN = "0.99995 0.0099998 0 -0.0099998 0.99995 0 0 0 1"
LIDAR = "0 -1 0 0.01 0 0 -1 -0.08 1 0 0 -0.27"  # x forward, y left, z up
OBJECT_CALIB = f"P2: {LEFT}\nP3: {RIGHT}\nR0_rect: {TURN}\nTr_velo_to_cam: {LIDAR}\n\n"
SEQUENCE_CALIB = f"P2: {LEFT}\nP3: {RIGHT}\nR0_rect: 0 1 0 1 0 0 0 0 1\nTr: {LIDAR}\n"
DAY_CALIB = f"calib_time: 09-Jan-2012 13:57:47\nS_rect_02: 6.0e+01 4.0e+01\nR_rect_00: {TURN}\n"
DAY_CALIB += f"P_rect_02: {LEFT}\n"
LABELS = """Car 0.00 0 0.1 10 10 20 20 1.5 1.6 4.0 0.5 1.2 10 0
Person_sitting 0.00 1 0.1 10 10 20 20 1.2 0.5 0.9 -1.5 1.0 8 1.5708
Van 0.00 2 0.1 10 10 20 20 2 2 5 0 1.0 12 0
Misc 0.00 0 0.1 10 10 20 20 2 2 5 0 1.0 12 0
DontCare -1 -1 -10 503 169 590 190 -1 -1 -1 -1000 -1000 -1000 -10
"""
DRIVE = "2011_09_26_drive_0001_sync"
LATITUDE, EARTH_M = 49.0, 6378137.0
# metres east, north, up; degrees of roll, pitch, yaw
WAY = ((0, 0, 0), (0, 0, 90)), ((0.3, 2.0, 0.1), (2, -3, 93))
rng = np.random.default_rng(0)
AHEAD = rng.uniform([5, -2, -1], [12, 2, 0.8], (40, 3)).astype("<f4")  # lidar coordinates


def write(path: Path, content: str | bytes | np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(content).save(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def scan(points: np.ndarray) -> bytes:
    return np.column_stack([points, np.ones(len(points))]).astype("<f4").tobytes()


def picture() -> np.ndarray:
    return rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)


def object_set(root: Path, frames: int = 2) -> Path:
    for k in range(frames):
        for folder in ("image_2", "image_3"):
            write(root / f"training/{folder}/{k:06}.png", picture())
        write(root / f"training/calib/{k:06}.txt", OBJECT_CALIB)
        write(root / f"training/label_2/{k:06}.txt", LABELS)
        write(root / f"training/velodyne/{k:06}.bin", scan(AHEAD))
    return root


def four(text: str) -> np.ndarray:
    """4x4 of 12 or 9 numbers."""
    matrix, given = np.eye(4), np.array(text.split(), float).reshape(3, -1)
    matrix[:3, : given.shape[1]] = given
    return matrix


def devkit_pixels(lidar_m: np.ndarray, projection: str, *steps: str) -> np.ndarray:
    """(N, 3) u, v, z by x = P R0_rect Tr_velo_to_cam y, where pixels count from their centres."""
    x = np.column_stack([lidar_m, np.ones(len(lidar_m))]).T
    for step in reversed((projection, *steps)):
        x = four(step) @ x
    return np.column_stack([x[0] / x[2] + 0.5, x[1] / x[2] + 0.5, x[2]])


def assert_among(found: np.ndarray, wanted: np.ndarray, least: int) -> None:
    off = np.abs(found[:, None] - wanted[None]).max(-1).min(1)
    assert off.max() < 1e-3
    assert len(found) >= least


@pytest.mark.parametrize(("camera", "projection"), [(2, LEFT), (3, RIGHT)])
def test_a_lidar_point_lies_on_the_pixel_that_the_devkit_says(camera, projection, tmp_path):
    view = Kitti(object_set(tmp_path), cameras=[camera])[0]
    wanted = devkit_pixels(AHEAD, projection, TURN, LIDAR)
    wanted = wanted[((wanted[:, :2] >= 0) & (wanted[:, :2] < SIZE)).all(1)]
    assert_among(view.points, wanted, len(wanted) - 5)  # some hide others of their pixel


def test_made_object_frames_keep_what_every_reader_promises(tmp_path):
    demand_reader(reader := Kitti(object_set(tmp_path)))
    assert reader.scenes == ("training",)


def test_a_box_has_the_metric_size_of_its_label_and_its_place_before_the_camera(tmp_path):
    car, person = Kitti(object_set(tmp_path))[0].boxes
    assert (car.name, person.name) == ("car", "person sitting")
    assert car.size_m == (4.0, 1.5, 1.6)
    assert car.centre_m == pytest.approx((0.55, 0.45, 10.002))  # up by half its height, then t
    near_m, half_m = 10.002 - 0.8, 2.0  # at rotation 0 it stands across: its side is nearest
    assert car.xmax == pytest.approx(30 + 50 * (0.55 + half_m) / near_m)
    assert car.ymin == pytest.approx(20 + 50 * (0.45 - 0.75) / near_m)
    # a quarter turn: its length runs along the optical axis
    assert person.xmin == pytest.approx(30 + 50 * (-1.45 - 0.25) / (8.002 - 0.45), abs=1e-3)


def test_what_is_hidden_or_nameless_is_no_object(tmp_path):
    assert [box.name for box in Kitti(object_set(tmp_path))[1].boxes] == ["car", "person sitting"]


def test_the_devkits_mapping_makes_drives_scenes(tmp_path):
    root = object_set(tmp_path, frames=3)
    lines = "".join(f"2011_09_26 2011_09_26_drive_000{k}_sync 0000000048\n" for k in (1, 2, 3))
    write(root / "devkit_object/mapping/train_mapping.txt", lines)
    write(root / "devkit_object/mapping/train_rand.txt", "3,1,2")  # image 0 is on line 3
    found = {frame.photo.stem: frame.scene for frame in Kitti(root).frames}
    assert found["000000"] == "2011_09_26_drive_0003_sync"
    assert found["000002"] == "2011_09_26_drive_0002_sync"
    write(root / "devkit_object/mapping/train_rand.txt", "3,1,9")
    with pytest.raises(ValueError, match=r"train_rand\.txt do not fit .*devkit_object\.zip"):
        Kitti(root)


def test_labels_and_lidar_that_were_not_unpacked_are_left_out(tmp_path):
    root = object_set(tmp_path)
    shutil.rmtree(root / "training/velodyne")
    shutil.rmtree(root / "training/label_2")
    view = Kitti(root)[0]
    assert view.points is None
    assert view.boxes == ()


def test_a_broken_file_is_named_with_the_way_out(tmp_path):
    reader = Kitti(object_set(tmp_path))
    folder = tmp_path / "training"
    broken = {
        "calib/000000.txt": (None, "missing; download the calibration"),
        "velodyne/000000.bin": (b"1234567", "no whole number of points .*download the velodyne"),
        "label_2/000000.txt": ("Car 1 2 3\n", r"000000\.txt:1: a label is a name and 14 numbers"),
        "image_2/000000.png": (b"\x89PNG\r\n\x1a\n123", "not a picture that can be read whole"),
    }
    for name, (content, message) in broken.items():
        path = folder / name
        good = path.read_bytes()
        path.unlink() if content is None else None
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises((ValueError, FileNotFoundError), match=f"(?s){path.stem}.*{message}"):
            reader[0]
        path.write_bytes(good)
    reader[0]


@pytest.mark.parametrize(
    ("calib", "message"),
    [
        (OBJECT_CALIB.replace("P2:", "P9:"), "needs 12 numbers after P2:, has 0"),
        (OBJECT_CALIB.replace("50 0 29.5", "50 0"), "needs 12 numbers after P2:, has 11"),
        (OBJECT_CALIB.replace("50", "0"), "not a projection matrix"),
        (OBJECT_CALIB.replace("R0_rect", "R1"), "needs 9 numbers after R0_rect:"),
        (OBJECT_CALIB.replace("0 -1 0", "0 -2 0"), "not a rotation and a translation"),
        (OBJECT_CALIB.replace("Tr_", "T_"), "does not say where the scanner is; download"),
    ],
)
def test_a_calibration_that_cannot_be_right_is_named(calib, message, tmp_path):
    reader = Kitti(object_set(tmp_path))
    path = write(tmp_path / "training/calib/000000.txt", calib)
    with pytest.raises(ValueError, match=f"{path.name}.*{message}"):
        reader[0]


def landmarks_from(world_from_lidar: np.ndarray, world_m: np.ndarray) -> bytes:
    return scan(transform(np.linalg.inv(world_from_lidar), world_m))


def in_the_world(view) -> np.ndarray:
    seen = unproject(view.points[:, :2], view.points[:, 2], view.camera)
    return transform(view.world_from_cam, seen)


def sequence_set(root: Path) -> Path:
    """Two frames of one street of landmarks, the second 1 m further and turned by 3 degrees."""
    cos, sin = np.cos(np.radians(3)), np.sin(np.radians(3))
    moved = f"{cos} 0 {sin} 0.2 0 1 0 0 {-sin} 0 {cos} 1.0"
    poses = "1 0 0 0 0 1 0 0 0 0 1 0", moved
    landmarks = transform(four(LIDAR), AHEAD)  # the first camera 0 is the world
    for k, pose in enumerate(poses):
        for folder in ("image_2", "image_3"):
            write(root / f"sequences/00/{folder}/{k:06}.png", picture())
        seen = landmarks_from(four(pose) @ four(LIDAR), landmarks)
        write(root / f"sequences/00/velodyne/{k:06}.bin", seen)
    write(root / "sequences/00/calib.txt", SEQUENCE_CALIB)
    write(root / "poses/00.txt", "\n".join(poses) + "\n")
    return root


def test_two_frames_and_two_cameras_of_a_sequence_agree_where_landmarks_are(tmp_path):
    reader = Kitti(sequence_set(tmp_path), cameras=[2, 3])
    assert reader.scenes == ("00",)
    landmarks = transform(four(LIDAR), AHEAD)
    for view in demand_reader(reader) and reader:
        assert_among(in_the_world(view), landmarks, 15)


def test_the_right_camera_stands_half_a_metre_to_the_right(tmp_path):
    left, _, right, _ = Kitti(sequence_set(tmp_path), cameras=[2, 3])
    apart = relative_pose(left.world_from_cam, right.world_from_cam)
    np.testing.assert_allclose(apart[:3, 3], [0.5, 0, 0], atol=1e-9)


def test_a_sequence_without_poses_has_none_and_too_few_poses_are_named(tmp_path):
    root = sequence_set(tmp_path)
    write(root / "poses/00.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(ValueError, match=r"00\.txt: has 1 poses, none for frame 1; download"):
        Kitti(root)
    write(root / "poses/00.txt", "1 0 0\n")
    with pytest.raises(ValueError, match=r"00\.txt: not lines of 12 numbers"):
        Kitti(root)
    shutil.rmtree(root / "poses")
    assert Kitti(root)[1].world_from_cam is None


def test_one_sequence_alone_is_read_too(tmp_path):
    reader = Kitti(sequence_set(tmp_path) / "sequences" / "00")
    assert reader.scenes == ("00",)
    assert reader[1].world_from_cam is None
    assert len(reader[1].points)


def oxts(place: tuple[float, ...], angles: tuple[float, ...]) -> str:
    """What GPS says there: latitude, longitude, altitude, roll, pitch, yaw, and more."""
    latitude = LATITUDE + np.degrees(place[1] / EARTH_M)
    longitude = 8.4 + np.degrees(place[0] / EARTH_M / np.cos(np.radians(LATITUDE)))
    told = latitude, longitude, 110 + place[2], *np.radians(angles), 1, 2, 3
    return " ".join(f"{number:.12f}" for number in told)


def world_from_car(place: tuple[float, ...], angles: tuple[float, ...]) -> np.ndarray:
    """x forward, y left, z up in a world of east, north, up: roll first, then pitch, then yaw."""
    pose = np.eye(4)
    pose[:3, 3] = place
    for axis, angle in zip(np.eye(3), np.radians(angles), strict=True):
        pose[:3, :3] = cv2.Rodrigues(axis * angle)[0] @ pose[:3, :3]
    return pose


def raw_set(root: Path) -> Path:
    """The same landmarks from two places; the scanner sits (-0.8, 0.3, -0.8) m off the GPS."""
    day, rotations = root / "2011_09_26", {}
    write(day / "calib_cam_to_cam.txt", DAY_CALIB)
    rows = np.reshape(LIDAR.split(), (3, 4))
    rotations["velo_to_cam"] = " ".join(rows[:, :3].ravel()), " ".join(rows[:, 3])
    rotations["imu_to_velo"] = "1 0 0 0 1 0 0 0 1", "-0.8 0.3 -0.8"
    for name, (turn, step) in rotations.items():
        told = f"calib_time: 25-May-2012 16:47:16\nR: {turn}\nT: {step}\n"
        write(day / f"calib_{name}.txt", told)
    for k, (place, angles) in enumerate(WAY):
        lidar_from_car = four("1 0 0 -0.8 0 1 0 0.3 0 0 1 -0.8")
        world_from_lidar = world_from_car(place, angles) @ np.linalg.inv(lidar_from_car)
        seen = landmarks_from(world_from_lidar, street_m())
        write(day / DRIVE / f"velodyne_points/data/{k:010}.bin", seen)
        write(day / DRIVE / f"oxts/data/{k:010}.txt", oxts(place, angles))
        write(day / DRIVE / f"image_02/data/{k:010}.png", picture())
    return root


def street_m() -> np.ndarray:
    """Landmarks in the world, x east, y north, z up, north of the car."""
    return np.column_stack([-AHEAD[:, 1] - 0.3, AHEAD[:, 0], AHEAD[:, 2] + 0.8]).astype(float)


def test_gps_makes_two_frames_of_a_drive_agree_where_landmarks_are(tmp_path):
    reader = Kitti(raw_set(tmp_path))
    assert reader.scenes == (DRIVE,)
    for view in demand_reader(reader):
        assert_among(in_the_world(view), street_m(), 15)


def test_the_lidar_of_a_drive_lies_on_the_pixels_that_the_devkit_says(tmp_path):
    reader = Kitti(raw_set(tmp_path))
    seen = np.fromfile(reader.frames[1].scan, "<f4").reshape(-1, 4)[:, :3]
    assert_among(reader[1].points, devkit_pixels(seen, LEFT, TURN, LIDAR), 15)


def test_a_day_without_the_place_of_its_gps_has_no_poses(tmp_path):
    root = raw_set(tmp_path)
    (root / "2011_09_26/calib_imu_to_velo.txt").unlink()
    assert Kitti(root)[0].world_from_cam is None


def test_a_frame_whose_scan_was_never_published_is_left_out(tmp_path):
    root = raw_set(tmp_path)
    (root / "2011_09_26" / DRIVE / "velodyne_points/data/0000000001.bin").unlink()
    assert [frame.photo.stem for frame in Kitti(root).frames] == ["0000000000"]
    (root / "2011_09_26" / DRIVE / "velodyne_points/data/.DS_Store").touch()
    assert len(Kitti(root, cameras=[2, 3])) == 1  # nothing of camera 3 was unpacked
    shutil.rmtree(root / "2011_09_26" / DRIVE / "velodyne_points")
    assert len(Kitti(root)) == 2
    assert Kitti(root)[1].points is None


def test_raw_files_that_do_not_fit_are_named_with_the_way_out(tmp_path):
    reader = Kitti(raw_set(tmp_path))
    gps = tmp_path / "2011_09_26" / DRIVE / "oxts/data/0000000001.txt"
    gps.write_text("49.0 8.4")
    with pytest.raises(ValueError, match=r"0001\.txt: does not begin with 6 numbers.*download"):
        reader[1]
    gps.unlink()
    with pytest.raises(FileNotFoundError, match=r"0001\.txt: missing; download the synced data"):
        reader[1]
    cut = picture()[:30]
    write(tmp_path / "2011_09_26" / DRIVE / "image_02/data/0000000000.png", cut)
    with pytest.raises(ValueError, match=r"photo is 60x30, .*cam_to_cam\.txt is of 60x40; take"):
        reader[0]


def depth_set(root: Path, part: str = "train") -> Path:
    raw_set(root)
    stored = np.zeros(SIZE[::-1], np.uint16)
    stored[30, 20], stored[0, 59] = 256 * 7 + 128, 65535
    folder = root / part / DRIVE / "proj_depth/groundtruth/image_02"
    write(folder / "0000000001.png", stored)
    return root


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_depth_map_is_read_as_points_in_the_middle_of_its_pixels(part, tmp_path):
    reader = Kitti(depth_set(tmp_path, part))
    assert [frame.photo.stem for frame in reader.frames] == ["0000000001"]
    view = demand_reader(reader)[0]
    assert view.points.tolist() == [[59.5, 0.5, 65535 / 256], [20.5, 30.5, 7.5]]
    assert view.depth_m is None
    assert view.world_from_cam is not None


def test_depth_without_photographs_or_of_another_size_says_what_to_unpack(tmp_path):
    reader = Kitti(depth_set(tmp_path))
    path = tmp_path / "train" / DRIVE / "proj_depth/groundtruth/image_02/0000000001.png"
    write(path, np.ones((9, 9), np.uint16))
    with pytest.raises(ValueError, match=r"0001\.png: is 9x9, .* is 60x40; take both"):
        reader[0]
    (tmp_path / "2011_09_26" / DRIVE / "image_02/data/0000000001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"0001\.png: missing; unpack the images"):
        reader[0]
    shutil.rmtree(tmp_path / "2011_09_26")
    with pytest.raises(FileNotFoundError, match="unpack the raw data"):
        Kitti(tmp_path)


def test_the_frames_picked_for_evaluation_have_their_own_intrinsics(tmp_path):
    folder = tmp_path / "depth_selection/val_selection_cropped"
    name = f"{DRIVE}_image_0000000005_image_02"
    write(folder / f"image/{name}.png", picture())
    write(folder / f"intrinsics/{name}.txt", "50 0 29.5 0 51 19.5 0 0 1\n")
    stored = np.zeros(SIZE[::-1], np.uint16)
    stored[3, 4] = 512
    depth = f"{DRIVE}_groundtruth_depth_0000000005_image_02.png"
    write(folder / f"groundtruth_depth/{depth}", stored)
    view = demand_reader(reader := Kitti(tmp_path))[0]
    assert reader.scenes == (DRIVE,)
    assert (view.camera.fy, view.camera.cx, view.camera.cy) == (51.0, 30.0, 20.0)
    assert view.points.tolist() == [[4.5, 3.5, 2.0]]


def test_a_folder_without_kitti_is_refused_with_what_it_should_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing to read; give the folder with training"):
        Kitti(tmp_path)


# The rest is about real frames.


def test_real_boxes_agree_with_the_labels_in_the_image():
    reader = Kitti(real(FORMATS / "kitti_object"))
    overlaps = []
    for frame, view in zip(reader.frames, demand_reader(reader), strict=True):
        lines = [line.split() for line in frame.labels.read_text().splitlines()]
        labels = np.array([line[4:8] for line in lines if line[0] != "DontCare"], float) + 0.5
        overlaps += [overlap(box[:4], label) for box, label in zip(view.boxes, labels, strict=True)]
    assert len(overlaps) == 4
    assert np.median(overlaps) > 0.94
    assert min(overlaps) > 0.88


def overlap(one: tuple, other: np.ndarray) -> float:
    """Intersection over union."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    areas = [np.prod(np.subtract(box[2:], box[:2])) for box in (one, other)]
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (sum(areas) - shared)


def test_real_lidar_hits_the_pedestrian_where_the_box_says_he_is():
    view = Kitti(real(FORMATS / "kitti_object"))[0]
    (box,) = view.boxes
    u, v, z = view.points.T
    inside = (u > box.xmin) & (u < box.xmax) & (v > box.ymin) & (v < box.ymax)
    near = inside & (np.abs(z - box.centre_m[2]) < 0.6)
    assert near.sum() > 300
    low, high = np.quantile(v[near], [0.01, 0.99])
    assert (high - low) * box.centre_m[2] / view.camera.fy == pytest.approx(1.89, abs=0.25)


def test_real_lidar_agrees_with_the_disparity_of_the_stereo_pair():
    reader = Kitti(real(FORMATS / "kitti_odometry"), cameras=[2, 3])
    demand_reader(reader)
    left, right = reader[0], reader[2]
    matcher = cv2.StereoSGBM_create(0, 96, 5, 200, 800, disp12MaxDiff=1, uniquenessRatio=15)
    grey = [cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY) for view in (left, right)]
    matched = matcher.compute(*grey) / 16
    columns, rows = left.points[:, :2].astype(int).T
    expected = left.camera.fx * 0.5327 / left.points[:, 2]  # (45.38 + 337.29) / 718.856 m apart
    off = (matched[rows, columns] - expected)[matched[rows, columns] > 0]
    assert len(off) > 8000
    assert np.abs(np.median(off)) < 0.3
    assert np.median(np.abs(off)) < 0.6


def test_real_depth_maps_in_the_published_layout_keep_all_their_pixels(tmp_path):
    demo = real(FORMATS / "kitti_depth_and_nyu" / "kitti_demo")
    drive = "2011_09_28_drive_0001_sync"
    for path in sorted((demo / "rgb").glob("*.png")):
        photos = tmp_path / "2011_09_28" / drive / "image_02/data"
        maps = tmp_path / "train" / drive / "proj_depth/groundtruth/image_02"
        photos.mkdir(parents=True, exist_ok=True)
        maps.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, photos)
        shutil.copy(demo / "depth" / path.name, maps)
    matrix = "7.070493e+02 0 6.040814e+02 45.75831 0 7.070493e+02 1.805066e+02 -0.3454 0 0 1 0.005"
    told = f"S_rect_02: 1.242e+03 3.75e+02\nR_rect_00: {TURN}\nP_rect_02: {matrix}\n"
    write(tmp_path / "2011_09_28/calib_cam_to_cam.txt", told)
    for frame, view in zip((reader := Kitti(tmp_path)).frames, reader, strict=True):
        stored = np.array(Image.open(frame.depth))
        assert len(view.points) == (stored > 0).sum()
        assert 0.1 < len(view.points) / stored.size < 0.3
        assert 3 < view.points[:, 2].min() < view.points[:, 2].max() < 90
        # the road lies 1.65 m below the cameras: the devkit's mounting height
        below = unproject(view.points[:, :2], view.points[:, 2], view.camera)
        ahead = (np.abs(below[:, 0]) < 1.5) & (below[:, 2] < 12)
        assert np.median(below[ahead, 1]) == pytest.approx(1.65, abs=0.15)
