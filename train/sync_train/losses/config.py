"""Settings of the losses that the paper compares with (Table 3): sections below [train.student] of sync.toml.

The paper states no kernel, weight or temperature of any of them; each default is a published implementation's.
DeepDA is jindongwang/transferlearning's code/DeepDA, TLLIB thuml/Transfer-Learning-Library, TCC google-research's
tcc, VideoAlignment hadjisma/VideoAlignment.
"""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What they share."""

    weight: float = 1.0
    """Of the loss, which is the student's only one. TLLIB's trade-off. Adam undoes it, its weight decay aside."""

    def __post_init__(self) -> None:
        _check_positive(self, "weight")


@dataclass(frozen=True, kw_only=True)
class MMDConfig(LossConfig):
    """Maximum mean discrepancy between the valid steps of both views."""

    variant: Literal["deepda", "dan", "linear"] = "deepda"
    """Several radial kernels and the biased estimate (DeepDA mmd.py); the unbiased one (DAN in TLLIB dan.py); or
    the squared distance of the means (DeepDA's linear)."""
    num_kernels: int = 5
    """DeepDA, TLLIB."""
    kernel_factor: float = 2.0
    """From one bandwidth to the next; the middle one is the mean squared distance. DeepDA, TLLIB."""
    max_samples: int = 1024
    """Steps of a view that enter, drawn anew each time, since memory grows with their square. Ours."""

    def __post_init__(self) -> None:
        LossConfig.__post_init__(self)
        _check_positive(self, "kernel_factor")
        if self.num_kernels < 1:
            raise ValueError(f"num_kernels must be at least 1, got {self.num_kernels}")
        if self.max_samples < 2:
            raise ValueError(f"max_samples must be at least 2, got {self.max_samples}")


@dataclass(frozen=True, kw_only=True)
class CoralConfig(LossConfig):
    """Distance of the covariances of the valid steps of both views."""

    variant: Literal["deep-coral", "tllib"] = "deep-coral"
    """Deep CORAL, eq. 1 (DeepDA coral.py), or four times that with the distance of the means (TLLIB coral.py)."""


@dataclass(frozen=True, kw_only=True)
class GRLConfig(LossConfig):
    """A discriminator of the views behind a gradient reversal, one for each level."""

    schedule: Literal["ganin", "warm-start", "constant"] = "ganin"
    """How the reversed gradient grows: over the whole fit (Ganin and Lempitsky 2015), over `warm_steps`
    (TLLIB grl.py), or not at all. It hardly matters: the student has no other gradient, and Adam divides its size out.
    Only near 0, as "ganin" and "warm-start" begin, weight decay outweighs it."""
    gamma: float = 10.0
    """Steepness of "ganin". Ganin and Lempitsky 2015, section 5."""
    warm_alpha: float = 1.0
    """Steepness of "warm-start". TLLIB dann.py."""
    warm_steps: int = 1000
    """Steps of the optimizer at which "warm-start" reaches `warm_alpha`. TLLIB grl.py. Counted as the epoch's number
    times its own batches, plus the batch's number, both from 0: where epochs differ in how many batches they have, as
    with random pairs or zoom, the count jumps from one to the next."""
    max_lambda: float = 1.0
    """Factor of the reversed gradient at the end; of "constant", always. Ganin and Lempitsky 2015, TLLIB. Its size
    hardly matters, as that of `weight`: see `schedule`."""
    hidden_dim: int = 1024
    """Of the discriminators. TLLIB dann.py."""

    def __post_init__(self) -> None:
        LossConfig.__post_init__(self)
        _check_positive(self, "gamma", "warm_alpha", "max_lambda")
        for name in ("warm_steps", "hidden_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class TCCConfig(LossConfig):
    """Temporal cycle consistency."""

    variant: Literal["classification", "mse", "mse-var", "huber"] = "classification"
    """What is asked of the step where the cycle ends. Paper, section 4: classification; TCC's own default is its
    regression_mse_var."""
    temperature: float = 0.1
    """TCC config.py."""
    label_smoothing: float = 0.1
    """Of "classification". TCC config.py."""
    variance_weight: float = 0.001
    """Of "mse-var": weight of the logarithm of the variance. TCC config.py."""
    variance_floor: float = 1e-6
    """Of "mse-var": smaller variances count as this one, since TCC's own loss can reach log 0. Ours."""
    huber_delta: float = 0.1
    """Of "huber": where it turns from a parabola to a line, in lengths of the sequence. TCC config.py."""
    normalize: bool = False
    """Bring each step to unit length first. TCC config.py: off."""

    def __post_init__(self) -> None:
        LossConfig.__post_init__(self)
        _check_positive(self, "temperature", "variance_floor", "huber_delta")
        _check_share(self, "label_smoothing")
        _check_not_negative(self, "variance_weight")


@dataclass(frozen=True, kw_only=True)
class SDTWConfig(LossConfig):
    """Smooth dynamic time warping with a contrastive cost."""

    recurrence: Literal["prob", "min-gamma"] = "prob"
    """How the best of three ways is smoothed: their mean weighted by a softmax, or a soft minimum.
    VideoAlignment smoothDTW.py: dtw_prob, its default, and dtw_minGamma."""
    smooth_gamma: float = 0.1
    """Temperature of the recurrence. VideoAlignment config.py."""
    contrast_gamma: float = 0.1
    """Temperature of the cost's softmax. VideoAlignment config.py."""
    consistency: bool = True
    """Ask that the way there and back ends where it began (VideoAlignment: REVCONS, on by default). Without, the
    alignment costs alone are minimised."""
    alignment_weight: float = 0.1
    """Of each direction's alignment cost. VideoAlignment smoothDTW.py."""
    label_smoothing: float = 0.1
    """Of the consistency. VideoAlignment config.py."""

    def __post_init__(self) -> None:
        LossConfig.__post_init__(self)
        _check_positive(self, "smooth_gamma", "contrast_gamma")
        _check_share(self, "label_smoothing")
        _check_not_negative(self, "alignment_weight")
        if not self.consistency and not self.alignment_weight:
            raise ValueError(
                "alignment_weight must be above 0 where consistency is off: nothing else is left"
            )


def _check_positive(config: LossConfig, *names: str) -> None:
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(f"{name} must be above 0, got {getattr(config, name)}")


def _check_not_negative(config: LossConfig, name: str) -> None:
    if not 0 <= getattr(config, name) < math.inf:
        raise ValueError(f"{name} must be at least 0, got {getattr(config, name)}")


def _check_share(config: LossConfig, name: str) -> None:
    if not 0 <= getattr(config, name) < 1:
        raise ValueError(f"{name} must lie from 0 to below 1, got {getattr(config, name)}")
