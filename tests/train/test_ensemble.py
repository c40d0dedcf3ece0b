"""The ensemble against interpolation by numpy, step by step. Axes: B sequences, K classes, T steps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_train.ensemble import ensemble_probabilities
from sync_train.models.c2f_tcn import LEVELS


def golden_outputs() -> dict[str, torch.Tensor]:
    """Six levels with logits sin(0.7 c + 0.5 t + 0.3 l) of three classes."""
    lengths = (8, 4, 2, 1, 1, 1)
    c = torch.arange(3)[:, None]
    return {
        level: torch.sin(0.7 * c + 0.5 * torch.arange(length) + 0.3 * number)[None]
        for number, (level, length) in enumerate(zip(LEVELS, lengths, strict=True))
    }


def test_value_of_the_published_code() -> None:
    """Computed with A101-TAS main.py, get_c2f_ensemble_output."""
    probabilities = ensemble_probabilities(golden_outputs())
    assert probabilities.shape == (1, 3, 8)
    wanted = torch.tensor([0.294713, 0.369182, 0.336105])
    torch.testing.assert_close(probabilities[0, :, 0], wanted, rtol=0, atol=1e-6)


def reference(outputs: dict[str, torch.Tensor], weights: dict[str, float]) -> np.ndarray:
    num_steps = outputs["y"].shape[2]
    total = np.zeros(tuple(outputs["y"].shape))
    for level, logits in outputs.items():
        places = np.linspace(0, logits.shape[2] - 1, num_steps)
        for b, of_sequence in enumerate(logits.double().numpy()):
            stretched = np.array([np.interp(places, range(len(line)), line) for line in of_sequence])
            exponentials = np.exp(stretched)
            total[b] += weights[level] * exponentials / exponentials.sum(0)
    return total / sum(weights.values())


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=5, max_size=5),
    num_steps=st.integers(1, 20),
    shares=st.lists(st.floats(0, 3), min_size=6, max_size=6).filter(lambda shares: sum(shares) > 0.1),
    seed=st.integers(0, 1000),
)
def test_any_lengths_and_weights(lengths: list[int], num_steps: int, shares: list[float], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs = {
        level: 3 * torch.randn(2, 4, length, generator=generator)
        for level, length in zip(LEVELS, (num_steps, *lengths), strict=True)
    }
    weights = dict(zip(LEVELS, shares, strict=True))
    found = ensemble_probabilities(outputs, weights)
    np.testing.assert_allclose(found.numpy(), reference(outputs, weights), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.sum(1).numpy(), 1, rtol=1e-5)


def test_levels_of_no_weight_have_no_say() -> None:
    """C2F-TCN's own repository weighs the two coarsest levels with 0."""
    outputs = golden_outputs()
    weights = dict.fromkeys(LEVELS, 1.0) | {"y2": 0.0, "y1": 0.0}
    before = ensemble_probabilities(outputs, weights)
    outputs |= {"y2": torch.randn(1, 3, 1), "y1": torch.randn(1, 3, 5)}
    torch.testing.assert_close(ensemble_probabilities(outputs, weights), before, rtol=0, atol=0)


def test_by_default_all_levels_weigh_alike() -> None:
    outputs = golden_outputs()
    equal = ensemble_probabilities(outputs, dict.fromkeys(LEVELS, 0.5))
    torch.testing.assert_close(ensemble_probabilities(outputs), equal)


def test_a_missing_level_is_an_error() -> None:
    outputs = golden_outputs()
    del outputs["y3"]
    with pytest.raises(KeyError, match="y3"):
        ensemble_probabilities(outputs)
