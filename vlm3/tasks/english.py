"""Reading what answers about objects say in English: yes and no, relations, choices, lengths,
hours.

Every repetition is bounded or gives nothing back, so reading takes time linear in the length of the
answer.
"""

import re

from vlm3.tasks import numbers
from vlm3.tasks import plain as markup
from vlm3.tasks import text as words
from vlm3.tasks.units import METRES


class Hour(int):
    """An hour of the clock, 1 to 12, as a direction; ValueError for any other number."""

    def __new__(cls, hour: int) -> "Hour":
        if not 1 <= hour <= 12:
            raise ValueError(f"an hour is 1 to 12, got {hour!r}")
        return super().__new__(cls, hour)


Value = bool | str | float | Hour

_ODD = str.maketrans({"\u0131": "i", "\u0130": "i", "\u2039": None, "\u203a": None})
WHOLE = {"yes": True, "yes.": True, "no": False, "no.": False, "first": "first", "second": "second"}
_NUM = r"[0-9]++(?:\.[0-9]++)?+"
_HOUR_WORDS = {word: str(k) for k, word in enumerate(numbers.UP_TO_TWELVE, 1)}
_OCLOCK = "o[ '-]{0,2}clock"
_CLOCK = re.compile(rf"(?<![a-z]){_OCLOCK}")
_ANY_HOUR = rf"[0-9]{{1,2}}|{'|'.join(numbers.UP_TO_TWELVE)}"
_AT_HOUR = re.compile(
    rf"(?<![\w.,:'+/-])(?:({_ANY_HOUR})(?: ?[-\u2013/] ?| (?:or|to|and) ))?({_ANY_HOUR})[ -]?(?={_OCLOCK})"
)
_TWELVE_IS = re.compile(
    rf"\b(?:with|if|where|when|as|given|taking|assuming)(?: that)?(?: the)? (?:12|twelve) {_OCLOCK}"
)
BARE_HOUR = re.compile(rf"(?:at |about |around |roughly |hour |towards? )?({_ANY_HOUR})\.?")

_BOX = re.compile(rf"[(\[] {{0,2}}{_NUM}(?:, {{0,2}}{_NUM}){{3}} {{0,2}}[)\]]")
_REGION = re.compile(r"\bregions? ?[\[(<#]?([0-9]{1,4})\b[\])>]?")
_END = r"(?=\W{0,3}$|[\])]| is)"
_NUMBERED = re.compile(
    rf"\b(?:object|box|item|option|thing) ?(?:number |no\. ?)?[\[(#]?(?:(1|one|a{_END})|(2|two|b{_END}))"
    rf"(?![.,]?[0-9]|\w| ?(?:{'|'.join(METRES)})\b)[\])]?"
)
_ORDINAL = re.compile(
    r"\b(?:(first|1st|former)|(second|2nd|latter))\b(?! (?:of all|glance|look|sight|place))"
    r"(?: (?:one|object|box|item|thing)\b)?"
)

_SAYING = (
    r"(?:(?:well|hmm|oh|so|ok|okay|clearly|obviously|unfortunately|i'm afraid"
    r"|(?:final )?answer|(?:the|my)(?: final| correct| short)? answer(?: is| would be)?"
    r"|i(?: would)? (?:say|think|believe)(?: that)?|(?:based on|judging by|looking at|from|in) (?:the|this) "
    r"(?:given |provided )?(?:image|picture|photo|scene|view))\b[\s,:.!-]{0,4})"
)
_IT = r"(?:that|this|it|(?:the|this|that|your) (?:statement|claim|assertion|description|sentence))(?: is|'s)"
_SURE = r"absolutely|certainly|definitely|undoubtedly|exactly|precisely|surely|sure|of course"
_YES = (
    r"yes|yeah|yep|yup|indeed|correct|true|affirmative|agreed|confirmed|no doubt|no question|without (?:a |any )?doubt"
    r"|i (?:fully )?agree|i (?:can )?confirm|i think so|you are (?:right|correct)|you're (?:right|correct)"
    rf"|(?:{_SURE})(?=\s?[,.!;]|\s?$)|right(?=[,!]|\. )"
    rf"|{_IT} (?:indeed |absolutely |quite |definitely )?(?:true|correct|accurate|the case|(?:right|so)(?=\s?[,.!;]|$))"
    r"|it (?:is|does|has|(?:appears|seems|looks) so)(?: indeed)?(?=\s?[.!]?$)"
)
_NO = (
    rf"no|nope|nah|incorrect|false|wrong|untrue|inaccurate|negative|never|(?:{_SURE}) not"
    r"|not (?:true|correct|right|accurate|really|quite|exactly|at all|so|the case|necessarily)(?! (?:as|far))"
    r"|i (?:disagree|do not (?:think|believe|agree)|would not say|cannot (?:confirm|agree))|far from it|by no means"
    r"|on the contrary|(?:quite |it is )?the (?:opposite|reverse)"
    rf"|{_IT} (?:not (?:true|correct|right|accurate|the case)|false|incorrect|wrong|untrue|inaccurate)"
    r"|not(?=\s?[.!]?$)|it (?:is|does|has) not(?: (?:appear|seem|look) so)?(?=\s?[.!]?$)"
)
_LEAD = re.compile(
    rf"{_SAYING}{{0,3}}(?:(?P<yes>{_YES})|(?P<no>{_NO})|(?P<weak>in fact|actually|in reality|in truth))\b"
    r"[\s,:;.!-]{0,4}"
)
_EITHER = re.compile(r"(?:/|and\b|or\b)?\s?(?:(yes|true)|(no|false))\b(?! doubt| question)")
_TAIL = re.compile(
    r"(?:[.!?:;,\n]|\b(?:is|so|therefore|hence|thus))[:,]?\s{1,3}(?:(yes|true|correct)|(no|false|incorrect))[.!]?$"
)
_NOT = re.compile(
    r"\b(?:not(?! only)|never|cannot|no(?! doubt)|hardly|neither|nor|rather than|instead of|opposed to)\b"
)

_NOUN = r"(?:height|width|size|volume|breadth|stature|dimension|extent|distance|depth|space|room)"
_MORE = (
    r"great(?:er|est)?|larg(?:e|er|est)|big(?:ger|gest)?|exceed(?:s|ing)?|surpass(?:es|ing)?|outsizes|dwarfs"
    rf"|(?:more|most)(?= (?:\w{{1,12}} )?{_NOUN})"
)
_LESS = (
    r"small(?:er|est)?|tiny|tini(?:er|est)|lesser|(?:exceed|surpass|dwarf)ed"
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
        rf"thin(?:ner|nest)?|narrow(?:er|est)?|slim(?:mer|mest)?|slender(?:er|est)?|skinn(?:y|ier|iest)|{_LESS}",
    ),
}
_STATED = {
    pole: re.compile(
        rf"\b(?P<as>(?:as|equally) )?(?P<less>less (?:far )?(?:(?:to|on) the )?)?(?:(?P<pos>{pos})|{neg})\b"
    )
    for pole, (pos, neg) in _FORMS.items()
}
_FILLING = r"the|an?|that|this|one|of|objects?|thing|item|region|box|bounding|boxed|by|in|at|holds|what(?: is)?|within|inside"
_FILL = rf"(?:(?:{_FILLING})[\s,(]{{1,3}}+){{0,6}}+"
_ONE = "\u2039[01]\u203a"
_PREPOSITION = (
    r"(?:than|of|to|with|from|versus|vs\.?|against|beside|above|below|over|under|beneath|underneath|behind|beyond|atop"
    r"|exceeds|exceeding|surpasses|surpassing|dwarfs|outsizes|by)"
)
_MENTION = re.compile(
    rf"(?P<ref>\b{_PREPOSITION}[\s,(]{{1,3}}+{_FILL})?\u2039(?P<which>[01])\u203a"
)
_TWICE = re.compile(
    rf"\u2039([01])\u203a(?:,? (?:in|at|inside|within|boxed by)[\s,(]{_FILL}| ?[(\[]| )\u2039\1\u203a[)\],]?"
)
_BOTH = re.compile(
    rf"\b(?:between|of|among|from|comparing|compare|both|either)\s{_FILL}{_ONE},? "
    rf"(?:and|or|versus|vs|to|with) {_FILL}{_ONE}"
)
_HAS = re.compile(rf"({_ONE}) has {_FILL}(?=\u2039)")
_SIZE_OF = re.compile(rf"\b{_NOUN}s? of ")
_CLAUSE = re.compile(
    r"[;!?\n]|\.(?![0-9])|\b(?:while|whereas|but|because|since|although|though|so|therefore|hence|thus|meaning)\b"
    rf"|(?:,|\band\b)(?=\s{_FILL}\u2039)"
)
_DROPPED = re.compile(rf"\b(?:not|rather than|instead of|over|than|opposed to)\s{_FILL}{_ONE}")


def parse(text: str) -> Value | None:
    """What an answer says when its question is not at hand: bool, "first" or "second", metres, an
    Hour, or None.

    The first of these that it holds: the one hour before "o'clock"; yes or no, or a synonym, at its
    beginning; a length with a unit; yes or no at its end; first or second, if only one of them is
    named; a bare number, in metres.
    """
    said = plain(text)
    if said in WHOLE:
        return WHOLE[said]
    if "clock" in said and _CLOCK.search(said):
        return hour(said)
    lead, weak = _lead(said)
    if lead is not None and not weak:
        return lead
    length, ordinal = numbers.length_m(said), _ORDINAL.search(said)
    if length is not None and ((not weak and ordinal is None) or _has_unit(said)):
        return length
    for value in (lead, _tail(said)):
        if value is not None:
            return value
    named = {_which(m) for m in _ORDINAL.finditer(said)} if ordinal else ()
    return ("first", "second")[named.pop()] if len(named) == 1 and not _NOT.search(said) else None


def plain(text: str) -> str:
    said = markup.said(text).translate(_ODD).lower()
    return said.replace("n't", " not") if "n't" in said else said


def _which(match: re.Match) -> int:
    """0 where the first of two groups matched, 1 where the second did."""
    return int(match[1] is None)


def _lead(said: str) -> tuple[bool | None, bool]:
    """What an answer begins with, and whether that is weak: "in fact" denies only where nothing
    else is said."""
    match = _LEAD.match(said)
    if match is None:
        return None, False
    if match["weak"]:
        again = _LEAD.match(said, match.end())
        return (
            (False, True) if again is None or again["weak"] else (again["yes"] is not None, False)
        )
    value = match["yes"] is not None
    other = _EITHER.match(said, match.end())
    return (None, False) if other and (_which(other) == 0) != value else (value, False)


def _tail(said: str) -> bool | None:
    match = _TAIL.search(said[-40:])
    return None if match is None else _which(match) == 0


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
    """Yes or no: by how the answer begins, how it ends, or the relation that it states of the first
    object."""
    lead, weak = _lead(said)
    if lead is not None and not weak:
        return lead
    if (tail := _tail(said)) is not None:
        return tail
    votes = _votes(_marked(said, question, names), pole, 0)
    return votes == {sign} if len(votes) == 1 else lead


def chosen(said: str, question: str, names: tuple, pole: str, sign: int) -> str | None:
    """First or second: by the relation that the answer states of an object, else by the one object
    that it names."""
    if (alone := said.strip(" .()[]")) in ("first", "second"):
        return alone
    regions = _regions(question)
    for order in (regions, ["1", "2"], ["a", "b"], ["one", "two"]):
        if alone in order:
            return ("first", "second")[order.index(alone)]
    marked = _marked(said, question, names)
    if len(votes := _votes(marked, pole, None)) == 1:
        return "first" if votes == {sign} else "second"
    if votes:
        return None
    named = set(re.findall("\u2039([01])\u203a", marked))
    if len(named) == 2:
        named = set(re.findall("\u2039([01])\u203a", _DROPPED.sub(" ", _BOTH.sub(" ", marked))))
        return ("first", "second")[int(named.pop())] if len(named) == 1 else None
    if len(named) != 1:
        return None
    return ("first", "second")[int(named.pop()) ^ (_NOT.search(marked) is not None)]


def _votes(marked: str, pole: str, subject: int | None) -> set[int]:
    """What is said of the first object: 1 for the pole, -1 for its opposite, once or several times.

    An object after a preposition ("than", "of", "above") is what the other one is compared with.
    subject: whom a clause is about that names no object.
    """
    votes = set()
    for clause in _CLAUSE.split(_BOTH.sub(" ", _SIZE_OF.sub("", marked))):
        mentions = list(_MENTION.finditer(_HAS.sub(r"than \1 ", clause)))
        about = {int(m["which"]) for m in mentions if not m["ref"]}
        against = {int(m["which"]) for m in mentions if m["ref"]}
        if len(about) == 1:
            subject = about.pop()
        elif about:
            subject = int(next(m["which"] for m in mentions if not m["ref"]))
        elif len(against) == 1:
            subject = 1 - against.pop()
        start = 0
        for match in _STATED[pole].finditer(clause):
            goes_on = (
                start > 0 and not clause[start : match.start()].strip()
            )  # "higher up", "farther back"
            negated = _NOT.search(clause, start, match.start()) is not None
            start = match.end()
            if goes_on:
                continue
            if subject is not None and (negated or not match["as"]):
                turns = negated + bool(match["less"]) + (match["pos"] is None) + subject
                votes.add(-1 if turns % 2 else 1)
    return votes


def _marked(said: str, question: str, names: tuple) -> str:
    """The answer with its mentions of the two objects replaced by marks that hold 0 or 1."""
    boxes = list(dict.fromkeys(t for t in words.tuples(question) if len(t) == 4))[:2]
    regions = _regions(question) or (["1", "2"] if "2" in _REGION.findall(said) else ["0", "1"])
    said = (
        _BOX.sub(lambda m: _mark(_nearest(words.tuples(m[0])[0], boxes)), said) if boxes else said
    )
    said = _REGION.sub(lambda m: _mark(regions.index(m[1]) if m[1] in regions else None), said)
    called = _called(names)
    if any(name in said for name in called):
        pattern = "|".join(map(re.escape, sorted(called, key=len, reverse=True)))
        said = re.sub(rf"\b(?:{pattern})\b", lambda m: _mark(called[m[0]]), said)
    for pattern in (_NUMBERED, _ORDINAL):
        said = pattern.sub(lambda m: _mark(_which(m)), said)
    return _TWICE.sub("\u2039\\1\u203a", said)


def _regions(question: str) -> list[str]:
    """The numbers of the regions that a question names, in its order."""
    return list(dict.fromkeys(_REGION.findall(question.lower())))[:2]


def _mark(which: int | None) -> str:
    return " " if which is None else f"\u2039{which}\u203a"


def _nearest(numbers: tuple[float, ...], boxes: list[tuple]) -> int | None:
    """The box whose numbers these are, each to 10 bins."""
    gaps = [max(abs(a - b) for a, b in zip(numbers, box, strict=True)) for box in boxes]
    best = min(range(len(gaps)), key=gaps.__getitem__)
    return best if gaps[best] <= 10 else None


def _called(names: tuple) -> dict[str, int]:
    """Names of the two objects, and the last words of those, as far as they tell them apart."""
    names = [str(name).lower() for name in names]
    found: dict[str, int] = {}
    for forms in (names, [name.split(" ")[-1] for name in names]):
        if len(forms) == 2 and all(forms) and forms[0] != forms[1]:
            found |= {form: k for k, form in enumerate(forms) if form not in found}
    return found
