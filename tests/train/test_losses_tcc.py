"""Temporal cycle consistency against the published code's values and loops over steps.

Axes: B pairs, N and M steps, D width.
"""

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_train.losses.config import TCCConfig
from sync_train.losses.cycle import cycle_cross_entropy
from sync_train.losses.tcc import cycle, tcc

VARIANTS = ("classification", "mse", "mse-var", "huber")

lengths = st.lists(st.tuples(st.integers(2, 6), st.integers(2, 6)), min_size=1, max_size=3)


def all_valid(x_ND: torch.Tensor) -> torch.Tensor:
    return torch.ones(1, len(x_ND), dtype=torch.bool)


def one_way(x_ND: torch.Tensor, y_MD: torch.Tensor, config: TCCConfig) -> float:
    return cycle(x_ND[None], y_MD[None], all_valid(x_ND), all_valid(y_MD), config).item()


def test_values_of_the_published_code(waves: Mapping[str, torch.Tensor]) -> None:
    """google-research tcc, run on these arrays."""
    a, b = waves["A"], waves["B"]
    assert one_way(a, b, TCCConfig()) == pytest.approx(1.876634, abs=1e-6)
    assert one_way(b, a, TCCConfig()) == pytest.approx(1.568018, abs=1e-6)
    assert one_way(a, b, TCCConfig(label_smoothing=0.0)) == pytest.approx(1.865809, abs=1e-6)
    assert one_way(a, b, TCCConfig(variant="mse")) == pytest.approx(0.090853, abs=1e-6)
    assert one_way(a, b, TCCConfig(variant="mse-var")) == pytest.approx(1.448282, abs=1e-6)
    assert one_way(a, b, TCCConfig(variant="huber")) == pytest.approx(0.020595, abs=1e-6)
    both = tcc(a[None], b[None], all_valid(a), all_valid(b), TCCConfig()).item()
    assert both == pytest.approx((1.876634 + 1.568018) / 2, abs=1e-6)


def softmax(values: list[float]) -> list[float]:
    shares = [math.exp(value - max(values)) for value in values]
    return [share / sum(shares) for share in shares]


def by_loops(x: list[list[float]], y: list[list[float]], config: TCCConfig) -> float:
    """One way around of one pair, step by step."""
    width, num = len(x[0]), len(x)

    def similarity(a: list[float], b: list[float]) -> float:
        return -sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / width / config.temperature

    total = 0.0
    for i, step in enumerate(x):
        shares = softmax([similarity(step, other) for other in y])
        nearest = [
            sum(share * other[d] for share, other in zip(shares, y, strict=True)) for d in range(width)
        ]
        back = softmax([similarity(nearest, other) for other in x])
        if config.variant == "classification":
            e = config.label_smoothing
            target = [(1 - e) * (k == i) + e / num for k in range(num)]
            total -= sum(p * math.log(share) for p, share in zip(target, back, strict=True))
            continue
        mean = sum(share * k / num for k, share in enumerate(back))
        error = mean - i / num
        if config.variant == "mse":
            total += error**2
        elif config.variant == "huber":
            d = config.huber_delta
            total += error**2 / 2 if abs(error) <= d else d * abs(error) - d * d / 2
        else:
            variance = sum(share * (k / num - mean) ** 2 for k, share in enumerate(back))
            log = math.log(max(variance, config.variance_floor))
            total += math.exp(-log) * error**2 + config.variance_weight * log
    return total / num


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


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), pairs=lengths)
def test_by_loops_each_pair_alone(variant: str, seed: int, pairs: list[tuple[int, int]]) -> None:
    """Also: a batch of differing lengths is the mean of its pairs, and both ways around weigh alike."""
    config = TCCConfig(variant=variant)  # type: ignore[arg-type]
    x, y, valid_x, valid_y = draw(seed, pairs)
    total = 0.0
    for b, (n, m) in enumerate(pairs):
        a, c = x[b, :n].tolist(), y[b, :m].tolist()
        total += (by_loops(a, c, config) + by_loops(c, a, config)) / 2
    assert tcc(x, y, valid_x, valid_y, config).item() == pytest.approx(total / len(pairs), rel=1e-7)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient(variant: str) -> None:
    """In float64 against differences; nothing reaches padded steps."""
    config = TCCConfig(variant=variant)  # type: ignore[arg-type]
    x, y, valid_x, valid_y = draw(0, [(4, 3), (2, 5)])
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x_BND: tcc(x_BND, y, valid_x, valid_y, config), x)
    (gradient,) = torch.autograd.grad(tcc(x, y, valid_x, valid_y, config), x)
    assert (gradient[~valid_x] == 0).all() and (gradient[valid_x] != 0).any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_least_where_two_videos_are_the_same_and_steps_are_distinct(variant: str) -> None:
    """Every cycle then ends where it began."""
    config = TCCConfig(variant=variant, label_smoothing=0.0, variance_weight=0.0)  # type: ignore[arg-type]
    x = 10 * torch.eye(6, dtype=torch.float64)[None]
    valid = torch.ones(1, 6, dtype=torch.bool)
    assert tcc(x, x, valid, valid, config).item() == pytest.approx(0, abs=1e-6)
    assert tcc(x, torch.roll(x, 1, dims=1)[:, :4], valid, valid[:, :4], config).item() > 1e-3


def test_a_variance_of_zero_has_a_gradient() -> None:
    """Published, its logarithm is minus infinity."""
    x = (1e3 * torch.eye(4))[None].requires_grad_()
    valid = torch.ones(1, 4, dtype=torch.bool)
    loss = tcc(x, x.detach(), valid, valid, TCCConfig(variant="mse-var"))
    (gradient,) = torch.autograd.grad(loss, x)
    assert loss.item() == pytest.approx(0.001 * math.log(1e-6)) and gradient.isfinite().all()


def test_unit_length() -> None:
    x, y, valid_x, valid_y = draw(5, [(4, 3), (2, 5)])
    wanted = tcc(
        x / x.norm(dim=-1, keepdim=True), y / y.norm(dim=-1, keepdim=True), valid_x, valid_y, TCCConfig()
    )
    torch.testing.assert_close(tcc(7 * x, y, valid_x, valid_y, TCCConfig(normalize=True)), wanted)


def test_long_videos() -> None:
    """600 steps, two pairs of differing lengths, float32."""
    generator = torch.Generator().manual_seed(0)
    x, y = (50 * torch.randn(2, 600, 32, generator=generator) for _ in range(2))
    valid = torch.arange(600)[None] < torch.tensor([[600], [411]])
    for variant in VARIANTS:
        leaf = x.clone().requires_grad_()
        loss = tcc(leaf, y, valid, valid.flip(0), TCCConfig(variant=variant))  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert loss.isfinite() and gradient.isfinite().all()


def test_cross_entropy_is_torchs_on_full_sequences() -> None:
    logits = torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(0))
    found = cycle_cross_entropy(logits, torch.ones(3, 5, dtype=torch.bool), 0.1)
    for of_pair, each in zip(logits, found, strict=True):
        wanted = torch.nn.functional.cross_entropy(of_pair, torch.arange(5), label_smoothing=0.1)
        torch.testing.assert_close(each, wanted)
