"""Numbers in answers: each is read with all that belongs to it, or nothing is.

A number counts only where all that touches it is understood: a word that holds a digit must be one
number, with a unit or without; a word behind it that is neither a unit nor one of a few (FOLLOWING)
is an unknown unit; ranges, tolerances, products, fractions, bounds and decimal commas make the
whole text unreadable. So a value is the one that was stated, or there is none. Text is cut into
words once, and words are never read twice, so reading takes time linear in its length.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from vlm3.tasks.text import TUPLE, number
from vlm3.tasks.units import DEGREES, MARKS, METRES, UNITS

_PLAIN = re.compile(r"\s?([-+]?[0-9]++(?:\.[0-9]++)?+)(?: ([a-z]++))?+[.,]?\s?")
_NUMERAL = re.compile(
    r"""(?P<open>[("'\[{:]*+(?:[^\W\d]++["')\]]*+[=:])?+[("'\[{=]*+)[~\u2248\u223c\u2243\u2245]?+"""
    r"(?P<number>[-+\u2212]?+(?>(?:[0-9]{1,3}+(?:,[0-9]{3})++|[0-9]++(?:\.[0-9]++)?+)|\.[0-9]++))"
    r"""(?:-?(?P<letters>[^\W\d_]++)|(?P<mark>''?+|["%\u00b0]))?+"""
    r"""(?P<close>[)\]}"'.,;:!?\u2026\u3002]*+)"""
)
_FEET = re.compile(
    r"""([("\[]*+)([0-9]{1,2})(?:'|ft|feet)-?([0-9]{1,2}(?:\.[0-9]++)?+)(?:''|"|in)?+([)\].,;:!?]*+)"""
)
_LABEL = re.compile(
    r"\W{0,9}(?:(?!x[0-9])[^\W\d_]{1,20}[0-9]{1,9}|#[0-9]{1,9}|[0-9]{1,9}(?:st|nd|rd|th)|[23]d)\W{0,9}"
)
_DIGIT = re.compile("[0-9]")
_LETTERED = re.compile(r"[^\W_]")
_IN_BRACKETS = re.compile(r"""[(\[{"'][^\W\d_]++[)\]}"':=.,;!?]{1,6}""")
_LAST_PART = frozenset("_/")
_OPENS = re.compile(r"""(?:^|[\s(\[{:=])["']""")
_NO_LENGTH = re.compile(
    r"\b(?:relative|normali[sz]ed|inverse|disparity|ratio|scale|confidence|score)\b", re.I
)
_NAMED_AXIS = re.compile(r"\W{0,3}[xyuv][=:]")

_EDGES = "()[]{}\"'.,;:!?\u2026\u3002=~\u2248*-\u2013\u2014|"


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_HARMLESS = frozenset("()[]{}.,;:!?\u2026=-\u2013\u2014|\u2248~")
_FOLLOWING = _words(
    "away from in is was are be and or but as at for to along apart ahead across above below behind before beyond wide "
    "tall high long deep far off back with if according based because since so which that where when given on between "
    "horizontally vertically would should seems looks appears lies stands total here there straight further farther"
)
_AFTER_INCHES = _words("apart away across wide tall high long deep of from between lies and or in")
_WITHIN = METRES.keys() - {"in", "m"} | _words(
    "front the a an total this that these my your its our reality fact real terms all image depth height width length "
    "distance space view line sight scene picture photo frame short summary conclusion general other question"
)
_JOINS = _words(
    "and to or plus minus x by times over point about around roughly approximately approx maybe perhaps a an another "
    "some up with through till until versus vs nearly almost the of then between"
)
_HARD = _words(
    "to x by times minus plus through till until over point - + * \u2013 \u2014 ~ \u00b1 \u00d7"
)
_BOUNDS = _words(
    "than least most within under over above below beyond exceeds exceeding minus negative not x times twice half "
    "double triple maximum minimum "
    "point \u00b1 +/ < > \u2264 \u2265 * ^ \u00d7 \u00f7"
)
_LABELS = _words(
    "image images photo photos picture pictures camera cameras view views frame frames figure region regions object "
    "objects box boxes item items option options step thing things number no"
)
_NAMES = _words("z depth range distance width height length value answer result estimate number or")
UP_TO_TWELVE = (
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_SPOKEN = dict.fromkeys(
    _words(
        "zero thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy "
        "eighty ninety hundred hundreds thousand thousands million dozen dozens couple halves quarter quarters thirds "
        "fifths tenths third fourth fifth sixth eighth tenth twice double triple"
    ),
    math.nan,
)
_SPOKEN |= {word: float(k) for k, word in enumerate(UP_TO_TWELVE, 1)} | {"half": 0.5}


class Measure(NamedTuple):
    """A number, and what it counts: "m" (value in metres), "deg" (in degrees), "" for a bare one,
    "?" for others."""

    value: float
    of: str


class _Found(NamedTuple):
    """A number in the words from first to last, with the punctuation around it. of: as in Measure,
    or "label", or "word" for one in letters that counts nothing known."""

    first: int
    last: int
    value: float
    of: str
    unit: str = ""
    open: str = ""
    close: str = ""


def length_m(text: str) -> float | None:
    """The one positive length that the text states; a bare number counts as metres where no unit is
    named at all.

    None where it states none, one that is not positive and finite, or one of an unknown unit; where
    a number is part of a range or of something larger; and for several that differ by more than 2
    per cent (the same length in metres and in feet, each rounded, does not).
    """
    if (plain := _PLAIN.fullmatch(text)) and (plain[2] is None or plain[2] in METRES):
        value = float(plain[1]) * METRES.get(plain[2], 1.0)
    else:
        value = stated(measures(text), "m", bare=_NO_LENGTH.search(text) is None)
    return value if value is not None and 0 < value < math.inf else None


def stated(found: Sequence[Measure] | None, of: str, bare: bool) -> float | None:
    """The one value of a quantity, "m" or "deg", in its unit; of several that agree to 2 per cent,
    the first.

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
    if (
        not values
        or max(values) - min(values) > 0.02 * min(map(abs, values))
        or not math.isfinite(values[0])
    ):
        return None
    return values[0]


def measures(text: str) -> list[Measure] | None:
    """All numbers outside brackets of several numbers; None where one of them is part of something
    larger.

    Numbers that name something ("image 2", "the 3rd") are left out. Of LaTeX that `plain.said`
    left, nothing is read.
    """
    if "\\" in text:
        return None
    if (plain := _PLAIN.fullmatch(text)) and (plain[2] is None or plain[2] in UNITS):
        of, factor = UNITS.get(plain[2], ("", 1.0))
        return [Measure(float(plain[1]) * factor, of)]
    words = TUPLE.sub(" , ", text).lower().split()
    found = _joined(_numbers(words, quoted=_OPENS.search(text) is not None), words)
    if found and any(n.of == "" for n in found):
        found = _with_unit(found, _units_apart(found, words))
    return found and [Measure(n.value, n.of) for n in found if n.of not in ("label", "word")]


def _numbers(words: list[str], quoted: bool) -> list[_Found] | None:
    found: list[_Found] = []
    for place, word in enumerate(words):
        if found and place <= found[-1].last:
            continue
        if _DIGIT.search(word):
            each = _numeral(words, place, quoted)
        elif (core := _core(word)) in _SPOKEN:
            each = _spoken(words, place, _SPOKEN[core])
        else:
            continue
        if each is None:
            return None
        found.append(each)
    return found


def _core(word: str) -> str:
    """A word without punctuation around it, or the punctuation that it is."""
    return word.strip(_EDGES) or word


def _at(words: list[str], place: int) -> str:
    return _core(words[place]) if 0 <= place < len(words) else ""


def _numeral(words: list[str], place: int, quoted: bool) -> _Found | None:
    """The number that a word holds; None for a word that holds more than one number and its unit."""
    word, before = words[place], _at(words, place - 1)
    if _NAMED_AXIS.match(word) or _LABEL.fullmatch(word):
        return _Found(place, place, math.nan, "label")
    if feet := _FEET.fullmatch(word):
        value = float(feet[2]) * 0.3048 + float(feet[3]) * 0.0254
        alone = (
            float(feet[3]) < 12 and not _bound(words, place) and _at(words, place + 1) not in UNITS
        )
        return _Found(place, place, value, "m", "feet", feet[1], feet[4]) if alone else None
    match = _NUMERAL.fullmatch(word.removesuffix("'s") if before in _LABELS else word)
    if match is None or _bound(words, place):
        return None
    unit, last, close = match["letters"] or match["mark"] or "", place, match["close"]
    if unit in MARKS and any(mark in match["open"] for mark in "\"'"):
        unit, close = "", unit + close
    elif unit in MARKS and quoted:
        return None
    if not unit and not close.strip("()[]{}\"'"):
        unit, last = _unit_after(words, place)
        close = words[last][len(words[last].rstrip(_EDGES)) :] if last > place else close
    elif unit and _at(words, place + 1) in ("per", "squared", "cubed"):
        unit = "?"
    of, factor = ("", 1.0) if not unit else UNITS.get(unit, ("?", 1.0))
    if of in ("", "?") and before in _LABELS:
        return _Found(place, place, math.nan, "label")
    if "," in match["number"] and not (of == "m" and factor <= 0.01):
        return None  # 1,234 may be two things, but nobody states thousandths of a millimetre or of a centimetre
    return _Found(place, last, number(match["number"]) * factor, of, unit, match["open"], close)


def _bound(words: list[str], place: int) -> bool:
    """Whether what stands before a number makes it a bound or a part of something."""
    before = _at(words, place - 1)
    return (
        before in _BOUNDS
        or before.endswith("n't")
        or (before == "to" and _at(words, place - 2) == "up")
    )


def _unit_after(words: list[str], place: int) -> tuple[str, int]:
    """The unit of a bare number from the words behind it, "" for none, "?" for an unknown one; and
    its last word."""
    next_ = place + 1 + (words[place + 1 : place + 2] == ["|"])  # the next cell of a table
    if next_ >= len(words):
        return "", place
    word, after, behind = words[next_], _at(words, next_), _at(words, next_ + 1)
    if _DIGIT.search(word):
        return ("" if _NUMERAL.fullmatch(word) else "?"), place
    if after == "in" and word[-1] == "n" and behind:
        return _inches(words, next_), place
    if after in UNITS:
        return after if _is_whole(words, next_) else "?", next_
    understood = after in _FOLLOWING if after != "of" else behind in ("space", "room", "distance")
    understood &= (
        after != "and"
        or behind not in ("a", "an")
        or _at(words, next_ + 2)[:4] not in ("half", "quar", "thir")
    )
    opened = word[0] in "([{" and not _IN_BRACKETS.fullmatch(word)
    return ("", place) if understood or opened or _HARMLESS.issuperset(word) else ("?", next_)


def _inches(words: list[str], place: int) -> str:
    """Whether "in" behind a number is its unit ("in"), or begins something else (""); "?" where
    that is unclear."""
    behind = _at(words, place + 1)
    if behind in _WITHIN:
        return ""
    closed = words[place + 1][0] in "([=\u2248" or not _LETTERED.search(behind)
    return "in" if behind in _AFTER_INCHES or closed else "?"


def _is_whole(words: list[str], place: int) -> bool:
    """Whether a unit is not part of a larger one, such as m/s or metres squared."""
    behind = _at(words, place + 1)
    another = behind == "/" and _DIGIT.search("".join(words[place + 2 : place + 3]))  # 2 m / 7 ft
    return behind not in ("per", "squared", "cubed") and (
        behind[:1] not in ("/", "^") or another is not None
    )


def _spoken(words: list[str], place: int, value: float) -> _Found | None:
    """A number in letters, with its unit: "two feet", "half a metre"."""
    last = place + 1 + (value == 0.5 and _at(words, place + 1) in ("a", "an"))
    unit = _at(words, last)
    if math.isnan(value) or unit not in METRES or unit == "in":
        named = value == 1 and unit not in _JOINS  # "the one", unless it is "one or two"
        return _Found(place, place, math.nan, "label" if named else "word")
    close = words[last][len(words[last].rstrip(_EDGES)) :]
    return (
        None
        if _bound(words, place)
        else _Found(place, last, value * METRES[unit], "m", unit, "", close)
    )


def _joined(found: list[_Found] | None, words: list[str]) -> list[_Found] | None:
    """Feet and inches made one; None where two numbers are joined to something else."""
    kept: list[_Found] = []
    for each in found or ():
        between = words[kept[-1].last + 1 : each.first] if kept else []
        if not kept or _separate(kept[-1], each, between):
            kept.append(each)
            continue
        last, cores = kept[-1], {_core(word) for word in between}
        if last.of == "label" or each.of == "label":
            kept.append(
                each._replace(of="label")
                if each.of in ("", "?") and cores & {"and", "or", "to"}
                else each
            )
        elif (
            METRES.get(last.unit, MARKS.get(last.unit)) == 0.3048
            and _is_inches(each)
            and cores <= {"and"}
        ):
            kept[-1] = last._replace(
                last=each.last, value=last.value + each.value, unit="", close=each.close
            )
        elif {last.of, each.of} <= {"m", "deg"} and not cores & _HARD:
            kept.append(each)
        else:
            return None
    return found and kept


def _is_inches(each: _Found) -> bool:
    return METRES.get(each.unit, MARKS.get(each.unit)) == 0.0254 and 0 <= each.value < 0.3048


def _separate(last: _Found, each: _Found, between: list[str]) -> bool:
    """Whether punctuation or words keep two numbers apart, rather than join them."""
    if not set(".;:!?)]}").isdisjoint(last.close) or not set("([{=:").isdisjoint(each.open):
        return True
    return any(not set("([=;:").isdisjoint(word) or _parts(word) for word in between)


def _parts(word: str) -> bool:
    return _core(word) not in _JOINS and _LETTERED.search(word) is not None


def _with_unit(found: list[_Found], units: set[str | None]) -> list[_Found] | None:
    """The bare numbers in the unit that is named apart from them; None where it is unknown, or one
    of several."""
    if not units:
        return found
    if len({UNITS.get(unit) for unit in units}) > 1 or None in units:
        return None
    of, factor = UNITS[units.pop()]
    return [n._replace(value=n.value * factor, of=of) if n.of == "" else n for n in found]


def _units_apart(found: list[_Found], words: list[str]) -> set[str | None]:
    """Units that the words name without a number, as in "depth (cm):" or "in feet"; None for what
    may be one."""
    taken = {place for n in found for place in range(n.first, n.last + 1)}
    named = {
        _named(words, place, taken)
        for place, word in enumerate(words)
        if place not in taken or not _LAST_PART.isdisjoint(word)
    }
    return named - {""}


def _named(words: list[str], place: int, taken: set[int]) -> str | None:
    """The unit that a word names, "" for none, None where it may name one or does so in an unknown
    way."""
    word, before = words[place], _at(words, place - 1)
    bare = word.strip(_EDGES + "0123456789+\u2212")
    core = re.split("[_/]", bare)[-1]
    bracketed, part = _IN_BRACKETS.fullmatch(word) is not None, core != bare
    headed = word[-1] in ":=" or _at(words, place + 1) in ("is", "are", "=", ":")
    introduced = before in ("in", "unit", "units") and core not in _WITHIN - METRES.keys()
    if core == "in" and not (
        part or bracketed or word[-1] in ":=" or (introduced and (headed or before != "in"))
    ):
        return ""
    if core in METRES or core in DEGREES:
        return core if part or bracketed or headed or introduced or word[0] in "([{\"'" else None
    unknown = (part and core not in _NAMES) or (
        bracketed and word[0] in "([{" and (headed or place + 1 in taken)
    )
    ended = headed or word[-1] in ",." or place + 1 == len(words)
    return None if unknown or (introduced and (ended or before != "in")) else ""
