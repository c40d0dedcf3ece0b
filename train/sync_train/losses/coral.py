"""Deep CORAL: distance of the covariances of two sets of steps.

Sun and Saenko, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation" (the paper's reference 47), eq. 1 to 3.
Axes: N and M steps, D width.
"""

import torch

from sync_train.losses.config import CoralConfig


def coral(x_ND: torch.Tensor, y_MD: torch.Tensor, config: CoralConfig) -> torch.Tensor:
    """Squared distance of the covariances over 4 D²; with TLLIB's variant over D², and that of the means over D.

    Args:
        x_ND: Two steps or more.
        y_MD: Likewise, in number as it may be.
        config: Which variant.
    """
    of_covariances = (torch.cov(x_ND.mT) - torch.cov(y_MD.mT)).square().mean()
    if config.variant == "deep-coral":
        return of_covariances / 4
    return of_covariances + (x_ND.mean(dim=0) - y_MD.mean(dim=0)).square().mean()
