"""The pages of the book work in a browser, without a network and without a kernel."""

import functools
import http.server
import json
import re
import threading
from pathlib import Path

import pytest

from tests.browser import chromium
from tests.conftest import CHAPTERS, ROOT, run_build
from vlm3 import PixelText


@pytest.fixture(scope="module")
def html() -> Path:
    """The rendered book, built now where it is not up to date."""
    pages = ROOT / "_build" / "test"  # apart from the reader's own, which may be of another profile
    done = run_build(ROOT, VLM3_BUILD=str(pages))
    assert done.returncode == 0, done.stdout + done.stderr
    return pages / "html"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(html):
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=html)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    try:
        with chromium() as chrome:
            yield chrome
    except LookupError as error:
        pytest.skip(f"{error}: the pages are not opened in a browser")


def wait_for(browser, condition: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30).until(lambda b: b.execute_script(f"return {condition}"), condition)


def test_every_page_works_offline_without_an_error_and_with_alt_texts(html, site, browser):
    pages = [str(path.relative_to(html)) for path in sorted(html.rglob("*.html"))]
    pages = [page for page in pages if not page.startswith("_static/")]  # templates of the theme
    assert {"intro.html", *(f"{path.parent.name}/{path.stem}.html" for path in CHAPTERS)} <= set(
        pages
    )
    # Without one the browser may or may not ask for an icon that is not there.
    faults = [f"{page}: no icon" for page in pages if 'rel="icon"' not in (html / page).read_text()]
    for page in pages:
        browser.get(site + page)
        wait_for(browser, "document.readyState === 'complete'")
        wait_for(
            browser, "!window.MathJax?.startup || window.MathJax.startup.promise.then(() => true)"
        )
        faults += [
            f"{page}: {entry}" for entry in browser.get_log("browser") if entry["level"] == "SEVERE"
        ]
        for entry in browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            url = message["params"].get("request", {}).get("url", "")
            if url and not url.startswith((site, "data:", "blob:")):
                faults.append(f"{page} asks for {url}")
            if message["params"].get("response", {}).get("status", 200) >= 400:
                faults.append(f"{page}: {message['params']['response']['url']} failed")
        missing = "[...document.images].filter(i => !i.alt.trim()).map(i => i.src.slice(0, 99))"
        faults += [
            f"{page}: no alt text: {src}" for src in browser.execute_script(f"return {missing}")
        ]
    assert not faults, "\n".join(faults)


def test_the_focal_slider_changes_the_picture_without_a_kernel(site, browser):
    from selenium.webdriver import ActionChains, Keys

    browser.get(site + "recipe/focal_unification.html")
    shown = (
        "[...document.querySelectorAll('.jupyter-widgets img')]"
        ".filter(i => i.offsetParent).map(i => i.alt).join()"
    )
    wait_for(browser, f"({shown}).includes('px')")
    before = browser.execute_script(f"return {shown}")
    handle = browser.find_element("css selector", ".noUi-handle")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", handle)
    ActionChains(browser).click(handle).send_keys(Keys.ARROW_RIGHT).perform()
    wait_for(browser, f"({shown}) !== {json.dumps(before)}")
    assert browser.execute_script(f"return {shown}").count("px") == before.count("px")


def test_a_clicked_pixel_reads_as_pixel_text_writes_it(site, browser):
    from selenium.webdriver import ActionChains

    browser.get(site + "recipe/pixel_reference.html")
    figure = browser.find_element("css selector", ".vlm3-picker")
    picture = figure.find_element("tag name", "img")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    for dx, dy in ((-101, 37), (150, -60)):
        ActionChains(browser).move_to_element_with_offset(picture, dx, dy).click().perform()
        text = figure.find_element("tag name", "figcaption").text
        column, row = map(int, re.search(r"column (\d+), row (\d+)", text).groups())
        size = tuple(int(picture.get_property(f"natural{side}")) for side in ("Width", "Height"))
        assert PixelText().encode((column + 0.5, row + 0.5), size) in text
        assert re.search(r"depth about there: (\d\.\d\d m|unknown)", text)


def test_a_clicked_place_tells_what_was_asked_and_answered_there(site, browser):
    from selenium.webdriver import ActionChains, Keys

    browser.get(site + "tasks/depth.html")
    figure = browser.find_element("css selector", ".vlm3-picker")
    picture = figure.find_element("tag name", "img")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    read = []
    for keys in ("", Keys.ARROW_RIGHT, Keys.ARROW_DOWN):
        ActionChains(browser).move_to_element_with_offset(picture, -101, 37).click().send_keys(
            keys
        ).perform()
        read.append(figure.find_element("tag name", "figcaption").text)
        assert re.search(
            r"question: .*\(\d+, \d+\).*\nanswer: .* m\ntruth: (\d\.\d\d m|unknown)", read[-1]
        )
    assert len(set(read)) == 3
