"""Clips: which frames of the sampling grid a row is made from.

A dense backbone sees one frame a row, a clip backbone several. Axes: F frames of a grid, R rows, K frames of a
clip, C channels, h and w network size.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from sync_store.errors import VideoError

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Clips:
    """How rows are made from the frames of a grid. Part of the fingerprint."""

    num_frames: int = 1
    """K."""
    stride: int = 1
    """Frames from one row to the next."""
    anchor: int = 0
    """Which of the K frames gives the row its time."""
    edges: Literal["repeat", "backpad"] = "repeat"
    """At the ends of a video: "repeat" gives every `stride`-th frame a row, and clips that reach beyond an end
    hold its frame several times; "backpad" has whole clips only, from the first frame on, and where frames are
    left over at the end one more that ends with the last."""

    def __post_init__(self) -> None:
        if not (self.num_frames >= 1 and self.stride >= 1 and 0 <= self.anchor < self.num_frames):
            raise ValueError(f"a clip needs frames, a stride and an anchor within it, got {self}")

    def num_rows(self, num_frames: int) -> int:
        """R of a grid of so many frames."""
        if self.edges == "repeat":
            return -(-num_frames // self.stride)
        if num_frames < self.num_frames:
            return 0
        return 1 - (self.num_frames - num_frames) // self.stride

    def rows(self, num_frames: int) -> Int64s:
        """Frames of every row.

        Args:
            num_frames: F.

        Returns:
            int64 (R, K): numbers of frames of the grid; column `anchor` increases strictly.

        Raises:
            VideoError: If there are fewer frames than a whole clip needs.
        """
        start = np.arange(self.num_rows(num_frames), dtype=np.int64) * self.stride
        offset = np.arange(self.num_frames, dtype=np.int64)
        if self.edges == "repeat":
            return np.asarray(np.clip(start[:, None] + offset - self.anchor, 0, num_frames - 1), np.int64)
        if num_frames < self.num_frames:
            raise VideoError(
                f"only {num_frames} frames on the sampling grid, but this backbone sees clips of "
                f"{self.num_frames}. Leave the video out, or take a backbone of single frames"
            )
        return np.minimum(start, num_frames - self.num_frames)[:, None] + offset


def assemble(
    images: Iterable[torch.Tensor], clip_frames_RK: Int64s, *, batch_rows: int
) -> Iterator[torch.Tensor]:
    """Put frames that come in order together to clips, in batches of rows.

    Batches depend on the rows alone, not on how the frames come. Where the frames end early, so do the rows whose
    clips are whole.

    Args:
        images: (N, C, h, w) each, any N; the first is the lowest frame of `clip_frames_RK`, and none is left out.
        clip_frames_RK: int64 (R, K), from `Clips.rows`.
        batch_rows: Rows a batch; the last may have fewer.

    Yields:
        Clips (batch_rows, K, C, h, w).
    """
    if not len(clip_frames_RK):  # all rows of a recording were there, which was killed before it was complete
        return
    lowest_R, highest_R = clip_frames_RK.min(axis=1), clip_frames_RK.max(axis=1)
    row, held_start = 0, int(lowest_R[0])
    parts: list[torch.Tensor] = []
    for more in images:
        parts.append(more)
        num_whole = int(np.searchsorted(highest_R, held_start + sum(map(len, parts))))
        if num_whole - row < batch_rows and num_whole < len(highest_R):
            continue
        held = _joined(parts)
        while row < num_whole and (num_whole - row >= batch_rows or num_whole == len(highest_R)):
            yield _gather(held, clip_frames_RK[row : min(row + batch_rows, num_whole)] - held_start)
            row = min(row + batch_rows, num_whole)
        needed_from = int(lowest_R[row]) if row < len(lowest_R) else held_start + len(held)
        num_unused = min(needed_from - held_start, len(held))
        parts, held_start = [held[num_unused:]], held_start + num_unused
    num_whole = int(np.searchsorted(highest_R, held_start + sum(map(len, parts))))
    if row < num_whole:
        yield _gather(_joined(parts), clip_frames_RK[row:num_whole] - held_start)


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    filled = [part for part in parts if len(part)]
    return filled[0] if len(filled) == 1 else torch.cat(filled or parts)


def _gather(images_NCHW: torch.Tensor, index_RK: Int64s) -> torch.Tensor:
    num_rows, num_frames = index_RK.shape
    if num_frames == 1 and index_RK[-1, 0] - index_RK[0, 0] == num_rows - 1:  # one stretch: no copy
        return images_NCHW[int(index_RK[0, 0]) : int(index_RK[-1, 0]) + 1, None]
    index = torch.from_numpy(index_RK.ravel())
    if images_NCHW.is_cuda:
        index = index.pin_memory().to(images_NCHW.device, non_blocking=True)
    return images_NCHW[index].reshape(num_rows, num_frames, *images_NCHW.shape[1:])
