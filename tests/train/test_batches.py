"""Windows, lengths and batches. Axes: B sequences, T rows, C chunks, L padded steps, D feature width."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_train.batches import (
    Draw,
    Window,
    Windowing,
    draw_batches,
    group_by_length,
    split_windows,
    stack,
)
from sync_train.sequences import IGNORE

FINE = Windowing(chunk_rows=20, max_chunks=1200)


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 200), min_size=1, max_size=5), window_rows=st.integers(1, 60))
def test_windows_cover_every_row_once(lengths: list[int], window_rows: int) -> None:
    rows = [
        (window.index, row)
        for window in split_windows(lengths, window_rows)
        for row in range(window.start, window.stop)
    ]
    assert rows == [(index, row) for index, length in enumerate(lengths) for row in range(length)]
    assert all(window.num_rows <= window_rows for window in split_windows(lengths, window_rows))


def test_windows_begin_anew_at_multiples() -> None:
    assert split_windows([50, 20], 24) == [
        Window(index=0, start=0, stop=24),
        Window(index=0, start=24, stop=48),
        Window(index=0, start=48, stop=50),
        Window(index=1, start=0, stop=20),
    ]


@pytest.mark.parametrize(
    ("steps", "padded"),
    [(1, 384), (383, 384), (384, 384), (385, 448), (448, 448), (449, 512), (1199, 1216), (1200, 1216)],
)
def test_length_is_the_next_multiple_of_64_from_384_on(steps: int, padded: int) -> None:
    assert FINE.padded_steps(steps * 20, 20) == padded
    assert FINE.padded_steps(steps * 20 - 19, 20) == padded
    assert FINE.padded_steps(steps, 1) == padded


def test_published_length_is_the_same_for_all() -> None:
    published = Windowing(chunk_rows=20, max_chunks=1200, pad_to=1200)
    assert {published.padded_steps(rows, 20) for rows in (1, 20, 9_000, 24_000)} == {1200}


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.sampled_from([384, 448, 512]), min_size=1, max_size=20),
    batch_size=st.integers(1, 6),
    seed=st.one_of(st.none(), st.integers(0, 100)),
)
def test_batches_hold_each_sequence_once_and_only_equal_lengths(
    lengths: list[int], batch_size: int, seed: int | None
) -> None:
    rng = None if seed is None else np.random.default_rng(seed)
    batches = list(group_by_length(lengths, batch_size, rng))
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert len({lengths[number] for number in batch}) == 1
    fewest = sum(-(-lengths.count(length) // batch_size) for length in set(lengths))
    assert len(batches) == fewest


def test_without_a_generator_order_is_kept() -> None:
    assert list(group_by_length([448, 384, 384, 448, 384], 2)) == [[1, 2], [4], [0, 3]]


WINDOWS = split_windows([9_000, 30_000, 600, 12_345], FINE.window_rows)


def draw(epoch: int = 0, seed: int = 0, *, zoom: bool = True, batch_size: int = 2) -> list[Draw]:
    return list(draw_batches(WINDOWS, FINE, zoom=zoom, batch_size=batch_size, seed=seed, epoch=epoch))


def sizes_of(draws: list[Draw]) -> dict[Window, int]:
    return {
        window: size for draw in draws for window, size in zip(draw.windows, draw.chunk_rows, strict=True)
    }


@pytest.mark.parametrize("zoom", [True, False])
def test_every_window_comes_once_an_epoch_with_a_length_that_fits(zoom: bool) -> None:
    for epoch in range(20):
        draws = draw(epoch, zoom=zoom)
        windows = [window for draw in draws for window in draw.windows]
        assert sorted(windows, key=lambda w: (w.index, w.start)) == WINDOWS
        for window, size in sizes_of(draws).items():
            (steps,) = {draw.steps for draw in draws if window in draw.windows}
            assert steps == FINE.padded_steps(window.num_rows, size)
    assert zoom or set(sizes_of(draws).values()) == {20}


def test_draws_depend_on_seed_and_epoch_alone() -> None:
    wanted = draw(epoch=3, seed=5)
    np.random.seed(1)  # global states must not matter
    random.seed(1)
    torch.manual_seed(1)
    assert draw(epoch=3, seed=5) == wanted
    assert draw(epoch=4, seed=5) != wanted
    assert draw(epoch=3, seed=6) != wanted


def test_sequences_and_epochs_are_zoomed_independently() -> None:
    """The published workers all start from one seed, in every epoch: their draws repeat and go together."""
    epochs = [sizes_of(draw(epoch, seed=seed)) for seed in range(3) for epoch in range(200)]
    zoomed = np.array([[sizes[window] != 20 for window in WINDOWS] for sizes in epochs])
    assert np.abs(zoomed.mean(axis=0) - 0.48).max() < 0.08
    correlation = np.corrcoef(zoomed.T.astype(float)) - np.eye(len(WINDOWS))
    assert np.abs(correlation).max() < 0.15
    after = np.corrcoef(zoomed[1:, 0].astype(float), zoomed[:-1, 0].astype(float))[0, 1]
    assert abs(after) < 0.15


def test_order_is_drawn_anew_each_epoch() -> None:
    orders = {
        tuple(window for draw in draw(epoch, zoom=False) for window in draw.windows) for epoch in range(8)
    }
    assert len(orders) > 4


def test_stacking_pads_with_zeros_and_no_class() -> None:
    sequences = [torch.ones(3, 2, dtype=torch.float16), torch.full((5, 2), 2.0, dtype=torch.float16)]
    classes = [torch.tensor([1, 0, IGNORE]), torch.tensor([1, 1, 1, 0, 0])]
    batch = stack(sequences, 6, torch.device("cpu"), classes)
    assert batch.rows_BLD.dtype == torch.float32
    assert batch.rows_BLD[..., 0].tolist() == [[1, 1, 1, 0, 0, 0], [2, 2, 2, 2, 2, 0]]
    assert batch.valid_BL.tolist() == [[True] * 3 + [False] * 3, [True] * 5 + [False]]
    assert batch.classes_BL is not None
    assert batch.classes_BL.tolist() == [[1, 0] + [IGNORE] * 4, [1, 1, 1, 0, 0, IGNORE]]
    assert stack(sequences, 6, torch.device("cpu")).classes_BL is None
