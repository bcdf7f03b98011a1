"""Focal unification: numbers, pixels, depth and boxes must all tell of one and the same camera."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)

from tests.conftest import cameras, image_settings, position_image
from vlm3 import geometry
from vlm3.focal import MAX_PIXELS, PAD_VALUE, unify_focal, unify_pair
from vlm3.geometry import Camera, project, rays
from vlm3.sources import photos
from vlm3.views import Box, View, points_of

HUB_LIMITS = {
    "shortest_edge": 65536,
    "longest_edge": 16777216,
}  # of Qwen3-VL's processor as published

focals = st.floats(20, 400)
multiples = st.sampled_from([1, 4, 32])


def blank(camera, **more):
    return View(np.zeros((camera.height, camera.width, 3), np.uint8), camera, **more)


def scaled_size(camera, focal_px):
    return np.array([camera.width * focal_px / camera.fx, camera.height * focal_px / camera.fy])


def numbered_depth(camera):
    """A different depth in every pixel: 1, 2, 3, ... row by row."""
    return (
        np.arange(1.0, camera.width * camera.height + 1)
        .reshape(camera.height, camera.width)
        .astype(np.float32)
    )


def places_before(view, camera):
    """(H, W, 2): where the ray through every pixel centre of a new view met the image of the old
    camera."""
    return geometry.project(geometry.rays(geometry.pixel_centres(view.camera), view.camera), camera)


@given(
    cameras(20, 400),
    focals,
    multiples,
    st.sampled_from(["pad", "crop"]),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_pad_and_crop_meet_the_focal_length_exactly_and_keep_every_ray(
    camera, focal_px, multiple, fit, a, b
):
    full = scaled_size(camera, focal_px)
    assume(min(full) >= (multiple if fit == "crop" else 1))
    new = unify_focal(blank(camera), focal_px, multiple, fit).camera
    assert (new.fx, new.fy) == pytest.approx((focal_px, focal_px), rel=1e-12)
    assert new.width % multiple == new.height % multiple == 0
    start = np.maximum(full - new.size, 0) / 2 if fit == "crop" else np.zeros(2)
    old_uv = np.array([a * camera.width, b * camera.height])
    new_uv = old_uv * [focal_px / camera.fx, focal_px / camera.fy] - start
    np.testing.assert_allclose(geometry.rays(new_uv, new), geometry.rays(old_uv, camera), atol=1e-6)


@given(cameras(20, 400), focals, multiples)
def test_pad_adds_less_than_one_multiple_and_crop_takes_less_than_one(camera, focal_px, multiple):
    full = scaled_size(camera, focal_px)
    assume(min(full) >= multiple)
    padded, cropped = (
        unify_focal(blank(camera), focal_px, multiple, fit).camera.size for fit in ("pad", "crop")
    )
    assert (np.array(padded) - full < multiple).all()
    assert (np.array(padded) > full - 1).all()
    assert (full - cropped < multiple + 1e-5).all()
    assert (np.array(cropped) <= full + 1e-5).all()


@given(cameras(20, 400), focals)
def test_stretch_rounds_each_side_and_its_camera_says_what_became_of_the_focal_length(
    camera, focal_px
):
    full = scaled_size(camera, focal_px)
    assume(min(full) > 16.1)
    assume((np.abs(full / 32 % 1 - 0.5) > 1e-9).all())  # the last bit of a product decides a tie
    new = unify_focal(blank(camera), focal_px, fit="stretch").camera
    assert new.size == (round(full[0] / 32) * 32, round(full[1] / 32) * 32)
    expected = camera.resized(*new.size)
    assert (new.fx, new.fy, new.cx, new.cy) == pytest.approx(
        (expected.fx, expected.fy, expected.cx, expected.cy)
    )


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_a_rounding_error_costs_no_pixel(fit):
    camera = Camera(23.6, 23.6, 59.0, 59.0, 118, 118)
    assert 118 * (100 / 23.6) < 500
    assert unify_focal(blank(camera), 100.0, 4, fit).size == (500, 500)


def test_padding_lies_at_the_right_and_bottom_grey_and_without_depth():
    camera = Camera(100.0, 100.0, 20.0, 15.0, 40, 30)
    view = unify_focal(View(position_image(40, 30), camera, numbered_depth(camera)), 100)
    assert view.size == (64, 32)
    assert np.array_equal(view.image[:30, :40], position_image(40, 30))
    assert np.array_equal(view.depth_m[:30, :40], numbered_depth(camera))
    grey = np.ones((32, 64), bool)
    grey[:30, :40] = False
    assert (view.image[grey] == PAD_VALUE).all()
    assert np.isnan(view.depth_m[grey]).all()


def test_a_crop_takes_the_same_from_both_sides():
    camera = Camera(100.0, 100.0, 21.0, 18.0, 42, 36)
    view = unify_focal(
        View(position_image(42, 36), camera, numbered_depth(camera)), 100, fit="crop"
    )
    assert np.array_equal(view.image, position_image(42, 36)[2:34, 5:37])
    assert np.array_equal(view.depth_m, numbered_depth(camera)[2:34, 5:37])
    assert view.camera == Camera(100.0, 100.0, 16.0, 16.0, 32, 32)


@given(
    cameras(20, 60),
    st.floats(100, 300),
    st.sampled_from(["pad", "crop", "stretch"]),
    st.integers(1024, 40000),
)
def test_max_pixels_is_kept_by_cropping_around_the_centre_at_the_same_scale(
    camera, focal_px, fit, most
):
    full = scaled_size(camera, focal_px)
    assume(min(full) >= 32)
    free, capped = (
        unify_focal(blank(camera), focal_px, fit=fit, max_pixels=m).camera for m in (None, most)
    )
    assert capped.width * capped.height <= most
    assert capped.width % 32 == capped.height % 32 == 0
    assert (capped.fx, capped.fy) == (free.fx, free.fy)
    if free.width * free.height <= most:
        assert capped == free
        return
    picture = np.array(free.size) if fit == "stretch" else full
    scale = np.array([capped.fx / camera.fx, capped.fy / camera.fy])
    for side in (0, 1):
        start = ([camera.cx, camera.cy] * scale - [capped.cx, capped.cy])[side]
        centred = max(0.0, picture[side] - capped.size[side]) / 2
        padded_at_the_end = fit == "pad" and capped.size[side] == free.size[side]
        assert start == pytest.approx(0.0 if padded_at_the_end else centred, abs=1e-6)


@pytest.mark.parametrize(
    ("fx", "fy", "focal_px", "fit", "max_pixels"),
    [
        (50.0, 50.0, 50.0, "crop", None),
        (50.0, 50.0, 173.0, "pad", None),  # enlarged
        (50.0, 50.0, 211.0, "crop", None),
        (50.0, 80.0, 171.3, "crop", None),  # square pixels out of oblong ones
        (90.0, 60.0, 133.3, "pad", None),
        (50.0, 50.0, 18.7, "pad", None),  # reduced
        (50.0, 50.0, 28.9, "crop", None),
        (40.0, 55.0, 21.1, "crop", None),
        (50.0, 61.0, 157.0, "stretch", None),
        (50.0, 50.0, 233.0, "pad", 9000),
        (45.0, 50.0, 151.0, "crop", 4096),
    ],
)
def test_every_pixel_shows_what_lay_on_its_ray_before(fx, fy, focal_px, fit, max_pixels):
    camera = Camera(fx, fy, 33.3, 20.2, 60, 48)
    multiple = 32 if focal_px > 100 else 4
    view = unify_focal(View(position_image(60, 48), camera), focal_px, multiple, fit, max_pixels)
    uv = places_before(view, camera)
    edge = 3 * max(1, fx / focal_px, fy / focal_px)  # the bicubic kernel ends there
    inner = (uv > edge).all(-1) & (uv < np.subtract(camera.size, edge)).all(-1)
    assert inner.sum() > 20
    seen = view.image[inner][:, :2].astype(float)
    difference_px = (seen - 8) / [4, 5] + 0.5 - uv[inner]
    assert np.abs(difference_px).max() < 0.2  # one grey level is 1/4 or 1/5 of a pixel
    assert np.abs(difference_px.mean(0)).max() < 0.04


@given(
    cameras(20, 400),
    focals,
    st.sampled_from(["pad", "crop", "stretch"]),
    st.sampled_from([None, 1024]),
)
@settings(max_examples=100)
def test_depth_is_that_of_the_old_pixel_which_holds_the_new_centre(
    camera, focal_px, fit, max_pixels
):
    assume(min(scaled_size(camera, focal_px)) >= 32)
    depth_m = numbered_depth(camera)
    view = unify_focal(blank(camera, depth_m=depth_m), focal_px, fit=fit, max_pixels=max_pixels)
    uv = places_before(view, camera)
    known = np.isfinite(view.depth_m)
    assert known.any()
    assert (
        known
        == (uv < np.subtract(camera.size, [0.5 / s for s in _scale(view, camera)]) + 1e-6).all(-1)
    ).all()
    clear = known & (np.abs(uv - np.round(uv)) > 1e-6).all(
        -1
    )  # a centre on an edge belongs to either pixel
    columns, rows = uv[clear].astype(int).T
    assert np.array_equal(view.depth_m[clear], depth_m[rows, columns])


def _scale(view, camera):
    return view.camera.fx / camera.fx, view.camera.fy / camera.fy


def test_unknown_depth_stays_unknown_and_does_not_spread():
    camera = Camera(100.0, 100.0, 16.0, 16.0, 32, 32)
    depth_m = np.full((32, 32), 2.0, np.float32)
    depth_m[10, 20] = np.nan
    view = unify_focal(blank(camera, depth_m=depth_m), 300)
    assert np.argwhere(np.isnan(view.depth_m)).min(0).tolist() == [30, 60]
    assert np.isnan(view.depth_m).sum() == 9


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("focal_px", [55.0, 100.0, 1000.0, 1700.0])
def test_points_move_exactly_and_none_in_sight_is_lost_or_doubled(rng, fit, focal_px):
    camera = Camera(613.0, 598.0, 322.4, 231.9, 640, 480)
    points = np.column_stack([rng.random((3000, 2)) * [640, 480], rng.uniform(0.5, 80, 3000)])
    new = unify_focal(
        View(np.zeros((480, 640, 3), np.uint8), camera, points=points), focal_px, fit=fit
    )
    moved = project(rays(points[:, :2], camera), new.camera)
    picture = np.minimum(
        new.size,
        np.floor(np.multiply([640, 480], [new.camera.fx / 613, new.camera.fy / 598]) + 1e-6),
    )
    inside = ((moved >= 0) & (moved < picture)).all(1)
    assert inside.mean() > (0.3 if fit == "crop" else 0.85)
    np.testing.assert_allclose(new.points[:, :2], moved[inside], atol=1e-9, rtol=1e-12)
    assert new.points[:, 2].tolist() == points[inside, 2].tolist()


def test_a_lidar_of_any_density_keeps_its_labels_where_a_map_would_lose_or_double_them():
    depth_m = np.full((480, 640), np.nan, np.float32)
    depth_m[::37, ::29] = 4.0
    image, camera = np.zeros((480, 640, 3), np.uint8), Camera(600.0, 600.0, 320.0, 240.0, 640, 480)
    known = int(np.isfinite(depth_m).sum())
    for focal_px, as_map in ((100, 0.2), (1800, 5.0)):
        lost_or_doubled = (
            np.isfinite(unify_focal(View(image, camera, depth_m), focal_px).depth_m).sum() / known
        )
        assert lost_or_doubled < as_map if as_map < 1 else lost_or_doubled > as_map
        kept = len(unify_focal(View(image, camera, points=points_of(depth_m)), focal_px).points)
        assert (
            known - 20 <= kept <= known
        )  # a last column that the new image shows only in part is left out


def test_boxes_follow_their_pixels_are_clipped_and_left_out_when_outside():
    camera = Camera(50.0, 100.0, 21.0, 18.0, 42, 36)
    boxes = [
        (0, 0, 42, 36, "all"),
        (10, 10, 20, 12, "cup"),
        (0, 5, 3, 9, "gone"),
        (2, 5, 6, 9, "cut"),
    ]
    assert unify_focal(blank(camera, boxes=boxes), 100).boxes == (
        Box(0, 0, 84, 36, "all"),
        Box(20, 10, 40, 12, "cup"),
        Box(0, 5, 6, 9, "gone"),
        Box(4, 5, 12, 9, "cut"),
    )
    assert unify_focal(
        blank(camera, boxes=boxes), 100, fit="crop"
    ).boxes == (  # 10 columns and 2 rows off each side
        Box(0, 0, 64, 32, "all"),
        Box(10, 8, 30, 10, "cup"),
        Box(0, 3, 2, 7, "cut"),
    )


def test_the_pose_stays_and_the_old_view_is_untouched():
    camera = Camera(50.0, 50.0, 20.0, 15.0, 40, 30)
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    old = View(position_image(40, 30), camera, numbered_depth(camera), world_from_cam=pose)
    new = unify_focal(old, 100)
    assert np.array_equal(new.world_from_cam, pose)
    assert np.array_equal(old.image, position_image(40, 30))
    assert np.array_equal(old.depth_m, numbered_depth(camera))


@pytest.mark.parametrize(
    ("size", "focal_px"),
    [
        ((4032, 3024), 3100.0),  # phone
        ((1640, 1232), 1232.0),
        ((1920, 1080), 1400.0),
        ((1242, 375), 721.5),  # car
        ((741, 500), 994.978),
        ((640, 480), 560.0),
        ((480, 640), 519.0),
    ],
)
@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_qwens_processor_keeps_the_size_of_unified_photos(size, focal_px, fit):
    camera = Camera(focal_px, focal_px * 1.01, size[0] / 2, size[1] / 2, *size)
    width, height = unify_focal(blank(camera), fit=fit).size
    resized = smart_resize(
        height, width, 32, HUB_LIMITS["shortest_edge"], HUB_LIMITS["longest_edge"]
    )
    assert resized == (height, width)


def test_qwens_processor_passes_the_pixels_of_a_unified_photo_through():
    camera = Camera(100.0, 100.0, 30.0, 24.0, 60, 48)
    image = unify_focal(View(position_image(60, 48), camera), 700).image
    processor = Qwen2VLImageProcessorPil(**{**image_settings(), "size": HUB_LIMITS})
    seen = processor(image, return_tensors="np")
    assert (seen["image_grid_thw"][0, 1:] * 16).tolist() == list(image.shape[:2])
    values = np.sort(np.round((seen["pixel_values"] * 0.5 + 0.5) * 255).ravel())
    assert np.array_equal(
        values, np.sort(np.repeat(image, 2))
    )  # a still image fills two time steps


@pytest.mark.parametrize(
    "answer", [None, 50.0, (50.0, 50.0, 18.0, 12.0), Camera(50.0, 50.0, 12.0, 18.0, 24, 36)]
)
def test_a_calibrator_that_returns_something_else_is_refused(answer):
    view = View(np.zeros((24, 36, 3), np.uint8), None)
    with pytest.raises(
        ValueError, match="calibrator must return the Camera of a 36x24 image"
    ) as error:
        unify_focal(view, calibrator=lambda image: answer)
    assert repr(answer) in str(error.value)


@pytest.mark.parametrize("focal_px", [1e-300, 1e-6, 1e6, 0.1])
def test_absurd_focal_lengths_are_refused_before_any_memory_is_taken(focal_px):
    camera = Camera(focal_px, focal_px, 320.0, 240.0, 640, 480)
    with pytest.raises(ValueError, match="640x480 image becomes"):
        unify_focal(blank(camera))
    with pytest.raises(ValueError, match="640x480 image becomes"):
        unify_focal(blank(Camera(1000.0, focal_px, 320.0, 240.0, 640, 480)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("focal_px", "multiple", "max_pixels")
        for value in (0, -1, float("nan"))
    ]
    + [("focal_px", float("inf")), ("max_pixels", 1023), ("fit", "fill"), ("fit", None)],
)
def test_arguments_out_of_range_are_refused_with_their_value(name, value):
    with pytest.raises(ValueError, match=name) as error:
        unify_focal(blank(Camera(50.0, 50.0, 18.0, 12.0, 36, 24)), **{name: value})
    assert str(value) in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("focal_px", "1000"),
        ("focal_px", None),
        ("multiple", 32.0),
        ("multiple", 2.5),
        ("multiple", float("inf")),
    ]
    + [("multiple", "32"), ("max_pixels", 2e3), ("max_pixels", "2000")],
)
def test_arguments_of_another_type_are_refused_with_their_value(name, value):
    with pytest.raises(ValueError, match=name) as error:
        unify_focal(blank(Camera(50.0, 50.0, 18.0, 12.0, 36, 24)), **{name: value})
    assert str(value) in str(error.value)


def test_no_setting_makes_a_picture_that_qwens_processor_would_shrink():
    camera = Camera(1.0, 1.0, 2.0, 2.0, 5, 5)
    try:
        width, height = unify_focal(blank(camera), max_pixels=2 * MAX_PIXELS).size
    except ValueError as error:
        assert str(2 * MAX_PIXELS) in str(error)  # noqa: PT017
    else:
        assert width * height <= MAX_PIXELS


def test_a_padding_beyond_all_memory_is_refused():
    with pytest.raises(ValueError, match="multiple"):
        unify_focal(
            blank(Camera(50.0, 50.0, 18.0, 12.0, 36, 24)), multiple=10**9, max_pixels=10**20
        )


def test_a_unified_pair_keeps_its_matches_on_the_picture_and_off_the_padding():
    old = photos.motorcycle()
    pair = unify_pair(old, focal_px=777.7)
    assert len(pair.uv1) > 0.99 * len(old.uv1)
    columns, rows = pair.uv1.astype(int).T
    known = np.isfinite(pair.view1.depth_m[rows, columns])
    assert known.mean() > 0.98  # the nearest pixel may be a hole of the depth map
    width, height = (int(side * 777.7 / old.view1.camera.fx) for side in old.view1.size)
    assert pair.view1.size > (width, height)  # there is padding
    assert (pair.uv1 < [width, height]).all()


def test_a_view_that_is_unified_already_is_given_back_as_it_is():
    camera = Camera(100.0, 100.0, 70.3, 41.9, 128, 96)
    view = blank(camera, depth_m=numbered_depth(camera), boxes=[(1, 2, 30, 40, "crate")])
    for fit in ("pad", "crop", "stretch"):
        assert unify_focal(view, 100.0, fit=fit) is view
    assert unify_focal(view, 100.0, max_pixels=128 * 96) is view
    for changed in (
        unify_focal(view, 101.0),
        unify_focal(view, 100.0, multiple=36),
        unify_focal(view, 100.0, max_pixels=64 * 64),
        unify_focal(blank(Camera(100.0, 99.0, 70.3, 41.9, 128, 96)), 100.0),
    ):
        assert changed is not view
        assert changed.size != view.size or changed.camera != camera
    # a calibrator is asked, and what it says is kept
    unknown = unify_focal(View(view.image, None), 100.0, calibrator=lambda image: camera)
    assert unknown.camera == camera
    assert unknown.image is view.image
