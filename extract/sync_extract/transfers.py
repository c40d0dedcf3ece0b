"""Frames to the device and rows back without waiting: from and to pinned memory, beside the device's work.

On a processor all of it is the tensor itself. Axes: N frames or rows, D feature width.
"""

from collections import deque

import numpy as np
import numpy.typing as npt
import torch


def empty_frames(shape: tuple[int, ...], device: torch.device) -> npt.NDArray[np.uint8]:
    """An array to decode into; for a GPU in pinned memory, which torch keeps for the next one.

    Args:
        shape: (N, H, W, 3).
        device: Where the frames are to go.
    """
    if device.type != "cuda":
        return np.empty(shape, np.uint8)
    return torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()


class Uploads:
    """Copies arrays to a device, in a stream of their own on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._under_way: deque[tuple[torch.cuda.Event, torch.Tensor]] = deque()

    def __call__(self, frames: npt.NDArray[np.uint8]) -> torch.Tensor:
        """The array on the device; what is computed from it there waits for the copy, the caller doesn't.

        Args:
            frames: From `empty_frames`, else it is copied once more. Must not be changed afterwards.
        """
        on_processor = torch.from_numpy(frames)
        if self._stream is None:
            return on_processor
        pinned = on_processor if on_processor.is_pinned() else on_processor.pin_memory()
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            on_device = pinned.to(self._device, non_blocking=True)
            copied = self._stream.record_event()
        computing.wait_event(copied)
        on_device.record_stream(computing)
        self._under_way.append((copied, pinned))
        while self._under_way and self._under_way[0][0].query():  # type: ignore[no-untyped-call]
            self._under_way.popleft()
        return on_device


class Download:
    """Rows on their way from a device."""

    def __init__(self, rows_ND: torch.Tensor) -> None:
        """Begin the copy behind what the current stream still has to do."""
        self._copied: torch.cuda.Event | None = None
        self._rows_ND = rows_ND
        if rows_ND.is_cuda:
            self._rows_ND = torch.empty_like(rows_ND, device="cpu", pin_memory=True)
            self._rows_ND.copy_(rows_ND, non_blocking=True)
            self._copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(rows_ND.device))

    def __len__(self) -> int:
        return len(self._rows_ND)

    def wait(self) -> npt.NDArray[np.float16]:
        """The rows (N, D), once they have arrived; any thread may wait, and sleeps."""
        if self._copied is not None:
            self._copied.synchronize()
        rows: npt.NDArray[np.float16] = self._rows_ND.numpy()
        return rows
