"""What can be asked of objects: relations, distances and directions, from boxes and places."""

import math

import numpy as np

from vlm3.views import View

NEAR_M = 0.1  # objects closer than this, along the axis of a question, are not asked about
NEAR_SHARE = 0.05  # the same in the image, as a share of its side
ALIKE = 1.2  # sizes whose ratio is smaller are not compared
SMALL_M = 0.05  # smaller sizes are not asked for: two decimals would say too little


def facts_of(view: View, places: list[str]) -> dict[str, np.ndarray]:
    """All that can be asked. Relations: NxN, [i, j] is 1 where i is left of j, -1 where it is
    right, 0 where neither is clear. Distances: NxN metres, hours: NxN, sizes: N metres; 0 or NaN
    where unknown.
    """
    unknown = (math.nan,) * 3
    centres = np.array(
        [unknown if box.centre_m is None else box.centre_m for box in view.boxes], float
    )
    sizes = np.array([unknown if box.size_m is None else box.size_m for box in view.boxes], float)
    sizes = np.where(sizes > 0, sizes, np.nan)
    boxes = np.array([box[:4] for box in view.boxes], float)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2 / view.size
    gaps = centres - centres[:, None]  # [i, j] leads from i to j, in camera coordinates
    right, down, forward = np.moveaxis(gaps @ _level(view).T, -1, 0)
    distance = np.linalg.norm(gaps, axis=-1)
    flat = np.sqrt(np.maximum(distance**2 - down**2, 0))
    hours = np.round(np.degrees(np.arctan2(right, forward)) / 30) % 12
    facts = {
        "left": _both(_clear(middles[:, 0], NEAR_SHARE), _sign(gaps[..., 0], NEAR_M)),
        # An object may be higher up in the image only because it is farther away: both must agree.
        "above": _both(_clear(middles[:, 1], NEAR_SHARE), _sign(down, NEAR_M)),
        "behind": _both(
            _sign(-gaps[..., 2], NEAR_M), _clear(-np.linalg.norm(centres, axis=1), NEAR_M)
        ),
        "big": _clear(-np.log(sizes.prod(1)), math.log(ALIKE)),
        "tall": _clear(-np.log(sizes[:, 1]), math.log(ALIKE)),
        "wide": _clear(-np.log(sizes[:, 0]), math.log(ALIKE)),
        "distance": _far(distance),
        "horizontal_distance": _far(flat),
        "vertical_distance": _far(np.abs(down)),
        "clock": np.where(flat >= NEAR_M, np.where(hours == 0, 12, hours), 0),
    }
    # Two boxes that read the same cannot be told apart.
    same = np.array(places) == np.array(places)[:, None]
    facts = {name: np.where(same, 0, fact) for name, fact in facts.items()}
    width, height, _ = np.where(sizes >= SMALL_M, sizes, 0).T
    return facts | {"width": width, "height": height}


def guesses(view: View) -> dict[str, np.ndarray]:
    """What the boxes alone suggest of each relation, NxN, 1 and -1 as in `facts_of`: larger boxes
    hold larger objects, and what ends higher up in the image is farther away."""
    left, top, right, bottom = np.array([box[:4] for box in view.boxes], float).T
    wide, tall = right - left, bottom - top
    ranked = {"left": left + right, "above": top + bottom, "behind": bottom}
    ranked |= {"big": -wide * tall, "tall": -tall, "wide": -wide}
    return {pole: _clear(values, 0.0) for pole, values in ranked.items()}


def _level(view: View) -> np.ndarray:
    """3x3, rows are right, down and forward on level ground, in camera coordinates; NaN where all
    ways are down."""
    down = np.array([0.0, 1.0, 0.0]) if view.world_from_cam is None else view.world_from_cam[1, :3]
    forward = np.array([0.0, 0.0, 1.0]) - down[2] * down
    length = np.linalg.norm(forward)
    # A camera that looks straight down has no way forward on the ground.
    forward = forward / length if length > 0.1 else np.full(3, np.nan)
    return np.stack([np.cross(down, forward), down, forward])


def _sign(gaps: np.ndarray, least: float) -> np.ndarray:
    """1 where a gap is at least so large, -1 where it is below minus that, 0 between, NaN where it
    is unknown."""
    return np.where(np.isnan(gaps), np.nan, np.where(np.abs(gaps) >= least, np.sign(gaps), 0))


def _clear(values: np.ndarray, least: float) -> np.ndarray:
    return _sign(values - values[:, None], least)


def _both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """What two signs agree on; where the second is unknown, the first alone."""
    return np.where(np.isnan(second) | (first == second), first, 0)


def _far(metres: np.ndarray) -> np.ndarray:
    return np.where(metres >= NEAR_M, metres, 0)
