"""More than 1,000 corrupted or absurd inputs: each ends in a correct result or in an error that
names the culprit."""

import io
import json
import warnings

import numpy as np
import pytest
from PIL import Image

from tests.conftest import IBIMS_LABEL, ibims, position_image
from vlm3.focal import unify_focal
from vlm3.geometry import Camera
from vlm3.reference import PixelText
from vlm3.sources.photo import open_photo
from vlm3.views import View

INPUTS = {"photos": 400, "cameras": 200, "views": 100, "unify": 200, "texts": 200, "labels": 300}
NUMBERS = [
    0,
    -1,
    0.5,
    1,
    3,
    1e-300,
    1e-3,
    1e9,
    1e300,
    -1e300,
    float("nan"),
    float("inf"),
    -float("inf"),
]
PATHS = ["../a.png", "/", "rgb", "rgb/" + "a" * 300, "\udc80"]
JUNK = [*NUMBERS, *PATHS, None, True, "", "12", [], {}, [[]], [None], 10**400]
PHOTO = (12, 9)


def broken(raw: bytes, rng) -> bytes:
    """A file cut short, or with some bits flipped, half of the time near its start."""
    if rng.random() < 0.3:
        return raw[: rng.integers(len(raw))]
    bits = bytearray(raw)
    end = len(bits) if rng.random() < 0.5 else min(len(bits), 160)
    for place in rng.integers(end, size=rng.choice([1, 2, 5, 20])):
        bits[place] ^= 1 << rng.integers(8)
    return bytes(bits)


def pick(values, rng):
    return values[rng.integers(len(values))]


def right_view(view):
    height, width = view.image.shape[:2]
    assert view.image.dtype == np.uint8
    assert view.image.shape == (height, width, 3)
    right_camera(view.camera)
    assert view.camera.size == (width, height)
    if view.depth_m is not None:
        assert view.depth_m.shape == (height, width)
        assert (np.isnan(view.depth_m) | ((view.depth_m > 0) & (view.depth_m < np.inf))).all()


def right_camera(camera):
    assert np.isfinite(camera.K).all()
    assert min(camera.fx, camera.fy) > 0
    assert min(camera.size) >= 1


def photos(folder, rng):
    """Truncated and bit-flipped files."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x8769] = {0xA405: 28, 0xA002: PHOTO[0], 0xA003: PHOTO[1]}
    whole = []
    for kind in ("jpeg", "png"):
        buffer = io.BytesIO()
        Image.fromarray(position_image(*PHOTO)).save(buffer, kind, exif=exif)
        whole.append(buffer.getvalue())
    path = folder / "photo"
    while True:
        good, focal_px = pick(whole, rng), pick([None, 10.0], rng)
        bad = broken(good, rng)
        path.write_bytes(bad)

        def check(view, good=good, bad=bad):
            right_view(view)
            if len(bad) < len(good):  # only what follows the last pixel was cut off
                upright = np.array(Image.open(io.BytesIO(good))).swapaxes(0, 1)[:, ::-1]
                assert np.array_equal(view.image, upright)

        yield (lambda focal_px=focal_px: open_photo(path, focal_px)), check, [str(path)]


def cameras(folder, rng):
    good = {"fx": 9.0, "fy": 9.5, "cx": 4.0, "cy": 3.0, "width": 8, "height": 6}
    while True:
        name, value = pick(list(good), rng), pick([v for v in JUNK if not isinstance(v, list)], rng)
        yield (
            (lambda name=name, value=value: Camera(**{**good, name: value})),
            right_camera,
            [name, "focal lengths"],
        )


def views(folder, rng):
    """Depth, boxes and sizes that do not belong to the image."""
    while True:
        shape = rng.integers(0, 3, 2)
        image = np.zeros((*shape, 3), np.uint8)
        depth_m = np.full(shape + (rng.random() < 0.2), pick(NUMBERS, rng), float)
        camera = Camera(9.0, 9.0, 1.0, 1.0, *(int(side) for side in rng.integers(1, 3, 2)))
        boxes = [tuple(pick([0, 1, 2, *JUNK], rng) for _ in range(4))] if rng.random() < 0.3 else ()
        call = lambda a=(image, camera, depth_m), b=boxes: View(*a, boxes=b)  # noqa: E731
        yield call, right_view, ["image must", "camera is", "depth_m", "box"]


def unify(folder, rng):
    """Cameras and settings from absurd to good, also for images of one pixel."""
    while True:
        size = pick([(1, 1), (1, 40), (30, 20), (8, 6)], rng)
        focals = [pick([1e-300, 1e-6, 0.01, 1.0, 50.0, 300.0, 1e6, 1e300], rng) for _ in range(2)]
        camera = Camera(*focals, pick([-1e300, 0.0, 3.0, 1e9], rng), 2.0, *size)
        view = View(np.zeros((size[1], size[0], 3), np.uint8), camera, np.ones(size[::-1]))
        asked = {
            "focal_px": pick([50.0, 100.0, 300, *NUMBERS], rng),
            "multiple": pick([1, 4, 32, 32, 32, 2.5, 10**9, *NUMBERS[:4]], rng),
            "fit": pick(["pad", "crop", "stretch", "PAD", None, 3], rng)
            if rng.random() < 0.5
            else "pad",
            "max_pixels": pick([None, 1024, 4096, 10**20, *NUMBERS], rng)
            if rng.random() < 0.5
            else 4096,
        }

        def check(new, asked=asked):
            right_view(new)
            assert (
                new.camera.width % asked["multiple"] == new.camera.height % asked["multiple"] == 0
            )
            assert (
                asked["max_pixels"] is None
                or new.camera.width * new.camera.height <= asked["max_pixels"]
            )
            if asked["fit"] != "stretch":
                assert (new.camera.fx, new.camera.fy) == pytest.approx(
                    (asked["focal_px"],) * 2, rel=1e-12
                )

        named = [*asked, "camera cx", f"{size[0]}x{size[1]} image becomes"]
        yield (lambda view=view, asked=asked: unify_focal(view, **asked)), check, named


def texts(folder, rng):
    """Strings of what a model might print, and of anything else."""
    letters = list("0123456789") * 2 + list("(),, ()") * 3 + list("-.eE[]xyn\n\t\0%é３٣")
    while True:
        text = "".join(pick(letters, rng) for _ in range(rng.integers(0, 14)))
        text = f"({pick(NUMBERS, rng)}, {rng.integers(3000)})" if rng.random() < 0.3 else text

        def check(uv):
            assert 0 <= uv[0] < 640
            assert 0 <= uv[1] < 480

        yield (lambda text=text: PixelText().decode(text, (640, 480))), check, [repr(text)]


def labels(folder, rng):
    """A good iBims-1 line with one value replaced or left out, or with its text broken."""
    while True:
        line = json.loads(json.dumps(IBIMS_LABEL))
        key, junk = pick(list(line), rng), pick(JUNK, rng)
        spot = rng.random()
        if spot < 0.1:
            del line[key]
        elif spot < 0.5 or key == "image":
            line[key] = junk
        else:
            line[key][rng.integers(len(line[key]))] = junk
        raw = json.dumps(line).encode()
        raw = broken(raw, rng) if rng.random() < 0.2 else raw
        yield (lambda raw=raw: ibims(folder, raw)[0]), right_view, ["ibims1_val.jsonl", "room.png"]


def outcome(call, check, names) -> str | None:
    """What is wrong with the way in which this input ends, None for nothing."""
    try:
        result = call()
    except (ValueError, FileNotFoundError) as error:
        return None if any(name in str(error) for name in names) else f"names nothing: {error!r}"
    except Exception as error:
        return f"ends in another exception: {error!r}"
    check(result)
    return None


def test_there_are_at_least_1000_absurd_inputs():
    assert sum(INPUTS.values()) >= 1000


@pytest.mark.parametrize("kind", [photos, cameras, views, unify, texts, labels])
def test_absurd_input_ends_in_a_correct_result_or_in_an_error_that_names_it(kind, tmp_path):
    rng, count, wrong = np.random.default_rng(3), 0, []
    for call, check, names in kind(tmp_path, rng):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about some of the broken files
            wrong.append(outcome(call, check, names))
        count += 1
        if count == INPUTS[kind.__name__]:
            break
    assert count == INPUTS[kind.__name__]
    assert not any(wrong), "\n".join(sorted({problem[:200] for problem in wrong if problem}))
