"""The iBims-1 reader: every fault is named with file and line, and the real labels survive
unification; the original layouts are made, of real photos where they are here."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.conftest import IBIMS_LABEL, ibims, photo_file, position_image
from tests.readers import SHARED, demand_reader
from tests.readers import real as there
from vlm3 import tasks
from vlm3.focal import unify_focal
from vlm3.geometry import Camera, project
from vlm3.mixture import Source
from vlm3.scoring.evaluate import Evaluation, evaluate
from vlm3.sources.ibims import Ibims


@pytest.fixture(scope="module")
def real(ibims_views):
    return [(view, unify_focal(view)) for view in ibims_views]


def refused(folder, **changes):
    """Ibims must refuse the second of two lines, with these changes, and name it."""
    with pytest.raises((ValueError, FileNotFoundError), match=r"ibims1_val\.jsonl:2") as error:
        ibims(folder, IBIMS_LABEL, {**IBIMS_LABEL, **changes})[1]
    return str(error.value)


def test_a_good_line_becomes_a_view_with_its_labels_as_points(tmp_path):
    views = ibims(tmp_path, IBIMS_LABEL, {**IBIMS_LABEL, "depth": [4, 0.5]})
    assert len(views) == 2
    first, second = views
    assert np.array_equal(first.image, position_image(8, 6))
    assert first.camera == Camera(9.0, 9.5, 4.5, 3.5, 8, 6)  # the file counts from pixel centres
    assert first.points.tolist() == [
        [1.5, 2.5, 1.5],
        [7.5, 5.5, 2.25],
    ]  # u, v, z_m: the middles of the pixels
    assert second.points[:, 2].tolist() == [4.0, 0.5]


@pytest.mark.parametrize(
    "place", ["../outside.png", "rgb/../../outside.png", "{}/outside.png", "rgb/link.png"]
)
def test_a_path_that_leaves_the_folder_is_refused(place, tmp_path):
    folder = tmp_path / "data"
    (folder / "rgb").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(b"secret")
    (folder / "rgb" / "link.png").symlink_to(tmp_path / "outside.png")
    place = place.format(tmp_path)
    message = refused(folder, image=place)
    assert "leaves the folder" in message
    assert place in message


@pytest.mark.parametrize(
    "image",
    ["rgb/gone.png", "rgb", "rgb/room.png/x", "rgb/" + "long" * 100, "loop", "\ud800"],
    ids=["gone", "folder", "below", "long", "loop", "surrogate"],
)
def test_a_photo_that_is_not_there_is_named(image, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    refused(tmp_path, image=image)


@pytest.mark.parametrize(
    "image", [None, 7, "", ["rgb/room.png"], {"path": "rgb/room.png"}, "rgb/room.png\0"]
)
def test_a_photo_that_is_no_path_is_quoted(image, tmp_path):
    assert repr(image) in refused(tmp_path, image=image)


@pytest.mark.parametrize(
    "pixel", [[8, 0], [0, 6], [-1, 0], [0, -1], [1.0, 2], [1, 2, 3], ["1", 2], None, [True, 1]]
)
def test_a_label_outside_the_photo_or_of_another_type_is_quoted(pixel, tmp_path):
    assert str(pixel) in refused(tmp_path, pixel_coords=[[1, 2], pixel])


@pytest.mark.parametrize(
    "depth", [float("nan"), float("inf"), -float("inf"), -1.5, 0, "2.0", None, [2.0], True]
)
def test_depth_that_is_not_a_positive_number_is_quoted_with_its_pixel(depth, tmp_path):
    message = refused(tmp_path, depth=[1.5, depth])
    assert repr(depth) in message
    assert "[7, 5]" in message


@pytest.mark.parametrize("depth", [1e39, 1e-60, 10**400], ids=["1e39", "1e-60", "10**400"])
@pytest.mark.filterwarnings("ignore:overflow")
def test_depth_that_float32_cannot_hold_is_refused_with_its_line(depth, tmp_path):
    refused(tmp_path, depth=[1.5, depth])


@pytest.mark.parametrize(
    "intrinsics",
    [
        [9.0, 9.5, 4.0, 3.0, 8],
        [9.0, 9.5, 4.0, 3.0, 8.0, 6.0],
        [0, 9.5, 4.0, 3.0, 8, 6],
        [9.0, -9.5, 4.0, 3.0, 8, 6],
        [float("nan"), 9.5, 4.0, 3.0, 8, 6],
        ["9", 9.5, 4.0, 3.0, 8, 6],
        [10**400, 9.5, 4.0, 3.0, 8, 6],
        "9 9.5 4 3 8 6",
        None,
        {"fx": 9.0},
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_intrinsics_are_refused(intrinsics, tmp_path):
    refused(tmp_path, intrinsics=intrinsics)


@pytest.mark.parametrize(
    "changes",
    [
        {"depth": [1.5]},
        {"depth": [], "pixel_coords": []},
        {"depth": 1.5},
        {"depth": "ab", "pixel_coords": "ab"},
        {"depth": {"a": 1, "b": 2}},
        {"pixel_coords": None},
    ],
)
def test_lists_that_do_not_fit_together_are_refused(changes, tmp_path):
    assert "lists of the same length" in refused(tmp_path, **changes)


@pytest.mark.parametrize("key", IBIMS_LABEL)
def test_a_missing_entry_is_named(key, tmp_path):
    line = {name: value for name, value in IBIMS_LABEL.items() if name != key}
    with pytest.raises(ValueError, match=rf"ibims1_val\.jsonl:1: needs .*{key}"):
        ibims(tmp_path, line)


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "7", "null", '"text"', "{}", "[" * 100_000, "1" * 5000, "\ufeff{}"]
)
def test_a_line_that_is_no_label_is_refused_with_its_number(line, tmp_path):
    with pytest.raises(ValueError, match=r"ibims1_val\.jsonl:3"):
        ibims(tmp_path, IBIMS_LABEL, IBIMS_LABEL, line, IBIMS_LABEL)


def test_lines_end_at_line_breaks_only(tmp_path):
    odd = json.dumps(
        {**IBIMS_LABEL, "scene": "a\u2028b"}, ensure_ascii=False
    )  # json allows it inside a string
    assert len(ibims(tmp_path, odd, IBIMS_LABEL)) == 2


def test_a_label_file_that_is_absent_empty_or_not_utf8_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ibims1_val\.jsonl: no such label file"):
        Ibims(tmp_path)
    with pytest.raises(ValueError, match=r"ibims1_val\.jsonl: no labels"):
        ibims(tmp_path, b"")
    with pytest.raises(ValueError, match=r"ibims1_val\.jsonl: not a text file"):
        ibims(tmp_path, b"\xff\xfe" + json.dumps(IBIMS_LABEL).encode("utf-16"))


def test_a_photo_of_another_size_than_its_label_says_is_refused_with_both(tmp_path):
    views = ibims(tmp_path, {**IBIMS_LABEL, "intrinsics": [9.0, 9.5, 4.0, 3.0, 16, 12]})
    with pytest.raises(ValueError, match=r"room\.png: photo is 8x6, its label says 16x12"):
        views[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_read_as_stored_whatever_exif_says_because_labels_count_stored_pixels(
    orientation, tmp_path
):
    views = ibims(tmp_path)
    stored = position_image(8, 6)
    photo_file(tmp_path / "rgb" / "room.png", stored, orientation)
    assert np.array_equal(views[0].image, stored)


@pytest.mark.parametrize("length", [0, 20, 45])
def test_a_photo_cut_short_is_refused_by_name(length, tmp_path):
    views = ibims(tmp_path)
    photo = tmp_path / "rgb" / "room.png"
    photo.write_bytes(photo.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"room\.png: not a picture that can be read whole"):
        views[0]


def test_the_benchmark_has_100_photos_with_100_labels_each(real):
    assert len(real) == 100
    assert {len(view.points) for view, _ in real} == {100}
    depths_m = np.concatenate([view.points[:, 2] for view, _ in real])
    assert (depths_m.min(), depths_m.max()) == pytest.approx((0.63, 22.34), abs=0.005)


def test_all_labels_survive_unification_in_place(real):
    for view, unified in real:
        scale = np.array([1000 / view.camera.fx, 1000 / view.camera.fy])
        np.testing.assert_allclose(unified.points[:, :2], view.points[:, :2] * scale, rtol=1e-12)
        assert unified.points[:, 2].tolist() == view.points[:, 2].tolist()


@pytest.mark.parametrize("focal_px", [100, 1000])
def test_an_evaluation_asks_about_all_labels_whatever_the_focal_length(
    ibims_views, focal_px, tmp_path
):
    source = Source(ibims_views[::20], "depth", 100, focal_px)
    config = Evaluation("depth", "ibims", "constant", tmp_path, 5, 100, progress=False)
    assert evaluate(config, source)["questions"] == 500


def test_a_training_sample_draws_from_all_labels(ibims_views, rng):
    drawn = [
        qa.truth
        for _ in range(60)
        for qa in tasks.get("depth").ask([unify_focal(ibims_views[0], 100)], 12, rng)
    ]
    assert set(drawn) == set(ibims_views[0].points[:, 2].tolist())


CALIB = 9.0, 9.5, 4.0, 3.0  # fx, fy, cx, cy of the photos of 8x6
DEPTH_M = np.arange(1.0, 49).reshape(6, 8) / 4
MASKS = {"mask_invalid": (0, 1), "mask_transp": (2, 3)}  # where each is 0


def masks(shape: tuple[int, int] = (6, 8)) -> dict[str, np.ndarray]:
    found = {name: np.ones(shape, np.uint8) for name in MASKS}
    for name, place in MASKS.items():
        found[name][place] = 0
    return found


def matlab(folder, name="room", image=None, depth_m=DEPTH_M, calib=CALIB, **others):
    """A photo as ibims1_core_mat has it."""
    scipy_io = pytest.importorskip("scipy.io")
    fx, fy, cx, cy = calib
    image = position_image(8, 6) if image is None else image
    matrix = [[fx, 0, 0], [0, fy, 0], [cx, cy, 1]]  # transposed, as MATLAB has it
    data = dict(rgb=image, depth=depth_m, calib=np.array(matrix), **masks(depth_m.shape))
    (folder / "ibims1_core_mat").mkdir(exist_ok=True)
    path = folder / "ibims1_core_mat" / f"{name}.mat"
    scipy_io.savemat(path, {"data": data | others}, do_compression=True)
    return path


def pictures(folder, name="room", image=None, depth_m=DEPTH_M, calib=CALIB):
    """A photo as ibims1_core_raw has it."""
    root = folder / "ibims1_core_raw"
    image = position_image(8, 6) if image is None else image
    files = {"rgb": image, "depth": np.rint(depth_m * 65535 / 50).astype(np.uint16)}
    files |= {name: mask > 0 for name, mask in masks(depth_m.shape).items()}
    for kind, values in files.items():
        (root / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(root / kind / f"{name}.png")
    (root / "calib").mkdir(exist_ok=True)
    (root / "calib" / f"{name}.txt").write_text(",".join(map(str, calib)))
    return root


def test_each_layout_keeps_the_promises_of_readers(tmp_path):
    for k, write in enumerate((matlab, pictures)):
        (tmp_path / str(k)).mkdir()
        for name in ("kitchen_01", "office_02", "office_01"):
            write(tmp_path / str(k), name)
        reader = Ibims(tmp_path / str(k))
        assert len(demand_reader(reader)) == 3
        assert reader.scenes == ("kitchen_01", "office_01", "office_02")
        assert len(Ibims(tmp_path / str(k), scenes="office_*")) == 2
        assert len(reader[1:]) == 2
    (tmp_path / "labels").mkdir()
    demand_reader(ibims(tmp_path / "labels"))


@pytest.mark.parametrize("write", [matlab, pictures])
def test_original_depth_is_unknown_where_a_mask_is_0_or_nothing_was_measured(write, tmp_path):
    depth_m = DEPTH_M.copy()
    depth_m[5, 6] = 0
    write(tmp_path, depth_m=depth_m)
    (view,) = Ibims(tmp_path)
    assert np.argwhere(np.isnan(view.depth_m)).tolist() == [[0, 1], [2, 3], [5, 6]]
    known = np.isfinite(view.depth_m)
    np.testing.assert_allclose(view.depth_m[known], depth_m[known], atol=50 / 65535 / 2)
    assert np.array_equal(view.image, position_image(8, 6))
    assert view.points is None


@pytest.mark.parametrize("write", [matlab, pictures])
def test_original_principal_points_count_from_the_first_pixel_as_1(write, tmp_path):
    write(tmp_path)
    camera = Ibims(tmp_path)[0].camera
    fx, fy, cx, cy = CALIB
    # what MATLAB projects to (3, 5), the middle of the third column and the fifth row
    point = np.array([(3 - cx) / fx, (5 - cy) / fy, 1.0]) * 2
    assert project(point, camera) == pytest.approx((2.5, 4.5))


def test_labels_count_before_the_original_layouts_beside_them(tmp_path):
    matlab(tmp_path)
    assert ibims(tmp_path)[0].points is not None
    assert Ibims(tmp_path / "ibims1_core_mat")[0].depth_m is not None


def test_a_broken_struct_is_named_with_a_way_out(tmp_path):
    path = matlab(tmp_path)
    reader, whole = Ibims(tmp_path), path.read_bytes()
    for length in (0, 60, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"room\.mat: no data can be read in it .*; download"):
            reader[0]
    pytest.importorskip("scipy.io").savemat(path, {"data": {"rgb": position_image(8, 6)}})
    with pytest.raises(ValueError, match=r"room\.mat: not a photo of iBims-1 .*calib.*; download"):
        reader[0]
    matlab(tmp_path, depth_m=np.ones((5, 8)))
    with pytest.raises(ValueError, match=r"frame room: depth_m must be floats of shape \(6, 8\)"):
        reader[0]


@pytest.mark.parametrize("kind", ["depth", "mask_invalid", "mask_transp", "calib"])
def test_a_missing_picture_is_named_with_a_way_out(kind, tmp_path):
    root = pictures(tmp_path)
    next((root / kind).iterdir()).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{kind}/room\.(png|txt): missing; download"):
        Ibims(tmp_path)[0]


def test_a_broken_calibration_is_named(tmp_path):
    (pictures(tmp_path) / "calib" / "room.txt").write_text("9,9.5,4")
    with pytest.raises(ValueError, match=r"calib/room\.txt: needs fx, fy, cx, cy"):
        Ibims(tmp_path)[0]


def test_dense_depth_of_real_photos_is_the_published_labels_where_they_lie(tmp_path):
    """Their own depth is not here: a slope, with the published labels written into it."""
    folder = there(SHARED / "ibims1")
    labelled = Ibims(folder, scenes=["factory_01", "kitchen_03"])
    for frame, view in zip(labelled.frames, labelled, strict=True):
        depth_m = np.linspace(2, 9, 640 * 480).reshape(480, 640)
        columns, rows = frame.pixels.T
        depth_m[rows, columns] = frame.depth_m
        camera = view.camera
        calib = camera.fx, camera.fy, camera.cx - 0.5, camera.cy - 0.5
        matlab(tmp_path, frame.name, view.image, depth_m, calib)
    for sparse, dense in zip(labelled, Ibims(tmp_path), strict=True):
        columns, rows = sparse.points[:, :2].astype(int).T
        np.testing.assert_allclose(dense.depth_m[rows, columns], sparse.points[:, 2], rtol=1e-6)
        assert np.array_equal(dense.image, sparse.image)
        shift = dense.camera.cx - sparse.camera.cx, dense.camera.cy - sparse.camera.cy
        assert shift == pytest.approx((-1, -1))  # see the module
