"""Windows of recordings, pooled, padded to equal length and stacked.

Axes: B sequences, T rows, C chunks, L padded steps, D feature width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from sync_train.models.c2f_tcn import MIN_STEPS
from sync_train.pooling import draw_chunk_rows, num_chunks
from sync_train.sequences import IGNORE

Length = TypeVar("Length", int, tuple[int, int])

STEP_MULTIPLE = 64
"""The network halves the steps six times; at multiples of 64 no level is cut or padded inside."""


@dataclass(frozen=True, kw_only=True)
class Windowing:
    """How recordings are cut into windows, and windows into chunks."""

    chunk_rows: int
    """Rows in a chunk."""
    max_chunks: int
    """Chunks in a window."""
    pad_to: int | None = None
    """Length that every sequence is padded to; None for the next multiple of `STEP_MULTIPLE`."""

    @property
    def window_rows(self) -> int:
        """Rows in a window."""
        return self.chunk_rows * self.max_chunks

    def padded_steps(self, num_rows: int, chunk_rows: int) -> int:
        """L of a window, at least what the network needs."""
        if self.pad_to is not None:
            return self.pad_to
        steps = num_chunks(num_rows, chunk_rows)
        return max(MIN_STEPS, STEP_MULTIPLE * num_chunks(steps, STEP_MULTIPLE))


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of one recording."""

    index: int
    """Which recording of a list."""
    start: int
    """First row."""
    stop: int
    """One past the last row."""

    @property
    def num_rows(self) -> int:
        """T."""
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Windows that make one batch, and the chunk size drawn for each."""

    windows: list[Window]
    chunk_rows: list[int]
    steps: int
    """L, the same for all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Pooled sequences of equal length; padded steps are zero and have no class."""

    rows_BLD: torch.Tensor
    """float32."""
    valid_BL: torch.Tensor
    """bool."""
    classes_BL: torch.Tensor | None = None
    """int64, `IGNORE` where there is no label; None for unlabelled sequences."""


def split_windows(lengths: Sequence[int], window_rows: int) -> list[Window]:
    """Cut each recording into windows that cover it and don't overlap; the last may be shorter."""
    return [
        Window(index=index, start=start, stop=min(start + window_rows, length))
        for index, length in enumerate(lengths)
        for start in range(0, length, window_rows)
    ]


def group_by_length(
    lengths: Sequence[Length], batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[list[int]]:
    """Numbers of the sequences of each batch: only equal lengths share one.

    Args:
        lengths: L of each sequence, or of both sequences of each pair.
        batch_size: Sequences a batch at the most.
        rng: Shuffles the sequences, and then the batches; without it both stay in order.
    """
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    groups: dict[Length, list[int]] = {}
    for number in order.tolist():
        groups.setdefault(lengths[number], []).append(number)
    batches = [
        group[start : start + batch_size]
        for _, group in sorted(groups.items())
        for start in range(0, len(group), batch_size)
    ]
    for place in range(len(batches)) if rng is None else rng.permutation(len(batches)).tolist():
        yield batches[place]


def draw_batches(
    windows: Sequence[Window],
    windowing: Windowing,
    *,
    zoom: bool,
    batch_size: int,
    seed: int,
    epoch: int,
) -> Iterator[Draw]:
    """Draw the batches of one epoch: every window once, each with a chunk size of its own.

    All draws depend on seed and epoch alone, so a resumed fit draws what an uninterrupted one does.
    """
    sizes = draw_sizes(windows, windowing, zoom=zoom, seed=[seed, epoch])
    lengths = [windowing.padded_steps(w.num_rows, size) for w, size in zip(windows, sizes, strict=True)]
    shuffle = np.random.default_rng([seed, epoch, len(windows)])  # no window has that number
    for numbers in group_by_length(lengths, batch_size, shuffle):
        yield Draw(
            windows=[windows[number] for number in numbers],
            chunk_rows=[sizes[number] for number in numbers],
            steps=lengths[numbers[0]],
        )


def draw_sizes(
    windows: Sequence[Window], windowing: Windowing, *, zoom: bool, seed: Sequence[int]
) -> list[int]:
    """Draw the chunk size of each window from the seed and the window's number; all alike without `zoom`."""
    if not zoom:
        return [windowing.chunk_rows] * len(windows)
    return [
        draw_chunk_rows(
            np.random.default_rng([*seed, number]),
            window.num_rows,
            chunk_rows=windowing.chunk_rows,
            max_chunks=windowing.max_chunks,
        )
        for number, window in enumerate(windows)
    ]


def stack(
    sequences: Sequence[torch.Tensor],
    steps: int,
    device: torch.device,
    classes: Sequence[torch.Tensor] | None = None,
) -> Batch:
    """Pad pooled sequences (C, D) to `steps` and stack them on the device; likewise their classes (C,).

    In memory D comes before L, as convolutions want it: else each would transpose its input, which took a
    processor a tenth of the teacher's epoch.
    """
    rows_BLD = torch.zeros(len(sequences), sequences[0].shape[1], steps, device=device).transpose(1, 2)
    valid_BL = torch.zeros(len(sequences), steps, dtype=torch.bool, device=device)
    for i, sequence in enumerate(sequences):
        rows_BLD[i, : len(sequence)] = sequence
        valid_BL[i, : len(sequence)] = True
    classes_BL = None
    if classes is not None:
        classes_BL = torch.full((len(sequences), steps), IGNORE, device=device)
        for i, of_sequence in enumerate(classes):
            classes_BL[i, : len(of_sequence)] = of_sequence
    return Batch(rows_BLD=rows_BLD, valid_BL=valid_BL, classes_BL=classes_BL)
