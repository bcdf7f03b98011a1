"""What lmms-eval calls for the tasks in this folder, about the questions that vlm3 wrote here.

Answers are read and scored by vlm3, so that scores are those of `vlm3 evaluate`.
"""

import json
import re
from functools import cache
from pathlib import Path

from PIL import Image

from vlm3 import tasks
from vlm3.views import QA

HERE = Path(__file__).parent


def views(doc: dict) -> list[Image.Image]:
    """The images as they are to be seen: at their focal length, sides multiples of 32."""
    return [Image.open(HERE / name).convert("RGB") for name in doc["images"]]


def question(doc: dict, lmms_eval_specific_kwargs: dict | None = None) -> str:
    """The words; pre_prompt and post_prompt may stand around them."""
    around = lmms_eval_specific_kwargs or {}
    return f"{around.get('pre_prompt', '')}{doc['question']}{around.get('post_prompt', '')}"


def answered(doc: dict, results: list[str]) -> dict[str, dict]:
    """By score: what `scored` needs of one answer, the same for all."""
    task, told = _task(doc["task"]), json.loads(doc["asked"])
    about = tuple(map(tuple, told["about"]))
    qa = QA(told["kind"], about, doc["question"], truth=told["truth"])
    pair = task.read(qa, results[0]), task.truth(qa)
    found = {"task": doc["task"], "place": [doc["item"], doc["number"]], "pair": pair}
    # Not called "score": lmms-eval takes what has this name to be a number.
    return {name: {"metric": name, **found} for name in _metrics(doc["task"])}


def scored(found: list[dict]) -> float:
    """The score of all answers, in the order in which they were asked: several processes bring them
    in another, and a pose is made of answers that follow each other."""
    ordered = sorted(found, key=lambda each: each["place"])
    pairs = [tuple(each["pair"]) for each in ordered]
    return _task(found[0]["task"]).score(pairs)[found[0]["metric"]]


@cache
def _metrics(name: str) -> list[str]:
    """Those that the file of a task names: others would stand in the results without a value."""
    text = (HERE / f"vlm3_{name}.yaml").read_text(encoding="utf-8")
    return re.findall(r"^ *- metric: (\w+)$", text, re.M)


@cache
def _task(name: str) -> tasks.Task:
    """With the templates of the questions here."""
    config = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return tasks.get(name, config["asked"][config["source"]]["templates"])
