"""Distillation on unlabelled synchronized pairs, of features (eq. 1) and of the TAS model (eq. 2).

Axes: B sequences, L padded steps, D feature width.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import nn

from sync_train.batches import Batch
from sync_train.distributed import common_generator, gather, run_share
from sync_train.fit_config import OF_PAIRS, AdapterFitConfig, StudentConfig
from sync_train.losses.config import LossConfig
from sync_train.losses.distillation import feature_distillation, tas_distillation
from sync_train.losses.grl import reversal_factor
from sync_train.losses.levels import LevelLoss
from sync_train.losses.random_frames import shuffle_steps
from sync_train.models.c2f_tcn import HIDDEN, LEVELS, Outputs
from sync_train.models.segmenter import Segmenter
from sync_train.pair_batches import PairBatches

MeanOver = Literal["steps", "sequences"]


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
        for teacher, student in self._train.epoch(epoch):
            yield {"loss": self._loss(teacher, student)}

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """See `Task`: the score is minus the loss on held-out pairs."""
        assert self._held_out is not None
        self.module.eval()
        return _held_out_score(self._held_out, self._loss, by="steps")

    def _loss(self, teacher: Batch, student: Batch) -> torch.Tensor:
        adapted_BLD = gather(run_share(self.module.features, student), student)
        return feature_distillation(adapted_BLD, self.module.standardizer(teacher.rows_BLD), student.valid_BL)


class TASDistillationTask:
    """Eq. 2: a student imitates the frozen teacher; or, in its place, what Table 3 compares with."""

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
            config: Levels, rates, loss.
        """
        self.module: nn.Module = student
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
        self._level_loss: LevelLoss | None = None
        if config.loss != "mse":
            self._level_loss = _level_loss(student, config)
            if parameters := list(self._level_loss.parameters()):
                adam.add_param_group({"params": parameters, "lr": config.learning_rate})
                self.module = nn.ModuleList([student, self._level_loss])
        self._student = student
        self._teacher = teacher.eval().requires_grad_(False)
        self._train = train
        self._held_out = held_out
        self._config = config
        self._reversal_factor = 0.0
        self._generator = torch.default_generator

    def losses(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        """See `Task`."""
        if self._config.freeze_batch_norm:
            for layer in self._student.modules():
                if isinstance(layer, nn.BatchNorm1d):
                    layer.eval()
        self._generator = common_generator()
        num_batches = self._train.num_batches(epoch)
        for number, (teacher, student) in enumerate(self._train.epoch(epoch)):
            self._reversal_factor = reversal_factor(
                self._config.grl,
                step=epoch * num_batches + number,
                num_steps=self._config.max_epochs * num_batches,
            )
            yield {"loss": self._loss(teacher, student)}

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """See `Task`: the score is minus the loss on held-out pairs, unless another was asked for."""
        assert self._held_out is not None
        self.module.eval()
        if not isinstance(self._held_out, PairBatches):
            return self._held_out(self._student)
        return _held_out_score(self._held_out, self._loss, by=_mean_over(self._config))

    def _loss(self, teacher: Batch, student: Batch) -> torch.Tensor:
        with torch.no_grad():
            wanted = self._matched(self._teacher, teacher)
        found = self._matched(self._student, student)
        if self._config.pairing == "random-frames":
            # seeded by the loop for each epoch; in validation always the same, so that equal models score the same
            generator = self._generator if self._student.training else torch.Generator().manual_seed(0)
            wanted = shuffle_steps(wanted, teacher.valid_BL, generator)
        if self._level_loss is not None:
            loss: torch.Tensor = self._level_loss(
                found,
                wanted,
                student.valid_BL,
                teacher.valid_BL,
                # as above; MMD needs none to be the same each time
                generator=self._generator if self._student.training else None,
                factor=self._reversal_factor,
            )
            return loss
        return tas_distillation(
            found,
            wanted,
            student.valid_BL,
            levels=self._config.levels,
            reduction=self._config.reduction,
        )

    def _matched(self, model: Segmenter, batch: Batch) -> dict[str, torch.Tensor]:
        outputs: Outputs = run_share(model, batch)
        levels = outputs.logits if self._config.match == "logits" else outputs.representations
        return {name: gather(x, batch) for name, x in levels.items()}


def _level_loss(student: Segmenter, config: StudentConfig) -> LevelLoss:
    """A comparator's loss; its discriminators, if it has any, begin with what torch's seed decides."""
    width = student.c2f_tcn.num_classes if config.match == "logits" else HIDDEN
    loss_config: LossConfig = getattr(config, config.loss)
    return LevelLoss(loss_config, levels=config.levels, widths=dict.fromkeys(LEVELS, width)).to(
        student.device
    )


def _mean_over(config: StudentConfig) -> MeanOver:
    """What a batch's loss is a mean over; MMD's and CORAL's is none, and weighs by what its sets hold."""
    if config.loss == "mse":
        return "steps" if config.reduction == "mean" else "sequences"
    return "sequences" if config.loss in OF_PAIRS else "steps"


def _held_out_score(
    held_out: PairBatches, loss: Callable[[Batch, Batch], torch.Tensor], *, by: MeanOver
) -> dict[str, float]:
    """Mean loss of the batches, each weighted by what its own loss is a mean over."""
    total, weights = 0.0, 0
    for teacher, student in held_out.epoch(0):
        weight = int(student.valid_BL.sum()) if by == "steps" else len(student.valid_BL)
        total += loss(teacher, student).item() * weight
        weights += weight
    return {"held_out_loss": total / weights, "score": -total / weights}
