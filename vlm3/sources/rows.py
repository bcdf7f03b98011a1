"""A view as a row of a table, and back.

Columns, each null where a view does not know it:

- item: its place in the sequence that was packed; the views of one item follow each other.
- scene, frame: names, as readers give them.
- image: JPEG or PNG, a picture to Hugging Face `datasets`.
- camera: fx, fy, cx, cy, width, height in pixels, (0, 0) the outer corner of the top-left one.
- world_from_cam: 4x4; points: (N, 3) u, v, z_m; boxes: the fields of `vlm3.views.Box`.
- depth: PNG of 16 bits, which are those of half floats: z-depth in metres to 0.05 %, 0 where
  unknown. `numpy.asarray(picture).view(numpy.float16)` gives it.
- uv: (N, 2), where the points of a Pair lie in this view.
"""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vlm3.geometry import Camera
from vlm3.sources.reading.extras import need
from vlm3.views import Box, View

if TYPE_CHECKING:
    from datasets import Features

_MOST_M = float(np.finfo(np.float16).max)


def features() -> "Features":
    """The columns, as Hugging Face `datasets` calls them."""
    datasets = need("datasets", "datasets")
    Value, List, image = datasets.Value, datasets.Sequence, datasets.Image()
    number, small = Value("float64"), Value("float32")
    box = dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), number) | {"name": Value("string")}
    box |= dict.fromkeys(("centre_m", "size_m"), List(number, length=3))
    return datasets.Features(
        {
            "item": Value("int64"),
            "scene": Value("string"),
            "frame": Value("string"),
            "image": image,
            "camera": List(number, length=6),
            "world_from_cam": List(List(number, length=4), length=4),
            "points": List(List(small, length=3)),
            "depth": image,
            "boxes": [box],  # in brackets a list of tables; Sequence would turn it inside out
            "uv": List(List(small, length=2)),
        }
    )


def row_of(view: View, quality: int | None, uv: np.ndarray | None = None) -> dict:
    """All columns of a view but item, scene and frame. quality: of its JPEG; None for PNG."""
    camera, pose = view.camera, view.world_from_cam
    return {
        "image": _picture(view.image, quality),
        "camera": [camera.fx, camera.fy, camera.cx, camera.cy, *map(float, camera.size)],
        "world_from_cam": None if pose is None else pose.tolist(),
        "points": None if view.points is None else _inside(view.points, view.size),
        "depth": None if view.depth_m is None else _picture(_bits(view.depth_m), None),
        "boxes": [box._asdict() for box in view.boxes],
        "uv": None if uv is None else _inside(uv, view.size),
    }


def view_of(row: Mapping) -> View:
    """What a row says; ValueError for a picture that is not whole, or of another size."""
    *lens, width, height = row["camera"]
    pose, points = row["world_from_cam"], row["points"]
    return View(
        np.array(_pixels(row["image"])),  # which others may write into
        Camera(*lens, int(width), int(height)),
        None if row["depth"] is None else _depth(_pixels(row["depth"])),
        world_from_cam=None if pose is None else np.array(pose),
        points=None if points is None else np.array(points, float).reshape(-1, 3),
        boxes=tuple(_box(box) for box in row["boxes"] or ()),
    )


def uv_of(row: Mapping) -> np.ndarray:
    """(N, 2) where the points of a Pair lie in this view."""
    return np.array(row["uv"], float).reshape(-1, 2)


def _picture(pixels: np.ndarray, quality: int | None) -> dict:
    file, picture = io.BytesIO(), Image.fromarray(pixels)
    if quality is None:
        picture.save(file, "PNG", compress_level=3)  # 6 takes twice as long for a sixth less
    else:
        picture.save(file, "JPEG", quality=quality)
    return {"bytes": file.getvalue(), "path": None}


def _pixels(picture: Mapping) -> np.ndarray:
    try:
        return np.asarray(Image.open(io.BytesIO(picture["bytes"])))
    except Exception as error:  # on broken files Pillow raises nearly anything
        raise ValueError(f"not a picture that can be read whole ({error})") from None


def _inside(points: np.ndarray, size: tuple[int, int]) -> list:
    """As single floats, the last of which may not round up to the edge of the image."""
    points = points.astype(np.float32)
    edge = np.nextafter(np.array(size, np.float32), np.float32(0))
    points[:, :2] = np.minimum(points[:, :2], edge)
    return points.tolist()


def _bits(depth_m: np.ndarray) -> np.ndarray:
    """HxW uint16, the bits of half floats; they grow with depth, so that PNG finds little to say
    of a smooth one, and hold it to the same share near and far."""
    return np.nan_to_num(np.minimum(depth_m, _MOST_M)).astype(np.float16).view(np.uint16)


def _depth(bits: np.ndarray) -> np.ndarray:
    # Pillow 10.0 and before hand out 16 bits as 32
    depth_m = bits.astype(np.uint16).view(np.float16).astype(np.float32)
    depth_m[bits == 0] = np.nan
    return depth_m


def _box(fields: Mapping) -> Box:
    triples = {name: fields[name] and tuple(fields[name]) for name in ("centre_m", "size_m")}
    return Box(**fields | triples)
