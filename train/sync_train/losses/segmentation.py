"""The supervised loss of C2F-TCN: cross-entropy of the ensemble, and a term against flicker.

Axes: B sequences, K classes, T steps.
"""

import torch
import torch.nn.functional as F

from sync_train.sequences import IGNORE

EPSILON = 1e-10
"""Added to a probability before its logarithm (A101-TAS main.py)."""

MAX_SQUARED_STEP = 16.0
"""The smoothing term doesn't grow beyond a change of 4 in a log-probability (MS-TCN; A101-TAS main.py)."""


def cross_entropy(probabilities_BKT: torch.Tensor, classes_BT: torch.Tensor) -> torch.Tensor:
    """Mean over all labelled steps of the batch of minus the log-probability of the label.

    Args:
        probabilities_BKT: From `ensemble_probabilities`.
        classes_BT: int64, `IGNORE` where there is no label.
    """
    return F.cross_entropy((probabilities_BKT + EPSILON).log(), classes_BT, ignore_index=IGNORE)


def smoothing(probabilities_BKT: torch.Tensor, valid_BT: torch.Tensor) -> torch.Tensor:
    """Mean squared change of each log-probability from a step to the next, towards the earlier one's value.

    The mean counts all classes and all steps, padded ones too, whose change counts as zero (A101-TAS main.py).
    """
    log_BKT = (probabilities_BKT + EPSILON).log()
    change = (log_BKT[..., 1:] - log_BKT[..., :-1].detach()).square().clamp(max=MAX_SQUARED_STEP)
    return (change * valid_BT[:, None, 1:]).mean()
