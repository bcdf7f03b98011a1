"""Label files as published with VLM3, DepthLM and SpatialRGPT-Bench, in the files' own words.

A file is one json object, a json list of them, or one a line (`.jsonl`). What an object holds tells
its task:

- depth: `image` or `image_path`; `samples` [{`pixel_coord_normalized_2000`, `depth_meters`}], or
  `pixel_coords`, `depth` and `intrinsics` [fx, fy, cx, cy, W, H]. These files hold no question; see
  `labels`.
- correspondence: `image_1`, `image_2`, `prompt_template` with {x1} and {y1}, `correspondences`
  [{`img1_norm_1000`, `img2_norm_1000`}].
- pose: `image_1`, `image_2`, `qa_pairs` [{`question_id`, `question`, `answer`}],
  `ground_truth_pose`.
- objects: `qa_info` {`category`, `class`}, and `image`, `prompt`, `answer`; or, in the benchmark,
  `image_info` {`file_path`, `width`, `height`}, `text_q`, `conversations` [{`value`}], `bbox`,
  where "Region [k]" and "<mask>" become boxes in words, as VLM3 does.

Columns that were stored as strings are read all the same.
"""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vlm3.geometry import Camera
from vlm3.reference import PixelText
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading.labels import inside, lines, numbers
from vlm3.views import QA, Sample, View

# By question_id: the task's name for it, and the fields that it asks for.
_POSE = {
    "rotation_angle": ("angle", ("rotation_angle_deg",)),
    "euler_natural": ("rotation", ("yaw_deg", "pitch_deg", "roll_deg")),
    "translation_direction": ("direction", ("direction",)),
    "translation_distance": ("distance", ("distance_m",)),
}
_INTRINSICS = "intrinsics_after_focal_normalization_to_1000"


class Labels(NamedTuple):
    """The questions about one image or two; images are read by `sample`, and may be absent before.

    Truths: metres; (x, y) of image 2 in [0, 1000]; a dict of the pose fields asked for, as
    `vlm3.tasks.pose_text` has them; (category, answer, names), which `Objects.truth` of
    `vlm3.tasks.objects` reads. Kinds are as the tasks call them. cameras, sizes (width, height):
    None where not stated.
    """

    task: str
    images: tuple[Path, ...]
    qas: tuple[QA, ...]
    cameras: tuple[Camera | None, ...]
    sizes: tuple[tuple[int, int] | None, ...]

    def sample(self) -> Sample:
        """With the images, resized where their labels state another size of the same shape;
        FileNotFoundError or ValueError for one absent or of another shape."""
        images = list(map(_of_size, self.images, self.sizes))
        return Sample(tuple(map(View, images, self.cameras)), self.qas, self.task, "released")


class Released(Sequence):
    """The labels of a file as samples, whose images are read when they are asked for.

    What a mixture may name as `from = "vlm3.sources.released:Released"`; see `labels`.
    """

    def __init__(self, path: str | Path, root: str | Path | None = None, prompt: str = ""):
        self.labels = labels(path, root, prompt)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return self.labels[index].sample()


def labels(path: str | Path, root: str | Path | None = None, prompt: str = "") -> list[Labels]:
    """All labels of a file.

    root: where the images are, and never outside it; the folder of the file by default. prompt: the
    question of depth files, which hold none: {x} and {y} become the pixel in [0, 2000). Without
    one, whoever asks words it.
    FileNotFoundError or ValueError, naming file and entry, for anything that is not as described
    above.
    """
    path = Path(path)
    root = path.parent if root is None else Path(root)
    found = []
    for where, entry in _entries(path):
        known = [k for key, k in _KINDS.items() if isinstance(entry, dict) and key in entry]
        kind = next(iter(known), None)
        if kind is None:
            raise ValueError(f"{where}: not a json object with one of {', '.join(_KINDS)}")
        with _in(where):
            task, names, qas, cameras = kind(entry, prompt)
            if not qas:
                raise ValueError("no question or point in it")
            sizes = _sizes(entry, cameras)
        images = tuple(inside(root, name, where) for name in names)
        found.append(Labels(task, images, tuple(qas), tuple(cameras), sizes))
    if not found:
        raise ValueError(f"{path}: no labels in it")
    return found


@contextmanager
def _in(where: str) -> Iterator[None]:
    """Whatever a strange entry provokes becomes a ValueError that names it."""
    # RuntimeError holds RecursionError, which a string of brackets provokes
    odd = (ValueError, TypeError, AttributeError, IndexError, ArithmeticError, SyntaxError)
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{where}: {error} is missing") from None
    except (*odd, RuntimeError) as error:
        raise ValueError(f"{where}: {error}") from None


def _entries(path: Path) -> list[tuple[str, object]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such label file")
    where, text = str(path), lines(path)
    try:
        if path.suffix == ".jsonl":
            return [(where := f"{path}:{n}", json.loads(line)) for n, line in enumerate(text, 1)]
        entries = json.loads("\n".join(text))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not json ({error})") from None
    if not isinstance(entries, list):
        return [(where, entries)]
    return [(f"{path}:{n}", entry) for n, entry in enumerate(entries, 1)]


def _depth(entry: dict, prompt: str) -> tuple:
    if "samples" in entry:
        labels = [(s["pixel_coord_normalized_2000"], s["depth_meters"]) for s in entry["samples"]]
        camera = _camera(entry.get(_INTRINSICS), entry.get("image_size"))
    else:
        *four, width, height = _numbers(entry["intrinsics"], 6)
        intrinsics = dict(zip(("fx", "fy", "cx", "cy"), four, strict=True))
        camera = _camera(intrinsics, {"width": width, "height": height})
        points = [_in_2000(pixel, camera) for pixel in entry["pixel_coords"]]
        labels = list(zip(points, entry["depth"], strict=True))
    image = entry["image_path"] if "image_path" in entry else entry["image"]
    return "depth", [image], [_depth_qa(point, depth, prompt) for point, depth in labels], [camera]


def _in_2000(pixel: object, camera: Camera) -> list[int]:
    """A pixel by column and row as VLM3's labels write it."""
    centre = [index + 0.5 for index in _numbers(pixel, 2)]
    written = PixelText(2000, rounding="nearest").encode(centre, camera.size)
    return [int(n) for n in written[1:-1].split(",")]


def _depth_qa(pixel: object, depth_m: object, prompt: str) -> QA:
    x, y = _numbers(pixel, 2)
    (metres,) = _numbers([depth_m], 1)
    if not (0 <= x < 2000 and 0 <= y < 2000) or metres <= 0:
        raise ValueError(
            f"pixel {pixel!r} must lie in [0, 2000) and its depth be positive, got {depth_m!r}"
        )
    question = prompt.replace("{x}", f"{x:.0f}").replace("{y}", f"{y:.0f}")
    return QA("z", ((round(x), round(y)),), question, f"{metres:.2f}", float(metres))


def _correspondence(entry: dict, _: str) -> tuple:
    template, qas = _text(entry["prompt_template"]), []
    for match in entry["correspondences"]:
        (x1, y1), (x2, y2) = (_numbers(match[f"img{k}_norm_1000"], 2) for k in (1, 2))
        if not all(0 <= c <= 1000 for c in (x1, y1, x2, y2)):
            raise ValueError(f"{match!r} is not in [0, 1000]")
        question = template.replace("{x1}", f"{x1:.0f}").replace("{y1}", f"{y1:.0f}")
        about = ((round(x1), round(y1)),)
        qas.append(QA("match", about, question, f"({x2:.0f}, {y2:.0f})", (float(x2), float(y2))))
    return "correspondence", [entry["image_1"], entry["image_2"]], qas, [None, None]


def _pose(entry: dict, _: str) -> tuple:
    stated, qas = entry["ground_truth_pose"], []
    vector = stated["translation_unit_vector"]
    if isinstance(vector, str):
        vector = [float(n) for n in vector.strip(" ()[]").split(",")]
    distance_m = stated.get("translation_distance_m")
    truth = {**stated, "direction": tuple(_numbers(vector, 3)), "distance_m": distance_m}
    for pair in entry["qa_pairs"]:
        if (asked := pair["question_id"]) not in _POSE:
            raise ValueError(f"question_id {asked!r} is none of {', '.join(_POSE)}")
        kind, fields = _POSE[asked]
        values = {field: truth[field] for field in fields}
        if asked != "translation_direction":  # checked above
            _numbers(list(values.values()), len(values))
        question, answer = _text(pair["question"]), _text(pair["answer"])
        qas.append(QA(kind, (), question, answer, values))
    cameras = [
        _camera(entry.get(f"intrinsics_{k}_resized"), entry.get(f"image_{k}_size_resized"))
        for k in (1, 2)
    ]
    return "pose", [entry["image_1"], entry["image_2"]], qas, cameras


def _objects(entry: dict, _: str) -> tuple:
    info = _parsed(entry["qa_info"])
    category, names = _text(info["category"]), tuple(map(_text, info.get("class") or ()))
    camera = _camera(entry.get(_INTRINSICS), entry.get("image_size_resized"))
    plain = "prompt" in entry
    image, turns = (entry["image"], _prompted(entry)) if plain else _benchmark(entry)
    qas = [
        QA(category, _boxes_in(q), _text(q), _text(a), (category, a, names))
        for q, a in zip(turns[::2], turns[1::2], strict=True)
    ]
    return "objects", [image], qas, [camera]


def _prompted(entry: dict) -> list[str]:
    return [_text(entry["prompt"]), _text(entry["answer"])]


def _boxes_in(question: str) -> tuple[tuple[float, ...], ...]:
    # at most four digits: boxes are written in [0, 1000]
    found = re.findall(r"\(([0-9]{1,4}(?:, ?[0-9]{1,4}){3})\)", question)
    return tuple(tuple(map(float, box.split(","))) for box in found)


def _benchmark(entry: dict) -> tuple[str, list[str]]:
    """Image, questions and answers in turn; `text_q` replaces the question where there is one."""
    about = _parsed(entry["image_info"])
    turns = [_text(turn["value"]) for turn in _parsed(entry["conversations"])]
    size, masks = [about["width"], about["height"]], count()
    boxes = [_box_text(box, size) for box in _parsed(entry["bbox"])]
    if len(turns) == 2 and "text_q" in entry:
        turns[0] = _text(entry["text_q"])
    return about["file_path"], [_with_boxes(turn, boxes, masks) for turn in turns]


def _with_boxes(text: str, boxes: list[str], masks: count) -> str:
    """ "Region [k]" as the k-th box in words, "<mask>" as the next one; without "<image>"."""
    text = re.sub("<mask>", lambda _: boxes[next(masks)], text.replace("<image>", "").strip())
    return re.sub(r"Region \[([0-9]{1,4})\]", lambda m: boxes[int(m[1])], text)


def _box_text(box: list, size: list) -> str:
    scaled = zip(_numbers(box, 4), _numbers(size, 2) * 2, strict=True)
    sides = [round(edge / side * 1000) for edge, side in scaled]
    # the far edge of a box at the border would be 1000, one beyond the last bin
    return f"bounding box region ({', '.join(str(min(max(side, 0), 999)) for side in sides)})"


def _sizes(entry: dict, cameras: Sequence[Camera | None]) -> tuple[tuple[int, int] | None, ...]:
    """(width, height) of each image as its question means it."""
    one = entry.get("image_size_resized", entry.get("image_size"))
    stated = [one] if len(cameras) == 1 else [entry.get(f"image_{k}_size_resized") for k in (1, 2)]
    sides = [_numbers([s["width"], s["height"]], 2) if s else None for s in stated]
    pairs = zip(cameras, sides, strict=True)
    return tuple(c.size if c is not None else s and (int(s[0]), int(s[1])) for c, s in pairs)


def _of_size(path: Path, size: tuple[int, int] | None) -> np.ndarray:
    """An image as its label means it; ValueError where it has another shape."""
    image = read_rgb(path)
    height, width = image.shape[:2]
    if size is None or size == (width, height):
        return image
    # Both sides are rounded, by who resized it, to whole pixels.
    if abs(size[0] / width - size[1] / height) > 1 / min(width, height):
        raise ValueError(
            f"{path}: photo is {width}x{height}, its label says {size[0]}x{size[1]}, "
            "which is not of the same shape"
        )
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _camera(intrinsics: dict | None, size: dict | None) -> Camera | None:
    """From {fx, fy, cx, cy}, which count from pixel centres, and {width, height}; None without."""
    if intrinsics is None or size is None:
        return None
    fx, fy, cx, cy = (intrinsics[name] for name in ("fx", "fy", "cx", "cy"))
    return Camera.from_opencv([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], size["width"], size["height"])


def _parsed(value: object) -> object:
    """A nested column, which some copies of the benchmark store as a string."""
    return ast.literal_eval(value) if isinstance(value, str) else value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"expected text, got {value!r}")
    return value


def _numbers(values: object, many: int) -> list:
    if not numbers(values, many):
        raise ValueError(f"expected {many} finite number(s), got {values!r}")
    return values


# The key that tells a file's task, and how it is read.
_KINDS = {
    "samples": _depth,
    "pixel_coords": _depth,
    "correspondences": _correspondence,
    "qa_pairs": _pose,
    "qa_info": _objects,
}
