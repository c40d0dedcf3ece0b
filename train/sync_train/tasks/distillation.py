"""Distillation on unlabelled synchronized pairs, of features (eq. 1) and of the TAS model (eq. 2).

Axes: B sequences, L padded steps, D feature width.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import nn

from sync_train.batches import Batch, Draw, Windowing, draw_batches, split_windows, stack
from sync_train.config import AdapterFitConfig, FitConfig, StudentConfig
from sync_train.losses.distillation import feature_distillation, tas_distillation
from sync_train.models.segmenter import Segmenter
from sync_train.pooling import pool_rows
from sync_train.sequences import Pair


class PairBatches:
    """Windows of pairs, exo and ego pooled over the same bins: one draw serves both."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        config: FitConfig,
        windowing: Windowing,
        *,
        zoom: bool,
        seed: int,
        device: torch.device,
    ) -> None:
        self._pairs = pairs
        self._batch_size = config.batch_size
        self._windowing = windowing
        self._zoom = zoom
        self._seed = seed
        self._device = device
        self._windows = split_windows([len(pair.exo_PD) for pair in pairs], windowing.window_rows)

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, Batch]]:
        """Exo and ego batches of one epoch, shuffled and zoomed."""
        for draw in draw_batches(
            self._windows,
            self._windowing,
            zoom=self._zoom,
            batch_size=self._batch_size,
            seed=self._seed,
            epoch=epoch,
        ):
            yield self._stack(draw)

    def _stack(self, draw: Draw) -> tuple[Batch, Batch]:
        exo, ego = [], []
        for window, size in zip(draw.windows, draw.chunk_rows, strict=True):
            pair, part = self._pairs[window.index], slice(window.start, window.stop)
            exo.append(pool_rows(pair.exo_PD[part].to(self._device), size))
            ego.append(pool_rows(pair.ego_PD[part].to(self._device), size))
        return stack(exo, draw.steps, self._device), stack(ego, draw.steps, self._device)


class FeatureDistillationTask:
    """Eq. 1: an adapter learns to turn ego features into the exo features of the same moments."""

    def __init__(
        self, model: Segmenter, train: PairBatches, held_out: PairBatches | None, config: AdapterFitConfig
    ) -> None:
        """Set up a fit of the model's adapter; the rest of the model stays as it is."""
        assert model.adapter is not None
        self.module = model
        kind = torch.optim.SGD if config.optimizer == "sgd" else torch.optim.Adam
        self.optimizers: list[torch.optim.Optimizer] = [
            kind(
                model.adapter.parameters(),
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                fused=True,
            )
        ]
        self._train = train
        self._held_out = held_out

    def losses(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        """See `Task`."""
        for exo, ego in self._train.epoch(epoch):
            yield {"loss": self._loss(exo, ego)}

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """See `Task`: the score is minus the loss on held-out pairs."""
        assert self._held_out is not None
        self.module.eval()
        return _held_out_score(self._held_out, self._loss, by="steps")

    def _loss(self, exo: Batch, ego: Batch) -> torch.Tensor:
        adapted_BLD = self.module.features(ego.rows_BLD, ego.valid_BL)
        return feature_distillation(adapted_BLD, self.module.standardizer(exo.rows_BLD), ego.valid_BL)


class TASDistillationTask:
    """Eq. 2: a student on ego features imitates the frozen teacher on the exo features of the same moments."""

    def __init__(
        self,
        student: Segmenter,
        teacher: Segmenter,
        train: PairBatches,
        held_out: PairBatches | Callable[[Segmenter], dict[str, float]] | None,
        config: StudentConfig,
    ) -> None:
        """Set up a fit.

        Args:
            student: Begins as a copy of the teacher, with an adapter or without.
            teacher: Frozen here.
            train: Pairs to learn from.
            held_out: Pairs to select on, or a score of the model (the published protocol's), or nothing where
                the last epoch is kept.
            config: Levels, rates, reduction.
        """
        self.module = student
        adam = torch.optim.Adam(
            student.c2f_tcn.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.optimizers: list[torch.optim.Optimizer] = [adam]
        if student.adapter is not None:
            adam.add_param_group(
                {"params": list(student.adapter.parameters()), "lr": config.adapter_learning_rate}
            )
        self._teacher = teacher.eval().requires_grad_(False)
        self._train = train
        self._held_out = held_out
        self._config = config

    def losses(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        """See `Task`."""
        if self._config.freeze_batch_norm:
            for layer in self.module.modules():
                if isinstance(layer, nn.BatchNorm1d):
                    layer.eval()
        for exo, ego in self._train.epoch(epoch):
            yield {"loss": self._loss(exo, ego)}

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """See `Task`: the score is minus the loss on held-out pairs, unless another was asked for."""
        assert self._held_out is not None
        self.module.eval()
        if not isinstance(self._held_out, PairBatches):
            return self._held_out(self.module)
        by: Literal["steps", "sequences"] = "steps" if self._config.reduction == "mean" else "sequences"
        return _held_out_score(self._held_out, self._loss, by=by)

    def _loss(self, exo: Batch, ego: Batch) -> torch.Tensor:
        with torch.no_grad():
            wanted = self._teacher(exo.rows_BLD, exo.valid_BL)
        found = self.module(ego.rows_BLD, ego.valid_BL)
        logits = self._config.match == "logits"
        return tas_distillation(
            found.logits if logits else found.representations,
            wanted.logits if logits else wanted.representations,
            ego.valid_BL,
            levels=self._config.levels,
            reduction=self._config.reduction,
        )


def _held_out_score(
    held_out: PairBatches, loss: Callable[[Batch, Batch], torch.Tensor], *, by: Literal["steps", "sequences"]
) -> dict[str, float]:
    """Mean loss of the batches, each weighted by what its own loss is a mean over."""
    total, weights = 0.0, 0
    for exo, ego in held_out.epoch(0):
        weight = int(ego.valid_BL.sum()) if by == "steps" else len(ego.valid_BL)
        total += loss(exo, ego).item() * weight
        weights += weight
    return {"held_out_loss": total / weights, "score": -total / weights}
