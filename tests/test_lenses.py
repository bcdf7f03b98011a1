"""Undistorted pictures, against COLMAP itself and against lines that are straight."""

import cv2
import numpy as np
import pytest

from vlm3.geometry import Camera, pixel_centres, project, rays
from vlm3.sources.reading import extras, lenses
from vlm3.sources.reading.lenses import lens

pycolmap = pytest.importorskip("pycolmap")

WIDTH, HEIGHT = 160, 120
TWO = [110.0, 108.0, 83.0, 57.0]  # fx, fy, cx, cy
ONE = [110.0, 83.0, 57.0]
# as calibrations find them, bent enough to see it at this size
MODELS = {
    "SIMPLE_RADIAL": [*ONE, -0.15],
    "SIMPLE_RADIAL_FISHEYE": [*ONE, 0.05],
    "RADIAL": [*ONE, -0.2, 0.05],
    "RADIAL_FISHEYE": [*ONE, 0.05, -0.01],
    "OPENCV": [*TWO, 0.12, 0.03, 0.003, -0.002],
    "OPENCV_FISHEYE": [*TWO, 0.04, -0.01, 0.005, -0.001],
    "FULL_OPENCV": [*TWO, -0.2, 0.03, 0.002, 0.001, 0.01, 0.1, 0.02, 0.01],
    "FOV": [*TWO, 0.7],
    "THIN_PRISM_FISHEYE": [*TWO, 0.2, 0.2, 0.001, -0.002, -0.1, 0.3, 0.002, 0.003],
    "RAD_TAN_THIN_PRISM_FISHEYE": [
        *TWO,
        0.05,
        0.02,
        -0.01,
        0.001,
        0,
        0,
        0.001,
        -0.001,
        0.002,
        0.001,
        -0.001,
        0.001,
    ],
    "SIMPLE_DIVISION": [*ONE, -0.15],
    "DIVISION": [*TWO, 0.1],
    "SIMPLE_FISHEYE": ONE,
    "FISHEYE": TWO,
    "EUCM": [*TWO, 0.6, 1.1],
}


def photographed(model, params, width, height, world_from_cam):
    """The wall z = 0 of the world, painted with waves, through a lens: image and z-depth.

    By COLMAP's way from pixels to rays, which is not the one that `lens` goes.
    """
    camera = pycolmap.Camera(model=model, width=width, height=height, params=list(params))
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    xy = camera.cam_from_img(np.column_stack([u.ravel(), v.ravel()]))
    to = np.column_stack([xy, np.ones(len(xy))]) @ world_from_cam[:3, :3].T
    depth_m = -world_from_cam[2, 3] / to[:, 2]
    x, y, _ = (world_from_cam[:3, 3] + to * depth_m[:, None]).T
    waves = np.column_stack([np.sin(3 * x), np.sin(4 * y), np.sin(2 * (x + y))])
    image = np.round(127.5 + 120 * waves).astype(np.uint8).reshape(height, width, 3)
    return image, depth_m.astype(np.float32).reshape(height, width)


def coordinates():
    """(H, W) float32 x 2: where a pixel of the photograph lies, as if it were depth."""
    return pixel_centres(Camera(1, 1, 0, 0, WIDTH, HEIGHT)).astype(np.float32).transpose(2, 0, 1)


def test_every_model_of_colmap_is_tried_here():
    known = set(pycolmap.CameraModelId.__members__) - {"INVALID", "EQUIRECTANGULAR"}
    assert known <= {*MODELS, *lenses.PINHOLE}


@pytest.mark.parametrize("model", MODELS)
def test_each_pixel_shows_what_colmap_says_that_it_sees(model):
    of = lens(model, MODELS[model], WIDTH, HEIGHT)
    camera = pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=MODELS[model])
    assert (of.camera.fx, of.camera.fy) == (camera.focal_length_x, camera.focal_length_y)
    # backwards, from the photograph: the way that the lens never goes
    photographed = np.stack([of.depth(part) for part in coordinates()], -1).reshape(-1, 2)
    seen = np.column_stack([camera.cam_from_img(photographed), np.ones(len(photographed))])
    off = project(seen, of.camera) - pixel_centres(of.camera).reshape(-1, 2)
    shown = cv2.remap(coordinates()[0], *of.lookup, cv2.INTER_LINEAR)
    stretch = np.abs(np.gradient(shown, axis=1)).min()  # photograph's pixels in one of ours
    assert np.abs(off).max() < 0.75 / stretch  # half a pixel, in x or y, through the nearest one
    assert np.abs(off.mean(0)).max() < 0.05  # and no shift: a lost half pixel would be 0.5


@pytest.mark.parametrize("model", MODELS)
def test_a_straight_edge_stays_straight_and_where_it_was(model):
    of = lens(model, MODELS[model], WIDTH, HEIGHT)
    camera = pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=MODELS[model])
    xy = camera.cam_from_img(coordinates().reshape(2, -1).T.astype(float))
    for normal in ([1.0, 0.2, 0.28], [-0.3, 1.0, -0.2]):  # a plane through the centre
        side = (xy @ normal[:2] + normal[2]).reshape(HEIGHT, WIDTH)
        photograph = np.clip(128 + 900 * side, 0, 255).round().astype(np.uint8)
        shown = of.image(np.dstack([photograph] * 3))[..., 0].astype(float)
        right = rays(pixel_centres(of.camera), of.camera) @ normal
        near = (np.abs(right) < 0.1) & (shown > 30) & (shown < 225)
        assert near.sum() > 300
        off_px = ((shown - 128) / 900 - right)[near] * 110
        assert np.abs(off_px).max() < 0.2
        assert abs(off_px.mean()) < 0.02


@pytest.mark.parametrize("model", ["OPENCV", "SIMPLE_RADIAL", "OPENCV_FISHEYE"])
def test_colmap_undistorts_the_same(model):
    rng = np.random.default_rng(0)
    photograph = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 2)
    of = lens(model, MODELS[model], WIDTH, HEIGHT)
    camera = pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=MODELS[model])
    found, pinhole = pycolmap.undistort_image(
        pycolmap.UndistortCameraOptions(), pycolmap.Bitmap.from_array(photograph), camera
    )
    fx, fy, cx, cy = pinhole.params
    theirs = Camera(fx, fy, cx, cy, pinhole.width, pinhole.height)
    uv = project(rays(pixel_centres(of.camera), of.camera), theirs).astype(np.float32) - 0.5
    again = cv2.remap(found.to_array(), uv[..., 0], uv[..., 1], cv2.INTER_LINEAR)
    both = ((uv > 1) & (uv < np.array(theirs.size, np.float32) - 2)).all(-1)
    assert both.mean() > 0.5
    ours = of.image(photograph).astype(int)
    assert np.abs(ours - again)[both].mean() < 2
    moved = np.abs(ours[:, 1:] - again[:, :-1])[both[:, 1:]].mean()
    assert moved > 3 * np.abs(ours - again)[both].mean()


@pytest.mark.parametrize("model", MODELS)
def test_no_pixel_is_invented(model):
    of = lens(model, MODELS[model], WIDTH, HEIGHT)
    x, y = of.lookup
    assert min(x.min(), y.min()) >= -0.5
    assert x.max() <= WIDTH - 0.5
    assert y.max() <= HEIGHT - 0.5
    assert of.image(np.full((HEIGHT, WIDTH, 3), 200, np.uint8)).min() == 200
    assert of.camera.width * of.camera.height > 0.6 * WIDTH * HEIGHT


def test_behind_a_fisheye_the_picture_is_as_large_as_the_photograph():
    of = lens("OPENCV_FISHEYE", MODELS["OPENCV_FISHEYE"], WIDTH, HEIGHT)
    assert of.camera == Camera(*TWO, WIDTH, HEIGHT)


def test_where_a_polynomial_turns_back_nothing_is_shown():
    # beyond r = 1 / sqrt(3 * 1.2) of the axis, this lens would show once more what it showed
    of = lens("SIMPLE_RADIAL", [110, 80, 60, -1.2], WIDTH, HEIGHT)
    corner = rays([[0, 0], of.camera.size], of.camera)[:, :2]
    assert (np.linalg.norm(corner, axis=1) < 1 / np.sqrt(3 * 1.2) + 0.02).all()
    assert of.camera.width * of.camera.height > 0.6 * (2 * 110**2 / 3.6)  # of the largest square


def test_a_pinhole_leaves_pictures_alone_and_needs_no_pycolmap(monkeypatch):
    monkeypatch.setattr(lenses, "need", lambda name: pytest.fail("asked for a library"))
    photograph, (depth, _) = np.zeros((HEIGHT, WIDTH, 3), np.uint8), coordinates()
    of = lens("SIMPLE_PINHOLE", [111, 80, 60], WIDTH, HEIGHT)
    assert of.camera == Camera(111, 111, 80, 60, WIDTH, HEIGHT)
    assert of.image(photograph) is photograph
    assert of.depth(depth) is depth
    assert lens("PINHOLE", [1, 2, 3, 4], 5, 6).camera == Camera(1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(("model", "params"), [("PINHOLE", TWO), ("FOV", [*TWO, 0.3])])
def test_depth_of_fewer_pixels_is_that_of_the_nearest(model, params):
    of = lens(model, params, WIDTH, HEIGHT)
    columns, _ = np.meshgrid(np.arange(16, dtype=np.float32), np.arange(12))
    fine = np.repeat(np.repeat(columns, 10, 0), 10, 1)
    assert (of.depth(columns) == of.depth(fine)).mean() > 0.99  # but for ties


def test_a_lens_is_made_once():
    assert lens("FOV", [*TWO, 0.5], WIDTH, HEIGHT) is lens("FOV", (*TWO, 0.5), WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("model", "params", "words"),
    [
        ("OPENCV", [1, 2, 3], "OPENCV has fx, fy, cx, cy, k1, k2, p1, p2, got 3 numbers"),
        ("PINHOLE", ONE, "PINHOLE has fx, fy, cx, cy, got 3"),
        ("FISHEYE624", ONE, "no camera model 'FISHEYE624'; COLMAP's are .*OPENCV_FISHEYE"),
        ("EQUIRECTANGULAR", [160, 120], "a panorama, which has no focal length: cut"),
        ("SIMPLE_RADIAL", [110, -9000, 60, 0.1], r"\[110.0, -9000.0.*sees no rectangle"),
        ("SIMPLE_RADIAL", [110, 80, 60, np.nan], "sees no rectangle"),
        ("SIMPLE_RADIAL", [0, 80, 60, 0.1], "focal lengths must be positive"),
    ],
)
def test_what_no_lens_has_is_refused(model, params, words):
    with pytest.raises(ValueError, match=words):
        lens(model, params, WIDTH, HEIGHT)


def test_a_photograph_of_another_size_is_refused():
    of = lens("FOV", [*TWO, 0.5], WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="80x60, its calibration is for 160x120"):
        of.image(np.zeros((60, 80, 3), np.uint8))


def test_without_pycolmap_the_way_out_is_told(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(extras, "import_module", absent)
    with pytest.raises(ImportError, match=r"needs pycolmap: pip install 'vlm3\[readers\]'"):
        lens("FOV", [*TWO, 0.123], WIDTH, HEIGHT)
