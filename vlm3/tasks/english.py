"""What answers about objects say in English: yes and no, relations, choices, lengths, hours.

Every repetition is bounded or gives nothing back, so reading takes time linear in the length of the
answer.
"""

import re

from vlm3.tasks import numbers
from vlm3.tasks import plain as markup
from vlm3.tasks.comparisons import NOT, ORDINAL, marked, picked, regions, votes, which
from vlm3.tasks.number_words import UP_TO_TWELVE


class Hour(int):
    """An hour of the clock, 1 to 12, as a direction; ValueError for any other number."""

    def __new__(cls, hour: int) -> "Hour":
        if not 1 <= hour <= 12:
            raise ValueError(f"an hour is 1 to 12, got {hour!r}")
        return super().__new__(cls, hour)


Value = bool | str | float | Hour

# Turkish i's, which lower() keeps or makes two characters of; the marks that `comparisons` sets.
_ODD = str.maketrans({"\u0131": "i", "\u0130": "i", "\u2039": None, "\u203a": None})
WHOLE = {"yes": True, "yes.": True, "no": False, "no.": False, "first": "first", "second": "second"}
_HOUR_WORDS = {word: str(k) for k, word in enumerate(UP_TO_TWELVE, 1)}
_OCLOCK = "o[ '-]{0,2}clock"
_CLOCK = re.compile(rf"(?<![a-z]){_OCLOCK}")
_ANY_HOUR = rf"[0-9]{{1,2}}|{'|'.join(UP_TO_TWELVE)}"
_AT_HOUR = re.compile(
    rf"(?<![\w.,:'+/-])(?:({_ANY_HOUR})(?: ?[-\u2013/] ?| (?:or|to|and) ))?"
    rf"({_ANY_HOUR})[ -]?(?={_OCLOCK})"
)
# Questions about directions say where 12 o'clock is, and answers repeat it.
_TWELVE_IS = re.compile(
    r"\b(?:with|if|where|when|as|given|taking|assuming)(?: that)?(?: the)?"
    rf" (?:12|twelve) {_OCLOCK}"
)
BARE_HOUR = re.compile(rf"(?:at |about |around |roughly |hour |towards? )?({_ANY_HOUR})\.?")

# What may come before yes or no, up to three times: "Well, based on the image, ...".
_SAYING = (
    r"(?:(?:well|hmm|oh|so|ok|okay|clearly|obviously|unfortunately|i'm afraid"
    r"|(?:final )?answer|(?:the|my)(?: final| correct| short)? answer(?: is| would be)?"
    r"|i(?: would)? (?:say|think|believe)(?: that)?"
    r"|(?:based on|judging by|looking at|from|in) (?:the|this) "
    r"(?:given |provided )?(?:image|picture|photo|scene|view))\b[\s,:.!-]{0,4})"
)
_IT = (
    r"(?:that|this|it|(?:the|this|that|your) "
    r"(?:statement|claim|assertion|description|sentence))(?: is|'s)"
)
_SURE = r"absolutely|certainly|definitely|undoubtedly|exactly|precisely|surely|sure|of course"
# "right", "so" and words of _SURE are a yes only where a sentence ends or pauses: "right of it".
_YES = (
    r"yes|yeah|yep|yup|indeed|correct|true|affirmative|agreed|confirmed"
    r"|no doubt|no question|without (?:a |any )?doubt"
    r"|i (?:fully )?agree|i (?:can )?confirm|i think so"
    r"|you are (?:right|correct)|you're (?:right|correct)"
    rf"|(?:{_SURE})(?=\s?[,.!;]|\s?$)|right(?=[,!]|\. )"
    rf"|{_IT} (?:indeed |absolutely |quite |definitely )?"
    r"(?:true|correct|accurate|the case|(?:right|so)(?=\s?[,.!;]|$))"
    r"|it (?:is|does|has|(?:appears|seems|looks) so)(?: indeed)?(?=\s?[.!]?$)"
)
_NO = (
    rf"no|nope|nah|incorrect|false|wrong|untrue|inaccurate|negative|never|(?:{_SURE}) not"
    r"|not (?:true|correct|right|accurate|really|quite|exactly|at all|so|the case|necessarily)"
    r"(?! (?:as|far))"
    r"|i (?:disagree|do not (?:think|believe|agree)|would not say|cannot (?:confirm|agree))"
    r"|far from it|by no means"
    r"|on the contrary|(?:quite |it is )?the (?:opposite|reverse)"
    rf"|{_IT} (?:not (?:true|correct|right|accurate|the case)"
    r"|false|incorrect|wrong|untrue|inaccurate)"
    r"|not(?=\s?[.!]?$)|it (?:is|does|has) not(?: (?:appear|seem|look) so)?(?=\s?[.!]?$)"
)
_LEAD = re.compile(
    rf"{_SAYING}{{0,3}}"
    rf"(?:(?P<yes>{_YES})|(?P<no>{_NO})|(?P<weak>in fact|actually|in reality|in truth))\b"
    r"[\s,:;.!-]{0,4}"
)
_EITHER = re.compile(r"(?:/|and\b|or\b)?\s?(?:(yes|true)|(no|false))\b(?! doubt| question)")
_TAIL = re.compile(
    r"(?:[.!?:;,\n]|\b(?:is|so|therefore|hence|thus))[:,]?\s{1,3}"
    r"(?:(yes|true|correct)|(no|false|incorrect))[.!]?$"
)


def parse(text: str) -> Value | None:
    """What an answer says when its question is not at hand.

    The first of these that it holds: the one hour before "o'clock"; yes or no, or a synonym, at its
    beginning; a length with a unit; yes or no at its end; first or second, if only one of them is
    named; a bare number, in metres. None for an answer that holds none of them.
    """
    said = plain(text)
    if said in WHOLE:
        return WHOLE[said]
    if "clock" in said and _CLOCK.search(said):
        return hour(said)
    lead, weak = _lead(said)
    if lead is not None and not weak:
        return lead
    # beside "the second" a bare number is no length for sure: its unit must be there
    length, ordinal = numbers.length_m(said), ORDINAL.search(said)
    if length is not None and ((not weak and ordinal is None) or _has_unit(said)):
        return length
    for value in (lead, _tail(said)):
        if value is not None:
            return value
    named = {which(m) for m in ORDINAL.finditer(said)} if ordinal else ()
    return ("first", "second")[named.pop()] if len(named) == 1 and not NOT.search(said) else None


def plain(text: str) -> str:
    """An answer without markup, in lower case, its "n't" written out."""
    said = markup.said(text).translate(_ODD).lower()
    return said.replace("n't", " not") if "n't" in said else said


def _lead(said: str) -> tuple[bool | None, bool]:
    """What an answer begins with, and whether that is weak.

    Weak: "in fact" and its like deny only where nothing else is said.
    """
    match = _LEAD.match(said)
    if match is None:
        return None, False
    if match["weak"]:
        again = _LEAD.match(said, match.end())
        if again is None or again["weak"]:
            return False, True
        return again["yes"] is not None, False
    value = match["yes"] is not None
    other = _EITHER.match(said, match.end())  # "yes or no" and "yes, no" are neither
    return (None, False) if other and (which(other) == 0) != value else (value, False)


def _tail(said: str) -> bool | None:
    match = _TAIL.search(said[-40:])  # no verdict is longer, and an answer may be
    return None if match is None else which(match) == 0


def hour(said: str) -> Hour | None:
    """The one hour of the clock that is named; "with 12 o'clock straight ahead" names none."""
    if len(_CLOCK.findall(said)) > 1:
        said = _TWELVE_IS.sub("", said)
    found = _AT_HOUR.findall(said)
    named = {int(_HOUR_WORDS.get(word, word)) for pair in found for word in pair if word}
    if len(found) != len(_CLOCK.findall(said)) or len(named) != 1:
        return None
    only = named.pop()
    return Hour(only) if 1 <= only <= 12 else None


def _has_unit(said: str) -> bool:
    return any(measure.of == "m" for measure in numbers.measures(said) or ())


def confirmed(said: str, question: str, names: tuple, pole: str, sign: int) -> bool | None:
    """Yes or no: by how an answer begins, how it ends, or what it states of the first object."""
    lead, weak = _lead(said)
    if lead is not None and not weak:
        return lead
    if (tail := _tail(said)) is not None:
        return tail
    found = votes(marked(said, question, names), pole, 0)
    return found == {sign} if len(found) == 1 else lead


def chosen(said: str, question: str, names: tuple, pole: str, sign: int) -> str | None:
    """First or second: by the relation that an answer states, else by the one object it names."""
    if (alone := said.strip(" .()[]")) in ("first", "second"):
        return alone
    # bare answers, by whatever name the question or the model gives the two
    for order in (regions(question), ["1", "2"], ["a", "b"], ["one", "two"]):
        if alone in order:
            return ("first", "second")[order.index(alone)]
    text = marked(said, question, names)
    if len(found := votes(text, pole, None)) == 1:
        return "first" if found == {sign} else "second"
    object_ = None if found else picked(text)
    return None if object_ is None else ("first", "second")[object_]
