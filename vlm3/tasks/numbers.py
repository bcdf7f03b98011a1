"""Numbers in answers: each is read with all that belongs to it, or nothing is.

A number counts only where all that touches it is understood. A word behind it that is neither a
unit nor one of a few (`vlm3.tasks.number_words`) is an unknown unit; ranges, tolerances, products,
fractions, bounds and decimal commas make the whole text unreadable. So a value is the one that was
stated, or there is none.

Text is cut into words once, and words are never read twice, so reading takes time linear in its
length.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from vlm3.tasks import numerals
from vlm3.tasks.number_words import HARD, JOINS, NAMES, WITHIN
from vlm3.tasks.numerals import EDGES, IN_BRACKETS, LETTERED, Found, at, core
from vlm3.tasks.text import TUPLE
from vlm3.tasks.units import DEGREES, FOOT_M, INCH_M, MARKS, METRES, UNITS

# The usual answer, a number and its unit, is read at once, without being cut into words.
_PLAIN = re.compile(r"\s?([-+]?[0-9]++(?:\.[0-9]++)?+)(?: ([a-z]++))?+[.,]?\s?")
_OPENS = re.compile(r"""(?:^|[\s(\[{:=])["']""")
# A bare number beside one of these need not be metres.
_NO_LENGTH = re.compile(
    r"\b(?:relative|normali[sz]ed|inverse|disparity|ratio|scale|confidence|score)\b", re.I
)
_LAST_PART = frozenset("_/")


class Measure(NamedTuple):
    """A number and what it counts.

    of: "m" (value in metres), "deg" (in degrees), "" for a bare number, "?" for other units.
    """

    value: float
    of: str


def length_m(text: str) -> float | None:
    """The one positive length that the text states, in metres.

    A bare number counts as metres where no unit is named at all. None where the text states no
    length, one that is not positive and finite, or one of an unknown unit; where a number is part
    of a range or of something larger; and for several that differ by more than 2 per cent (the
    same length in metres and in feet, each rounded, does not).
    """
    if (plain := _PLAIN.fullmatch(text)) and (plain[2] is None or plain[2] in METRES):
        value = float(plain[1]) * METRES.get(plain[2], 1.0)
    else:
        value = stated(measures(text), "m", bare=_NO_LENGTH.search(text) is None)
    return value if value is not None and 0 < value < math.inf else None


def stated(found: Sequence[Measure] | None, of: str, bare: bool) -> float | None:
    """The one value of a quantity, "m" or "deg"; of several that agree to 2 per cent, the first.

    found: as `measures` gives them; bare: whether a number without a unit counts where no unit is
    named at all. None as in `length_m`.
    """
    if not found:
        return None
    values = [m.value for m in found if m.of == of]
    others = [m.value for m in found if m.of == ""]
    if others and (not bare or (not values and len(others) < len(found))):
        return None
    values += others
    # 2 per cent: what rounding one length in two units may make of it
    if not values or max(values) - min(values) > 0.02 * min(map(abs, values)):
        return None
    return values[0] if math.isfinite(values[0]) else None


def measures(text: str) -> list[Measure] | None:
    """All numbers outside brackets of several numbers; None where one is part of something larger.

    Numbers that name something ("image 2", "the 3rd") are left out. Of LaTeX that `plain.said`
    left, nothing is read.
    """
    if "\\" in text:
        return None
    if (plain := _PLAIN.fullmatch(text)) and (plain[2] is None or plain[2] in UNITS):
        of, factor = UNITS.get(plain[2], ("", 1.0))
        return [Measure(float(plain[1]) * factor, of)]
    # a pixel or a box is many numbers and no length; the comma keeps its neighbours apart
    words = TUPLE.sub(" , ", text).lower().split()
    found = _joined(numerals.read(words, quoted=_OPENS.search(text) is not None), words)
    if found and any(n.of == "" for n in found):
        found = _with_unit(found, _units_apart(found, words))
    return found and [Measure(n.value, n.of) for n in found if n.of not in ("label", "word")]


def _joined(found: list[Found] | None, words: list[str]) -> list[Found] | None:
    """Feet and inches made one; None where two numbers are joined to something else."""
    kept: list[Found] = []
    for each in found or ():
        between = words[kept[-1].last + 1 : each.first] if kept else []
        if not kept or _separate(kept[-1], each, between):
            kept.append(each)
            continue
        last, cores = kept[-1], {core(word) for word in between}
        if "label" in (last.of, each.of):
            listed = each.of in ("", "?") and cores & {"and", "or", "to"}  # "images 1 and 2"
            kept.append(each._replace(of="label") if listed else each)
        elif _unit_m(last) == FOOT_M and _is_inches(each) and cores <= {"and"}:
            kept[-1] = _sum(last, each)
        # "1.9 m or 190 cm": two whole statements, which may agree
        elif {last.of, each.of} <= {"m", "deg"} and not cores & HARD:
            kept.append(each)
        else:
            return None
    return found and kept


def _unit_m(each: Found) -> float | None:
    return METRES.get(each.unit, MARKS.get(each.unit))


def _is_inches(each: Found) -> bool:
    """Whether these are inches that may follow feet: fewer than twelve."""
    return _unit_m(each) == INCH_M and 0 <= each.value < FOOT_M


def _sum(feet: Found, inches: Found) -> Found:
    """Both in one, which is no longer in feet, so that no more inches join it."""
    value = feet.value + inches.value
    return feet._replace(last=inches.last, value=value, unit="", close=inches.close)


def _separate(last: Found, each: Found, between: list[str]) -> bool:
    """Whether punctuation or words keep two numbers apart, rather than join them."""
    if not set(".;:!?)]}").isdisjoint(last.close) or not set("([{=:").isdisjoint(each.open):
        return True
    return any(not set("([=;:").isdisjoint(word) or _parts(word) for word in between)


def _parts(word: str) -> bool:
    return core(word) not in JOINS and LETTERED.search(word) is not None


def _with_unit(found: list[Found], units: set[str | None]) -> list[Found] | None:
    """The bare numbers in the unit that is named apart from them.

    None where that unit is unknown, or one of several.
    """
    if not units:
        return found
    # "cm" and "centimetres" are the same unit by two names
    if len({UNITS.get(unit) for unit in units}) > 1 or None in units:
        return None
    of, factor = UNITS[units.pop()]
    return [n._replace(value=n.value * factor, of=of) if n.of == "" else n for n in found]


def _units_apart(found: list[Found], words: list[str]) -> set[str | None]:
    """Units that the words name without a number, as in "depth (cm):"; None for what may be one."""
    taken = {place for n in found for place in range(n.first, n.last + 1)}
    named = {
        _named(words, place, taken)
        for place, word in enumerate(words)
        if place not in taken or not _LAST_PART.isdisjoint(word)  # "distance_cm=190" is one word
    }
    return named - {""}


def _named(words: list[str], place: int, taken: set[int]) -> str | None:
    """The unit that a word names, "" for none, None where it may name one or an unknown one."""
    word, before = words[place], at(words, place - 1)
    bare = word.strip(EDGES + "0123456789+\u2212")
    unit = re.split("[_/]", bare)[-1]
    bracketed, part = IN_BRACKETS.fullmatch(word) is not None, unit != bare
    headed = word[-1] in ":=" or at(words, place + 1) in ("is", "are", "=", ":")
    introduced = before in ("in", "unit", "units") and unit not in WITHIN - METRES.keys()
    shown = part or bracketed or word[-1] in ":="
    # a lone "in" is nearly always the preposition: inches need a sign that they are meant
    if unit == "in" and not (shown or (introduced and (headed or before != "in"))):
        return ""
    if unit in METRES or unit in DEGREES:
        return unit if part or bracketed or headed or introduced or word[0] in "([{\"'" else None
    beside = bracketed and word[0] in "([{" and (headed or place + 1 in taken)
    if beside or (part and unit not in NAMES):
        return None
    ended = headed or word[-1] in ",." or place + 1 == len(words)
    return None if introduced and (ended or before != "in") else ""
