"""The reader of DDAD, on a made folder, and on one real scene of three samples."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.drives import Pose, looking, move, seen_at, sorted_rows, write_json, write_photo
from tests.readers import FORMATS, demand_reader, real
from vlm3.geometry import Camera, invert, unproject
from vlm3.sources.ddad import Ddad

CAMERA = Camera(50.0, 52.0, 31.5, 23.75, 64, 48)
EGO_FROM = {"CAMERA_01": looking(0), "CAMERA_05": looking(60), "LIDAR": Pose((0, 0, 0), (0, 0, 0))}
UV = np.array([(10.2, 20.7), (40.9, 30.1), (63.4, 47.3)])
DEPTH_M = np.array([5.0, 12.5, 31.0])
SCENES = {"000000": ("0", 1), "000150": ("1", 2)}  # its split, its samples


def world_from(sample: int, sensor: str) -> np.ndarray:
    """On, and round a bend; cameras see 0.2 s after the sweep."""
    t = sample + (0.0 if sensor == "LIDAR" else 0.2)
    return Pose((0, 0, 0.8 + 0.3 * t), (400 + 9 * t, -250 + 3 * t, 12)).matrix @ (
        EGO_FROM[sensor].matrix
    )


def told(matrix: np.ndarray) -> dict:
    """A pose as the layout has it."""
    turn = Pose(tuple(cv2.Rodrigues(matrix[:3, :3])[0].ravel()), tuple(matrix[:3, 3]))
    return {
        "rotation": dict(zip(("qw", "qx", "qy", "qz"), turn.quaternion, strict=True)),
        "translation": dict(zip("xyz", turn.move, strict=True)),
    }


def datum(sample: int, sensor: str) -> dict:
    pose = {"pose": told(world_from(sample, sensor)), "annotations": {"0": "not/read.json"}}
    if sensor == "LIDAR":
        kind = {"point_cloud": {"filename": f"point_cloud/LIDAR/{sample}.npz"} | pose}
    else:
        pose["annotations"]["1"] = f"bounding_box_3d/{sensor}/{sample}.json"
        photo = {"filename": f"rgb/{sensor}/{sample}.png", "width": 64, "height": 48}
        kind = {"image": photo | pose}
    return {"key": f"{sample} {sensor}", "id": {"name": sensor}, "datum": kind}


def box(number: int, hits: int = 5) -> dict:
    """4 m long, 2 m wide, 1.5 m high, as long as the camera looks at 20 m."""
    sides = {"length": 4.0, "width": 2.0, "height": 1.5}
    upright = invert(looking(0).matrix)
    upright[:3, 3] = 0.5, 0.2, 20
    return {"class_id": number, "num_points": hits, "box": sides | {"pose": told(upright)}}


def made(root: Path) -> Path:
    """Two scenes of two cameras and a sweep."""
    splits = {}
    for name, (split, samples) in SCENES.items():
        splits[split] = {"filenames": [f"{name}/scene_a.json", f"{name}/scene_absent.json"]}
        write_scene(root / name, samples)
    write_json(root / "ddad.json", {"metadata": {}, "scene_splits": splits})
    write_json(root / "other.json", [1])
    return root


def write_scene(folder: Path, samples: int) -> None:
    lens = {"fx": 50.0, "fy": 52.0, "cx": 31.0, "cy": 23.25, "skew": 0.0}
    none = dict.fromkeys(lens, 0.0)
    lenses = [none if sensor == "LIDAR" else lens for sensor in EGO_FROM]
    write_json(folder / "calibration/c.json", {"names": list(EGO_FROM), "intrinsics": lenses})
    items = [{"id": 2, "name": "Car"}, {"id": 0, "name": "Person"}]
    write_json(folder / "ontology/o.json", {"items": items})
    data = [datum(k, sensor) for k in range(samples) for sensor in EGO_FROM]
    of = [[f"{k} {sensor}" for sensor in reversed(EGO_FROM)] for k in range(samples)]
    told_of = [{"calibration_key": "c", "datum_keys": keys} for keys in of]
    scene = {"data": data, "samples": told_of, "ontologies": {"0": "absent", "1": "o"}}
    write_json(folder / "scene_a.json", scene)
    for k in range(samples):
        cam_from_lidar = invert(world_from(k, "CAMERA_01")) @ world_from(k, "LIDAR")
        write_sweep(folder, k, seen_at(UV, DEPTH_M, CAMERA, invert(cam_from_lidar)))
        for camera in ("CAMERA_01", "CAMERA_05"):
            write_photo(folder / f"rgb/{camera}/{k}.png", 64, 48)
            boxes = [box(2), box(0, hits=0)] if camera == "CAMERA_01" else []
            write_json(folder / f"bounding_box_3d/{camera}/{k}.json", {"annotations": boxes})


def write_sweep(folder: Path, sample: int, points: np.ndarray) -> None:
    path = folder / f"point_cloud/LIDAR/{sample}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, data=np.column_stack([points, np.zeros(len(points))]))


def test_frames_come_by_scene_sample_and_camera(tmp_path):
    reader = Ddad(made(tmp_path))
    assert [frame.name for frame in reader.frames] == [
        f"{scene}/rgb/{camera}/{sample}.png"
        for scene, sample in (("000000", 0), ("000150", 0), ("000150", 1))
        for camera in ("CAMERA_01", "CAMERA_05")
    ]
    assert len(demand_reader(reader)) == 6
    assert len(Ddad(tmp_path, cameras=["CAMERA_05"])) == 3


def test_a_split_is_that_of_the_data_set(tmp_path):
    assert Ddad(made(tmp_path), split="train").scenes == ("000000",)
    assert Ddad(tmp_path, split="val").scenes == ("000150",)
    with pytest.raises(FileNotFoundError, match=r"nothing to read; give the folder with ddad.json"):
        Ddad(tmp_path, split="test")
    with pytest.raises(ValueError, match="split must be one of train, val, .* got 'validation'"):
        Ddad(tmp_path, split="validation")


def test_a_laser_point_lies_on_the_pixel_that_saw_it(tmp_path):
    for view in Ddad(made(tmp_path), cameras=["CAMERA_01"]):
        wanted = sorted_rows(np.column_stack([UV, DEPTH_M]))
        assert sorted_rows(view.points) == pytest.approx(wanted)
        assert view.camera == CAMERA


def test_a_view_has_the_pose_of_its_own_time(tmp_path):
    view = Ddad(made(tmp_path))[5]
    assert view.world_from_cam == pytest.approx(world_from(1, "CAMERA_05"))


def test_a_box_stands_where_it_is_annotated(tmp_path):
    first, second = list(Ddad(made(tmp_path)))[:2]
    (car,) = first.boxes  # without the one that nothing hit
    assert car.name == "car"
    assert car.centre_m == pytest.approx((0.5, 0.2, 20))
    assert car.size_m == pytest.approx((4, 1.5, 2))
    # 2 m wide and 1.5 m high, its near face at 18 m
    left, right = (31.5 + 50 * x / 18 for x in (-0.5, 1.5))
    top, bottom = (23.75 + 52 * y / 18 for y in (-0.55, 0.95))
    assert car[:4] == pytest.approx((left, top, right, bottom))
    assert second.boxes == ()


def test_depthlm_compat_truncates_and_takes_the_last_point_of_a_pixel(tmp_path):
    uv = np.array([(10.7, 20.7), (10.9, 20.9), (-0.3, 20.7), (-0.6, 20.7), (64.3, 20.7)])
    depth_m = np.array([5.0, 12.0, 7.0, 7.0, 7.0])
    cam_from_lidar = invert(world_from(0, "CAMERA_01")) @ world_from(0, "LIDAR")
    points = seen_at(uv, depth_m, CAMERA, invert(cam_from_lidar))
    write_sweep(made(tmp_path) / "000000", 0, points)
    label = Ddad(tmp_path, depthlm_compat=True)[0].points
    # from pixel centres: (10.2, 20.2), (10.4, 20.4), -0.8 and -1.1, of which -0.8 becomes 0
    wanted = [[0.5, 20.5, 7], [10.5, 20.5, 12], [63.5, 20.5, 7]]
    assert sorted(label.tolist()) == [pytest.approx(row) for row in wanted]
    nearest = Ddad(tmp_path)[0].points
    assert nearest == pytest.approx(np.array([[10.7, 20.7, 5]]))


def test_a_scene_may_have_neither_sweeps_nor_boxes(tmp_path):
    edit(made(tmp_path), lambda scene: scene.update(ontologies={}))
    edit(tmp_path, lambda scene: [s["datum_keys"].remove("0 LIDAR") for s in scene["samples"]])
    for name in ("CAMERA_01", "CAMERA_05"):
        edit(tmp_path, lambda scene, name=name: photo(scene, name)["annotations"].pop("1"))
    view = Ddad(tmp_path, "000000")[0]
    assert view.points is None
    assert view.boxes == ()


def edit(root: Path, change) -> None:
    path = root / "000000/scene_a.json"
    scene = json.loads(path.read_text())
    change(scene)
    write_json(path, scene)


def photo(scene: dict, camera: str) -> dict:
    (found,) = (d["datum"]["image"] for d in scene["data"] if d["id"]["name"] == camera)
    return found


@pytest.mark.parametrize("name", ["scene_a.json", "calibration/c.json", "ontology/o.json"])
def test_a_broken_table_is_named_with_the_way_out(tmp_path, name):
    path = made(tmp_path) / "000000" / name
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=f"{name}: not whole as json.*download this scene again"):
        Ddad(tmp_path)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"scene_a.json: not such a scene.*download this scene"):
        Ddad(tmp_path)
    path.unlink()
    if name != "scene_a.json":
        with pytest.raises(FileNotFoundError, match=f"{name}: missing; download this scene again"):
            Ddad(tmp_path)


@pytest.mark.parametrize(
    "name", ["rgb/CAMERA_01/0.png", "point_cloud/LIDAR/0.npz", "bounding_box_3d/CAMERA_01/0.json"]
)
def test_a_broken_file_is_named_with_the_way_out(tmp_path, name):
    path = made(tmp_path) / "000000" / name
    reader = Ddad(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=f"{name}: (not a picture|no table of|not whole as json)"):
        reader[0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: missing; download this scene again"):
        reader[0]


def test_a_scene_cannot_name_files_out_of_the_folder(tmp_path):
    edit(made(tmp_path), lambda s: photo(s, "CAMERA_01").update(filename="../../x.png"))
    with pytest.raises(ValueError, match=r"'000000/../../x.png' leaves the folder"):
        Ddad(tmp_path)[0]
    splits = {"0": {"filenames": ["../000000/scene_a.json"]}}
    write_json(tmp_path / "ddad.json", {"scene_splits": splits})
    with pytest.raises(ValueError, match="leaves the folder"):
        Ddad(tmp_path)


def test_cameras_that_a_scene_lacks_are_an_error_that_lists_them(tmp_path):
    with pytest.raises(ValueError, match="has LIDAR, CAMERA_05, CAMERA_01, none of CAMERA_02"):
        Ddad(made(tmp_path), cameras=["CAMERA_02"])


def test_a_lens_that_bends_lines_is_refused(tmp_path):
    path = made(tmp_path) / "000000/calibration/c.json"
    path.write_text(path.read_text().replace('"skew": 0.0', '"skew": 0.0, "k1": 0.1'))
    with pytest.raises(ValueError, match="c.json: CAMERA_01 is no pinhole camera: .*'k1': 0.1"):
        Ddad(tmp_path)


def test_a_photograph_of_another_size_is_an_error(tmp_path):
    write_photo(made(tmp_path) / "000000/rgb/CAMERA_01/0.png", 32, 24)
    with pytest.raises(ValueError, match="CAMERA_01/0.png: camera is 64x48, image is 32x24"):
        Ddad(tmp_path)[0]


@pytest.fixture(scope="module")
def real_reader() -> Ddad:
    return Ddad(real(FORMATS / "ddad"))


def test_a_real_scene_is_read(real_reader):
    assert len(real_reader) == 9  # three samples; the folder of its second scene is not there
    views = demand_reader(Ddad(real_reader.root, frames=(0, 3)))
    assert [view.size for view in views] == [(1936, 1216)] * 3
    assert [4000 < len(view.points) < 12000 for view in views] == [True] * 3
    assert {box.name for view in views for box in view.boxes} >= {"car", "person"}


def test_real_boxes_of_a_camera_are_those_of_the_sweep_moved_by_the_poses(real_reader):
    folder = real_reader.root / "scene_01"
    sweeps = sorted((folder / "bounding_box_3d/LIDAR").iterdir())
    for k in range(0, 9, 3):
        frame, view = real_reader.frames[k], real_reader[k]
        annotated = json.loads(sweeps[k // 3].read_text())["annotations"]
        place = np.array([list(row["box"]["pose"]["translation"].values()) for row in annotated])
        world_from_lidar = world_pose(frame.sweep[1])
        centres = move(place, invert(view.world_from_cam), world_from_lidar)
        for found in view.boxes:
            assert np.linalg.norm(centres - found.centre_m, axis=1).min() < 1e-6


def world_pose(numbers) -> np.ndarray:
    w, *xyz = numbers[:4]
    angle = 2 * np.arctan2(np.linalg.norm(xyz), w)
    return Pose(tuple(angle * np.array(xyz) / np.linalg.norm(xyz)), numbers[4:]).matrix


def test_real_boxes_hold_the_points_that_fell_into_them(real_reader):
    hit = []
    for view in (real_reader[k] for k in range(3)):
        points_m = unproject(view.points[:, :2], view.points[:, 2], view.camera)
        for found in view.boxes:
            reach = np.linalg.norm(found.size_m) / 2
            hit.append((np.linalg.norm(points_m - found.centre_m, axis=1) < reach).any())
    # the sample has a fifth of the points that were counted in boxes
    assert np.mean(hit) > 0.8
