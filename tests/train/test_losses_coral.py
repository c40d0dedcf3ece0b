"""Deep CORAL against the published codes' values and numpy's covariance. Axes: N and M steps, D width."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_train.losses.config import CoralConfig
from sync_train.losses.coral import coral

DEEP_CORAL, TLLIB = CoralConfig(), CoralConfig(variant="tllib")

sizes = st.tuples(st.integers(0, 10_000), st.integers(2, 7), st.integers(2, 7), st.integers(2, 4))


def draw(seed: int, num_x: int, num_y: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x_ND, y_MD = (torch.randn(num, width, generator=generator, dtype=torch.float64) for num in (num_x, num_y))
    return x_ND, 1.5 * y_MD + 0.5


def test_values_of_the_published_code(waves: Mapping[str, torch.Tensor]) -> None:
    """The formula of the paper and of DeepDA coral.py, and TLLIB coral.py, run on these arrays."""
    assert coral(waves["A"], waves["C"], DEEP_CORAL).item() == pytest.approx(0.000313963, abs=5e-10)
    assert coral(waves["A"], waves["B"], DEEP_CORAL).item() == pytest.approx(0.000067732, abs=5e-10)
    assert coral(waves["A"], waves["C"], TLLIB).item() == pytest.approx(0.118461, abs=5e-7)


@settings(max_examples=30, deadline=None)
@given(sizes=sizes)
def test_numpys_covariance(sizes: tuple[int, int, int, int]) -> None:
    x, y = draw(*sizes)
    difference = np.cov(x.numpy(), rowvar=False) - np.cov(y.numpy(), rowvar=False)
    squares, width = float((difference**2).sum()), sizes[3]
    assert coral(x, y, DEEP_CORAL).item() == pytest.approx(squares / (4 * width**2))
    means = float(((x.numpy().mean(0) - y.numpy().mean(0)) ** 2).mean())
    assert coral(x, y, TLLIB).item() == pytest.approx(squares / width**2 + means)


@settings(max_examples=30, deadline=None)
@given(sizes=sizes)
def test_blind_to_order_and_shift(sizes: tuple[int, int, int, int]) -> None:
    """A shift of one set changes TLLIB's value only."""
    x, y = draw(*sizes)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(sizes[0]))
    for config in (DEEP_CORAL, TLLIB):
        before = coral(x, y, config)
        torch.testing.assert_close(coral(x[order], y.flip(0), config), before)
        torch.testing.assert_close(coral(y, x, config), before)
        assert coral(x, x[order], config).item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(coral(x + 3, y, DEEP_CORAL), coral(x, y, DEEP_CORAL))
    assert coral(x + 3, x, TLLIB).item() == pytest.approx(9)


@pytest.mark.parametrize("config", [DEEP_CORAL, TLLIB])
def test_gradient(config: CoralConfig) -> None:
    x, y = draw(0, 4, 3, 3)
    assert torch.autograd.gradcheck(lambda x_ND: coral(x_ND, y, config), x.requires_grad_())


def test_one_value_a_step() -> None:
    """Width 1: the variances' squared difference over 4."""
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [4.0]])
    assert coral(x, y, DEEP_CORAL).item() == pytest.approx((2 - 8) ** 2 / 4)
