"""Images to the patches that the vision tower reads.

In a few lines, tested against transformers' own, because the library's processor needs torchvision
and may resample an image whose focal length is already right. Letters in shapes: N patches.
"""

import numpy as np
import torch
from torch.nn.functional import linear

from vlm3.qwen.architecture import BLOCK, MERGE, PATCH, TEMPORAL


def grid(image: np.ndarray) -> np.ndarray:
    """(3,): 1, H / 16, W / 16, the patches of an image; ValueError for one that cannot be cut into
    blocks.

    image: (H, W, 3) uint8, both sides multiples of 32, blocks of 2 x 2 patches.
    """
    array = isinstance(image, np.ndarray)
    if not array or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if array else type(image).__name__
        raise ValueError(f"an image must be an (H, W, 3) array of uint8, got {found}")
    (height, width), side = image.shape[:2], BLOCK
    if not image.size or height % side or width % side:
        raise ValueError(
            f"image sides must be multiples of {side}, got {width}x{height}: use unify_focal"
        )
    return np.array([1, height // PATCH, width // PATCH])


def patches(image: torch.Tensor, merge: int = MERGE) -> torch.Tensor:
    """Cut an image into the rows that the vision tower reads, on the image's own device.

    image: (H, W, 3) uint8, see `grid`. Returns (N, 1536) float32 in [-1, 1].
    """
    return scaled(cut(image, merge))


def cut(images: torch.Tensor, merge: int = MERGE) -> torch.Tensor:
    """(..., H, W, 3) uint8 -> (..., N, 768) uint8, patches in the order of the tower.

    Rows come in blocks of merge x merge patches, one block per token.
    """
    *more, height, width, _ = images.shape
    blocks = images.reshape(
        -1, height // PATCH // merge, merge, PATCH, width // PATCH // merge, merge, PATCH, 3
    )
    blocks = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6)  # block, patch in block, colour, pixel in patch
    return blocks.reshape(*more, -1, 3 * PATCH * PATCH)


def scaled(rows: torch.Tensor) -> torch.Tensor:
    """(N, 768) uint8 -> (N, 1536) float32 in [-1, 1]: a still image fills both time steps of its
    row."""
    rows = rows.view(-1, 3, 1, PATCH * PATCH).float() / 127.5 - 1
    return rows.expand(-1, -1, TEMPORAL, -1).reshape(len(rows), -1)


class LinearPatches(torch.nn.Conv3d):
    """The patch embedding as the matrix product that it is: kernel, stride and patch are of one
    size.

    The weights keep their names and shapes. As a convolution it is slow on CPUs and was so on GPUs
    in torch 2.9.
    """

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """(N, colours, 2, 16, 16) -> (N, hidden)."""
        return linear(patches.flatten(1), self.weight.flatten(1), self.bias)
