"""Fingerprints of photographs, to find those that show the same among very many."""

from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np
from tqdm.auto import tqdm

from vlm3.sources.curation.parts import PART, cores, part_of, workers
from vlm3.sources.reading import Reader

BITS = 6  # of 64; copies are as near, and of 670,000 pairs of others the nearest are 12 apart
PLAIN = 4.0  # photographs have 15 and more; a wall, a ramp and their noise less than 1
_BLOCK = 2048, 16384


def hashes(reader: Reader, processes: int | None = None, what: str = "") -> list[int | None]:
    """The `perceptual_hash` of all photographs of a reader, by several processes.

    processes: as many as there are cores, unless told; what: the name of the bar, "" for none.
    """
    parts = [part_of(reader, start) for start in range(0, len(reader), PART)]
    processes = min(processes or cores(), len(parts))
    found: list[int | None] = []
    bar = tqdm(total=len(reader), desc=what, unit="photo", disable=not what)
    with workers(processes) as mapped, bar:
        for some in mapped(_hashed, parts):
            found += some
            bar.update(len(some))
    return found


def _hashed(reader: Reader) -> list[int | None]:
    return [perceptual_hash(view.image) for view in reader]


def perceptual_hash(image: np.ndarray) -> int | None:
    """64 bits that are nearly the same for pictures that look the same: pHash (Zauner 2010), which
    of the 8 x 8 lowest frequencies of the grey picture are stronger than their median.

    image: (H, W, 3) uint8. Compression, another size or brightness change 6 bits at most in 98
    of 100, as does a rim of one per cent cut off; of pictures cut by a twentieth half are further
    off, and mirrored ones are others. None for a picture without structure, whose bits are noise:
    half of its frequencies swing by less than a quarter of a grey level.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(small)[:8, :8].ravel()
    if np.median(np.abs(waves[1:])) < PLAIN:
        return None
    return int.from_bytes(np.packbits(waves > np.median(waves)).tobytes(), "big")


def near(trained: Sequence[int], tested: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Of each of the tested hashes (M), the nearest trained one (N), the first of several, and how
    many bits differ: two (M,). 65 where there is none."""
    which, apart = np.zeros(len(tested), int), np.full(len(tested), 65)
    a, b = _signs(tested), _signs(trained)
    for start, first in product(range(0, len(a), _BLOCK[0]), range(0, len(b), _BLOCK[1])):
        rows = slice(start, start + _BLOCK[0])
        # a product of signs is -1 where they differ: as fast as to count bits, which needs numpy 2
        agree = a[rows] @ b[first : first + _BLOCK[1]].T
        best = agree.argmax(1)
        differ = (64 - agree[np.arange(len(best)), best]).astype(int) // 2
        nearer = differ < apart[rows]
        which[rows][nearer], apart[rows][nearer] = first + best[nearer], differ[nearer]
    return which, apart


def _signs(found: Sequence[int]) -> np.ndarray:
    """(N, 64) float32, 1 or -1 for each bit."""
    bits = np.unpackbits(np.array(found, ">u8").view(np.uint8)).reshape(-1, 64)
    return bits.astype(np.float32) * 2 - 1
