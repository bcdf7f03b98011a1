"""Sequences of the TUM RGB-D benchmark, and recordings in its layout.

Sturm et al. 2012, TU Munich; CC BY 4.0. A folder, or each folder below it, such as
`rgbd_dataset_freiburg1_desk`, holds `rgb.txt` and `depth.txt` (time in seconds, file name), the
files that they name, and `groundtruth.txt` (time tx ty tz qx qy qz qw: world_from_cam of the colour
camera, metres). Depth is z in 16 bits, 5000 to a metre, 0 unknown, scaled and laid on the
photograph by the publisher.

- Photograph, depth and pose have times of their own. A photograph has the depth that is nearest in
  time and has no nearer photograph; one without, within 0.02 s, is left out. Its pose lies between
  those before and after it, both within 0.02 s (they come every 0.01 s); else it has none, as in
  sequences whose trajectory is kept secret. Where the camera moves fast, depth is off by what it
  moves in up to 0.02 s.
- The lenses of freiburg1 and 2 bend lines by up to 28 pixels: photograph and depth are straightened
  with the published calibration, see `reading.lenses`. The publisher advises those who make points
  of depth to straighten nothing and take fx = fy = 525, cx = 319.5, cy = 239.5 for all: `camera`
  does it.
- A sequence is a scene, with a world of its own. Those of freiburg1 show one office, those of
  freiburg2 and of freiburg3 one hall each: its `place`, for splits.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm3 import disk
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, files, quaternions
from vlm3.sources.reading.lenses import Lens, lens
from vlm3.views import View

APART_S = 0.02  # as the publisher's associate.py has it
UNITS_PER_M = 5000
SIZE = 640, 480
CALIBRATED = {  # fx, fy, cx, cy from pixel centres, then OpenCV's k1, k2, p1, p2, k3
    "freiburg1": (517.3, 516.5, 318.6, 255.3, 0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    "freiburg2": (520.9, 521.0, 325.1, 249.7, 0.2312, -0.7849, -0.0033, -0.0001, 0.9172),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),  # straightened by the publisher
}
AGAIN = "download the sequence again"


@dataclass(frozen=True)
class _Frame(Frame):
    place: str
    folder: Path
    photo: str
    depth: str
    pose: tuple[float, ...] | None  # tx ty tz qx qy qz qw


class Tum(Reader):
    """Views with depth, and poses where they are known.

    camera: fx, fy, cx, cy, counted from pixel centres, and, of a lens, k1, k2, p1, p2, k3, of all
    that is read; without it the published ones, which only folders named freiburg1 to 3 have.
    """

    layout = "rgbd_dataset_freiburg1_desk and so on, each with rgb.txt, depth.txt, groundtruth.txt"

    def __init__(self, root, scenes="*", frames=(0, None), camera: Sequence[float] | None = None):
        if camera is not None and len(camera) not in (4, 9):
            raise ValueError(f"camera must be 4 numbers, or 9 with distortion, got {camera!r}")
        self.camera = None if camera is None else tuple(map(float, camera))
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[_Frame]:
        alone = (self.root / "rgb.txt").is_file()
        for table in [self.root / "rgb.txt"] if alone else sorted(self.root.glob("*/rgb.txt")):
            yield from _sequence(table.parent)

    def _view(self, frame: _Frame) -> View:
        photo, depth = (
            files.inside(frame.folder, named, f"{frame.folder / table}")
            for named, table in ((frame.photo, "rgb.txt"), (frame.depth, "depth.txt"))
        )
        image, depth_m = read_rgb(photo), files.depth_png(depth, UNITS_PER_M)
        if depth_m.shape != image.shape[:2]:
            raise ValueError(f"{depth}: is {depth_m.shape}, its photograph {image.shape[:2]}")
        straight = self._lens(frame, image.shape[1], image.shape[0])
        pose = None
        if frame.pose is not None:
            x, y, z, w = frame.pose[3:]
            pose = quaternions.poses([w, x, y, z], frame.pose[:3])
        image, depth_m = straight.image(image), straight.depth(depth_m)
        return View(image, straight.camera, depth_m, world_from_cam=pose)

    def _lens(self, frame: _Frame, width: int, height: int) -> Lens:
        numbers = self.camera or CALIBRATED.get(frame.place)
        if numbers is None:
            raise ValueError(
                f"{frame.scene} is not of freiburg1, 2 or 3, so nobody knows its camera: give "
                "camera = [fx, fy, cx, cy]; 525, 525, 319.5, 239.5 is the usual one of a Kinect"
            )
        if self.camera is None and (width, height) != SIZE:
            raise ValueError(f"is {width}x{height}, calibrated at 640x480: give camera")
        fx, fy, cx, cy, *bends = numbers
        pixels = fx, fy, cx + 0.5, cy + 0.5
        if not bends:
            return lens("PINHOLE", pixels, width, height)
        return lens("FULL_OPENCV", (*pixels, *bends, 0, 0, 0), width, height)


def _sequence(folder: Path) -> Iterator[_Frame]:
    name = folder.resolve().name
    place = re.search("freiburg[123]", name)
    photos, depths = (_listed(folder / table) for table in ("rgb.txt", "depth.txt"))
    poses = _poses(folder / "groundtruth.txt", photos[0])
    for photo, depth in _together(photos[0], depths[0]):
        path = photos[1][photo]
        frame = name, f"{name}/{Path(path).stem}", place[0] if place else name
        yield _Frame(*frame, folder, path, depths[1][depth], poses[photo])


def _listed(table: Path) -> tuple[np.ndarray, list[str]]:
    """(N,) times in seconds, increasing, and the file named at each."""
    try:
        found = sorted((float(time), name) for time, name in _rows(table))
    except ValueError:
        raise ValueError(f"{table}: not lines of a time and a file; {AGAIN}") from None
    return np.array([time for time, _ in found]), [name for _, name in found]


def _rows(table: Path) -> list[list[str]]:
    """The words of each line that is no comment."""
    lines = map(str.split, disk.text(files.there(table, AGAIN)).splitlines())
    return [words for words in lines if words and not words[0].startswith("#")]


def _together(photos: np.ndarray, depths: np.ndarray) -> list[tuple[int, int]]:
    """Which photograph and which depth are each the nearest to the other, by their times (N,)."""
    if not (len(photos) and len(depths)):
        return []
    depth_of, photo_of = _nearest(depths, photos), _nearest(photos, depths)
    own = photo_of[depth_of] == np.arange(len(photos))
    kept = np.flatnonzero(own & (np.abs(depths[depth_of] - photos) <= APART_S))
    return list(zip(kept.tolist(), depth_of[kept].tolist(), strict=True))


def _nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(M,) which of the times (N,), increasing, is nearest to each of wanted (M,)."""
    after = np.searchsorted(times, wanted).clip(0, len(times) - 1)
    before = (after - 1).clip(0)
    return np.where(wanted - times[before] < times[after] - wanted, before, after)


def _poses(table: Path, times: np.ndarray) -> list[tuple[float, ...] | None]:
    """tx ty tz qx qy qz qw at each of the times (N,), None where the table does not reach."""
    known = _trajectory(table) if table.is_file() else np.empty((0, 8))
    if len(known) < 2:
        return [None] * len(times)
    after = np.searchsorted(known[:, 0], times).clip(1, len(known) - 1)
    first, last = known[after - 1], known[after]
    since, until = times - first[:, 0], last[:, 0] - times
    told = (np.minimum(since, until) >= 0) & (np.maximum(since, until) <= APART_S)
    # q and -q are one rotation; between two so near, the straight way is the round one
    turned = np.where((first[:, 4:] * last[:, 4:]).sum(1) < 0, -1, 1)
    last[:, 4:] *= turned[:, None]
    share = (since / (since + until))[:, None]
    poses = ((1 - share) * first + share * last)[:, 1:].tolist()
    return [tuple(pose) if good else None for pose, good in zip(poses, told, strict=True)]


def _trajectory(table: Path) -> np.ndarray:
    """(N, 8) time, place and quaternion, by increasing times, each once."""
    try:
        found = np.array(_rows(table), float).reshape(-1, 8)
    except ValueError:
        raise ValueError(f"{table}: not lines of 8 numbers; {AGAIN}") from None
    return found[np.unique(found[:, 0], return_index=True)[1]]
