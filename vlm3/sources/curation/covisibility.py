"""How much of one view is seen in another: the pairwise covisibility of WAI (MapAnything, Keetha et
al. 2025), on depth brought to a small grid.

The share of all pixels of the first view whose z-depth, moved into the second, lies within
0.1 m + 0.005 z + 0.1 m ln 2 of the depth that stands there. What is unknown counts as not seen, so
shares cannot be larger than the part of the image whose depth is known. WAI's grid has 224 x 224
cells. Where cells are larger, ground that one looks along falls between their depths: there what
does not agree with the nearest one may agree with what the four around it give.

Where a view has laser points instead of depth, the share is that of its points, the nearest one to
the middle of each cell, that fall into the other image. There they must lie within the tolerance of
what the points in the nine cells around them span, since the rings of a scanner lie apart, and
count as seen where there are none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from vlm3.views import View

GRID, WAI = 48, 224
NEAR_M = 0.04  # what is nearer to the second camera, or behind it, is not seen
TOLERANCE_M, RELATIVE = 0.1 + 0.1 * math.log(2), 0.005


def covisibility(view1: View, view2: View, grid: int = GRID) -> tuple[float, float]:
    """The share of view 1 that view 2 sees, and that of view 2 that view 1 sees.

    ValueError for views that lack what `Glances.of` needs.
    """
    both = Glances.join([Glances.of(view, grid) for view in (view1, view2)])
    seen = both.shares(np.array([0, 1]), np.array([1, 0]))
    return float(seen[0]), float(seen[1])


@dataclass(frozen=True, eq=False)
class Glances:
    """What covisibility needs of N views.

    z_m: (N, G, G) float32, NaN where unknown; camera: (N, 4) fx, fy, cx, cy of pictures of G x G
    pixels; pose: (N, 4, 4) world_from_cam; sparse: (N,) bool, which of them have points; uv: (N, 2,
    G, G) where in the grid each z was measured, None where all are depth maps, which are taken at
    the middles of cells. unit_m: how long a metre is, where lengths are others.
    """

    z_m: np.ndarray
    camera: np.ndarray
    pose: np.ndarray
    sparse: np.ndarray
    uv: np.ndarray | None = None
    unit_m: float = 1.0

    @classmethod
    def of(cls, view: View, grid: int = GRID) -> "Glances":
        """One view; ValueError where camera, pose, or both depth and points are lacking."""
        if view.camera is None or view.world_from_cam is None:
            raise ValueError("covisibility needs the camera and the pose of a view")
        if view.depth_m is not None:
            z_m, uv = _resampled(view.depth_m, grid), None
        elif view.points is not None:
            z_m, uv = _gathered(view.points, view.size, grid)
        else:
            raise ValueError("covisibility needs depth_m or points of a view")
        if not np.isfinite(z_m).any():
            raise ValueError("covisibility needs a view whose depth is known somewhere")
        camera = view.camera.resized(grid, grid)
        intrinsics = np.array([[camera.fx, camera.fy, camera.cx, camera.cy]])
        where = None if uv is None else uv[None]
        return cls(
            z_m[None], intrinsics, view.world_from_cam[None], np.array([uv is not None]), where
        )

    @classmethod
    def join(cls, parts: Sequence["Glances"]) -> "Glances":
        """All of several, in order."""
        z_m, camera, pose, sparse = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("z_m", "camera", "pose", "sparse")
        )
        if not sparse.any():
            return cls(z_m, camera, pose, sparse)
        uv = np.repeat(middles(z_m.shape[-1])[None], len(z_m), 0)
        uv[sparse] = np.concatenate([part.uv[part.sparse] for part in parts if part.sparse.any()])
        return cls(z_m, camera, pose, sparse, uv)

    def __len__(self) -> int:
        return len(self.z_m)

    def shares(self, a: np.ndarray, b: np.ndarray, cells: np.ndarray | None = None) -> np.ndarray:
        """(M,) shares of views a that are seen in views b, both (M,) numbers of views.

        cells: (A,) which of the G * G cells of a are looked at; all by default.
        """
        z, uv, pair = self._moved(a, b, cells)
        view = b[pair]
        column, row = uv.astype(np.intp)
        near, far = (span[view, row, column] for span in self._spans)
        tolerance = TOLERANCE_M * self.unit_m + RELATIVE * z
        seen = (near - tolerance < z) & (z < far + tolerance)
        seen |= self.sparse[view] & np.isnan(near)
        if self.z_m.shape[-1] < WAI:
            left = np.flatnonzero(~seen & ~self.sparse[view])
            between = self._between(view[left], uv[:, left])
            seen[left] = np.abs(between - z[left]) < tolerance[left]
        return np.bincount(pair[seen], minlength=len(a)) / self._looked_at(a, cells)

    def _moved(
        self, a: np.ndarray, b: np.ndarray, cells: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the places of a that fall into the images of b: (K,) z-depth and (2, K) place there,
        and which of the M pairs it is."""
        side = self.z_m.shape[-1]
        R = self.pose[b, :3, :3].swapaxes(1, 2)
        turn = (R @ self.pose[a, :3, :3]).astype(np.float32)
        step = R @ (self.pose[a, :3, 3:] - self.pose[b, :3, 3:])
        x, y, z = np.moveaxis(turn @ self._points(a, cells) + step.astype(np.float32), 1, 0)
        fx, fy, cx, cy = self.camera[b].astype(np.float32).T[:, :, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = x / z * fx + cx, y / z * fy + cy
            inside = (z >= NEAR_M * self.unit_m) & (u >= 0) & (u < side) & (v >= 0) & (v < side)
        return z[inside], np.stack([u[inside], v[inside]]), np.nonzero(inside)[0]

    def _between(self, view: np.ndarray, uv: np.ndarray) -> np.ndarray:
        """(K,) depth at places between the middles of cells: of planes exactly what it is, since
        there the inverse of depth is linear."""
        low = np.clip(uv - 0.5, 0, self.z_m.shape[-1] - 1)
        (left, top), (x, y) = low.astype(np.intp), low % 1
        right, bottom = np.minimum([left + 1, top + 1], self.z_m.shape[-1] - 1)
        upper = (1 - x) / self.z_m[view, top, left] + x / self.z_m[view, top, right]
        lower = (1 - x) / self.z_m[view, bottom, left] + x / self.z_m[view, bottom, right]
        return 1 / ((1 - y) * upper + y * lower)

    def _points(self, a: np.ndarray, cells: np.ndarray | None) -> np.ndarray:
        """(M, 3, A) places of views in their own camera coordinates, NaN where unknown."""
        z_m = self._at(self.z_m, a, cells)
        if self.uv is None:
            uv = middles(self.z_m.shape[-1]).reshape(2, -1)
            u, v = uv if cells is None else uv[:, cells]
        else:
            u, v = self._at(self.uv[:, 0], a, cells), self._at(self.uv[:, 1], a, cells)
        fx, fy, cx, cy = self.camera[a].astype(np.float32).T[:, :, None]
        return np.stack([(u - cx) / fx * z_m, (v - cy) / fy * z_m, z_m], 1)

    def _at(self, of: np.ndarray, a: np.ndarray, cells: np.ndarray | None) -> np.ndarray:
        """(M, A) what a grid of each view, (N, G, G), holds in the cells."""
        flat = of.reshape(len(self), -1)
        return flat[a] if cells is None else flat[a[:, None], cells]

    def _looked_at(self, a: np.ndarray, cells: np.ndarray | None) -> int | np.ndarray:
        """How many places of each view shares are of: all cells, of sparse ones (M,) the known."""
        every = self.z_m[0].size if cells is None else len(cells)
        if not self.sparse.any():
            return every
        finite = np.isfinite(self._at(self.z_m, a, cells))
        known = np.maximum(np.count_nonzero(finite, axis=1), 1)
        return np.where(self.sparse[a], known, every)

    @cached_property
    def _spans(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, G, G) the least and the greatest depth about each cell: of depth maps its own."""
        if not self.sparse.any():
            return self.z_m, self.z_m
        near, far = self.z_m.copy(), self.z_m.copy()
        for k in np.flatnonzero(self.sparse):
            wide = np.pad(self.z_m[k], 1, constant_values=np.nan)
            nine = sliding_window_view(wide, (3, 3))
            near[k], far[k] = np.fmin.reduce(nine, (2, 3)), np.fmax.reduce(nine, (2, 3))
        return near, far


@lru_cache
def middles(grid: int) -> np.ndarray:
    """(2, grid, grid) float32: u and v of the middles of cells."""
    at = np.arange(grid, dtype=np.float32) + 0.5
    return np.stack(np.meshgrid(at, at))


def _resampled(depth_m: np.ndarray, grid: int) -> np.ndarray:
    """The pixel that holds the middle of each cell; not a mean, which would be that of no place."""
    height, width = depth_m.shape
    share = (np.arange(grid) + 0.5) / grid
    rows, columns = (share * height).astype(int), (share * width).astype(int)
    return depth_m[np.ix_(rows, columns)].astype(np.float32)


def _gathered(
    points: np.ndarray, size: tuple[int, int], grid: int
) -> tuple[np.ndarray, np.ndarray]:
    """Depth and place of the point nearest to the middle of each cell, (G, G) and (2, G, G)."""
    uv = points[:, :2] * grid / size
    column, row = np.minimum(uv.astype(int), grid - 1).T
    # of several that are written into one cell, the last one stays
    last = np.argsort(-((uv % 1 - 0.5) ** 2).sum(1), kind="stable")
    z_m, where = np.full((grid, grid), np.nan, np.float32), middles(grid).copy()
    z_m[row[last], column[last]] = points[last, 2]
    where[:, row[last], column[last]] = uv[last].T
    return z_m, where
