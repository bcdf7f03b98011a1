"""What answers say about a pose: angles by their names, units and sides, vectors, distances.

Every repetition is bounded or gives nothing back, so reading takes time linear in the length of the
answer.
"""

import math
import re

from vlm3.tasks import numbers
from vlm3.tasks import text as words

# Of rotation_angle_deg, yaw_deg, pitch_deg, roll_deg, direction, distance_m, those that are stated.
Fields = dict[str, object]
PARTS = {  # the four questions, and the fields that each asks for
    "angle": ("rotation_angle_deg",),
    "rotation": ("yaw_deg", "pitch_deg", "roll_deg"),
    "direction": ("direction",),
    "distance": ("distance_m",),
}
_AXIS = re.compile(r"\b(yaw|pitch|roll)(?:_deg)?\b", re.IGNORECASE)
_UNIT = r"(?:\s?(?:\u00b0|deg(?:s|rees?)?\b|rad(?:s|ians?)?\b))?"
_COMMA = r"(?:\s?[,;]\s?(?:and )?|\s(?:and )?)"
# "yaw, pitch and roll are 1, 2 and 3": all names, all numbers, and nothing that changes the last.
_LISTED = re.compile(
    r"\byaw\W{1,3}pitch\W{1,3}(?:and )?roll\b[^0-9+\-\u2212.]{0,20}"
    rf"({words.COORDINATE}){_UNIT}{_COMMA}({words.COORDINATE}){_UNIT}{_COMMA}"
    rf"({words.COORDINATE}){_UNIT}"
    r"(?!\w|\s?(?:[\u00b1/^~\u00d7\u2013\u2014-]|\+/|to\b|or\b|,?\s?[-+]?[0-9]|[.,][0-9]))",
    re.IGNORECASE,
)
_FIRST = re.compile(
    rf"[0-9]{_UNIT}[\s-]{{1,2}}(?:(?:of|in|about|around|the)\s){{0,3}}$", re.IGNORECASE
)
_TO_AXIS = re.compile(
    r"""[\s:=\u2248~"')(|]{0,9}+"""
    r"(?:(?:angle|axis|is|was|of|about|approximately|approx\.?|around|roughly|by|to be|"
    r"equals|value|rotation|camera 2|it)\b"
    r"""[\s:=\u2248~"'|]{0,9}+){0,5}+(?=[-+\u2212.]?[0-9])""",
    re.IGNORECASE,
)
_NUMBER = re.compile(rf"({words.COORDINATE}){_UNIT}", re.IGNORECASE)
_SIDE = re.compile(
    r"\b(?:to |on )?(?:the |its )?(left|right|up|down|(?:counter-?|anti-?)?clockwise)(?:wards?)?\b",
    re.IGNORECASE,
)
# Positive yaw turns right, positive pitch looks up, positive roll banks right (`vlm3.geometry`).
_SIGNS = {
    "yaw": {"right": 1, "left": -1},
    "pitch": {"up": 1, "down": -1},
    "roll": {"right": 1, "left": -1},
}
_SIDE_BEFORE = re.compile(r"(?:left|right|up|down|clockwise)(?:wards?)?\s{1,2}$", re.IGNORECASE)
_GAP = re.compile(r"[\s(]{0,3}")
_SENTENCE = re.compile(r"[.;!?](?=\s|$)|\n")
_RADIANS = re.compile(r"\brad(?:s|ians?)?\b", re.IGNORECASE)
_DEGREES = re.compile(r"\u00b0|\bdeg(?:s|rees?)?\b|[0-9]deg", re.IGNORECASE)
_METRES = re.compile(r"\bmet(?:re|er)s?\b", re.IGNORECASE)
# What an angle can be, in degrees; answers beyond it are nonsense rather than a turn further.
_LIMITS = {
    "rotation_angle_deg": (0, 180),
    "yaw_deg": (-180, 180),
    "pitch_deg": (-90, 90),
    "roll_deg": (-180, 180),
    "distance_m": (0, math.inf),
}


def stated(said: str, question: str) -> Fields | None:
    """The fields of a pose that an answer states; None for none.

    question: its unit, if it names one, is that of a bare number.
    """
    pose, rest = _axes(said)
    in_degrees, in_metres = (unit.search(question) is not None for unit in (_DEGREES, _METRES))
    found = numbers.measures(rest)
    pose["rotation_angle_deg"] = numbers.stated(found, "deg", bare=in_degrees)
    pose["distance_m"] = numbers.stated(found, "m", bare=in_metres)
    vectors = {vector for vector in words.tuples(rest) if len(vector) == 3}
    # a direction is a unit vector, rounded or not quite; a longer one may be a place in metres
    if len(vectors) == 1 and 0.5 < (length := math.hypot(*(vector := vectors.pop()))) < 2:
        pose["direction"] = tuple(value / length for value in vector)
    return {k: v for k, v in pose.items() if v is not None and _possible(k, v)} or None


def _possible(field: str, value: object) -> bool:
    if field not in _LIMITS:
        return True
    low, high = _LIMITS[field]
    return low <= value <= high


def _axes(said: str) -> tuple[Fields, str]:
    """Yaw, pitch and roll, None where an angle is unclear, and the text without them.

    Each is a number after its name, or all three stand after all names. Where numbers come before
    names, none is read.
    """
    names = list(_AXIS.finditer(said))
    if not names:
        return {}, said
    factor = _degrees_per_bare(said)
    if match := _LISTED.search(said):
        values = [factor and words.number(match[k]) * factor for k in (1, 2, 3)]
        sided = _SIDE.search(_sentence(said[match.end() :])) is not None and "+" not in match[0]
        angles = {} if sided else dict(zip(PARTS["rotation"], values, strict=True))
        return angles, said[: match.start()] + said[match.end() :]
    # "5 degrees yaw, 3 pitch": which number belongs to which name would be a guess
    if _FIRST.search(said[: names[0].start()]):
        return {}, ""
    found: dict[str, set] = {}
    rest = ""
    ends = [*(name.start() for name in names[1:]), len(said)]
    for name, end in zip(names, ends, strict=True):
        axis, part = name[1].lower(), said[name.end() : end]
        sentence = _sentence(part)
        if re.search("[0-9]", sentence):
            value, rest = _axis(axis, part, factor, part if end < len(said) else sentence)
            # "to the left, yaw 5": a side before the name gives no sign, but puts one in doubt
            sided = _SIDE_BEFORE.search(said[max(0, name.start() - 20) : name.start()])
            found.setdefault(f"{axis}_deg", set()).add(None if sided else value)
    angles = {k: v.pop() if len(v) == 1 else None for k, v in found.items()}
    return angles, said[: names[0].start()] + rest


def _degrees_per_bare(said: str) -> float | None:
    """What a bare number counts in an answer about axes; None where both units are named."""
    if not _RADIANS.search(said):
        return 1.0
    return None if _DEGREES.search(said) else 180 / math.pi


def _axis(axis: str, part: str, factor: float | None, where: str) -> tuple[float | None, str]:
    """The angle that stands after the name of an axis, None where unclear, and what follows it.

    where: the text in which a side may give it a sign.
    """
    lead = _TO_AXIS.match(part)
    match = _NUMBER.match(part, lead.end()) if lead else None
    if match is None:
        return None, ""
    found = numbers.measures(_SIDE.sub(" ", _sentence(part)))
    if not found or [m.of for m in found if m.of != "m"] not in ([""], ["deg"]):
        return None, ""
    (angle,) = (m for m in found if m.of != "m")
    if angle.of == "" and factor is None:
        return None, ""
    value = angle.value * (1.0 if angle.of else factor)
    return _turned(axis, value, match, where), part[match.end() :]


def _sentence(part: str) -> str:
    """The beginning of a text, up to the end of its first sentence or of a bracket around it."""
    first = _SENTENCE.split(part, maxsplit=1)[0]
    before, _, _ = first.partition(")")
    return first if "(" in before else before


def _turned(axis: str, value: float, match: re.Match, where: str) -> float | None:
    """An angle with the sign of the side that is named behind it.

    None where side and sign differ, or two sides.
    """
    sides = {_SIGNS[axis].get(side[1].lower()) for side in _SIDE.finditer(where)}
    if not sides or value == 0:
        return value
    beside = _SIDE.match(where, _GAP.match(where, match.end()).end()) is not None
    # a sign counts; a side may only say the same once more
    if match[1][0] in "+-\u2212":
        return value if not beside or sides == {math.copysign(1, value)} else None
    return value * sides.pop() if beside and len(sides) == 1 and None not in sides else None
