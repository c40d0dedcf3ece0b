"""Chunks against loops over rows. Axes: T rows, C chunks, D feature width."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_train.pooling import draw_chunk_rows, num_chunks, pool_classes, pool_rows
from sync_train.sequences import IGNORE


def chunks_of(values: list[int], size: int) -> list[list[int]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


@settings(max_examples=100, deadline=None)
@given(num_rows=st.integers(1, 60), size=st.integers(1, 25), seed=st.integers(0, 1000))
def test_rows_are_pooled_by_the_greatest_of_each_chunk(num_rows: int, size: int, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((num_rows, 3)).astype(np.float16)
    wanted = [rows[start : start + size].max(axis=0) for start in range(0, num_rows, size)]
    found = pool_rows(torch.from_numpy(rows), size)
    assert found.dtype == torch.float16
    np.testing.assert_array_equal(found.numpy(), np.stack(wanted))
    assert len(found) == num_chunks(num_rows, size)


def test_rows_need_not_lie_together_in_memory() -> None:
    rows = torch.randn(3, 40).T
    assert torch.equal(pool_rows(rows, 7), pool_rows(rows.contiguous(), 7))


def majority(chunk: list[int]) -> int:
    """The class with most rows; of several the smallest; `IGNORE` if no row has one."""
    votes = {label: chunk.count(label) for label in sorted(set(chunk)) if label != IGNORE}
    return max(votes, key=lambda label: votes[label]) if votes else IGNORE


@settings(max_examples=200, deadline=None)
@given(
    classes=st.lists(st.sampled_from([0, 1, 2, 3, IGNORE]), min_size=1, max_size=60), size=st.integers(1, 25)
)
def test_classes_are_pooled_by_majority(classes: list[int], size: int) -> None:
    found = pool_classes(torch.tensor(classes), size, num_classes=4)
    assert found.dtype == torch.int64
    assert found.tolist() == [majority(chunk) for chunk in chunks_of(classes, size)]


def test_majority_by_hand() -> None:
    """A tie goes to the smallest id, rows without class have no vote, and the last chunk is short."""
    classes = [3, 1, 1, 3, IGNORE, IGNORE, IGNORE, 2, IGNORE, IGNORE, IGNORE, IGNORE, 0]
    assert pool_classes(torch.tensor(classes), 4, num_classes=4).tolist() == [1, 2, IGNORE, 0]


def draws(num_rows: int, chunk_rows: int = 20, max_chunks: int = 1200, times: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array(
        [draw_chunk_rows(rng, num_rows, chunk_rows=chunk_rows, max_chunks=max_chunks) for _ in range(times)]
    )


@pytest.mark.parametrize(
    ("num_rows", "least", "largest"), [(600, 10, 39), (12_000, 10, 39), (18_000, 15, 39), (24_000, 20, 39)]
)
def test_chunk_sizes_have_the_published_range(num_rows: int, least: int, largest: int) -> None:
    """Measured on A101-TAS dataset.py: 10 to 39 up to 12,000 rows, 20 to 39 at the 24,000 of a full window."""
    sizes = draws(num_rows)
    assert sizes.min() == least and sizes.max() == largest
    assert set(range(least, largest + 1)) == set(sizes.tolist())


def test_half_of_the_draws_change_nothing() -> None:
    """Few of the others are 20 by chance: the logarithm of the size is drawn evenly from ln 10 to ln 40."""
    sizes = draws(12_000, times=20_000)
    by_chance = math.log(21 / 20) / math.log(40 / 10)
    assert (sizes == 20).mean() == pytest.approx(0.5 + 0.5 * by_chance, abs=0.01)
    others = sizes[sizes != 20]
    share_below_20 = math.log(20 / 10) / (math.log(40 / 10) - math.log(21 / 20))
    assert (others < 20).mean() == pytest.approx(share_below_20, abs=0.02)


def test_single_rows_stay_single() -> None:
    assert set(draws(500, chunk_rows=1, max_chunks=600).tolist()) == {1}


@settings(max_examples=200, deadline=None)
@given(
    chunk_rows=st.integers(1, 50), max_chunks=st.integers(1, 50), data=st.data(), seed=st.integers(0, 10_000)
)
def test_a_window_never_has_more_chunks_than_the_network_is_padded_to(
    chunk_rows: int, max_chunks: int, data: st.DataObject, seed: int
) -> None:
    num_rows = data.draw(st.integers(1, chunk_rows * max_chunks))
    size = draw_chunk_rows(
        np.random.default_rng(seed), num_rows, chunk_rows=chunk_rows, max_chunks=max_chunks
    )
    assert size >= 1
    assert num_chunks(num_rows, size) <= max_chunks
