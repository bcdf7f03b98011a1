"""Build the book: execute every chapter with papermill, then render the executed copies with
Jupyter Book.

    python book/build.py [--profile ci|cpu|gpu] [--force]

A chapter is executed again only when it, `vlm3/`, its part of the profile, a recorded result or
the lock has changed. The book is rendered only when all chapters are clean, and replaces the old
one only when it has no warning.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import papermill
import psutil
import yaml
from ipykernel.kernelspec import get_kernel_dict
from vendor import vendor

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
BUILD = Path(os.environ.get("VLM3_BUILD", ROOT / "_build"))  # where pages are made
HTML = BUILD / "html"
EXECUTED = ROOT / "_build" / "executed"  # what chapters gave, for whatever pages
CORES = os.cpu_count() or 1
PAIRS = (
    CORES > 1 and psutil.virtual_memory().total > 8e9
)  # whether two chapters can be executed side by side
UNKNOWN = "-OWNER-/vlm3"  # no account on GitHub begins with a hyphen


def main() -> None:
    profiles = sorted(path.stem for path in (BOOK / "profiles").glob("*.yml"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="ci", choices=profiles)
    parser.add_argument("--force", action="store_true", help="execute all chapters, changed or not")
    args = parser.parse_args()
    chapters = sorted(
        path for path in BOOK.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
    )
    check_profile(args.profile, chapters)
    executed = execute_all(chapters, args.profile, args.force)
    render(chapters, executed)
    print(f"read it: {os.path.relpath(HTML / 'index.html')}")


def name_of(chapter: Path) -> str:
    """What `_toc.yml` and profiles call a chapter."""
    return chapter.relative_to(BOOK).with_suffix("").as_posix()


def profile_file(profile: str) -> Path:
    return BOOK / "profiles" / f"{profile}.yml"


def chapters_of(profile: str) -> dict[str, dict]:
    """The parameters that a profile gives to chapters, by the names of these."""
    read = yaml.safe_load(profile_file(profile).read_text()) or {}
    if read.get("profile") != profile or set(read) - {"profile", "chapters"}:
        fail(
            f"{profile}.yml says {read}, but may only hold `profile: {profile}` and `chapters:`; "
            "parameters stand under the chapter that they are for"
        )
    return {name: given or {} for name, given in (read.get("chapters") or {}).items()}


def parameters(chapter: Path, profile: str) -> str:
    """What papermill gives to a chapter, as YAML: the profile's name and the chapter's own part."""
    own = chapters_of(profile).get(name_of(chapter), {})
    return yaml.safe_dump(own | {"profile": profile})


def check_profile(profile: str, chapters: list[Path]) -> None:
    """The profile is for these chapters and gives each of them all that it asks for."""
    unknown = chapters_of(profile).keys() - {name_of(chapter) for chapter in chapters}
    if unknown:
        fail(
            f"{profile}.yml has parameters for {sorted(unknown)}, but there is no such chapter, "
            f"only {[name_of(chapter) for chapter in chapters]}; correct the name or take it out"
        )
    for chapter in chapters:
        check_parameters(chapter, profile)


def check_parameters(chapter: Path, profile: str) -> None:
    """papermill only logs a parameter that a chapter does not have, and leaves one that it is not
    given at what the notebook says; here both end the build."""
    known = set(papermill.inspect_notebook(str(chapter)))
    given = set(yaml.safe_load(parameters(chapter, profile)))
    where = f"book/{chapter.relative_to(BOOK)}"
    if unknown := given - known:
        fail(
            f"{profile}.yml sets {sorted(unknown)} for {where}, which has only {sorted(known)}; "
            "add it to the cell tagged 'parameters' or take it out of the profile"
        )
    if missing := known - given:
        fail(
            f"{profile}.yml leaves out {sorted(missing)}, which {where} has as parameters; "
            f"say under `chapters: {name_of(chapter)}:` what this profile computes"
        )


def key_of(chapter: Path, profile: str) -> str:
    """A digest of everything that the outputs of a chapter depend on."""
    inputs = [
        chapter,
        ROOT / "requirements.lock",
        *files(ROOT / "vlm3"),
        *files(BOOK / "recorded"),
    ]
    return digest(inputs, parameters(chapter, profile))


def digest(paths: list[Path], *words: str) -> str:
    state = hashlib.sha256("\0".join(words).encode())
    for path in paths:
        state.update(
            f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest()
        )
    return state.hexdigest()


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def execute_all(chapters: list[Path], profile: str, force: bool) -> list[Path]:
    """The executed copies, made two at a time where the machine can; after the first that fails no
    other is begun."""
    places = [f"{n} of {len(chapters)}" for n in range(1, len(chapters) + 1)]
    with ThreadPoolExecutor(2 if PAIRS and profile != "gpu" else 1) as pool:
        made = [
            pool.submit(execute, c, profile, force, place)
            for c, place in zip(chapters, places, strict=True)
        ]
        try:
            return [each.result() for each in made]
        finally:
            pool.shutdown(cancel_futures=True)


def execute(chapter: Path, profile: str, force: bool, place: str) -> Path:
    """The executed copy of a chapter, made now or found unchanged."""
    name = chapter.relative_to(BOOK)
    target = EXECUTED / profile / name
    key = key_of(chapter, profile)
    if (
        not force
        and target.exists()
        and nbformat.read(target, 4).metadata.get("vlm3", {}).get("key") == key
    ):
        print(f"{name} ({place}): unchanged", flush=True)
        return target
    print(f"{name} ({place}): executing ...", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".draft.ipynb")
    seconds, memory_mb = run_papermill(chapter, draft, profile)
    notebook = nbformat.read(draft, 4)
    check_outputs(notebook, draft)
    if profile == "ci":
        show_defaults(notebook)
    notebook.metadata.pop("papermill", None)
    notebook.metadata["vlm3"] = {
        "key": key,
        "profile": profile,
        "seconds": seconds,
        "memory_mb": memory_mb,
        "date": now(),
    }
    nbformat.write(notebook, draft)
    draft.replace(target)
    print(f"{name} ({place}): {seconds:.0f} s, {memory_mb} MB", flush=True)
    return target


def run_papermill(chapter: Path, target: Path, profile: str) -> tuple[float, int]:
    """Execute in a fresh kernel. Returns wall time in seconds and peak memory of its processes in
    MB."""
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(chapter),
        str(target),
        "-y",
        parameters(chapter, profile),
        "-k",
        "python3",
        "--cwd",
        str(chapter.parent),
        "--log-level",
        "ERROR",
    ]
    command += ["--progress-bar" if sys.stderr.isatty() else "--no-progress-bar"]
    environment = os.environ | {
        "PYTHONHASHSEED": "0",
        "IPYTHONDIR": str(ipython_folder()),
        "JUPYTER_PATH": os.pathsep.join(
            filter(None, [str(kernel_folder()), os.environ.get("JUPYTER_PATH")])
        ),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(CORES // (1 + PAIRS))),
    }
    if profile != "gpu":
        environment["HF_HUB_OFFLINE"] = "1"
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        fail(
            f"{chapter.relative_to(ROOT)} failed, see the traceback above; "
            f"the notebook up to there is {target}"
        )
    return time.monotonic() - start, usage.ru_maxrss // (
        1024**2 if sys.platform == "darwin" else 1024
    )


def ipython_folder() -> Path:
    """A configuration of IPython for the build, so that nobody's own leaks into the book."""
    config = BUILD / "ipython" / "profile_default" / "ipython_kernel_config.py"
    put(
        config,
        "c.IPKernelApp.log_level = 40  "
        "# of no interest: the kernel talks over TCP on this machine\n",
    )
    return BUILD / "ipython"


def kernel_folder() -> Path:
    """Where Jupyter first looks for the kernel "python3": the Python that runs the build, whatever
    is installed."""
    put(BUILD / "jupyter" / "kernels" / "python3" / "kernel.json", json.dumps(get_kernel_dict()))
    return BUILD / "jupyter"


def put(path: Path, text: str) -> None:
    """A file that another chapter's kernel may be reading: there in full at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{threading.get_ident()}")
    draft.write_text(text)
    draft.replace(path)


def check_outputs(notebook: nbformat.NotebookNode, path: Path) -> None:
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error" or output.get("name") == "stderr":
                what = output.get("text") or "\n".join(output.get("traceback", []))
                fail(
                    f"{path}, cell {index} wrote a warning or an error:\n{cell.source}\n--\n{what}"
                )


def show_defaults(notebook: nbformat.NotebookNode) -> None:
    """The chapter's own parameters, which say what they are, instead of papermill's copy."""
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags:
            cell.metadata["tags"] = [tag for tag in tags if tag != "remove-cell"]
        if "injected-parameters" in tags:
            cell.metadata["tags"] = [*tags, "remove-cell"]


def render(chapters: list[Path], executed: list[Path]) -> None:
    """Jupyter Book over the prose and the executed chapters, into _build/html."""
    source = assemble(chapters, executed)
    config = BUILD / "_config.yml"
    config.write_text(yaml.safe_dump(configuration(repository()), sort_keys=False))
    key = digest([config, *files(source)], *sorted(map(str, files(source))))
    stamp = BUILD / "html.key"
    if HTML.exists() and stamp.exists() and stamp.read_text() == key:
        print("pages: unchanged", flush=True)
        return
    stamp.unlink(missing_ok=True)
    draft = BUILD / "render"
    shutil.rmtree(draft, ignore_errors=True)
    command = [
        "jupyter-book",
        "build",
        str(source),
        "--config",
        str(config),
        "--toc",
        str(source / "_toc.yml"),
        "--path-output",
        str(draft),
        "-W",
        "-n",
        "--keep-going",
        "-q",
    ]
    print("pages: rendering ...", flush=True)
    done = subprocess.run(
        [Path(sys.executable).parent / command[0], *command[1:]], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        fail(
            f"{done.stdout}\nthe book has warnings or errors, see above; "
            "the last good one is still in _build/html"
        )
    shutil.rmtree(HTML, ignore_errors=True)
    (draft / "_build" / "html").rename(HTML)
    stamp.write_text(key)


def assemble(chapters: list[Path], executed: list[Path]) -> Path:
    """All that Jupyter Book reads, in one folder: prose as it is, chapters as executed, scripts of
    others."""
    source = BUILD / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(
        BOOK,
        source,
        ignore=shutil.ignore_patterns(
            "*.ipynb", "*.py", "recorded", "profiles", "__pycache__", ".*"
        ),
    )
    rows = [
        "| chapter | profile | executed | wall time (s) | peak memory (MB) |",
        "|---|---|---|--:|--:|",
    ]
    for chapter, path in zip(chapters, executed, strict=True):
        name = chapter.relative_to(BOOK)
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text()
        run = json.loads(text)["metadata"]["vlm3"]
        rows.append(
            f"| [](../{name}) | {run['profile']} | {run['date']} "
            f"| {run['seconds']:.0f} | {run['memory_mb']} |"
        )
        target.write_text(text.replace(UNKNOWN, repository() or UNKNOWN))
        save_glued_pictures(nbformat.reads(text, 4), source / "_glued")
    (source / "guide" / "_runs.md").write_text("\n".join(rows) + "\n")
    if (BOOK / "recorded").exists():  # tables link to what they show
        shutil.copytree(BOOK / "recorded", source / "_extra" / "recorded")
    shutil.copytree(
        vendor(BOOK / "vendor.json", BUILD / "vendor"),
        source / "_extra" / "_static" / "vendor",
    )
    return source


def save_glued_pictures(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Figures that a chapter glued, as files, so that prose pages can show them too."""
    folder.mkdir(exist_ok=True)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        name = output.get("metadata", {}).get("scrapbook", {}).get("name")
        picture = output.get("data", {}).get("application/papermill.record/image/png")
        if name and picture:
            (folder / f"{name}.png").write_bytes(base64.b64decode(picture))


def repository() -> str | None:
    """owner/name on GitHub, from VLM3_REPOSITORY or the remote called origin; None for anything
    else."""
    address = os.environ.get("VLM3_REPOSITORY")
    if address is None:
        inside = git(
            "rev-parse", "--show-prefix"
        )  # where the book lies in a repository, which may be of other things
        address = git("remote", "get-url", "origin") or "" if inside == "" else ""
    found = re.fullmatch(r"(?:.*github\.com[:/])?([\w.-]+/[\w.-]+?)(?:\.git)?/?", address)
    on_github = "github.com" in address or "VLM3_REPOSITORY" in os.environ
    return found[1] if found and on_github else None


def git(*words: str) -> str | None:
    """What git says of the book's folder; None where there is no git, or it knows nothing."""
    try:
        asked = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return os.fsdecode(asked.stdout).strip()


def configuration(repository: str | None) -> dict:
    """_config.yml, with launch, edit and issue buttons where there is a repository for them."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    if repository:
        config["repository"] = {
            "url": f"https://github.com/{repository}",
            "path_to_book": "book",
            "branch": "main",
        }
        config["launch_buttons"] = {"colab_url": "https://colab.research.google.com"}
        config["html"] |= {
            f"use_{name}_button": True for name in ("repository", "issues", "edit_page")
        }
    return config


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def fail(message: str) -> None:
    sys.exit(f"\nbuild.py: {message}")


if __name__ == "__main__":
    main()
