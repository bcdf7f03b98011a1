"""What an answer says of two objects: which of them it names, and how it compares them.

First each mention of an object becomes a mark, 0 or 1 in angle quotation marks, whatever it is
called: a box, a region, a name, "the former". Then every clause is read for the object that it is
about, and for words of a pole ("left") or its opposite ("right").

Every repetition is bounded or gives nothing back, so reading takes time linear in the length of the
answer.
"""

import re
from collections.abc import Sequence

from vlm3.tasks import text as words
from vlm3.tasks.units import METRES

_NUM = r"[0-9]++(?:\.[0-9]++)?+"
_BOX = re.compile(rf"[(\[] {{0,2}}{_NUM}(?:, {{0,2}}{_NUM}){{3}} {{0,2}}[)\]]")
_REGION = re.compile(r"\bregions? ?[\[(<#]?([0-9]{1,4})\b[\])>]?")
# A lone "a" or "b" is a name at the end or before "is" only, and else the article.
_END = r"(?=\W{0,3}$|[\])]| is)"
_NUMBERED = re.compile(
    r"\b(?:object|box|item|option|thing) ?(?:number |no\. ?)?[\[(#]?"
    rf"(?:(1|one|a{_END})|(2|two|b{_END}))"
    # "object 1.5 m away" and "box 2 feet behind" hold lengths, and name no object
    rf"(?![.,]?[0-9]|\w| ?(?:{'|'.join(METRES)})\b)[\])]?"
)
ORDINAL = re.compile(
    r"\b(?:(first|1st|former)|(second|2nd|latter))\b(?! (?:of all|glance|look|sight|place))"
    r"(?: (?:one|object|box|item|thing)\b)?"
)
NOT = re.compile(
    r"\b(?:not(?! only)|never|cannot|no(?! doubt)|hardly|neither|nor"
    r"|rather than|instead of|opposed to)\b"
)

_NOUN = r"(?:height|width|size|volume|breadth|stature|dimension|extent|distance|depth|space|room)"
_MORE = (
    r"great(?:er|est)?|larg(?:e|er|est)|big(?:ger|gest)?"
    r"|exceed(?:s|ing)?|surpass(?:es|ing)?|outsizes|dwarfs"
    rf"|(?:more|most)(?= (?:\w{{1,12}} )?{_NOUN})"
)
_LESS = (
    r"small(?:er|est)?|tiny|tini(?:er|est)|lesser"
    r"|(?:exceed|surpass|dwarf)ed"  # "exceeded by" turns the sense round
    rf"|(?:less|least)(?= (?:\w{{1,12}} )?{_NOUN})"
)
_FORMS = {
    "left": (r"left(?:most|ward|wards)?", r"right(?:most|ward|wards)?"),
    "above": (
        r"above|over|high(?:er|est)?|up|upper(?:most)?|atop|top(?:most)?|overhead",
        r"below|under|beneath|underneath|low(?:er|est)?|down|bottom",
    ),
    "behind": (
        r"behind|f[au]rther|f[au]rthest|far|back|background|rear|deep(?:er|est)?|distant|beyond"
        r"|(?:great(?:er|est)|larg(?:er|est)|more)(?= (?:distance|depth))",
        r"front|clos(?:e|er|est)|near(?:er|est)?|ahead|foreground"
        r"|(?:small(?:er|est)|short(?:er|est)|less|lower)(?= (?:distance|depth))",
    ),
    "big": (rf"{_MORE}|bulk(?:y|ier|iest)|huge|massive", rf"{_LESS}|compact|little"),
    "tall": (
        rf"tall(?:er|est)?|high(?:er|est)?|tower(?:s|ing)?|{_MORE}",
        rf"short(?:er|est)?|low(?:er|est)?|{_LESS}",
    ),
    "wide": (
        rf"wid(?:e|er|est)|broad(?:er|est)?|thick(?:er|est)?|{_MORE}",
        r"thin(?:ner|nest)?|narrow(?:er|est)?|slim(?:mer|mest)?|slender(?:er|est)?"
        rf"|skinn(?:y|ier|iest)|{_LESS}",
    ),
}
_STATED = {
    pole: re.compile(
        r"\b(?P<as>(?:as|equally) )?(?P<less>less (?:far )?(?:(?:to|on) the )?)?"
        rf"(?:(?P<pos>{pos})|{neg})\b"
    )
    for pole, (pos, neg) in _FORMS.items()
}

# Up to six words between a preposition and the object: "than the one in the box".
_FILLING = (
    r"the|an?|that|this|one|of|objects?|thing|item|region|box|bounding|boxed|by|in|at|holds"
    r"|what(?: is)?|within|inside"
)
_FILL = rf"(?:(?:{_FILLING})[\s,(]{{1,3}}+){{0,6}}+"
_ONE = "\u2039[01]\u203a"
_PREPOSITION = (
    r"(?:than|of|to|with|from|versus|vs\.?|against|beside|above|below|over|under|beneath|underneath"
    r"|behind|beyond|atop|exceeds|exceeding|surpasses|surpassing|dwarfs|outsizes|by)"
)
_MARK = re.compile("\u2039([01])\u203a")
_MENTION = re.compile(
    rf"(?P<ref>\b{_PREPOSITION}[\s,(]{{1,3}}+{_FILL})?\u2039(?P<which>[01])\u203a"
)
# One object named twice over: "the red ball in (1, 2, 3, 4)".
_TWICE = re.compile(
    rf"\u2039([01])\u203a(?:,? (?:in|at|inside|within|boxed by)[\s,(]{_FILL}"
    rf"| ?[(\[]| )\u2039\1\u203a[)\],]?"
)
# "Between the two, ..." names both objects and says nothing of either.
_BOTH = re.compile(
    rf"\b(?:between|of|among|from|comparing|compare|both|either)\s{_FILL}{_ONE},? "
    rf"(?:and|or|versus|vs|to|with) {_FILL}{_ONE}"
)
_HAS = re.compile(rf"({_ONE}) has {_FILL}(?=\u2039)")
# In "the height of A" A is what the clause is about, not what it is compared with.
_SIZE_OF = re.compile(rf"\b{_NOUN}s? of ")
_CLAUSE = re.compile(
    r"[;!?\n]|\.(?![0-9])|\b(?:while|whereas|but|because|since|although|though"
    r"|so|therefore|hence|thus|meaning)\b"
    rf"|(?:,|\band\b)(?=\s{_FILL}\u2039)"
)
_DROPPED = re.compile(rf"\b(?:not|rather than|instead of|over|than|opposed to)\s{_FILL}{_ONE}")


def which(match: re.Match) -> int:
    """0 where the first of two groups matched, 1 where the second did."""
    return int(match[1] is None)


def marked(said: str, question: str, names: Sequence) -> str:
    """The answer with its mentions of the two objects replaced by marks that hold 0 or 1."""
    boxes = list(dict.fromkeys(t for t in words.tuples(question) if len(t) == 4))[:2]
    named = regions(question) or (["1", "2"] if "2" in _REGION.findall(said) else ["0", "1"])
    if boxes:
        said = _BOX.sub(lambda m: _mark(_nearest(words.tuples(m[0])[0], boxes)), said)
    said = _REGION.sub(lambda m: _mark(named.index(m[1]) if m[1] in named else None), said)
    called = _called(names)
    if any(name in said for name in called):
        # the longest first: "red ball" before "ball"
        pattern = "|".join(map(re.escape, sorted(called, key=len, reverse=True)))
        said = re.sub(rf"\b(?:{pattern})\b", lambda m: _mark(called[m[0]]), said)
    for pattern in (_NUMBERED, ORDINAL):
        said = pattern.sub(lambda m: _mark(which(m)), said)
    return _TWICE.sub("\u2039\\1\u203a", said)


def regions(question: str) -> list[str]:
    """The numbers of the regions that a question names, in its order."""
    return list(dict.fromkeys(_REGION.findall(question.lower())))[:2]


def _mark(which: int | None) -> str:
    return " " if which is None else f"\u2039{which}\u203a"


def _nearest(numbers: tuple[float, ...], boxes: list[tuple]) -> int | None:
    """The box whose numbers these are, each to 10 bins: models repeat boxes, not always exactly."""
    gaps = [max(abs(a - b) for a, b in zip(numbers, box, strict=True)) for box in boxes]
    best = min(range(len(gaps)), key=gaps.__getitem__)
    return best if gaps[best] <= 10 else None


def _called(names: Sequence) -> dict[str, int]:
    """Names of the two objects, and the last words of those, as far as they tell them apart."""
    names = [str(name).lower() for name in names]
    found: dict[str, int] = {}
    for forms in (names, [name.split(" ")[-1] for name in names]):
        if len(forms) == 2 and all(forms) and forms[0] != forms[1]:
            found |= {form: k for k, form in enumerate(forms) if form not in found}
    return found


def votes(marked: str, pole: str, subject: int | None) -> set[int]:
    """What is said of the first object: 1 for the pole, -1 for its opposite, once or several times.

    subject: whom a clause is about that names no object.
    """
    found: set[int] = set()
    for clause in _CLAUSE.split(_BOTH.sub(" ", _SIZE_OF.sub("", marked))):
        subject = _subject(clause, subject)
        if subject is not None:
            found |= {-sign if subject else sign for sign in _signs(clause, pole)}
    return found


def _subject(clause: str, before: int | None) -> int | None:
    """The object that a clause is about; that of the clause before where it names none.

    An object after a preposition ("than", "of", "above") is what the other one is compared with.
    """
    # in "A has B on its left" it is B that stands on the left
    mentions = list(_MENTION.finditer(_HAS.sub(r"than \1 ", clause)))
    about = [int(m["which"]) for m in mentions if not m["ref"]]
    against = {int(m["which"]) for m in mentions if m["ref"]}
    if about:
        return about[0]
    # "taller than B" alone is said of A
    return 1 - against.pop() if len(against) == 1 else before


def _signs(clause: str, pole: str) -> set[int]:
    """What a clause says of its subject: 1 for the pole, -1 for its opposite."""
    signs, start = set(), 0
    for match in _STATED[pole].finditer(clause):
        # in "higher up" and "farther back" the second word says nothing new
        goes_on = start > 0 and not clause[start : match.start()].strip()
        negated = NOT.search(clause, start, match.start()) is not None
        start = match.end()
        if goes_on or (match["as"] and not negated):  # "as tall as" is neither; "not as tall" is
            continue
        turns = negated + bool(match["less"]) + (match["pos"] is None)
        signs.add(-1 if turns % 2 else 1)
    return signs


def picked(marked: str) -> int | None:
    """The one object that an answer names and does not deny, 0 or 1; None where that is unclear."""
    named = set(_MARK.findall(marked))
    if len(named) == 2:
        named = set(_MARK.findall(_DROPPED.sub(" ", _BOTH.sub(" ", marked))))
        return int(named.pop()) if len(named) == 1 else None
    if len(named) != 1:
        return None
    return int(named.pop()) ^ (NOT.search(marked) is not None)
