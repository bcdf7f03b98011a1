"""The page of `vlm3 app` as a visitor finds it: served, and used in a real browser."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from tests.browser import Visitor, chromium
from tests.conftest import photo_file
from vlm3.qwen import model
from vlm3.sources import photos
from vlm3.terminal import asking
from vlm3.terminal.app import serve
from vlm3.terminal.app.visits import Host

pytest.importorskip("gradio", reason="no gradio: the page is not served")

LEFT, RIGHT = (photos.DATA / f"motorcycle_{side}.png" for side in ("left", "right"))
MAX_UPLOAD_MB = 1.0


@pytest.fixture(scope="module")
def host():
    return Host(model.load("tiny", "cpu", torch.float32), "tiny")


@pytest.fixture(scope="module")
def served(host, tmp_path_factory):
    """The page: its address, and the folder where uploads lie."""
    folder = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        blocks = serve.launched(host, "127.0.0.1", None, MAX_UPLOAD_MB, 30)
        yield SimpleNamespace(url=blocks.local_url, folder=folder, port=blocks.server_port)
        blocks.close(verbose=False)


@pytest.fixture(scope="module")
def photo_files(tmp_path_factory):
    """Both photos of the motorcycle as a camera would have written them, small enough to send."""
    folder, made = tmp_path_factory.mktemp("photos"), {}
    for path, view in zip((LEFT, RIGHT), photos.motorcycle()[:2], strict=True):
        f35 = round(view.camera.fx * 43.2666 / np.hypot(*view.size))
        file = folder / f"{path.stem}.jpg"
        made[path.stem.rpartition("_")[2]] = photo_file(file, view.image, f35=f35)
    small = np.array(Image.open(LEFT).convert("RGB").resize((120, 80)))
    Image.fromarray(small).save(folder / "small.png")
    (folder / "shot.nef").write_bytes(b"no picture")
    return made | {"small": folder / "small.png", "raw": folder / "shot.nef"}


@pytest.fixture(scope="module")
def chrome():
    try:
        with chromium() as browser:
            yield browser
    except LookupError as error:
        pytest.skip(f"{error}: the page is not opened in a browser")


@pytest.fixture
def page(chrome, served):
    """A visitor who just came."""
    visitor = Visitor(chrome)
    visitor.come(served.url)
    time.sleep(1)  # until the example is known to the server, too
    return visitor


def left_behind(folder: Path) -> list[Path]:
    """Files of uploads; the server may still be closing the last one when the page has its
    answer."""
    for _ in range(50):
        if not (found := [path for path in folder.rglob("*") if path.is_file()]):
            break
        time.sleep(0.1)
    return found


def test_one_click_answers_and_nothing_is_asked_of_any_other_server(page):
    page.click(0.4, 0.5)
    told = page.answer()
    assert " m away" in told
    assert "sure" in told
    assert "measured" in told
    assert page.browser.execute_script(
        "return [...document.querySelectorAll('#first text')].length"
    )
    assert page.faults() == []


def test_a_photo_of_ones_own_is_asked_as_the_command_asks_it(page, photo_files, served, host):
    page.drop(photo_files["left"])
    assert "from its EXIF data" in page.text("#first")
    assert left_behind(served.folder) == []
    page.click(0.4, 0.5)
    page.answer()
    said = json.loads(page.files("#answer")["answers.json"])
    (pixel,) = [answer["pixel"] for answer in said["answers"]]
    assert pixel == pytest.approx([0.4 * 741, 0.5 * 500], abs=3)
    kind = type("Here", (asking.kind("depth"),), {"loaded": lambda self: host.vlm})
    asked = kind(photos=(photo_files["left"],), at=("{:g},{:g}".format(*pixel),))
    printed = asking.report(asked).facts
    printed["photos"][0]["path"] = photo_files["left"].name
    assert said == json.loads(json.dumps(printed))


def test_the_arrow_keys_and_enter_do_what_a_click_does(page):
    from selenium.webdriver import Keys

    picture = page.browser.find_element("css selector", "#first .vlm3-picture")
    picture.send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.ENTER)
    page.answer()
    said = json.loads(page.files("#answer")["answers.json"])
    step = 741 / 40
    assert said["answers"][0]["pixel"] == pytest.approx([370.5 - step, 250 - step], abs=0.1)


def test_the_map_grows_to_its_end_and_can_be_turned_and_taken_home(page, photo_files, tmp_path):
    page.drop(photo_files["left"])
    page.press("coarse", "label")
    page.press("Draw the map")
    page.wait("document.querySelector('#map progress')")
    page.wait("document.querySelector('#map iframe')")
    assert "100 %" in page.text("#map")
    files = page.files("#map")
    assert set(files) == {"depth.png", "depth_m.npy", "points.ply"}
    page.browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    page.browser.execute_script(
        "document.querySelector('#map a[download=\"depth_m.npy\"]').click()"
    )
    for _ in range(100):
        time.sleep(0.1)
        if (tmp_path / "depth_m.npy").exists():
            break
    metres = np.load(tmp_path / "depth_m.npy")
    assert metres.shape == (500 // 46, 741 // 46)
    assert np.isfinite(metres).mean() > 0.9
    page.browser.switch_to.frame(page.browser.find_element("css selector", "#map iframe"))
    turned = page.browser.execute_script(
        "const c = document.querySelector('canvas'), before = c.toDataURL();"
        "c.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}));"
        "return before !== c.toDataURL()"
    )
    page.browser.switch_to.default_content()
    assert turned
    assert page.faults() == []


def test_two_photos_give_a_match_and_a_pose(page, photo_files):
    page.take("Where is it in a second photo?")
    page.drop(photo_files["left"])
    page.click(0.4, 0.5)
    assert "correspondence needs a second photo" in page.answer()
    page.drop(photo_files["right"], 2)
    page.click(0.4, 0.5)
    assert "in the second photo" in page.answer()
    page.take("How did the camera move?")
    page.press("Ask")
    assert "distance" in page.answer()


def test_boxes_are_drawn_by_two_corners_or_by_dragging_and_asked_about(page):
    page.take("How large, how far apart?")
    page.click(0.15, 0.3)
    page.click(0.55, 0.9)
    assert "Width" in page.answer()
    page.at(0.6, 0.2).click_and_hold().move_by_offset(100, 120).release().perform()
    page.wait("document.querySelector('#answer').innerText.includes('Distance')")
    boxes = json.loads(page.files("#answer")["answers.json"])["boxes"]
    assert len(boxes) == 2
    assert boxes[0] == pytest.approx([0.15 * 741, 0.3 * 500, 0.55 * 741, 0.9 * 500], abs=3)


def test_what_cannot_be_read_is_named_and_the_page_goes_on(page, photo_files, served):
    # What another visitor's upload was cut off at is swept later.
    before = set(served.folder.rglob("*"))
    page.drop(photo_files["raw"])
    assert "shot.nef: a raw file: develop it" in page.answer()
    assert "Traceback" not in page.browser.page_source
    page.drop(photo_files["small"])
    assert "small.png: no focal length is known for it" in page.text("#answer")
    assert set(left_behind(served.folder)) <= before
    field = page.browser.find_element("css selector", "[placeholder*=EXIF]")
    field.send_keys("26 mm\n")
    page.wait("document.querySelector('#first').innerText.includes('as typed')")
    page.click(0.5, 0.5)
    assert " m away" in page.answer()


def test_one_visitor_does_not_see_the_photo_of_another(page, photo_files, served):
    page.drop(photo_files["left"])
    first = page.browser.current_window_handle
    page.browser.switch_to.new_window("tab")
    page.browser.get(served.url)
    page.wait("document.querySelector('#first img')")
    assert "motorcycle_left.png" in page.text("#first")
    assert "motorcycle_left.jpg" not in page.browser.page_source
    page.browser.close()
    page.browser.switch_to.window(first)
    assert "motorcycle_left.jpg" in page.text("#first")


def test_every_picture_and_every_field_has_words(page):
    lacking = page.browser.execute_script(
        "return [...document.querySelectorAll('main img')].filter(i => !i.hasAttribute('alt'))"
        ".concat([...document.querySelectorAll('main :is(input, textarea):not([type=file])')]"
        ".filter(f => !f.labels?.length && !f.ariaLabel)).map(e => e.outerHTML.slice(0, 200))"
    )
    assert lacking == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_of_a_phone_or_a_desk(page, width):
    page.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    time.sleep(1)
    reach = page.browser.execute_script("return document.documentElement.scrollWidth")
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert reach <= width


def test_photos_are_forgotten_after_a_while(host, chrome):
    brief = serve.launched(host, "127.0.0.1", None, MAX_UPLOAD_MB, keep_minutes=0.05)
    try:
        chrome.get(brief.local_url)
        visitor = Visitor(chrome)
        visitor.wait("document.querySelector('#first img')")
        time.sleep(6)
        visitor.click(0.5, 0.5)
        assert "depth needs a photo" in visitor.answer()
    finally:
        brief.close(verbose=False)


# Without a browser


def test_the_page_listens_on_the_loopback_alone(served):
    here = psutil.Process().net_connections(kind="inet")
    listening = {c.laddr.ip for c in here if c.status == "LISTEN" and c.laddr.port == served.port}
    assert listening == {"127.0.0.1"}


def test_a_file_beyond_the_limit_is_refused(served):
    httpx = pytest.importorskip("httpx")
    for size, status in ((0.5, 200), (1.5, 413)):
        content = b"\0" * round(size * MAX_UPLOAD_MB * 1e6)
        sent = httpx.post(f"{served.url}gradio_api/upload", files={"files": ("a.bin", content)})
        assert sent.status_code == status
        if status == 200:
            Path(sent.json()[0]).unlink()
    serve.sweep(served.folder, keep_s=0)  # of what came before the limit, something may be there


def test_files_of_the_computer_cannot_be_fetched_through_the_page(served):
    httpx = pytest.importorskip("httpx")
    for path in (__file__, "/etc/passwd", "../../etc/passwd"):
        assert httpx.get(f"{served.url}gradio_api/file={path}").status_code in (403, 404)


def test_a_file_that_was_not_sent_is_neither_read_nor_deleted(served, tmp_path):
    httpx = pytest.importorskip("httpx")
    (tmp_path / "mine.png").write_bytes(LEFT.read_bytes())
    config = httpx.get(f"{served.url}config").json()
    drops = [c["id"] for c in config["components"] if c["props"].get("elem_id") == "drop-1"]
    asked = next(d for d in config["dependencies"] if drops[0] in d["inputs"])
    file = {"path": str(tmp_path / "mine.png"), "meta": {"_type": "gradio.FileData"}}
    data = [file, "depth", None, "", "", "", "", True]
    assert len(data) == len(asked["inputs"])
    body = {"data": data, "fn_index": asked["id"], "session_hash": "stranger"}
    httpx.post(f"{served.url}gradio_api/queue/join", json=body).raise_for_status()
    listen = f"{served.url}gradio_api/queue/data?session_hash=stranger"
    with httpx.stream("GET", listen, timeout=60) as events:
        done = next(line for line in events.iter_lines() if "process_completed" in line)
    assert '"success":false' in done
    assert (tmp_path / "mine.png").exists()


def test_programs_find_nothing_to_call(served):
    httpx = pytest.importorskip("httpx")
    assert httpx.get(f"{served.url}gradio_api/info").json()["named_endpoints"] == {}


def test_what_was_sent_and_never_asked_about_is_gone_once_the_page_is_closed(monkeypatch, capsys):
    httpx = pytest.importorskip("httpx")
    seen = []

    def visited(meanwhile) -> None:
        url = capsys.readouterr().out.split(" at ")[1].split()[0]
        sent = httpx.post(f"{url}gradio_api/upload", files={"files": ("a.png", b"1")})
        seen.append(Path(sent.json()[0]))
        assert seen[0].exists()

    monkeypatch.setattr(serve, "_until_told", visited)
    monkeypatch.setattr(asking.Asking, "loaded", lambda self: model.load("tiny", "cpu"))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "")
    serve.serve(asking.Asking(model="tiny"), "127.0.0.1", None, 1.0, 30)
    assert not seen[0].exists()
    assert not seen[0].parents[1].exists()
