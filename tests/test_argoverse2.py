"""The reader of Argoverse 2, on a made log, and on a real one with photographs made to stand in."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.drives import Pose, looking, move, seen_at, sorted_rows, write_photo
from tests.readers import FORMATS, demand_reader, real
from vlm3.geometry import Camera, invert, unproject
from vlm3.sources.argoverse2 import CAMERAS, Argoverse2
from vlm3.views import View

pyarrow = pytest.importorskip("pyarrow")
feather = pytest.importorskip("pyarrow.feather")

LOG = "val/some-log"
FRONT, SIDE = "ring_front_center", "ring_side_left"
SWEEP_NS, TIMES_NS = 10**18, {FRONT: 10**18 + 20_000_000, SIDE: 10**18 - 10_000_000}
CAMERA = Camera(50.0, 52.0, 31.5, 23.75, 64, 48)
EGO_FROM = {FRONT: looking(0), SIDE: looking(80)}
UV = np.array([(10.2, 20.7), (40.9, 30.1), (63.4, 47.3)])
DEPTH_M = np.array([5.0, 12.5, 31.0])


def ego(ns: int) -> Pose:
    """city_from_ego of a car that drives on and round a bend."""
    t = (ns - SWEEP_NS) / 1e9
    return Pose((0.01, -0.02, 0.8 + 2 * t), (5000 + 9 * t, 2000 + 3 * t, 60))


def cam_from_ego(camera: str) -> np.ndarray:
    """From the car as the sweep has it to the camera as it sees."""
    world_from_cam = ego(TIMES_NS[camera]).matrix @ EGO_FROM[camera].matrix
    return invert(world_from_cam) @ ego(SWEEP_NS).matrix


def columns(pose: Pose) -> dict:
    names = "qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m"
    return dict(zip(names, map(float, (*pose.quaternion, *pose.move)), strict=True))


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pyarrow.Table.from_pylist(rows), path)


def write_sweep(root: Path, points: np.ndarray, ns: int = SWEEP_NS) -> None:
    path = root / LOG / f"sensors/lidar/{ns}.feather"
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = dict(zip("xyz", points.T.astype(np.float16), strict=True))
    feather.write_feather(pyarrow.table(halves | {"intensity": np.zeros(len(points))}), path)


def box(name: str, x: float, ns: int = SWEEP_NS, hits: int = 5) -> dict:
    """4 m long, 2 m wide, 1.5 m high, 20 m ahead of the car as the sweep has it."""
    row = {"timestamp_ns": ns, "category": name, "num_interior_pts": hits}
    row |= {"length_m": 4.0, "width_m": 2.0, "height_m": 1.5}
    return row | columns(Pose((0, 0, 0.3), (20.0, x, 0.7)))


def made(root: Path) -> Path:
    """A log with one sweep and a photograph of each of two cameras."""
    log = root / LOG
    lens = {"fx_px": 50.0, "fy_px": 52.0, "cx_px": 31.0, "cy_px": 23.25, "k1": -0.2}
    lens |= {"height_px": 48, "width_px": 64}
    write(log / "calibration/intrinsics.feather", [{"sensor_name": c} | lens for c in EGO_FROM])
    mounts = [{"sensor_name": c} | columns(pose) for c, pose in EGO_FROM.items()]
    write(log / "calibration/egovehicle_SE3_sensor.feather", mounts)
    poses = [{"timestamp_ns": ns} | columns(ego(ns)) for ns in (SWEEP_NS, *TIMES_NS.values())]
    write(log / "city_SE3_egovehicle.feather", poses)
    boxes = [box("BOX_TRUCK", 1.0), box("DOG", 2.0, ns=SWEEP_NS + 1), box("DOG", 2.0, hits=0)]
    write(log / "annotations.feather", boxes)
    for camera, ns in TIMES_NS.items():
        write_photo(log / f"sensors/cameras/{camera}/{ns}.jpg", 64, 48)
    write_sweep(root, seen_at(UV, DEPTH_M, CAMERA, invert(cam_from_ego(FRONT))))
    return root


def test_frames_come_by_log_time_and_camera(tmp_path):
    write_photo(made(tmp_path) / LOG / f"sensors/cameras/{SIDE}/{TIMES_NS[FRONT]}.jpg", 64, 48)
    names = [frame.name.split("/")[-2:] for frame in Argoverse2(tmp_path).frames]
    front, side = f"{TIMES_NS[FRONT]}.jpg", f"{TIMES_NS[SIDE]}.jpg"
    assert names == [[SIDE, side], [FRONT, front], [SIDE, front]]
    assert Argoverse2(tmp_path).scenes == Argoverse2(tmp_path / "val").scenes == ("some-log",)
    assert len(Argoverse2(tmp_path, cameras=[FRONT])) == 1


def test_a_made_log_keeps_the_promises_of_a_reader(tmp_path):
    assert len(demand_reader(Argoverse2(made(tmp_path)))) == 2


def test_a_laser_point_lies_on_the_pixel_that_saw_it(tmp_path):
    (view,) = Argoverse2(made(tmp_path), cameras=[FRONT])
    assert view.camera == CAMERA
    # half floats: steps of 2^-6 m at 31 m
    wanted = sorted_rows(np.column_stack([UV, DEPTH_M]))
    assert sorted_rows(view.points) == pytest.approx(wanted, abs=0.08)


def test_a_view_has_the_pose_of_its_own_time(tmp_path):
    (view,) = Argoverse2(made(tmp_path), cameras=[SIDE])
    assert view.world_from_cam == pytest.approx(ego(TIMES_NS[SIDE]).matrix @ EGO_FROM[SIDE].matrix)


def test_a_box_stands_where_it_is_annotated(tmp_path):
    (view,) = Argoverse2(made(tmp_path), cameras=[FRONT])
    (found,) = view.boxes  # neither that of another sweep, nor the one that nothing hit
    (centre,) = move(np.array([(20, 1.0, 0.7)]), cam_from_ego(FRONT))
    assert found.name == "box truck"
    assert found.centre_m == pytest.approx(centre)
    assert found.size_m == pytest.approx((4, 1.5, 2))
    u, v = 31.5 + 50 * centre[0] / centre[2], 23.75 + 52 * centre[1] / centre[2]
    assert found.xmin < u < found.xmax
    assert found.ymin < v < found.ymax
    # 1.5 m high, and its near face 18 m from the car's origin, which is 1.7 m behind the camera
    assert found.ymax - found.ymin == pytest.approx(52 * 1.5 / 16.3, rel=0.1)


def test_depthlm_compat_gives_the_distance_at_whole_pixels(tmp_path):
    uv = np.array([(10.2, 20.7), (10.4, 20.6), (63.4, 20.2), (63.6, 20.2), (0.3, 20.2)])
    made(tmp_path)
    write_sweep(tmp_path, seen_at(uv, np.full(5, 9.0), CAMERA, invert(cam_from_ego(FRONT))))
    (view,) = Argoverse2(tmp_path, cameras=[FRONT], depthlm_compat=True)
    # from pixel centres they lie at 9.7, 9.9, 62.9, 63.1 and -0.2, of which 0 to 63 are in
    assert view.points[:, :2].tolist() == [[10.5, 20.5], [10.5, 20.5], [63.5, 20.5]]
    ray = np.hypot(1, np.hypot((10.2 - 31.5) / 50, (20.7 - 23.75) / 52))
    assert view.points[0, 2] == pytest.approx(9 * ray, abs=0.02)


def test_the_nearest_sweep_is_taken_and_none_that_is_too_far(tmp_path):
    made(tmp_path)
    write_sweep(tmp_path, np.zeros((0, 3)), SWEEP_NS + 41_000_000)
    side, front = Argoverse2(tmp_path).frames
    assert (side.sweep_ns, front.sweep_ns) == (SWEEP_NS, SWEEP_NS)
    write_sweep(tmp_path, np.zeros((0, 3)), SWEEP_NS + 39_000_000)
    assert Argoverse2(tmp_path).frames[1].sweep_ns == SWEEP_NS + 39_000_000
    for path in (tmp_path / LOG / "sensors/lidar").iterdir():
        path.unlink()
    write_sweep(tmp_path, np.zeros((0, 3)), SWEEP_NS - 62_000_000)
    view = Argoverse2(tmp_path)[0]
    assert view.points is None
    assert view.boxes == ()
    assert view.world_from_cam is not None


def test_a_log_without_annotations_has_no_boxes(tmp_path):
    (made(tmp_path) / LOG / "annotations.feather").unlink()
    assert Argoverse2(tmp_path)[1].boxes == ()


def test_logs_without_photographs_are_said_to_lack_them(tmp_path):
    shutil.rmtree(made(tmp_path) / LOG / "sensors/cameras")
    with pytest.raises(FileNotFoundError, match="no sensors/cameras: download their photographs"):
        Argoverse2(tmp_path)


def test_an_unknown_camera_is_an_error_that_lists_them(tmp_path):
    with pytest.raises(ValueError, match=r"no cameras \['front'\]; there are ring_front_center"):
        Argoverse2(made(tmp_path), cameras=["front"])


@pytest.mark.parametrize(
    "name",
    [
        "calibration/intrinsics.feather",
        "calibration/egovehicle_SE3_sensor.feather",
        "city_SE3_egovehicle.feather",
        f"sensors/lidar/{SWEEP_NS}.feather",
        "annotations.feather",
    ],
)
def test_a_missing_or_broken_file_is_named_with_the_way_out(tmp_path, name):
    path = made(tmp_path) / LOG / name
    reader = Argoverse2(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=f"{name}: not a whole table.*download this log again"):
        reader[1]
    path.unlink()
    if name != "annotations.feather":
        with pytest.raises(FileNotFoundError, match=f"{name}: missing; download this log again"):
            reader[1]


def test_a_time_without_a_pose_is_an_error(tmp_path):
    write_photo(made(tmp_path) / LOG / f"sensors/cameras/{SIDE}/7.jpg", 64, 48)
    with pytest.raises(
        ValueError, match="city_SE3_egovehicle.feather: no row with timestamp_ns 7;"
    ):
        Argoverse2(tmp_path)[0]


def test_a_broken_photograph_is_named(tmp_path):
    path = made(tmp_path) / LOG / f"sensors/cameras/{FRONT}/{TIMES_NS[FRONT]}.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=f"{path}: not a picture"):
        Argoverse2(tmp_path)[1]
    write_photo(path, 32, 24)
    with pytest.raises(ValueError, match="camera is 64x48, image is 32x24"):
        Argoverse2(tmp_path)[1]


@pytest.fixture(scope="module")
def real_views(tmp_path_factory) -> list[View]:
    """Of the real log, with a grey photograph of each camera at a time of its table of poses."""
    root = tmp_path_factory.mktemp("argoverse2") / "val"
    shutil.copytree(real(FORMATS / "argoverse2"), root)
    (log,) = root.iterdir()
    times = feather.read_table(log / "city_SE3_egovehicle.feather")["timestamp_ns"].to_numpy()
    (sweep,) = (log / "sensors/lidar").iterdir()
    near = np.sort(times[np.argsort(np.abs(times - int(sweep.stem)))[: len(CAMERAS)]])
    lenses = feather.read_table(log / "calibration/intrinsics.feather").to_pylist()
    for ns, camera in zip(near.tolist(), CAMERAS, strict=True):
        lens = next(row for row in lenses if row["sensor_name"] == camera)
        path = log / f"sensors/cameras/{camera}/{ns}.jpg"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (lens["width_px"], lens["height_px"])).save(path)
    return demand_reader(Argoverse2(root))


def test_a_real_log_is_read(real_views):
    assert sorted(view.size for view in real_views) == [(1550, 2048)] + [(2048, 1550)] * 6
    assert all(11000 < len(view.points) < 19000 for view in real_views)
    assert len(real_views[0].boxes) > 15
    assert sum(len(view.boxes) for view in real_views) > 80


def test_real_boxes_hold_the_points_that_fell_into_them(real_views):
    """Boxes and points take ways of their own from the car to the camera."""
    hit = []
    for view in real_views:
        points_m = unproject(view.points[:, :2], view.points[:, 2], view.camera)
        for found in view.boxes:
            reach = np.linalg.norm(found.size_m) / 2
            hit.append((np.linalg.norm(points_m - found.centre_m, axis=1) < reach).any())
    assert np.mean(hit) > 0.9
