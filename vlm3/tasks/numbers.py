"""Numbers in answers: each is read with all that belongs to it, or nothing is.

A number counts only where all that touches it is understood: a word that holds a digit must be one number, with a
unit or without; a word behind it that is neither a unit nor one of a few (FOLLOWING) is an unknown unit; ranges,
tolerances, products, fractions, bounds and decimal commas make the whole text unreadable. So a value is the one
that was stated, or there is none. Text is cut into words once, and words are never read twice, so reading takes time
linear in its length.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from vlm3.tasks.text import TUPLE, number

METRES = {name: metres for metres, names in {
    1.0: "m metre metres meter meters mtr mtrs \u7c73", 0.1: "dm decimetre decimetres decimeter decimeters",
    0.01: "cm cms centimetre centimetres centimeter centimeters \u5398\u7c73",
    0.001: "mm millimetre millimetres millimeter millimeters \u6beb\u7c73",
    1e-6: "\u03bcm um micron microns micrometre micrometres micrometer micrometers",
    1000.0: "km kms kilometre kilometres kilometer kilometers", 0.0254: "in ins inch inches",
    0.3048: "ft foot feet", 0.9144: "yd yds yard yards", 1609.344: "mi mile miles",
}.items() for name in names.split()}  # fmt: skip
_DEGREES = dict.fromkeys(("\u00b0", "deg", "degs", "degree", "degrees"), 1.0)
_DEGREES |= dict.fromkeys(("rad", "rads", "radian", "radians"), 180 / math.pi)
_MARKS = {"'": 0.3048, "''": 0.0254, '"': 0.0254}
UNITS = {name: ("m", metres) for name, metres in (METRES | _MARKS).items()}
UNITS |= {name: ("deg", degrees) for name, degrees in _DEGREES.items()}

_PLAIN = re.compile(r"\s?([0-9]++(?:\.[0-9]++)?+)(?: ([a-z]++))?+\.?\s?")
_NUMERAL = re.compile(
    r"""(?P<open>[("'\[{:]*+(?:[^\W\d]++["')\]]*+[=:])?+[("'\[{=]*+)[~\u2248\u223c\u2243\u2245]?+"""
    r"(?P<number>[-+\u2212]?+(?>(?:[0-9]{1,3}+(?:,[0-9]{3})++|[0-9]++(?:\.[0-9]++)?+)|\.[0-9]++))"
    r"""(?:-?(?P<letters>[^\W\d_]++)|(?P<mark>''?+|["%\u00b0]))?+(?P<close>[)\]}"'.,;:!?\u2026\u3002]*+)"""
)
_FEET = re.compile(r"""([("\[]*+)([0-9]{1,2})(?:'|ft|feet)-?([0-9]{1,2}(?:\.[0-9]++)?+)(?:''|"|in)?+([)\].,;:!?]*+)""")
_LABEL = re.compile(r"\W{0,9}(?:(?!x[0-9])[^\W\d_]{1,20}[0-9]{1,9}|#[0-9]{1,9}|[0-9]{1,9}(?:st|nd|rd|th)|[23]d)\W{0,9}")
_DIGIT = re.compile("[0-9]")
_LETTERED = re.compile(r"[^\W_]")
_IN_BRACKETS = re.compile(r"[(\[{][^\W\d_]++[)\]}][:=.,]?")
_LAST_PART = re.compile("[_/]")
_OPENS = re.compile(r"""(?:^|[\s(\[{:=])["']""")
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
_AFTER_WITHIN = METRES.keys() - {"in", "m"} | _words(
    "front the a an total this that these my your its our reality fact real terms all image depth height width length "
    "distance space view line"
)
_JOINS = _words(
    "and to or plus minus x by times over point about around roughly approximately approx maybe perhaps a an another "
    "some up with through till until versus vs nearly almost the of then between"
)
_HARD = _words("to x by times minus plus through till until over point - \u2013 \u2014 ~ \u00b1 \u00d7")
_BOUNDS = _words(
    "than least most within minus negative not x times twice half double triple maximum minimum "
    "point \u00b1 +/ < > \u2264 \u2265 / * ^ \u00d7 \u00f7"
)
_LABELS = _words(
    "image images photo photos picture pictures camera cameras view views frame frames figure region regions object "
    "objects box boxes item items option options step thing things number no"
)
UP_TO_TWELVE = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
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
    """A number, and what it counts: "m" (value in metres), "deg" (in degrees), "" for a bare one, "?" for others."""

    value: float
    of: str


class _Found(NamedTuple):
    """A number in the words from first to last, with the punctuation around it. of: as in Measure, or "label", or
    "word" for one in letters that counts nothing known."""

    first: int
    last: int
    value: float
    of: str
    unit: str = ""
    open: str = ""
    close: str = ""


def length_m(text: str) -> float | None:
    """The one positive length that the text states; a bare number counts as metres where no unit is named at all.

    None where it states none, one that is not positive and finite, or one of an unknown unit; where a number is part
    of a range or of something larger; and for several that differ by more than 2 per cent (the same length in metres
    and in feet, each rounded, does not).
    """
    if (plain := _PLAIN.fullmatch(text)) and (plain[2] is None or plain[2] in METRES):
        value = float(plain[1]) * METRES.get(plain[2], 1.0)
    else:
        value = stated(measures(text), "m", bare=True)
    return value if value is not None and 0 < value < math.inf else None


def without(text: str, about: Sequence[Sequence[float]]) -> str:
    """A text without the pixels and boxes that its question names, however it separates their numbers."""
    for place in about:
        written = [f"{number:g}" for number in place]
        if all(each in text for each in written):
            together = r"\s{0,2}[,;]?\s{0,2}".join(map(re.escape, written))
            text = re.sub(rf"(?<![\w.,+-]){together}(?!\w|[.,][0-9])", " , ", text)
    return text


def stated(found: Sequence[Measure] | None, of: str, bare: bool) -> float | None:
    """The one value of a quantity, "m" or "deg", in its unit; of several that agree to 2 per cent, the first.

    found: as `measures` gives them; bare: whether a number without a unit counts where no unit is named at all. None
    as in `length_m`.
    """
    if not found:
        return None
    values = [m.value for m in found if m.of == of]
    others = [m.value for m in found if m.of == ""]
    if others and (not bare or (not values and len(others) < len(found))):
        return None
    values += others
    if not values or max(values) - min(values) > 0.02 * min(map(abs, values)) or not math.isfinite(values[0]):
        return None
    return values[0]


def measures(text: str) -> list[Measure] | None:
    """All numbers outside brackets of several numbers; None where one of them is part of something larger.

    Numbers that name something ("image 2", "the 3rd") are left out.
    """
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
        alone = float(feet[3]) < 12 and not _bound(words, place) and _at(words, place + 1) not in UNITS
        return _Found(place, place, value, "m", "feet", feet[1], feet[4]) if alone else None
    match = _NUMERAL.fullmatch(word.removesuffix("'s") if before in _LABELS else word)
    if match is None or _bound(words, place):
        return None
    unit, last, close = match["letters"] or match["mark"] or "", place, match["close"]
    if unit in _MARKS and any(mark in match["open"] for mark in "\"'"):
        unit, close = "", unit + close
    elif unit in _MARKS and quoted:
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
    return before in _BOUNDS or before.endswith("n't") or (before == "to" and _at(words, place - 2) == "up")


def _unit_after(words: list[str], place: int) -> tuple[str, int]:
    """The unit of a bare number from the words behind it, "" for none, "?" for an unknown one; and its last word."""
    if place + 1 == len(words):
        return "", place
    word, after = words[place + 1], _core(words[place + 1])
    if _DIGIT.search(word):
        return ("" if _NUMERAL.fullmatch(word) else "?"), place
    if after == "in" and word.isalpha() and place + 2 < len(words):
        behind = _at(words, place + 2)
        if behind in _AFTER_WITHIN:
            return "", place
        inches = behind in _AFTER_INCHES or words[place + 2][0] in "([=\u2248" or not _LETTERED.search(behind)
        return ("in", place + 1) if inches else ("?", place + 1)
    if after in UNITS:
        per = _at(words, place + 2)
        return ("?" if per in ("per", "squared", "cubed") or per[:1] in ("/", "^") else after), place + 1
    understood = after in _FOLLOWING or (after == "of" and _at(words, place + 2) in ("space", "room", "distance"))
    opened = word[0] in "([{" and not _IN_BRACKETS.fullmatch(word)
    return ("", place) if understood or opened or _HARMLESS.issuperset(word) else ("?", place + 1)


def _spoken(words: list[str], place: int, value: float) -> _Found | None:
    """A number in letters, with its unit: "two feet", "half a metre"."""
    last = place + 1 + (value == 0.5 and _at(words, place + 1) in ("a", "an"))
    unit = _at(words, last)
    if math.isnan(value) or unit not in METRES or unit == "in":
        named = value == 1 and unit not in _JOINS  # "the one", unless it is "one or two"
        return _Found(place, place, math.nan, "label" if named else "word")
    close = words[last][len(words[last].rstrip(_EDGES)) :]
    return None if _bound(words, place) else _Found(place, last, value * METRES[unit], "m", unit, "", close)


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
            kept.append(each._replace(of="label") if each.of in ("", "?") and cores & {"and", "or", "to"} else each)
        elif METRES.get(last.unit, _MARKS.get(last.unit)) == 0.3048 and _is_inches(each) and cores <= {"and"}:
            kept[-1] = last._replace(last=each.last, value=last.value + each.value, unit="", close=each.close)
        elif {last.of, each.of} <= {"m", "deg"} and not cores & _HARD:
            kept.append(each)
        else:
            return None
    return found and kept


def _is_inches(each: _Found) -> bool:
    return METRES.get(each.unit, _MARKS.get(each.unit)) == 0.0254 and 0 <= each.value < 0.3048


def _separate(last: _Found, each: _Found, between: list[str]) -> bool:
    """Whether punctuation or words keep two numbers apart, rather than join them."""
    stops = ".;:!?)]}" + ("," if last.of == "?" else "")
    if not set(stops).isdisjoint(last.close) or not set("([{=:").isdisjoint(each.open):
        return True
    return any(not set("([=;:").isdisjoint(word) or _parts(word) for word in between)


def _parts(word: str) -> bool:
    return _core(word) not in _JOINS and _LETTERED.search(word) is not None


def _with_unit(found: list[_Found], units: set[str | None]) -> list[_Found] | None:
    """The bare numbers in the unit that is named apart from them; None where it is unknown, or one of several."""
    if not units:
        return found
    if len({UNITS.get(unit) for unit in units}) > 1 or None in units:
        return None
    of, factor = UNITS[units.pop()]
    return [n._replace(value=n.value * factor, of=of) if n.of == "" else n for n in found]


def _units_apart(found: list[_Found], words: list[str]) -> set[str | None]:
    """Units that the words name without a number, as in "depth (cm):" or "in feet"; None for what may be one."""
    taken = {place for n in found for place in range(n.first, n.last + 1)}
    units: set[str | None] = set()
    for place, word in enumerate(words):
        if place in taken and "_" not in word and "/" not in word:
            continue
        core = _LAST_PART.split(word.strip(_EDGES + "0123456789"))[-1]
        part = len(core) < len(word.strip(_EDGES))
        before, stressed = _at(words, place - 1), word[-1] in ":=" or _at(words, place + 1) in ("is", "are", "=", ":")
        alone = part or word[0] in "([{\"'" or stressed or before == "in"
        if core in METRES or core in _DEGREES:
            if core != "in" or part or word[0] in "([{":
                units.add(core if alone else None)
        elif (before == "in" and stressed) or (_IN_BRACKETS.fullmatch(word) and (stressed or place + 1 in taken)):
            units.add(None)
    return units
