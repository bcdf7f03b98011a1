"""Words beside numbers: which leave a number as it is, and which make it something else.

The lists are closed on purpose: a word behind a number that is in none of them counts as an unknown
unit, and then nothing is read. A missing word costs an answer, a wrong one would cost the truth.
"""

import math

from vlm3.tasks.units import METRES


def _in_order(listed: str) -> tuple[str, ...]:
    return tuple(listed.split())


def _words(listed: str) -> frozenset[str]:
    return frozenset(_in_order(listed))


# What may stand behind a bare number, which is then still a bare number.
HARMLESS = frozenset("()[]{}.,;:!?\u2026=-\u2013\u2014|\u2248~")
FOLLOWING = _words(
    "away from in is was are be and or but as at for to along apart ahead across above below "
    "behind before beyond wide tall high long deep far off back with if according based because "
    "since so which that where when given on between horizontally vertically would should seems "
    "looks appears lies stands total here there straight further farther"
)
# "in" is inches before the first of these ("20 in wide"), a preposition before the second.
AFTER_INCHES = _words("apart away across wide tall high long deep of from between lies and or in")
WITHIN = METRES.keys() - {"in", "m"} | _words(
    "front the a an total this that these my your its our reality fact real terms all image depth "
    "height width length distance space view line sight scene picture photo frame short summary "
    "conclusion general other question"
)
# Between two numbers these bind them together, where any other word keeps them apart.
JOINS = _words(
    "and to or plus minus x by times over point about around roughly approximately approx maybe "
    "perhaps a an another some up with through till until versus vs nearly almost the of then "
    "between"
)
# Ranges, sums and products: even two numbers with units are then parts of something larger.
HARD = _words(
    "to x by times minus plus through till until over point - + * \u2013 \u2014 ~ \u00b1 \u00d7"
)
BOUNDS = _words(
    "than least most within under over above below beyond exceeds exceeding minus negative not x "
    "times twice half double triple maximum minimum "
    "point \u00b1 +/ < > \u2264 \u2265 * ^ \u00d7 \u00f7"
)
# Before a number that names something, and counts nothing: "image 2".
LABELS = _words(
    "image images photo photos picture pictures camera cameras view views frame frames figure "
    "region regions object objects box boxes item items option options step thing things number no"
)
# Last parts of names that hold no unit: "image_depth", "z/depth".
NAMES = _words("z depth range distance width height length value answer result estimate number or")

UP_TO_TWELVE = _in_order("one two three four five six seven eight nine ten eleven twelve")
# NaN: no value by itself, but a digit or a unit joined to it ("3 hundred cm") is not read alone.
SPOKEN = dict.fromkeys(
    _words(
        "zero thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty "
        "fifty sixty seventy eighty ninety hundred hundreds thousand thousands million dozen "
        "dozens couple halves quarter quarters thirds fifths tenths third fourth fifth sixth "
        "eighth tenth twice double triple"
    ),
    math.nan,
)
SPOKEN |= {word: float(k) for k, word in enumerate(UP_TO_TWELVE, 1)} | {"half": 0.5}
