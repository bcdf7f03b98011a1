"""Omni3D's annotation files: corners where the publisher's figure has them become boxes.

Files are made here after the publisher's description; one test writes real KITTI frames that way.
"""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.readers import FORMATS, demand_reader, real
from vlm3.sources.kitti import Kitti
from vlm3.sources.omni3d import Omni3d

SIZE = 200, 120
K = [[150.0, 0.0, 98.0], [0.0, 152.0, 61.0], [0.0, 0.0, 1.0]]
TURN = cv2.Rodrigues(np.array([0.1, 0.7, 0.05]))[0]
BED = {
    "image_id": 7,
    "category_name": "night stand",
    "valid3D": True,
    "center_cam": [0.3, 0.2, 6.0],
    "dimensions": [0.8, 1.1, 2.0],  # width along z, height along y, length along x
    "R_cam": TURN.tolist(),
    "behind_camera": False,
    "visibility": 0.9,
    "truncation": 0.0,
    "segmentation_pts": 800,
    "lidar_pts": -1,
    "depth_error": 0.02,
}
IMAGE = {
    "id": 7,
    "dataset_id": 1,
    "file_path": "SUNRGBD/kv2/kinect2data/000002/image/0000103.jpg",
    "width": SIZE[0],
    "height": SIZE[1],
    "K": K,
    "src_90_rotate": 0,
    "src_flagged": False,
}


def corners(annotation: dict) -> np.ndarray:
    """(8, 3) bbox3D_cam: v0 v1 v2 v3 the side of low z, v4 v5 v6 v7 behind it, y down."""
    width, height, length = annotation["dimensions"]
    right = np.array([-1, 1, 1, -1, -1, 1, 1, -1]) * length / 2
    down = np.array([-1, -1, 1, 1, -1, -1, 1, 1]) * height / 2
    away = np.repeat([-1, 1], 4) * width / 2
    turned = np.column_stack([right, down, away]) @ np.transpose(annotation["R_cam"])
    return turned + annotation["center_cam"]


def folder(root: Path, annotations: list[dict], image: dict = IMAGE, name="SUNRGBD_train") -> Path:
    photo = root / image["file_path"]
    photo.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (90, 100, 110)).save(photo)
    (root / "Omni3D").mkdir(exist_ok=True)
    images = [image, IMAGE | {"id": 99, "file_path": "SUNRGBD/kv2/empty.jpg"}]
    table = {"info": {}, "images": images, "categories": [], "annotations": annotations}
    (root / "Omni3D" / f"{name}.json").write_text(json.dumps(table))
    return root


def test_a_box_bounds_the_corners_of_bbox3D_cam(tmp_path):
    (view,) = demand_reader(reader := Omni3d(folder(tmp_path, [BED])))
    (box,) = view.boxes
    seen = corners(BED) @ np.transpose(K)
    pixels = seen[:, :2] / seen[:, 2:] + 0.5  # K counts from pixel centres
    np.testing.assert_allclose(box[:4], [*pixels.min(0), *pixels.max(0)], atol=1e-4)
    assert box.name == "night stand"
    assert box.size_m == pytest.approx((2.0, 1.1, 0.8))
    assert box.centre_m == pytest.approx((0.3, 0.2, 6.0))
    assert (view.camera.cx, view.camera.cy) == (98.5, 61.5)
    assert reader.scenes == ("SUNRGBD/kv2",)  # the photo without objects is left out
    assert view.depth_m is view.points is view.world_from_cam is None


def test_a_principal_point_in_the_very_middle_counts_from_the_corner(tmp_path):
    middle = [[150.0, 0, 100.0], [0, 150.0, 60.0], [0, 0, 1]]
    (view,) = Omni3d(folder(tmp_path, [BED], IMAGE | {"K": middle}))
    assert (view.camera.cx, view.camera.cy) == (100.0, 60.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"valid3D": False, "dimensions": [-1, -1, -1], "R_cam": [[-1] * 3] * 3},
        {"dimensions": [0.8, 0, 2.0]},
        {"lidar_pts": 0},
        {"segmentation_pts": 0},
        {"depth_error": 0.6},
        {"visibility": 0.2},
        {"center_cam": [8.0, 0.2, 6.0]},  # out of the image
        {"center_cam": [0.3, 0.2, -6.0]},  # behind the camera
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_objects_without_a_reliable_box_in_sight_are_left_out(changes, tmp_path):
    unsure = BED | changes | {"category_name": "unsure"}
    (view,) = Omni3d(folder(tmp_path, [unsure, BED]))
    assert [box.name for box in view.boxes] == ["night stand"]


def test_what_a_file_does_not_know_counts_for_nothing(tmp_path):
    unknown = {"visibility": -1, "lidar_pts": -1, "segmentation_pts": -1, "depth_error": -1}
    (view,) = Omni3d(folder(tmp_path, [BED | unknown]))
    assert len(view.boxes) == 1


def test_files_are_picked_by_pattern_and_data_sets_without_photos_are_left_out(tmp_path):
    folder(tmp_path, [BED])
    place = IMAGE | {"file_path": "hypersim/ai_001_001/images/scene_cam_00/frame.0000.jpg"}
    folder(tmp_path, [BED], place, "Hypersim_train")
    folder(tmp_path, [BED], IMAGE | {"file_path": "SUNRGBD/kv1/other.jpg"}, "SUNRGBD_val")
    assert Omni3d(tmp_path).scenes == ("hypersim/ai_001_001", "SUNRGBD/kv2")
    assert Omni3d(tmp_path, labels="SUNRGBD_*.json").scenes == ("SUNRGBD/kv2", "SUNRGBD/kv1")
    shutil.rmtree(tmp_path / "hypersim")
    assert Omni3d(tmp_path).scenes == ("SUNRGBD/kv2",)
    shutil.rmtree(tmp_path / "SUNRGBD")
    with pytest.raises(FileNotFoundError, match="photos in SUNRGBD, hypersim, none .* unpack them"):
        Omni3d(tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing to read; give the folder with Omni3D"):
        Omni3d(tmp_path, labels="Objectron_*.json")


def test_files_that_are_broken_or_something_else_are_named_with_the_way_out(tmp_path):
    path = folder(tmp_path, [BED]) / "Omni3D" / "SUNRGBD_train.json"
    text = path.read_text()
    path.write_text(text[:-9])
    with pytest.raises(ValueError, match=r"SUNRGBD_train\.json: not whole as json .*Omni3D_json"):
        Omni3d(tmp_path)
    for other in ("[]", '{"images": []}', text.replace("file_path", "file_name")):
        path.write_text(other)
        with pytest.raises(ValueError, match=r"train\.json: not as Omni3D has it .*Omni3D_json"):
            Omni3d(tmp_path)


def test_photos_that_are_missing_cut_of_another_size_or_elsewhere_are_named(tmp_path):
    reader = Omni3d(folder(tmp_path, [BED]))
    photo = tmp_path / IMAGE["file_path"]
    Image.new("RGB", (100, 60)).save(photo)
    with pytest.raises(ValueError, match=r"103\.jpg: photo is 100x60, its labels are for 200x120"):
        reader[0]
    photo.write_bytes(photo.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"103\.jpg: not a picture that can be read whole"):
        reader[0]
    photo.unlink()
    with pytest.raises(FileNotFoundError, match=r"103\.jpg: missing; unpack the photos"):
        reader[0]
    outside = IMAGE | {"file_path": "SUNRGBD/../../out.jpg"}
    reader = Omni3d(folder(tmp_path / "datasets", [BED], outside))
    with pytest.raises(ValueError, match="leaves the folder"):
        reader[0]


def test_a_matrix_that_is_no_rotation_is_named_with_its_frame(tmp_path):
    reader = Omni3d(folder(tmp_path, [BED | {"R_cam": (2 * TURN).tolist()}]))
    with pytest.raises(ValueError, match=r"0000103\.jpg: R_cam of a night stand: not a rotation"):
        reader[0]


def test_real_kitti_frames_in_this_format_give_the_boxes_of_kitti(tmp_path):
    kitti = Kitti(real(FORMATS / "kitti_object"))
    images, annotations = [], []
    for frame, view in zip(kitti.frames, kitti, strict=True):
        place = f"KITTI_object/training/image_2/{frame.photo.name}"
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(frame.photo, tmp_path / place)
        matrix = (view.camera.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]).tolist()
        size = dict(zip(("width", "height"), view.size, strict=True))
        images.append({"id": len(images), "file_path": place, "K": matrix, **size})
        for line in map(str.split, frame.labels.read_text().splitlines()):
            if line[0] != "DontCare":
                annotations.append(as_omni3d(line) | {"image_id": images[-1]["id"]})
    (tmp_path / "Omni3D").mkdir()
    table = {"images": images, "annotations": annotations}
    (tmp_path / "Omni3D/KITTI_train.json").write_text(json.dumps(table))
    for view, same in zip(demand_reader(Omni3d(tmp_path)), kitti, strict=True):
        assert view.camera == same.camera
        for box, wanted in zip(view.boxes, same.boxes, strict=True):
            assert box.name == wanted.name
            np.testing.assert_allclose(box[:4], wanted[:4], atol=0.01)
            np.testing.assert_allclose(box.size_m, wanted.size_m, rtol=1e-6)


def as_omni3d(line: list[str]) -> dict:
    """A label line of KITTI; the camera stands (-0.06, 0, -0.003) m from that of the labels."""
    high, wide, long, x, y, z, turn = map(float, line[8:15])
    shift = (0.06046166, -0.00176016, 0.00498102) if "Pedestrian" in line else (0.05985, 0, 0.00275)
    return {
        "category_name": line[0].lower(),
        "valid3D": True,
        "center_cam": [x + shift[0], y - high / 2 + shift[1], z + shift[2]],
        "dimensions": [wide, high, long],
        "R_cam": cv2.Rodrigues(np.array([0, turn, 0]))[0].tolist(),
    }
