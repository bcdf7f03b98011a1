"""Photos: every camera's file is read rightly, or refused in a line that says what to do."""

import io
import math
import re
import struct
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import PIL
import pytest
from packaging.version import Version
from PIL import Image, ImageFile, features

from tests.conftest import ROOT, photo_file, position_image, upside
from vlm3.focal import unify_focal
from vlm3.geometry import Camera
from vlm3.sources import photo
from vlm3.sources.exif import focal_from_exif
from vlm3.sources.photo import open_photo, read_rgb
from vlm3.views import View

GREY = np.full((24, 36, 3), 128, np.uint8)
FILM = math.hypot(36, 24)


@pytest.fixture(autouse=True)
def nothing_is_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def told(path):
    """What EXIF tells of a file's focal length."""
    with Image.open(path) as picture:
        return focal_from_exif(picture)


def saved(path, image, **options):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_the_right_way_up(orientation, tmp_path):
    upright = position_image(36, 24)
    path = photo_file(tmp_path / "a.png", upside(upright, orientation), orientation, f35=50)
    view = open_photo(path)
    assert np.array_equal(view.image, upright)
    assert view.camera == Camera(50.0, 50.0, 18.0, 12.0, 36, 24)  # 36 mm are 36 px here


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_photos_of_8_bits_become_rgb_whatever_their_mode(mode, tmp_path):
    white = Image.new("RGB", (8, 6), "white").convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    white.save(path)
    assert np.array_equal(open_photo(path, 9.0).image, np.full((6, 8, 3), 255))


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_pictures_of_more_bits_are_refused_by_name(mode, tmp_path):
    path = tmp_path / "a.tif"
    Image.new(mode, (8, 6)).save(path)
    with pytest.raises(ValueError, match="8 bits per colour") as error:
        open_photo(path, 9.0)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["gone.png", ".", "long" * 100])
def test_a_photo_that_is_not_there_is_named(name, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        open_photo(tmp_path / name, 9.0)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize("focal_px", [0, -5.0, float("nan"), "50"])
def test_a_given_focal_length_that_is_none_is_refused_with_the_file(focal_px, tmp_path):
    path = photo_file(tmp_path / "a.png", np.zeros((24, 36, 3), np.uint8), f35=50)
    with pytest.raises(ValueError, match=f"a.png: .*{focal_px}"):
        open_photo(path, focal_px)


@pytest.mark.parametrize(
    ("size", "f35", "focal_px"),
    [((360, 240), 50, 500.0), ((240, 360), 50, 500.0), ((400, 300), 28, 28 * 500 / 1872**0.5)],
)
def test_the_35_mm_focal_length_counts_along_the_diagonal(size, f35, focal_px, tmp_path):
    path = photo_file(tmp_path / "a.jpg", np.zeros((size[1], size[0], 3), np.uint8), f35=f35)
    assert told(path) == pytest.approx(focal_px, rel=1e-12)
    assert open_photo(path).camera.fx == pytest.approx(focal_px, rel=1e-12)


def test_a_reduced_photo_keeps_its_equivalent_focal_length_and_a_cropped_one_does_not(tmp_path):
    image = np.zeros((24, 36, 3), np.uint8)
    assert (
        open_photo(photo_file(tmp_path / "a.png", image, f35=50, width=3600, height=2400)).camera.fx
        == 50
    )
    assert (
        open_photo(photo_file(tmp_path / "b.png", image, f35=50, width=2400, height=3600)).camera.fx
        == 50
    )
    with pytest.raises(ValueError, match="no focal length known"):
        open_photo(photo_file(tmp_path / "c.png", image, f35=50, width=3600, height=2700))


@pytest.mark.parametrize("f35", [0, -50, float("nan"), float("inf"), "50 mm", b"\xff", (50, 50)])
def test_absurd_exif_is_no_focal_length(f35, tmp_path):
    path = photo_file(tmp_path / "a.png", np.zeros((24, 36, 3), np.uint8), f35=f35)
    assert told(path) is None
    assert open_photo(path, focal_px=70.0).camera.fx == 70.0


def test_exif_that_points_out_of_the_file_harms_nobody_or_is_named(tmp_path):
    path = photo_file(tmp_path / "a.jpg", np.zeros((24, 36, 3), np.uint8), orientation=6, f35=50)
    raw = bytearray(path.read_bytes())
    entry = raw.find(b"\x87\x69\x00\x04")  # the pointer to the values of the shot: make it -128
    raw[entry + 3], raw[entry + 8 : entry + 12] = 9, (2**32 - 128).to_bytes(4, "big")
    path.write_bytes(raw)
    try:
        assert open_photo(path, focal_px=70.0).size == (24, 36)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_without_intrinsics_the_error_names_three_ways_out(tmp_path):
    path = photo_file(tmp_path / "a.png", np.zeros((24, 36, 3), np.uint8))
    for use in (
        lambda: unify_focal(View(np.zeros((24, 36, 3), np.uint8), None)),
        lambda: open_photo(path),
    ):
        with pytest.raises(ValueError, match="no focal length known for this 36x24 image") as error:
            use()
        for way_out in ("focal_px", "EXIF", "calibrator="):
            assert way_out in str(error.value)


def test_a_calibrator_is_asked_only_when_nothing_else_is_known(tmp_path):
    image = position_image(36, 24)
    known, guess = Camera(50.0, 50.0, 18.0, 12.0, 36, 24), Camera(25.0, 25.0, 18.0, 12.0, 36, 24)
    asked = []

    def calibrator(pixels):
        asked.append(pixels)
        return guess

    assert unify_focal(View(image, known), 100, calibrator=calibrator).camera.cx == 36
    assert (
        open_photo(photo_file(tmp_path / "a.png", image, f35=50), calibrator=calibrator).camera.fx
        == 50
    )
    assert not asked
    assert unify_focal(View(image, None), 100, calibrator=calibrator).camera.cx == 72
    assert open_photo(photo_file(tmp_path / "b.png", image), calibrator=calibrator).camera == guess
    assert len(asked) == 2
    assert all(np.array_equal(pixels, image) for pixels in asked)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "tiff-lzw", "mpo", "avif"])
def test_every_format_that_notes_a_turn_is_turned_or_left_as_stored(kind, orientation, tmp_path):
    upright = position_image(36, 24)
    if kind == "avif" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    stored = upside(upright, orientation)
    path = tmp_path / f"a.{kind.split('-')[0].replace('tiff', 'tif')}"
    if kind == "mpo":
        exif = Image.Exif()
        exif[0x0112] = orientation
        other = Image.fromarray(255 - np.ascontiguousarray(stored))
        Image.fromarray(np.ascontiguousarray(stored)).save(
            path, "MPO", exif=exif, save_all=True, append_images=[other], quality=100, subsampling=0
        )
    elif kind == "tiff-lzw":
        saved(
            path,
            np.ascontiguousarray(stored),
            tiffinfo={0x0112: orientation},
            compression="tiff_lzw",
        )
    elif kind == "avif":
        exif = Image.Exif()
        exif[0x0112] = orientation
        saved(path, np.ascontiguousarray(stored), exif=exif, quality=100, subsampling="4:4:4")
    else:
        photo_file(path, stored, orientation)
    most = {"jpg": 6, "mpo": 6, "avif": 6}.get(kind, 0)
    for found, wanted in (
        (open_photo(path, 50.0).image, upright),
        (open_photo(path, 50.0, as_stored=True).image, stored),
        (read_rgb(path), stored),
    ):
        assert found.shape == wanted.shape
        assert np.abs(found.astype(int) - wanted).max() <= most


def exif_block(*first, order="<", shot=()):
    """An EXIF block by hand: entries (tag, type, count, 4 bytes or a longer value)."""
    many, values = len(first) + bool(shot), b""
    after = 8 + 2 + 12 * many + 4

    def directory(entries, start):
        nonlocal values
        rows, values = b"", b""
        for tag, kind, count, value in sorted(entries):
            if len(value) > 4:
                rows += struct.pack(order + "HHII", tag, kind, count, start + len(values))
                values += value
            else:
                rows += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
        return struct.pack(order + "H", len(entries)) + rows + struct.pack(order + "I", 0) + values

    entries = list(first)
    inner = b""
    if shot:
        inner = directory(shot, after + 2 + 12 * len(shot) + 4)
        entries.append((0x8769, 4, 1, struct.pack(order + "I", after)))
    outer = directory(entries, after + len(inner))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return b"Exif\0\0" + head + outer[: after - 8] + inner + outer[after - 8 :]


def short(value, order="<"):
    return struct.pack(order + "H", value)


NOT_A_TURN = {
    "0": (3, 1, short(0)),
    "9": (3, 1, short(9)),
    "65535": (3, 1, short(65535)),
    "text": (2, 2, b"6\0"),
    "words": (2, 10, b"top, left\0"),
    "none": (3, 0, b""),
    "byte": (7, 1, b"\6"),
    "ratio of 0/0": (5, 1, bytes(8)),
    "nan": (12, 1, struct.pack("<d", math.nan)),
    "-6": (8, 1, struct.pack("<h", -6)),
    "no type": (99, 1, short(6)),
}


@pytest.mark.parametrize("value", NOT_A_TURN.values(), ids=NOT_A_TURN)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_an_orientation_that_is_none_means_upright(value, kind, tmp_path):
    block = exif_block((0x0112, *value), shot=[(0xA405, 3, 1, short(50))])
    assert open_photo(saved(tmp_path / f"a.{kind}", GREY, exif=block)).camera == Camera(
        50, 50, 18, 12, 36, 24
    )


ODD = {
    "ratio of -1/0": (0x011A, 10, 1, struct.pack("<ii", -1, 0)),
    "ratio of 0/0": (0x011A, 5, 1, struct.pack("<II", 0, 0)),
    "ratio of -1/2 among unsigned": (0x011A, 10, 1, struct.pack("<ii", -1, 2)),
    "largest ratio": (0x011B, 5, 1, struct.pack("<II", 2**32 - 1, 1)),
    "resolution in letters": (0x011A, 2, 3, b"72\0"),
    "unit as text": (0x0128, 2, 2, b"2\0"),
    "type 0": (0x011A, 0, 1, b"\1\2\3\4"),
    "type 99": (0x011A, 99, 1, b"\1\2\3\4"),
    "4 billion values": (0x010F, 2, 2**32 - 1, b"abcd"),
    "a double of nan": (0x011A, 12, 1, struct.pack("<d", math.nan)),
    "a float of infinity": (0x011A, 11, 1, struct.pack("<f", math.inf)),
    "bytes that are no text": (0x010F, 2, 6, b"\xff\xfe\xff\xfe\xff\0"),
    "nothing": (0x010F, 2, 0, b""),
    "GPS that leads nowhere": (0x8825, 4, 1, struct.pack("<I", 2**30)),
    "GPS as text": (0x8825, 2, 4, b"abc\0"),
}


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_values_elsewhere_in_exif_change_neither_turn_nor_focal_length(odd, kind, tmp_path):
    block = exif_block((0x0112, 3, 1, short(6)), odd, shot=[(0xA405, 3, 1, short(26))])
    path = saved(tmp_path / f"a.{kind}", position_image(36, 24), exif=block)
    if odd == ODD["4 billion values"] and Version(PIL.__version__) < Version("13"):
        with pytest.raises(ValueError, match="no focal length known"):
            open_photo(path)  # older Pillow reads nothing behind such a tag
        return
    view = open_photo(path)
    assert view.size == (24, 36)
    assert view.camera.fx == pytest.approx(26 * math.hypot(36, 24) / FILM)


CUT = exif_block(
    (0x010F, 2, 64, struct.pack("<I", 2**31)),
    (0x0112, 3, 1, short(1)),
    shot=[(0xA405, 3, 1, short(26))],
)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0II",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0" + b"\xff" * 64,
        b"\0" * 40,
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        CUT,
        CUT[:40],
        CUT[:60],
        CUT[:-9],
        b"Exif\0\0II*\0\x08\0\0\0\x05\0" + b"\x12\x01" * 9,
    ],
)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_garbage_for_exif_never_stops_a_picture(block, kind, tmp_path):
    path = saved(tmp_path / f"a.{kind}", GREY, exif=block)
    assert open_photo(path, 50.0).size == (36, 24)
    with pytest.raises(ValueError, match="no focal length known"):
        open_photo(path)


@pytest.mark.parametrize("f35", [0, 1, 2, 5, 8, 3001, 6062, 9920, 35856, 65535])
def test_an_equivalent_that_no_lens_has_is_no_focal_length(f35, tmp_path):
    path = photo_file(tmp_path / "a.jpg", GREY, f35=f35)
    with pytest.raises(
        ValueError, match=r"a\.jpg: no focal length known for this 36x24 image.*--focal-px"
    ):
        open_photo(path)
    assert open_photo(path, 40.0).camera.fx == 40


@pytest.mark.parametrize("f35", [9, 13, 15, 24, 26, 77, 120, 600, 1365, 2400, 3000])
def test_equivalents_of_lenses_that_are_sold_are_believed(f35, tmp_path):
    assert open_photo(photo_file(tmp_path / "a.jpg", GREY, f35=f35)).camera.fx == pytest.approx(f35)


# What cameras write: focal length, pixels per unit, unit, pixels; and the equivalent by the
# sensor's diagonal.
CAMERAS = {
    "Canon EOS 20D, inch": (
        dict(focal_mm=23.0, x=3959.322034, y=3959.322034, unit=2, width=3504, height=2336),
        36.8,
    ),
    "Canon, 22.3 mm, inch": (
        dict(focal_mm=50.0, x=5728.17, y=5808.4, unit=2, width=5184, height=3456),
        79.0,
    ),
    "Canon, full frame": (
        dict(focal_mm=85.0, x=3942.5, y=3950.6, unit=2, width=5616, height=3744),
        84.8,
    ),
    "cm": (dict(focal_mm=35.0, x=2093.0, y=2093.0, unit=3, width=4928, height=3264), 53.6),
    "mm": (dict(focal_mm=35.0, x=209.3, y=209.3, unit=4, width=4928, height=3264), 53.6),
    "micrometres": (dict(focal_mm=35.0, x=0.2093, y=0.2093, unit=5, width=4928, height=3264), 53.6),
    "no unit is inch": (
        dict(focal_mm=135.0, x=6825.938567, y=6825.938567, width=6000, height=4000),
        217.7,
    ),
    "compact of 5.76 mm": (
        dict(focal_mm=5.8, x=14506.4, y=14506.4, unit=2, width=3264, height=2448),
        35.1,
    ),
}


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize(("shot", "f35"), CAMERAS.values(), ids=CAMERAS)
def test_focal_length_and_focal_plane_resolution_make_a_focal_length(
    shot, f35, orientation, tmp_path
):
    small = Image.new("RGB", (shot["width"] // 32 * 2, shot["height"] // 32 * 2))
    view = open_photo(photo_file(tmp_path / "a.jpg", np.array(small), orientation, **shot))
    assert view.camera.fx == pytest.approx(f35 * math.hypot(*small.size) / FILM, rel=5e-3)
    px_per_mm = shot["x"] / {2: 25.4, 3: 10, 4: 1, 5: 0.001}[shot.get("unit", 2)]
    reduced = small.size[0] / shot["width"]
    assert view.camera.fx == pytest.approx(shot["focal_mm"] * px_per_mm * reduced, rel=0.01)


GOOD = CAMERAS["cm"][0] | dict(width=36, height=24, x=15.3, y=15.3)  # 23.5 mm wide: 53.6 mm


def without(*names, **changes):
    return {name: value for name, value in (GOOD | changes).items() if name not in names}


@pytest.mark.parametrize(
    "shot",
    [
        without("focal_mm"),
        without("x"),
        without("y"),
        without("width"),
        without("height"),
        without(focal_mm=0),
        without(x=0),
        without(x=-15.3),
        without(unit=0),
        without(unit=1),
        without(unit=6),
        without(unit=(3, 3)),
        without(y=30.6),
        without(y=7.0),
        without(width=40),
        without(height=36),
        without(x=1e-9, y=1e-9),
        without(x=8.0, y=8.0),
        without(x=200.0, y=200.0, focal_mm=200.0),
        without(focal_mm="35 mm"),
        without(focal_mm=0.1),
        without(x=11.7, y=11.7),
        without(x=24.0, y=24.0),
        without(x=65.4, y=65.4),
        without(zoom=2.0),
        without(model="Canon EOS 6D Mark II"),
        without(software="Adobe Photoshop Lightroom 6.1"),
        without(software="GIMP 2.10.36"),
        without(software="Microsoft Windows Photo Viewer 6.1"),
        without(xmp='<x:xmpmeta xmp:CreatorTool="Adobe Photoshop"/>'),
    ],
)
def test_a_focal_plane_that_says_too_little_or_cannot_be_is_no_focal_length(shot, tmp_path):
    assert open_photo(photo_file(tmp_path / "good.jpg", GREY, **GOOD)).camera.fx == pytest.approx(
        53.5, abs=0.1
    )
    with pytest.raises(ValueError, match="no focal length known"):
        open_photo(photo_file(tmp_path / "a.jpg", GREY, **shot))


@pytest.mark.parametrize(
    ("shot", "f35"),
    [
        (dict(f35=53), 53),
        (dict(f35=50), 50),
        (dict(f35=35), None),
        (dict(f35=75), None),
        (dict(f35=0), 53.55),
        (dict(f35=1), 53.55),
        (dict(f35=65535), 53.55),
        (dict(f35=75, software="Adobe Photoshop 25"), 75),
        (dict(f35=75, unit=1), 75),
    ],
)
def test_of_an_equivalent_and_a_focal_plane_that_disagree_neither_is_believed(shot, f35, tmp_path):
    path = photo_file(tmp_path / "a.jpg", GREY, **(GOOD | shot))
    found = told(path)
    assert found == (None if f35 is None else pytest.approx(f35, abs=0.1))


@pytest.mark.parametrize(
    ("shot", "believed"),
    [
        (dict(f35=28, focal_mm=3.99), True),
        (dict(f35=96, focal_mm=3.99), False),
        (dict(f35=177, focal_mm=3.99), False),
        (dict(f35=311, focal_mm=3.99), False),
        (dict(f35=24, focal_mm=50.0), False),
        (dict(f35=50, focal_mm=50.0), True),
        (dict(f35=20, focal_mm=30.0), True),
        (dict(f35=14, focal_mm=1.54), True),
        (dict(f35=24, focal_mm=0), True),
    ],
)
def test_an_equivalent_whose_sensor_could_not_exist_is_not_believed(shot, believed, tmp_path):
    found = told(photo_file(tmp_path / "a.jpg", GREY, **shot))
    assert found == (pytest.approx(shot["f35"]) if believed else None)


@pytest.mark.parametrize(
    ("zoom", "make", "believed"),
    [
        (0, "Acme", True),
        (1, "Acme", True),
        (1.951, "Acme", False),
        (4, "Acme", False),
        (1.951, "Apple", True),
        (10, "Apple", True),
        (2, "", False),
    ],
)
def test_digital_zoom_is_believed_of_those_who_count_it_in(zoom, make, believed, tmp_path):
    found = told(photo_file(tmp_path / "a.jpg", GREY, f35=55, zoom=zoom, make=make))
    assert found == (pytest.approx(55) if believed else None)


GPANO = [
    '<rdf:Description xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" '
    'GPano:ProjectionType="{}"/>',
    "<rdf:Description GPano:ProjectionType='{}'/>",
    "<GPano:UsePanoramaViewer>True</GPano:UsePanoramaViewer>"
    "<GPano:ProjectionType>{}</GPano:ProjectionType>",
    "<GPano:ProjectionType>\n  {}\n</GPano:ProjectionType>",
]


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("projection", ["equirectangular", "cylindrical", "Equirectangular"])
@pytest.mark.parametrize("xmp", GPANO)
def test_panoramas_are_refused_unless_a_focal_length_is_given(xmp, projection, kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    if kind == "tif":
        saved(path, GREY, tiffinfo={700: xmp.format(projection).encode()})
    else:
        photo_file(path, GREY, f35=26, xmp=xmp.format(projection))
    with pytest.raises(ValueError, match=rf"a\.{kind}: a panorama \({projection}\).*--focal-px"):
        open_photo(path)
    with pytest.raises(ValueError, match="panorama"):
        open_photo(path, calibrator=lambda image: Camera(20, 20, 18, 12, 36, 24))
    assert open_photo(path, 30.0).camera.fx == 30
    assert read_rgb(path).shape == (24, 36, 3)


@pytest.mark.parametrize(
    ("size", "shot", "refused"),
    [
        ((40, 20), dict(make="RICOH", model="RICOH THETA S"), True),
        ((40, 20), dict(make="Insta360", model="X3"), True),
        ((20, 40), dict(make="SAMSUNG", model="SM-C200"), True),
        ((40, 30), dict(make="Insta360", model="X3"), False),
        ((40, 20), dict(make="Xiaomi", model="Mi 8"), False),
        ((80, 12), dict(make="Apple", rendered=6), True),
        ((40, 30), dict(make="Apple", rendered=3), False),
        ((80, 12), dict(make="Acme", rendered=6), False),
    ],
)
def test_cameras_that_see_all_round_are_known_by_name(size, shot, refused, tmp_path):
    path = photo_file(tmp_path / "a.jpg", np.zeros((*size[::-1], 3), np.uint8), f35=26, **shot)
    if refused:
        with pytest.raises(ValueError, match=r"a panorama \((360-degree|swept)\)"):
            open_photo(path)
    else:
        assert open_photo(path).size == size


@pytest.mark.parametrize("projection", ["rectilinear", "perspective"])
def test_a_picture_said_to_be_perspective_is_no_panorama(projection, tmp_path):
    assert (
        open_photo(
            photo_file(tmp_path / "a.jpg", GREY, f35=26, xmp=GPANO[0].format(projection))
        ).camera.fx
        == 26
    )


def tiff_file(path, size=(8, 6), within=None, **tags):
    """A TIFF of one white picture, by hand: further tags by number ("t254"), and the size of one
    more in a SubIFD."""
    width, height = size
    pixels = b"\xff" * (3 * width * height)
    rows = {
        256: width,
        257: height,
        258: 8,
        259: 1,
        262: 2,
        273: 8,
        277: 3,
        278: height,
        279: len(pixels),
    }
    rows |= {int(tag[1:]): value for tag, value in tags.items()}
    start = 8 + len(pixels)
    if within:
        rows[330] = start + 2 + 12 * (len(rows) + 1) + 4
    directories = [rows] + ([{254: 0, 256: within[0], 257: within[1]}] if within else [])
    body = b""
    for entries in directories:
        body += struct.pack("<H", len(entries))
        body += b"".join(
            struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items())
        )
        body += struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", start) + pixels + body)
    return path


@pytest.mark.parametrize(
    ("name", "options", "whole"),
    [
        ("a.dng", dict(t50706=0x401), ""),
        ("a.tif", dict(t50706=0x401, within=(4000, 3000)), "4000x3000"),
        ("a.nef", dict(t254=1), ""),
        ("a.tif", dict(t254=1), ""),
        ("a.tif", dict(t254=5, within=(80, 60)), "80x60"),
        ("a.arw", dict(within=(6000, 4000)), "6000x4000"),
        ("a.tiff", dict(within=(6000, 4000)), "6000x4000"),
        ("a.CR2", {}, ""),
        ("a.pef", {}, ""),
        ("a.DNG", {}, ""),
    ],
)
def test_the_preview_of_a_raw_file_is_never_taken_for_the_photo(name, options, whole, tmp_path):
    path = tiff_file(tmp_path / name, **options)
    of = f" of a photo of {whole}" if whole else ""
    for use in (open_photo, lambda path: open_photo(path, 50.0), read_rgb):
        with pytest.raises(
            ValueError, match=rf"{name}: a raw file.*preview of 8x6{of}: develop it to JPEG"
        ):
            use(path)


@pytest.mark.parametrize(
    "options", [{}, dict(t254=0), dict(t254=2), dict(within=(4, 3)), dict(within=(8, 6))]
)
def test_other_tiff_files_are_photos(options, tmp_path):
    assert (read_rgb(tiff_file(tmp_path / "a.tif", **options)) == 255).all()


def test_a_reduced_tiff_is_a_photo_though_exif_remembers_the_larger_one(tmp_path):
    path = photo_file(tmp_path / "a.tif", GREY, f35=50, width=3600, height=2400)
    assert open_photo(path).camera.fx == 50


@pytest.mark.parametrize("name", ["a.cr3", "a.RAF", "a.orf", "a.rw2"])
def test_raw_files_that_pillow_does_not_know_are_called_raw(name, tmp_path):
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypcrx " + bytes(99))
    with pytest.raises(ValueError, match=rf"{name}: a raw file: develop it to JPEG"):
        open_photo(tmp_path / name, 50.0)


def hidden(mode):
    """Magenta everywhere, transparent on the left half."""
    alpha = np.zeros((6, 8), np.uint8)
    alpha[:, 4:] = 255
    rgba = np.dstack([np.full((6, 8, 3), (255, 0, 255), np.uint8), alpha])
    image = Image.fromarray(rgba)
    if mode == "P":
        image = Image.new("P", (8, 6))
        image.putpalette([255, 0, 255, 255, 0, 255])
        image.putdata(np.where(alpha.ravel() == 0, 0, 1).tolist())
    return image if mode in ("RGBA", "P") else image.convert(mode)


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("png", "RGBA", {}),
        ("png", "LA", {}),
        ("webp", "RGBA", {"lossless": True}),
        ("tif", "RGBA", {}),
        ("png", "P", {"transparency": b"\0\xff"}),
        ("png", "P", {"transparency": 0}),
        ("gif", "P", {"transparency": 0}),
        ("png", "P", {"transparency": b"\0"}),
    ],
)
def test_what_is_transparent_lies_on_white(kind, mode, options, tmp_path):
    path = saved(tmp_path / f"a.{kind}", hidden(mode), **options)
    for image in (read_rgb(path), open_photo(path, 9.0).image):
        assert (image[:, :4] == 255).all()
        assert (image[:, 4:] == image[0, 7]).all()
        assert image[0, 7].tolist() == ([255, 0, 255] if mode != "LA" else [image[0, 7, 0]] * 3)


@pytest.mark.parametrize(
    ("mode", "colour", "shown"), [("RGB", (255, 0, 255), 255), ("L", 7, 255), ("1", 0, 255)]
)
def test_a_colour_that_means_transparent_lies_on_white(mode, colour, shown, tmp_path):
    image = Image.new(mode, (8, 6), colour)
    path = saved(tmp_path / "a.png", image, transparency=colour)
    assert (read_rgb(path) == shown).all()


def test_half_transparent_is_half_white(tmp_path):
    path = saved(tmp_path / "a.png", Image.new("RGBA", (8, 6), (0, 100, 200, 128)))
    assert read_rgb(path)[0, 0].tolist() == pytest.approx([127, 177, 227], abs=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_transparent_photo_is_turned_like_any_other(orientation, tmp_path):
    upright = position_image(36, 24)
    opaque = np.dstack(
        [
            upside(upright, orientation),
            np.full(upside(upright, orientation).shape[:2], 255, np.uint8),
        ]
    )
    path = photo_file(tmp_path / "a.png", opaque, orientation)
    assert np.array_equal(open_photo(path, 9.0).image, upright)


class FakeHeif(ImageFile.ImageFile):
    """A decoder that makes of anything a picture of 5x4 green pixels."""

    format = "HEIF"

    def _open(self):
        self._size, self._mode = (5, 4), "RGB"
        self.im = Image.core.fill("RGB", self.size, (0, 255, 0))

    def load(self):
        return None


@pytest.fixture
def heif_is_unknown(monkeypatch):
    """As if nobody had registered an opener for it."""
    Image.init()
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if "HEI" not in kind])
    monkeypatch.setattr(
        Image, "OPEN", {kind: how for kind, how in Image.OPEN.items() if "HEI" not in kind}
    )


@pytest.mark.parametrize("brand", ["heic", "heix", "mif1", "hevc"])
def test_heic_without_pillow_heif_says_what_to_install(
    brand, tmp_path, monkeypatch, heif_is_unknown
):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftyp" + brand.encode() + bytes(40))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        ValueError,
        match=r"a\.heic: HEIC needs pillow-heif: pip install pillow-heif, or vlm3\[heic\]",
    ):
        open_photo(tmp_path / "a.heic", 50.0)


def test_heic_with_pillow_heif_opens(tmp_path, monkeypatch, heif_is_unknown):
    def register():
        Image.register_open("HEIF", FakeHeif, lambda start: start[4:8] == b"ftyp")

    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    assert (open_photo(tmp_path / "a.heic", 50.0).image == (0, 255, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_real_heic_is_upright(orientation, tmp_path):
    pillow_heif = pytest.importorskip(
        "pillow_heif", reason="pillow-heif is not installed (extra heic)"
    )
    upright = position_image(36, 24)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x8769] = {0xA405: 26}
    heif = pillow_heif.from_pillow(
        Image.fromarray(np.ascontiguousarray(upside(upright, orientation)))
    )
    heif.save(tmp_path / "a.heic", exif=exif.tobytes(), quality=-1)
    view = open_photo(tmp_path / "a.heic")
    assert view.camera.fx == pytest.approx(26)
    assert np.abs(view.image.astype(int) - upright).max() < 12


def test_importing_the_package_loads_no_decoder_of_heic():
    code = "import sys, vlm3; sys.exit('pillow_heif' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_avif_that_this_pillow_does_not_read_says_what_to_install(tmp_path, monkeypatch):
    Image.init()
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "AVIF"])
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x18ftypavif" + bytes(40))
    with pytest.raises(
        ValueError, match=r"a\.avif: AVIF needs a newer Pillow: pip install --upgrade pillow"
    ):
        open_photo(tmp_path / "a.avif", 50.0)


@pytest.mark.parametrize("size", [(10_000, 1), (1, 10_000), (1, 1), (65_000, 2), (3, 30_000)])
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_thin_strips_open_whole(size, kind, tmp_path):
    path = saved(tmp_path / f"a.{kind}", Image.new("RGB", size, (90, 90, 90)))
    view = open_photo(path, 40.0)
    assert view.size == size
    assert view.image.min() == view.image.max() == 90


@pytest.mark.parametrize("kind", ["png", "tif", "webp"])
def test_a_photo_beyond_the_limit_of_pillow_opens_without_a_word(kind, tmp_path, monkeypatch):
    path = saved(tmp_path / f"a.{kind}", GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 864 is far beyond twice of that
    monkeypatch.setattr(photo, "SMALL_PIXELS", 80)
    assert read_rgb(path).shape == (24, 36, 3)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)


def huge(width, height):
    """The first bytes of a PNG of that size."""
    buffer = io.BytesIO()
    Image.new("1", (1, 1)).save(buffer, "PNG")
    raw = bytearray(buffer.getvalue())
    raw[16:24] = struct.pack(">II", width, height)
    import zlib

    raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
    return bytes(raw)


@pytest.mark.parametrize("size", [(25_000, 20_001), (100_000, 100_000), (2**31 - 1, 1)])
def test_more_pixels_than_the_stated_bound_are_refused_before_any_memory_is_taken(size, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(huge(*size))
    with pytest.raises(
        ValueError, match=rf"a\.png: {size[0]}x{size[1]} is more than 500 million pixels: make it"
    ):
        open_photo(path, 40.0)


def test_the_limit_of_pillow_is_back_after_a_failure_and_after_many_threads(tmp_path):
    limit = Image.MAX_IMAGE_PIXELS
    (tmp_path / "b.png").write_bytes(b"nothing")
    path = saved(tmp_path / "a.png", GREY)
    with pytest.raises(ValueError, match="not a picture"):
        read_rgb(tmp_path / "b.png")
    threads = [
        threading.Thread(target=lambda: [read_rgb(path) for _ in range(20)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit == Image.MAX_IMAGE_PIXELS


def cut(path, part):
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * part)])
    return path


@pytest.mark.parametrize("part", [0, 0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "gif", "bmp"])
def test_a_file_cut_short_is_refused_with_its_name(kind, part, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = cut(saved(tmp_path / f"a.{kind}", image), part)
    with pytest.raises(ValueError, match=rf"a\.{kind}: not a picture that can be read whole"):
        open_photo(path, 40.0)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"<html></html>", bytes(100), b"\xff\xd8\xff", b"%PDF-1.4", b"GIF89a"],
)
def test_a_file_that_is_no_picture_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.jpg: not a picture that can be read whole") as error:
        open_photo(tmp_path / "a.jpg", 40.0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["gif", "png", "tif", "webp"])
def test_of_several_pictures_the_first_is_read(kind, tmp_path):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    more = {"lossless": True} if kind == "webp" else {}
    frames[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:], **more)
    assert (read_rgb(tmp_path / f"a.{kind}") == (255, 0, 0)).all()


def test_colours_of_print_become_those_of_the_screen(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=100)
    assert np.abs(read_rgb(path).astype(int) - (255, 0, 0)).max() < 6


def test_colours_that_cannot_become_rgb_are_refused_with_the_file(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.tif", Image.new("CMYK", (8, 6)))

    def convert(image, mode):
        raise ValueError(f"conversion from {image.mode} to {mode} not supported")

    monkeypatch.setattr(Image.Image, "convert", convert)
    with pytest.raises(
        ValueError, match=r"a\.tif: CMYK cannot become 8 bits of red, green and blue \(conversion"
    ):
        read_rgb(path)


def test_sixteen_bits_of_each_colour_are_read_as_eight(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.full((6, 8, 3), 0x80FF, np.uint16))
    assert (read_rgb(tmp_path / "a.png") == 0x80).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_source_in_the_guide_reads_photos_as_its_depth_maps_count(orientation, tmp_path):
    guide = (ROOT / "book" / "guide" / "scaling.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?class Photos:.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(compile(code, "scaling.md", "exec"), names)
    stored = position_image(36, 24)
    photo_file(tmp_path / "a.jpg", stored, orientation)
    depth_m = 1 + np.arange(36 * 24, dtype=np.float32).reshape(24, 36)
    np.save(tmp_path / "a.npy", depth_m)
    (view,) = [names["Photos"](str(tmp_path))[0]]
    assert np.abs(view.image.astype(int) - stored).max() < 6
    assert np.array_equal(view.depth_m, depth_m)
    assert (view.size, view.camera.fx) == ((36, 24), 1500)
