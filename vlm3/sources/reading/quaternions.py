"""Poses as quaternions and translations."""

import numpy as np


def poses(quaternions: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """(..., 4, 4) transforms a_from_b of quaternions (..., 4), w first, and (..., 3) metres.

    ValueError for a quaternion that is further from length one than rounding brings it.
    """
    q, t = np.asarray(quaternions, float), np.asarray(translations, float)
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    if bad := np.argwhere(~(np.abs(length[..., 0] - 1) < 0.01)).tolist():
        raise ValueError(f"not a rotation: quaternion {q[tuple(bad[0])].tolist()}")
    w, x, y, z = np.moveaxis(q / length, -1, 0)
    found = np.zeros((*q.shape[:-1], 4, 4))
    found[..., 0, :3] = np.stack(
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1
    )
    found[..., 1, :3] = np.stack(
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1
    )
    found[..., 2, :3] = np.stack(
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1
    )
    found[..., :3, 3], found[..., 3, 3] = t, 1
    return found
