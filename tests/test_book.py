"""The build fails loudly, and the pages work in a browser without a network."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from vlm3 import PixelText

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted(path for path in (ROOT / "book").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
sys.path.insert(0, str(ROOT / "book"))
import build  # noqa: E402


def run_build(root: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, root / "book" / "build.py"],
        capture_output=True,
        text=True,
        env=os.environ | {"VLM3_REPOSITORY": ""} | environment,
    )


@pytest.fixture(scope="module")
def html() -> Path:
    """The rendered book, built now where it is not up to date."""
    pages = ROOT / "_build" / "test"  # apart from the reader's own, which may be of another profile
    done = run_build(ROOT, VLM3_BUILD=str(pages))
    assert done.returncode == 0, done.stdout + done.stderr
    return pages / "html"


def small_book(folder: Path) -> Path:
    """A book of one page and one chapter, for the same script to build."""
    for name in ("book/build.py", "book/vendor.py", "book/vendor.json", "book/references.bib", "_config.yml"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in ("book/profiles", "book/_static", "book/_extra"):
        shutil.copytree(ROOT / name, folder / name)
    if (ROOT / "_build" / "vendor").exists():
        shutil.copytree(ROOT / "_build" / "vendor", folder / "_build" / "vendor")
    (folder / "vlm3").mkdir()
    (folder / "requirements.lock").touch()
    (folder / "book" / "guide").mkdir()
    (folder / "book" / "intro.md").write_text("# A small book\n\nSee {doc}`chapter`.\n")
    (folder / "book" / "_toc.yml").write_text("format: jb-book\nroot: intro\nchapters:\n  - file: chapter\n")
    write_chapter(folder, 'print("fine")')
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A small book, built once; to be copied, not changed."""
    folder = small_book(tmp_path_factory.mktemp("finished"))
    assert run_build(folder).returncode == 0
    return folder


def write_chapter(root: Path, code: str, prose: str = "# A chapter") -> None:
    parameters = new_code_cell('profile: str = "ci"', metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = new_notebook(cells=[new_markdown_cell(prose), parameters, new_code_cell(code)], metadata=kernel)
    nbformat.write(notebook, root / "book" / "chapter.ipynb")


@pytest.fixture
def book(tmp_path) -> Path:
    return small_book(tmp_path)


@pytest.fixture
def execute(book, monkeypatch):
    """The part of the build that executes the chapter of the small book."""
    for name, path in (("ROOT", book), ("BOOK", book / "book"), ("EXECUTED", book / "executed")):
        monkeypatch.setattr(build, name, path)
    return lambda force=False: build.execute(book / "book" / "chapter.ipynb", "ci", force, "1 of 1")


def test_a_failing_cell_fails_the_build_and_shows_its_traceback(book, execute, capfd):
    write_chapter(book, "depth_m = 1 / 0")
    with pytest.raises(SystemExit, match="chapter.ipynb failed"):
        execute()
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_warning_in_a_cell_fails_the_build(book, execute):
    write_chapter(book, 'import warnings\nwarnings.warn("half a pixel off")')
    with pytest.raises(SystemExit, match="half a pixel off"):
        execute()


def test_an_unchanged_chapter_is_not_executed_again_unless_forced(book, execute):
    write_chapter(book, "import time; print(time.time_ns())")
    first = execute().read_text()
    assert execute().read_text() == first
    assert (second := execute(force=True).read_text()) != first
    chapter, before = book / "book" / "chapter.ipynb", nbformat.reads(second, 4).metadata.vlm3.key
    assert build.key_of(chapter, "ci") == before
    (book / "vlm3" / "geometry.py").write_text("# changed")
    assert build.key_of(chapter, "ci") != before


def test_a_missing_reference_fails_the_build_and_keeps_the_last_good_pages(finished, tmp_path):
    book = shutil.copytree(finished, tmp_path / "book")
    page = book / "_build" / "html" / "chapter.html"
    good = page.read_text()
    write_chapter(book, 'print("fine")', "# A chapter\n\nSee {numref}`fig-nowhere`.")
    done = run_build(book)
    assert done.returncode != 0
    assert "fig-nowhere" in done.stdout + done.stderr
    assert page.read_text() == good


def test_buttons_for_a_repository_appear_only_where_there_is_one(finished, tmp_path):
    book = shutil.copytree(finished, tmp_path / "book")
    page = book / "_build" / "html" / "chapter.html"
    assert not re.search(r"colab|github\.com", page.read_text())
    assert run_build(book, VLM3_REPOSITORY="someone/somewhere").returncode == 0
    colab = "https://colab.research.google.com/github/someone/somewhere/blob/main/book/chapter.ipynb"
    for link in (colab, "github.com/someone/somewhere/edit/main/book/chapter.ipynb", "somewhere/issues/new"):
        assert link in page.read_text()


def test_an_unknown_parameter_is_an_error(tmp_path):
    profile = tmp_path / "ci.yml"
    profile.write_text("profile: ci\nfocal_length: 3\n")
    with pytest.raises(SystemExit, match="focal_length"):
        build.check_parameters(CHAPTERS[0], profile)


@pytest.mark.parametrize("profile", sorted((ROOT / "book" / "profiles").glob("*.yml")), ids=lambda path: path.stem)
def test_a_profile_names_itself_and_fits_every_chapter(profile):
    assert yaml.safe_load(profile.read_text())["profile"] == profile.stem
    for chapter in CHAPTERS:
        build.check_parameters(chapter, profile)


@pytest.mark.parametrize(
    ("address", "repository"),
    [
        ("https://github.com/someone/some.where.git", "someone/some.where"),
        ("git@github.com:someone/somewhere.git", "someone/somewhere"),
        ("someone/somewhere", "someone/somewhere"),
        ("https://github.com/someone/somewhere/", "someone/somewhere"),
        ("https://gitlab.example/someone/somewhere.git", None),
        ("", None),
    ],
)
def test_a_github_repository_is_recognised_and_nothing_else(address, repository, monkeypatch):
    monkeypatch.setenv("VLM3_REPOSITORY", address)
    assert build.repository() == repository


def test_the_address_comes_from_the_git_remote(tmp_path, monkeypatch):
    monkeypatch.delenv("VLM3_REPOSITORY", raising=False)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert build.repository() is None
    for address, found in (("https://github.com/a/b.git", "a/b"), ("/somewhere/else", None)):
        subprocess.run(["git", "-C", tmp_path, "config", "remote.origin.url", address], check=True)
        assert build.repository() == found


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_keeps_the_rules_of_the_house(path):
    cells = nbformat.read(path, 4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code), "committed with outputs"
    assert "google.colab" in code[0].source
    assert max(sum(map(bool, cell.source.splitlines())) for cell in code) <= 15
    for cell in code:
        if "plt.show()" in cell.source:
            figure = cell.metadata["mystnb"]
            assert figure["figure"]["caption"]
            assert figure["figure"]["name"].startswith("fig-")
            assert figure["image"]["alt"]


def test_every_chapter_names_the_same_repository_on_colab_as_the_remote():
    if (found := build.repository()) is None:
        pytest.skip("this checkout has no remote on GitHub, so there is no address to compare with")
    for path in CHAPTERS:
        assert f"github.com/{found}" in path.read_text(), f"make address REPOSITORY={found}, then commit"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(html):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no Chromium and chromedriver on the PATH: the pages are not opened in a browser")
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
                 "disable-component-update", "disable-sync", "disable-quic", "window-size=1280,1000"):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options=options, service=ChromeService(driver))
    yield chrome
    chrome.quit()


def wait_for(browser, condition: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30).until(lambda b: b.execute_script(f"return {condition}"), condition)


def test_every_page_works_offline_without_an_error_and_with_alt_texts(html, site, browser):
    pages = [str(path.relative_to(html)) for path in sorted(html.rglob("*.html"))]
    pages = [page for page in pages if not page.startswith("_static/")]  # templates of the theme
    assert {"intro.html", *(f"{path.parent.name}/{path.stem}.html" for path in CHAPTERS)} <= set(pages)
    faults = []
    for page in pages:
        browser.get(site + page)
        wait_for(browser, "document.readyState === 'complete'")
        wait_for(browser, "!window.MathJax?.startup || window.MathJax.startup.promise.then(() => true)")
        faults += [f"{page}: {entry}" for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        for entry in browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            url = message["params"].get("request", {}).get("url", "")
            if url and not url.startswith((site, "data:", "blob:")):
                faults.append(f"{page} asks for {url}")
            if message["params"].get("response", {}).get("status", 200) >= 400:
                faults.append(f"{page}: {message['params']['response']['url']} failed")
        missing = "[...document.images].filter(i => !i.alt.trim()).map(i => i.src.slice(0, 99))"
        faults += [f"{page}: no alt text: {src}" for src in browser.execute_script(f"return {missing}")]
    assert not faults, "\n".join(faults)


def test_the_focal_slider_changes_the_picture_without_a_kernel(site, browser):
    from selenium.webdriver import ActionChains, Keys

    browser.get(site + "recipe/focal_unification.html")
    shown = "[...document.querySelectorAll('.jupyter-widgets img')].filter(i => i.offsetParent).map(i => i.alt).join()"
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
