"""From the logits of all levels to one probability a class and step.

Axes: B sequences, K classes, T steps.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F

from sync_train.models.c2f_tcn import LEVELS


def ensemble_probabilities(
    outputs: Mapping[str, torch.Tensor], weights: Mapping[str, float] | None = None
) -> torch.Tensor:
    """Weighted mean of the levels' probabilities, each level's logits stretched to the finest one's steps.

    Args:
        outputs: (B, K, T_l) logits by level, as `C2FTCN` returns them; `y` has T steps.
        weights: By level; all 1 by default, as for Assembly101 (A101-TAS main.py).

    Returns:
        (B, K, T) probabilities.
    """
    share = {level: 1.0 if weights is None else weights[level] for level in LEVELS}
    num_steps = outputs["y"].shape[-1]
    total = torch.zeros_like(outputs["y"])
    for level in LEVELS:
        logits = outputs[level]
        if logits.shape[-1] != num_steps:
            logits = F.interpolate(logits, size=num_steps, mode="linear", align_corners=True)
        total += share[level] / sum(share.values()) * logits.softmax(dim=1)
    return total
