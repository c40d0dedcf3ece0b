"""The bootstrap against loops that literally resample, scipy, published examples and simulated truth.

Axes: B replicates, S seeds, R recordings, C counts, M metrics.
"""

import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sync_eval import significance
from sync_eval.config import METRICS
from sync_eval.metrics import Counts
from sync_eval.runs import Row, find_groups, score_groups
from sync_eval.scoring import read_truth
from sync_eval.significance import (
    Sample,
    bootstrap,
    compare,
    holm,
    metric_scores,
    p_value,
    percentile_interval,
    sample_of,
)
from sync_eval.tables import COLUMNS
from sync_store.errors import DatasetError, ProjectError

CASES = st.integers(0, 2**32 - 1)

METHOD_PAGE = Path(__file__).parents[2] / "docs" / "method.md"

SHARES = {"none": 0.0, "half": 0.5, "80 %": 0.8, "all": 1.0}
"""Of seeds in the variance of a difference, as the page says them."""


def random_counts(rng: np.random.Generator, num_sequences: int = 1) -> Counts:
    """Counts as some sequences could have; each may be without segments or hits."""
    total = Counts()
    for _ in range(num_sequences):
        frames, true, predicted = (int(rng.integers(low, high)) for low, high in ((1, 90), (0, 9), (0, 9)))
        hits = sorted(rng.integers(0, min(true, predicted) + 1, 3).tolist(), reverse=True)
        total += Counts(
            num_sequences=1,
            num_frames=frames,
            num_correct_frames=int(rng.integers(0, frames + 1)),
            num_predicted_frames=frames,
            num_true_segments=true,
            num_predicted_segments=predicted,
            num_hits=(hits[0], hits[1], hits[2]),
            edit_sum=float(rng.uniform(0, 100)),
        )
    return total


def sample_from(by_seed: dict[int, list[Counts]]) -> Sample:
    """A sample from counts of each seed and recording."""
    numbers = [
        [
            (
                *(c.num_sequences, c.num_frames, c.num_correct_frames, c.num_true_segments),
                *(c.num_predicted_segments, *c.num_hits, c.edit_sum),
            )
            for c in counts
        ]
        for counts in by_seed.values()
    ]
    return Sample(seeds=tuple(by_seed), counts_SRC=np.array(numbers, dtype=np.float64))


def random_row(
    rng: np.random.Generator, seeds: Sequence[int], num_recordings: int
) -> dict[int, list[Counts]]:
    return {
        seed: [random_counts(rng, int(rng.integers(1, 3))) for _ in range(num_recordings)] for seed in seeds
    }


def edits(values_SR: Any, seeds: Sequence[int] | None = None) -> Sample:
    """A row of one sequence a recording, with these edit scores and nothing else."""
    values_SR = np.atleast_2d(np.asarray(values_SR, dtype=np.float64))
    counts_SRC = np.zeros((*values_SR.shape, 9))
    counts_SRC[..., 0], counts_SRC[..., 8] = 1, values_SR
    return Sample(seeds=tuple(seeds or range(len(values_SR))), counts_SRC=counts_SRC)


def naive_bootstrap(by_seed: dict[int, list[Counts]], replicates: int, seed: int) -> list[list[float]]:
    """What the head of the module says, one replicate, seed and recording at a time."""
    seeds, num_recordings = list(by_seed), len(next(iter(by_seed.values())))
    recording_draws = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    seed_draws = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, *seeds)))
    drawn_BR = recording_draws.integers(num_recordings, size=(replicates, num_recordings))
    drawn_BS = seed_draws.integers(len(seeds), size=(replicates, len(seeds) - 1))
    made = []
    for b in range(replicates):
        drawn_seeds = [seeds[index] for index in drawn_BS[b]] if len(seeds) > 1 else seeds
        of_seeds = []
        for drawn in drawn_seeds:
            total = Counts()
            for recording in drawn_BR[b]:
                total += by_seed[drawn][recording]
            of_seeds.append(total.scores())
        made.append([statistics.fmean(getattr(scores, metric) for scores in of_seeds) for metric in METRICS])
    return made


def test_metrics_are_those_of_the_table() -> None:
    assert tuple(COLUMNS) == METRICS


@given(CASES)
@settings(max_examples=50, deadline=None)
def test_scores_of_summed_counts_are_those_of_counts(case: int) -> None:
    rng = np.random.default_rng(case)
    counts = random_counts(rng, int(rng.integers(1, 4)))
    scores = counts.scores()
    (of_sample,) = metric_scores(sample_from({0: [counts]}).counts_SRC.sum(axis=1))
    np.testing.assert_allclose(of_sample, [getattr(scores, metric) for metric in METRICS], rtol=1e-12)


@pytest.mark.parametrize("seeds", [(0,), (0, 1), (0, 1, 2, 3, 4), (3, 7, 2**40)])
def test_replicates_are_those_of_loops_that_resample(seeds: tuple[int, ...]) -> None:
    row = random_row(np.random.default_rng(len(seeds)), seeds, num_recordings=7)
    (made_BM,) = bootstrap([sample_from(row)], replicates=60, seed=11)
    np.testing.assert_allclose(made_BM, naive_bootstrap(row, 60, 11), rtol=1e-12)


def test_a_comparison_is_that_of_the_loops() -> None:
    """Two rows with the same seeds and one with others; every figure computed anew."""
    rng = np.random.default_rng(5)
    rows = [random_row(rng, seeds, 6) for seeds in ((0, 1, 2), (0, 1, 2), (4, 5))]
    replicates = [np.array(naive_bootstrap(row, 999, 3)) for row in rows]
    tables = [
        [
            statistics.fmean(getattr(sum(counts, Counts()).scores(), metric) for counts in row.values())
            for metric in METRICS
        ]
        for row in rows
    ]
    found = compare([sample_from(row) for row in rows], [(0, 1), (0, 2)], replicates=999, seed=3)
    assert [(line.reference, line.other, line.metric) for line in found] == [
        (0, other, metric) for other in (1, 2) for metric in METRICS
    ]
    for line in found:
        index = METRICS.index(line.metric)
        differences = sorted(replicates[line.other][:, index] - replicates[0][:, index])
        below, above = sum(d <= 1e-9 for d in differences), sum(d >= -1e-9 for d in differences)
        assert line.score == pytest.approx(tables[line.other][index])
        assert line.difference == pytest.approx(tables[line.other][index] - tables[0][index])
        # 0.025 · 1,000 = 25: the 25th least and greatest
        assert (line.low, line.high) == pytest.approx((differences[24], differences[-25]))
        assert line.p_value == min(1, 2 * (min(below, above) + 1) / 1000)


def test_replicates_do_not_depend_on_blocks_or_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    samples = [sample_from(random_row(rng, seeds, 9)) for seeds in ((0, 1, 2), (0, 1, 2), (5, 6))]
    together = bootstrap(samples, 50, 0)
    monkeypatch.setattr(significance, "_BLOCK", 7)
    for sample, expected in zip(samples, together, strict=True):
        np.testing.assert_array_equal(bootstrap([sample], 50, 0)[0], expected)
    assert not np.array_equal(bootstrap(samples, 50, 1)[0], together[0])


def test_recordings_are_drawn_for_both_rows_and_equal_seeds_too() -> None:
    """A row that is everywhere 3 points better is so in every replicate; with other seeds it isn't."""
    values_SR = np.random.default_rng(0).uniform(0, 90, (4, 12))
    first, second = edits(values_SR), edits(values_SR + 3)
    one, two = bootstrap([first, second], 200, 0)
    np.testing.assert_allclose((two - one)[:, 0], 3)
    (line,) = compare([first, second], [(0, 1)], ["edit"], replicates=1000)
    assert (line.low, line.high, line.verdict) == (pytest.approx(3), pytest.approx(3), "better")
    other_seeds = replace(second, seeds=(10, 11, 12, 13))
    one, two = bootstrap([first, other_seeds], 200, 0)
    assert np.std((two - one)[:, 0]) > 0.5


def test_one_seed_resamples_recordings_only() -> None:
    """The same figures as any other seed number gives, and the variance that the mean of n values has."""
    values = np.random.default_rng(1).normal(50, 10, 60)
    (zero,) = bootstrap([edits(values, [0])], 20_000, 0)
    (nine,) = bootstrap([edits(values, [9])], 20_000, 0)
    np.testing.assert_array_equal(zero, nine)
    assert bootstrap([edits([values, values], [-1, 3])], 10, 0)[0].shape == (10, 5), "a seed may be negative"
    assert np.std(zero[:, 0]) == pytest.approx(np.std(values) / 60**0.5, rel=0.03)


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_deviation_over_seeds_is_that_of_a_mean_of_new_seeds(num_seeds: int) -> None:
    """Where recordings don't matter: s / √S with the sample deviation s, which S draws from S would fall short of."""
    levels = np.random.default_rng(2).normal(50, 5, num_seeds)
    (made,) = bootstrap([edits(np.repeat(levels[:, None], 4, axis=1))], 20_000, 0)
    assert np.std(made[:, 0]) == pytest.approx(statistics.stdev(levels) / num_seeds**0.5, rel=0.03)


def test_interval_agrees_with_scipy() -> None:
    """scipy.stats.bootstrap, paired, percentile, on pooled MoF of one seed; draws differ, so ends do a little."""
    rng = np.random.default_rng(4)
    frames, first, second = rng.integers(50, 200, 80), rng.uniform(0.3, 0.9, 80), rng.uniform(0.35, 0.95, 80)
    correct = [np.floor(frames * share) for share in (first, second)]
    samples = []
    for of_row in correct:
        counts_SRC = np.zeros((1, 80, 9))
        counts_SRC[0, :, 0], counts_SRC[0, :, 1], counts_SRC[0, :, 2] = 1, frames, of_row
        samples.append(Sample(seeds=(0,), counts_SRC=counts_SRC))
    (line,) = compare(samples, [(0, 1)], ["mof"], replicates=20_000)

    def difference(frames: Any, one: Any, two: Any, axis: int) -> Any:
        return 100 * (two.sum(axis) - one.sum(axis)) / frames.sum(axis)

    known = stats.bootstrap(
        (frames, *correct), difference, paired=True, method="percentile", n_resamples=20_000, rng=0
    )
    assert line.difference == pytest.approx(difference(frames, *correct, axis=0))
    ends = (known.confidence_interval.low, known.confidence_interval.high)
    assert (line.low, line.high) == pytest.approx(ends, abs=0.1 * known.standard_error)


def test_recordings_of_two_sequences_weigh_two_in_edit() -> None:
    """Edit is a ratio of two sums, which both change with the draw."""
    rng = np.random.default_rng(8)
    row = {0: [random_counts(rng, 2), random_counts(rng, 1)]}
    (made_BM,) = bootstrap([sample_from(row)], 400, 0)
    a, b = row[0]
    both = (a.edit_sum + b.edit_sum) / 3
    assert {round(value, 9) for value in made_BM[:, 0]} == {
        round(value, 9) for value in (a.edit_sum / 2, b.edit_sum, both)
    }


def simulated_coverage(
    num_recordings: int,
    num_seeds: int,
    deviations: tuple[float, float, float],
    draw: Callable[..., Any],
    num_studies: int = 400,
) -> float:
    """Share of simulated studies whose interval holds the true difference of 5 points.

    Args:
        num_recordings: Of each study.
        num_seeds: Of each row, independent of the other's.
        deviations: Of a recording's difference, of a seed, and of a seed on a recording.
        draw: Replicates of two samples.
        num_studies: How many are simulated.
    """
    by_recording, by_seed, by_both = deviations
    rng = np.random.default_rng(0)
    num_held = 0
    for study in range(num_studies):
        own_R = rng.normal(0, by_recording, num_recordings)
        first_SR, second_SR = (
            rng.normal(0, by_seed, (num_seeds, 1)) + rng.normal(0, by_both, (num_seeds, num_recordings))
            for _ in range(2)
        )
        one, two = draw([edits(first_SR), edits(second_SR + own_R + 5)], 199, study)
        low, high = percentile_interval((two - one)[:, 0])
        num_held += low <= 5 <= high
    return num_held / num_studies


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """By a binomial deviation of 0.011; with the interaction of seed and recording they err to the safe side."""
    assert 0.92 <= simulated_coverage(60, 5, (10, 0, 0), bootstrap) <= 0.975
    assert 0.92 <= simulated_coverage(60, 5, (10, 1, 5), bootstrap) <= 0.99
    assert 0.90 <= simulated_coverage(60, 3, (10, 1, 5), bootstrap) <= 0.98


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_false_positives_are_as_frequent_as_documented(num_seeds: int, share: str) -> None:
    """p is at most 0.05 where the interval leaves the truth out. The page's figures are those of 2,000 studies each."""
    page = METHOD_PAGE.read_text()
    assert "| share of seeds in the variance of the difference | 2 seeds | 3 seeds | 5 seeds |" in page
    (cells,) = re.findall(rf"^\| {share} \| (\d+) % \| (\d+) % \| (\d+) % \|$", page, flags=re.MULTILINE)
    documented = int(cells[(2, 3, 5).index(num_seeds)]) / 100
    part, by_recording = SHARES[share], 5 if share != "all" else 0
    # of the difference's variance, 5² / 60 is from recordings and 2 · s² / S from seeds
    by_seed = 5 * math.sqrt(part / (1 - part) * num_seeds / 2 / 60) if by_recording else 1
    found = 1 - simulated_coverage(60, num_seeds, (by_recording, by_seed, 0), bootstrap, 200)
    assert found == pytest.approx(documented, abs=3 * math.sqrt(documented * (1 - documented) / 200))


def test_intervals_of_few_recordings_are_too_narrow() -> None:
    """As the documentation says, and the note of `sync-eval compare`: 10 % leave the truth out."""
    assert "with 10 recordings and one seed in 10 %" in METHOD_PAGE.read_text()
    assert 0.86 <= simulated_coverage(10, 1, (10, 0, 0), bootstrap) <= 0.94


def test_resampling_recordings_alone_would_hold_it_less_often() -> None:
    """Why seeds are resampled: a study of the seeds' means takes what these seeds have for what the method has."""

    def without_seeds(samples: Sequence[Sample], replicates: int, seed: int) -> Any:
        means = [edits(sample.counts_SRC[..., 8].mean(axis=0)) for sample in samples]
        return bootstrap(means, replicates, seed)

    assert simulated_coverage(60, 5, (5, 2, 5), without_seeds) < 0.8
    assert simulated_coverage(60, 5, (5, 2, 5), bootstrap) > 0.88


def test_a_row_against_itself_is_exactly_zero_and_not_resolved() -> None:
    sample = sample_from(random_row(np.random.default_rng(0), (0, 1, 2), 10))
    for line in compare([sample, sample], [(0, 1)]):
        assert (line.difference, line.low, line.high, line.p_value, line.p_holm) == (0, 0, 0, 1, 1)
        assert line.verdict == "not resolved" and line.holds_zero


@given(CASES)
@settings(max_examples=25, deadline=None)
def test_swapping_two_rows_flips_signs(case: int) -> None:
    rng = np.random.default_rng(case)
    seeds = [tuple(range(int(rng.integers(1, 4)))) for _ in range(2)]
    first, second = (sample_from(random_row(rng, of_row, 8)) for of_row in seeds)
    ways = {"better": "worse", "worse": "better", "not resolved": "not resolved"}
    there, back = (
        compare(pair, [(0, 1)], replicates=499, seed=case) for pair in ([first, second], [second, first])
    )
    for one, two in zip(there, back, strict=True):
        assert (one.difference, one.low, one.high) == (-two.difference, -two.high, -two.low)
        assert (one.p_value, one.p_holm, ways[one.verdict]) == (two.p_value, two.p_holm, two.verdict)


@given(CASES)
@settings(max_examples=25, deadline=None)
def test_recordings_on_which_both_are_the_same_shrink_the_difference(case: int) -> None:
    """As many of them as there were halve the difference of the means, and no interval gets wider."""
    rng = np.random.default_rng(case)
    first, second, same = rng.uniform(0, 100, 30), rng.uniform(20, 100, 30), rng.uniform(0, 100, 30)
    (before,) = compare([edits(first), edits(second)], [(0, 1)], ["edit"], replicates=999)
    more = [edits(np.concatenate([values, same])) for values in (first, second)]
    (after,) = compare(more, [(0, 1)], ["edit"], replicates=999)
    assert after.difference == pytest.approx(before.difference / 2)
    assert after.high - after.low < before.high - before.low


@given(st.lists(st.integers(-5, 5), min_size=39, max_size=120))
def test_the_interval_leaves_zero_out_where_p_is_at_most_0_05(differences: list[int]) -> None:
    values = np.array(differences, dtype=np.float64)
    low, high = percentile_interval(values)
    assert (low > 0 or high < 0) == (p_value(values) <= 0.05)
    assert low <= high and (p_value(values), p_value(-values)) == (p_value(values),) * 2


@given(CASES)
@settings(max_examples=25, deadline=None)
def test_a_verdict_is_never_kinder_than_the_interval(case: int) -> None:
    rng = np.random.default_rng(case)
    samples = [edits(rng.normal(50 + shift, 5, (2, 12))) for shift in (0, 2, 4, 0)]
    for line in compare(samples, [(0, 1), (0, 2), (0, 3)], ["edit"], replicates=999, seed=case):
        assert line.p_holm >= line.p_value
        if line.verdict != "not resolved":
            assert line.verdict == ("better" if line.low > 0 else "worse") and not line.holds_zero
            assert (line.difference > 0) == (line.verdict == "better")


def test_verdict_needs_the_corrected_p_value() -> None:
    """p about 0.03: alone it is resolved, among four it isn't."""
    values = np.random.default_rng(0).normal(0, 10, 40)
    plain, shifted = edits(np.zeros(40)), edits(values - values.mean() + 2.8)
    (alone,) = compare([plain, shifted], [(0, 1)], ["edit"])
    assert 0.0125 < alone.p_value == alone.p_holm < 0.05 and alone.verdict == "better"
    among = compare([plain, shifted], [(0, 1)] + [(0, 0)] * 3, ["edit"])[0]
    assert (among.p_value, among.low, among.verdict) == (alone.p_value, alone.low, "not resolved")
    assert among.p_holm == 4 * alone.p_value and not among.holds_zero


def test_holm_of_a_published_example() -> None:
    """Wikipedia, Holm-Bonferroni method, example: of 0.01, 0.04, 0.03, 0.005 the first and last are rejected."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0.0005, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_steps_reject(p_values: list[float]) -> None:
    """Holm 1979 to the letter: the least against α/m, the next against α/(m - 1), until one fails."""
    rejected: set[int] = set()
    for index in sorted(range(len(p_values)), key=lambda each: p_values[each]):
        if p_values[index] * (len(p_values) - len(rejected)) > 0.05:
            break
        rejected.add(index)
    assert {index for index, p in enumerate(holm(p_values)) if p <= 0.05} == rejected
    assert all(1 >= corrected >= p for corrected, p in zip(holm(p_values), p_values, strict=True))


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


def scored(folder: Any) -> tuple[list[Row], Any]:
    truth = read_truth(folder.dataset, "test")
    return score_groups(find_groups([folder.root / "runs"]), {"test": truth}, "masked"), truth


def test_a_sample_holds_counts_by_recording_and_gives_the_scores_of_the_table(folder: Any) -> None:
    folder.add("r1", "a*10 b*10")
    folder.add("r2", "c*4 a*6")
    folder.add("r3", None)
    for seed, frames in ((2, "a*12 b*8"), (5, "a*20")):
        folder.predict({"r1": frames, "r2": "c*5 a*5", "r3": "a*1"}, seed=seed)
    ((row,), truth) = scored(folder)
    sample = sample_of(row, truth)
    assert (sample.seeds, sample.counts_SRC.shape) == ((2, 5), (2, 2, 9))
    assert sample.counts_SRC[:, :, 2].tolist() == [[18, 9], [10, 9]], "correct frames"
    (line, *_) = lines = compare([sample, sample], [(0, 1)])
    assert [line.score for line in lines] == pytest.approx([row.mean(metric) for metric in METRICS])
    assert line.score == line.reference_score


def test_sequences_of_a_recording_stay_together(folder: Any) -> None:
    for name in ("r1", "r2"):
        folder.add(name, "a*10")
    folder.predict({"r1": "a*10", "r2": "a*5 b*5"})
    ((row,), truth) = scored(folder)
    first, second = truth.sequences
    joined = replace(first.sequence, name="second", recording="r1")
    truth = replace(truth, sequences=(first, replace(first, sequence=joined), second))
    counts = dict(row.scored[0].by_sequence)
    by_sequence = {"second": counts["r2"], **counts}
    row = replace(row, scored=(replace(row.scored[0], by_sequence=by_sequence),))
    sample = sample_of(row, truth)
    assert sample.counts_SRC[0, :, 0].tolist() == [2, 1] and sample.counts_SRC[0, :, 2].tolist() == [15, 5]


def test_one_recording_is_refused(folder: Any) -> None:
    folder.add("r1", "a*10")
    folder.add("r2", None)
    folder.predict({"r1": "a*10", "r2": "a*10"})
    ((row,), truth) = scored(folder)
    with pytest.raises(DatasetError, match="split test: r1 is its only recording with labels to score"):
        sample_of(row, truth)


def test_too_few_replicates_are_refused() -> None:
    sample = edits([1.0, 2.0])
    pairs = [(0, 0)] * 6
    with pytest.raises(
        ProjectError, match=r"30 comparisons can't be resolved by 1000 replicates.*at least 1199"
    ):
        compare([sample], pairs, replicates=1000)
    assert len(compare([sample], pairs, replicates=1199)) == 30


def test_samples_that_do_not_fit_are_our_own_bugs() -> None:
    with pytest.raises(ValueError, match=r"rows with counts of \[2, 3\] recordings can't be paired"):
        bootstrap([edits([1.0, 2.0]), edits([1.0, 2.0, 3.0])], 10, 0)
    with pytest.raises(ValueError, match="2 seeds have counts of 1"):
        edits([1.0, 2.0], seeds=[0, 1])
