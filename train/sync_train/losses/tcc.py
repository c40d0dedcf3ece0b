"""Temporal cycle consistency: from a step to its nearest in the other video and back, to where it began.

Dwibedi et al., "Temporal Cycle-Consistency Learning" (the paper's reference 11), with google-research's tcc as the
authority for constants. The paper uses the classification.
Axes: B pairs, N and M steps, D width.
"""

import torch
import torch.nn.functional as F

from sync_train.losses.config import TCCConfig
from sync_train.losses.cycle import cycle_cross_entropy, masked
from sync_train.losses.distances import squared_distances


def tcc(
    x_BND: torch.Tensor,
    y_BMD: torch.Tensor,
    valid_x_BN: torch.Tensor,
    valid_y_BM: torch.Tensor,
    config: TCCConfig,
) -> torch.Tensor:
    """Mean over both ways around and over pairs, each being the mean over the valid steps of where it begins.

    Args:
        x_BND: Sequences, padded at their ends.
        y_BMD: The other of each pair.
        valid_x_BN: bool, two or more in each sequence.
        valid_y_BM: Likewise.
        config: What is asked of where the cycle ends, and the temperature.
    """
    if config.normalize:
        x_BND, y_BMD = F.normalize(x_BND, dim=-1), F.normalize(y_BMD, dim=-1)
    there = cycle(x_BND, y_BMD, valid_x_BN, valid_y_BM, config)
    back = cycle(y_BMD, x_BND, valid_y_BM, valid_x_BN, config)
    return (there.mean() + back.mean()) / 2


def cycle(
    from_BND: torch.Tensor,
    via_BMD: torch.Tensor,
    valid_from_BN: torch.Tensor,
    valid_via_BM: torch.Tensor,
    config: TCCConfig,
) -> torch.Tensor:
    """Loss of one way around, of each pair: (B,)."""
    nearest_BNM = _similarity(from_BND, via_BMD, valid_via_BM, config).softmax(dim=-1)
    back_BNN = _similarity(nearest_BNM @ via_BMD, from_BND, valid_from_BN, config)
    if config.variant == "classification":
        return cycle_cross_entropy(back_BNN, valid_from_BN, config.label_smoothing)
    loss_BN = _regression(back_BNN, valid_from_BN, config)
    return loss_BN.masked_fill(~valid_from_BN, 0).sum(dim=-1) / valid_from_BN.sum(dim=-1)


def _similarity(
    x_BND: torch.Tensor, y_BMD: torch.Tensor, valid_y_BM: torch.Tensor, config: TCCConfig
) -> torch.Tensor:
    """Minus the squared distance, over the width and the temperature."""
    distances_BNM = squared_distances(x_BND, y_BMD)
    return masked(-distances_BNM / (x_BND.shape[-1] * config.temperature), valid_y_BM)


def _regression(logits_BNN: torch.Tensor, valid_BN: torch.Tensor, config: TCCConfig) -> torch.Tensor:
    """How far each step's cycle ends from it, in lengths of its sequence: (B, N)."""
    steps_N = torch.arange(logits_BNN.shape[1], dtype=logits_BNN.dtype, device=logits_BNN.device)
    times_BN = steps_N / valid_BN.sum(dim=-1, keepdim=True)
    share_BNN = logits_BNN.softmax(dim=-1)
    end_BN = (share_BNN @ times_BN[..., None]).squeeze(-1)
    if config.variant == "huber":
        return F.huber_loss(end_BN, times_BN, reduction="none", delta=config.huber_delta)
    squared_BN = (end_BN - times_BN).square()
    if config.variant == "mse":
        return squared_BN
    variance_BN = (share_BNN * (times_BN[:, None] - end_BN[..., None]).square()).sum(dim=-1)
    log_BN = variance_BN.clamp(min=config.variance_floor).log()
    return torch.exp(-log_BN) * squared_BN + config.variance_weight * log_BN
