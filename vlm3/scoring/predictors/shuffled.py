"""Any model, asked about the images of another item: what it says without what was to be seen.

`shuffled:tiny` gets the questions that `tiny` gets, with the same pixels and boxes in them, and the
views of the item half-way round the source. Far away, since files of photographs go from place to
place; all views of a pair come from there. What a model loses by it, it owed to its eyes.
"""

from dataclasses import fields, replace

import numpy as np

from vlm3.mixture import Source
from vlm3.scoring import predictors
from vlm3.scoring.predictors import Predictor
from vlm3.views import Sample


class Shuffled(Source):
    """A source whose questions are asked about the views of another item."""

    def sample(self, index: int, name: str, rng: np.random.Generator) -> Sample:
        size = len(self.items)
        asked = super().sample(index, name, rng)
        return replace(asked, views=self.views((index + size // 2) % size))


def predictor(model: str, source: Source) -> Predictor:
    """model: as `vlm3.scoring.predictors.get` takes it. ValueError for a source of one item."""
    if len(source.items) < 2:
        raise ValueError("shuffled: a source of one item has no other images")
    found = predictors.get(model or "tiny", source)
    given = {each.name: getattr(found.source, each.name) for each in fields(found.source)}
    return found._replace(source=Shuffled(**given), identity=f"shuffled {found.identity}")
