"""Cameras whose film is shifted or tilted, as architects have them.

Rays through one centre, so each is a pinhole camera that looks perpendicular to its film, wherever
the picture lies on it. Only where the film is tilted both ways its rows and columns stop being
perpendicular, and the picture is sheared.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from vlm3.geometry import Camera


@dataclass(frozen=True, eq=False)
class Film:
    """A pinhole camera whose film may be tilted.

    camera: looks perpendicular to the film; gl_from_cam: 4x4, from its axes to those of the scene's
    files, x right, y up, z backward; shear: how many pixels further right than in `camera` each row
    of the picture begins than the row above, all of them right in the row of the principal point.
    """

    camera: Camera
    gl_from_cam: np.ndarray
    shear: float

    def shown(self) -> Camera:
        """The camera of what `straight` returns."""
        left, right = self._window()
        return self.camera.cropped(left, 0, right - left, self.camera.height)

    def straight(self, picture: np.ndarray, interpolation: int) -> np.ndarray:
        """The picture or map as `shown` sees it."""
        if not self.shear:
            return picture
        # of pixels that count from their centres: where each was in the picture
        back = np.array([[1, self.shear, self.shear * (0.5 - self.camera.cy)], [0, 1, 0]])
        flags = interpolation | cv2.WARP_INVERSE_MAP
        found = cv2.warpAffine(
            picture, back, self.camera.size, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        left, right = self._window()
        return np.ascontiguousarray(found[:, left:right])

    def _window(self) -> tuple[int, int]:
        """The columns that every row has, from the first to before the second."""
        moved = [self.shear * (row - self.camera.cy) for row in (0, self.camera.height)]
        left, right = max(0.0, -min(moved)), max(0.0, max(moved))
        return int(np.ceil(left)), self.camera.width - int(np.ceil(right))


def pinhole(cam_from_uv: np.ndarray, width: int, height: int) -> Film:
    """The film whose rays are cam_from_uv @ (u, v, 1).

    cam_from_uv: (3, 3); u from -1 at the left of the picture to 1 at its right, v from -1 at its
    bottom to 1 at its top; rays have x right, y up, z backward.
    """
    to_right, to_top, middle = cam_from_uv.T
    half_width = np.linalg.norm(to_right)
    right = to_right / half_width
    slanted = to_top @ right
    half_height = np.linalg.norm(to_top - slanted * right)
    down = (slanted * right - to_top) / half_height
    ahead = np.cross(right, down)
    distance = ahead @ middle  # of the film, where it is as large as cam_from_uv says
    v = down @ middle / half_height
    u = -(right @ middle + v * slanted) / half_width
    camera = Camera(
        distance / half_width * width / 2,
        distance / half_height * height / 2,
        (1 + u) * width / 2,
        (1 - v) * height / 2,
        width,
        height,
    )
    gl_from_cam = np.eye(4)
    gl_from_cam[:3, :3] = np.column_stack([right, down, ahead])
    return Film(camera, gl_from_cam, slanted / half_width * width / height)
