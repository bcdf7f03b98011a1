"""Questions of ours for lmms-eval, and its answers as predictions of ours.

lmms-eval 0.7 takes tasks of others from a folder (`--include_path`): a YAML file for each, with
functions in a file beside it. `lmms_eval`, beside this file, is such a folder for four tasks,
without questions; `write` puts a copy beside the questions and views of sources, so that one folder
holds all that an evaluation needs, wherever it is copied to.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path

from PIL import Image

from vlm3 import disk, mixture
from vlm3.mixture import Source
from vlm3.scoring import evaluate
from vlm3.scoring.evaluate import FREE, Evaluation
from vlm3.views import Answer, Sample, View

TASKS = Path(__file__).parent / "lmms_eval"
NAMES = tuple(sorted(path.stem.removeprefix("vlm3_") for path in TASKS.glob("*.yaml")))
# Between these, in pixels, lmms-eval and what it calls leave an image as it is.
LEAST, MOST = 4 * 32**2, 16384 * 32**2


def sources(config: Evaluation) -> dict[str, Source]:
    """By task, those of the mixture that a configuration names for which there is a task of
    lmms-eval. ValueError for a mixture without any."""
    wanted = {source.task for source in mixture.load(config.source).sources.values()}
    if not (names := [name for name in NAMES if name in wanted]):
        raise ValueError(f"{config.source} has no source of {', '.join(NAMES)}")
    return {name: evaluate.named(replace(config, task=name)) for name in names}


def write(found: Mapping[str, Source], config: Evaluation, out: Path) -> dict[str, int]:
    """A folder for `--include_path`; returns the number of questions of each task.

    config: its samples, seed and source say what is asked, as in `vlm3 evaluate`. ValueError for
    views that lmms-eval would change, OSError for a folder that holds something already.
    """
    disk.demand_empty(out)
    counts = {}
    with disk.whole(out) as draft:
        shutil.copytree(TASKS, draft, ignore=shutil.ignore_patterns("__pycache__", "*.yaml"))
        for task, source in found.items():
            shutil.copy(TASKS / f"vlm3_{task}.yaml", draft)
            asked = replace(config, task=task, model="lmms-eval")
            described = mixture.Mixture({config.source: source}).description
            told = {k: v for k, v in asdict(asked).items() if k not in FREE} | {"asked": described}
            disk.write(draft / f"{task}.json", json.dumps(told, indent=1) + "\n")
            docs = list(_docs(source, asked, draft))
            disk.write(draft / f"{task}.jsonl", "".join(json.dumps(doc) + "\n" for doc in docs))
            counts[task] = len(docs)
    return counts


def _docs(source: Source, config: Evaluation, out: Path) -> Iterator[dict]:
    """A document for each question, its views written once."""
    wanted = range(min(config.samples, len(source.items)))
    for item, sample in evaluate.samples(source, iter(wanted), config.seed):
        names = _images(sample, item, out) if sample else []
        for number, qa in enumerate(sample.qas if sample else ()):
            # As text, since truths of one task may have several shapes.
            asked = json.dumps({"kind": qa.kind, "about": qa.about, "truth": qa.truth})
            yield {
                "task": config.task,
                "item": item,
                "number": number,
                "question": qa.question,
                "target": qa.answer,
                "images": names,
                "scene": source.scene(item) or "",
                "asked": asked,
            }


def _images(sample: Sample, item: int, out: Path) -> list[str]:
    (out / "images").mkdir(exist_ok=True)
    names = [f"images/{sample.task}-{item:06}-{k}.png" for k in range(1, len(sample.views) + 1)]
    for view, name in zip(sample.views, names, strict=True):
        _demand_kept(view, item)
        Image.fromarray(view.image).save(out / name)
    return names


def _demand_kept(view: View, item: int) -> None:
    """ValueError for what would be resized, so that its focal length would be another."""
    width, height = view.size
    if not LEAST <= width * height <= MOST or width % 32 or height % 32:
        raise ValueError(
            f"item {item}: {width}x{height} pixels would be resized: lmms-eval leaves images alone "
            f"whose sides are multiples of 32, from {LEAST} to {MOST} pixels; set another focal_px"
        )


def read(folder: Path, samples: Path, out: Path, model: str = "lmms-eval") -> None:
    """A folder of predictions from what `--log_samples` wrote about the questions of a folder that
    `write` made.

    ValueError where the answers are not those of all its questions.
    """
    if not samples.is_file():
        raise FileNotFoundError(f"{samples}: no such file of --log_samples")
    task, said = _task_of(samples), disk.jsonl(samples, "doc_id", "filtered_resps")
    texts = {int(record["doc_id"]): _text(record["filtered_resps"]) for record in said}
    docs = disk.jsonl(folder / f"{task}.jsonl", "item", "question", "asked")
    if missing := sorted(set(range(len(docs))) ^ texts.keys()):
        raise ValueError(
            f"{samples}: answers and questions differ in {len(missing)} of {len(docs)}, such as "
            f"number {missing[0]}: evaluate without --limit, with this folder"
        )
    config = json.loads(disk.text(folder / f"{task}.json"))
    lines = {item: evaluate.line(item, (), ()) for item in range(_size(config))}
    numbered = enumerate(docs)  # the questions about an item stand together
    for item, asked in groupby(numbered, lambda each: each[1]["item"]):
        mine = list(asked)
        qas = [evaluate.asked_in(_answer(doc), folder) for _, doc in mine]
        answers = [Answer(texts[k]) for k, _ in mine]
        lines[item] = evaluate.line(item, qas, answers, mine[0][1]["scene"] or None)
    evaluate.keep(out, config | {"model": model}, lines.values())


def _size(config: Mapping) -> int:
    return min(config["samples"], config["asked"][config["source"]]["size"])


def _task_of(samples: Path) -> str:
    for name in NAMES:
        if samples.stem.endswith(f"_samples_vlm3_{name}"):
            return name
    raise ValueError(f"{samples}: give the file ..._samples_vlm3_TASK.jsonl of --log_samples")


def _answer(doc: Mapping) -> dict:
    return json.loads(doc["asked"]) | {"question": doc["question"]}


def _text(response: object) -> str:
    """lmms-eval has written one answer as text, or in lists."""
    while isinstance(response, list) and response:
        response = response[0]
    return response if isinstance(response, str) else ""
