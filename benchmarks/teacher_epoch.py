"""One epoch of the teacher at Assembly101's shape: our trainer against a plain loop.

The plain loop does what the published trainer does (A101-TAS dataset.py and main.py): it pools chunk by chunk in
numpy, pads every window to 1,200 chunks of float32, and batches windows as they come. Reading is left out: both
start from the same float16 rows in memory. Network, loss, optimiser, batch size and the chunk size drawn for each
window are the same; the trainer runs in float32, its default on a processor, and in bfloat16 as well. That the losses
are the same, too, is judged on held-out recordings after the same number of epochs.
Axes: T rows, C chunks, B sequences, L padded steps, D feature width, K classes.
"""

import copy
import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.measure import arguments, ratio, time_in_turn, write_result
from sync_train.batches import Windowing, split_windows, stack
from sync_train.ensemble import ensemble_probabilities
from sync_train.fit_config import TeacherConfig
from sync_train.loop import train_epoch
from sync_train.losses.segmentation import cross_entropy, smoothing
from sync_train.models.c2f_tcn import C2FTCN
from sync_train.models.segmenter import Segmenter, Standardizer
from sync_train.pooling import draw_chunk_rows, num_chunks, pool_classes, pool_rows
from sync_train.sequences import IGNORE, Labeled, Recording
from sync_train.tasks.segmentation import SegmentationTask

NUM_RECORDINGS = 143
"""Labelled exo videos of the paper's split."""

MEDIAN_ROWS, LEAST_ROWS, MOST_ROWS = 11_844, 695, 55_403
"""Lengths of Assembly101's videos in views v3, v4 and e4, at 30 rows a second."""

LENGTH_SPREAD = 0.44
"""Deviation of the logarithm of the lengths, by which 5.5 % are over 24,000 rows, as of Assembly101's."""

NUM_CLASSES = 202
SEGMENT_ROWS = 330
"""Mean length of a segment; ours, 11 s."""

CONFIG = TeacherConfig(max_epochs=1, selection="last")
WINDOWING = Windowing(chunk_rows=20, max_chunks=1200)
"""A101-TAS, and the trainer's default."""
SEED = 0

MAX_LOSS_RATIO = 1.02
"""More than this times the plain loop's held-out loss isn't equal."""


def main() -> None:
    options = arguments("teacher_epoch", __doc__)
    if options.smoke:
        num_recordings, num_held_out, feature_dim, shrink, num_rounds = 2, 1, 16, 20, 1
        windowing = Windowing(chunk_rows=20, max_chunks=64)
    else:
        num_recordings, num_held_out, feature_dim, shrink, num_rounds = NUM_RECORDINGS, 12, 1024, 1, 3
        windowing = WINDOWING
    torch.manual_seed(SEED)
    recordings = make_recordings([length // shrink for length in lengths(num_recordings)], feature_dim)
    held_out = make_recordings([MEDIAN_ROWS // shrink] * num_held_out, feature_dim)
    model = Segmenter(Standardizer(feature_dim), C2FTCN(feature_dim=feature_dim, num_classes=NUM_CLASSES))
    half = copy.deepcopy(model)
    half.precision = torch.bfloat16
    trainers = {
        "trainer": Ours(copy.deepcopy(model), recordings, windowing),
        "trainer bfloat16": Ours(half, recordings, windowing),
    }
    plain = PlainLoop(copy.deepcopy(model.c2f_tcn), recordings, windowing)
    timings = time_in_turn(
        {**{name: ours.epoch for name, ours in trainers.items()}, "plain loop": plain.epoch},
        num_rounds=num_rounds,
    )
    losses = {
        **{name: held_out_loss(ours.model.c2f_tcn, held_out, windowing) for name, ours in trainers.items()},
        "plain loop": held_out_loss(plain.network, held_out, replace(windowing, pad_to=windowing.max_chunks)),
    }
    if max(losses[name] for name in trainers) > MAX_LOSS_RATIO * losses["plain loop"]:
        raise RuntimeError(f"the losses aren't equal: {losses}")
    num_rows = sum(len(labeled.classes_T) for labeled in recordings)
    write_result(
        options.out,
        settings={
            "recordings": num_recordings,
            "rows": num_rows,
            "feature_dim": feature_dim,
            "classes": NUM_CLASSES,
            "chunk_rows": windowing.chunk_rows,
            "max_chunks": windowing.max_chunks,
            "batch_size": CONFIG.batch_size,
            "epochs": num_rounds + 1,
            "held_out_loss": {name: round(loss, 4) for name, loss in losses.items()},
            "untrained_loss": round(held_out_loss(model.c2f_tcn, held_out, windowing), 4),
        },
        timings={name: timing.summary(num_rows, "rows") for name, timing in timings.items()},
        ratios={
            f"{name.replace(' ', '_')}_over_plain_loop": ratio(timings[name], timings["plain loop"])
            for name in trainers
        },
        targets={"trainer_over_plain_loop": 2.0, "trainer_bfloat16_over_plain_loop": 3.5},
    )


class Ours:
    """The trainer as `sync-train` runs it."""

    def __init__(self, model: Segmenter, recordings: list[Labeled], windowing: Windowing) -> None:
        self.model = model
        self._task = SegmentationTask(model, recordings, CONFIG, windowing, seed=SEED, score=None)
        self._epoch = 0

    def epoch(self) -> None:
        """Train for the next epoch."""
        train_epoch(self._task, self._epoch)
        self._epoch += 1


class PlainLoop:
    """The published trainer's way."""

    def __init__(self, network: C2FTCN, recordings: list[Labeled], windowing: Windowing) -> None:
        self.network = network
        self._recordings = recordings
        self._windowing = windowing
        self._windows = split_windows([len(r.classes_T) for r in recordings], windowing.window_rows)
        self._epoch = 0
        self._optimizer = torch.optim.Adam(
            network.parameters(), lr=CONFIG.learning_rate, weight_decay=CONFIG.weight_decay
        )

    def epoch(self) -> None:
        """Train for the next epoch, with the trainer's draws."""
        self.network.train()
        seed = [SEED, self._epoch, len(self._windows)]
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
        rows_LD = np.zeros((self._windowing.max_chunks, rows_TD.shape[1]), dtype=np.float32)
        classes_L = np.full(self._windowing.max_chunks, IGNORE)
        for chunk in range(num_chunks(window.num_rows, size)):
            inside = slice(chunk * size, (chunk + 1) * size)
            rows_LD[chunk] = rows_TD[inside].max(axis=0)
            names, votes = np.unique(classes_T[inside], return_counts=True)
            classes_L[chunk] = names[votes.argmax()]
        return rows_LD, classes_L

    def _draw(self, number: int) -> int:
        """The chunk size that the trainer draws for a window in this epoch."""
        return draw_chunk_rows(
            np.random.default_rng([SEED, self._epoch, number]),
            self._windows[number].num_rows,
            chunk_rows=self._windowing.chunk_rows,
            max_chunks=self._windowing.max_chunks,
        )


def lengths(num_recordings: int) -> list[int]:
    """T of each recording: the quantiles of a log-normal distribution within Assembly101's range."""
    quantiles = [NormalDist().inv_cdf((index + 0.5) / num_recordings) for index in range(num_recordings)]
    return [
        round(min(max(MEDIAN_ROWS * math.exp(LENGTH_SPREAD * q), LEAST_ROWS), MOST_ROWS)) for q in quantiles
    ]


def make_recordings(num_rows: list[int], feature_dim: int) -> list[Labeled]:
    """Segments of random classes; a row is its class's prototype and noise, which can be learnt."""
    prototypes_KD = torch.randn(
        NUM_CLASSES, feature_dim, generator=torch.Generator().manual_seed(SEED)
    ).half()
    recordings = []
    for number, length in enumerate(num_rows):
        num_segments = max(1, length // SEGMENT_ROWS)
        stops = torch.sort(torch.randint(1, length, (num_segments,))).values
        classes_T = torch.randint(NUM_CLASSES, (num_segments + 1,))[
            torch.bucketize(torch.arange(length), stops)
        ]
        rows_TD = torch.empty(length, feature_dim, dtype=torch.float16).normal_()
        rows_TD += prototypes_KD[classes_T]
        timestamps = np.arange(length, dtype=np.int64)
        recording = Recording(name=f"r{number:03d}", rows_TD=rows_TD, timestamps=timestamps)
        recordings.append(Labeled(recording=recording, classes_T=classes_T))
    return recordings


@torch.inference_mode()
def held_out_loss(network: C2FTCN, recordings: list[Labeled], windowing: Windowing) -> float:
    """Mean cross-entropy over the chunks of recordings of one window, padded as the network was trained."""
    network.eval()
    losses = []
    for labeled in recordings:
        rows_CD = pool_rows(labeled.recording.rows_TD, windowing.chunk_rows)
        classes_C = pool_classes(labeled.classes_T, windowing.chunk_rows, NUM_CLASSES)
        steps = windowing.padded_steps(len(labeled.classes_T), windowing.chunk_rows)
        batch = stack([rows_CD], steps, torch.device("cpu"), [classes_C])
        assert batch.classes_BL is not None
        probabilities = ensemble_probabilities(network(batch.rows_BLD.transpose(1, 2)))
        losses.append(cross_entropy(probabilities, batch.classes_BL).item())
    return sum(losses) / len(losses)


if __name__ == "__main__":
    main()
