"""Units of length and of angles by their names, as answers write them."""

import math

FOOT_M, INCH_M = 0.3048, 0.0254  # exact by definition, like the yard and the mile
METRES = {
    name: metres
    for metres, names in {
        1.0: "m metre metres meter meters mtr mtrs \u7c73",
        0.1: "dm decimetre decimetres decimeter decimeters",
        0.01: "cm cms centimetre centimetres centimeter centimeters \u5398\u7c73",
        0.001: "mm millimetre millimetres millimeter millimeters \u6beb\u7c73",
        # the Greek mu: NFKC turns the micro sign into it before anything is read
        1e-6: "\u03bcm um micron microns micrometre micrometres micrometer micrometers",
        1000.0: "km kms kilometre kilometres kilometer kilometers",
        INCH_M: "in ins inch inches",
        FOOT_M: "ft foot feet",
        0.9144: "yd yds yard yards",
        1609.344: "mi mile miles",
    }.items()
    for name in names.split()
}
DEGREES = dict.fromkeys(("\u00b0", "deg", "degs", "degree", "degrees"), 1.0)
DEGREES |= dict.fromkeys(("rad", "rads", "radian", "radians"), 180 / math.pi)
MARKS = {"'": FOOT_M, "''": INCH_M, '"': INCH_M}
UNITS = {name: ("m", metres) for name, metres in (METRES | MARKS).items()}
UNITS |= {name: ("deg", degrees) for name, degrees in DEGREES.items()}
