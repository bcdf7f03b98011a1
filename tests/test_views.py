"""What a View and its boxes accept, and what they say to the rest."""

import numpy as np
import pytest

from vlm3.geometry import Camera
from vlm3.views import Box, View, points_of

IMAGE = np.zeros((6, 8, 3), np.uint8)
CAMERA = Camera(9.0, 9.0, 4.0, 3.0, 8, 6)
DEPTH_M = np.full((6, 8), 2.0, np.float32)


def with_one(value):
    depth_m = DEPTH_M.astype(float)
    depth_m[4, 3] = value
    return depth_m


def test_a_view_needs_an_image_and_takes_the_rest():
    view = View(IMAGE, None)
    assert view.size == (8, 6)
    assert (view.camera, view.depth_m, view.world_from_cam, view.boxes) == (None, None, None, ())
    boxes = [(0, 0, 8, 6, "all"), Box(1, 2, 3, 4)]
    full = View(IMAGE, CAMERA, with_one(np.nan), world_from_cam=np.eye(4), boxes=boxes)
    assert full.depth_m.dtype == np.float32
    assert np.isnan(full.depth_m[4, 3])
    assert full.boxes == (Box(0, 0, 8, 6, "all"), Box(1, 2, 3, 4, ""))


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (IMAGE.astype(float), "float64"),
        (IMAGE[..., :2], r"\(6, 8, 2\)"),
        (IMAGE[..., 0], r"\(6, 8\)"),
        (IMAGE[:0], r"\(0, 8, 3\)"),
        (IMAGE.tolist(), "list"),
        (None, "None"),
    ],
)
def test_an_image_that_is_not_hxwx3_uint8_is_refused_with_its_shape_or_type(image, found):
    with pytest.raises(ValueError, match=f"image must be HxWx3 uint8.*{found}"):
        View(image, None)


def test_a_camera_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match="camera is 6x8, image is 8x6"):
        View(IMAGE, Camera(9.0, 9.0, 3.0, 4.0, 6, 8))


@pytest.mark.parametrize("camera", [CAMERA.K, "camera", (9.0, 9.0, 4.0, 3.0)])
def test_something_else_than_a_camera_is_refused(camera):
    with pytest.raises(ValueError, match="camera"):
        View(IMAGE, camera)


@pytest.mark.parametrize("value", [0.0, -1.5, np.inf, -np.inf])
def test_depth_that_is_not_positive_is_refused_with_its_place(value):
    with pytest.raises(ValueError, match=f"depth_m has 1 values.*{value} at row 4, column 3"):
        View(IMAGE, CAMERA, with_one(value))


@pytest.mark.parametrize("value", [1e39, 1e-60])
@pytest.mark.filterwarnings("ignore:overflow")
def test_depth_that_float32_cannot_hold_is_refused_too(value):
    with pytest.raises(ValueError, match="row 4, column 3"):
        View(IMAGE, CAMERA, with_one(value))


@pytest.mark.parametrize(
    "depth_m", [DEPTH_M.T, DEPTH_M.astype(int), DEPTH_M[..., None], DEPTH_M.astype(bool), "2 m"]
)
def test_depth_of_another_shape_or_type_is_refused(depth_m):
    with pytest.raises(ValueError, match=r"depth_m must be floats of shape \(6, 8\)"):
        View(IMAGE, CAMERA, depth_m)


def test_a_pose_that_is_not_rigid_is_refused_by_name():
    with pytest.raises(ValueError, match="world_from_cam is not a rotation"):
        View(IMAGE, CAMERA, world_from_cam=np.eye(4) * 2)


@pytest.mark.parametrize(
    "box",
    [
        (-0.1, 0, 4, 4),
        (0, 0, 8.1, 4),
        (0, 0, 4, 6.1),
        (4, 0, 4, 4),
        (4, 4, 2, 2),
        (0, 0, np.nan, 4),
        (0, 0, np.inf, 4),
    ],
)
def test_boxes_that_are_empty_or_leave_the_image_are_refused_with_their_values(box):
    with pytest.raises(ValueError, match="is empty or leaves the 8x6 image") as error:
        View(IMAGE, CAMERA, boxes=[box])
    assert str(box[2]) in str(error.value)


@pytest.mark.parametrize(
    "box", [(1, 2, 3), (1, 2, 3, 4, "cup", None, None, 9), (1, 2, "3", 4), (1, 2, None, 4), 7]
)
def test_something_else_than_a_box_is_refused(box):
    with pytest.raises(ValueError, match="a box is"):
        View(IMAGE, CAMERA, boxes=[box])


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([[8.0, 2, 1]], r"outside the 8x6 image.* \[8.0, 2.0, 1.0\]"),
        ([[1, 2, 3], [-0.1, 2, 1]], r"1 points.*-0.1"),
        ([[1, 2, 0]], "no positive, finite depth"),
        ([[1, 2, -3]], "-3.0"),
        ([[1, 2, np.nan]], "nan"),
        ([[1, 2, np.inf]], "inf"),
        ([[np.nan, 2, 1]], "nan"),
        ([1, 2, 3], r"\(3,\)"),
        ([[1, 2]], r"\(1, 2\)"),
        ([["1", "2", "3"]], "<U1"),
    ],
)
def test_points_that_label_nothing_are_refused_with_the_first(points, found):
    with pytest.raises(ValueError, match=found):
        View(IMAGE, CAMERA, points=points)


def test_places_are_drawn_from_points_before_the_depth_map_and_each_once(rng):
    points = np.array([[0.25, 0.5, 1.0], [7.9, 5.9, 2.0], [3.0, 3.0, 3.0]])
    for view, expected in (
        (View(IMAGE, CAMERA, DEPTH_M, points=points), points),
        (View(IMAGE, CAMERA, with_one(np.nan)), points_of(with_one(np.nan))),
    ):
        uv, z_m = view.places(100, rng)
        found = np.column_stack([uv, z_m])
        assert sorted(found.tolist()) == sorted(expected.tolist())
        assert len(view.places(2, rng)[0]) == 2
    where = np.zeros((6, 8), bool)
    where[3:, :4] = True
    assert View(IMAGE, CAMERA, points=points).places(9, rng, where)[1].tolist() == [3.0]
    assert len(View(IMAGE, CAMERA, DEPTH_M).places(99, rng, where)[0]) == where.sum()
    assert len(View(IMAGE, CAMERA, points=np.empty((0, 3))).places(9, rng)[0]) == 0
    with pytest.raises(ValueError, match="needs points or depth_m"):
        View(IMAGE, CAMERA).places(1, rng)
