"""From a model to probabilities of every row, and to predicted segments.

Axes: T rows, C chunks, K classes.
"""

from collections.abc import Sequence

import numpy as np
import torch

from sync_store.labels import Segments, segments_of_rows
from sync_train.batches import Windowing, group_by_length, split_windows, stack
from sync_train.models.segmenter import Segmenter
from sync_train.pooling import pool_rows
from sync_train.sequences import Recording

BATCH_SIZE = 16
"""Windows a forward pass; the result doesn't depend on it."""


@torch.inference_mode()
def row_probabilities(
    model: Segmenter,
    rows: Sequence[torch.Tensor],
    windowing: Windowing,
    chunk_rows: Sequence[int] = (),
) -> list[torch.Tensor]:
    """Probabilities of every row of recordings.

    Args:
        model: Put into evaluation mode.
        rows: (T, D) of each recording.
        windowing: Windows and chunks; a chunk's probabilities are those of each of its rows.
        chunk_rows: Chunk sizes to average over (test-time augmentation, A101-TAS main.py has 10, 17, 24), one
            that is repeated as often as it stands there; by default the windowing's alone.

    Returns:
        float32 (T, K) on the CPU for each recording.
    """
    model.eval()
    sizes = tuple(chunk_rows) or (windowing.chunk_rows,)
    totals = [torch.zeros(len(of_recording), model.c2f_tcn.num_classes) for of_recording in rows]
    for size in sizes:
        windows = split_windows([len(r) for r in rows], size * windowing.max_chunks)
        lengths = [windowing.padded_steps(window.num_rows, size) for window in windows]
        for numbers in group_by_length(lengths, BATCH_SIZE):
            chosen = [windows[number] for number in numbers]
            pooled = [pool_rows(rows[w.index][w.start : w.stop].to(model.device), size) for w in chosen]
            batch = stack(pooled, lengths[numbers[0]], model.device)
            probabilities_BKL = model.probabilities(batch.rows_BLD, batch.valid_BL)
            for window, of_window_KL in zip(chosen, probabilities_BKL.cpu(), strict=True):
                of_rows_TK = of_window_KL.T.repeat_interleave(size, dim=0)[: window.num_rows]
                totals[window.index][window.start : window.stop] += of_rows_TK / len(sizes)
    return totals


def segments_of_probabilities(
    recording: Recording, probabilities_TK: torch.Tensor, classes: Sequence[str]
) -> Segments:
    """The most probable class of each row as segments, with their mean probability as confidence."""
    confidence_T, ids_T = probabilities_TK.max(dim=1)
    return segments_of_rows(
        ids_T.numpy(), recording.timestamps, classes, confidence=confidence_T.numpy().astype(np.float64)
    )
