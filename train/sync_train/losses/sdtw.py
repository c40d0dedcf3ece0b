"""Smooth dynamic time warping of two videos, with a contrastive cost and cycle consistency.

Hadji, Derpanis and Jepson, "Representation Learning via Global Temporal Alignment and Cycle-Consistency" (the paper's
reference 18), with their VideoAlignment as the authority for details. A cell of the table is reached from the one
to its left, above it, or both; all cells with the same sum of row and column depend only on the two anti-diagonals
before, so that the table is filled in N + M - 1 steps for all pairs at once. Padding comes last on both axes and no
cell looks ahead, so a pair's own part of the table is what it would be alone.
Axes: B pairs, N and M steps, D width, K anti-diagonals.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from sync_train.losses.config import SDTWConfig
from sync_train.losses.cycle import cycle_cross_entropy, masked

OUTSIDE = 1e30
"""Cost of cells outside the table, whose share is exactly 0. Published: the largest float32; over a gamma below 1
that is infinite, and the gradient of a border's cell 0 * inf. It goes nowhere, but anomaly detection stops at it."""


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Tables of pairs; cells beyond a pair's lengths mean nothing."""

    table_BNM: torch.Tensor
    """Cost of the smooth best path from the first steps of both to these."""
    end_B: torch.Tensor
    """Cost of the whole path."""


def sdtw(
    x_BND: torch.Tensor,
    y_BMD: torch.Tensor,
    valid_x_BN: torch.Tensor,
    valid_y_BM: torch.Tensor,
    config: SDTWConfig,
) -> torch.Tensor:
    """Mean over pairs of the alignment costs of both directions and of the consistency of a cycle from x.

    Args:
        x_BND: Sequences, padded at their ends; brought to unit length here.
        y_BMD: The other of each pair.
        valid_x_BN: bool, two or more in each sequence.
        valid_y_BM: Likewise.
        config: Recurrence, temperatures, weights.
    """
    num_x, num_y = valid_x_BN.shape[1], valid_y_BM.shape[1]
    most = max(num_x, num_y)
    x_BND, y_BMD = _pad_steps(x_BND, most), _pad_steps(y_BMD, most)
    valid_x_BN, valid_y_BM = F.pad(valid_x_BN, (0, most - num_x)), F.pad(valid_y_BM, (0, most - num_y))
    both = align(
        torch.cat([x_BND, y_BMD]),
        torch.cat([y_BMD, x_BND]),
        torch.cat([valid_x_BN, valid_y_BM]),
        torch.cat([valid_y_BM, valid_x_BN]),
        config,
    )
    loss = config.alignment_weight * both.end_B.mean() * 2
    if not config.consistency:
        return loss
    xy_BNM, yx_BMN = both.table_BNM.chunk(2)
    return loss + consistency(xy_BNM, yx_BMN, valid_x_BN, valid_y_BM, config.label_smoothing).mean()


def align(
    x_BND: torch.Tensor,
    y_BMD: torch.Tensor,
    valid_x_BN: torch.Tensor,
    valid_y_BM: torch.Tensor,
    config: SDTWConfig,
) -> Alignment:
    """Align each x with its y; arguments as of `sdtw`.

    The direction matters: the cost of a cell says how much better than x's other steps this one fits.
    """
    cost_BNM = contrastive_cost(x_BND, y_BMD, valid_x_BN, valid_y_BM, config.contrast_gamma)
    table_BNM = fill_table(cost_BNM, config)
    last_row_B, last_column_B = valid_x_BN.sum(dim=1) - 1, valid_y_BM.sum(dim=1) - 1
    pairs_B = torch.arange(len(table_BNM), device=table_BNM.device)
    return Alignment(table_BNM=table_BNM, end_B=table_BNM[pairs_B, last_row_B, last_column_B])


def contrastive_cost(
    x_BND: torch.Tensor,
    y_BMD: torch.Tensor,
    valid_x_BN: torch.Tensor,
    valid_y_BM: torch.Tensor,
    gamma: float,
) -> torch.Tensor:
    """Minus the logarithm of the share of x's step, among all valid ones, in the cosine similarity to y's."""
    cosine_BMN = F.normalize(y_BMD, dim=-1) @ F.normalize(x_BND, dim=-1).mT
    log_BNM = F.log_softmax(masked(cosine_BMN / gamma, valid_x_BN), dim=-1).mT
    return (-log_BNM).masked_fill(~(valid_x_BN[:, :, None] & valid_y_BM[:, None, :]), 0)


def consistency(
    xy_BNM: torch.Tensor,
    yx_BMN: torch.Tensor,
    valid_x_BN: torch.Tensor,
    valid_y_BM: torch.Tensor,
    label_smoothing: float,
) -> torch.Tensor:
    """Cross-entropy of the way from x to y and back, of each pair: (B,).

    Each table's columns become shares of its rows; their product says where a cycle ends. As published, these
    shares serve as logits.
    """
    to_x_BMN = masked(-xy_BNM.mT, valid_x_BN).softmax(dim=-1)
    to_y_BNM = masked(-yx_BMN.mT, valid_y_BM).softmax(dim=-1)
    return cycle_cross_entropy(to_y_BNM @ to_x_BMN, valid_x_BN, label_smoothing)


def fill_table(cost_BNM: torch.Tensor, config: SDTWConfig) -> torch.Tensor:
    """The table of a cost, (B, N, M), differentiable once."""
    diagonals_KBN = _skew(cost_BNM).permute(2, 0, 1).contiguous()
    num_columns = cost_BNM.shape[2]
    bordered_KBN: torch.Tensor = _Diagonals.apply(  # type: ignore[no-untyped-call]
        diagonals_KBN, num_columns, config.smooth_gamma, config.recurrence
    )
    return _unskew(bordered_KBN[2:, :, 1:].permute(1, 2, 0), num_columns)


def _skew(x_BNM: torch.Tensor) -> torch.Tensor:
    """Shift row i to the right by i, so that an anti-diagonal is a column: (B, N, K) with K = N + M - 1.

    A row of N zeros more is one longer than K: written one after the other, each begins a column later.
    """
    num_pairs, num_rows, _ = x_BNM.shape
    return F.pad(x_BNM, (0, num_rows)).flatten(1)[:, :-num_rows].reshape(num_pairs, num_rows, -1)


def _unskew(x_BNK: torch.Tensor, num_columns: int) -> torch.Tensor:
    """The way back: (B, N, M)."""
    num_pairs, num_rows, _ = x_BNK.shape
    return F.pad(x_BNK.flatten(1), (0, num_rows)).reshape(num_pairs, num_rows, -1)[..., :num_columns]


class _Diagonals(torch.autograd.Function):
    """The recurrence on a skewed cost, where [k, b, i] is row i, column k - i of pair b.

    The result has a border before the first row and column, so that its [k, b, i] is row i - 1, column k - i - 1.
    """

    @staticmethod
    def forward(
        ctx: Any, cost_KBN: torch.Tensor, num_columns: int, gamma: float, recurrence: str
    ) -> torch.Tensor:
        num_diagonals, num_pairs, num_rows = cost_KBN.shape
        table = cost_KBN.new_full((num_diagonals + 2, num_pairs, num_rows + 1), OUTSIDE)
        table[0, :, 0] = 0
        for k in range(2, num_diagonals + 2):
            first, stop = max(1, k - num_columns), min(num_rows + 1, k)
            before_3BN = _before(table, k, first, stop)
            if recurrence == "prob":
                best_BN = (torch.softmax(before_3BN / -gamma, dim=0) * before_3BN).sum(dim=0)
            else:
                best_BN = -gamma * torch.logsumexp(before_3BN / -gamma, dim=0)
            torch.add(cost_KBN[k - 2, :, first - 1 : stop - 1], best_BN, out=table[k, :, first:stop])
        ctx.save_for_backward(table)
        ctx.settings = (num_columns, gamma, recurrence)
        return table

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """From the last diagonal to the first, each handing its gradient to the three cells before.

        With shares p of the values n before, the soft minimum's derivative is p, and that of their mean s
        weighted by p is p (1 - (n - s) / gamma).
        """
        (table,) = ctx.saved_tensors
        num_columns, gamma, recurrence = ctx.settings
        gradient = gradients[0].clone()
        num_rows = table.shape[2] - 1
        for k in range(len(table) - 1, 1, -1):
            first, stop = max(1, k - num_columns), min(num_rows + 1, k)
            before_3BN = _before(table, k, first, stop)
            share_3BN = torch.softmax(before_3BN / -gamma, dim=0)
            if recurrence == "prob":
                mean_BN = (share_3BN * before_3BN).sum(dim=0)
                share_3BN = share_3BN * (1 - (before_3BN - mean_BN) / gamma)
            handed_3BN = share_3BN * gradient[k, :, first:stop]
            gradient[k - 1, :, first:stop] += handed_3BN[0]
            gradient[k - 2, :, first - 1 : stop - 1] += handed_3BN[1]
            gradient[k - 1, :, first - 1 : stop - 1] += handed_3BN[2]
        return gradient[2:, :, 1:], None, None, None


def _before(table_KBN: torch.Tensor, k: int, first: int, stop: int) -> torch.Tensor:
    """What lies to the left, both, and above the cells of rows `first` to `stop` of anti-diagonal k: (3, B, rows)."""
    return torch.stack(
        [
            table_KBN[k - 1, :, first:stop],
            table_KBN[k - 2, :, first - 1 : stop - 1],
            table_KBN[k - 1, :, first - 1 : stop - 1],
        ]
    )


def _pad_steps(x_BND: torch.Tensor, num_steps: int) -> torch.Tensor:
    return F.pad(x_BND, (0, 0, 0, num_steps - x_BND.shape[1]))
