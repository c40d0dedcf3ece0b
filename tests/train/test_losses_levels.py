"""A comparator over levels: which steps of which level enter, and who gets a gradient.

Axes: B pairs, H width of a level, T steps, N and M valid steps.
"""

from dataclasses import replace

import pytest
import torch

from sync_train.losses.config import CoralConfig, GRLConfig, LossConfig, MMDConfig, SDTWConfig, TCCConfig
from sync_train.losses.coral import coral
from sync_train.losses.distillation import LEVEL_NAMES
from sync_train.losses.grl import Discriminator, adversarial
from sync_train.losses.levels import LevelLoss
from sync_train.losses.mmd import mmd
from sync_train.losses.sdtw import sdtw
from sync_train.losses.tcc import tcc
from sync_train.models.c2f_tcn import LEVELS

Levels = dict[str, torch.Tensor]

STUDENT_STEPS, TEACHER_STEPS = (70, 128, 101), (128, 90, 64)
NUM_STEPS = {"student": 128, "teacher": 192}

CONFIGS: list[LossConfig] = [
    MMDConfig(),
    MMDConfig(variant="dan"),
    MMDConfig(variant="linear"),
    CoralConfig(),
    CoralConfig(variant="tllib"),
    GRLConfig(hidden_dim=8),
    TCCConfig(),
    TCCConfig(variant="mse-var"),
    SDTWConfig(),
    SDTWConfig(recurrence="min-gamma", consistency=False),
]
names = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: repr(config)[:40])


def draw(num_steps: int, valid_steps: tuple[int, ...], seed: int) -> tuple[Levels, torch.Tensor]:
    """Levels of 3 values a step, and what is valid."""
    generator = torch.Generator().manual_seed(seed)
    levels = {
        name: torch.randn(
            len(valid_steps), 3, num_steps // 2**depth, generator=generator, dtype=torch.float64
        )
        for depth, name in enumerate(LEVELS)
    }
    return levels, torch.arange(num_steps)[None] < torch.tensor(valid_steps)[:, None]


def make(config: LossConfig, levels: tuple[int, ...]) -> LevelLoss:
    torch.manual_seed(0)
    return LevelLoss(config, levels=levels, widths=dict.fromkeys(LEVELS, 3)).double()


def cut(levels: Levels, name: str, valid_steps: tuple[int, ...]) -> list[torch.Tensor]:
    """The steps of each sequence that begin before its end: (T, H) each."""
    stride = 2 ** LEVELS.index(name)
    return [
        torch.stack([x_HT[:, t] for t in range(x_HT.shape[1]) if t * stride < steps])
        for x_HT, steps in zip(levels[name], valid_steps, strict=True)
    ]


def of_one_level(config: LossConfig, x: list[torch.Tensor], y: list[torch.Tensor]) -> float:
    """By the loss itself on unpadded sequences, one pair at a time where it is one of pairs."""
    if isinstance(config, TCCConfig | SDTWConfig):
        values = []
        for a, b in zip(x, y, strict=True):
            valid_a, valid_b = (torch.ones(1, len(each), dtype=torch.bool) for each in (a, b))
            if isinstance(config, TCCConfig):
                values.append(tcc(a[None], b[None], valid_a, valid_b, config).item())
            else:
                values.append(sdtw(a[None], b[None], valid_a, valid_b, config).item())
        return sum(values) / len(values)
    x_NH, y_MH = torch.cat(x), torch.cat(y)
    match config:
        case MMDConfig():
            return mmd(x_NH, y_MH, config).item()
        case CoralConfig():
            return coral(x_NH, y_MH, config).item()
        case GRLConfig():
            torch.manual_seed(0)
            return adversarial(x_NH, y_MH, Discriminator(3, config.hidden_dim).double(), 1.0).item()
    raise AssertionError(config)


@names
@pytest.mark.parametrize("level", [1, 3, 5, 6])
def test_valid_steps_of_both_sides_enter_and_no_others(config: LossConfig, level: int) -> None:
    """Sequences of a pair differ in length and in padding."""
    student, valid_student = draw(NUM_STEPS["student"], STUDENT_STEPS, 0)
    teacher, valid_teacher = draw(NUM_STEPS["teacher"], TEACHER_STEPS, 1)
    name = LEVEL_NAMES[level]
    wanted = of_one_level(config, cut(student, name, STUDENT_STEPS), cut(teacher, name, TEACHER_STEPS))
    found = make(config, (level,))(student, teacher, valid_student, valid_teacher)
    assert found.shape == () and found.item() == pytest.approx(wanted, rel=1e-5)


@names
def test_levels_are_summed_and_weighted(config: LossConfig) -> None:
    student, valid_student = draw(NUM_STEPS["student"], STUDENT_STEPS, 0)
    teacher, valid_teacher = draw(NUM_STEPS["teacher"], TEACHER_STEPS, 1)
    both = make(config, (2, 5))
    parts = [make(config, (level,)) for level in (2, 5)]
    for part in parts:
        for name in part.names:
            if name in both.discriminators:
                part.discriminators[name].load_state_dict(both.discriminators[name].state_dict())
    arguments = (student, teacher, valid_student, valid_teacher)
    total = sum(part(*arguments).item() for part in parts)
    assert both(*arguments).item() == pytest.approx(total, rel=1e-6)
    heavy = make(replace(config, weight=2.5), (2, 5))
    assert heavy(*arguments).item() == pytest.approx(2.5 * total, rel=1e-6)


@names
def test_padding_never_matters_and_only_the_student_learns(config: LossConfig) -> None:
    student, valid_student = draw(NUM_STEPS["student"], STUDENT_STEPS, 0)
    teacher, valid_teacher = draw(NUM_STEPS["teacher"], TEACHER_STEPS, 1)
    leaves = {name: x.clone().requires_grad_() for name, x in student.items()}
    targets = {name: x.clone().requires_grad_() for name, x in teacher.items()}
    loss = make(config, (1, 4))(leaves, targets, valid_student, valid_teacher)
    loss.backward()
    for name, leaf in leaves.items():
        assert targets[name].grad is None
        if name not in ("y5", "y2"):
            assert leaf.grad is None
            continue
        stride = 2 ** LEVELS.index(name)
        for gradient_HT, steps in zip(leaf.grad, STUDENT_STEPS, strict=True):
            valid = -(-steps // stride)
            assert gradient_HT.isfinite().all()
            assert (gradient_HT[:, valid:] == 0).all() and (gradient_HT[:, :valid] != 0).any(dim=0).all()
    for each, steps_of in ((student, STUDENT_STEPS), (teacher, TEACHER_STEPS)):
        for name, x_BHT in each.items():
            for x_HT, steps in zip(x_BHT, steps_of, strict=True):
                x_HT[:, -(-steps // 2 ** LEVELS.index(name)) :] = 1e4
    again = make(config, (1, 4))(student, teacher, valid_student, valid_teacher)
    torch.testing.assert_close(again, loss.detach(), rtol=1e-9, atol=0)


@names
def test_what_is_too_short_is_left_out(config: LossConfig) -> None:
    """One step at T/32: no pair, no set. The loss is 0 and can still be propagated."""
    student, valid_student = draw(128, (20, 3), 0)
    teacher, valid_teacher = draw(128, (20, 3), 1)
    leaves = {name: x.requires_grad_() for name, x in student.items()}
    alone = {name: x[:1] for name, x in leaves.items()}, {name: x[:1] for name, x in teacher.items()}
    loss = make(config, (5,))(*alone, valid_student[:1], valid_teacher[:1])
    loss.backward()
    assert loss.item() == 0 and (leaves["y1"].grad == 0).all()
    if isinstance(config, TCCConfig | SDTWConfig):  # at T/8 the first pair has three steps, the second one
        found = make(config, (3,))(leaves, teacher, valid_student, valid_teacher)
        torch.testing.assert_close(found, make(config, (3,))(*alone, valid_student[:1], valid_teacher[:1]))


def test_mmds_subsets_come_from_the_generator() -> None:
    student, valid_student = draw(NUM_STEPS["student"], STUDENT_STEPS, 0)
    teacher, valid_teacher = draw(NUM_STEPS["teacher"], TEACHER_STEPS, 1)
    loss = make(MMDConfig(max_samples=20), (6, 1))

    def value(seed: int | None) -> float:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return float(loss(student, teacher, valid_student, valid_teacher, generator=generator))

    assert value(0) == value(0) != value(1)
    assert value(None) == value(None)


def test_a_discriminator_for_each_level_and_the_factor_for_all() -> None:
    student, valid_student = draw(NUM_STEPS["student"], STUDENT_STEPS, 0)
    teacher, valid_teacher = draw(NUM_STEPS["teacher"], TEACHER_STEPS, 1)
    torch.manual_seed(0)
    loss = LevelLoss(GRLConfig(hidden_dim=8), levels=(1, 6), widths={"y5": 3, "y": 3}).double()
    assert sorted(loss.discriminators) == ["y", "y5"]
    leaves = {name: x.requires_grad_() for name, x in student.items()}
    wanted = [leaves["y5"], leaves["y"], *loss.parameters()]

    def gradients(factor: float) -> list[torch.Tensor]:
        value = loss(leaves, teacher, valid_student, valid_teacher, factor=factor)
        return list(torch.autograd.grad(value, wanted))

    whole, half = gradients(1.0), gradients(0.5)
    for place, (a, b) in enumerate(zip(whole, half, strict=True)):
        torch.testing.assert_close(b, a / 2 if place < 2 else a)
    assert not list(make(TCCConfig(), (1,)).parameters())
