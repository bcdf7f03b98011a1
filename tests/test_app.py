"""The page of `vlm3 app`, without gradio: what is shown for what is dropped, clicked and typed."""

import base64
import io
import json
import os
import re
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import photo_file, position_image
from vlm3 import Camera, View, tasks
from vlm3.qwen import model
from vlm3.sources import calibrate as calibrators
from vlm3.sources import exif, photos
from vlm3.terminal import ask, asking, cli
from vlm3.terminal.app import answers, examples, links, maps, pictures, serve, visits
from vlm3.terminal.app import photos as given
from vlm3.terminal.app.photos import Photo
from vlm3.terminal.app.visits import Host, Visit
from vlm3.views import Answer

IMAGE = position_image(60, 40)
NONE = None, None


@pytest.fixture(scope="module")
def host():
    return Host(model.load("tiny", "cpu", torch.float32), "tiny")


@pytest.fixture
def said(monkeypatch):
    """What the model says to everything, instead of what it would say."""

    def say(text: str) -> None:
        answer = Answer(text, (-0.5,))
        monkeypatch.setattr(ask.decode, "answer", lambda vlm, views, qas, *_: [answer] * len(qas))
        monkeypatch.setattr(ask.decode, "likely", lambda *_: [[[answer]]])

    return say


def known(name: str = "a.png", focal_px: float = 50.0, depth_m: float | None = None) -> Photo:
    depth = None if depth_m is None else np.full(IMAGE.shape[:2], depth_m, np.float32)
    view = View(IMAGE, Camera(focal_px, focal_px, 30, 20, 60, 40), depth)
    return Photo(name, view, calibrators.Focal(focal_px, origin="of a test"))


def fault(shown: visits.Shown) -> str:
    """The error that is shown; fails where there is none."""
    return re.search('role="alert">(.*)</div>', shown.answer)[1]


# Photos


def test_a_dropped_photo_is_read_with_its_focal_length_and_its_file_deleted(tmp_path):
    path = photo_file(tmp_path / "a.jpg", IMAGE, f35=36)
    photo = given.read(path)
    assert photo.name == "a.jpg"
    assert photo.view.camera.fx == pytest.approx(36 * np.hypot(60, 40) / exif.FILM_MM)
    assert "from its EXIF data" in given.described(photo, "")
    assert not path.exists()


def test_a_photo_without_a_focal_length_is_shown_and_asks_for_one(host, tmp_path):
    photo = given.read(photo_file(tmp_path / "a.png", IMAGE))
    assert photo.view.image.shape == IMAGE.shape
    visit = Visit("depth", (photo, None), at="10, 10")
    told = fault(visits.answered(host, visit))
    assert told.startswith("a.png: no focal length is known")
    assert "Type it" in told
    assert str(tmp_path) not in told
    assert told in visits.pointed(visit).answer
    assert 'class="vlm3-large"' in visits.answered(host, visit._replace(focal="50")).answer


@pytest.mark.parametrize(
    ("typed", "px"), [("1000", 1000), ("1000 px", 1000), (" 26MM ", 26 * 50 / exif.FILM_MM)]
)
def test_a_focal_length_is_typed_in_pixels_or_in_millimetres_on_film(typed, px):
    assert given.focal_px(typed, (40, 30)) == pytest.approx(px)


@pytest.mark.parametrize("typed", ["-5", "0", "wide", "26 cm", "1e3", "nan", "1 000"])
def test_a_focal_length_that_is_none_is_named(typed):
    with pytest.raises(ValueError, match=re.escape(repr(typed))):
        given.focal_px(typed, (40, 30))


def test_a_typed_focal_length_takes_the_place_of_that_of_the_photo():
    view, (_, _, source) = given.taken(known(), "70")
    assert (view.camera.fx, source) == (70, "given")


def test_a_panorama_is_shown_and_refused_until_its_focal_length_is_typed(tmp_path):
    xmp = 'GPano:ProjectionType="equirectangular"'
    photo = given.read(photo_file(tmp_path / "pano.jpg", IMAGE, xmp=xmp, f35=26))
    with pytest.raises(ValueError, match=r"^pano.jpg: a panorama"):
        given.taken(photo, "")
    assert given.taken(photo, "50")[0].camera.fx == 50


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.jpg", b"no picture", "not a picture"),
        ("a.nef", b"no picture", "a raw file"),
        ("a.heic", b"\0\0\0\x18ftypheic", "HEIC needs|not a picture that can be read whole"),
    ],
)
def test_what_is_no_photo_is_named_without_the_place_where_it_lay(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^{name}: .*({why})"):
        given.read(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_more_pixels_than_a_shared_page_has_memory_for_are_refused(tmp_path):
    Image.new("1", (10_000, 8_001)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"^a.png: 10000x8001 is more than 80 million pixels"):
        given.read(tmp_path / "a.png")


# Answers


def test_the_page_answers_what_the_command_prints(host, monkeypatch):
    left, right = map(
        str, (photos.DATA / "motorcycle_left.png", photos.DATA / "motorcycle_right.png")
    )
    monkeypatch.setattr(asking.Asking, "loaded", lambda self: host.vlm)
    taken = (
        given.Photo("a.png", *calibrators.opened(left, 995)),
        given.Photo("b.png", *calibrators.opened(right, 995)),
    )
    typed = {"at": ("300,200", "20,30"), "box": ("100,150,400,450",)}
    for task in tasks.NAMES:
        kind = asking.kind(task)
        fields = {k: v for k, v in typed.items() if k in kind.__dataclass_fields__}
        paths = (left, right)[: visits.wanted(task)]
        printed = asking.report(kind(photos=paths, focal_px=995, model="tiny", **fields)).facts
        for photo, name in zip(printed["photos"], ("a.png", "b.png"), strict=False):
            photo["path"] = name
        visit = Visit(task, taken, at="300, 200; 20,30", boxes="100,150, 400,450\n", blind=False)
        shown = visits.answered(host, visit).answer
        assert json.loads(downloaded(shown)["answers.json"]) == json.loads(json.dumps(printed))


def downloaded(page: str) -> dict[str, bytes]:
    """Files by name, as links hold them."""
    found = re.findall(r'download="([^"]+)" href="data:[^;]+;base64,([^"]+)"', page)
    return {name: base64.b64decode(content) for name, content in found}


def test_an_answer_stands_large_and_beside_its_pixel_with_what_is_said_without_looking(host, said):
    said("2.5")
    shown = visits.answered(host, Visit("depth", (known(depth_m=3.25), None), at="10, 20"))
    assert "<strong>2.50 m</strong> away" in shown.answer
    assert "<dt>measured</dt><dd>3.25 m</dd>" in shown.answer
    assert "<dt>without looking</dt><dd>2.50 m</dd>" in shown.answer
    assert "<dt>sure</dt><dd>100 %</dd>" in shown.answer
    assert ">2.50 m</text>" in shown.first


def test_without_looking_the_model_gets_a_grey_picture(host, monkeypatch):
    seen = []
    real = ask.decode.answer
    monkeypatch.setattr(
        ask.decode,
        "answer",
        lambda vlm, views, *how: (seen.append(views), real(vlm, views, *how))[1],
    )
    visits.answered(host, Visit("depth", (known(), None), at="10, 20"))
    (looked,), (blind,) = seen
    assert len(np.unique(blind.image)) == 1
    assert len(np.unique(looked.image)) > 1
    seen.clear()
    visits.answered(host, Visit("depth", (known(), None), at="10, 20", blind=False))
    assert len(seen) == 1


def test_words_without_a_value_are_shown_and_cannot_become_part_of_the_page(host, said):
    said("<script>far</script>")
    shown = visits.answered(host, Visit("depth", (known("<b>.png"), None), at="10, 20"))
    assert "No answer can be read in what it says: &lt;script&gt;" in shown.answer
    assert "<script" not in "".join(shown)
    assert "<b>" not in "".join(shown)


def test_a_match_is_marked_on_the_second_photo(host, said):
    said("(50, 50)")
    shown = visits.answered(host, Visit("correspondence", (known(), known("b.png")), at="10, 20"))
    assert ">here</text>" in shown.second
    assert "in the second photo" in shown.answer


@pytest.mark.parametrize(
    ("visit", "why"),
    [
        (Visit("depth", NONE, at="1,1"), "depth needs a photo"),
        (Visit("pose", (known(), None)), "pose needs a second photo"),
        (Visit("depth", (known(), None)), "say which pixels"),
        (Visit("depth", (known(), None), at="60,1"), r"pixel (60, 1) lies outside the 60x40 photo"),
        (Visit("depth", (known(), None), at="left"), "&#x27;left&#x27; is not u,v in pixels"),
        (Visit("objects", (known(), None)), "say where the objects are"),
        (Visit("objects", (known(), None), boxes="5,5,5,9"), "is empty or leaves the 60x40 image"),
        (Visit("objects", (known(focal_px=101), None), boxes="59.8,1,60,9"), "draw it larger"),
        (Visit("objects", (known(focal_px=500), None), boxes="1,1,9,9", question="{2}?"), "{2}"),
        (Visit("depth", (known(), None), "far", "1,1"), "focal length &#x27;far&#x27;"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_package(host, visit, why):
    assert why in fault(visits.answered(host, visit))


def test_before_an_answer_the_page_says_what_to_do_next():
    both = known(), known()
    steps = {
        Visit("depth", NONE): "Drop a photo",
        Visit("depth", (known(), None)): "Click a place",
        Visit("pose", (known(), None)): "Drop a second photo",
        Visit("pose", both): "Press Ask",
        Visit("objects", both): "Draw a box",
    }
    for visit, words in steps.items():
        assert words in visits.pointed(visit).answer


def test_a_photo_ends_what_was_asked_of_the_one_before():
    before = Visit("depth", (known("a.png"), known("b.png")), at="1,1", boxes="1,1,9,9")
    after = visits.dropped(before, 0, known("c.png"))
    assert (after.at, after.boxes) == ("", "")
    assert [photo.name for photo in after.photos] == ["c.png", "b.png"]
    after = visits.dropped(before, 1, known("c.png"))
    assert (after.at, [photo.name for photo in after.photos]) == ("1,1", ["a.png", "c.png"])


def test_a_photo_of_ones_own_is_not_paired_with_one_of_an_example():
    example = Visit("pose", examples.motorcycle().photos)
    assert visits.dropped(example, 0, known()).photos[1] is None


@pytest.mark.parametrize("name", examples.EXAMPLES)
@pytest.mark.parametrize("task", tasks.NAMES)
def test_every_example_has_an_answer_for_every_task(host, name, task):
    example = examples.EXAMPLES[name]()
    shown = visits.answered(
        host, Visit(task, example.photos, "", example.at, example.boxes, blind=False)
    )
    assert "vlm3-answer" in shown.answer, shown.answer
    assert "your photo" not in shown.first


# Pictures


def test_a_picture_is_described_and_can_be_reached_by_keys_where_one_points():
    page = pictures.picture(known(), "a line", "pixels")
    assert 'alt="your photo"' in page
    assert 'tabindex="0"' in page
    assert "tabindex" not in pictures.picture(known(), "a line", "")


def test_a_large_photo_is_sent_small_and_pointed_at_in_its_own_pixels():
    image = np.zeros((1000, 4000, 3), np.uint8)
    page = pictures.picture(Photo("a", View(image, None)), "", "pixels")
    data = re.search('base64,([^"]+)', page)[1]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (1280, 320)
    assert 'data-width="4000"' in page
    assert 'viewBox="0 0 4000 1000"' in page


@pytest.mark.parametrize("place", [(0, 0), (59.9, 0), (59.9, 39.9), (0, 39.9), (30, 20)])
def test_words_beside_a_place_stay_on_the_picture(place):
    drawn = pictures.dots([place], ["12.34 m"], (60, 40))
    left, top, wide, high = map(
        float, re.search(r'<rect x="(.+?)" y="(.+?)" width="(.+?)" height="(.+?)"', drawn).groups()
    )
    assert 0 <= left < left + wide <= 60
    assert 0 <= top < top + high <= 40


def test_boxes_are_numbered_as_questions_count_them():
    drawn = pictures.outlines([(1, 1, 9, 9), (20, 1, 30, 9)], (60, 40))
    assert re.findall(">(.)</text>", drawn) == ["1", "2"]


# Maps


@pytest.mark.parametrize("detail", maps.DETAILS)
@pytest.mark.parametrize("size", [(741, 500), (96, 128), (4032, 3024), (40, 2000), (9, 9)])
def test_squares_halve_from_a_few_to_the_detail_and_fit_the_photo(size, detail):
    sides = maps.strides(size, detail)
    assert all(a == 2 * b for a, b in zip(sides, sides[1:], strict=False))
    assert max(sides) <= min(size)
    assert sides[-1] <= max(1, max(size) // maps.DETAILS[detail])


def test_a_map_grows_to_what_asking_for_it_at_once_gives(host):
    view = known().view
    grown = list(maps.growing(host, view, [10, 5]))
    assert [one.done for one in grown] == sorted({one.done for one in grown})
    assert grown[-1].done == 1
    assert [one.stride for one in grown] == [10, 5, 5]
    whole = ask.depth_map(host.vlm, view, 5, progress=False)
    np.testing.assert_array_equal(grown[-1].metres, whole)


def test_a_finer_map_starts_as_the_coarser_one_left_it(host, said, monkeypatch):
    said("2.0")
    monkeypatch.setattr(maps, "AT_ONCE", 4)
    coarse, *finer = maps.growing(host, known().view, [20, 10])
    said("3.0")
    assert coarse.metres.shape == (2, 3)
    assert np.isfinite(coarse.metres.ravel()[:4]).all()
    first = next(one for one in finer if one.stride == 10)
    assert first.metres.shape == (4, 6)
    assert np.isfinite(first.metres).all()


def test_a_map_where_nothing_is_known_is_shown_all_the_same(host, said):
    said("far")
    (grown,) = maps.growing(host, known().view, [20])
    page = maps.finished(grown, known().view)
    assert "100 %" in page
    assert "iframe" not in page
    assert b"element vertex 0\n" in downloaded(page)["points.ply"]


def test_a_map_comes_as_a_picture_as_numbers_and_as_points():
    view, metres = known().view, np.array([[1, 2, 3], [4, np.nan, 6]], np.float32)
    files = downloaded(maps.downloads(maps.Grown(metres, 20, 1.0), view))
    np.testing.assert_array_equal(np.load(io.BytesIO(files["depth_m.npy"])), metres)
    picture = np.array(Image.open(io.BytesIO(files["depth.png"])))
    assert (picture[..., 3] > 0).tolist() == np.isfinite(metres).tolist()
    assert picture[0, 0, :3].sum() > picture[1, 2, :3].sum()  # near is light
    points, colours = read_ply(files["points.ply"])
    # square (0, 0) has its middle at (10, 10), and the camera looks along z from (30, 20)
    np.testing.assert_allclose(points[0], [(10 - 30) / 50, (10 - 20) / 50, 1], rtol=1e-6)
    np.testing.assert_array_equal(colours[0], view.image[10, 10])
    assert len(points) == 5


def read_ply(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """By trimesh, which knows the format from others."""
    trimesh = pytest.importorskip("trimesh")
    cloud = trimesh.load(io.BytesIO(content), file_type="ply")
    return np.asarray(cloud.vertices), np.asarray(cloud.colors)[:, :3]


def test_a_link_holds_its_file_and_nothing_else():
    assert downloaded(links.link("a.json", b"{}", "application/json")) == {"a.json": b"{}"}


# Serving


@pytest.mark.parametrize("host_name", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_the_loopback_is_told_from_the_rest_of_the_world(host_name):
    assert serve.loopback(host_name)


@pytest.mark.parametrize("host_name", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_an_address_that_others_reach_is_warned_about(host_name, capsys, monkeypatch):
    monkeypatch.setattr(serve, "find_spec", lambda name: True)
    monkeypatch.setattr(serve, "_demand_ours", lambda host: None)
    serve.check(host_name, None, 20, 30)
    assert "others on your network can reach" in capsys.readouterr().err


@pytest.mark.parametrize("host_name", ["nowhere.invalid", "192.0.2.1"])
def test_an_address_of_another_computer_is_refused_before_ports_are_tried(
    host_name, capsys, monkeypatch
):
    monkeypatch.setattr(serve, "find_spec", lambda name: True)
    with pytest.raises(ValueError, match=f"--host {host_name} is no address of this computer"):
        serve.check(host_name, None, 20, 30)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--port", "0"], "--port must be from 1 to 65535, got 0"),
        (["--max-upload", "0"], "--max-upload must be more than 0"),
        (["--keep-minutes", "0.5"], "--keep-minutes must be from 1"),
        (["--model", "nowhere/to be found"], "nowhere/to be found"),
        (["--calibrate", "nobody"], "no calibrator 'nobody'"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(words, why, monkeypatch, capsys):
    monkeypatch.setattr(serve, "find_spec", lambda name: True)
    assert run(monkeypatch, *words) == 2
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1


def test_where_gradio_is_missing_the_command_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    assert run(monkeypatch) == 2
    assert 'pip install "vlm3[app]"' in capsys.readouterr().err


def run(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["vlm3", "app", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_what_was_sent_longer_ago_is_swept_and_the_rest_stays(tmp_path):
    old, new = tmp_path / "a" / "old.png", tmp_path / "b" / "new.png"
    for path in (old, new):
        path.parent.mkdir()
        path.touch()
    os.utime(old, (time.time() - 100,) * 2)
    serve.sweep(tmp_path, keep_s=60)
    assert (old.exists(), new.exists()) == (False, True)


def test_rows_of_many_answers_have_what_was_asked_above_them():
    rows = [answers.Row("how wide", "1 m", "5 %", "one"), answers.Row("how high", "-", "5 %", "?")]
    page = answers.card(rows, "value")
    assert page.index("how wide") < page.index("1 m") < page.index("how high")
    assert "without looking" not in page
