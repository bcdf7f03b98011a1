"""The reader of nuScenes, on a made folder and on one real key frame."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.drives import Pose, looking, move, seen_at, sorted_rows, write_json, write_photo
from tests.readers import FORMATS, demand_reader, real
from vlm3.geometry import Camera, invert
from vlm3.sources.nuscenes import CAMERAS, Nuscenes
from vlm3.sources.reading import tables

YAW_DEG = dict(zip(CAMERAS, (0, -55, -110, 180, 110, 55), strict=True))
CHANNELS = *CAMERAS, "LIDAR_TOP"
K = [[50.0, 0, 31], [0, 52.0, 23.25], [0, 0, 1]]  # counts from pixel centres
CAMERA = Camera(50.0, 52.0, 31.5, 23.75, 64, 48)
EGO_FROM = {camera: looking(yaw) for camera, yaw in YAW_DEG.items()}
EGO_FROM["LIDAR_TOP"] = Pose((0.01, 0.02, -1.57), (0.9, 0, 1.8))
UV = np.array([(10.2, 20.7), (40.9, 30.1), (63.4, 47.3)])
DEPTH_M = np.array([5.0, 12.5, 31.0])


def ego(sample: int, channel: str) -> Pose:
    """world_from_ego: on, and round a bend; the camera sees before the sweep ends."""
    t = sample + {"CAM_FRONT": -0.1, "LIDAR_TOP": 0.0}.get(channel, -0.02)
    return Pose((0, 0, 0.8 + 0.3 * t), (900 + 9 * t, 1200 + 3 * t, 0))


def world_from(sample: int, channel: str) -> np.ndarray:
    return ego(sample, channel).matrix @ EGO_FROM[channel].matrix


def box(sample: int, name: str, at, visible="4", hits=7) -> dict:
    """A box 4 m long, 2 m wide and 1.5 m high, which the front camera of a sample sees there."""
    centre = move(np.array([at], float), world_from(sample, "CAM_FRONT"))[0]
    return {
        "token": f"box {name} {sample} {visible} {hits}",
        "sample_token": f"sample {sample}",
        "instance_token": name,
        "visibility_token": visible,
        "translation": centre.tolist(),
        "size": [2, 4, 1.5],
        # its length along the ray of the camera
        "rotation": ego(sample, "CAM_FRONT").quaternion,
        "num_lidar_pts": hits,
    }


def made(root: Path) -> Path:
    """Two scenes, the first with two samples; each sample with two photographs and a sweep."""
    rows = {name: [] for name in ("sample", "sample_data", "ego_pose")}
    for k in range(3):
        scene = f"scene {k // 2}"
        rows["sample"] += [{"token": f"sample {k}", "scene_token": scene, "timestamp": 9 - k % 2}]
        for channel in CHANNELS:
            for key in (False, True):
                token, pose = f"{channel} {k} {key}", ego(k if key else 99, channel)
                folder, end = ("samples" if key else "sweeps"), "jpg" if "CAM" in channel else "bin"
                row = {"token": token, "sample_token": f"sample {k}", "ego_pose_token": token}
                row |= {"calibrated_sensor_token": channel, "is_key_frame": key}
                row |= {"filename": f"{folder}/{channel}/{k}.{end}", "width": 64, "height": 48}
                rows["sample_data"].append(row)
                pose = {"rotation": pose.quaternion, "translation": pose.move}
                rows["ego_pose"].append({"token": token} | pose)
            write_photo(root / f"samples/{channel}/{k}.jpg", 64, 48)
        points = seen_at(
            UV, DEPTH_M, CAMERA, invert(world_from(k, "LIDAR_TOP")), world_from(k, "CAM_FRONT")
        )
        write_sweep(root / f"samples/LIDAR_TOP/{k}.bin", points)
    rows["scene"] = [{"token": f"scene {n}", "name": f"scene-000{n}"} for n in (0, 1)]
    rows["sensor"] = [{"token": c, "channel": c, "modality": ""} for c in CHANNELS]
    rows["calibrated_sensor"] = [
        {
            "token": channel,
            "sensor_token": channel,
            "translation": EGO_FROM[channel].move,
            "rotation": EGO_FROM[channel].quaternion,
            "camera_intrinsic": K if "CAM" in channel else [],
        }
        for channel in CHANNELS
    ]
    names = "vehicle.car", "human.pedestrian.adult", "movable_object.trafficcone", "animal"
    rows["category"] = rows["instance"] = [
        {"token": name, "category_token": name, "name": name} for name in names
    ]
    rows["sample_annotation"] = [
        box(0, "vehicle.car", (0.5, 0.2, 20)),
        box(0, "human.pedestrian.adult", (-2, 0.2, 15)),
        box(0, "movable_object.trafficcone", (3, 0.2, 15)),
        box(0, "animal", (1, 0.2, 25)),
        box(0, "vehicle.car", (1, 0.2, 10), visible="1"),
        box(0, "vehicle.car", (1, 0.2, 10), hits=0),
    ]
    for name, value in rows.items():
        write_json(root / "v1.0-mini" / f"{name}.json", value)
    return root


def write_sweep(path: Path, points: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.column_stack([points, np.zeros((len(points), 2))]).astype("<f4").tofile(path)


def read(root: Path, **options) -> Nuscenes:
    return Nuscenes(root, **{"cameras": ("CAM_FRONT", "CAM_BACK")} | options)


def change(root: Path, table: str, edit) -> None:
    """Rewrite a table after `edit` has changed its rows."""
    path = root / f"v1.0-mini/{table}.json"
    rows = json.loads(path.read_text())
    edit(rows)
    write_json(path, rows)


def test_frames_come_by_scene_time_and_camera(tmp_path):
    reader = read(made(tmp_path))
    assert [frame.name for frame in reader.frames] == [
        f"samples/{camera}/{k}.jpg" for k in (1, 0, 2) for camera in ("CAM_FRONT", "CAM_BACK")
    ]
    assert reader.scenes == ("scene-0000", "scene-0001")
    assert [f.name for f in Nuscenes(tmp_path).frames[:6]] == [
        f"samples/{c}/1.jpg" for c in CAMERAS
    ]
    demand_reader(reader)


def test_only_key_frames_are_read_wherever_they_stand_in_the_table(tmp_path):
    names = {frame.name for frame in read(made(tmp_path)).frames}
    change(tmp_path, "sample_data", lambda rows: rows.reverse())
    assert {frame.name for frame in read(tmp_path).frames} == names


def test_a_laser_point_lies_on_the_pixel_that_saw_it(tmp_path):
    reader = read(made(tmp_path), cameras=["CAM_FRONT"])
    for view in reader:
        found = sorted_rows(view.points)
        assert found == pytest.approx(sorted_rows(np.column_stack([UV, DEPTH_M])), abs=1e-4)
        assert view.camera == CAMERA


def test_a_view_has_the_pose_of_its_own_time(tmp_path):
    poses = [view.world_from_cam for view in read(made(tmp_path), scenes="scene-0001")]
    assert poses[0] == pytest.approx(world_from(2, "CAM_FRONT"))
    assert poses[1] == pytest.approx(world_from(2, "CAM_BACK"))


def test_depthlm_compat_leaves_out_the_motion_of_the_car(tmp_path):
    (view, *_) = read(made(tmp_path), scenes="scene-0001", depthlm_compat=True)
    as_if = ego(2, "LIDAR_TOP").matrix @ EGO_FROM["CAM_FRONT"].matrix
    world = seen_at(UV, DEPTH_M, CAMERA, world_from(2, "CAM_FRONT"))
    x, y, z = move(world, invert(as_if)).T
    # as it would be with the camera where it was when the sweep ended, in pixels from their centres
    u, v = 50 * x / z + 31, 52 * y / z + 23.25
    inside = (u >= 0) & (u < 64) & (v >= 0) & (v < 48)
    wanted = np.column_stack([np.floor(u) + 0.5, np.floor(v) + 0.5, z])[inside]
    assert len(wanted) > 0
    assert np.abs(z - DEPTH_M).max() > 0.5
    assert sorted_rows(view.points) == pytest.approx(sorted_rows(wanted), abs=1e-4)


def test_what_is_nearer_than_a_metre_is_the_car_itself(tmp_path):
    near = seen_at([(30, 20)], [0.9], CAMERA, EGO_FROM["CAM_FRONT"].matrix)
    near = move(near, invert(EGO_FROM["LIDAR_TOP"].matrix))
    still = {"rotation": [1, 0, 0, 0], "translation": [0, 0, 0]}
    change(made(tmp_path), "ego_pose", lambda rows: [row.update(still) for row in rows])
    write_sweep(tmp_path / "samples/LIDAR_TOP/2.bin", near)
    assert len(read(tmp_path, scenes="scene-0001")[0].points) == 0
    assert len(read(tmp_path, scenes="scene-0001", depthlm_compat=True)[0].points) == 1


def test_a_box_stands_where_it_is_annotated(tmp_path):
    view = read(made(tmp_path))[2]
    car = view.boxes[0]
    assert car.name == "car"
    assert car.centre_m == pytest.approx((0.5, 0.2, 20), abs=1e-3)
    assert car.size_m == pytest.approx((4, 1.5, 2))
    # 2 m wide and 1.5 m high, its near face at 18 m
    left, right = (31.5 + 50 * x / 18 for x in (-0.5, 1.5))
    top, bottom = (23.75 + 52 * y / 18 for y in (-0.55, 0.95))
    assert car[:4] == pytest.approx((left, top, right, bottom), abs=0.01)


def test_boxes_are_called_what_people_call_them_and_hidden_ones_left_out(tmp_path):
    reader = read(made(tmp_path))
    assert [b.name for b in reader[2].boxes] == ["car", "pedestrian", "traffic cone", "animal"]
    assert reader[3].boxes == reader[0].boxes == ()  # behind; of another sample


def test_a_version_without_annotations_has_no_boxes(tmp_path):
    made(tmp_path)
    for name in ("sample_annotation", "instance"):  # as in v1.0-test
        write_json(tmp_path / f"v1.0-mini/{name}.json", [])
    assert all(view.boxes == () for view in read(tmp_path))


def test_scenes_without_a_photograph_are_left_out(tmp_path):
    made(tmp_path)
    for path in tmp_path.glob("samples/CAM_*/[01].jpg"):
        path.unlink()
    assert read(tmp_path).scenes == ("scene-0001",)
    for path in tmp_path.glob("samples/CAM_*/2.jpg"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="nothing to read; give the folder with samples"):
        read(tmp_path)


def test_several_versions_must_be_told_apart(tmp_path):
    made(tmp_path)
    (tmp_path / "v1.0-mini").rename(tmp_path / "v1.0-trainval")
    made(tmp_path)
    with pytest.raises(ValueError, match="v1.0-mini, v1.0-trainval; say version="):
        read(tmp_path)
    assert len(read(tmp_path, version="v1.0-trainval")) == 6
    with pytest.raises(ValueError, match="say version="):
        read(tmp_path, version="v1.0-test")


def test_an_unknown_camera_is_an_error_that_lists_them(tmp_path):
    with pytest.raises(ValueError, match="no sensor CAM_TOP; there are CAM_BACK, CAM_BACK_LEFT"):
        read(made(tmp_path), cameras=["CAM_TOP"])


def test_a_large_table_is_read_in_parts(tmp_path, monkeypatch):
    whole = [view.points for view in read(made(tmp_path))]
    monkeypatch.setattr(tables, "BLOCK", 7)
    parts = [view.points for view in read(tmp_path)]
    assert all((a == b).all() for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize("table", ["sample", "sample_data", "ego_pose", "sample_annotation"])
def test_a_broken_table_is_named_with_the_way_out(tmp_path, table):
    path = made(tmp_path) / f"v1.0-mini/{table}.json"
    text = path.read_text()
    for broken in (text[: len(text) // 2], " ".join(text.rsplit(":", 1)), text[:-1]):
        path.write_text(broken)
        with pytest.raises(ValueError, match=rf"{table}.json.*download the data set's tables"):
            read(tmp_path)


def test_a_missing_table_is_named_with_the_way_out(tmp_path):
    for name in ("ego_pose", "scene", "sensor"):
        (made(tmp_path) / f"v1.0-mini/{name}.json").unlink()
        with pytest.raises(FileNotFoundError, match=rf"{name}.json: missing; download"):
            read(tmp_path)


def test_tables_that_do_not_fit_together_are_an_error(tmp_path):
    change(made(tmp_path), "ego_pose", lambda rows: rows.pop())
    with pytest.raises(ValueError, match="do not fit together.*LIDAR_TOP 2 True.*download"):
        read(tmp_path)


def test_a_broken_sweep_is_named_with_the_way_out(tmp_path):
    sweep = made(tmp_path) / "samples/LIDAR_TOP/1.bin"
    sweep.write_bytes(sweep.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"1.bin: 57 bytes are no whole number.*download it"):
        read(tmp_path)[0]
    sweep.unlink()
    with pytest.raises(FileNotFoundError, match=r"1.bin: missing; download"):
        read(tmp_path)[0]


def test_a_missing_photograph_is_named_with_the_way_out(tmp_path):
    (made(tmp_path) / "samples/CAM_FRONT/0.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"0.jpg: missing; take the part.*scenes="):
        read(tmp_path)[2]


def test_a_photograph_of_another_size_is_an_error(tmp_path):
    write_photo(made(tmp_path) / "samples/CAM_FRONT/1.jpg", 32, 24)
    with pytest.raises(ValueError, match="CAM_FRONT/1.jpg: camera is 64x48, image is 32x24"):
        read(tmp_path)[0]


@pytest.mark.parametrize("out", ["../../etc/passwd", "/etc/passwd"])
def test_a_table_cannot_name_files_out_of_the_folder(tmp_path, out):
    change(made(tmp_path), "sample_data", lambda rows: rows[1].update(filename=out))
    with pytest.raises(ValueError, match=f"{out}' leaves the folder"):
        read(tmp_path)[2]


def test_a_real_key_frame_is_read():
    views = demand_reader(Nuscenes(real(FORMATS / "nuscenes")))
    assert [view.size for view in views] == [(1600, 900)] * 6
    assert all(3000 < len(view.points) < 5000 for view in views)
    assert sum(len(view.boxes) for view in views) == 79
    truck = max(views[0].boxes, key=lambda box: (box.xmax - box.xmin) * (box.ymax - box.ymin))
    assert truck.name == "truck"
    assert truck.centre_m[2] == pytest.approx(15.3, abs=0.5)


def test_edges_of_depth_lie_on_edges_of_real_photographs_with_the_motion_of_the_car(tmp_path):
    """Brightness changes most where the laser saw a thing end, if points are where they belong."""
    root = shutil.copytree(real(FORMATS / "nuscenes"), tmp_path / "nuscenes")
    (sweep,) = (root / "samples/LIDAR_TOP").iterdir()
    edges(np.fromfile(sweep, "<f4").reshape(-1, 5)).tofile(sweep)
    # the car drives 9 m/s; these see 20 to 43 ms before the sweep ends
    cameras = ["CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK_RIGHT"]
    moved, still = (
        np.mean([sharpness(view) for view in Nuscenes(root, cameras=cameras, **compat)])
        for compat in ({}, {"depthlm_compat": True})
    )
    assert moved > 1.15 * still


def edges(points: np.ndarray) -> np.ndarray:
    """Of a sweep, points that stand 2 m before the one beside them, as the scanner turns."""
    found = []
    for ring in range(32):
        line = points[points[:, 4] == ring]
        line = line[np.argsort(np.arctan2(line[:, 1], line[:, 0]))]
        jump = np.diff(np.linalg.norm(line[:, :3], axis=1))
        found += [line[:-1][jump > 2], line[1:][jump < -2]]
    return np.concatenate(found)


def sharpness(view) -> float:
    """Mean change of brightness from left to right, where the points are."""
    grey = cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    change = cv2.GaussianBlur(np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0)), (0, 0), 1)
    columns, rows = view.points[:, :2].astype(int).T
    return float(change[rows, columns].mean())
