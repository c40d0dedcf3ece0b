"""Smooth DTW against the published code's values, loops over the table, and tslearn's soft-DTW.

Axes: B pairs, N and M steps, D width.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Literal

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_train.losses.config import SDTWConfig
from sync_train.losses.sdtw import align, contrastive_cost, fill_table, sdtw

Recurrence = Literal["prob", "min-gamma"]
RECURRENCES: tuple[Recurrence, ...] = ("prob", "min-gamma")

FLOAT32_MAX = float(np.finfo(np.float32).max)

lengths = st.lists(st.tuples(st.integers(2, 6), st.integers(2, 6)), min_size=1, max_size=3)


def all_valid(x_ND: torch.Tensor) -> torch.Tensor:
    return torch.ones(1, len(x_ND), dtype=torch.bool)


def end(x_ND: torch.Tensor, y_MD: torch.Tensor, config: SDTWConfig) -> float:
    return align(x_ND[None], y_MD[None], all_valid(x_ND), all_valid(y_MD), config).end_B.item()


def test_values_of_the_published_code(waves: Mapping[str, torch.Tensor]) -> None:
    """VideoAlignment smoothDTW.py in float32, in which 11 and the next number are 1e-6 apart.

    Its hard minimum, "non-diff", is what the soft minimum becomes at gamma 0.
    """
    a, b, c = waves["A"], waves["B"], waves["C"]
    soft, hard = SDTWConfig(recurrence="min-gamma"), SDTWConfig(recurrence="min-gamma", smooth_gamma=1e-6)
    assert end(a, b, SDTWConfig()) == pytest.approx(11.454231, abs=2e-6)
    assert end(b, a, SDTWConfig()) == pytest.approx(9.293465, abs=2e-6)
    assert end(a, b, soft) == pytest.approx(11.287049, abs=2e-6)
    assert end(b, a, soft) == pytest.approx(9.198623, abs=2e-6)
    assert end(a, b, hard) == pytest.approx(11.411584, abs=2e-6)
    assert end(b, a, hard) == pytest.approx(9.231768, abs=2e-6)

    def total(config: SDTWConfig) -> float:
        return sdtw(a[None], c[None], all_valid(a), all_valid(c), config).item()

    assert end(a, c, SDTWConfig()) == pytest.approx(11.382951, abs=2e-6)
    assert end(c, a, SDTWConfig()) == pytest.approx(10.699945, abs=2e-6)
    assert total(SDTWConfig()) == pytest.approx(3.952283, abs=2e-6)
    assert total(SDTWConfig(alignment_weight=0.0)) == pytest.approx(1.743994, abs=2e-6)
    assert total(SDTWConfig(consistency=False)) == pytest.approx(0.1 * (11.382951 + 10.699945), abs=2e-6)


def table_by_loops(cost: list[list[float]], config: SDTWConfig) -> list[list[float]]:
    """Cell by cell, with the published border."""
    num_x, num_y, gamma = len(cost), len(cost[0]), config.smooth_gamma
    table = [[FLOAT32_MAX] * (num_y + 1) for _ in range(num_x + 1)]
    table[0][0] = 0.0
    for i, j in itertools.product(range(1, num_x + 1), range(1, num_y + 1)):
        before = [table[i][j - 1], table[i - 1][j - 1], table[i - 1][j]]
        weights = [math.exp(-(value - min(before)) / gamma) for value in before]
        if config.recurrence == "prob":
            best = sum(w * value for w, value in zip(weights, before, strict=True)) / sum(weights)
        else:
            best = min(before) - gamma * math.log(sum(weights))
        table[i][j] = cost[i - 1][j - 1] + best
    return [row[1:] for row in table[1:]]


def cost_by_loops(x: torch.Tensor, y: torch.Tensor, gamma: float) -> list[list[float]]:
    units = [[step / step.norm() for step in each] for each in (x, y)]
    cosine = [[float(p @ q) / gamma for q in units[1]] for p in units[0]]
    sums = [math.log(sum(math.exp(row[j]) for row in cosine)) for j in range(len(y))]
    return [[sums[j] - value for j, value in enumerate(row)] for row in cosine]


def loss_by_loops(x: torch.Tensor, y: torch.Tensor, config: SDTWConfig) -> float:
    """Of one pair."""
    there = np.array(table_by_loops(cost_by_loops(x, y, config.contrast_gamma), config))
    back = np.array(table_by_loops(cost_by_loops(y, x, config.contrast_gamma), config))
    loss = config.alignment_weight * (there[-1, -1] + back[-1, -1])
    if config.consistency:
        shares = [np.exp(-table + table.min(axis=0)) for table in (there, back)]
        there, back = (share / share.sum(axis=0) for share in shares)
        logits = (there @ back).T
        log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        target = (1 - config.label_smoothing) * np.eye(len(x)) + config.label_smoothing / len(x)
        loss += -(target * log).sum(axis=1).mean()
    return float(loss)


def draw(
    seed: int, pairs: list[tuple[int, int]], width: int = 3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Padded with noise up to two steps more than the longest."""
    generator = torch.Generator().manual_seed(seed)

    def side(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        counts = torch.tensor([pair[number] for pair in pairs])
        most = int(counts.max()) + 2
        x_BND = torch.randn(len(pairs), most, width, generator=generator, dtype=torch.float64)
        return x_BND, torch.arange(most)[None] < counts[:, None]

    (x, valid_x), (y, valid_y) = side(0), side(1)
    return x, y, valid_x, valid_y


settings_drawn = st.builds(
    SDTWConfig,
    recurrence=st.sampled_from(RECURRENCES),
    smooth_gamma=st.sampled_from([0.01, 0.1, 1.0]),
    consistency=st.booleans(),
    label_smoothing=st.sampled_from([0.0, 0.1]),
)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), pairs=lengths, config=settings_drawn)
def test_by_loops_each_pair_alone(seed: int, pairs: list[tuple[int, int]], config: SDTWConfig) -> None:
    """A padded batch of differing lengths is the mean of its pairs; so are its ends and its tables."""
    x, y, valid_x, valid_y = draw(seed, pairs)
    wanted = [loss_by_loops(x[b, :n], y[b, :m], config) for b, (n, m) in enumerate(pairs)]
    assert sdtw(x, y, valid_x, valid_y, config).item() == pytest.approx(np.mean(wanted), rel=1e-9)
    found = align(x, y, valid_x, valid_y, config)
    for b, (n, m) in enumerate(pairs):
        table = table_by_loops(cost_by_loops(x[b, :n], y[b, :m], config.contrast_gamma), config)
        np.testing.assert_allclose(found.table_BNM[b, :n, :m], table, rtol=1e-9, atol=1e-12)
        assert found.end_B[b].item() == pytest.approx(table[-1][-1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 7), (7, 2), (40, 33)])
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_tables_of_any_shape(recurrence: Recurrence, shape: tuple[int, int]) -> None:
    config = SDTWConfig(recurrence=recurrence, smooth_gamma=0.5)
    cost = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for found, each in zip(fill_table(cost, config), cost.tolist(), strict=True):
        np.testing.assert_allclose(found, table_by_loops(each, config), rtol=1e-12)


@pytest.fixture(scope="module")
def soft_dtw() -> Callable[..., torch.nn.Module]:
    """tslearn's loss without compiling it, which takes 12 s; at these sizes that isn't needed."""
    numba.config.DISABLE_JIT = True  # read where functions are decorated, which is at the import below
    from tslearn.metrics import SoftDTWLossPyTorch

    numba.config.DISABLE_JIT = False
    return SoftDTWLossPyTorch


@pytest.mark.parametrize("shape", [(1, 1), (6, 6), (9, 4), (3, 20)])
@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_soft_minimum_and_its_gradient_are_tslearns(
    soft_dtw: Callable[..., torch.nn.Module], gamma: float, shape: tuple[int, int]
) -> None:
    """Cuturi and Blondel's soft-DTW on the same cost; tslearn keeps its tables in float32."""
    cost = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours, theirs = cost.clone().requires_grad_(), cost.clone().requires_grad_()
    loss = fill_table(ours, SDTWConfig(recurrence="min-gamma", smooth_gamma=gamma))[:, -1, -1]
    x, y = torch.zeros(3, shape[0], 1), torch.zeros(3, shape[1], 1)
    reference = soft_dtw(gamma=gamma, dist_func=lambda _x, _y: theirs.clone())(x, y)
    torch.testing.assert_close(loss, reference, rtol=1e-6, atol=1e-6)
    (found,) = torch.autograd.grad(loss.sum(), ours)
    (wanted,) = torch.autograd.grad(reference.sum(), theirs)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_gradient(recurrence: Recurrence) -> None:
    """In float64 against differences: of every cell of a table, and of the whole loss of a padded batch."""
    config = SDTWConfig(recurrence=recurrence, smooth_gamma=0.3)
    cost = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda c: fill_table(c, config), cost.requires_grad_())
    x, y, valid_x, valid_y = draw(0, [(4, 3), (2, 5)])
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x_BND: sdtw(x_BND, y, valid_x, valid_y, config), x)
    (gradient,) = torch.autograd.grad(sdtw(x, y, valid_x, valid_y, config), x)
    assert (gradient[~valid_x] == 0).all() and gradient[valid_x].abs().min() > 0


@pytest.mark.parametrize(
    "config", [SDTWConfig(), SDTWConfig(recurrence="min-gamma"), SDTWConfig(smooth_gamma=1e-3)]
)
def test_long_videos_in_float32(config: SDTWConfig) -> None:
    """600 steps, of very different size, some all zero: the same as in float64, no gradient that isn't a number."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, 600, 8, generator=generator) for _ in range(2))
    x[0, :100] *= 1e4
    x[1, 5], y[0, 7] = 0, 0
    valid_x = torch.arange(600)[None] < torch.tensor([[600], [411]])
    x.requires_grad_()
    with torch.autograd.set_detect_anomaly(True):  # also stops at one that a mask would hide
        loss = sdtw(x, y, valid_x, valid_x.flip(0), config)
        (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.isfinite().all()
    precise = sdtw(x.detach().double(), y.double(), valid_x, valid_x.flip(0), config)
    assert loss.item() == pytest.approx(precise.item(), rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), num=st.integers(2, 6))
def test_no_reordering_of_a_video_aligns_better_with_it_than_itself(seed: int, num: int) -> None:
    """Every path visits each column, and the least cost of a column is where a step meets itself."""
    config = SDTWConfig(recurrence="min-gamma", smooth_gamma=1e-6)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num, 3, generator=generator, dtype=torch.float64)
    order = torch.randperm(num, generator=generator)
    assert end(x, x, config) <= end(x, x[order], config) + 1e-9


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), pair=st.tuples(st.integers(2, 6), st.integers(2, 6)))
def test_the_hard_minimum_lies_between(seed: int, pair: tuple[int, int]) -> None:
    """A soft minimum is at most the minimum, a weighted mean at least. The minimum is over all paths."""
    cost = torch.rand(1, *pair, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    soft, mean = (
        fill_table(cost, SDTWConfig(recurrence=recurrence))[0, -1, -1].item()
        for recurrence in ("min-gamma", "prob")
    )

    def cheapest(i: int, j: int) -> float:
        if (i, j) == (0, 0):
            return cost[0, 0, 0].item()
        ways = [(i - 1, j), (i, j - 1), (i - 1, j - 1)]
        return cost[0, i, j].item() + min(cheapest(p, q) for p, q in ways if p >= 0 and q >= 0)

    assert soft - 1e-9 <= cheapest(pair[0] - 1, pair[1] - 1) <= mean + 1e-9


def test_cost_is_a_choice_among_xs_steps() -> None:
    """Each valid column's shares sum to 1; scale doesn't matter; padding costs nothing and gets no share."""
    x, y, valid_x, valid_y = draw(4, [(4, 3), (2, 5)])
    cost = contrastive_cost(x, y, valid_x, valid_y, 0.1)
    both = valid_x[:, :, None] & valid_y[:, None]
    assert (cost[~both] == 0).all()
    shares = torch.where(both, (-cost).exp(), 0).sum(dim=1)
    torch.testing.assert_close(shares, valid_y.double())
    torch.testing.assert_close(contrastive_cost(3 * x, 0.1 * y, valid_x, valid_y, 0.1), cost)
