"""The numbers of an answer one by one, each with the unit and the punctuation that belong to it.

Text comes cut into words, lower case. A word that holds a digit must be one number, with a unit or
without, or nothing is read. No pattern ever gives back what it took, or else it is bounded, so
reading takes time linear in the length of the text.
"""

import math
import re
from typing import NamedTuple

from vlm3.tasks.number_words import (
    AFTER_INCHES,
    BOUNDS,
    FOLLOWING,
    HARMLESS,
    JOINS,
    LABELS,
    SPOKEN,
    WITHIN,
)
from vlm3.tasks.text import number
from vlm3.tasks.units import FOOT_M, INCH_M, MARKS, METRES, UNITS

_NUMERAL = re.compile(
    # one name may touch it, as in "(z=1.9)"
    r"""(?P<open>[("'\[{:]*+(?:[^\W\d]++["')\]]*+[=:])?+[("'\[{=]*+)[~\u2248\u223c\u2243\u2245]?+"""
    # commas between whole groups of three only, so that "3,5" and "3.500,5" match nothing
    r"(?P<number>[-+\u2212]?+(?>(?:[0-9]{1,3}+(?:,[0-9]{3})++|[0-9]++(?:\.[0-9]++)?+)|\.[0-9]++))"
    r"""(?:-?(?P<letters>[^\W\d_]++)|(?P<mark>''?+|["%\u00b0]))?+"""
    r"""(?P<close>[)\]}"'.,;:!?\u2026\u3002]*+)"""
)
_FEET = re.compile(
    r"""([("\[]*+)([0-9]{1,2})(?:'|ft|feet)-?"""
    r"""([0-9]{1,2}(?:\.[0-9]++)?+)(?:''|"|in)?+([)\].,;:!?]*+)"""
)
_LABEL = re.compile(
    r"\W{0,9}(?:"
    r"(?!x[0-9])[^\W\d_]{1,20}[0-9]{1,9}"  # "chair3", but "x3" may be a product
    r"|#[0-9]{1,9}|[0-9]{1,9}(?:st|nd|rd|th)|[23]d)\W{0,9}"
)
_NAMED_AXIS = re.compile(r"\W{0,3}[xyuv][=:]")
_DIGIT = re.compile("[0-9]")
LETTERED = re.compile(r"[^\W_]")
IN_BRACKETS = re.compile(r"""[(\[{"'][^\W\d_]++[)\]}"':=.,;!?]{1,6}""")
EDGES = "()[]{}\"'.,;:!?\u2026\u3002=~\u2248*-\u2013\u2014|"


class Found(NamedTuple):
    """A number in the words from first to last, with the punctuation around it.

    of: as in `vlm3.tasks.numbers.Measure`, or "label", or "word" for one in letters that counts
    nothing known.
    """

    first: int
    last: int
    value: float
    of: str
    unit: str = ""
    open: str = ""
    close: str = ""


def read(words: list[str], quoted: bool) -> list[Found] | None:
    """All numbers, None where one is not understood.

    quoted: whether the text opens quotation marks, so that a mark may close one instead of naming
    feet or inches.
    """
    found: list[Found] = []
    for place, word in enumerate(words):
        if found and place <= found[-1].last:
            continue  # its unit has been read with it
        if _DIGIT.search(word):
            each = _numeral(words, place, quoted)
        elif (bare := core(word)) in SPOKEN:
            each = _spoken(words, place, SPOKEN[bare])
        else:
            continue
        if each is None:
            return None
        found.append(each)
    return found


def core(word: str) -> str:
    """A word without punctuation around it, or the punctuation that it is."""
    return word.strip(EDGES) or word


def at(words: list[str], place: int) -> str:
    """The core of the word at a place, "" beyond either end."""
    return core(words[place]) if 0 <= place < len(words) else ""


def _numeral(words: list[str], place: int, quoted: bool) -> Found | None:
    """The number that a word holds; None for a word that holds more than that and its unit."""
    word, before = words[place], at(words, place - 1)
    if _NAMED_AXIS.match(word) or _LABEL.fullmatch(word):
        return Found(place, place, math.nan, "label")
    if feet := _FEET.fullmatch(word):
        return _feet_and_inches(feet, words, place)
    match = _NUMERAL.fullmatch(word.removesuffix("'s") if before in LABELS else word)
    if match is None or _bound(words, place):
        return None
    unit, last, close = match["letters"] or match["mark"] or "", place, match["close"]
    if unit in MARKS and any(mark in match["open"] for mark in "\"'"):
        unit, close = "", unit + close  # 6" is inches, "6" is in quotation marks
    elif unit in MARKS and quoted:
        return None
    if not unit and not close.strip("()[]{}\"'"):
        unit, last = _unit_after(words, place)
        close = _closing(words[last]) if last > place else close
    elif unit and at(words, place + 1) in ("per", "squared", "cubed"):
        unit = "?"
    of, factor = ("", 1.0) if not unit else UNITS.get(unit, ("?", 1.0))
    if of in ("", "?") and before in LABELS:
        return Found(place, place, math.nan, "label")
    # "1,234" is a thousand or a decimal comma, and the latter is unheard of from centimetres down
    if "," in match["number"] and not (of == "m" and factor <= 0.01):
        return None
    return Found(place, last, number(match["number"]) * factor, of, unit, match["open"], close)


def _feet_and_inches(feet: re.Match, words: list[str], place: int) -> Found | None:
    """Five feet three in one word; None where it is part of something, or has 12 inches or more."""
    value = float(feet[2]) * FOOT_M + float(feet[3]) * INCH_M
    if float(feet[3]) >= 12 or _bound(words, place) or at(words, place + 1) in UNITS:
        return None
    return Found(place, place, value, "m", "feet", feet[1], feet[4])


def _closing(word: str) -> str:
    """The punctuation at the end of a word."""
    return word[len(word.rstrip(EDGES)) :]


def _bound(words: list[str], place: int) -> bool:
    """Whether what stands before a number makes it a bound or a part of something."""
    before = at(words, place - 1)
    up_to = before == "to" and at(words, place - 2) == "up"
    return before in BOUNDS or before.endswith("n't") or up_to


def _unit_after(words: list[str], place: int) -> tuple[str, int]:
    """The unit of a bare number from the words behind it, and the place of its last word.

    "" for no unit, "?" for an unknown one.
    """
    next_ = place + 1 + (words[place + 1 : place + 2] == ["|"])  # the next cell of a table
    if next_ >= len(words):
        return "", place
    word, after, behind = words[next_], at(words, next_), at(words, next_ + 1)
    if _DIGIT.search(word):  # another number is no unit, but a word such as "x2" may be anything
        return ("" if _NUMERAL.fullmatch(word) else "?"), place
    if after == "in" and word[-1] == "n" and behind:
        return _inches(words, next_), place
    if after in UNITS:
        return after if _is_whole(words, next_) else "?", next_
    understood = after in FOLLOWING if after != "of" else behind in ("space", "room", "distance")
    # "3 and a half feet"
    part = behind in ("a", "an") and at(words, next_ + 2)[:4] in ("half", "quar", "thir")
    understood &= not (after == "and" and part)
    opened = word[0] in "([{" and not IN_BRACKETS.fullmatch(word)
    return ("", place) if understood or opened or HARMLESS.issuperset(word) else ("?", next_)


def _inches(words: list[str], place: int) -> str:
    """What "in" behind a number is: "in" for its unit, "" for a preposition, "?" where unclear."""
    behind = at(words, place + 1)
    if behind in WITHIN:
        return ""
    closed = words[place + 1][0] in "([=\u2248" or not LETTERED.search(behind)
    return "in" if behind in AFTER_INCHES or closed else "?"


def _is_whole(words: list[str], place: int) -> bool:
    """Whether a unit is not part of a larger one, such as m/s or metres squared."""
    behind = at(words, place + 1)
    if behind == "/":  # "2 m / 7 ft" says the same length twice
        return _DIGIT.search("".join(words[place + 2 : place + 3])) is not None
    return behind not in ("per", "squared", "cubed")


def _spoken(words: list[str], place: int, value: float) -> Found | None:
    """A number in letters, with its unit: "two feet", "half a metre"."""
    last = place + 1 + (value == 0.5 and at(words, place + 1) in ("a", "an"))
    unit = at(words, last)
    if math.isnan(value) or unit not in METRES or unit == "in":
        named = value == 1 and unit not in JOINS  # "the one", unless it is "one or two"
        return Found(place, place, math.nan, "label" if named else "word")
    if _bound(words, place):
        return None
    return Found(place, last, value * METRES[unit], "m", unit, "", _closing(words[last]))
