"""What every task is: questions about views, the reading of answers, and scores."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from vlm3.reference import PixelText
from vlm3.tasks import text
from vlm3.views import QA, View


class Task(ABC):
    """A task with its templates, see `vlm3.tasks.get`; what others must know of it, it says itself.

    views: how many a question is about. subject: what of the first view a question names, "pixels",
    "boxes", or "" for nothing. headline: the score by which models are compared; lower_is_better:
    whether small ones are good; further: scores, where high is good, of what the headline leaves
    out. focal_px: what views are unified to where a model does not say how it was taught (the
    paper's values). takes_matches: whether `ask` takes `matches`, the points that a Pair knows in
    both views.
    """

    views: ClassVar[int] = 1
    subject: ClassVar[str] = "pixels"
    headline: ClassVar[str] = ""
    lower_is_better: ClassVar[bool] = False
    further: ClassVar[tuple[str, ...]] = ()
    focal_px: ClassVar[float] = 1000.0
    takes_matches: ClassVar[bool] = False

    @classmethod
    def in_metres(cls, options: Mapping) -> bool:
        """Whether what it asks with these options of `ask` has answers in metres."""
        return True

    def __init__(self, templates: Mapping):
        self.templates = templates

    @property
    def reference(self) -> PixelText:
        """How this task writes pixels and boxes; ValueError where its templates have no scale.

        Templates may say `rounding`, see `vlm3.reference.PixelText`.
        """
        if "scale" not in self.templates:
            raise ValueError(
                "the templates say no scale for pixels and boxes, such as scale = 2000"
            )
        return PixelText(self.templates["scale"], self.templates.get("rounding", "floor"))

    def in_one_wording(self, rng: np.random.Generator) -> Self:
        """The same task with one wording of each kind of question, drawn with rng: its questions
        differ in what they are about alone, so that a packed sample shares all words before it."""
        return type(self)(text.in_one_wording(self.templates, rng))

    @abstractmethod
    def ask(
        self, views: Sequence[View], n: int, rng: np.random.Generator, **options: Any
    ) -> list[QA]:
        """Up to n questions about views whose labels answer them, drawn with rng.

        ValueError for views without the labels that the task needs, and its kind NothingToAsk for
        those that have them and still give no question.
        """

    @abstractmethod
    def unanswered(
        self, views: Sequence[View], rng: np.random.Generator, about: Sequence = ()
    ) -> list[QA]:
        """Questions about views of which nothing is known.

        about: (N, 2) pixels of the first view where pixels are the subject; boxes are the view's
        own. ValueError for pixels outside the view.
        """

    @abstractmethod
    def read(self, qa: QA, text: str) -> Any | None:
        """The value that an answer gives to its question, whether or not its truth is known; None
        where it says none, or several that differ.

        A QA of kind "" reads what the text says to whatever question.
        """

    @abstractmethod
    def score(self, pairs: Sequence[tuple[Any | None, Any]]) -> dict[str, float]:
        """Scores of (value, truth) pairs; what was not answered counts as wrong in all that compare
        models, and `parsed` is the share that was."""

    def truth(self, qa: QA) -> Any:
        """The exact value behind the right answer, where files may state it in words."""
        return qa.truth

    def value(self, truth: Any) -> Any:
        """What `read` gives for the right answer, of a truth that says more than that."""
        return truth

    def numbers(self, value: Any) -> list[float] | None:
        """A value as numbers, of which a best constant answer is the median; None for a word."""
        return None if isinstance(value, (str, bool)) else np.atleast_1d(value).tolist()

    def shown(self, value: Any) -> str:
        """A value in a few words, for people."""
        return str(value)

    def _worded(self, kind: str, rng: np.random.Generator, **fills: object) -> str:
        return text.question(self.templates, kind, rng, **fills)

    def _about_pixels(
        self, kind: str, view: View, rng: np.random.Generator, uv: Sequence[Sequence[float]]
    ) -> list[QA]:
        """A question about each of (N, 2) pixels of a view."""
        points = [self.reference.encode(tuple(map(float, place)), view.size) for place in uv]
        abouts = [tuple(text.tuples(point)) for point in points]
        return [
            QA(kind, about, self._about_pixel(kind, rng, point, *about[0]))
            for about, point in zip(abouts, points, strict=True)
        ]

    def worded(self, qa: QA, rng: np.random.Generator, scale: int = 2000) -> QA:
        """A question of a file that states none, about a pixel in [0, scale), in words of this
        task and in its own scale."""
        x, y = (number * self.templates["scale"] // scale for number in qa.about[0])
        question = self._about_pixel(qa.kind, rng, f"({x}, {y})", x, y)
        return qa._replace(question=question, about=((x, y),))

    def _about_pixel(self, kind: str, rng: np.random.Generator, point: str, x: float, y: float):
        return self._worded(kind, rng, point=point, x=f"{x:g}", y=f"{y:g}")


def demand_some(pairs: Sequence) -> None:
    """ValueError where there is nothing to score."""
    if not pairs:
        raise ValueError("nothing to score: no pairs")


def mean(values: Sequence[float]) -> float:
    """NaN of none."""
    return float(np.mean(values)) if len(values) else math.nan
