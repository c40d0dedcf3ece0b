"""Smooth DTW with cycle consistency, forward and backward: along anti-diagonals, against cell by cell.

The loop goes through the table as the published code does, for one pair after the other, and is kinder than that in
one point: it keeps cells in lists, while the published code copies the whole table for each of its cells, which at
600 steps would be 360,000 copies of 1.4 MB a table. So the loop is run at few steps only, where both give the same
loss and gradient, and the anti-diagonals also at the length of a video of 10 minutes at a step a second. All on one
thread. Axes: B pairs, T steps, D width.
"""

from collections.abc import Callable

import torch

from benchmarks.measure import arguments, ratio, time_in_turn, write_result
from sync_store.memory import keep_freed_memory
from sync_train.losses.config import SDTWConfig
from sync_train.losses.cycle import cycle_cross_entropy
from sync_train.losses.sdtw import OUTSIDE, contrastive_cost, sdtw

NUM_PAIRS = 4
WIDTH = 128
"""Of C2F-TCN's representations."""

CONFIG = SDTWConfig()

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, SDTWConfig], torch.Tensor]


def main() -> None:
    options = arguments("sdtw", __doc__)
    keep_freed_memory()
    few_steps, many_steps, num_rounds = (4, 20, 2) if options.smoke else (40, 600, 5)
    torch.set_num_threads(1)
    few, many = draw(few_steps), draw(many_steps)
    check_equal(few)
    timings = time_in_turn(
        {
            f"anti-diagonals, {few_steps} steps": lambda: gradient(sdtw, few),
            f"loop, {few_steps} steps": lambda: gradient(sdtw_by_loop, few),
            f"anti-diagonals, {many_steps} steps": lambda: gradient(sdtw, many),
        },
        num_rounds=num_rounds,
    )
    ours, loop, _ = timings.values()
    write_result(
        options.out,
        settings={
            "pairs": NUM_PAIRS,
            "width": WIDTH,
            "steps": [few_steps, many_steps],
            "recurrence": CONFIG.recurrence,
            "consistency": CONFIG.consistency,
            "rounds": num_rounds,
        },
        timings={name: timing.summary(NUM_PAIRS, "pairs") for name, timing in timings.items()},
        ratios={f"anti_diagonals_over_loop_{few_steps}_steps": ratio(ours, loop)},
        targets={},
    )


def draw(num_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sequences a pair: (B, T, D) each."""
    generator = torch.Generator().manual_seed(0)
    x_BTD, y_BTD = (torch.randn(NUM_PAIRS, num_steps, WIDTH, generator=generator) for _ in range(2))
    return x_BTD, y_BTD


def gradient(loss: Loss, pairs: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """A loss and its gradient with respect to the first sequences."""
    x_BTD, y_BTD = pairs[0].clone().requires_grad_(), pairs[1]
    valid_BT = torch.ones(x_BTD.shape[:2], dtype=torch.bool)
    value = loss(x_BTD, y_BTD, valid_BT, valid_BT, CONFIG)
    (gradient_BTD,) = torch.autograd.grad(value, x_BTD)
    return value.detach(), gradient_BTD


def sdtw_by_loop(
    x_BTD: torch.Tensor,
    y_BTD: torch.Tensor,
    valid_x_BT: torch.Tensor,
    valid_y_BT: torch.Tensor,
    config: SDTWConfig,
) -> torch.Tensor:
    """The published loss, a cell at a time."""
    costs = [
        contrastive_cost(x_BTD, y_BTD, valid_x_BT, valid_y_BT, config.contrast_gamma),
        contrastive_cost(y_BTD, x_BTD, valid_y_BT, valid_x_BT, config.contrast_gamma),
    ]
    total = torch.zeros(())
    for cost_there_TT, cost_back_TT in zip(*costs, strict=True):
        there_TT, back_TT = (
            fill_by_loop(cost, config.smooth_gamma) for cost in (cost_there_TT, cost_back_TT)
        )
        ends = config.alignment_weight * (there_TT[-1, -1] + back_TT[-1, -1])
        logits_TT = ((-there_TT).softmax(dim=0) @ (-back_TT).softmax(dim=0)).mT
        valid_1T = torch.ones(1, len(logits_TT), dtype=torch.bool)
        total = total + ends + cycle_cross_entropy(logits_TT[None], valid_1T, config.label_smoothing)[0]
    return total / len(x_BTD)


def fill_by_loop(cost_TT: torch.Tensor, gamma: float) -> torch.Tensor:
    """The table of one pair, (T, T), by the recurrence "prob"."""
    outside = torch.tensor(OUTSIDE)
    above = [torch.zeros(()), *[outside] * len(cost_TT)]
    rows = []
    for costs in cost_TT:
        row = [outside]
        for column, cost in enumerate(costs, start=1):
            before_3 = torch.stack([row[column - 1], above[column - 1], above[column]])
            row.append(cost + (torch.softmax(before_3 / -gamma, dim=0) * before_3).sum())
        rows.append(torch.stack(row[1:]))
        above = row
    return torch.stack(rows)


def check_equal(pairs: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Fail unless both ways give the same loss and gradient."""
    for ours, theirs in zip(gradient(sdtw, pairs), gradient(sdtw_by_loop, pairs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    main()
