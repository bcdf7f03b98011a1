"""What several tests share: a small random model, small images, random cameras, an iBims-1 folder
of one photo."""

import json
import os
import subprocess
import sys
from pathlib import Path

from vlm3.qwen import architecture

os.environ.setdefault(
    "CUDA_VISIBLE_DEVICES", ""
)  # the same tests everywhere; with "0" they run on a GPU

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vlm3.focal import unify_pair
from vlm3.geometry import Camera
from vlm3.qwen import model
from vlm3.sources import photos
from vlm3.sources.ibims import Ibims
from vlm3.tasks.task import Task
from vlm3.views import QA

settings.register_profile("stable", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("stable")
torch.set_num_threads(1)  # tests run side by side, and many start processes of their own

QUESTION = (
    "What is the depth of the surface seen at pixel (812, 1033), in metres along the optical axis?"
)
ROOT = Path(__file__).parent.parent
CHAPTERS = sorted(
    path for path in (ROOT / "book").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
)
SMALL = dict(
    text={"num_hidden_layers": 4},
    vision={"depth": 3, "deepstack_visual_indexes": [1, 2], "spatial_merge_size": 2},
)


@pytest.fixture(scope="session")
def vlm():
    return model.new(model.config("tiny", **SMALL), seed=1)


@pytest.fixture(scope="session")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in ((64, 96, 3), (96, 32, 3))]


def says(task: Task, text: str) -> object:
    """What a text says to whatever question of a task, None for nothing."""
    return task.read(QA("", (), ""), text)


def image_settings() -> dict:
    """What transformers' image processor needs to do what `patches.patches` does."""
    return {
        key: value
        for key, value in architecture.PREPROCESSING.items()
        if not key.endswith(("_type", "_class"))
    }


def cameras(lowest_px: float = 20, highest_px: float = 4000) -> st.SearchStrategy[Camera]:
    """Small cameras with fx != fy and a principal point anywhere in the image or near it."""
    focal_px, principal, side = (
        st.floats(lowest_px, highest_px),
        st.floats(-20, 120),
        st.integers(8, 96),
    )
    return st.builds(Camera, focal_px, focal_px, principal, principal, side, side)


def position_image(width: int, height: int) -> np.ndarray:
    """HxWx3 uint8 whose colour names the place: red rises by 4 a column, green by 5 a row. Up to
    60x48."""
    rows, columns = np.indices((height, width))
    return np.stack([8 + 4 * columns, 8 + 5 * rows, np.full_like(rows, 90)], -1).astype(np.uint8)


def upside(image: np.ndarray, orientation: int) -> np.ndarray:
    """The file's pixels of an upright image: EXIF names the visual side of its first row and first
    column."""
    return {
        1: image,  # top, left
        2: image[:, ::-1],  # top, right
        3: image[::-1, ::-1],  # bottom, right
        4: image[::-1],  # bottom, left
        5: image.swapaxes(0, 1),  # left, top
        6: image[:, ::-1].swapaxes(0, 1),  # right, top
        7: image[::-1, ::-1].swapaxes(0, 1),  # right, bottom
        8: image[::-1].swapaxes(0, 1),  # left, bottom
    }[orientation]


SHOT = {
    "f35": 0xA405,
    "width": 0xA002,
    "height": 0xA003,
    "focal_mm": 0x920A,
    "x": 0xA20E,
    "y": 0xA20F,
    "unit": 0xA210,
    "zoom": 0xA404,
    "rendered": 0xA401,
}
FIRST = {"make": 0x010F, "model": 0x0110, "software": 0x0131}


def photo_file(
    path: Path, image: np.ndarray, orientation: object = 1, xmp: str = "", **values: object
) -> Path:
    """A photo whose EXIF holds these values, named as in SHOT and FIRST; JPEG at its best, WebP
    without loss."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x8769] = {SHOT[key]: value for key, value in values.items() if key in SHOT}
    exif.update({FIRST[key]: value for key, value in values.items() if key in FIRST})
    kind = {".webp": {"lossless": True}, ".jpg": {"quality": 100, "subsampling": 0}}.get(
        path.suffix, {}
    )
    more = {"xmp": xmp.encode()} if xmp else {}
    if xmp and path.suffix == ".png":
        more = {"pnginfo": PngInfo()}
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp)
    Image.fromarray(np.ascontiguousarray(image)).save(path, exif=exif.tobytes(), **kind, **more)
    return path


IBIMS_LABEL = {
    "image": "rgb/room.png",
    "intrinsics": [9.0, 9.5, 4.0, 3.0, 8, 6],
    "pixel_coords": [[1, 2], [7, 5]],
    "depth": [1.5, 2.25],
}


def ibims(folder: Path, *lines: dict | str | bytes) -> Ibims:
    """Ibims of a folder with one 8x6 photo and these label lines, IBIMS_LABEL by default."""
    (folder / "rgb").mkdir(exist_ok=True)
    Image.fromarray(position_image(8, 6)).save(folder / "rgb" / "room.png")
    raw = [json.dumps(line) if isinstance(line, dict) else line for line in lines or [IBIMS_LABEL]]
    raw = [line if isinstance(line, bytes) else line.encode() for line in raw]
    (folder / "ibims1_val.jsonl").write_bytes(b"\n".join(raw))
    return Ibims(folder)


@pytest.fixture(autouse=True)
def figures_are_closed():
    """No test finds the figures of another."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def motorcycle():
    return unify_pair(photos.motorcycle())


@pytest.fixture(scope="session")
def ibims_views():
    """The real iBims-1, which may not be packaged: from VLM3_IBIMS1, or from shared data beside the
    checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "ibims1"
    if "VLM3_IBIMS1" not in os.environ and not beside.is_dir():
        pytest.skip(
            "set VLM3_IBIMS1 to the folder that holds ibims1_val.jsonl and the photos of iBims-1"
        )
    return Ibims(os.environ.get("VLM3_IBIMS1", beside))


def run_build(root: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, root / "book" / "build.py"],
        capture_output=True,
        text=True,
        env=os.environ | {"VLM3_REPOSITORY": ""} | environment,
    )
