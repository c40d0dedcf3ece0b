"""Squared Euclidean distances between the rows of two arrays. Axes: N and M rows, D width."""

import torch


def squared_distances(x_ND: torch.Tensor, y_MD: torch.Tensor) -> torch.Tensor:
    """(..., N, M) by one product of matrices, which needs no array of N * M * D; never below 0."""
    norms_N1 = x_ND.square().sum(dim=-1)[..., :, None]
    norms_1M = y_MD.square().sum(dim=-1)[..., None, :]
    return (norms_N1 + norms_1M - 2 * x_ND @ y_MD.mT).clamp(min=0)
