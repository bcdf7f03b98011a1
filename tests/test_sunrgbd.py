"""SUN RGB-D: real frames of its tree and of VoteNet's export, and made ones of both layouts."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import position_image
from tests.readers import FORMATS, demand_reader, real
from vlm3.geometry import pixel_centres, project, unproject
from vlm3.sources.sunrgbd import Sunrgbd

FOCAL_PX, CX, CY = 50.0, 29.0, 25.0  # of made photos of 60x48
PITCH = np.radians(20)  # of made cameras, down
# level axes, x right, y down, z forward, of a camera that looks down
UPRIGHT = np.array(
    [[1, 0, 0], [0, np.cos(PITCH), np.sin(PITCH)], [0, -np.sin(PITCH), np.cos(PITCH)]]
)
CHAIR = {"X": [0.1, 0.7, 0.7, 0.1], "Z": [2.0, 2.0, 2.4, 2.4], "Ymin": 0.2, "Ymax": 1.1}
NYU = "518.857901 0 284.582449 0 519.469611 208.736166 0 0 1"


def turned_left_by_three_bits(millimetres: np.ndarray) -> np.ndarray:
    """As the data set stores depth, digit by digit."""
    return np.array(
        [int(bits[3:] + bits[:3], 2) for bits in (f"{d:016b}" for d in millimetres.ravel())],
        np.uint16,
    ).reshape(millimetres.shape)


def millimetres(seed: int) -> np.ndarray:
    depth = np.random.default_rng(seed).integers(500, 7900, (48, 60))
    depth[3, 5] = 0
    return depth


def frame(root: Path, name: str, objects: list | None = None, intrinsics: str = "") -> Path:
    """A folder of the tree: measured depth of seed 1, filled depth of seed 2."""
    folder, number = root / name, Path(name).name[-7:]
    for below in ("image", "depth", "depth_bfx", "fullres", "extrinsics"):
        (folder / below).mkdir(parents=True)
    Image.fromarray(position_image(60, 48)).save(folder / "image" / f"{number}.jpg", quality=100)
    for seed, below in enumerate(("depth", "depth_bfx"), 1):
        stored = turned_left_by_three_bits(millimetres(seed))
        Image.fromarray(stored).save(folder / below / f"{number}.png")
    own = f"{FOCAL_PX} 0 {CX}\n0 {FOCAL_PX} {CY}\n0 0 1\n"
    (folder / "intrinsics.txt").write_text(intrinsics or own)
    (folder / "fullres" / "intrinsics.txt").write_text("1 0 0 0 1 0 0 0 1")
    for date, matrix in (("20130512", np.eye(3)), ("20140815", UPRIGHT)):  # the last one counts
        rows = np.column_stack([matrix, np.zeros(3)])
        np.savetxt(folder / "extrinsics" / f"{date}.txt", rows, fmt="%.6f")
    if objects is not None:
        (folder / "annotation3Dfinal").mkdir()
        text = json.dumps({"objects": objects})
        (folder / "annotation3Dfinal" / "index.json").write_text(text)
    return folder


@pytest.fixture
def tree(tmp_path):
    objects = [
        {"name": "night_stand:truncated", "polygon": [CHAIR]},
        None,
        {"name": "wall", "polygon": [CHAIR]},
        {"name": "behind", "polygon": [CHAIR | {"Z": [-3, -3, -2, -2]}]},
        {"name": "line", "polygon": [CHAIR | {"Z": [2, 2, 2, 2]}]},
    ]
    root = tmp_path / "SUNRGBD"
    frame(root, "kv1/NYUdata/NYU0001", intrinsics=NYU)
    frame(root, "kv1/b3dodata/img_0063", objects)
    for number in (103, 121):
        name = f"kv2/kinect2data/{number:06d}_2014-05-26_14-23-37_2605_rgbf{number:06d}-resize"
        frame(root, name)
        frame(root, f"xtion/sun3ddata/mit_lab_16/scan1/{number:07d}")
    return root


def test_what_every_reader_promises(tree):
    assert len(demand_reader(Sunrgbd(tree))) == 5


def test_frames_of_a_video_or_a_recording_are_one_scene(tree):
    reader = Sunrgbd(tree)
    assert reader.scenes == (
        "kv1/b3dodata/img_0063",
        "kv2/kinect2data/2014-05-26_14-23-37_2605",
        "xtion/sun3ddata/mit_lab_16",
    )
    assert len(Sunrgbd(tree, scenes="xtion/*")) == 2


def test_frames_of_nyu_are_read_on_demand_only(tree):
    assert [f.name for f in Sunrgbd(tree, scenes="kv1/NYUdata/*", nyu=True).frames] == [
        "kv1/NYUdata/NYU0001"
    ]
    with pytest.raises(ValueError, match="all frames are those of NYU: read them with nyu=True"):
        Sunrgbd(tree / "kv1" / "NYUdata")


def test_depth_is_millimetres_turned_by_three_bits_measured_or_filled(tree):
    for filled, seed in ((False, 1), (True, 2)):
        depth_m = Sunrgbd(tree, filled=filled)[0].depth_m
        expected = millimetres(seed)
        assert np.isnan(depth_m[expected == 0]).all()
        np.testing.assert_allclose(depth_m[expected > 0], expected[expected > 0] / 1000, rtol=1e-6)


def test_depth_beyond_8_metres_keeps_all_its_bits(tree):
    path = next((tree / "kv1" / "b3dodata" / "img_0063" / "depth").iterdir())
    far = np.full((48, 60), 12_345)
    Image.fromarray(turned_left_by_three_bits(far)).save(path)
    assert Sunrgbd(tree)[0].depth_m[0, 0] == pytest.approx(12.345)


def test_labels_as_with_depthlm_are_the_distance_of_what_is_stored_over_10000(tree):
    view = Sunrgbd(tree, filled=True, depthlm_compat=True)[0]
    rows, columns = np.indices((48, 60))  # their pixels count from 0, as their principal point
    beside = np.sqrt(1 + ((columns - CX) / FOCAL_PX) ** 2 + ((rows - CY) / FOCAL_PX) ** 2)
    labels = turned_left_by_three_bits(millimetres(2)) / 10000 * beside
    known = millimetres(2) > 0
    np.testing.assert_allclose(view.depth_m[known], labels[known], rtol=1e-5)
    honest = Sunrgbd(tree, filled=True)[0].depth_m
    assert (view.depth_m / honest)[25, 29] == pytest.approx(0.8)  # on the axis


def test_a_box_is_where_its_corners_are_seen(tree):
    (box,) = Sunrgbd(tree)[0].boxes
    assert box.name == "night stand"
    corners = np.array(
        [(x, y, z) for x, z in zip(CHAIR["X"], CHAIR["Z"], strict=True) for y in (0.2, 1.1)]
    )
    # the camera looks down, so level points move up in its picture; by hand, without the reader
    y = np.cos(PITCH) * corners[:, 1] - np.sin(PITCH) * corners[:, 2]
    z = np.sin(PITCH) * corners[:, 1] + np.cos(PITCH) * corners[:, 2]
    u, v = corners[:, 0] / z * FOCAL_PX + CX + 0.5, y / z * FOCAL_PX + CY + 0.5
    assert box[:4] == pytest.approx((u.min(), v.min(), u.max(), v.max()), abs=1e-3)
    assert box.size_m == pytest.approx((0.6, 0.9, 0.4))
    middle = 0.4, 0.65 * np.cos(PITCH) - 2.2 * np.sin(PITCH)
    assert box.centre_m[:2] == pytest.approx(middle, abs=1e-5)


LABEL = "night_stand 15 9 20 12 0.4 2.2 -0.65 0.3 0.2 0.45 0 -1"


@pytest.fixture
def export(tmp_path):
    """Frame 000001 as the toolbox exports the made frame: with its own geometry, from pixel 1."""
    root = tmp_path / "sunrgbd_trainval"
    for below in ("calib", "image", "label", "depth"):
        (root / below).mkdir(parents=True)
    axes = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # x right, y forward, z up, of a camera
    tilt = axes @ UPRIGHT @ axes.T
    intrinsics = np.array([[FOCAL_PX, 0, CX], [0, FOCAL_PX, CY], [0, 0, 1]])
    lines = [" ".join(map(str, matrix.T.ravel())) for matrix in (tilt, intrinsics)]
    (root / "calib" / "000001.txt").write_text("\n".join(lines))
    (root / "calib" / "000002.txt").write_text(f"{lines[0]}\n{NYU}\n")
    Image.fromarray(position_image(60, 48)).save(root / "image" / "000001.jpg", quality=100)
    (root / "label" / "000001.txt").write_text(f"{LABEL}\nlamp 50 40 30 30 1 2 0 .1 .1 .2 1 0\n")
    depth = np.minimum(millimetres(1) / 1000, 8)
    depth[10, 20] = 8  # where the toolbox has cut it
    v, u = np.indices(depth.shape) + 1
    points = np.stack([(u - CX) * depth / FOCAL_PX, depth, -(v - CY) * depth / FOCAL_PX], -1)
    points = points[depth > 0] @ tilt.T
    scipy_io = pytest.importorskip("scipy.io")
    colours = np.zeros_like(points)
    scipy_io.savemat(root / "depth" / "000001.mat", {"instance": np.hstack([points, colours])})
    return root


def test_an_export_promises_the_same(export):
    assert len(demand_reader(Sunrgbd(export.parent))) == 1


def test_an_export_knows_its_frames_of_nyu_by_their_camera(export):
    assert [f.name for f in Sunrgbd(export).frames] == ["000001"]
    assert [f.name for f in Sunrgbd(export, nyu=True).frames] == ["000001", "000002"]


def test_exported_points_of_another_photograph_are_refused(export):
    photo = export / "image" / "000001.jpg"
    with Image.open(photo) as picture:
        smaller = picture.resize((picture.width // 2, picture.height))
    smaller.save(photo)
    with pytest.raises(ValueError, match="has points outside the photograph, as of another"):
        Sunrgbd(export)[0]


def test_exported_points_return_to_the_pixels_they_came_from(export):
    depth_m = Sunrgbd(export)[0].depth_m
    expected = millimetres(1) / 1000
    expected[10, 20] = 0
    assert (np.isfinite(depth_m) == (expected > 0)).all()
    np.testing.assert_allclose(depth_m[expected > 0], expected[expected > 0], rtol=1e-6)


def test_an_exported_box_is_the_annotated_one_with_the_outline_of_its_label(export, tree):
    exported, annotated = Sunrgbd(export)[0].boxes[0], Sunrgbd(tree)[0].boxes[0]
    assert exported[:4] == (14, 8, 34, 20)
    assert exported.name == annotated.name
    assert exported.size_m == pytest.approx(annotated.size_m)
    assert exported.centre_m == pytest.approx(annotated.centre_m, abs=1e-5)


def test_an_exported_box_is_cut_to_the_photo(export):
    assert Sunrgbd(export)[0].boxes[1][:4] == (49, 39, 60, 48)


def test_an_export_has_no_filled_depth(export):
    with pytest.raises(ValueError, match="has measured depth only: take SUNRGBD, or filled=False"):
        Sunrgbd(export, filled=True)


def test_an_export_can_give_the_labels_of_depthlm_too(export):
    compat, honest = (Sunrgbd(export, depthlm_compat=c)[0].depth_m for c in (True, False))
    assert (compat / honest)[25, 29] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("image", None, "image/.*: missing; download SUNRGBD.zip again"),
        ("image/mg_0063.jpg", b"\xff\xd8\xff", "mg_0063.jpg: not a picture that can be read"),
        ("depth/mg_0063.png", b"\x89PNG", "mg_0063.png: not a picture .*; download SUNRGBD"),
        ("depth", None, "depth/.*: missing; download SUNRGBD.zip again"),
        ("intrinsics.txt", b"1 2 3", "intrinsics.txt: needs 3x3 numbers, has 3; download"),
        ("extrinsics", None, "extrinsics/.*: missing"),
        ("annotation3Dfinal/index.json", b"{}", "index.json: not annotations .*; download"),
        ("annotation3Dfinal/index.json", b"{", "index.json: not whole as json"),
    ],
)
def test_what_is_missing_or_broken_is_named_with_a_way_out(file, content, told, tree):
    path = tree / "kv1" / "b3dodata" / "img_0063" / file
    if content is None:
        for inner in path.iterdir():
            inner.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        Sunrgbd(tree)[0]


def test_a_depth_map_made_to_be_looked_at_is_refused(tree):
    path = next((tree / "kv1" / "b3dodata" / "img_0063" / "depth").iterdir())
    Image.fromarray(np.zeros((48, 60), np.uint8)).save(path)
    with pytest.raises(ValueError, match="has 8 bits per pixel: a picture of depth"):
        Sunrgbd(tree)[0]


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("depth/000001.mat", b"MATLAB", "000001.mat: no instance can be read .*; take calib"),
        ("label/000001.txt", b"lamp 1 2 3", "label/000001.txt:1: not a label"),
        ("label/000001.txt", b"lamp 1 2 3 x 1 2 3 4 5 6 7 8", "label/000001.txt:1: not a label"),
    ],
)
def test_what_is_broken_in_an_export_is_named(file, content, told, export):
    (export / file).write_bytes(content)
    with pytest.raises(ValueError, match=told):
        Sunrgbd(export)[0]


def test_a_broken_calibration_is_named_at_once(export):
    (export / "calib" / "000001.txt").write_text("1 2 3")
    with pytest.raises(ValueError, match=r"calib/000001\.txt: needs 2x9 numbers"):
        Sunrgbd(export)


@pytest.fixture(scope="module")
def sun():
    return real(FORMATS / "sunrgbd")


def test_real_frames_keep_the_promises(sun):
    views = demand_reader(Sunrgbd(sun / "images"))
    assert [view.size for view in views] == [(730, 530), (561, 427)]
    assert [np.isnan(view.depth_m).mean() for view in views] == pytest.approx(
        [0.134, 0.323], abs=0.01
    )
    assert all(np.isfinite(view.depth_m).all() for view in Sunrgbd(sun / "images", filled=True))
    medians_m = [np.nanmedian(view.depth_m) for view in views]
    assert medians_m == pytest.approx([2.397, 1.963], abs=0.001)


def test_in_real_frames_extrinsics_level_tables_and_floors(sun):
    """Where the surfaces lie level by the extrinsics, and not by their inverse, nor without."""
    reader = Sunrgbd(sun / "images", filled=True)
    for frame, view in zip(reader.frames, reader, strict=True):
        points = unproject(pixel_centres(view.camera), view.depth_m, view.camera)
        across, down = points[:-8, 8:] - points[:-8, :-8], points[8:, :-8] - points[:-8, :-8]
        normals = np.cross(across, down)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        matrix = np.loadtxt(next((frame.folder / "extrinsics").iterdir()))[:, :3]
        level, inverse, without = (
            np.nanmean(np.abs(normals @ turn.T)[..., 1] > 0.98)
            for turn in (matrix, matrix.T, np.eye(3))
        )
        assert level > 2 * max(inverse, without)


def test_exported_boxes_of_a_real_frame_lie_behind_their_outlines(sun):
    (view,) = demand_reader(Sunrgbd(sun))
    assert [box.name for box in view.boxes] == [
        *("bed", "night stand", "ottoman", "dresser mirror", "dresser", "lamp")
    ]
    for box in view.boxes:
        u, v = project(np.array(box.centre_m), view.camera)
        assert box.xmin - 20 < u < box.xmax + 20
        assert box.ymin - 20 < v < box.ymax + 20
    ottoman = view.boxes[2]  # 317 px wide, 2.6 m away
    assert ottoman.size_m == pytest.approx((1.59, 0.68, 0.70), abs=0.01)
    assert view.depth_m is None
