"""Pixels as text and back: half a bin at most, and nothing is clamped in silence."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm3.reference import PixelText

PHOTO = (1215, 920)
ROUNDINGS = ["floor", "nearest"]

sizes = st.tuples(st.integers(1, 4000), st.integers(1, 4000))
unit = st.floats(0, 1, exclude_max=True)
scales = st.sampled_from([1, 7, 1000, 2000])


def diagonal(size):
    """Centres of pixels that together visit every column and every row."""
    return [(i % size[0] + 0.5, i % size[1] + 0.5) for i in range(max(size))]


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_pixel_centre_comes_back_within_half_a_bin(rounding):
    words = PixelText(2000, rounding)
    for uv in diagonal(PHOTO):
        back = words.decode(words.encode(uv, PHOTO), PHOTO)
        for found, given_, side in zip(back, uv, PHOTO, strict=True):
            assert abs(found - given_) <= side / 2000 / 2 + 1e-9


@pytest.mark.parametrize("size", [(1024, 768), (560, 420), PHOTO, (640, 480)])
def test_nearest_rounds_pixel_indices_as_released_labels_do(size):
    words = PixelText(2000, "nearest")
    for u, v in diagonal(size):
        x, y = round((u - 0.5) / size[0] * 2000), round((v - 0.5) / size[1] * 2000)
        assert words.encode((u, v), size) == f"({x}, {y})"


@pytest.mark.parametrize("size", [(1, 1), (13, 4000), PHOTO, (9000, 2000)])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_text_in_range_decodes_to_a_point_inside_the_image(size, rounding):
    words = PixelText(2000, rounding)
    for n in range(2000):
        u, v = words.decode(f"({n}, {1999 - n})", size)
        assert 0 <= u < size[0]
        assert 0 <= v < size[1]


def test_a_point_is_written_as_the_bin_that_holds_it():
    assert PixelText(1000).encode((320.0, 479.9), (640, 480)) == "(500, 999)"
    assert PixelText(1000).decode("(500, 999)", (640, 480)) == pytest.approx((320.32, 479.76))


@given(unit, unit, sizes, scales)
def test_any_point_comes_back_within_half_a_bin_and_as_the_same_text(u, v, size, scale):
    words, uv = PixelText(scale), (u * size[0], v * size[1])
    text = words.encode(uv, size)
    back = words.decode(text, size)
    for found, given_, side in zip(back, uv, size, strict=True):
        assert abs(found - given_) <= side / scale / 2 * (1 + 1e-9)
    assert words.encode(back, size) == text


@given(st.data(), sizes)
def test_nearest_brings_back_every_pixel_of_images_with_fewer_pixels_than_bins(data, size):
    column, row = (data.draw(st.integers(0, side - 1)) for side in size)
    words = PixelText(4001, "nearest")
    u, v = words.decode(words.encode((column + 0.5, row + 0.5), size), size)
    assert (int(u), int(v)) == (column, row)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(
    "uv",
    [
        (-0.01, 5),
        (5, -0.01),
        (1215, 5),
        (5, 920),
        (1300.0, 20.0),
        (math.nan, 5),
        (5, math.nan),
        (math.inf, 5),
    ]
    + [(5, -math.inf), (-1e300, 5)],
)
def test_points_outside_the_image_are_refused_by_name(uv, rounding):
    with pytest.raises(ValueError, match="outside the 1215x920 image") as error:
        PixelText(rounding=rounding).encode(uv, PHOTO)
    assert f"({uv[0]}, {uv[1]})" in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(1, 2",
        "1, 2",
        "(1, 2, 3)",
        "(1)",
        "(-1, 2)",
        "(1.5, 2)",
        "(2000, 1)",
        "(1, 2000)",
        "(a, b)",
        "[1, 2]",
    ]
    + ["(1 2)", "(1, 2) or so", "(\u0663, 4)", "(1e3, 2)", "(99999999999999999999, 1)", "(nan, 1)"],
)
def test_malformed_text_is_refused_and_quoted(text):
    with pytest.raises(
        ValueError, match=r"expected \(x, y\) with whole numbers in \[0, 2000\)"
    ) as error:
        PixelText().decode(text, PHOTO)
    assert repr(text) in str(error.value)


def test_a_box_may_reach_the_border_of_the_image():
    words = PixelText(1000)
    text = words.encode_box((0, 100, 640, 480), (640, 480))
    assert text == "(0, 208, 999, 999)"
    assert words.decode_box(text, (640, 480)) == pytest.approx((0.32, 100.08, 639.68, 479.76))


@given(
    st.lists(st.floats(0, 1), min_size=4, max_size=4, unique=True),
    sizes,
    scales,
    st.sampled_from(ROUNDINGS),
)
def test_any_box_comes_back_within_half_a_bin_or_one_at_the_far_border(
    parts, size, scale, rounding
):
    (xmin, xmax), (ymin, ymax) = sorted(parts[:2]), sorted(parts[2:])
    box = [part * side for part, side in zip((xmin, ymin, xmax, ymax), size * 2, strict=True)]
    words = PixelText(scale, rounding)
    if not (box[0] < box[2] and box[1] < box[3]):  # denormal numbers
        return
    for found, given_, side in zip(
        words.decode_box(words.encode_box(box, size), size), box, size * 2, strict=True
    ):
        bins = 1 if rounding == "nearest" and given_ / side * scale > scale - 0.5 else 0.5
        assert abs(found - given_) <= side / scale * bins * (1 + 1e-9)


@pytest.mark.parametrize(
    "box",
    [
        (-1, 0, 5, 5),
        (0, 0, 641, 5),
        (0, 0, 5, 481),
        (5, 0, 5, 5),
        (9, 0, 5, 5),
        (0, math.nan, 5, 5),
    ],
)
def test_boxes_that_are_empty_or_leave_the_image_are_refused_with_their_values(box):
    with pytest.raises(ValueError, match="is empty or leaves the 640x480 image") as error:
        PixelText(1000).encode_box(box, (640, 480))
    assert str(box) in str(error.value)


@pytest.mark.parametrize("text", ["(1, 2)", "(1, 2, 3, 1000)", "(1, 2, 3, 4, 5)", "no box"])
def test_malformed_boxes_are_refused_and_quoted(text):
    with pytest.raises(ValueError, match=r"expected \(x1, y1, x2, y2\)") as error:
        PixelText(1000).decode_box(text, (640, 480))
    assert repr(text) in str(error.value)


@pytest.mark.parametrize("size", [(0, 480), (640, -1), (math.nan, 480), (math.inf, 480)])
def test_sizes_that_are_not_positive_and_finite_are_refused(size):
    for use in (
        lambda: PixelText().encode((0.0, 0.0), size),
        lambda: PixelText().decode("(3, 3)", size),
    ):
        with pytest.raises(ValueError, match=f"{size[0]}x{size[1]}"):
            use()


@pytest.mark.parametrize(
    "bad", [{"scale": 0}, {"scale": 2.5}, {"scale": True}, {"scale": "9"}, {"rounding": "ceil"}]
)
def test_settings_out_of_range_are_refused_with_their_value(bad):
    (name, value), *_ = bad.items()
    with pytest.raises(ValueError, match=f"{name} must be .*{value!r}"):
        PixelText(**bad)
