"""What the published trainer does (A101-TAS dataset.py and main.py), in a plain loop.

It pools chunk by chunk in numpy, pads every window to 1,200 chunks of float32, and batches windows as they come.
Axes: B sequences, L padded steps, D feature width, K classes.
"""

import json
import sys
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.teacher.assembly101 import CONFIG, SEED, SMOKE, Sizes, held_out_loss, make_dataset, make_model
from sync_train.batches import Windowing, split_windows
from sync_train.ensemble import ensemble_probabilities
from sync_train.losses.segmentation import cross_entropy, smoothing
from sync_train.models.c2f_tcn import C2FTCN
from sync_train.pooling import draw_chunk_rows, num_chunks
from sync_train.sequences import IGNORE, Labeled


def main() -> None:
    """Serve `apart.Apart`: an epoch for each request that says so, else the held-out loss."""
    sizes = SMOKE if "--smoke" in sys.argv else Sizes()
    recordings, held_out = make_dataset(sizes)
    plain = PlainLoop(make_model(sizes.feature_dim, SEED).c2f_tcn, recordings, sizes.windowing)
    for request in map(str.strip, sys.stdin):
        if request == "epoch":
            plain.epoch()
            answer = None
        else:
            answer = held_out_loss(plain.network, held_out, plain.windowing)
        print(json.dumps(answer), flush=True)


class PlainLoop:
    """The published trainer's way."""

    def __init__(
        self, network: C2FTCN, recordings: list[Labeled], windowing: Windowing, *, seed: int = SEED
    ) -> None:
        self.network = network
        self._seed = seed
        self._recordings = recordings
        self.windowing = replace(windowing, pad_to=windowing.max_chunks)
        self._windows = split_windows([len(r.classes_T) for r in recordings], windowing.window_rows)
        self._epoch = 0
        self._optimizer = torch.optim.Adam(
            network.parameters(), lr=CONFIG.learning_rate, weight_decay=CONFIG.weight_decay
        )

    def epoch(self) -> None:
        """Train for the next epoch, with the trainer's draws."""
        self.network.train()
        seed = [self._seed, self._epoch, len(self._windows)]
        order = np.random.default_rng(seed).permutation(len(self._windows)).tolist()
        for first in range(0, len(order), CONFIG.batch_size):
            pooled = [self._padded(number) for number in order[first : first + CONFIG.batch_size]]
            rows_BDL = torch.stack([torch.from_numpy(rows.T) for rows, _ in pooled])
            classes_BL = torch.stack([torch.from_numpy(classes) for _, classes in pooled])
            probabilities_BKL = ensemble_probabilities(self.network(rows_BDL))
            loss = cross_entropy(probabilities_BKL, classes_BL)
            loss = loss + CONFIG.smoothing * smoothing(probabilities_BKL, classes_BL != IGNORE)
            self._optimizer.zero_grad()
            torch.autograd.backward(loss)
            self._optimizer.step()
        self._epoch += 1

    def _padded(self, number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """One window, pooled chunk by chunk: float32 (L, D) and int64 (L,)."""
        window = self._windows[number]
        labeled, part = self._recordings[window.index], slice(window.start, window.stop)
        rows_TD = labeled.recording.rows_TD[part].float().numpy()
        classes_T = labeled.classes_T[part].numpy()
        size = self._draw(number)
        rows_LD = np.zeros((self.windowing.max_chunks, rows_TD.shape[1]), dtype=np.float32)
        classes_L = np.full(self.windowing.max_chunks, IGNORE)
        for chunk in range(num_chunks(window.num_rows, size)):
            inside = slice(chunk * size, (chunk + 1) * size)
            rows_LD[chunk] = rows_TD[inside].max(axis=0)
            names, votes = np.unique(classes_T[inside], return_counts=True)
            classes_L[chunk] = names[votes.argmax()]
        return rows_LD, classes_L

    def _draw(self, number: int) -> int:
        """The chunk size that the trainer draws for a window in this epoch."""
        return draw_chunk_rows(
            np.random.default_rng([self._seed, self._epoch, number]),
            self._windows[number].num_rows,
            chunk_rows=self.windowing.chunk_rows,
            max_chunks=self.windowing.max_chunks,
        )


if __name__ == "__main__":
    main()
