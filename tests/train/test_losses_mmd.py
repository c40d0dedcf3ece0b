"""MMD against the published code's values, double loops, and scikit-learn's radial kernel.

Axes: N and M steps, D width.
"""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel

from sync_train.losses.config import MMDConfig
from sync_train.losses.distances import squared_distances
from sync_train.losses.mmd import mmd, subset

DEEPDA, DAN, LINEAR = (MMDConfig(variant=variant) for variant in ("deepda", "dan", "linear"))

sizes = st.tuples(st.integers(0, 10_000), st.integers(2, 7), st.integers(2, 7), st.integers(1, 4))


def draw(seed: int, num_x: int, num_y: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x_ND, y_MD = (torch.randn(num, width, generator=generator, dtype=torch.float64) for num in (num_x, num_y))
    return x_ND, 1.5 * y_MD + 0.5


def squared(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum((p - q) ** 2 for p, q in zip(a.tolist(), b.tolist(), strict=True))


def test_values_of_the_published_code(waves: Mapping[str, torch.Tensor]) -> None:
    """DeepDA mmd.py and TLLIB dan.py, run in float32 on these arrays."""
    a, c = waves["A"], waves["C"]
    assert mmd(a, c, DEEPDA).item() == pytest.approx(3.711336, abs=1e-6)
    assert mmd(a, c, LINEAR).item() == pytest.approx(0.468822, abs=5e-7)
    assert mmd(a, c, DAN).item() == pytest.approx(3.566527, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(sizes=sizes)
def test_deepda_by_loops_also_for_sets_of_different_size(sizes: tuple[int, int, int, int]) -> None:
    """DeepDA writes mean(XX + YY - XY - YX), which needs equal sizes; the means one by one don't."""
    x, y = draw(*sizes)
    both = [*x, *y]
    bandwidth = sum(squared(a, b) for a in both for b in both) / (len(both) ** 2 - len(both))

    def mean_kernel(p: torch.Tensor, q: torch.Tensor) -> float:
        values = [
            math.exp(-squared(a, b) / (bandwidth / 2 ** (5 // 2) * 2**k))
            for a in p
            for b in q
            for k in range(5)
        ]
        return sum(values) / (len(p) * len(q))

    wanted = mean_kernel(x, x) + mean_kernel(y, y) - mean_kernel(x, y) - mean_kernel(y, x)
    assert mmd(x, y, DEEPDA).item() == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(sizes=sizes)
def test_dan_is_the_published_sum_for_equal_sizes(sizes: tuple[int, int, int, int]) -> None:
    """TLLIB: a matrix of weights over the joint kernel, its diagonal 0, and 2 / (n - 1)."""
    seed, num, _, width = sizes
    x, y = draw(seed, num, num, width)
    both = [*x, *y]
    mean = sum(squared(a, b) for a in both for b in both) / len(both) ** 2
    total = 2 / (num - 1)
    for i, a in enumerate(both):
        for j, b in enumerate(both):
            if i == j:
                continue
            weight = 1 / (num * (num - 1)) if (i < num) == (j < num) else -1 / num**2
            total += weight * sum(math.exp(-squared(a, b) / (2 * 2.0**k * mean)) for k in (-3, -2, -1, 0, 1))
    assert mmd(x, y, DAN).item() == pytest.approx(total, abs=1e-9)


def test_dan_for_sets_of_different_size() -> None:
    """Means over pairs of different steps, by scikit-learn's kernel; the constant is 1 / (n - 1) of each set."""
    x, y = draw(3, 5, 4, 2)
    both = torch.cat([x, y])
    gamma = 81 / torch.cdist(both, both).square().sum().item()
    of_x, of_y = (rbf_kernel(each.numpy(), gamma=gamma) for each in (x, y))
    wanted = (of_x.sum() - 5) / 20 + (of_y.sum() - 4) / 12 + 1 / 4 + 1 / 3
    wanted -= 2 * rbf_kernel(x.numpy(), y.numpy(), gamma=gamma).mean()
    assert mmd(x, y, MMDConfig(variant="dan", num_kernels=1)).item() == pytest.approx(wanted)


@pytest.mark.parametrize("num_kernels", [1, 2, 4, 5])
def test_scikit_learns_kernels(num_kernels: int) -> None:
    x, y = draw(0, 40, 25, 6)
    both = torch.cat([x, y])
    bandwidth = torch.cdist(both, both).square().sum().item() / (65 * 64)
    widths = [bandwidth * 3.0 ** (k - num_kernels // 2) for k in range(num_kernels)]

    def mean_kernel(p: torch.Tensor, q: torch.Tensor) -> float:
        return float(np.mean([rbf_kernel(p.numpy(), q.numpy(), gamma=1 / w) for w in widths])) * num_kernels

    wanted = mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)
    config = MMDConfig(num_kernels=num_kernels, kernel_factor=3.0)
    assert mmd(x, y, config).item() == pytest.approx(wanted, abs=1e-10)


@settings(max_examples=30, deadline=None)
@given(sizes=sizes)
def test_of_a_set_with_itself_is_zero_and_never_below(sizes: tuple[int, int, int, int]) -> None:
    x, y = draw(*sizes)
    for config in (DEEPDA, LINEAR):
        assert mmd(x, x.flip(0), config).item() == pytest.approx(0, abs=1e-12)
        assert mmd(x, y, config).item() >= -1e-12


@settings(max_examples=30, deadline=None)
@given(sizes=sizes)
def test_symmetric(sizes: tuple[int, int, int, int]) -> None:
    x, y = draw(*sizes)
    for config in (DEEPDA, DAN, LINEAR):
        torch.testing.assert_close(mmd(x, y, config), mmd(y, x, config))


@pytest.mark.parametrize("config", [DEEPDA, DAN])
def test_gradient_holds_the_bandwidth_fixed(config: MMDConfig) -> None:
    """Against differences of the kernels' sum at the bandwidth of the point itself."""
    x, y = draw(1, 4, 3, 2)
    both = torch.cat([x, y])
    total = torch.cdist(both, both).square().sum().item()
    bandwidth = total / (7 * 6 if config is DEEPDA else 7 * 7)

    def at(x_ND: torch.Tensor) -> torch.Tensor:
        def kernel(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
            squares = (p[:, None] - q[None]).square().sum(-1)
            return torch.stack([torch.exp(-squares / (bandwidth * 2.0**k)) for k in range(-2, 3)]).sum(0)

        norms = (16, 9) if config is DEEPDA else (12, 6)
        return (
            kernel(x_ND, x_ND).sum() / norms[0] + kernel(y, y).sum() / norms[1] - 2 * kernel(x_ND, y).mean()
        )

    x.requires_grad_()
    (found,) = torch.autograd.grad(mmd(x, y, config), x)
    (wanted,) = torch.autograd.grad(at(x), x)
    torch.testing.assert_close(found, wanted)


def test_points_that_coincide_have_no_nan() -> None:
    x = torch.full((4, 3), 7.0, requires_grad=True)
    for config in (DEEPDA, LINEAR):
        loss = mmd(x, torch.full((5, 3), 7.0), config)
        (gradient,) = torch.autograd.grad(loss, x)
        assert loss.item() == pytest.approx(0, abs=1e-6) and gradient.isfinite().all()


def test_many_steps_enter_as_a_subset() -> None:
    """6,000 and 4,000 steps: the kernels alone would take 2 GB; with 100 samples the memory is bounded."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(6000, 4, generator=generator), torch.randn(4000, 4, generator=generator) + 1
    config = MMDConfig(max_samples=100)
    first, again, other = (mmd(x, y, config, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first == again and first != other
    assert mmd(x, y, config) == mmd(x, y, config)
    for value in (first, other, mmd(x, y, config)):
        assert value.item() == pytest.approx(mmd(x[:800], y[:800], DEEPDA).item(), rel=0.3)


def test_subset() -> None:
    rows = torch.arange(10.0)[:, None]
    assert subset(rows, 10, None) is rows
    assert subset(rows, 4, None).flatten().tolist() == [0, 3, 6, 9]
    drawn = subset(rows, 4, torch.Generator().manual_seed(0)).flatten().tolist()
    assert len(set(drawn)) == 4
    assert (
        len({tuple(subset(rows, 4, torch.Generator().manual_seed(s)).flatten().tolist()) for s in range(5)})
        == 5
    )


@settings(max_examples=30, deadline=None)
@given(sizes=sizes)
def test_squared_distances(sizes: tuple[int, int, int, int]) -> None:
    x, y = draw(*sizes)
    wanted = torch.tensor([[squared(a, b) for b in y] for a in x], dtype=torch.float64)
    torch.testing.assert_close(squared_distances(x, y), wanted)
    torch.testing.assert_close(squared_distances(x[None], y[None])[0], wanted)
    assert (squared_distances(x.float() * 1e3, x.float() * 1e3) >= 0).all()
