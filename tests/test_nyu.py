"""NYU Depth V2: a made file in MATLAB's layout, and one made of three real photos of it."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.readers import FORMATS, demand_reader, real
from vlm3.sources.nyu import FILE, Nyu

h5py = pytest.importorskip("h5py")
scipy_io = pytest.importorskip("scipy.io")
NAMES = ["wall", "night stand", "lamp"]  # labels 1, 2, 3


def cells(file, name: str, texts: list[str]) -> None:
    """A cell array of strings, as MATLAB writes it: (1, N) references to (length, 1) numbers."""
    kept = [
        file.create_dataset(f"#refs#/{name}{k}", data=np.array([[ord(c)] for c in text], np.uint16))
        for k, text in enumerate(texts)
    ]
    file[name] = np.array([[data.ref for data in kept]], h5py.ref_dtype)


def labelled(folder, images, measured_m, filled_m, labels, instances, rooms) -> None:
    """nyu_depth_v2_labeled.mat of (N, 480, 640, ...) arrays: with its axes reversed."""
    arrays = dict(images=images, depths=filled_m, rawDepths=measured_m, labels=labels)
    with h5py.File(folder / FILE, "w") as file:
        for name, array in (arrays | {"instances": instances}).items():
            array = np.stack([np.transpose(one) for one in array])
            file.create_dataset(name, data=array, chunks=(1, *array.shape[1:]))
        cells(file, "scenes", rooms)
        cells(file, "names", NAMES)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three photos of two rooms: a wall, two night stands and a lamp."""
    folder = tmp_path_factory.mktemp("nyu")
    rows, columns = np.indices((480, 640))
    images = [np.stack([rows // 2, columns // 3, rows * 0 + k], -1) for k in range(3)]
    measured = np.full((3, 480, 640), 4.0, np.float32)
    labels, instances = np.ones((3, 480, 640), np.uint16), np.ones((3, 480, 640), np.uint8)
    for first, last, label, instance, z_m in (
        ((100, 50), (180, 130), 2, 1, 2.0),
        ((100, 300), (160, 420), 2, 2, 2.5),
        ((300, 500), (400, 560), 3, 0, 3.0),
    ):
        part = np.s_[:, first[0] : last[0], first[1] : last[1]]
        labels[part], instances[part], measured[part] = label, instance, z_m
    measured[:, 120:140, 60:70] = 0  # a gap in the first night stand
    filled = np.where(measured > 0, measured, 2).astype(np.float32)
    images = np.array(images, np.uint8)
    rooms = ["office_0001", "kitchen_0004", "office_0001"]
    labelled(folder, images, measured, filled, labels, instances, rooms)
    scipy_io.savemat(folder / "splits.mat", {"trainNdxs": [[3], [2]], "testNdxs": [[1]]})
    return folder


def test_what_every_reader_promises(made):
    views = demand_reader(Nyu(made))
    assert [view.image[0, 0, 2] for view in views] == [0, 2, 1]  # room by room


def test_rows_are_rows_though_the_file_has_its_axes_reversed(made):
    view = Nyu(made, scenes="kitchen_*")[0]
    assert view.image.shape == (480, 640, 3)
    assert view.image[300, 33].tolist() == [150, 11, 1]
    assert view.depth_m[110, 60] == 2.0
    assert view.depth_m[60, 110] == 4.0


def test_a_scene_is_a_room_and_frames_are_called_as_in_sun_rgbd(made):
    reader = Nyu(made, scenes="office_*")
    assert [(f.scene, f.name) for f in reader.frames] == [
        ("office_0001", "NYU0001"),
        ("office_0001", "NYU0003"),
    ]


def test_splits_count_from_one(made):
    assert [frame.name for frame in Nyu(made, split="train").frames] == ["NYU0002", "NYU0003"]
    assert [frame.name for frame in Nyu(made, split="test").frames] == ["NYU0001"]


def test_depth_is_unknown_where_nothing_was_measured_and_on_the_border(made):
    depth_m, filled_m = Nyu(made)[0].depth_m, Nyu(made, filled=True)[0].depth_m
    assert np.isnan(depth_m[120:140, 60:70]).all()
    assert (filled_m[120:140, 60:70] == 2).all()
    for known in (np.isfinite(depth_m), np.isfinite(filled_m)):
        assert not known[:7].any()
        assert not known[474:].any()
        assert not known[:, :7].any()
        assert not known[:, 632:].any()
        assert known[7, 7]
        assert known[473, 631]


def test_the_crop_of_eigen_keeps_426_rows_of_560_columns(made):
    known = np.isfinite(Nyu(made, filled=True, eigen=True)[0].depth_m)
    rows, columns = np.nonzero(known)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (45, 470, 41, 600)
    assert known.sum() == 426 * 560


def test_boxes_bound_what_masks_show_and_have_names_and_measures(made):
    boxes = Nyu(made)[0].boxes
    assert [box.name for box in boxes] == ["night stand", "night stand", "lamp"]
    assert boxes[0][:4] == (50, 100, 130, 180)
    assert boxes[1][:4] == (300, 100, 420, 160)
    assert boxes[2][:4] == (500, 300, 560, 400)
    # by hand: middle (90, 140) in corner coordinates, 2 m away; the file counts from centres
    assert boxes[0].centre_m == pytest.approx(
        (2 * (90 - 326.08244941) / 518.85790117, 2 * (140 - 254.23616633) / 519.46961113, 2)
    )
    assert boxes[1].size_m[:2] == pytest.approx((120 * 2.5 / 518.8579, 60 * 2.5 / 519.4696))


def test_an_object_of_which_too_little_is_measured_has_no_box(made):
    assert len(Nyu(made, eigen=True)[0].boxes) == 3
    with h5py.File(made / FILE, "r+") as file:
        before = file["rawDepths"][2]
        file["rawDepths"][2] = np.where(before == 3, 0, before)
    try:
        assert [box.name for box in Nyu(made)[1].boxes] == ["night stand"] * 2
    finally:
        with h5py.File(made / FILE, "r+") as file:
            file["rawDepths"][2] = before


def test_boxes_can_be_left_unread(made):
    view = Nyu(made, objects=False)[0]
    assert view.boxes == ()
    assert view.depth_m[110, 60] == 2.0


def test_what_is_missing_or_broken_is_named_with_a_way_out(made, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"give the folder with {FILE}"):
        Nyu(tmp_path)
    whole = (made / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"{FILE}: not whole as HDF5 .*; download"):
        Nyu(tmp_path)
    with h5py.File(tmp_path / FILE, "w") as file:
        cells(file, "scenes", ["office_0001"])
    with pytest.raises(ValueError, match=rf"{FILE}: no names in it; take the labelled"):
        Nyu(tmp_path)


def test_splits_that_are_missing_or_another_file_are_named(made, tmp_path):
    (tmp_path / FILE).symlink_to(made / FILE)
    with pytest.raises(FileNotFoundError, match=r'splits\.mat: missing; .*, or take split="all"'):
        Nyu(tmp_path, split="test")
    scipy_io.savemat(tmp_path / "splits.mat", {"other": 1})
    with pytest.raises(ValueError, match=r"splits\.mat: no testNdxs can be read in it"):
        Nyu(tmp_path, split="test")
    (tmp_path / "splits.mat").write_bytes(b"MATLAB")
    with pytest.raises(ValueError, match=r"splits\.mat: no testNdxs can be read in it"):
        Nyu(tmp_path, split="test")
    with pytest.raises(ValueError, match='split must be "all", "train" or "test", got \'val\''):
        Nyu(made, split="val")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The file, of three real photos; and what their publisher says of the camera."""
    demo = real(FORMATS / "kitti_depth_and_nyu" / "nyu_demo")
    rows = json.loads((demo / "test_annotations.json").read_text())["files"]
    images = np.stack([np.array(Image.open(path)) for path in sorted(demo.glob("rgb/*"))])
    depths = [np.array(Image.open(path)) / 1000 for path in sorted(demo.glob("depth/*"))]
    none = np.zeros((3, 480, 640), np.uint8)
    folder, depths = tmp_path_factory.mktemp("photos"), np.array(depths, np.float32)
    labelled(folder, images, depths, depths, none.astype(np.uint16), none, ["kitchen_0001"] * 3)
    return Nyu(folder), rows


def test_the_camera_is_that_of_the_photos(photos):
    reader, rows = photos
    for view, row in zip(reader, rows, strict=True):
        fx, fy, cx, cy = row["cam_in"]
        found = view.camera.fx, view.camera.fy, view.camera.cx - 0.5, view.camera.cy - 0.5
        assert found == pytest.approx((fx, fy, cx, cy), abs=1e-4)


def test_the_border_is_white_and_no_depth_lies_on_it(photos):
    reader, _ = photos
    for view in reader:
        inner = np.zeros((480, 640), bool)
        inner[7:474, 7:632] = True
        darkest = view.image.min(-1)
        assert np.median(darkest[~inner]) > 245
        assert np.median(darkest[inner]) < 200
        assert not (np.isfinite(view.depth_m) & ~inner).any()
        assert np.isfinite(view.depth_m).mean() > 0.6
        assert 0.5 < np.nanmin(view.depth_m) < np.nanmax(view.depth_m) < 10
