"""The supervised loss against the published code's values and a loop over steps.

Axes: B sequences, K classes, T steps.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_train.ensemble import ensemble_probabilities
from sync_train.losses.segmentation import cross_entropy, smoothing
from sync_train.models.c2f_tcn import LEVELS
from sync_train.sequences import IGNORE


def test_values_of_the_published_code() -> None:
    """A101-TAS main.py on logits sin(0.7 c + 0.5 t + 0.3 l) of three classes and lengths 8, 4, 2, 1, 1, 1."""
    c = torch.arange(3)[:, None]
    outputs = {
        level: torch.sin(0.7 * c + 0.5 * torch.arange(length) + 0.3 * number)[None]
        for number, (level, length) in enumerate(zip(LEVELS, (8, 4, 2, 1, 1, 1), strict=True))
    }
    probabilities = ensemble_probabilities(outputs)
    classes = torch.tensor([[0, 0, 1, 1, 2, 2, IGNORE, IGNORE]])
    valid = torch.arange(8)[None] < 6
    assert cross_entropy(probabilities, classes).item() == pytest.approx(1.195871, abs=1e-6)
    assert 0.17 * smoothing(probabilities, valid).item() == pytest.approx(0.00038869, abs=1e-8)


def draw(seed: int, shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Probabilities with jumps beyond the limit, classes with gaps, and which steps are valid."""
    generator = torch.Generator().manual_seed(seed)
    b, k, t = shape
    probabilities = (6 * torch.randn(b, k, t, generator=generator, dtype=torch.float64)).softmax(1)
    classes = torch.randint(k, (b, t), generator=generator)
    classes[torch.rand(b, t, generator=generator) < 0.3] = IGNORE
    classes[0, 0] = 0
    valid = torch.arange(t)[None] < torch.randint(1, t + 1, (b, 1), generator=generator)
    return probabilities, classes, valid


shapes = st.tuples(st.integers(1, 3), st.integers(2, 4), st.integers(2, 9))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), shape=shapes)
def test_cross_entropy_is_the_mean_over_labelled_steps_of_the_batch(
    seed: int, shape: tuple[int, int, int]
) -> None:
    probabilities, classes, _ = draw(seed, shape)
    shares = probabilities + 1e-10
    terms = [
        -math.log(shares[b, label, t].item() / shares[b, :, t].sum().item())
        for b, of_sequence in enumerate(classes.tolist())
        for t, label in enumerate(of_sequence)
        if label != IGNORE
    ]
    assert cross_entropy(probabilities, classes).item() == pytest.approx(
        sum(terms) / len(terms), rel=1e-6, abs=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), shape=shapes)
def test_smoothing_counts_padded_steps_as_zero(seed: int, shape: tuple[int, int, int]) -> None:
    probabilities, _, valid = draw(seed, shape)
    num_sequences, num_classes, num_steps = shape
    total = 0.0
    for b in range(num_sequences):
        for c in range(num_classes):
            for t in range(1, num_steps):
                if valid[b, t]:
                    now, before = (math.log(probabilities[b, c, s].item() + 1e-10) for s in (t, t - 1))
                    total += min((now - before) ** 2, 16.0)
    wanted = total / (num_sequences * num_classes * (num_steps - 1))
    assert smoothing(probabilities, valid).item() == pytest.approx(wanted, rel=1e-9)


def test_smoothing_draws_a_step_towards_the_one_before_it_alone() -> None:
    """The earlier step is no target of the gradient."""
    probabilities = torch.tensor([[[0.5, 0.6], [0.5, 0.4]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(
        smoothing(probabilities, torch.ones(1, 2, dtype=torch.bool)), probabilities
    )
    assert gradient[0, :, 0].tolist() == [0, 0]
    assert gradient[0, 0, 1] > 0 > gradient[0, 1, 1]


def test_steps_without_a_label_get_no_gradient_of_the_cross_entropy() -> None:
    probabilities = torch.full((1, 2, 3), 0.5, requires_grad=True)
    classes = torch.tensor([[1, IGNORE, 0]])
    (gradient,) = torch.autograd.grad(cross_entropy(probabilities, classes), probabilities)
    assert (gradient[0].abs().sum(0) > 0).tolist() == [True, False, True]
