"""The gradient reversal, its schedules, and the discriminator. Axes: N and M steps, D width."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_train.losses.config import GRLConfig
from sync_train.losses.grl import Discriminator, adversarial, reversal_factor, reverse_gradient


def test_values_of_ganin_and_lempitsky() -> None:
    """Gamma 10, at shares 0, .1, .25, .5, .75 and 1 of the fit."""
    wanted = [0, 0.462117, 0.848284, 0.986614, 0.998894, 0.999909]
    found = [reversal_factor(GRLConfig(), step=step, num_steps=200) for step in (0, 20, 50, 100, 150, 200)]
    assert found == pytest.approx(wanted, abs=5e-7)


@settings(max_examples=30, deadline=None)
@given(step=st.integers(0, 5000))
def test_warm_start_by_its_own_steps(step: int) -> None:
    """TLLIB grl.py with lo 0, hi 1, alpha 1, max_iters 1000; the length of the fit doesn't matter."""
    config = GRLConfig(schedule="warm-start")
    coefficient = 2.0 * (1 - 0) / (1.0 + math.exp(-1.0 * step / 1000)) - (1 - 0) + 0
    for num_steps in (1, 10_000):
        assert reversal_factor(config, step=step, num_steps=num_steps) == pytest.approx(coefficient)


def test_constant_and_scaled() -> None:
    assert reversal_factor(GRLConfig(schedule="constant", max_lambda=0.3), step=0, num_steps=9) == 0.3
    whole = reversal_factor(GRLConfig(), step=3, num_steps=9)
    assert reversal_factor(GRLConfig(max_lambda=0.5), step=3, num_steps=9) == pytest.approx(whole / 2)


@settings(max_examples=30, deadline=None)
@given(factor=st.floats(0, 2), seed=st.integers(0, 1000))
def test_reversed_gradient(factor: float, seed: int) -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed), requires_grad=True)
    same = reverse_gradient(x, factor)
    assert torch.equal(same, x)
    (found,) = torch.autograd.grad(same.pow(3).sum(), x)
    torch.testing.assert_close(found, -factor * 3 * x.detach().square())


@pytest.fixture
def discriminator() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(3, 8)


def draw() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x_ND, y_MD = (torch.randn(num, 3, generator=generator) for num in (5, 9))
    return x_ND, y_MD + 1


def test_cross_entropy_by_hand(discriminator: Discriminator) -> None:
    """One batch for both views; -log(1 - p) of the student's steps, -log(p) of the teacher's; means weigh alike."""
    x, y = draw()
    probabilities = discriminator(torch.cat([x, y])).sigmoid().tolist()
    of_student = sum(-math.log(1 - p) for p in probabilities[:5]) / 5
    of_teacher = sum(-math.log(p) for p in probabilities[5:]) / 9
    found = adversarial(x, y, discriminator, 1.0).item()
    assert found == pytest.approx((of_student + of_teacher) / 2, rel=1e-5)


def test_who_gets_which_gradient(discriminator: Discriminator) -> None:
    """The student the reversed one, the teacher none, the discriminator its own, whatever the factor."""
    x, y = (each.requires_grad_() for each in draw())
    plain = F.binary_cross_entropy_with_logits(discriminator(torch.cat([x, y]))[:5], torch.zeros(5)) / 2
    plain = (
        plain + F.binary_cross_entropy_with_logits(discriminator(torch.cat([x, y]))[5:], torch.ones(9)) / 2
    )
    parameters = list(discriminator.parameters())
    wanted_x, *wanted = torch.autograd.grad(plain, [x, *parameters])
    for factor in (0.25, 1.0):
        loss = adversarial(x, y, discriminator, factor)
        found_x, found_y, *found = torch.autograd.grad(loss, [x, y, *parameters], allow_unused=True)
        assert found_y is None
        torch.testing.assert_close(found_x, -factor * wanted_x, rtol=1e-4, atol=1e-6)
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_sizes_of_tllib() -> None:
    """Linear 202 to 1,024, batch norm, linear 1,024 to 1,024, batch norm, linear to 1."""
    num = sum(parameter.numel() for parameter in Discriminator(202, 1024).parameters())
    assert num == (202 + 1) * 1024 + 2 * 1024 + (1024 + 1) * 1024 + 2 * 1024 + 1024 + 1


def test_the_two_sides_play_against_each_other() -> None:
    """A discriminator alone tells two views apart; with the reversal, a shift that undoes theirs is found."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(2)
    ego, exo = torch.randn(200, 2, generator=generator), torch.randn(200, 2, generator=generator) + 1
    alone = Discriminator(2, 16)
    optimizer = torch.optim.Adam(alone.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = adversarial(ego, exo, alone, 1.0)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.85 * math.log(2)

    torch.manual_seed(0)
    shift, fooled = torch.zeros(2, requires_grad=True), Discriminator(2, 16)
    optimizer = torch.optim.Adam([shift, *fooled.parameters()], lr=0.01)
    for _ in range(250):
        optimizer.zero_grad()
        adversarial(ego + shift, exo, fooled, 1.0).backward()
        optimizer.step()
    assert (shift.detach() - (exo.mean(0) - ego.mean(0))).abs().max() < 0.4
