"""Numbers in answers: the true value, or none; never another number."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.conftest import says
from vlm3 import tasks
from vlm3.tasks import numbers
from vlm3.tasks import text as words
from vlm3.tasks.plain import said

correspondence, depth = tasks.get("correspondence"), tasks.get("depth")
objects, pose = tasks.get("objects"), tasks.get("pose")

FOOT, INCH, YARD = 0.3048, 0.0254, 0.9144

READ = {
    "1.9mtrs": 1.9,
    "19 dm": 1.9,
    "190cms": 1.9,
    "1900000 \u00b5m": 1.9,
    "2.08 yds": 2.08 * YARD,
    "75\u2033": 75 * INCH,
    "6.2\u2032": 6.2 * FOOT,
    "5' 3\"": 5 * FOOT + 3 * INCH,
    "5 feet, 3 inches": 5 * FOOT + 3 * INCH,
    "8-inch": 8 * INCH,
    "5ft3in": 5 * FOOT + 3 * INCH,
    "half a yard": YARD / 2,
    "three yards": 3 * YARD,
    "1,900 mm": 1.9,
    "190 [cm]": 1.9,
    "distance_cm = 190": 1.9,
    '{"depth": 190, "unit": "cm"}': 1.9,
    "In feet: 6.2": 6.2 * FOOT,
    "190, in cm": 1.9,
    "Depth/cm: 190": 1.9,
    "the depth in centimetres is 190": 1.9,
    "_190_ cm": 1.9,
    "`190` cm": 1.9,
    "<b>190</b> cm": 1.9,
    "$1.9\\,\\mathrm{m}$": 1.9,
    "$\\boxed{190}$ cm": 1.9,
    "\uff11\uff19\uff10\uff43\uff4d": 1.9,
    "190\u200bcm": 1.9,
    "1.9 \u7c73": 1.9,
    "75 in away": 75 * INCH,
    "1.9 in front of us": 1.9,
    "1.9 m / 6.23 ft": 1.9,
    "1.9 m, or 190 cm": 1.9,
    "in image 2, 1.9 m": 1.9,
    "Region [3] is 1.9 m tall": 1.9,
    "the 2nd one is 1.9 m away": 1.9,
    "I am 90% sure: 1.9 m": 1.9,
    "turned by 30 degrees, 1.9 m": 1.9,
    "There are 4 chairs; 1.9 m": 1.9,
    "+1.9": 1.9,
    "\u2248 1.9": 1.9,
    "z=1.9m": 1.9,
}
UNREAD = [
    "3 fathoms",
    "3 nm",
    "3 light years",
    "3 m\u00b2",
    "3 m^3",
    "3 m/s",
    "3 m per second",
    "3 square feet",
    "90 %",
    "30\u00b0",
    "12 px",
    "3 kg",
    "3 K",
    "5 \u20ac",
    "$5",
    "3 o'clock",
    "3 times",
    "3x",
    "3 dozen",
    "3 million",
    "3 hundred cm",
    "17:45",
    "2024-05-06",
    "1.9.2",
    "0x1F",
    "1e400",
    "3 m x 2 m",
    "3 m x 3 m",
    "3*3",
    "3 + 4 m",
    "3 \u2013 5 m",
    "3..5 m",
    "3\u301c5 m",
    "3 through 5 m",
    "from 3 up to 5 m",
    "[3, 5] m",
    "3 < z < 5",
    "> 3 m",
    "\u22643 m",
    "at least 3 m",
    "less than three feet",
    "up to 3 m",
    "not 3 m",
    "isn't 3 m",
    "minus 3 m",
    "\u20133 m",
    "3 \u00b11 m",
    "3 m \u00b1 20 cm",
    "3(1) m",
    "3 \\pm 1 m",
    "\\frac{3}{4} m",
    "3\\frac12 m",
    "\u00be m",
    "3 \u00be m",
    "3\u2044 4 m",
    "3 and a half feet",
    "3 m and a half",
    "three and a half metres",
    "three point five m",
    "3 point 5 m",
    "point five metres",
    "fifty-five feet",
    "one or two metres",
    "a third of 3 m",
    "twice 3 m",
    "5% of 3 m",
    "3 quarters of a metre",
    "3 m 40",
    "3 metres 40 centims",
    "6 feet 2",
    "one metre eighty",
    "3 500 mm",
    "3\u202f500 mm",
    "3'500 mm",
    "3_500 mm",
    "3,5 m",
    "3,500 m",
    "3.500,5 mm",
    "3\u00d710\u00b2 mm",
    "3\u00b710^2 mm",
    "10<sup>2</sup> cm",
    "3e2 cm",
    "3E-1",
    "Depth (px): 190",
    "In furlongs: 3",
    "Depth in cm or m: 190",
    "depth in units of 0.1 m: 19",
    "190 centi metres",
    "190 c m",
    "2 .5 m",
    "2 . 5 m",
    "\u0663.5 m",
    "3 \u0663 m",
    "2\u00b75 m",
    "++3",
    "3+",
    "--3",
    "f=50mm, so 3",
]


@pytest.mark.parametrize(("text", "metres"), READ.items())
def test_a_number_is_read_with_its_unit(text, metres):
    assert says(depth, text) == pytest.approx(metres)
    assert says(objects, text) == pytest.approx(metres)


@pytest.mark.parametrize("text", UNREAD)
def test_a_number_that_is_not_understood_whole_is_none(text):
    assert says(depth, text) is None
    assert not isinstance(says(objects, text), float)


# Lengths in many notations: (what is written, metres), where metres is what a person would take it
# for.

UNITS = {
    "m": 1,
    "metres": 1,
    "meter": 1,
    "cm": 0.01,
    "centimeters": 0.01,
    "mm": 0.001,
    "dm": 0.1,
    "km": 1000,
    "ft": FOOT,
    "feet": FOOT,
    "in": INCH,
    "inches": INCH,
    "yards": YARD,
    "yd": YARD,
    "M": 1,
    "Cm": 0.01,
    "fathoms": 1.8288,
    "chains": 20.1168,
    "nm": 1e-9,
    "pm": 1e-12,
    "rods": 5.0292,
    "hands": 0.1016,
    "\u00c5": 1e-10,
    "\u5c3a": 1 / 3,
}
GLUE = [
    "",
    " ",
    "  ",
    "\u00a0",
    "\u202f",
    "\t",
    "\n",
    "\\,",
    "-",
    " (",
    "~",
    " \\text{",
    "** ",
    " *",
    "`",
]
AROUND = [
    "{}",
    "{}.",
    " {} ",
    "It is {}.",
    "about {}",
    "~{}",
    "\u2248 {}",
    "**{}**",
    "*{}*",
    "`{}`",
    "${}$",
    "\\({}\\)",
    "\\boxed{{{}}}",
    '"{}"',
    "({})",
    "Depth: {}",
    "depth={}",
    "- {}",
    "1. {}",
    "# {}",
    "<answer>{}</answer>",
    "<b>{}</b>",
    "{} away",
    "{} in front of the camera",
    "{} in the image",
    "{} or so",
    "at (12, 34) it is {}",
    "It is {}, I think.",
    "<think>Could be 7 m.</think>{}",
    "<musing>7 m</musing>{}",
    "[THINK]7 m[/THINK]{}",
    "\u25c1think\u25b77 m\u25c1/think\u25b7{}",
    "The sofa: {}!",
    "{}\n",
    "<think>7</think><answer>{}</answer>",
    "{}<|im_end|>",
    '{{"depth": "{}"}}',
]


def thousands(value: float, mark: str) -> str:
    return f"{value:,.2f}".replace(",", mark)


FORMS = [
    lambda v: f"{v:.2f}",
    lambda v: f"{v:.0f}",
    lambda v: f"{v:.6g}",
    lambda v: f"{v:.3e}",
    lambda v: f"{v:.2f}".replace(".", ","),
    lambda v: thousands(v, ","),
    lambda v: thousands(v, " "),
    lambda v: thousands(v, "\u202f"),
    lambda v: thousands(v, "'"),
    lambda v: thousands(v, "_"),
    lambda v: f"+{v:.2f}",
    lambda v: f"{v:.2f}".translate({k: k + 0xFEE0 for k in range(46, 58)}),
    lambda v: f"{v / 100:.5g} \u00d7 10^2",
    lambda v: f"{v / 100:.5g}\u00d710\u00b2",
    lambda v: f"{v * 10:.5g}*10**-1",
    lambda v: f"{2 * v:.0f}/2",
    lambda v: f"{v // 1:.0f} 1/2",
    lambda v: f"{v // 1:.0f}\u00bd",
    lambda v: f"{v // 1:.0f} and a half",
    lambda v: f"{v // 1:.0f} point {v % 1 * 10:.0f}",
    lambda v: f"\\frac{{{2 * v:.0f}}}{{2}}",
    lambda v: f"{v:.2f} \u00b1 0.1",
    lambda v: f"{v:.2f}+/-3",
    lambda v: f"{v:.2f}(7)",
    lambda v: f"{v:.2f} \\pm 3",
    lambda v: f"{v:.1f}".replace(".", "\u00b7"),
]


def close_enough(read: float | None, value: float, factor: float) -> bool:
    """None, or the value as far as the roundest of the forms writes it."""
    return read is None or abs(read - value * factor) <= (0.51 + 0.001 * value) * factor


@settings(deadline=None, max_examples=2000, derandomize=True)
@given(
    st.floats(8, 90_000),
    st.sampled_from(FORMS),
    st.sampled_from(GLUE),
    st.sampled_from(sorted(UNITS)),
    st.sampled_from(AROUND),
)
def test_a_length_in_any_notation_is_read_right_or_not_at_all(value, form, glue, unit, around):
    end = {" (": ")", " \\text{": "}", " *": "*"}.get(glue, "")
    text = around.format(f"{form(value)}{glue}{unit}{end}")
    for read in (
        says(depth, text),
        says(objects, text),
        (says(pose, text) or {}).get("distance_m"),
    ):
        assert not isinstance(read, float) or close_enough(read, value, UNITS[unit]), text


@settings(deadline=None, max_examples=1000, derandomize=True)
@given(
    st.floats(8, 900),
    st.sampled_from(FORMS),
    st.sampled_from(sorted(UNITS)),
    st.sampled_from(
        [
            "Depth ({u}): {v}",
            "Depth [{u}]: {v}",
            "depth in {u}: {v}",
            "The depth in {u} is {v}",
            "depth_{u}={v}",
            "{v} ({u})",
            "Depth/{u}: {v}",
            '{{"depth": {v}, "unit": "{u}"}}',
            "({v}) {u}",
            "| {v} | {u} |",
        ]
    ),
)
def test_a_unit_apart_from_its_number_counts_or_nothing_does(value, form, unit, around):
    text = around.format(u=unit, v=form(value))
    for read in (says(depth, text), says(objects, text)):
        assert not isinstance(read, float) or close_enough(read, value, UNITS[unit]), text


JOINS = [
    "-",
    " - ",
    "\u2013",
    " \u2014 ",
    "~",
    " ~ ",
    "..",
    "...",
    "/",
    " / ",
    ":",
    "x",
    " x ",
    "\u00d7",
    " \u00d7 ",
    "*",
    " * ",
    "+",
    " + ",
    "^",
    " to ",
    " and ",
    " or ",
    " by ",
    " plus ",
    " minus ",
    " times ",
    " over ",
    " point ",
    " ",
    "  ",
    "\n",
    ", ",
    ",",
    "e",
    "E-",
    " up to ",
    " through ",
    " \u00b1 ",
    "\u00b1",
    " +/- ",
    "'",
    "_",
    " and about ",
    " plus another ",
    " of ",
]


@settings(deadline=None, max_examples=2000, derandomize=True)
@given(
    st.integers(2, 400),
    st.integers(2, 400),
    st.sampled_from(JOINS),
    st.sampled_from(
        [
            "{a}{j}{b} m",
            "{a} m{j}{b} m",
            "{a}{j}{b}",
            "{a} m{j}{b}",
            "{a} m{j}{b} cm",
            "{a} cm{j}{b} poles",
            "{a} poles{j}{b} cm",
            "It is {a}{j}{b} metres away.",
            "**{a}**{j}**{b}** m",
            "{a}{j}{b}%",
        ]
    ),
)
def test_a_number_joined_to_another_is_never_read_alone(a, b, join, form):
    assume(max(a, b) > 1.05 * min(a, b))
    text = form.format(a=a, b=b, j=join)
    assume(join not in (",",) or len(str(b)) != 3 or "m" not in form)  # thousands, tested above
    read = says(depth, text)
    alone = {a, b, a / 100, b / 100}
    assert read is None or not any(math.isclose(read, each) for each in alone), text


TAGS = ["<{}>", "<{} >", "<|{}|>", "\u25c1{}\u25b7", "<{} mode='deep'>"]
NAMES = [
    "think",
    "thinking",
    "thought",
    "THINK",
    "reasoning",
    "scratchpad",
    "musing",
    "my_notes",
    "\u601d\u8003",
]
THOUGHTS = [
    "The sofa is 7 m away.",
    "7",
    "7 m, no, 8 m",
    "<b>7</b> m",
    "see <x>it</x>: 7 m",
    "<answer>7</answer>",
    "(7, 7)",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tag", TAGS)
def test_thoughts_are_never_the_answer(tag, name):
    opening, closing = (
        tag.format(name),
        tag.split(" ")[0].rstrip(">").format(f"/{name}") + ("|>" if "|" in tag else ">"),
    )
    closing = (
        f"\u25c1/{name}\u25b7"
        if "\u25c1" in tag
        else f"<|/{name}|>"
        if "|" in tag
        else f"</{name}>"
    )
    for thought in THOUGHTS:
        assert says(depth, f"{opening}{thought}{closing}2.4") == 2.4
        assert says(depth, f"{opening}{thought}{closing}\n\n<answer>2.4 m</answer>") == 2.4
        for unfinished in (
            f"{opening}{thought}",
            f"{opening}{thought}{closing}",
            f"{opening}{thought}\n\n2.4 m",
        ):
            assert says(depth, unfinished) is None


def test_square_brackets_hold_thoughts_only_by_name():
    assert says(depth, "[THINK]7 m[/THINK]2.4") == says(depth, "[2.4] [m]") == 2.4
    assert says(depth, "[thinking]7 m") is None


def test_angles_count_in_degrees_and_lengths_in_metres():
    found = numbers.measures(said("12.5\u00b0, or 0.2182 rad, at 250 cm; 75 % sure"))
    assert [(round(m.value, 1), m.of) for m in found] == [
        (12.5, "deg"),
        (12.5, "deg"),
        (2.5, "m"),
        (75.0, "?"),
    ]
    assert numbers.stated(found, "deg", bare=False) == 12.5
    assert numbers.stated(found, "m", bare=True) == 2.5


def test_the_places_of_a_question_are_no_lengths():
    assert words.without("at pixel 12, 340 it is 2.4", [(12, 340)]).split()[-1] == "2.4"
    for text in ("at pixel 12, 340 it is 2.4", "(12, 340): 2.4", "12 340: 2.4", "x=12, y=340: 2.4"):
        assert numbers.length_m(words.without(said(text), [(12.0, 340.0)])) == 2.4
    assert words.without("112, 340", [(12, 340)]) == "112, 340"
    assert words.without("12, 340.5", [(12, 340)]) == "12, 340.5"


@pytest.mark.parametrize(
    "piece",
    [
        "1' ",
        "<a ",
        "<a>",
        "</a>",
        "\\text{",
        "$1",
        "*",
        "_",
        "\u25c1think\u25b7",
        "[think]",
        "{",
        "\u00bd",
        "2 in ",
        "point ",
        "1 and ",
        "half a ",
        "(cm) ",
        "depth_cm:",
        "a_",
        "1/",
        "\u200b",
        "\u0663",
        "<answer>",
        "image 1 and ",
        "1,000,",
        "yaw 1 left ",
        "pitch (",
        "1\u00b0",
        "x=1, ",
    ],
)
def test_a_very_long_answer_is_read_as_quickly_as_its_length_allows(piece):
    text = (piece * 100_000)[:100_000]  # a quadratic reader would take minutes
    for task in (depth, pose, objects):
        says(task, text)


@pytest.mark.parametrize(
    "said",
    [
        "under 2.4 m",
        "just over 3 meters",
        "above 2 m",
        "beyond 5 m",
        "It exceeds 2 m",
        "1.2 m + 1.2 m",
        "3 ft + 2 in",
        "relative depth: 0.45",
        "0.45 on a normalised scale",
        "disparity 24",
        "The ratio is 2.4",
        r"\sqrt{4} m",
        r"\frac{12}{5}",
        r"\log 240 cm",
    ],
)
def test_bounds_sums_and_other_quantities_are_no_length(said):
    assert says(depth, said) is None


@pytest.mark.parametrize(
    "said",
    [
        "<|begin_of_box|>2.4 m<|end_of_box|>",
        "<depth>2.4</depth>",
        "1. Find the pixel\n2. Estimate\n\nDepth: 2.4 m",
        "1) Look\n2) Say 2.4 m",
        "It is over there, 2.4 m away.",
        "2.4 m below the camera",
        "Above it, about 2.4 m",
    ],
)
def test_honest_answers_of_other_models_are_read(said):
    assert says(depth, said) == 2.4


@pytest.mark.parametrize(
    "said", ["Not (305, 412).", "(305,412)%", "(305, 412) \u00b1 3", "It is not (305, 412)"]
)
def test_places_that_are_denied_or_in_other_units_are_no_match(said):
    assert says(correspondence, said) is None


@pytest.mark.parametrize("said", ["<|box_start|>(305,412)<|box_end|>", "<point>(305, 412)</point>"])
def test_places_in_tags_of_other_models_are_read(said):
    assert says(correspondence, said) == (305, 412)
