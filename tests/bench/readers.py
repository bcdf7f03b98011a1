"""Views per second and core, of real frames in their publishers' layouts.

python tests/bench/readers.py [FORMATS REAL]

FORMATS and REAL are the folders that VLM3_FORMATS and VLM3_REAL name for the tests. Each reader
reads its frames again and again for two seconds, alone and brought to a focal length of 1000 px;
the machine should have nothing else to do.
"""

import argparse
import time
from pathlib import Path

from tests.readers import FORMATS, REAL
from vlm3.focal import unify_focal
from vlm3.sources.reading import Reader, named

SECONDS = 2.0
MOST_PIXELS = 1216 * 928


def readers(formats: Path, real: Path) -> dict[str, Reader]:
    """Those whose frames are at hand."""
    known = {
        "nuscenes": ("nuscenes", formats / "nuscenes"),
        "ddad": ("ddad", formats / "ddad"),
        "kitti object": ("kitti", formats / "kitti_object"),
        "kitti odometry": ("kitti", formats / "kitti_odometry"),
        "sunrgbd": ("sunrgbd", formats / "sunrgbd" / "images"),
        "colmap": ("colmap", formats / "colmap_text"),
        "ibims": ("ibims", real.parent / "ibims1"),
        "rgbd, hololens": ("rgbd", real / "hololens"),
        "rgbd, 7-Scenes": ("rgbd", formats / "seven_scenes"),
    }
    found = {}
    for name, (reader, folder) in known.items():
        try:
            found[name] = named(reader)(folder)
        except (FileNotFoundError, ValueError) as error:
            print(f"{name}: {error}")
    return found


def rate(reader: Reader, focal_px: float | None) -> float:
    """Views per second of CPU time."""
    began, count = time.process_time(), 0
    while time.process_time() - began < SECONDS:
        view = reader[count % len(reader)]
        if focal_px:
            unify_focal(view, focal_px, max_pixels=MOST_PIXELS)
        count += 1
    return count / (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("formats", type=Path, nargs="?", default=FORMATS)
    parser.add_argument("real", type=Path, nargs="?", default=REAL)
    args = parser.parse_args()
    for name, reader in readers(args.formats, args.real).items():
        size = "{}x{}".format(*reader[0].size)
        rates = " ".join(f"{rate(reader, focal):7.1f}" for focal in (None, 1000.0, 100.0))
        print(
            f"{name:16} {size:10} {rates}  views/s alone, at f = 1000 px, at f = 100 px", flush=True
        )


if __name__ == "__main__":
    main()
