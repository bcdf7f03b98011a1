"""Predictions on disk, then scores from them alone.

A folder of an evaluation holds config.json, what is asked of whom; predictions-0.jsonl, one for
each process, with a line for each sample: its questions, the answers, and the truth, and its scene
where the source knows it; and scores.json. What is there is not asked again, so an evaluation that
was stopped goes on where it was, with as many processes as one likes.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from vlm3 import disk, mixture, parallel, tasks
from vlm3.mixture import Source
from vlm3.scoring import predictors
from vlm3.scoring.predictors import Predictor
from vlm3.tasks.task import Task
from vlm3.views import QA, Answer, NothingToAsk, Sample

# May change on resume; what lessons say is part of what is asked.
FREE = ("out", "at_once", "progress", "lessons")


@dataclass(frozen=True)
class Evaluation:
    """What is asked of whom.

    Args:
        task: depth, correspondence, pose, objects, or one in a folder of VLM3_TASKS.
        source: a mixture, packaged or a TOML file, whose source of this task is asked about (see
            the guide, Data).
        model: a folder, a hub name, tiny, random:tiny; vllm:NAME uses vLLM. Or who does not look:
            constant; place (depth, correspondence), same_place (correspondence), mean_motion
            (pose), boxes (objects); shuffled:NAME is a model with the images of other samples;
            opencv (correspondence, pose) is classical. Or an expert, see the guide: depthpro,
            depth_anything, unidepth, depthlm (depth); roma, dkm, xfeat (correspondence, pose);
            vggt (the same), da3 (depth, pose); spatialrgpt (objects).
        out: folder for predictions and scores; what is there already is not asked again.
        samples: at most so many, the first ones of the source.
        questions: per sample; 0 leaves it to the source.
        lessons: how the model was taught, where its folder does not say so: a TOML file or a
            taught.json, the folder of your copy of the authors' release, or "words" for a model
            that was taught none.
        seed: of the questions.
        at_once: samples that are answered side by side.
        progress: show a bar.
    """

    task: str = "depth"
    source: str = "homes-test"
    model: str = "tiny"
    out: Path = Path("evaluation")
    samples: int = 200
    questions: int = 0
    lessons: str = ""
    seed: int = 0
    at_once: int = 8
    progress: bool = True

    def __post_init__(self):
        tasks.get(self.task)  # raises for a name that is none
        for name, least in (("samples", 1), ("questions", 0), ("seed", 0), ("at_once", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")


@parallel.alone
def evaluate(
    config: Evaluation, source: Source | None = None, predictor: Predictor | None = None
) -> dict[str, float]:
    """Ask what has not been asked, and score all of it; the same scores for any number of
    processes.

    source, predictor: made in Python, instead of those that the configuration names. Returns the
    task's scores, with the number of `questions`. ValueError where the folder holds an evaluation
    of another configuration, BlockingIOError where another command works in it.
    """
    place = parallel.place()
    source = source or named(config)
    predictor = predictor or predictors.get(config.model, source, config.lessons)
    if parallel.leads():
        described = mixture.Mixture({config.source: predictor.source}).description
        identity = {k: v for k, v in asdict(config).items() if k not in FREE}
        identity |= {"weights": predictor.identity}
        disk.claim(config.out, identity | {"asked": described}, begun=any(_files(config.out)))
    parallel.wait()
    wanted = range(min(config.samples, len(predictor.source.items)))
    left = sorted(set(wanted) - {record["item"] for record in predictions(config.out)})
    parallel.wait()  # before any process writes
    _ask(config, predictor, left[place.process_index :: place.num_processes], place.process_index)
    parallel.wait()
    return _keep_scores(config.out) if parallel.leads() else score(config.out)


def named(config: Evaluation) -> Source:
    """The source of the task in the mixture that the configuration names."""
    sources = mixture.load(config.source).sources
    found = {name: source for name, source in sources.items() if source.task == config.task}
    if len(found) != 1:
        known = ", ".join(f"{name} ({source.task})" for name, source in sources.items())
        raise ValueError(
            f"{config.source} must have one source of {config.task}; its sources are {known}"
        )
    (source,) = found.values()
    return replace(source, questions=config.questions or source.questions)


def samples(source: Source, items: Iterator[int], seed: int) -> Iterator[tuple[int, Sample | None]]:
    """(item, its sample), None where there is nothing to ask about it. The questions depend on seed
    and item alone."""
    for item in items:
        try:
            # Drawn for each item anew, so that questions do not depend on what was asked before.
            yield item, source.sample(item, "", np.random.default_rng([seed, item]))
        except NothingToAsk:
            yield item, None


def _ask(config: Evaluation, predictor: Predictor, items: list[int], rank: int) -> None:
    path = config.out / f"predictions-{rank}.jsonl"
    _mend(path)
    bar = tqdm(total=len(items), disable=not (config.progress and parallel.leads()), unit="sample")
    made = samples(predictor.source, items, config.seed)
    with bar:
        while some := list(islice(made, config.at_once)):
            asked = [sample for _, sample in some if sample]
            answers = iter(predictor.predict(asked))
            said = [(i, s.qas if s else (), next(answers) if s else []) for i, s in some]
            _append(path, [line(*each, predictor.source.scene(each[0])) for each in said])
            bar.update(len(some))


def _append(path: Path, lines: list[str]) -> None:
    with disk.writing(path), path.open("a", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        # What a crash of the machine takes would be missing in scores without a trace.
        os.fsync(file.fileno())


def _mend(path: Path) -> None:
    """Cut off a last line that was being written when its process died."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def line(item: int, qas: Sequence[QA], answers: Sequence[Answer], scene: str | None = None) -> str:
    """A line of a file of predictions; scene: what the item is a part of, where that is known."""
    told = [
        {
            "question": qa.question,
            "kind": qa.kind,
            "about": qa.about,
            "text": a.text,
            "logprob": a.logprob,
            "truth": qa.truth,
        }
        for qa, a in zip(qas, answers, strict=True)
    ]
    known = {} if scene is None else {"scene": scene}
    return json.dumps({"item": item, **known, "answers": told}) + "\n"


def keep(out: Path, config: Mapping, lines: Iterable[str]) -> None:
    """A folder of predictions that somebody else made, scored. FileExistsError where it holds
    something already."""
    disk.demand_empty(out)
    disk.claim(out, config, begun=False)
    disk.write(out / "predictions-0.jsonl", "".join(lines))
    _keep_scores(out)


def _keep_scores(out: Path) -> dict[str, float]:
    scores = score(out)
    disk.write(out / "scores.json", json.dumps(scores, indent=1) + "\n")
    return scores


def _files(out: Path) -> list[Path]:
    return sorted(Path(out).glob("predictions-*.jsonl"))


def predictions(out: str | Path) -> list[dict]:
    """All predictions of a folder, by item: item, scene where it is known, and answers with
    question, kind, about, text, logprob and truth.

    What is there more than once counts once. ValueError, naming the files, for a line that is
    damaged and for lines that contradict each other.
    """
    found: dict[int, tuple[dict, Path]] = {}
    for path in _files(Path(out)):
        for record in disk.jsonl(path, "item", "answers"):
            if not isinstance(item := record["item"], int):
                raise ValueError(f"{path}: item {item!r} is not a whole number")
            first, origin = found.setdefault(item, (record, path))
            if json.dumps(first) != json.dumps(record):  # NaN is itself
                raise ValueError(
                    f"{origin} and {path} hold different answers about item {item}: "
                    "remove the file that does not belong here"
                )
    return [found[item][0] for item in sorted(found)]


def pairs(out: str | Path) -> list[tuple]:
    """(value, truth) of all questions, as the task scores them, from a folder's files alone."""
    return [pair for found in items(out).values() for pair in found]


def items(out: str | Path) -> dict[int, list[tuple]]:
    """The same by item; none for an item of which there was nothing to ask."""
    task = task_of(out)
    return {
        record["item"]: [_read(task, answer, out) for answer in record["answers"]]
        for record in predictions(out)
    }


def scenes(out: str | Path) -> np.ndarray:
    """(items,) by number, which items are of one scene; each is one of its own where its line says
    none, or where all are of one scene."""
    told = [record.get("scene", record["item"]) for record in predictions(out)]
    numbers = {scene: number for number, scene in enumerate(dict.fromkeys(told))}
    return (
        np.array([numbers[scene] for scene in told]) if len(numbers) > 1 else np.arange(len(told))
    )


def _read(task: Task, answer: Mapping, out: str | Path) -> tuple:
    asked = asked_in(answer, out)
    return task.read(asked, answer["text"]), task.truth(asked)


def task_of(out: str | Path) -> Task:
    """The task of a folder of predictions, as it was asked."""
    return _task(config_of(out))


def config_of(out: str | Path) -> dict:
    """What was asked of whom; FileNotFoundError for a folder that says it not."""
    if not (Path(out) / "config.json").is_file():
        raise FileNotFoundError(f"{out}: no config.json: give a folder of vlm3 evaluate --out")
    return json.loads(disk.text(Path(out) / "config.json"))


def _task(config: Mapping) -> Task:
    return tasks.get(config["task"], config["asked"][config["source"]]["templates"])


def asked_in(answer: Mapping, out: str | Path) -> QA:
    """The question of a recorded answer."""
    if "kind" not in answer:
        raise ValueError(
            f"{out}: predictions of an earlier version, which do not say what was asked: "
            "ask again, in another folder"
        )
    about = tuple(map(tuple, answer["about"]))
    return QA(answer["kind"], about, answer["question"], truth=answer["truth"])


def score(out: str | Path) -> dict[str, float]:
    """Scores of a folder's predictions; ValueError where they are not those of all items that are
    asked about."""
    config, found = config_of(out), pairs(out)
    demand_whole(out)
    if not found:
        raise ValueError(f"{out}: the source gave no question")
    return _task(config).score(found) | {"questions": len(found)}


def demand_whole(out: str | Path) -> None:
    """ValueError for a folder whose predictions are not those of all items that are asked about."""
    config = config_of(out)
    wanted = set(range(min(config["samples"], config["asked"][config["source"]]["size"])))
    found = {record["item"] for record in predictions(out)}
    if lacking := sorted(wanted - found):
        raise ValueError(
            f"{out} lacks the predictions of {len(lacking)} of {len(wanted)} samples, such as item "
            f"{lacking[0]}: the `vlm3 evaluate --out {out}` that made it asks for them, run again"
        )
    if foreign := sorted(found - wanted):
        raise ValueError(
            f"{out} holds predictions of {len(foreign)} samples that were not asked for, such as "
            f"item {foreign[0]}: remove the file that does not belong here"
        )


def agrees(
    scores: Mapping[str, float], recorded: Mapping[str, float], tolerances: Mapping[str, float]
) -> None:
    """ValueError, naming the score, where one lies further from its recorded value than its
    tolerance."""
    for name, tolerance in tolerances.items():
        if not abs(scores[name] - recorded[name]) <= tolerance:
            differ = f"{name} is {scores[name]:.4g}, recorded was {recorded[name]:.4g}"
            raise ValueError(
                f"{differ}, allowed: {tolerance}. "
                "Find out what changed, or record it anew, python book/record/scores.py"
            )
