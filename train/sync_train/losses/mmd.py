"""Maximum mean discrepancy: how far apart two sets of steps lie in the space of some kernels.

Gretton et al., "A Kernel Two-Sample Test" (the paper's reference 17), with the kernels of DeepDA mmd.py and TLLIB
dan.py. Both sum radial kernels exp(-d²/b) whose bandwidths b are powers of a factor times the mean squared
distance; as TLLIB writes exp(-d²/2σ²) with σ² from 1/8 to 2 of it, its b are DeepDA's.
Axes: N and M steps, D width.
"""

import torch

from sync_train.losses.config import MMDConfig
from sync_train.losses.distances import squared_distances

LEAST_BANDWIDTH = 1e-12
"""Below this mean squared distance all steps are one point; keeps 0 / 0 out."""


def mmd(
    x_ND: torch.Tensor, y_MD: torch.Tensor, config: MMDConfig, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Discrepancy of two sets, which may differ in number.

    Args:
        x_ND: Two steps or more.
        y_MD: Likewise.
        config: Kernels and estimate.
        generator: Draws the subsets where there are more than `max_samples`; without it they are spaced evenly,
            so that a score is the same each time.
    """
    if config.variant == "linear":
        return (x_ND.mean(dim=0) - y_MD.mean(dim=0)).square().sum()
    x_ND, y_MD = (subset(steps, config.max_samples, generator) for steps in (x_ND, y_MD))
    xx_NN, yy_MM, xy_NM = (squared_distances(a, b) for a, b in ((x_ND, x_ND), (y_MD, y_MD), (x_ND, y_MD)))
    num = len(x_ND) + len(y_MD)
    total = (xx_NN.sum() + yy_MM.sum() + 2 * xy_NM.sum()).detach()
    num_pairs = num * (num - 1) if config.variant == "deepda" else num * num  # TLLIB's mean has the diagonal
    bandwidth = (total / num_pairs).clamp(min=LEAST_BANDWIDTH)
    within_x, within_y, across = (kernels(d, bandwidth, config) for d in (xx_NN, yy_MM, xy_NM))
    mean = torch.mean if config.variant == "deepda" else _mean_off_diagonal
    return mean(within_x) + mean(within_y) - 2 * across.mean()


def kernels(squared_NM: torch.Tensor, bandwidth: torch.Tensor, config: MMDConfig) -> torch.Tensor:
    """Sum of the kernels at squared distances."""
    exponents = range(-(config.num_kernels // 2), config.num_kernels - config.num_kernels // 2)
    widths = [bandwidth * config.kernel_factor**exponent for exponent in exponents]
    return torch.stack([torch.exp(-squared_NM / width) for width in widths]).sum(dim=0)


def subset(x_ND: torch.Tensor, max_samples: int, generator: torch.Generator | None) -> torch.Tensor:
    """At most `max_samples` steps: drawn without replacement, or evenly spaced where there is no generator."""
    if len(x_ND) <= max_samples:
        return x_ND
    if generator is None:
        chosen = torch.linspace(0, len(x_ND) - 1, max_samples).round().long()
    else:
        chosen = torch.randperm(len(x_ND), generator=generator, device=generator.device)[:max_samples]
    return x_ND[chosen.to(x_ND.device)]


def _mean_off_diagonal(kernel_NN: torch.Tensor) -> torch.Tensor:
    """Unbiased mean within a set, and TLLIB's constant: for two sets of n it is the published 2 / (n - 1)."""
    num = len(kernel_NN)
    return (kernel_NN.sum() - kernel_NN.diagonal().sum()) / (num * (num - 1)) + 1 / (num - 1)
