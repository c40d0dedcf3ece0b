"""Residual transformer that moves ego features towards the exo features of the same moments.

The paper's θ (section 3.1 and supplement A): an encoder over time that translates a sequence in one pass.
Nothing of the exo view is ever an input. The published script differs; see docs/published_behaviour.md.

Axes: B sequences, T steps, D feature width.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Sizes of the adapter."""

    feature_dim: int
    """D."""
    num_layers: int = 12
    """Paper, supplement A."""
    num_heads: int = 16
    """Paper, supplement A."""
    ffn_dim: int = 1024
    """Paper, supplement A: "a number of hidden units equal to 1024"."""
    dropout: float = 0.1
    """Default of torch's transformer, which the paper's script uses."""

    def __post_init__(self) -> None:
        if self.feature_dim % self.num_heads:
            raise ValueError(
                f"the adapter's num_heads must divide the feature width {self.feature_dim}, got {self.num_heads}"
            )


class Adapter(nn.Module):
    """Sequences of features to sequences of features; starts as the identity."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        layer = nn.TransformerEncoderLayer(
            d_model=config.feature_dim,
            nhead=config.num_heads,
            dim_feedforward=config.ffn_dim,
            dropout=config.dropout,
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, config.num_layers, norm=nn.LayerNorm(config.feature_dim), enable_nested_tensor=False
        )
        self.out = nn.Linear(config.feature_dim, config.feature_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, rows_BTD: torch.Tensor, valid_BT: torch.Tensor) -> torch.Tensor:
        """Adapt sequences.

        Args:
            rows_BTD: float (B, T, D).
            valid_BT: bool (B, T), False where a sequence is padded: those steps are seen by no other and
                come out as they went in. Every sequence needs a valid step.

        Returns:
            float (B, T, D).
        """
        rows_BTD = rows_BTD.contiguous()
        x = rows_BTD + _positions(rows_BTD)
        moved: torch.Tensor = self.out(self.encoder(x, src_key_padding_mask=~valid_BT))
        return rows_BTD + moved * valid_BT[..., None]


def _positions(rows_BTD: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of the step's number, (T, D)."""
    _, num_steps, width = rows_BTD.shape
    half = (width + 1) // 2
    steps = torch.arange(num_steps, device=rows_BTD.device, dtype=torch.float32)
    rates = torch.exp(
        torch.arange(half, device=rows_BTD.device, dtype=torch.float32) * (-math.log(10_000) / half)
    )
    angles = steps[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width].to(rows_BTD.dtype)
