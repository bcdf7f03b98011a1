"""Depth in the files of DepthVLM-Bench, and what its evaluation saves as predictions of ours.

Yu et al. 2026, Zhejiang University and Tencent. A benchmark is one JSON object a line: `image`,
`pixel_coords` (whole pixels of the depth map, [column, row]), `depth` in metres, `original_fx`,
`original_rgb_size`, `original_depth_size`, `canonical_fx`, `canonical_size` ([W, H]), `depth_type`,
`depth_path`, `depth_scale`; as views of ours, it is read by `vlm3.sources.depthlm`. Its evaluation
writes `test_eval_results.jsonl`, a share of right pixels for each image but no answers, and, with
--save_depth_maps, depth_maps/NAME_pred.npy: metres over the image at its canonical size.

Pixels are compared by their centres here. Its evaluation multiplies whole pixels by the ratio of
canonical to photo size instead, so that where depth maps are smaller than photos (ScanNet++ among
them) it looks at other places; scores differ for this reason alone.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vlm3 import disk
from vlm3.geometry import project, rays
from vlm3.mixture import Source
from vlm3.scoring import again, evaluate
from vlm3.sources.depthlm import Depthlm
from vlm3.tasks.task import Task
from vlm3.views import QA, Answer, Sample, View

MAPS = "results/depth_maps"
PER_M = 1000.0  # of depth maps of 16 bits


def write(folder: str | Path, out: Path) -> int:
    """A folder of depth predictions of ours as a benchmark with its results; returns how many
    images it has.

    The views as they were asked about, so that original and canonical focal length and size are the
    same: bench.jsonl, images/ and depth/; and, as an evaluation leaves them, results/depth_maps/
    with the answers where something was asked, 0 elsewhere, and results/test_eval_results.jsonl.
    Labels between pixel centres count as their pixel. ValueError for another task, for
    predictions that are not finished, and where the source cannot be made again.
    """
    source, lines, results = _depth_source(folder), [], []
    disk.demand_empty(out)
    evaluate.demand_whole(folder)
    with disk.whole(out) as draft:
        for name in ("images", "depth", MAPS):
            (draft / name).mkdir(parents=True)
        for item, sample, values in _answered(folder, source):
            name = f"{item:06}.png"
            row = _row(sample, source, name) | {"scene_id": source.scene(item) or str(item)}
            _draw(draft, name, sample.views[0], row["pixel_coords"], values)
            lines.append(row)
            results.append(_result(name, sample.views[0].size, row["depth"], values))
        disk.write(draft / "bench.jsonl", _jsonl(lines))
        disk.write(draft / "results" / "test_eval_results.jsonl", _jsonl(results))
    return len(lines)


def read(maps: Path, like: str | Path, out: Path, model: str = "DepthVLM") -> int:
    """A folder of predictions from depth maps, answering what a folder of ours was asked; returns
    how many answers it has.

    maps: the folder depth_maps, of DepthVLM's evaluation of the label file that the source of like
    reads, or of `write`. An answer is the value of the pixel that holds the labelled place. What
    lacks a map, and values that are not positive, count as not answered. ValueError where there is
    no map at all.
    """
    source, answers, lines = _depth_source(like), 0, []
    for record, sample in _samples(like, source):
        texts = [""] * len(record["answers"])
        if sample and (found := _map(maps, source, record["item"])):
            texts = _texts(*found, source, record["item"], sample)
        answers += sum(map(bool, texts))
        qas = [evaluate.asked_in(answer, like) for answer in record["answers"]]
        said = [Answer(text) for text in texts]
        lines.append(evaluate.line(record["item"], qas, said, record.get("scene")))
    if not answers:
        raise ValueError(f"{maps}: no NAME_pred.npy of an image that {like} was asked about")
    told = evaluate.config_of(like) | {"model": model, "weights": f"depth maps of {maps.name}"}
    evaluate.keep(out, told, lines)
    return answers


def _depth_source(folder: str | Path) -> Source:
    if (name := evaluate.config_of(folder)["task"]) != "depth":
        raise ValueError(f"{folder}: DepthVLM-Bench has depth, not {name}")
    return again.source_of(folder)


def _samples(folder: str | Path, source: Source) -> Iterator[tuple[dict, Sample | None]]:
    for record in evaluate.predictions(folder):
        item = record["item"]
        yield record, again.sample(folder, source, item) if record["answers"] else None


def _answered(
    folder: str | Path, source: Source
) -> Iterator[tuple[int, Sample, list[float | None]]]:
    found = evaluate.items(folder)
    for record, sample in _samples(folder, source):
        if sample:
            yield record["item"], sample, [value for value, _ in found[record["item"]]]


def labelled_place(view: View, task: Task, qa: QA) -> tuple[float, float]:
    """The place (u, v) that a question about depth rounds: of those in its bin the one with this
    very depth."""
    (about,) = qa.about
    middle = task.reference.decode(str(tuple(map(int, about))), view.size)
    if view.points is not None:
        places, z_m = view.points[:, :2], view.points[:, 2]
    else:
        rows, columns = np.nonzero(np.isclose(view.depth_m, qa.truth, rtol=1e-6))
        places = np.column_stack([columns, rows]) + 0.5
        z_m = np.full(len(places), qa.truth)
    right = places[np.isclose(z_m, qa.truth, rtol=1e-6)] if len(places) else places
    if not len(right):
        return middle
    nearest = np.linalg.norm((right - middle) / view.size, axis=1).argmin()
    return tuple(right[nearest].tolist())


def _row(sample: Sample, source: Source, name: str) -> dict:
    view, task = sample.views[0], source.bound
    places = [labelled_place(view, task, qa) for qa in sample.qas]
    size, fx = list(view.size), view.camera.fx
    return {
        "image": f"images/{name}",
        "depth_path": f"depth/{name}",
        "depth_scale": PER_M,
        "original_rgb_size": size,
        "original_depth_size": size,
        "original_fx": fx,
        "canonical_fx": fx,
        "canonical_size": size,
        "pixel_coords": [[int(u), int(v)] for u, v in places],
        "depth": [qa.truth for qa in sample.qas],
        "depth_type": "z_depth" if all(qa.kind == "z" for qa in sample.qas) else "range",
    }


def _draw(
    out: Path, name: str, view: View, pixels: Sequence, values: Sequence[float | None]
) -> None:
    """The image, its true depth in thousandths of metres, and the answers as a map."""
    Image.fromarray(view.image).save(out / "images" / name)
    width, height = view.size
    depth_m = np.full((height, width), np.nan) if view.depth_m is None else view.depth_m.copy()
    if view.points is not None:
        columns, rows = view.points[:, :2].astype(int).T
        depth_m[rows, columns] = view.points[:, 2]
    whole = np.nan_to_num(depth_m * PER_M).round().clip(0, np.iinfo(np.uint16).max)
    Image.fromarray(whole.astype(np.uint16)).save(out / "depth" / name)
    answers = np.zeros((height, width), np.float32)
    for (column, row), value in zip(pixels, values, strict=True):
        answers[row, column] = value or 0.0
    np.save(out / MAPS / _map_name(f"images/{name}"), answers)


def _result(
    name: str, size: tuple[int, int], depth_m: Sequence[float], values: Sequence[float | None]
) -> dict:
    """As its evaluation writes it: delta1 of those answers alone that are positive."""
    good = [(v, t) for v, t in zip(values, depth_m, strict=True) if v is not None and v > 0]
    right = [max(v / t, t / v) < 1.25 for v, t in good]
    return {
        "image_name": f"images/{name}",
        "pred_shape": list(size[::-1]),
        "delta1": float(np.mean(right)) if right else 0.0,
        "n_eval_points": len(depth_m),
        "eval_mode": "sparse_points",
    }


def _map(maps: Path, source: Source, item: int) -> tuple[np.ndarray, bool] | None:
    """(H, W) metres, and whether they lie over the view as it was asked about, or the photo."""
    if (path := maps / _map_name(f"images/{item:06}.png")).is_file():
        return np.load(path, allow_pickle=False), True
    if isinstance(source.items, Depthlm):
        path = maps / _map_name(source.items.photo(item))
        return (np.load(path, allow_pickle=False), False) if path.is_file() else None
    return None


def _map_name(image: str) -> str:
    name = image.lstrip("/").replace("/", "_").replace(".jpg", "").replace(".png", "")
    return f"{name}_pred.npy"


def _texts(
    metres: np.ndarray, of_view: bool, source: Source, item: int, sample: Sample
) -> list[str]:
    view = sample.views[0]
    uv = np.array([labelled_place(view, source.bound, qa) for qa in sample.qas])
    size = view.size
    if not of_view:
        photo = source.items[item]
        uv, size = project(rays(uv, view.camera), photo.camera), photo.size
    height, width = metres.shape
    columns, rows = (uv / size * (width, height)).astype(int).clip(0, [width - 1, height - 1]).T
    return [f"{value:.6f}" if value > 0 else "" for value in metres[rows, columns].tolist()]


def _jsonl(records: Sequence[Mapping]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)
