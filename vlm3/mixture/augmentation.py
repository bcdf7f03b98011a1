"""Views as they could have been: mirrored, turned a little, seen from beside, in other light, by
another sensor.

Points move exactly; depth of a view that is turned or moved is that of the nearest old pixel.

For few photographs, which are shown many times: the paper has millions, and shows each as it is.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from vlm3.focal import PAD_VALUE
from vlm3.geometry import pixel_centres, project, rays, rotation_from_ypr, transform, unproject
from vlm3.mixture.moving import moved
from vlm3.views import Box, View

MOST_DEG = 8.0  # of each of yaw, pitch and roll
MOVED, FAR = 0.5, 0.15  # share of views that are seen from elsewhere; how far, of their depth
KNOWN = 0.4  # of the depth map, for that
LIGHT, TINT, GAMMA = 0.25, 0.08, 0.2  # of brightness, of each colour, of the logarithm of gamma
BLUR_PX, NOISE = 1.0, 6.0  # at most: radius; of 255, for all colours together and for each
_MIRROR = np.diag([-1.0, 1, 1, 1])


def augmented(views: Sequence[View], rng: np.random.Generator) -> tuple[View, ...]:
    """Views of one item, drawn with rng: all mirrored or none; each by itself turned, or, where it
    has a dense map of depth, seen from beside where it was; each in light and noise of its own.

    Views with boxes stay where they are, since a box around a turned box is another one.
    """
    mirror = rng.random() < 0.5
    return tuple(_one(view, mirror, rng) for view in views)


def _one(view: View, mirror: bool, rng: np.random.Generator) -> View:
    if view.camera is None:
        return view  # nothing can be asked about it, as will be said where it is unified
    view = mirrored(view) if mirror else view
    if not view.boxes:
        view = _elsewhere(view, rng)
    return replace(view, image=noisy(relit(view.image, rng), rng))


def _elsewhere(view: View, rng: np.random.Generator) -> View:
    rotation = rotation_from_ypr(*rng.uniform(-MOST_DEG, MOST_DEG, 3))
    dense = view.depth_m is not None and np.isfinite(view.depth_m).mean() > KNOWN
    if not dense or rng.random() >= MOVED:
        return turned(view, rotation)
    old_from_new = np.eye(4)
    reach_m = FAR * float(np.nanmedian(view.depth_m))
    old_from_new[:3, :3], old_from_new[:3, 3] = rotation, rng.uniform(-reach_m, reach_m, 3)
    return moved(view, old_from_new)


def mirrored(view: View) -> View:
    """What a camera sees in a world whose left is right: x of the image, of the camera and of the
    world change their sign."""
    width, camera, pose = view.size[0], view.camera, view.world_from_cam
    return replace(
        view,
        image=np.ascontiguousarray(view.image[:, ::-1]),
        camera=replace(camera, cx=width - camera.cx),
        depth_m=None if view.depth_m is None else np.ascontiguousarray(view.depth_m[:, ::-1]),
        points=None if view.points is None else _mirrored_points(view.points, width),
        world_from_cam=None if pose is None else _MIRROR @ pose @ _MIRROR,
        boxes=tuple(_mirrored(box, width) for box in view.boxes),
    )


def _mirrored_points(points: np.ndarray, width: int) -> np.ndarray:
    points = points * [-1, 1, 1] + [width, 0, 0]
    points[:, 0] = np.minimum(points[:, 0], np.nextafter(width, 0))  # what was at 0 is inside, too
    return points


def _mirrored(box: Box, width: int) -> Box:
    centre = box.centre_m and (-box.centre_m[0], *box.centre_m[1:])
    return box._replace(xmin=width - box.xmax, xmax=width - box.xmin, centre_m=centre)


def turned(view: View, old_from_new: np.ndarray) -> View:
    """What the camera sees after a turn on the spot, without boxes; grey and unknown where it saw
    nothing before.

    old_from_new: 3x3 rotation. Image bilinear, depth of the nearest pixel; points move exactly.
    """
    K = view.camera.K
    homography = K @ old_from_new @ np.linalg.inv(K)  # new to old; Pillow counts as we do
    picture = Image.fromarray(view.image).transform(
        view.size,
        Image.Transform.PERSPECTIVE,
        (homography / homography[2, 2]).ravel()[:8],
        Image.Resampling.BILINEAR,
        fillcolor=(PAD_VALUE,) * 3,
    )
    pose = np.eye(4)
    pose[:3, :3] = old_from_new
    return replace(
        view,
        image=np.array(picture),
        depth_m=None if view.depth_m is None else _turned_depth(view, homography, old_from_new),
        points=None if view.points is None else _turned_points(view, pose.T),
        world_from_cam=None if view.world_from_cam is None else view.world_from_cam @ pose,
        boxes=(),
    )


def _turned_depth(view: View, homography: np.ndarray, old_from_new: np.ndarray) -> np.ndarray:
    """Depth at the centre of each new pixel, along the new axis: z of the old point, turned."""
    new = pixel_centres(view.camera)
    old = np.concatenate([new, np.ones_like(new[..., :1])], -1) @ homography.T
    old = old[..., :2] / old[..., 2:]
    width, height = view.size
    inside = ((old >= 0) & (old < [width, height])).all(-1)
    columns, rows = np.where(inside[..., None], old, 0).astype(int).transpose(2, 0, 1)
    z_m = view.depth_m[rows, columns] * (rays(old, view.camera) @ old_from_new[:, 2])
    return np.where(inside, z_m, np.nan).astype(np.float32)


def _turned_points(view: View, new_from_old: np.ndarray) -> np.ndarray:
    seen = transform(new_from_old, unproject(view.points[:, :2], view.points[:, 2], view.camera))
    uv = project(seen, view.camera)
    with np.errstate(invalid="ignore"):
        inside = ((uv >= 0) & (uv < view.size)).all(1)
    return np.column_stack([uv, seen[:, 2]])[inside]


def relit(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """HxWx3 uint8 in other light: brighter or darker, tinted, flatter or harder."""
    gain = rng.uniform(1 - LIGHT, 1 + LIGHT) * rng.uniform(1 - TINT, 1 + TINT, 3)
    gamma = np.exp(rng.uniform(-GAMMA, GAMMA))
    levels = np.arange(256)[:, None] / 255
    table = np.clip(255 * gain * levels**gamma, 0, 255).round().astype(np.uint8)
    return np.stack([table[image[..., k], k] for k in range(3)], -1)


def noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """HxWx3 uint8 as blurred as by a worse lens, with the noise of a worse sensor."""
    blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(rng.uniform(0, BLUR_PX)))
    shape = image.shape[:2]
    noise = rng.normal(0, rng.uniform(0, NOISE), (*shape, 1))
    noise = noise + rng.normal(0, rng.uniform(0, NOISE), image.shape)
    return np.clip(np.asarray(blurred) + noise, 0, 255).round().astype(np.uint8)
