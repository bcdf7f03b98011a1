"""Any model, asked about the images of another item: what it says without what was to be seen.

`shuffled:tiny` gets the questions that `tiny` gets, with the same pixels and boxes in them, and the
views of the item half-way round the source. Far away, since files of photographs go from place to
place; all views of a pair come from there. What a model loses by it, it owed to its eyes.
"""

from vlm3.mixture import Source
from vlm3.scoring import predictors
from vlm3.scoring.predictors import Predictor


def predictor(model: str, source: Source, lessons: str = "") -> Predictor:
    """model: as `vlm3.scoring.predictors.get` takes it. ValueError for a source of one item."""
    found = predictors.get(model or "tiny", source, lessons)
    return found._replace(source=found.source.shuffled(), identity=f"shuffled {found.identity}")
