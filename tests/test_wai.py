"""WAI: folders made as MapAnything documents it."""

import json

import numpy as np
import pytest

from tests.readers import demand_reader
from tests.worlds import demand_same, fit, room, save
from vlm3.sources.wai import Wai

OpenEXR = pytest.importorskip("OpenEXR")


@pytest.fixture(scope="module")
def views():
    return room(128, 96, 70, off=0.05)


def save_exr(depth_m: np.ndarray, path, **more) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    channels = {"Y": depth_m.astype(np.float32)} | more
    OpenEXR.File(header, channels).write(str(path))


def intrinsics(camera) -> dict:
    told = {"fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx - 0.5, "cy": camera.cy - 0.5}
    return told | {"w": camera.width, "h": camera.height}


def write(folder, views, told: dict, name: str = "scene_meta.json") -> None:
    frames = []
    for k, view in enumerate(views):
        save(view.image, folder / f"images/{k:06d}.png")
        save_exr(np.nan_to_num(view.depth_m), folder / f"depth/{k:06d}.exr")
        frame = {
            "frame_name": f"{k:06d}",
            "file_path": f"images/{k:06d}.png",
            "image": f"images/{k:06d}.png",
            "rendered_depth": f"depth/{k:06d}.exr",
            "transform_matrix": view.world_from_cam.tolist(),
        }
        frames.append(frame | intrinsics(view.camera))
    modalities = {"depth": {"frame_key": "rendered_depth", "format": "depth"}}
    common = {"camera_convention": "opencv", "camera_model": "PINHOLE", "scale_type": "metric"}
    common |= {"shared_intrinsics": False, "frame_modalities": modalities, "frames": frames}
    (folder / name).write_text(json.dumps(common | told))


@pytest.fixture
def root(tmp_path, views):
    write(tmp_path / "courtyard", views, {})
    write(tmp_path / "temple", views, {"scale_type": "colmap"})
    return tmp_path


def test_scenes_give_the_views_that_were_written(root, views):
    found = demand_reader(Wai(root))
    for view, original in zip(found, (*views, *views), strict=True):
        demand_same(view, original)
    assert fit(*found[:2])[0] == pytest.approx(fit(*views)[0], abs=0.01)


def test_a_set_is_metric_where_all_its_chosen_scenes_are(root):
    assert not Wai(root).metric
    assert Wai(root, "courtyard").metric
    assert not Wai(root, "temple").metric
    assert Wai(root / "courtyard").metric


def test_the_axes_are_those_of_views_already(root, views):
    """Unlike nerfstudio's: what is one metre ahead and to the right is there."""
    view = Wai(root, "courtyard")[0]
    matrix = json.loads((root / "courtyard/scene_meta.json").read_text())["frames"][0]
    world = np.array(matrix["transform_matrix"]) @ [0.3, 0.1, 1, 1]
    assert (np.linalg.inv(view.world_from_cam) @ world)[:3] == pytest.approx([0.3, 0.1, 1])


def test_unknown_depth_is_zero_in_the_file(root, views):
    depth_m = views[0].depth_m.copy()
    depth_m[:30] = 0
    depth_m[30] = np.inf
    save_exr(depth_m, root / "courtyard/depth/000000.exr")
    found = Wai(root)[0].depth_m
    assert np.isnan(found[:31]).all()
    assert np.isfinite(found[31:]).all()


def test_another_depth_is_asked_for_by_the_name_of_its_modality(root, views):
    path = root / "courtyard/scene_meta.json"
    told = json.loads(path.read_text())
    told["frame_modalities"]["pred_depth"] = {"frame_key": "mvs", "format": "depth"}
    told["frames"][0]["mvs"] = "mvs/a.exr"
    path.write_text(json.dumps(told))
    save_exr(np.full((96, 128), 7.0), root / "courtyard/mvs/a.exr")
    first, second = Wai(root, "courtyard", depth="pred_depth")
    assert (first.depth_m == 7).all()
    assert second.depth_m is None


def test_distorted_scenes_are_read_where_there_are_no_others(tmp_path, views):
    bent = {"camera_model": "OPENCV", "k1": 0.0, "p1": 0.0}
    write(tmp_path / "a", views, bent, name="scene_meta_distorted.json")
    assert len(Wai(tmp_path)) == 2
    write(tmp_path / "a", views[:1], {})
    assert len(Wai(tmp_path)) == 1


def test_another_convention_is_refused(root, views):
    write(root / "garden", views, {"camera_convention": "opengl"})
    with pytest.raises(ValueError, match=r"garden/scene_meta\.json: its camera_convention"):
        Wai(root)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda path: path.unlink(), "missing; download"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "not an EXR file of one"),
        (lambda path: path.write_text("no"), "not an EXR file of one"),
        (
            lambda path: save_exr(np.ones((96, 128)), path, Z=np.ones((96, 128), "f4")),
            "one channel",
        ),
    ],
)
def test_depth_that_is_none_is_named(root, write, told, capfd):
    write(root / "courtyard/depth/000000.exr")
    with pytest.raises((ValueError, FileNotFoundError), match=rf"000000\.exr: .*{told}"):
        Wai(root)[0]


def test_a_photograph_of_another_size_is_not_that_of_its_numbers(root):
    save(np.zeros((48, 64, 3), np.uint8), root / "courtyard/images/000000.png")
    with pytest.raises(ValueError, match="the photograph is 64x48, its calibration is for 128x96"):
        Wai(root)[0]


def test_a_photograph_out_of_the_folder_is_refused(root):
    path = root / "courtyard/scene_meta.json"
    path.write_text(path.read_text().replace("images/000000.png", "../temple/images/000000.png"))
    with pytest.raises(ValueError, match="leaves the folder"):
        Wai(root)[0]
