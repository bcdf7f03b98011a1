"""Focal lengths of photos whose camera nobody knows: what calibrators say, and how it is used."""

import json
import math
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import ROOT, photo_file
from vlm3 import tasks, unify_focal
from vlm3.sources import calibrate
from vlm3.sources.calibrate import Calibrator, Focal, depthpro
from vlm3.sources.exif import ROUNDING_MM
from vlm3.sources.photo import Photo, open_photo
from vlm3.sources.rgbd import Rgbd
from vlm3.terminal import cli, facts
from vlm3.views import View

GREY = np.full((24, 36, 3), 128, np.uint8)
WIDE = 0.5  # of its width is the focal length that a stand-in says


@pytest.fixture(autouse=True)
def nothing_stays_loaded():
    yield
    calibrate.get.cache_clear()


@pytest.fixture
def ours(tmp_path, monkeypatch):
    """A module of the reader's with calibrators, importable as `ours`."""
    (tmp_path / "ours.py").write_text(
        "from vlm3.sources.calibrate import Focal\n"
        f"def wide(photo): return {WIDE} * photo.image.shape[1]\n"
        "def sure(photo): return Focal(wide(photo), 0.07)\n"
        "def lost(photo): raise ValueError('nothing to go by')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("ours", None)


def test_what_is_given_counts_before_a_named_calibrator_and_that_before_exif(ours):
    path = photo_file(ours / "a.jpg", GREY, f35=50)  # 36 mm are 36 px here
    assert calibrate.opened(path, 70.0, "ours:wide").focal == Focal(70.0, None, "given")
    assert calibrate.opened(path, None, "ours:wide").focal == Focal(18.0, None, "ours:wide")
    noted = calibrate.opened(path).focal
    assert (noted.focal_px, noted.origin) == (pytest.approx(50), "exif")
    assert calibrate.opened(path, 70.0).view.camera.fx == 70
    with pytest.raises(ValueError, match=r"b\.png: no focal length known.*--calibrate"):
        calibrate.opened(photo_file(ours / "b.png", GREY))


@pytest.mark.parametrize("f35", [24, 50, 300])
def test_exif_is_uncertain_by_the_rounding_of_its_whole_millimetres(f35, tmp_path):
    rng = np.random.default_rng(0)
    exact_mm = f35 + rng.uniform(-0.5, 0.5, 100_000)  # all that are noted as f35
    found = calibrate.opened(photo_file(tmp_path / "a.jpg", GREY, f35=f35)).focal
    assert found.relative_std == pytest.approx(exact_mm.std() / f35, rel=0.01)
    assert pytest.approx(exact_mm.std(), rel=0.01) == ROUNDING_MM


def test_exif_states_no_rounding_where_the_sensor_is_noted_instead(tmp_path):
    sensor = dict(focal_mm=85.0, x=3942.5, y=3950.6, unit=2, width=5616, height=3744)
    path = photo_file(tmp_path / "a.jpg", GREY, **sensor)
    assert calibrate.opened(path).focal.relative_std is None
    both = photo_file(tmp_path / "b.jpg", GREY, f35=85, **sensor)
    assert calibrate.opened(both).focal.relative_std == pytest.approx(ROUNDING_MM / 85)


def test_a_camera_of_a_calibrator_has_square_pixels_and_its_middle_in_the_middle(ours):
    asked = calibrate.get("ours:wide")
    camera = asked(GREY)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (18, 18, 18, 12)
    assert unify_focal(View(GREY, None), 36.0, calibrator=asked).size == (96, 64)
    unknown = photo_file(ours / "b.png", GREY)
    assert open_photo(unknown, calibrator=asked).camera == camera


@pytest.mark.parametrize(
    "said",
    [0, -5.0, math.nan, math.inf, None, "wide", (), Focal(50.0, -0.1), Focal(50.0, math.inf)],
)
def test_what_cannot_be_a_focal_length_is_refused_with_who_says_so(said):
    with pytest.raises(ValueError, match="calibrator someone says") as error:
        Calibrator("someone", lambda photo: said)(GREY)
    assert repr(said) in str(error.value)


def test_an_uncertainty_that_is_not_a_number_is_none():
    told = Calibrator("someone", lambda photo: (50.0, math.nan)).focal(Photo(GREY))
    assert told == Focal(50.0, None, "someone")


@pytest.mark.parametrize("name", ["nobody", "ours:nothing", "no.module:here", "", "ours."])
def test_a_name_that_is_none_is_refused_with_those_that_are(name, ours):
    with pytest.raises(ValueError, match=r"anycalib, depthpro, exif, geocalib.*VLM3_CALIBRATORS"):
        calibrate.get(name)


def test_a_function_that_fails_is_named_with_its_failure():
    with pytest.raises(ValueError, match="calibrator mine failed: ZeroDivisionError: division by"):
        Calibrator("mine", lambda photo: 1 / 0)(GREY)


def test_a_failure_names_the_photo(ours):
    path = photo_file(ours / "b.png", GREY)
    with pytest.raises(ValueError, match=r"b\.png: nothing to go by"):
        calibrate.opened(path, None, "ours:lost")


def test_a_panorama_has_no_focal_length_whoever_is_asked(ours):
    path = photo_file(
        ours / "a.jpg", GREY, f35=26, xmp='<r GPano:ProjectionType="equirectangular"/>'
    )
    with pytest.raises(ValueError, match="panorama"):
        calibrate.opened(path, None, "ours:wide")
    assert calibrate.opened(path, 40.0).view.camera.fx == 40


def small_depth_pro(folder, degrees: float, **options):
    """Depth Pro's classes with random weights and a head that says so many degrees."""
    from transformers import DepthProConfig, DepthProForDepthEstimation

    eyes = {"model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 2}
    eyes |= {"num_attention_heads": 2, "patch_size": 8, "image_size": 32, "mlp_ratio": 1}
    models = {f"{part}_model_config": dict(eyes) for part in ("image", "patch", "fov")}
    config = DepthProConfig(
        patch_size=32,
        fusion_hidden_size=16,
        intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[16, 16],
        scaled_images_ratios=[0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.5],
        scaled_images_feature_dims=[16, 16],
        merge_padding_value=1,
        num_fov_head_layers=1,
        **{"use_fov_model": True} | models | options,
    )
    net = DepthProForDepthEstimation(config)
    if net.fov_model is not None:
        last = net.fov_model.head.layers[-1]
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.constant_(last.bias, degrees)
    net.save_pretrained(folder)
    return f"depthpro:{folder}"


def test_depth_pro_says_the_field_of_view_of_the_width(tmp_path, caplog):
    asked = calibrate.get(small_depth_pro(tmp_path, 60.0))
    for shape in ((24, 36, 3), (50, 20, 3)):
        found = asked.focal(Photo(np.zeros(shape, np.uint8)))
        seen_deg = 2 * math.degrees(math.atan(shape[1] / 2 / found.focal_px))
        assert seen_deg == pytest.approx(60, rel=1e-4)
        assert found.relative_std is None
    assert "apple-amlr" in caplog.text


def test_depth_pro_sees_pixels_from_minus_one_to_one_in_a_square_of_its_own_size(tmp_path):
    config = SimpleNamespace(patch_size=384, scaled_images_ratios=[0.25, 0.5, 1])
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 4:] = 255
    pixels = depthpro.prepared(image, config)
    assert pixels.shape == (1, 3, 1536, 1536)
    assert np.allclose(pixels[..., 0], -1)
    assert np.allclose(pixels[..., -1], 1)


@pytest.mark.parametrize("degrees", [0.0, -10.0, 180.0])
def test_a_field_of_view_that_no_lens_has_is_refused(degrees, tmp_path):
    with pytest.raises(ValueError, match="degrees wide"):
        calibrate.get(small_depth_pro(tmp_path, degrees))(GREY)


def test_a_depth_pro_without_its_field_of_view_or_without_weights_is_refused(tmp_path):
    without = small_depth_pro(tmp_path / "a", 60.0, use_fov_model=False)
    with pytest.raises(ValueError, match="use_fov_model"):
        calibrate.get(without)
    with pytest.raises(ValueError, match="depthpro:FOLDER"):
        calibrate.get(f"depthpro:{tmp_path}")


class Network(torch.nn.Module):
    """A stand-in with the interface of anycalib.AnyCalib and geocalib.GeoCalib by their READMEs."""

    def __init__(self, model_id: str = "", weights: str = ""):
        super().__init__()
        self.named = model_id or weights

    def _focal_px(self, pixels: torch.Tensor) -> float:
        assert pixels.dtype == torch.float32
        assert pixels.shape[0] == 3
        assert 0 <= pixels.min() <= pixels.max() <= 1
        return WIDE * pixels.shape[2]

    def predict(self, im: torch.Tensor, cam_id: str) -> dict:
        assert cam_id == "pinhole"
        focal_px = self._focal_px(im)
        return {"intrinsics": torch.tensor([focal_px * 1.25, focal_px / 1.25, 9.0, 9.0])}

    def calibrate(self, img: torch.Tensor) -> dict:
        focal_px = self._focal_px(img)
        camera = SimpleNamespace(f=torch.tensor([[focal_px, focal_px]]))
        return {"camera": camera, "focal_uncertainty": torch.tensor([0.1 * focal_px])}


@pytest.mark.parametrize(
    ("name", "kind", "std"), [("anycalib", "AnyCalib", None), ("geocalib", "GeoCalib", 0.1)]
)
def test_calibrators_of_other_packages_are_called_by_their_interface(
    name, kind, std, monkeypatch, caplog
):
    package = ModuleType(name)
    setattr(package, kind, Network)
    monkeypatch.setitem(sys.modules, name, package)
    found = calibrate.get(name).focal(Photo(GREY))
    assert found.focal_px == pytest.approx(18)  # of fx and fy their geometric mean
    assert found.relative_std == pytest.approx(std)
    assert "Apache-2.0" in caplog.text


@pytest.mark.parametrize("name", ["anycalib", "geocalib"])
def test_a_package_that_is_not_there_is_named_with_the_way_out(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=f"{name} is not installed: pip install"):
        calibrate.get(name)


def test_a_file_in_a_folder_of_the_readers_is_a_calibrator_by_its_name(tmp_path):
    (tmp_path / "ruler.py").write_text(
        "def calibrator(which):\n    return lambda photo: float(which or 40)\n"
    )
    code = (
        "from vlm3.sources import calibrate\nimport numpy as np\n"
        "image = np.zeros((24, 36, 3), np.uint8)\n"
        "print([calibrate.get(name)(image).fx for name in ('ruler', 'ruler:70')])\n"
        "import sys; print('torch' in sys.modules)"
    )
    around = {"VLM3_CALIBRATORS": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=around)
    assert done.stdout.splitlines() == ["[40.0, 70.0]", "False"], done.stderr


def frames(folder, **shot):
    """A folder of one RGB-D frame of 36x24 pixels without intrinsics."""
    folder.mkdir()
    photo_file(folder / "frame-000000.color.jpg", GREY, **shot)
    Image.fromarray(np.full((24, 36), 2000, np.uint16)).save(folder / "frame-000000.depth.png")
    return folder


def test_a_folder_of_photographs_without_intrinsics_is_read_with_a_calibrator(ours):
    noted = frames(ours / "noted", f35=50)
    with pytest.raises(ValueError, match="calibrate = 'exif'"):
        Rgbd(noted)[0]
    assert Rgbd(noted, calibrate="exif")[0].camera.fx == pytest.approx(50)
    assert Rgbd(frames(ours / "bare"), calibrate="ours:wide")[0].camera.fx == 18
    (noted / "camera-intrinsics.txt").write_text("30 0 18 0 30 12 0 0 1")
    assert Rgbd(noted, calibrate="ours:wide")[0].camera.fx == 30


def said(monkeypatch, capsys, *words: str) -> tuple[str, str]:
    monkeypatch.setattr(sys, "argv", ["vlm3", *words])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 0
    return capsys.readouterr()


@pytest.mark.parametrize("task", tasks.NAMES)
def test_ask_says_how_long_the_lens_is_how_sure_and_who_says_so(task, ours, monkeypatch, capsys):
    paths = [str(photo_file(ours / f"{k}.jpg", GREY, f35=50)) for k in range(tasks.get(task).views)]
    what = {"pixels": ("--at", "3,4"), "boxes": ("--box", "1,1,9,9"), "": ()}
    words = ("ask", task, *paths, *what[tasks.get(task).subject], "--calibrate", "ours:sure")
    out, _ = said(monkeypatch, capsys, *words)
    assert f"{paths[-1]}: 36x24 px, focal length 18 px +- 7 % (ours:sure)" in out.splitlines()


def test_ask_says_it_in_json(ours, monkeypatch, capsys):
    path = str(photo_file(ours / "a.jpg", GREY, f35=50))
    words = ("ask", "depth", path, "--at", "3,4", "--calibrate", "ours:sure", "--json")
    (photo,) = json.loads(said(monkeypatch, capsys, *words).out)["photos"]
    known = {"focal_px": 18.0, "focal_relative_std": 0.07, "focal_from": "ours:sure"}
    assert photo == {"path": path, "width": 36, "height": 24} | known


def test_unify_and_questions_say_it_too(ours, monkeypatch, capsys):
    path = str(photo_file(ours / "a.jpg", np.full((240, 360, 3), 128, np.uint8), f35=50))
    told = "focal length 180 px +- 7 % (ours:sure)"
    assert told in said(monkeypatch, capsys, "unify", path, "--calibrate", "ours:sure").out
    out, err = said(monkeypatch, capsys, "questions", path, "--calibrate", "ours:sure", "--n", "2")
    assert told in err
    assert len(out.splitlines()) == 2


def test_what_is_given_is_said_without_an_uncertainty():
    assert facts.focal(Focal(994.978, None, "given")) == "focal length 995 px (given)"
    assert facts.focal(Focal(2912.3, 0.0111, "exif")) == "focal length 2912 px +- 1.1 % (exif)"
