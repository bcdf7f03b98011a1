"""The build fails loudly, does nothing twice, and knows where the book lives."""

import ast
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.conftest import CHAPTERS, ROOT, run_build

sys.path.insert(0, str(ROOT / "book"))
import build

PLOTTED = ("fig", "ax", "axes")  # every figure has its own, and ends with its cell
PROFILES = sorted(path.stem for path in (ROOT / "book" / "profiles").glob("*.yml"))


def small_book(folder: Path) -> Path:
    """A book of one page and one chapter, for the same script to build."""
    for name in (
        "book/build.py",
        "book/vendor.py",
        "book/vendor.json",
        "book/references.bib",
        "_config.yml",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in ("book/_static", "book/_extra"):
        shutil.copytree(ROOT / name, folder / name)
    write_profile(folder)
    if (ROOT / "_build" / "vendor").exists():
        shutil.copytree(ROOT / "_build" / "vendor", folder / "_build" / "vendor")
    (folder / "vlm3").mkdir()
    (folder / "requirements.lock").touch()
    (folder / "book" / "guide").mkdir()
    (folder / "book" / "intro.md").write_text("# A small book\n\nSee {doc}`chapter`.\n")
    (folder / "book" / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nchapters:\n  - file: chapter\n"
    )
    write_chapter(folder, 'print("fine")')
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A small book, built once, at a place whose name has more than letters; to be copied, not
    changed."""
    folder = small_book(tmp_path_factory.mktemp("ein schönes Buch, 本"))
    assert run_build(folder).returncode == 0
    return folder


def write_profile(root: Path, **chapters: dict) -> None:
    (root / "book" / "profiles").mkdir(exist_ok=True)
    profile = {"profile": "ci", "chapters": chapters}
    (root / "book" / "profiles" / "ci.yml").write_text(yaml.safe_dump(profile))


def write_chapter(root: Path, code: str, prose: str = "# A chapter", own: str = "") -> None:
    parameters = new_code_cell(f'profile: str = "ci"\n{own}', metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = new_notebook(
        cells=[new_markdown_cell(prose), parameters, new_code_cell(code)], metadata=kernel
    )
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


def test_the_page_shows_the_parameters_that_say_what_they_are_and_shows_them_once(book, execute):
    made = nbformat.read(execute(), 4)
    hidden = {
        name: "remove-cell" in cell.metadata.tags
        for cell in made.cells
        for name in cell.metadata.get("tags", [])
    }
    assert not hidden["parameters"]
    assert hidden["injected-parameters"]


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
    colab = (
        "https://colab.research.google.com/github/someone/somewhere/blob/main/book/chapter.ipynb"
    )
    for link in (
        colab,
        "github.com/someone/somewhere/edit/main/book/chapter.ipynb",
        "somewhere/issues/new",
    ):
        assert link in page.read_text()


def test_a_chapter_gets_its_own_part_of_the_profile(book, execute):
    write_chapter(book, "print(profile, rooms)", own="rooms: int = 1")
    write_profile(book, chapter={"rooms": 2})
    assert nbformat.read(execute(), 4).cells[-1].outputs[0].text.strip() == "ci 2"


def test_a_chapter_depends_on_its_own_part_of_the_profile_alone(book, execute):
    chapter = book / "book" / "chapter.ipynb"
    before = build.key_of(chapter, "ci")
    write_profile(book, another={"rooms": 1})
    assert build.key_of(chapter, "ci") == before
    write_profile(book, chapter={"rooms": 1})
    assert build.key_of(chapter, "ci") != before


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"chaptre": {"rooms": 1}}, r"parameters for \['chaptre'\].*correct the name"),
        ({"chapter": {"rooms": 1, "romos": 1}}, r"sets \['romos'\] for book/chapter.ipynb"),
        ({"chapter": {}}, r"leaves out \['rooms'\].*say under `chapters: chapter:`"),
        ({}, r"leaves out \['rooms'\].*say under `chapters: chapter:`"),
    ],
)
def test_a_profile_that_does_not_fit_the_chapters_is_an_error(book, execute, given, complaint):
    write_chapter(book, "print(rooms)", own="rooms: int = 1")
    write_profile(book, **given)
    with pytest.raises(SystemExit, match=complaint):
        build.check_profile("ci", [book / "book" / "chapter.ipynb"])


def test_a_parameter_outside_of_a_chapter_is_an_error(book, execute):
    (book / "book" / "profiles" / "ci.yml").write_text("profile: ci\nrooms: 3\n")
    with pytest.raises(SystemExit, match=r"'rooms': 3.*stand under the chapter"):
        build.check_profile("ci", [])


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_names_itself_and_fits_every_chapter(profile):
    build.check_profile(profile, CHAPTERS)


@pytest.mark.parametrize("path", CHAPTERS, ids=build.name_of)
def test_a_chapter_run_by_hand_computes_what_the_profile_ci_says(path):
    found = papermill.inspect_notebook(str(path))
    by_hand = {name: ast.literal_eval(each["default"]) for name, each in found.items()}
    assert by_hand == yaml.safe_load(build.parameters(path, "ci"))


@pytest.mark.parametrize("path", CHAPTERS, ids=build.name_of)
def test_what_a_profile_computes_stands_in_its_file_and_not_in_cells(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code":
            assert "profile" not in names_read(cell.source), cell.source


def names_read(code: str) -> set[str]:
    found = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)]
    return {name.id for name in found if isinstance(name.ctx, ast.Load)}


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


def test_a_copy_inside_a_repository_of_something_else_is_not_that_repository(book, monkeypatch):
    monkeypatch.delenv("VLM3_REPOSITORY", raising=False)
    monkeypatch.setattr(build, "ROOT", book / "deep" / "copy")
    build.ROOT.mkdir(parents=True)
    remote = "remote.origin.url", "https://github.com/somebody/homework.git"
    for around, found in ((book, None), (book / "deep", None), (build.ROOT, "somebody/homework")):
        subprocess.run(["git", "init", "-q", around], check=True)
        subprocess.run(["git", "-C", around, "config", *remote], check=True)
        assert build.repository() == found


def test_a_worktree_has_the_address_of_its_repository(book, monkeypatch):
    monkeypatch.delenv("VLM3_REPOSITORY", raising=False)
    monkeypatch.setattr(build, "ROOT", book / "of it")
    git = ["git", "-C", str(book), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (
        "init -q",
        "remote add origin git@github.com:a/b.git",
        "commit -q --allow-empty -m first",
    ):
        subprocess.run([*git, *words.split()], check=True)
    subprocess.run([*git, "worktree", "add", "-q", "--detach", build.ROOT], check=True)
    assert build.repository() == "a/b"


@pytest.mark.parametrize("script", [None, "#!/bin/sh\nexit 1\n", "#!/nowhere\n", "not a program"])
def test_without_a_git_that_works_there_is_no_repository(tmp_path, monkeypatch, script):
    if script:
        (tmp_path / "git").write_text(script)
        (tmp_path / "git").chmod(0o755)
    monkeypatch.delenv("VLM3_REPOSITORY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.repository() is None


def test_chapters_run_in_the_python_that_builds_whatever_kernels_others_installed(
    book, execute, monkeypatch
):
    for name, folder in (
        ("JUPYTER_PATH", ""),
        ("JUPYTER_DATA_DIR", ""),
        ("HOME", ".local/share/jupyter"),
    ):
        place = book / name / folder / "kernels" / "python3"
        place.mkdir(parents=True)
        (place / "kernel.json").write_text(
            '{"argv": ["/bin/false"], "display_name": "theirs", "language": "python"}'
        )
        monkeypatch.setenv(name, str(book / name))
    monkeypatch.setattr(build, "BUILD", book / "built here")
    write_chapter(book, "import sys; print(sys.executable)")
    made = nbformat.read(execute(), 4)
    assert made.cells[-1].outputs[0].text.strip() == sys.executable
    assert made.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", CHAPTERS, ids=build.name_of)
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


@pytest.mark.parametrize(
    "path",
    [path for path in CHAPTERS if path.parent.name in ("tasks", "results")],
    ids=build.name_of,
)
def test_a_lesson_and_a_page_of_results_have_at_most_30_code_cells(path):
    cells = nbformat.read(path, 4).cells
    assert sum(cell.cell_type == "code" for cell in cells) <= 30


@pytest.mark.parametrize("path", CHAPTERS, ids=build.name_of)
def test_no_name_means_two_things_in_a_chapter(path):
    bound: Counter = Counter()
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            bound.update(names_bound(ast.parse(cell.source)))
    assert [name for name, n in bound.items() if n > 1 and name not in PLOTTED] == []


def names_bound(code: ast.Module) -> set[str]:
    """What a cell defines or assigns, loops and what is local to functions left out."""
    found, left = set(), list(code.body)
    while left:
        node = left.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            goals = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n for goal in goals for n in ast.walk(goal) if isinstance(n, ast.Name)]
            found |= {n.id for n in names if isinstance(n.ctx, ast.Store)}
        else:
            left += ast.iter_child_nodes(node)
    return found


def test_every_chapter_names_the_same_repository_on_colab_as_the_remote():
    if (found := build.repository()) is None:
        pytest.skip("this checkout has no remote on GitHub, so there is no address to compare with")
    for path in CHAPTERS:
        assert f"github.com/{found}" in path.read_text(), (
            f"make address REPOSITORY={found}, then commit"
        )
