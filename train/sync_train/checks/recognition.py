"""Action recognition: a perceptron on averaged segments (paper, supplement K, Table 5).

Axes: S segments, D feature width, K classes.
"""

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sync_train.checks.config import RecognitionConfig
from sync_train.checks.segments import SegmentSet
from sync_train.loop import fit
from sync_train.selection import hold_out
from sync_train.stage import Watcher

UNKNOWN = -1
"""Id of a class that isn't learnt: a segment of it is never right."""


class MLP(nn.Sequential):
    """Hidden layers with ReLU and dropout, and a linear one on top: (S, D) to logits (S, K)."""

    def __init__(self, feature_dim: int, num_classes: int, config: RecognitionConfig) -> None:
        layers: list[nn.Module] = []
        width = feature_dim
        for _ in range(config.num_layers):
            layers += [nn.Linear(width, config.hidden_dim), nn.ReLU(), nn.Dropout(config.dropout)]
            width = config.hidden_dim
        super().__init__(*layers, nn.Linear(width, num_classes))


class RecognitionTask:
    """Cross-entropy over segments."""

    def __init__(
        self,
        module: MLP,
        segments: SegmentSet,
        held_out: SegmentSet | None,
        classes: Sequence[str],
        config: RecognitionConfig,
        *,
        seed: int,
    ) -> None:
        """Set up a fit.

        Args:
            module: On the device of the segments.
            segments: What is learnt from.
            held_out: What an epoch is selected on; None where the last one is kept.
            classes: K names; each segment to learn from has one of them.
            config: Rates and sizes.
            seed: Decides the order of the segments.
        """
        self.module = module
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(
                module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
            )
        ]
        self._segments = segments
        self._held_out = held_out
        self._classes = classes
        self._class_S = class_ids(segments, classes)
        self._batch_size = config.batch_size
        self._seed = seed

    def losses(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        """See `Task`."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._segments))
        for start in range(0, len(order), self._batch_size):
            numbers = torch.from_numpy(order[start : start + self._batch_size])
            logits_SK = self.module(self._segments.features_SD[numbers])
            yield {"loss": F.cross_entropy(logits_SK, self._class_S[numbers])}

    def validate(self) -> dict[str, float]:
        """See `Task`. The loss selects: few segments are held out, and many epochs have the same accuracy on them."""
        held_out = self._held_out
        assert held_out is not None
        class_S = class_ids(held_out, self._classes)
        with torch.inference_mode():
            logits_SK = self.module.eval()(held_out.features_SD)
            loss = F.cross_entropy(logits_SK, class_S).item()
        accuracy, balanced = accuracies(logits_SK.argmax(dim=1), class_S)
        return {"accuracy": accuracy, "balanced_accuracy": balanced, "held_out_loss": loss, "score": -loss}


def train_mlp(
    segments: SegmentSet,
    classes: Sequence[str],
    config: RecognitionConfig,
    folder: Path,
    *,
    seed: int,
    watcher: Watcher,
) -> MLP:
    """Train on labelled segments, always from the beginning: it takes seconds.

    Args:
        segments: Of the training recordings, some of which are held out where the config says so.
        classes: What is learnt.
        config: Sizes and rates.
        folder: Gets the journal; what is there is deleted.
        seed: Decides weights, order and what is held out.
        watcher: Told how far it is.

    Raises:
        TrainingError: If one recording alone is to be divided, or the loss isn't a number any more.
    """
    learn, held_out = segments, None
    if config.selection == "held-out":
        names, held_out_names = hold_out(list(dict.fromkeys(segments.recordings)), config.held_out, seed)
        learn, held_out = segments.of_recordings(names), segments.of_recordings(held_out_names)
    device = segments.features_SD.device
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        mlp = MLP(segments.features_SD.shape[1], len(classes), config).to(device)
    task = RecognitionTask(mlp, learn, held_out, classes, config, seed=seed)
    shutil.rmtree(folder, ignore_errors=True)
    watcher.started(f"recognition {folder.name}", seed, config.max_epochs)
    result = fit(task, config, folder, seed=seed, checkpoint_seconds=math.inf, on_epoch=watcher.epoch)
    watcher.finished(asdict(result), again=False)
    return mlp


def score_recognition(mlp: MLP, segments: SegmentSet, classes: Sequence[str]) -> dict[str, float]:
    """Accuracy over segments, and its mean over the classes that have some, in percent."""
    with torch.inference_mode():
        predicted_S = mlp.eval()(segments.features_SD).argmax(dim=1)
    accuracy, balanced = accuracies(predicted_S, class_ids(segments, classes))
    return {"accuracy": accuracy, "balanced_accuracy": balanced}


def score_guess(classes: Sequence[str]) -> Mapping[str, float]:
    """What a class drawn uniformly for each segment has on average: Table 5's "Random", 0.5 % of 202 classes."""
    return {"accuracy": 100 / len(classes), "balanced_accuracy": 100 / len(classes)}


def class_ids(segments: SegmentSet, classes: Sequence[str]) -> torch.Tensor:
    """Class of each segment: int64 (S,), `UNKNOWN` where it isn't learnt."""
    ids = {name: number for number, name in enumerate(classes)}
    return torch.tensor(
        [ids.get(label, UNKNOWN) for label in segments.labels], device=segments.features_SD.device
    )


def accuracies(predicted_S: torch.Tensor, true_S: torch.Tensor) -> tuple[float, float]:
    """Share of right segments, and the mean over the true classes of the share in each, in percent."""
    right_S = (predicted_S == true_S).double()
    of_classes = [right_S[true_S == number].mean().item() for number in sorted({*true_S.tolist()})]
    return 100 * right_S.mean().item(), 100 * sum(of_classes) / len(of_classes)
