"""Recordings of Assembly101's lengths and width, whose classes can be learnt, and the trainer's settings for them.

Axes: T rows, C chunks, D feature width, K classes.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch

from sync_train.batches import Windowing, stack
from sync_train.ensemble import ensemble_probabilities
from sync_train.fit_config import TeacherConfig
from sync_train.losses.segmentation import cross_entropy
from sync_train.models.c2f_tcn import C2FTCN
from sync_train.models.segmenter import Segmenter, Standardizer
from sync_train.pooling import pool_classes, pool_rows
from sync_train.sequences import Labeled, Recording

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


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much there is to learn from."""

    num_recordings: int = NUM_RECORDINGS
    num_held_out: int = 12
    feature_dim: int = 1024
    shrink: int = 1
    """Lengths are divided by it."""
    windowing: Windowing = WINDOWING


SMOKE = Sizes(
    num_recordings=2,
    num_held_out=1,
    feature_dim=16,
    shrink=20,
    windowing=Windowing(chunk_rows=20, max_chunks=64),
)


def make_dataset(sizes: Sizes) -> tuple[list[Labeled], list[Labeled]]:
    """Recordings to learn from and held-out ones, always the same."""
    torch.manual_seed(SEED)
    return (
        make_recordings(
            [length // sizes.shrink for length in lengths(sizes.num_recordings)], sizes.feature_dim
        ),
        make_recordings([MEDIAN_ROWS // sizes.shrink] * sizes.num_held_out, sizes.feature_dim),
    )


def make_model(feature_dim: int, seed: int, precision: torch.dtype = torch.float32) -> Segmenter:
    """An untrained teacher whose weights the seed decides."""
    torch.manual_seed(seed)
    network = C2FTCN(feature_dim=feature_dim, num_classes=NUM_CLASSES)
    return Segmenter(Standardizer(feature_dim), network, precision=precision)


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
