"""What depth says about the objects in boxes."""

import numpy as np
import pytest

from vlm3.geometry import Camera
from vlm3.sources import photos
from vlm3.sources.boxed import MOTORCYCLE, boxed
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
