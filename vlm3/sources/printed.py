"""Toy rooms and packaged photographs with a label printed on each, for `vlm3.tasks.skills`.

Letters and digits are drawn, so that no knowledge of words helps to read them.
"""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from vlm3.sources import photos
from vlm3.sources.rooms import Rooms
from vlm3.views import Box, View

LETTERS, DIGITS = "ABCDEFHKLMNPRTUVXYZ", "23456789"  # none that looks like another
LENS = (480, 360, (60, 75))
EVERY = 10  # items from one photograph to the next


class Printed(Sequence):
    """Views with a label, whose text is the name of its box in quotes: rooms of a split, and every
    tenth a photograph, which has no other box.

    items: how many; split: of the rooms, see `Rooms`. IndexError beyond the end.
    """

    def __init__(self, items: int = 200, split: str = "test", seed: int = 0):
        self.items, self.seed = items, seed
        self._rooms = Rooms("homes", split, views=1, seed=seed, lenses=[LENS])

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> View:
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        rng = np.random.default_rng([self.seed, index])
        if index % EVERY == EVERY - 1:
            known = _photos()
            return labelled(known[index // EVERY % len(known)], code(rng), rng)
        return labelled(self._rooms[index % len(self._rooms)][0], code(rng), rng)


def code(rng: np.random.Generator) -> str:
    """Three letters and two digits."""
    drawn = [LETTERS[i] for i in rng.integers(len(LETTERS), size=3)]
    return "".join([*drawn, *(DIGITS[i] for i in rng.integers(len(DIGITS), size=2))])


def labelled(view: View, text: str, rng: np.random.Generator) -> View:
    """The view with black text on a white label at its upper edge, a tenth of its height, and a box
    around it; boxes that it touches are left out, since the label hides what they name."""
    image = view.image.copy()
    width, height = view.size
    font, tall = cv2.FONT_HERSHEY_SIMPLEX, height / 10
    scale = tall / cv2.getTextSize(text, font, 1.0, 2)[0][1]
    bold = max(1, round(scale * 2))
    (wide, high), base = cv2.getTextSize(text, font, scale, bold)
    left = int(rng.integers(max(1, width - wide - 2 * base)))
    label = left, 0, min(width, left + wide + 2 * base), high + 2 * base
    cv2.rectangle(image, label[:2], (label[2] - 1, label[3] - 1), (255, 255, 255), -1)
    cv2.putText(image, text, (left + base, high + base), font, scale, (0, 0, 0), bold, cv2.LINE_AA)
    free = [box for box in view.boxes if box[0] >= label[2] or box[2] <= left or box[1] >= label[3]]
    boxes = (*free, Box(*map(float, label), f'"{text}"'))
    return View(image, view.camera, world_from_cam=view.world_from_cam, boxes=boxes)


@lru_cache(1)
def _photos() -> tuple[View, ...]:
    pair, boards = photos.motorcycle(), photos.chessboards()
    return (pair.view1, *(board.view1 for board in boards))
