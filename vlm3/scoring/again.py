"""What was asked, once more: the samples of an evaluation, from what its folder says of them."""

from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name

import numpy as np

from vlm3.mixture import Source
from vlm3.mixture.files import expanded
from vlm3.scoring import evaluate
from vlm3.views import Sample


def source_of(out: str | Path) -> Source:
    """The source that a folder of predictions was asked about, as it was asked.

    ValueError where that cannot be made again: it was made in Python, or its data are not here.
    """
    config = evaluate.config_of(out)
    told = config["asked"][config["source"]]
    if not told.get("origin", {}).get("from"):
        raise ValueError(
            f"{out}: its source was made in Python, or came with answers of others, so it cannot "
            "be made again from here"
        )
    names = {each.name for each in fields(Source)} & told.keys()
    try:
        arguments = expanded(told["origin"]["arguments"])
        items = resolve_name(told["origin"]["from"])(**arguments)
    except (ImportError, AttributeError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{out}: its source cannot be made again: {error}") from error
    return Source(items, **{name: told[name] for name in names})


def sample(out: str | Path, source: Source, item: int) -> Sample:
    """The views and questions of an item that was asked about.

    ValueError where they are not those of the folder: the data have changed since.
    """
    rng = np.random.default_rng([evaluate.config_of(out)["seed"], item])
    found = source.sample(item, "", rng)
    (told,) = (each["answers"] for each in evaluate.predictions(out) if each["item"] == item)
    if [qa.question for qa in found.qas] != [answer["question"] for answer in told]:
        raise ValueError(f"{out}: its data have changed: item {item} gives other questions now")
    return found
