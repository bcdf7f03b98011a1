"""Rooms: a toy world with exact depth, poses, boxes and sizes, made while you wait.

Closed rooms with furniture-like boxes, cylinders and balls, seen by one to many cameras. It is a
toy, and whatever is shown or measured on it should say so: no shadows, no reflections, a dozen
shapes. What it shares with real photos is the task: depth follows from the focal length, the
perspective and patterns whose size in metres is known (`furnish.METRIC`), between others whose size
says nothing.

Images are about 128x96 with focal lengths around 100 px, so that the tiny model unifies to
focal_px=100, not 1000: one tenth of the paper's resolution at the same viewing angle for each share
of the image.

Scene i of a split is a pure function of (seed, collection, split, i): its numbers come from NumPy's
PCG64, and the picture does not depend on the batch (see `raycast`).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from vlm3 import geometry
from vlm3.geometry import Camera
from vlm3.sources.rooms.collections import COLLECTIONS
from vlm3.sources.rooms.furnish import Collection, furnished
from vlm3.sources.rooms.raycast import Shot, render
from vlm3.sources.rooms.scene import SOLID, Scene, Solid
from vlm3.sources.rooms.stands import GRADES, Draw, Lens, stands
from vlm3.views import Box, View

SPLITS = ("train", "validation", "test")
# Of the image, about the area of a 6x6 box in 128x96 pixels; of the solid's whole silhouette.
SMALLEST_SHARE, SMALLEST_VISIBLE = 0.003, 0.45


class Rooms(Sequence):
    """Scenes of a toy collection, each a tuple of views with image, depth, pose and boxes.

    collection: a key of COLLECTIONS, or a Collection; split: one of SPLITS, which share no scene;
    views: cameras per scene, the first ones being the same whatever their number, the others
    looking at about the same spot; grade: how far from the first they stand, a key of GRADES;
    lenses: other cameras than the collection's own, see `Lens`; turn_deg: with it the other cameras
    stay where the first one stands and turn by at most these yaw, pitch and roll; device: where
    torch casts the rays. The validation and test splits have a tenth of the scenes, at most 1000.
    Raises ValueError for unknown names, IndexError for scenes beyond the end.
    """

    def __init__(
        self,
        collection: str | Collection = "medium",
        split: str = "train",
        views: int = 2,
        seed: int = 0,
        lenses: Sequence[Sequence] | None = None,
        turn_deg: Sequence[float] | None = None,
        grade: str = "any",
        device: str = "cpu",
    ):
        if isinstance(collection, str) and collection not in COLLECTIONS:
            raise ValueError(f"no collection {collection!r}; there are {', '.join(COLLECTIONS)}")
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
        if views < 1 or seed < 0:
            raise ValueError(
                f"views must be at least 1 and seed at least 0, got views={views}, seed={seed}"
            )
        if grade not in GRADES:
            raise ValueError(f"no grade {grade!r} of pairs; there are {', '.join(GRADES)}")
        turns = (0, 0, 0) if turn_deg is None else turn_deg
        if len(turns) != 3 or not all(0 <= most <= 90 for most in turns):
            raise ValueError(
                f"turn_deg must be three angles of 0 to 90 (yaw, pitch, roll), got {turn_deg}"
            )
        self.collection = COLLECTIONS[collection] if isinstance(collection, str) else collection
        self.split, self.views, self.seed, self.device = split, views, seed, device
        self.lenses = tuple(Lens(*lens) for lens in lenses or self.collection.lenses)
        self.turn_deg, self.grade = turn_deg, GRADES[grade]

    def __len__(self) -> int:
        scenes = self.collection.scenes
        return scenes if self.split == "train" else min(1000, scenes // 10)

    def __getitem__(self, index: int) -> tuple[View, ...]:
        """Views whose arrays cannot be written to: several sources may hold them."""
        return _remembered(self, index)

    @property
    def _arguments(self) -> str:  # in words: collections of one's own may hold lists
        how = self.split, self.views, self.seed, self.device, self.grade
        return repr((self.collection, *how, self.lenses, self.turn_deg))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rooms) and self._arguments == other._arguments

    def __hash__(self) -> int:
        return hash(self._arguments)

    def batch(self, indices: Sequence[int]) -> list[tuple[View, ...]]:
        """Many scenes at once, which is faster, with the same views to the last bit."""
        drawn, shots = self.shots(indices)
        views = iter([_view(*each) for each in zip(*drawn, shots, strict=True)])
        return [tuple(next(views) for _ in range(self.views)) for _ in indices]

    def shots(self, indices: Sequence[int]) -> tuple[tuple[list, list, list], list[Shot]]:
        """(scenes, cameras, poses), one entry per view, and the Shot of each view."""
        scenes, cameras, poses = [], [], []
        for index in indices:
            scene, taken = self.scene(index)
            for camera, pose in taken:
                scenes.append(scene)
                cameras.append(camera)
                poses.append(pose)
        return (scenes, cameras, poses), render(scenes, cameras, poses, self.device)

    def scene(self, index: int) -> tuple[Scene, list[tuple[Camera, np.ndarray]]]:
        """What is in the room, and (camera, 4x4 world_from_cam) of each view."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        # a list seeds without collisions, where a sum or a product would share scenes
        key = [self.seed, self.collection.number, SPLITS.index(self.split), index % len(self)]
        draw = Draw(np.random.Generator(np.random.PCG64(key)))
        scene, eyes = furnished(draw, self.collection), self.collection.eyes
        held = stands(draw, scene, self.lenses, self.views, eyes, self.grade, self.turn_deg)
        return scene, held


@lru_cache(16)
def _remembered(source: Rooms, index: int) -> tuple[View, ...]:
    """A scene; the last ones stay, since several tasks may ask about the same."""
    (views,) = source.batch([index])
    for array in (a for view in views for a in (view.image, view.depth_m, view.world_from_cam)):
        array.flags.writeable = False
    return views


def _view(scene: Scene, camera: Camera, pose: np.ndarray, shot: Shot) -> View:
    boxes = visible_boxes(scene, camera, pose, shot.ids)
    return View(shot.rgb, camera, shot.depth_m, world_from_cam=pose, boxes=boxes)


def visible_boxes(
    scene: Scene, camera: Camera, world_from_cam: np.ndarray, ids: np.ndarray
) -> tuple[Box, ...]:
    """One Box around the visible pixels of each solid of which enough is seen.

    Enough: 0.3 % of the image, and 45 % of the solid's silhouette, where what other solids hide and
    what lies beyond the edges of the image counts as not seen.
    """
    if not scene.solids:
        return ()
    cam_from_world = geometry.invert(world_from_cam)
    pixels = np.bincount(ids.ravel(), minlength=SOLID + len(scene.solids))[SOLID:]
    whole = silhouettes_px(scene, camera, cam_from_world)
    enough = np.maximum(SMALLEST_SHARE * ids.size, SMALLEST_VISIBLE * whole)
    return tuple(
        _box_around(ids == SOLID + k, scene.solids[k], cam_from_world)
        for k in np.flatnonzero(pixels > enough)
    )


def _box_around(mine: np.ndarray, solid: Solid, cam_from_world: np.ndarray) -> Box:
    """The box of the pixels of a solid, HxW bool, with its centre and its size."""
    columns, rows = np.flatnonzero(mine.any(0)), np.flatnonzero(mine.any(1))
    bounds = map(float, (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    centre = geometry.transform(cam_from_world, np.array(solid.centre))
    x, y, z = solid.size
    return Box(*bounds, solid.name, tuple(centre.tolist()), (max(x, z), y, min(x, z)))


# Closed outlines seen from above, of as many points; the square's corners count several times.
_CIRCLE = np.stack([f(np.arange(25) * np.pi / 12) / 2 for f in (np.cos, np.sin)], -1)
_SQUARE = np.repeat([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)], 5, 0)


def silhouettes_px(scene: Scene, camera: Camera, cam_from_world: np.ndarray) -> np.ndarray:
    """(N,) area of each solid's whole silhouette in pixels, in the image or not.

    Infinite for one that reaches behind the camera. Every line of sight through a convex body meets
    its surface twice: its image is half that of all its faces.
    """
    points = geometry.transform(cam_from_world, _outlines(scene.solids))
    top, bottom = uv = geometry.project(points, camera)
    # twice the area of each lid (shoelace) and of each side (cross product of the diagonals)
    lids = np.abs(_cross(uv[..., :-1, :], uv[..., 1:, :]).sum(-1)).sum(0)
    sides = np.abs(_cross(bottom[:, 1:] - top[:, :-1], bottom[:, :-1] - top[:, 1:])).sum(-1)
    area = np.where((points[..., 2] > 0).all((0, 2)), (lids + sides) / 4, np.inf)
    balls = np.array([solid.shape == "ball" for solid in scene.solids])
    if balls.any():
        centre = np.array([solid.centre for solid in scene.solids])[balls]
        radius = np.array([solid.size[0] for solid in scene.solids])[balls] / 2
        area[balls] = _ball_px(geometry.transform(cam_from_world, centre), radius, camera)
    return area


def _outlines(solids: Sequence[Solid]) -> np.ndarray:
    """(2, N, 25, 3) points around the top and the bottom of each solid, in the world."""
    centre, size = (np.array([getattr(s, name) for s in solids]) for name in ("centre", "size"))
    yaw = np.radians([solid.yaw_deg for solid in solids])[:, None]
    outline = np.array([_SQUARE if solid.shape == "box" else _CIRCLE for solid in solids])
    own_x, own_z = np.moveaxis(outline * size[:, None, ::2], -1, 0)
    x = own_x * np.cos(yaw) + own_z * np.sin(yaw)
    z = own_z * np.cos(yaw) - own_x * np.sin(yaw)
    y = np.stack([np.broadcast_to(size[:, 1:2] * level, x.shape) for level in (-0.5, 0.5)])
    return np.stack(np.broadcast_arrays(x, y, z), -1) + centre[:, None]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _ball_px(centre: np.ndarray, radius: np.ndarray, camera: Camera) -> np.ndarray:
    """(N,) areas of the ellipses as which balls appear; centre: (N, 3) in camera coordinates."""
    # the exact area, of an ellipse whose axes follow from the cone of tangents
    beyond = np.where(centre[:, 2] > radius, centre[:, 2] ** 2 - radius**2, np.nan)
    tangent = np.sqrt((centre**2).sum(-1) - radius**2)
    area = np.pi * camera.fx * camera.fy * radius**2 * tangent / beyond**1.5
    return np.where(np.isnan(area), np.inf, area)


def contact_sheet(
    collection: str = "medium", n: int = 6, views: int = 2, split: str = "train", seed: int = 0
) -> np.ndarray:
    """Rows of toy scenes, HxWx3 uint8: each view's picture and, beside it, its depth.

    Depth runs from white at 0.5 m to black at 8 m, in equal steps of ratio.
    """
    rows = []
    for shown in Rooms(collection, split, views, seed).batch(range(n)):
        for view in shown:
            share = np.log(view.depth_m / 0.5) / np.log(8 / 0.5)
            grey = (255 * (1 - share.clip(0, 1))).astype(np.uint8)
            rows += [view.image, np.repeat(grey[..., None], 3, -1)]
    height, width = (max(image.shape[k] for image in rows) + 4 for k in range(2))
    sheet = np.full((n, 2 * views, height, width, 3), 255, np.uint8)
    for k, image in enumerate(rows):
        sheet[k // (2 * views), k % (2 * views), : image.shape[0], : image.shape[1]] = image
    return sheet.swapaxes(1, 2).reshape(n * height, 2 * views * width, 3)
