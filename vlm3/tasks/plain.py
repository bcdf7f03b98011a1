"""Answers of language models as plain text: without thoughts, tags, markup, and odd characters.

Every pattern is bounded or never gives back what it took, so it takes time linear in the length of
the answer.
"""

import re
import unicodedata

from vlm3.tasks.units import METRES

_PLAIN = re.compile(r"[A-Za-z0-9 .,;:()+'\"!?=/%-]*+")  # holds nothing that `said` takes away
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SAME = str.maketrans(
    dict.fromkeys("\u2018\u2019\u00b4\u2032", "'")
    | dict.fromkeys("\u201c\u201d\u2033", '"')
    | dict.fromkeys("\u00ba\u02da", "\u00b0")
)
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")

# Tags as models write them: <think>, <|box_end|>, ◁think▷, [THINK].
_TAG = re.compile(
    r"(?:<\|?|\u25c1)\s?(?:(?P<end>/|end_of_)|begin_of_)?(?P<name>[^\W\d][\w-]*+)"
    r"(?:\s[^<>]{0,200})?/?\|?(?:>|\u25b7)"
    r"|\[(?P<over>/)?"
    r"(?P<thought>think\w{0,9}|thought\w{0,9}|reason\w{0,9}|analysis|reflection|scratchpad)\]",
    re.IGNORECASE,
)
_MARKUP = re.compile(
    "b|br|code|div|em|h[1-6]|i|li|mark|ol|p|pre|s|small|span|strong|sub|sup|t[dhr]|u|ul"
)
_OF_ANSWER = re.compile(
    "answer|final|solution|response|result|output|conclusion|box|point|depth|distance"
)
_LETTER = re.compile(r"[^\W\d_]")
# Units other than metres, which a number without one is in anyway; "in" is a preposition here.
_OTHER_UNITS = METRES.keys() - {"in", "m", "metre", "metres", "meter", "meters"}
_UNIT = re.compile(rf"\b(?:{'|'.join(_OTHER_UNITS)})\b", re.I)
_GOES_ON = re.compile(r"</[\w-]*+>[ \t]?(?!<)\w")  # more of the answer behind its closing tag
_BRACKETED = re.compile("<([^<>]*+)>")

_TEX_FORM = re.compile(
    r"\\(?:boxed|[fm]box|text\w*|math\w+|operatorname|left|right|displaystyle)(?![a-zA-Z])\s?"
)
_TEX = (
    (re.compile(r"\$([^$]*+)\$"), r"\1"),
    (_TEX_FORM, ""),
    (re.compile(r"\\(?:[][(),;:! ]|q?quad(?![a-zA-Z]))"), " "),
    (re.compile(r"\^?\{?\s?\\(?:circ|degree)(?![a-zA-Z])"), "\u00b0"),
    (re.compile(r"\\(?:approx|sim|simeq)(?![a-zA-Z])\s?"), "\u2248"),
    (re.compile(r"\\pm(?![a-zA-Z])"), "\u00b1"),
    (re.compile(r"\\times(?![a-zA-Z])"), "\u00d7"),
    (re.compile(r"\\%"), "%"),
    (re.compile("[{}]"), " "),
)
# Stars that touch a word; between digits or alone they may be a product.
_EMPHASIS = re.compile(
    r"(?<=[^\s0-9*`])[*`]{1,3}|[*`]{1,3}(?=[^\s0-9*`])"
    r"|(?<![^\s([{\"'])[*`]{1,3}(?=[0-9])|(?<=[0-9])[*`]{1,3}(?![^\s)\]}.,;:!?\"'])"
)
_EDGE = re.compile(r"(?<![^\W_])_{1,3}(?![_])|(?<!_)_{1,3}(?![^\W_])")
_BULLET = re.compile(r"^\s{0,9}(?:[*\u2022\u00b7]\s|[0-9]{1,2}[.)]\s(?=[A-Za-z]))", re.MULTILINE)


def said(text: str) -> str:
    """What an answer says: without thoughts and markup, inside its answer tags where it has them.

    Thoughts are what stands in tags that are neither of answers nor of markup, whatever they are
    called, up to the last closing one, and all after an opening one that is never closed.
    Characters are those of Unicode's NFKC, quotation marks straight; a superscript or a fraction in
    one character becomes "^" and digits, never digits alone.
    """
    if _PLAIN.fullmatch(text):
        return text.strip()
    text = text if text.isascii() else _plain_characters(text)
    if "<" in text or "[" in text or "\u25c1" in text:
        text = _BRACKETED.sub(r"(\1)", _answered(text))
    if "\\" in text or "$" in text:
        text = _untex(text)
    return _EDGE.sub("", _BULLET.sub("", _EMPHASIS.sub("", text))).strip()


def _plain_characters(text: str) -> str:
    # NFKC alone would make 32 of "3²"; behind a "^" it is no number
    text = _NOT_ASCII.sub(
        lambda m: f"^{m[0]}" if unicodedata.category(m[0]) == "No" else m[0], text
    )
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text.translate(_SAME)))
    return _FOREIGN_DIGIT.sub("^0", text)


def _answered(text: str) -> str:
    """An answer without its thoughts and tags.

    What stands beside an answer's tags only tells the unit of a number within them.
    """
    start, end, outer, own = 0, len(text), None, []
    for tag in _TAG.finditer(text):
        name = (tag["name"] or tag["thought"]).lower()
        if _MARKUP.fullmatch(name) or name in METRES:
            continue
        if _OF_ANSWER.search(name):
            own.append(tag)
        elif tag["end"] or tag["over"]:
            # chat templates may have written the opening tag, so it can be missing from an answer
            if outer in (None, name):
                start, end, outer = tag.end(), len(text), None
        elif outer is None:
            end, outer = tag.start(), name
    own = [tag for tag in own if start <= tag.start() < end]
    first = next((tag.end() for tag in own if not tag["end"]), start)
    last = next((tag.start() for tag in reversed(own) if tag["end"] and tag.start() >= first), end)
    beside = _UNIT.search(text[start:first] + " " + text[last:end]) or _GOES_ON.match(text, last)
    # "<answer>190</answer> cm": without a unit inside, the one outside counts
    if beside and not _LETTER.search(text, first, last):
        first, last = start, end
    return _TAG.sub(lambda tag: _shown((tag["name"] or "").lower()), text[first:last])


def _shown(name: str) -> str:
    """What a tag leaves behind in a text."""
    if name in METRES:
        return f"<{name}>"  # "<cm>" is a unit in brackets, and no tag
    if name == "sup":
        return "^"
    return "" if _MARKUP.fullmatch(name) else " "


def _untex(text: str) -> str:
    """Without LaTeX's boxes, fonts and spaces; what else it says, as a fraction, stays a riddle."""
    for pattern, put in _TEX:
        text = pattern.sub(put, text)
    return text
