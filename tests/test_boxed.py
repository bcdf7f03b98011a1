"""What depth says about the objects in boxes."""

import numpy as np
import pytest

from vlm3.geometry import Camera
from vlm3.sources import photos
from vlm3.sources.boxed import MOTORCYCLE, boxed, outlined
from vlm3.views import View


def test_a_box_on_a_wall_has_the_place_and_the_size_of_what_it_encloses():
    wall = np.full((60, 80), 2.0, np.float32)
    view = View(np.zeros((60, 80, 3), np.uint8), Camera(100, 50, 40, 30, 80, 60), wall)
    (box,) = boxed(view, {"poster": (50, 20, 70, 30)}).boxes
    assert box.name == "poster"
    assert box[:4] == (50, 20, 70, 30)
    assert box.centre_m == pytest.approx((0.4, -0.2, 2.0))
    assert box.size_m[:2] == pytest.approx((0.4, 0.4))
    assert np.isnan(box.size_m[2])


def test_a_wheel_is_where_its_spokes_are_and_not_the_wall_behind_it():
    depth_m = np.full((60, 80), 5.0, np.float32)
    depth_m[:, ::2] = 2.0
    view = View(np.zeros((60, 80, 3), np.uint8), Camera(100, 100, 40, 30, 80, 60), depth_m)
    (box,) = boxed(view, {"wheel": (20, 10, 60, 50)}).boxes
    assert box.centre_m[2] == pytest.approx(2.0)


def test_all_boxes_on_the_motorcycle_have_known_places():
    found = boxed(photos.motorcycle().view1, MOTORCYCLE).boxes
    assert [box.name for box in found] == list(MOTORCYCLE)
    assert np.isfinite([box.centre_m for box in found]).all()


def test_what_a_mask_shows_has_the_outline_and_the_place_of_its_pixels():
    depth_m = np.full((60, 80), 4.0, np.float32)
    depth_m[20:30, 50:70] = 2.0
    depth_m[20:30, 50:54], depth_m[20, 55:], depth_m[29, 55:] = np.nan, 9.0, 1.5
    view = View(np.zeros((60, 80, 3), np.uint8), Camera(100, 50, 40, 30, 80, 60), depth_m)
    objects = np.zeros((60, 80), np.int64)
    objects[20:30, 50:70], objects[21:23, 60:62] = 7, 0  # with a hole
    objects[40:50, :20], objects[40:44, 60:80] = 9, 9  # of two parts
    found = outlined(view, objects)
    assert [box[:5] for box in found] == [(50, 20, 70, 30, "object"), (0, 40, 80, 50, "object")]
    # by hand: the middle of the box at the median depth of the mask
    assert found[0].centre_m == pytest.approx((0.4, -0.2, 2.0))
    assert found[0].size_m[:2] == pytest.approx((0.4, 0.4))
    assert found[1].centre_m == pytest.approx((0.0, 1.2, 4.0))
    assert np.isnan([box.size_m[2] for box in found]).all()
    View(view.image, view.camera, depth_m, boxes=found)


def test_what_shows_too_little_or_has_no_depth_has_no_box():
    depth_m = np.full((60, 80), 2.0, np.float32)
    depth_m[:, 40:] = np.nan
    view = View(np.zeros((60, 80, 3), np.uint8), Camera(100, 100, 40, 30, 80, 60), depth_m)
    objects = np.zeros((60, 80), np.uint8)
    objects[:6, :10], objects[10:16, 34:44], objects[20:60, 50:] = 1, 2, 3
    assert [box[:4] for box in outlined(view, objects)] == [(0, 0, 10, 6)]  # 60 pixels, 36 and none
    assert [box[:4] for box in outlined(view, objects, 36)] == [(0, 0, 10, 6), (34, 10, 44, 16)]
    assert outlined(view, np.zeros((60, 80), np.uint8)) == ()
