"""What part of a clip's pictures the network sees: one cut for all eight, so that motion stays motion.

Sizes and places are those of TSN's GroupMultiScaleCrop with fixed places, followed by a mirror in half of the draws
(recipe: `GroupMultiScaleCrop(224, [1, .875, .75, .66])`, assembly101-action-recognition, models.py).

Axes: S frames of a clip, H and W stored size, h and w network size.
"""

from dataclasses import dataclass

import numpy as np
import torch

from sync_extract.transforms import Preprocessing, resize_bytes

SCALES = (1.0, 0.875, 0.75, 0.66)
MAX_DISTORTION = 1
"""Height and width may be neighbours in `SCALES`."""
NEAR_PIXELS = 3
"""A side less than this from the network's is made the network's."""
QUARTERS = tuple((row, column) for row in range(5) for column in range(5) if row % 2 == column % 2)
"""Places of a cut in quarters of the room it has: corners, middles and centre, and the points between these."""
MIRROR_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A rectangle of stored pictures, in pixels."""

    top: int
    left: int
    height: int
    width: int
    mirror: bool = False

    def __call__(self, frames_SHWC: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Cut uint8 (S, H, W, 3) and resize to uint8 (S, h, w, 3), on the processor."""
        part = frames_SHWC[:, self.top : self.top + self.height, self.left : self.left + self.width]
        if self.mirror:
            part = part.flip(2)
        if part.shape[1:3] == size:
            return part
        return resize_bytes(part.permute(0, 3, 1, 2), size, "bilinear").permute(0, 2, 3, 1)


def network_size(preprocessing: Preprocessing) -> tuple[int, int]:
    """Height and width that the network sees."""
    size = preprocessing.crop or preprocessing.resize
    assert isinstance(size, tuple)  # TSM's presets crop, or resize to a height and a width
    return size


def centre(height: int, width: int, size: tuple[int, int]) -> Cut:
    """The part that extraction sees of a stored picture: see `Preprocessing`."""
    return Cut(
        top=round((height - size[0]) / 2), left=round((width - size[1]) / 2), height=size[0], width=size[1]
    )


def crop_sizes(height: int, width: int, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Heights and widths of which one is drawn.

    Args:
        height: Of a stored picture.
        width: Of a stored picture.
        size: The network's. Where it isn't square, its shape takes the place of the square.
    """
    have, want = (height, size[0]) if height * size[1] <= width * size[0] else (width, size[1])
    heights, widths = (_sides(side * have // want, side) for side in size)
    return [
        (heights[row], widths[column])
        for row in range(len(SCALES))
        for column in range(len(SCALES))
        if abs(row - column) <= MAX_DISTORTION
    ]


def draw_cut(rng: np.random.Generator, height: int, width: int, size: tuple[int, int]) -> Cut:
    """One of the sizes, places and directions, all equally likely."""
    sizes = crop_sizes(height, width, size)
    crop_height, crop_width = sizes[rng.integers(len(sizes))]
    row, column = QUARTERS[rng.integers(len(QUARTERS))]
    return Cut(
        top=(height - crop_height) // 4 * row,
        left=(width - crop_width) // 4 * column,
        height=crop_height,
        width=crop_width,
        mirror=bool(rng.random() < MIRROR_SHARE),
    )


def _sides(longest: int, of_network: int) -> list[int]:
    sides = [int(longest * scale) for scale in SCALES]
    return [of_network if abs(side - of_network) < NEAR_PIXELS else side for side in sides]
