"""Which frames of a scene are worth comparing, and an even choice among them."""

import numpy as np

from vlm3.sources.curation.covisibility import Glances

STEP_DEG = 10.0  # from one bin of angle to the next
OCTAVES = (-4, 4)  # bins of distance: from 1/16 to 16 units, each to twice of it
_TINY = 1e-12
_PLACES = 6  # x 6 of a view that are looked for in all others
_MOST = 2_000  # frames that are looked at for each


def candidates(scene: Glances, k: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `most` of those after frame k, in a circle, half-way round, so that each two frames are
    asked about once: of those that see something of each other, alike in number over angle and
    distance.

    In scenes of more than 4,000 frames, of the 1,000 nearest ones and as many by chance.
    """
    others = _near(_after(k, len(scene)), scene.pose, k, rng)
    others = others[_glimpsed(scene, np.full_like(others, k), others)]
    others = others[_glimpsed(scene, others, np.full_like(others, k))]
    unit_m = float(np.nanmedian(scene.z_m[k]))
    groups = bins(*motions(scene.pose[k], scene.pose[others]), unit_m)
    return np.sort(others[evenly(groups, rng.permutation(len(groups)))[:most]])


def _glimpsed(scene: Glances, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(M,) whether at least two of a few places of views a are seen in b."""
    side = scene.z_m.shape[-1]
    at = ((np.arange(_PLACES) + 0.5) / _PLACES * side).astype(int)
    places = (at[:, None] * side + at).ravel()
    return scene.shares(a, b, places) * len(places) > 1.5


def _after(k: int, size: int) -> np.ndarray:
    steps = np.arange(1, size // 2 + 1)
    if size % 2 == 0 and k >= size // 2:
        steps = steps[:-1]  # the one opposite asks
    return (k + steps) % size


def _near(others: np.ndarray, poses: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    if len(others) <= _MOST:
        return others
    distance = np.linalg.norm(poses[others, :3, 3] - poses[k, :3, 3], axis=-1)
    order = np.argsort(distance, kind="stable")
    near, far = order[: _MOST // 2], order[_MOST // 2 :]
    return others[np.concatenate([near, rng.choice(far, _MOST - len(near), replace=False)])]


def motions(pose1: np.ndarray, poses2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M,) angles in degrees and (M,) distances from one 4x4 world_from_cam to (M, 4, 4) others."""
    R = pose1[:3, :3].T @ poses2[:, :3, :3]
    off = R - R.swapaxes(1, 2)
    sine = np.sqrt((off**2).sum((1, 2)) / 2)
    angle_deg = np.degrees(np.arctan2(sine, np.trace(R, axis1=1, axis2=2) - 1))
    return angle_deg, np.linalg.norm(poses2[:, :3, 3] - pose1[:3, 3], axis=-1)


def bins(angle_deg: np.ndarray, distance: np.ndarray, unit: float) -> np.ndarray:
    """(M,) numbers of bins of angle x distance: steps of 10 degrees, and doubled distances."""
    low, high = OCTAVES
    octave = np.log2(np.maximum(distance, _TINY) / max(unit, _TINY)).clip(low, high - 1e-6)
    steps = np.floor(np.asarray(angle_deg) / STEP_DEG).astype(int)
    return steps * (high - low) + np.floor(octave).astype(int) - low


def evenly(groups: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(M,) places of items in an order of which any beginning holds the groups as evenly as they
    allow; order: (M,) numbers, by which those of one group come, and else at once."""
    by_group = np.lexsort((order, groups))
    new = np.diff(groups[by_group], prepend=-1) != 0
    starts = np.maximum.accumulate(np.where(new, np.arange(len(groups)), 0))
    rank = np.empty(len(groups), int)
    rank[by_group] = np.arange(len(groups)) - starts
    return np.lexsort((order, rank))
