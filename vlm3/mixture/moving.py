"""A photograph with depth as seen from beside where it was taken.

Its pixels are points in space; a camera that stands elsewhere sees them at other places, the nearer
ones before the others. What was hidden is made up from beside it, and has no depth.
"""

from dataclasses import replace

import numpy as np

from vlm3.geometry import pixel_centres, project, transform, unproject
from vlm3.views import View


def moved(view: View, old_from_new: np.ndarray, size: tuple[int, int] | None = None) -> View:
    """What a camera of this kind sees that stands elsewhere; the view needs depth_m.

    old_from_new: 4x4 rigid. size: (width, height) of the new picture of the same field of view, by
    default half of the old one, since points that are spread out must not leave gaps. Where depth
    is unknown it is taken to be that of the nearest pixel beside it, for the picture alone.
    """
    camera = view.camera.resized(*(size or (view.size[0] // 2, view.size[1] // 2)))
    filled = _filled(view.depth_m)
    seen = transform(
        np.linalg.inv(old_from_new), unproject(pixel_centres(view.camera), filled, view.camera)
    )
    uv, z_m = project(seen, camera).reshape(-1, 2), seen[..., 2].ravel()
    with np.errstate(invalid="ignore"):
        inside = np.flatnonzero(((uv >= 0) & (uv < camera.size)).all(1))
    inside = inside[np.argsort(-z_m[inside])]  # far to near: what comes last stays
    columns, rows = uv[inside].astype(int).T
    source = np.full((camera.height, camera.width), -1)
    source[rows, columns] = inside
    hidden = source < 0
    source = _spread(source, hidden)
    known = np.isfinite(view.depth_m.ravel()[source]) & ~hidden
    return replace(
        view,
        image=view.image.reshape(-1, 3)[source],
        camera=camera,
        depth_m=np.where(known, z_m[source], np.nan).astype(np.float32),
        world_from_cam=None if view.world_from_cam is None else view.world_from_cam @ old_from_new,
        points=None,
        boxes=(),
    )


def _filled(depth_m: np.ndarray) -> np.ndarray:
    unknown = ~np.isfinite(depth_m)
    return _spread(depth_m, unknown)


def _spread(values: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Each gap with the value of the nearest pixel that is none."""
    import cv2

    if not gaps.any() or gaps.all():
        return values
    _, labels = cv2.distanceTransformWithLabels(
        gaps.astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    first = np.zeros(labels.max() + 1, values.dtype)
    first[labels[~gaps]] = values[~gaps]
    return first[labels]
