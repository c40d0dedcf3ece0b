"""Chunks: several rows become one step of the network, on the rows' own device.

Axes: T rows of a window, C chunks, D feature width.
"""

import math

import numpy as np
import torch

from sync_train.sequences import IGNORE

ZOOM_PROBABILITY = 0.5
"""Share of draws in which the chunk size is varied (A101-TAS dataset.py)."""

ZOOM = (0.5, 2.0)
"""Least and largest factor on the chunk size (A101-TAS main.py, `zoom_crop`)."""


def num_chunks(num_rows: int, chunk_rows: int) -> int:
    """C: the last chunk may be shorter."""
    return -(-num_rows // chunk_rows)


def draw_chunk_rows(rng: np.random.Generator, num_rows: int, *, chunk_rows: int, max_chunks: int) -> int:
    """Draw the chunk size of one window for one epoch: time zoomed in or out in half of the draws.

    The size is log-uniform between half and twice `chunk_rows`, but large enough that the window has at most
    `max_chunks` chunks, and rounded down (A101-TAS dataset.py). At a chunk of one row nothing changes.
    """
    if rng.random() >= ZOOM_PROBABILITY:
        return chunk_rows
    least = max(int(chunk_rows * ZOOM[0]), num_chunks(num_rows, max_chunks), 1)
    largest = max(least, int(chunk_rows * ZOOM[1]))
    return max(least, int(math.exp(rng.uniform(math.log(least), math.log(largest)))))


def pool_rows(rows_TD: torch.Tensor, chunk_rows: int) -> torch.Tensor:
    """Element-wise maximum over each chunk (A101-TAS dataset.py).

    Args:
        rows_TD: (T, D) of any dtype.
        chunk_rows: Rows in a chunk.

    Returns:
        (C, D) of the same dtype.
    """
    if chunk_rows == 1:
        return rows_TD
    whole = len(rows_TD) // chunk_rows * chunk_rows
    chunks_CD = rows_TD[:whole].reshape(-1, chunk_rows, rows_TD.shape[1]).amax(1)
    if whole == len(rows_TD):
        return chunks_CD
    return torch.cat([chunks_CD, rows_TD[whole:].amax(0, keepdim=True)])


def pool_classes(classes_T: torch.Tensor, chunk_rows: int, num_classes: int) -> torch.Tensor:
    """The class of most rows of each chunk, the smallest id where several have as many (A101-TAS dataset.py).

    Args:
        classes_T: int64 (T,); rows of `IGNORE` have no vote.
        chunk_rows: Rows in a chunk.
        num_classes: Number of classes.

    Returns:
        int64 (C,), `IGNORE` where no row of a chunk has a class.
    """
    if chunk_rows == 1:
        return classes_T
    chunks = num_chunks(len(classes_T), chunk_rows)
    chunk_T = torch.arange(len(classes_T), device=classes_T.device) // chunk_rows
    has_class = classes_T != IGNORE
    cells = chunk_T[has_class] * num_classes + classes_T[has_class]
    votes_CK = torch.bincount(cells, minlength=chunks * num_classes).view(chunks, num_classes)
    return torch.where(votes_CK.any(1), votes_CK.argmax(1), IGNORE)
