"""A whole segmentation model: stored features, standardised, adapted where there is an adapter, segmented.

Axes: B sequences, T steps, D feature width, K classes.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from sync_train.config import EQUAL_WEIGHTS
from sync_train.ensemble import ensemble_probabilities
from sync_train.models.adapter import Adapter
from sync_train.models.c2f_tcn import C2FTCN, LEVELS, Outputs

MIN_DEVIATION = 1e-4
"""A feature that hardly varies isn't blown up."""


class Standardizer(nn.Module):
    """Subtracts a mean and divides by a deviation; the identity until it is told otherwise."""

    mean_D: torch.Tensor
    deviation_D: torch.Tensor

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean_D", torch.zeros(feature_dim))
        self.register_buffer("deviation_D", torch.ones(feature_dim))

    def fit(self, sequences: Iterable[torch.Tensor]) -> None:
        """Take mean and deviation over all steps of sequences (C, D), in float64."""
        num_steps, total, squares = 0, torch.zeros(()), torch.zeros(())
        for sequence in sequences:
            values = sequence.double()
            num_steps += len(values)
            total, squares = total + values.sum(0).cpu(), squares + values.square().sum(0).cpu()
        mean = total / num_steps
        deviation = (squares / num_steps - mean.square()).clamp(min=0).sqrt()
        self.mean_D.copy_(mean)
        self.deviation_D.copy_(deviation.clamp(min=MIN_DEVIATION))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Standardise (…, D)."""
        return (rows - self.mean_D).div_(self.deviation_D)


class Segmenter(nn.Module):
    """Paper, section 3.1: Ψ = γ ∘ θ ∘ φ, with φ's output from the store."""

    def __init__(
        self,
        standardizer: Standardizer,
        c2f_tcn: C2FTCN,
        adapter: Adapter | None = None,
        *,
        precision: torch.dtype = torch.float32,
        ensemble_weights: Sequence[float] = EQUAL_WEIGHTS,
    ) -> None:
        """Put a model together.

        Args:
            standardizer: Acts first.
            c2f_tcn: Acts last.
            adapter: Acts between them, if there is one.
            precision: In which multiplications are done; weights, sums and results stay float32.
            ensemble_weights: Say of each of `LEVELS` in the probabilities.
        """
        super().__init__()
        self.precision = precision
        self.ensemble_weights = tuple(ensemble_weights)
        self.standardizer = standardizer
        self.adapter = adapter
        self.c2f_tcn = c2f_tcn

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.standardizer.mean_D.device

    def features(self, rows_BTD: torch.Tensor, valid_BT: torch.Tensor) -> torch.Tensor:
        """What the C2F-TCN sees: (B, T, D), zero where a sequence is padded."""
        x: torch.Tensor = self.standardizer(rows_BTD)
        if self.adapter is not None:
            with self._autocast():
                x = self.adapter(x, valid_BT).float()
        return x.mul_(valid_BT[..., None])

    def forward(self, rows_BTD: torch.Tensor, valid_BT: torch.Tensor) -> Outputs:
        """Run the model.

        Args:
            rows_BTD: float (B, T, D), as stored, pooled and padded.
            valid_BT: bool (B, T), False where a sequence is padded.
        """
        x_BDT = self.features(rows_BTD, valid_BT).transpose(1, 2)
        with self._autocast():
            outputs = self.c2f_tcn.levels(x_BDT)
        return Outputs(
            logits={name: logits.float() for name, logits in outputs.logits.items()},
            representations={name: x.float() for name, x in outputs.representations.items()},
        )

    def probabilities(self, rows_BTD: torch.Tensor, valid_BT: torch.Tensor) -> torch.Tensor:
        """Probabilities (B, K, T) of the ensemble of all levels; arguments as for a run of the model."""
        weights = dict(zip(LEVELS, self.ensemble_weights, strict=True))
        return ensemble_probabilities(self(rows_BTD, valid_BT).logits, weights)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)
