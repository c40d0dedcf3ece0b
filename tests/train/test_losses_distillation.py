"""Losses on pairs against numbers worked out by hand and loops over elements.

Axes: B sequences, T steps, D feature width, H width of a level.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_train.losses.distillation import (
    LEVEL_NAMES,
    feature_distillation,
    tas_distillation,
    valid_at_level,
)
from sync_train.models.c2f_tcn import C2FTCN, LEVELS

Levels = dict[str, torch.Tensor]


def test_feature_distillation_by_hand() -> None:
    """Two valid steps of one sequence, one of the other: differences 1, 2; 3, 0; and 4, 4."""
    student = torch.tensor([[[1.0, 2.0], [3.0, 0.0]], [[4.0, 4.0], [9.0, 9.0]]])
    valid = torch.tensor([[True, True], [True, False]])
    loss = feature_distillation(student, torch.zeros(2, 2, 2), valid)
    assert loss.item() == pytest.approx((1 + 4 + 9 + 0 + 16 + 16) / 6)


def test_tas_distillation_by_hand() -> None:
    """Level 6 has four steps of which three are valid, level 1 two of which the second begins in time."""
    student = {"y": torch.tensor([[[1.0, 2.0, 3.0, 50.0]]]), "y5": torch.tensor([[[2.0, 4.0]]])}
    teacher = {"y": torch.zeros(1, 1, 4), "y5": torch.ones(1, 1, 2)}
    valid = torch.tensor([[True, True, True, False]])
    of_6, of_1 = (1 + 4 + 9) / 3, (1 + 9) / 2
    assert tas_distillation(student, teacher, valid, levels=(6,)).item() == pytest.approx(of_6)
    assert tas_distillation(student, teacher, valid, levels=(1,)).item() == pytest.approx(of_1)
    assert tas_distillation(student, teacher, valid, levels=(1, 6)).item() == pytest.approx(of_1 + of_6)
    summed = tas_distillation(student, teacher, valid, levels=(1, 6), reduction="sum")
    assert summed.item() == pytest.approx(1 + 4 + 9 + 1 + 9)


def test_the_papers_count_of_levels() -> None:
    """Supplement, Table 1: level 1 is the finest of five auxiliary heads, level 5 the coarsest."""
    assert LEVEL_NAMES == {1: "y5", 2: "y4", 3: "y3", 4: "y2", 5: "y1", 6: "y"}


def level_lengths(num_steps: int) -> dict[str, int]:
    """T_l as the network makes them."""
    lengths = {"y": num_steps}
    for name in LEVELS[1:]:
        num_steps //= 2
        lengths[name] = num_steps
    return lengths


def draw(seed: int, num_steps: int, valid_steps: list[int]) -> tuple[Levels, Levels, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        {
            name: torch.randn(len(valid_steps), 3, length, generator=generator, dtype=torch.float64)
            for name, length in level_lengths(num_steps).items()
        }
        for _ in range(2)
    )
    return student, teacher, torch.arange(num_steps)[None] < torch.tensor(valid_steps)[:, None]


drawn = st.tuples(
    st.integers(0, 10_000),
    st.sampled_from([64, 100, 128, 75]),
    st.lists(st.integers(1, 64), min_size=1, max_size=3),
)
chosen = st.sets(st.integers(1, 6), min_size=1).map(sorted)


@settings(max_examples=30, deadline=None)
@given(drawn=drawn, levels=chosen)
def test_sum_is_equation_2(drawn: tuple[int, int, list[int]], levels: list[int]) -> None:
    """1/M sum over sequences and levels of the squared norm of the difference, padding left out."""
    student, teacher, valid = draw(*drawn)
    total = 0.0
    for j, valid_steps in enumerate(drawn[2]):
        for level in levels:
            name = LEVEL_NAMES[level]
            stride = 2 ** LEVELS.index(name)
            for t in range(student[name].shape[2]):
                if t * stride < valid_steps:
                    difference = student[name][j, :, t] - teacher[name][j, :, t]
                    total += float(difference @ difference)
    found = tas_distillation(student, teacher, valid, levels=levels, reduction="sum")
    assert found.item() == pytest.approx(total / len(drawn[2]), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(drawn=drawn, levels=chosen)
def test_mean_weighs_levels_alike(drawn: tuple[int, int, list[int]], levels: list[int]) -> None:
    student, teacher, valid = draw(*drawn)
    wanted = 0.0
    for level in levels:
        name = LEVEL_NAMES[level]
        stride = 2 ** LEVELS.index(name)
        squares = [
            (student[name][j, c, t] - teacher[name][j, c, t]).item() ** 2
            for j, valid_steps in enumerate(drawn[2])
            for c in range(3)
            for t in range(student[name].shape[2])
            if t * stride < valid_steps
        ]
        wanted += sum(squares) / len(squares)
    assert tas_distillation(student, teacher, valid, levels=levels).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_padding_never_matters(reduction: str) -> None:
    student, teacher, valid = draw(0, 128, [70, 128])
    options = {"levels": (1, 2, 3, 4, 5, 6), "reduction": reduction}
    before = tas_distillation(student, teacher, valid, **options)
    for name, logits in student.items():
        logits[0, :, -(-70 // 2 ** LEVELS.index(name)) :] = 1e6
    torch.testing.assert_close(tas_distillation(student, teacher, valid, **options), before, rtol=0, atol=0)

    student_BTD, teacher_BTD = torch.randn(2, 2, 128, 5, dtype=torch.float64)
    before = feature_distillation(student_BTD, teacher_BTD, valid)
    student_BTD[0, 70:], teacher_BTD[0, 70:] = 1e6, -1e6
    torch.testing.assert_close(feature_distillation(student_BTD, teacher_BTD, valid), before, rtol=0, atol=0)


@pytest.mark.parametrize("num_steps", [100, 384, 500, 1200])
def test_masks_have_the_networks_lengths(num_steps: int) -> None:
    """Also where a level isn't half of the one above it: 1,200 steps end in 75 and 37."""
    network = C2FTCN(feature_dim=2, num_classes=2).eval()
    with torch.no_grad():
        outputs = network(torch.zeros(1, 2, num_steps))
    valid = torch.ones(1, num_steps, dtype=torch.bool)
    for name, logits in outputs.items():
        assert valid_at_level(valid, name, logits.shape[2]).shape == (1, logits.shape[2])
