"""Pooled windows, kept once made: in half of all draws the chunk size is the same in every epoch.

Axes: T rows of a window, C chunks, D feature width.
"""

from collections.abc import Callable, Sequence

import torch

from sync_train.batches import Draw, Window
from sync_train.pooling import pool_classes, pool_rows
from sync_train.sequences import free_room

ROOM_SHARE = 0.5
"""Pooled windows take at most this share of their rows' bytes. The default chunk size alone takes a twentieth; all 31
that zoom draws would take 1.4 times the rows."""


class Kept:
    """What is made of windows at chunk sizes, kept as long as there is room."""

    def __init__(self, make: Callable[[Window, int], torch.Tensor], *, room_bytes: int) -> None:
        """Begin empty.

        Args:
            make: Makes the tensor of a window and a chunk size, always the same one.
            room_bytes: What all that is kept may take.
        """
        self._make = make
        self._room_bytes = room_bytes
        self._kept: dict[tuple[Window, int], torch.Tensor] = {}

    def __call__(self, window: Window, chunk_rows: int) -> torch.Tensor:
        """The tensor of a window at a chunk size; not to be written to."""
        if (kept := self._kept.get((window, chunk_rows))) is not None:
            return kept
        made = self._make(window, chunk_rows)
        if made.nbytes <= self._room_bytes:
            self._room_bytes -= made.nbytes
            self._kept[window, chunk_rows] = made
        return made

    def of(self, draw: Draw) -> list[torch.Tensor]:
        """The tensors of all windows of a batch."""
        return [self(window, size) for window, size in zip(draw.windows, draw.chunk_rows, strict=True)]


def pooled_rows(rows: Sequence[torch.Tensor], device: torch.device) -> Kept:
    """Pooled windows (C, D) on a device, of the rows' dtype; in memory D comes first, as convolutions want it.

    Args:
        rows: (T, D) of each recording, on any device.
        device: Where they are needed.
    """
    room_bytes = int(ROOM_SHARE * sum(of_recording.nbytes for of_recording in rows))
    if device.type == "cuda":
        room_bytes = min(room_bytes, free_room(device))

    def make(window: Window, chunk_rows: int) -> torch.Tensor:
        part = rows[window.index][window.start : window.stop].to(device)
        return pool_rows(part, chunk_rows).T.contiguous().T

    return Kept(make, room_bytes=room_bytes)


def pooled_classes(classes: Sequence[torch.Tensor], num_classes: int, device: torch.device) -> Kept:
    """Classes of pooled windows, int64 (C,), on a device; arguments as for `pooled_rows` and `pool_classes`."""

    def make(window: Window, chunk_rows: int) -> torch.Tensor:
        part = classes[window.index][window.start : window.stop].to(device)
        return pool_classes(part, chunk_rows, num_classes)

    return Kept(make, room_bytes=sum(of_recording.nbytes for of_recording in classes))
