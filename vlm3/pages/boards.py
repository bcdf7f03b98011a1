"""Score tables as people read them: what `vlm3.scoring.board` found, in words."""

import math
from collections.abc import Mapping

FEW = 0.05  # share of answers below which a mean over what was answered says nothing
NAMED = 2  # kinds of questions that a cell names


def rows(found: Mapping[str, Mapping], decimals: Mapping[str, int]) -> list[dict[str, str]]:
    """A row of texts for each model, for `vlm3.pages.figures.table`.

    found: a `vlm3.scoring.board.table`, or part of one as recorded; decimals: which scores, in
    their order, and how they are written. Behind the scores stands what each model is above the
    best blind answer, with its interval, and to which questions it says one thing.
    """
    best = {
        score: each["than"]
        for row in found.values()
        for score, each in row.get("above_guessing", {}).items()
    }
    told = []
    for name, row in found.items():
        cells = {"model": name} | {s: _score(row, s, d) for s, d in decimals.items()}
        for score, than in best.items():
            above = row["above_guessing"].get(score)
            cells[f"{score}, better than {than} by"] = _above(above, decimals.get(score, 3))
        told.append(cells | {"answered": f"{row['parsed']:.0%}", "one answer": same(row)})
    return told


def _score(row: Mapping, score: str, decimals: int) -> str:
    if row["parsed"] < FEW and score.endswith(("rel", "deg")):
        return "none"
    return f"{row.get(score, math.nan):.{decimals}f}".replace("nan", "none")


def _above(above: Mapping | None, decimals: int) -> str:
    """Such as "+0.21 (+0.18 to +0.24)"."""
    if above is None or above["by"] != above["by"]:
        return ""
    by, low, high = (f"{above[name]:+.{decimals}f}" for name in ("by", "low", "high"))
    return f"{by} ({low} to {high})"


def same(row: Mapping) -> str:
    """What is said to more than half of the questions of a kind, such as "distance: 0.30 m"."""
    said = [(k, each["most"]) for k, each in row.get("collapse", {}).items() if each["collapsed"]]
    if len(said) > NAMED:
        return f"in {len(said)} kinds"
    return "; ".join(f"{kind}: {most}" for kind, most in said)


def spreads(row: Mapping) -> list[dict[str, str]]:
    """A row for each kind of question whose answers are numbers, or of which most are one: how much
    the answers vary beside the truth, the most frequent one, and how many got it."""
    return [
        {
            "quantity": kind.removesuffix("_data").replace("_", " "),
            "spread of answers": _number(each["spread"]),
            "of the truth": _number(each["spread_of_truth"]),
            "most frequent": each["most"],
            "share": f"{each['share']:.0%}",
            "": "one answer" if each["collapsed"] else "",
        }
        for kind, each in row.get("collapse", {}).items()
    ]


def _number(value: float) -> str:
    return f"{value:.3g}".replace("nan", "")
