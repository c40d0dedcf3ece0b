"""Cross-entropy of a cycle that should end where it began. Axes: B sequences, N steps."""

import torch
import torch.nn.functional as F


def masked(values_BNM: torch.Tensor, valid_BM: torch.Tensor) -> torch.Tensor:
    """Values whose last axis can enter a softmax: what isn't valid gets no share of it, and no gradient."""
    return values_BNM.masked_fill(~valid_BM[:, None], torch.finfo(values_BNM.dtype).min)


def cycle_cross_entropy(
    logits_BNN: torch.Tensor, valid_BN: torch.Tensor, label_smoothing: float
) -> torch.Tensor:
    """Mean over the valid steps of each sequence: (B,).

    Args:
        logits_BNN: A row for each step where a cycle begins, a column for each where it can end.
        valid_BN: bool, at least one in each sequence.
        label_smoothing: Share of the target that is spread evenly over the sequence's valid steps.
    """
    log_BNN = F.log_softmax(masked(logits_BNN, valid_BN), dim=-1)
    num_valid_B = valid_BN.sum(dim=-1)
    spread_BN = log_BNN.masked_fill(~valid_BN[:, None], 0).sum(dim=-1) / num_valid_B[:, None]
    back_BN = log_BNN.diagonal(dim1=1, dim2=2)
    loss_BN = -(1 - label_smoothing) * back_BN - label_smoothing * spread_BN
    return loss_BN.masked_fill(~valid_BN, 0).sum(dim=-1) / num_valid_B
