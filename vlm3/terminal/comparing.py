"""What `vlm3 compare` takes and says."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vlm3 import disk
from vlm3.terminal import shown

if TYPE_CHECKING:
    from vlm3.scoring.compare import Folder

Form = Literal["text", "markdown", "json"]
BLIND = " (blind)"


def compare(
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional],
    scores: tuple[str, ...] = (),
    to: Literal["first", "best"] = "first",
    blind: bool = False,
    form: Form = "text",
    save: Path | None = None,
    pictures: Path | None = None,
    n: int = 6,
    seed: int = 0,
) -> int:
    """Set evaluations side by side, with intervals: a table for each task and data set.

    Args:
        folders: of vlm3 evaluate --out, any number.
        scores: by default the task's headline.
        to: whom the others are held against.
        blind: ask those who do not look, too, where none of the folders is theirs.
        form: of the tables.
        save: write the tables to this file.
        pictures: a folder for pictures of the questions on which the answers differ most.
        n: how many pictures of each table.
        seed: of the resamples behind the intervals.
    """
    from vlm3.scoring import compare

    if not folders:
        raise ValueError("name at least one folder of predictions, of vlm3 evaluate --out")
    if n < 1 or seed < 0:
        raise ValueError(f"--n must be 1 or more, and --seed 0 or more, got {n} and {seed}")
    if pictures and pictures.exists() and not pictures.is_dir():
        raise ValueError(f"--pictures {pictures} is a file: name a folder")
    if save and not save.parent.is_dir():
        raise FileNotFoundError(f"cannot save {save}: there is no folder {save.parent}")
    groups = compare.grouped(compare.opened(folders))
    if blind:
        groups = [compare.with_blind(group) for group in groups]
    tables = [compare.table(group, scores, to, seed) for group in groups]
    if pictures:
        for group, table in zip(groups, tables, strict=True):
            try:
                table["pictures"] = [str(path) for path in _pictures(group, pictures, n)]
            except ValueError as error:  # the numbers need no views
                table["notes"].append(f"no pictures: {error}")
    text = told(tables, form)
    print(text)
    if save:
        disk.write(save, text + "\n")
        if form != "json":  # which others read from here
            print(f"saved {save}")
    return 0


def told(tables: Sequence[Mapping], form: Form) -> str:
    """Tables of `vlm3.scoring.compare.table` in words."""
    if form == "json":
        return json.dumps(_plain(tables), indent=1)
    return "\n\n".join("\n".join(_lines(table, form)) for table in tables)


def _plain(found: object) -> object:
    """For JSON, which has no NaN."""
    if isinstance(found, Mapping):
        return {name: _plain(each) for name, each in found.items()}
    if isinstance(found, list | tuple):
        return [_plain(each) for each in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


def _lines(table: Mapping, form: Form) -> Iterator[str]:
    n, what = table["drawn"]["n"], table["drawn"]["what"]
    drawn = f"in brackets, 95 % of the resamples of {n} {what}"
    title = f"{table['task']}, {table['source']}, {table['samples']} samples; {drawn}"
    yield f"**{title}**\n" if form == "markdown" else title
    yield from (shown.markdown if form == "markdown" else shown.aligned)(_rows(table))
    notes = [*table["notes"], *(f"saved {path}" for path in table.get("pictures", ()))]
    if form == "markdown" and notes:
        yield ""
    yield from (("- " if form == "markdown" else "note: ") + note for note in notes)


def _rows(table: Mapping) -> Iterator[tuple[str, ...]]:
    """A head, and a row for each score of each folder."""
    rows = table["rows"]
    names = list(rows[0]["scores"])
    better = f"better than {'the best' if table['to'] == 'best' else rows[0]['model']} by"
    yield "score", "model", "value", better, "than the best blind by", "answered"
    for name in names:
        for row in rows:
            found = row["scores"][name]
            form = _form(found["value"])
            above = found["above_guessing"]
            yield (
                name,
                row["model"] + BLIND * row["blind"],
                _limits(found["value"], found, form),
                _better(found["better"], form),
                _better(above, form) + (f" ({above['than']})" if above else ""),
                f"{row['answered']:.0%}",
            )


def _form(value: float) -> str:
    """Pixels and degrees to a tenth, shares to a thousandth."""
    return ".1f" if abs(value) >= 10 else ".3f"


def _better(found: Mapping | None, form: str) -> str:
    return _limits(found["by"], found, f"+{form}") if found else "-"


def _limits(value: float, found: Mapping, form: str) -> str:
    if not math.isfinite(value):
        return "none"
    return f"{value:{form}} [{found['low']:{form}}, {found['high']:{form}}]"


def _pictures(group: Sequence["Folder"], folder: Path, n: int) -> Iterator[Path]:
    """Written one by one; ValueError where the views cannot be made again."""
    import matplotlib

    matplotlib.use("Agg")  # no screen
    from vlm3.pages import disagreements
    from vlm3.scoring import again, disagree, evaluate
    from vlm3.terminal.data import write_picture

    found = disagree.voices(group)
    first, source = found[0], again.source_of(found[0].out)
    folder.mkdir(parents=True, exist_ok=True)
    for rank, each in enumerate(disagree.largest(found, n), 1):
        views = again.sample(first.out, source, each.item).views
        (answers,) = (r["answers"] for r in first.records if r["item"] == each.item)
        qa = evaluate.asked_in(answers[each.place], first.out)
        name = f"{first.config['task']}-{first.config['source']}-{rank}-item-{each.item}"
        path = folder / f"{re.sub(r'[^a-zA-Z0-9]+', '-', name).strip('-')}.png"
        title = f"item {each.item} of {first.config['source']}"
        write_picture(disagreements.drawn(views, first.task, qa, each.said, title), path)
        yield path
