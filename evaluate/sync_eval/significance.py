"""Whether rows of a table differ by more than chance: paired bootstrap over recordings and seeds, Holm's correction.

What is compared is what the table shows: a metric of all recordings of the split (F1 and MoF pooled, edit as the
mean over sequences), computed for each seed, then the mean over the row's seeds. Two things in it are random: which
recordings were filmed, and which seeds the training had. Every seed is tested on every recording, so a replicate
draws both once and uses them throughout:

1. Recordings: as many as there are, with replacement, the same ones for all rows (paired). The sequences of a
   recording stay together. A recording that is drawn twice counts twice.
2. Within the replicate, seeds: one fewer than the row has, with replacement. Rows that were trained with the same
   seed numbers have the same ones drawn (paired: a student of seed 3 begins as the teacher of seed 3, which
   `no-adaptation` is), others draw independently. A row of one seed keeps it: then only recordings are resampled.
3. The metric is computed from the drawn recordings' summed counts for each drawn seed, and the mean taken.

Seeds aren't drawn anew for each recording: what a seed does to a model it does in all recordings, and drawing anew
would average it away. One fewer, because the mean of S draws from S values has only (S - 1) / S of the variance that
the mean of S new seeds has, a fifth too little at 5 seeds; with S - 1 draws it is right (Hesterberg, What Teachers
Should Know About the Bootstrap, 2015, on small samples). Of recordings there are enough.

Intervals are percentiles of the replicates, not BCa: differences of two paired rows are nearly symmetric, the
acceleration of BCa isn't defined for two factors drawn together, and a percentile interval leaves zero out exactly
where the p-value that is read from the same replicates is at most 0.05.

Axes: B replicates, S seeds, R recordings, C counts, M metrics.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sync_eval.config import METRICS
from sync_eval.metrics import Counts
from sync_eval.runs import Row
from sync_eval.scoring import Truth
from sync_store.errors import DatasetError, ProjectError

Floats = NDArray[np.float64]

ALPHA = 0.05
"""1 - confidence of the intervals, and the largest corrected p-value that resolves a difference."""

_BLOCK = 10_000
"""Replicates computed at a time: 12 MB of weights at 156 recordings. The result doesn't depend on it."""

_ZERO = 1e-9
"""Differences below it, in points, are rounding: two sums of the same numbers in another order."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What is resampled of one row."""

    seeds: tuple[int, ...]
    """Ascending."""
    counts_SRC: Floats
    """float64 (S, R, C): of each seed and recording, the counts that `_numbers` lists."""

    def __post_init__(self) -> None:
        if len(self.seeds) != len(self.counts_SRC):
            raise ValueError(f"{len(self.seeds)} seeds have counts of {len(self.counts_SRC)}")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric of one row against that of the row it is compared with, the reference. All scores in percent."""

    reference: int
    """Index of the reference among the samples."""
    other: int
    """Index of the row that is compared with it."""
    metric: str
    """One of `METRICS`."""
    reference_score: float
    score: float
    low: float
    """Lower end of the 95 % interval of the difference, points. It isn't corrected."""
    high: float
    p_value: float
    """Two-sided, not corrected."""
    p_holm: float
    """Corrected over all comparisons that were made together."""

    @property
    def difference(self) -> float:
        """The row less its reference, points."""
        return self.score - self.reference_score

    @property
    def holds_zero(self) -> bool:
        """Whether the uncorrected interval does."""
        return self.low <= 0 <= self.high

    @property
    def verdict(self) -> str:
        """`better` or `worse` than the reference, or `not resolved`: by the corrected p-value."""
        if self.p_holm > ALPHA:
            return "not resolved"
        return "better" if self.low > 0 else "worse"


def sample_of(row: Row, truth: Truth) -> Sample:
    """Counts of a scored row by seed and recording.

    Raises:
        DatasetError: If the split has fewer than two recordings with something to score.
    """
    recordings: dict[str, list[str]] = defaultdict(list)
    for true in truth.sequences:
        recordings[true.sequence.recording].append(true.sequence.name)
    if len(recordings) < 2:
        raise DatasetError(
            f"split {truth.split}: {', '.join(recordings)} is its only recording with labels to score, and rows can't "
            "be compared on fewer than 2"
        )
    counts_SRC = np.array(
        [
            [
                _numbers(sum((scored.by_sequence[name] for name in names), Counts()))
                for names in recordings.values()
            ]
            for scored in row.scored
        ]
    )
    return Sample(seeds=row.group.seeds, counts_SRC=counts_SRC)


def compare(
    samples: Sequence[Sample],
    pairs: Sequence[tuple[int, int]],
    metrics: Sequence[str] = METRICS,
    *,
    replicates: int = 10_000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare pairs of rows on some metrics; all of these comparisons are one family for Holm's correction.

    Args:
        samples: The rows, with the same recordings in the same order.
        pairs: For each pair the indices of the reference and of the row that is compared with it.
        metrics: Of `METRICS`.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        A comparison for each pair and metric, metrics of a pair together.

    Raises:
        ProjectError: If there are too few replicates for any difference to be resolved: the least corrected p-value is
            2 / (replicates + 1) times the number of comparisons.
        ValueError: See `bootstrap`.
    """
    num_comparisons = len(pairs) * len(metrics)
    needed = math.ceil(2 * num_comparisons / ALPHA) - 1
    if replicates < needed:
        raise ProjectError(
            f"{num_comparisons} comparisons can't be resolved by {replicates} replicates, whatever the rows are. Ask "
            f"for at least {needed} with --replicates, better for ten times as many, or compare fewer rows or metrics"
        )
    scores_M = [metric_scores(sample.counts_SRC.sum(axis=1)).mean(axis=0) for sample in samples]
    replicates_BM = bootstrap(samples, replicates, seed)
    found = []
    for (reference, other), metric in product(pairs, metrics):
        index = METRICS.index(metric)
        differences_B = replicates_BM[other][:, index] - replicates_BM[reference][:, index]
        differences_B[np.abs(differences_B) < _ZERO] = 0
        found.append((reference, other, index, *percentile_interval(differences_B), p_value(differences_B)))
    corrected = holm([p for *_, p in found])
    return [
        Comparison(
            reference=reference,
            other=other,
            metric=METRICS[index],
            reference_score=float(scores_M[reference][index]),
            score=float(scores_M[other][index]),
            low=low,
            high=high,
            p_value=p,
            p_holm=p_holm,
        )
        for (reference, other, index, low, high, p), p_holm in zip(found, corrected, strict=True)
    ]


def bootstrap(samples: Sequence[Sample], replicates: int, seed: int) -> list[Floats]:
    """Scores of each row in each replicate, drawn as the head of this module says.

    A row's replicates depend on its own counts, the number of recordings, its seeds and `seed`, not on which other
    rows are there. Recordings are drawn by `default_rng(SeedSequence(seed, spawn_key=(0,)))`, seeds likewise with
    (1, *seeds), in order of the replicates.

    Returns:
        For each sample float64 (B, M), percent.

    Raises:
        ValueError: If the samples differ in their recordings.
    """
    numbers = {sample.counts_SRC.shape[1] for sample in samples}
    if len(numbers) > 1:
        raise ValueError(f"rows with counts of {sorted(numbers)} recordings can't be paired")
    (num_recordings,) = numbers
    recordings_rng = _generator(seed, 0)
    seeds_rngs = {sample.seeds: _generator(seed, 1, *sample.seeds) for sample in samples}
    blocks: list[list[Floats]] = [[] for _ in samples]
    for start in range(0, replicates, _BLOCK):
        size = min(_BLOCK, replicates - start)
        times_BR = _draw(recordings_rng, size, num_recordings, num_recordings)
        times_BS = {seeds: _draw(rng, size, len(seeds), len(seeds) - 1) for seeds, rng in seeds_rngs.items()}
        for sample, of_sample in zip(samples, blocks, strict=True):
            scores_SBM = np.array([metric_scores(times_BR @ counts_RC) for counts_RC in sample.counts_SRC])
            times_SB1 = times_BS[sample.seeds].T[..., None]
            of_sample.append((times_SB1 * scores_SBM).sum(axis=0) / times_SB1.sum(axis=0))
    return [np.concatenate(of_sample) for of_sample in blocks]


def metric_scores(counts_C: Floats) -> Floats:
    """`METRICS` from summed counts, percent, as `Counts.scores` has them up to rounding.

    Args:
        counts_C: float64 (..., C), as `_numbers` lists them.

    Returns:
        float64 (..., M).
    """
    sequences, frames, correct, true, predicted, hits_10, hits_25, hits_50, edit = np.moveaxis(
        counts_C, -1, 0
    )
    f1 = [_share(200 * hits, true + predicted) for hits in (hits_10, hits_25, hits_50)]
    return np.stack([_share(edit, sequences), *f1, _share(100 * correct, frames)], axis=-1)


def percentile_interval(differences_B: Floats) -> tuple[float, float]:
    """Ends of the 95 % interval: the k-th least and k-th greatest replicate, k = ⌊(B + 1) · 0.025⌋.

    Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 5.3. Needs 39 replicates or more.
    """
    rank = int((len(differences_B) + 1) * ALPHA / 2)
    ordered = np.sort(differences_B)
    return float(ordered[rank - 1]), float(ordered[-rank])


def p_value(differences_B: Floats) -> float:
    """Twice the share of replicates on the rarer side of zero, zeros on both sides.

    The observed rows count as one more replicate, so that it is never 0 (Davison and Hinkley, section 4.2).
    """
    rarer = min(int((differences_B <= 0).sum()), int((differences_B >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(differences_B) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979), in the given order.

    The chance that any true hypothesis of the family is rejected stays below the level, however the tests depend
    on each other.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _numbers(counts: Counts) -> list[float]:
    """The counts that metrics are made from; axis C."""
    return [
        counts.num_sequences,
        counts.num_frames,
        counts.num_correct_frames,
        counts.num_true_segments,
        counts.num_predicted_segments,
        *counts.num_hits,
        counts.edit_sum,
    ]


def _generator(seed: int, *key: int) -> np.random.Generator:
    unsigned = [
        part % 2**64 for part in key
    ]  # numpy takes no negative number, which a seed of training may be
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=unsigned))


def _draw(rng: np.random.Generator, replicates: int, num: int, num_draws: int) -> Floats:
    """How often each of `num` things is drawn in each replicate, float64 (B, num); a single thing always once."""
    if num == 1:
        return np.ones((replicates, 1))
    drawn = rng.integers(num, size=(replicates, num_draws)) + num * np.arange(replicates)[:, None]
    return np.bincount(drawn.ravel(), minlength=replicates * num).reshape(replicates, num).astype(np.float64)


def _share(part: Floats, whole: Floats) -> Floats:
    """Their ratio, 0 where the whole is."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
