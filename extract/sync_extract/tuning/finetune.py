"""Fine-tuning of TSM: clips of labelled actions, one class each.

Axes: N clips, S = 8 segments, M = N * S frames, D feature width, K classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from sync_extract.backbones.base import Placement
from sync_extract.backbones.resnet_tsm import ResNetTSM
from sync_extract.backbones.tsm_checkpoint import Classifier, TsmInfo
from sync_extract.transforms import Preprocessing
from sync_extract.tuning.config import FinetuneConfig
from sync_extract.tuning.frames import FilmFrames
from sync_extract.tuning.labels import LabeledVideos, choose_views, find_labels, views_in_words
from sync_extract.tuning.loader import Batch, Clip, ClipLoader, normalised
from sync_extract.tuning.loop import fit, mean_values
from sync_extract.tuning.optimizer import make_optimizer
from sync_extract.tuning.run import Run, Watcher, hold_out
from sync_extract.tuning.sources import Start, describe_videos, json_digest, open_start
from sync_extract.tuning.video_clips import SEGMENTS, Int64s, candidate_moments, nearest_frames, open_film
from sync_store.datasets import open_dataset
from sync_store.errors import DatasetError
from sync_store.project import Project

CLASSIFIER_STD = 1e-3
"""Of the classifier's first weights (assembly101-action-recognition, models.py)."""


class TsmClassifier(nn.Module):
    """TSM with a linear layer on each frame's feature; a clip's scores are the mean over its frames'."""

    def __init__(self, trunk: ResNetTSM, num_classes: int, *, dropout: float, seed: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(trunk.feature_dim, num_classes)
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.classifier.weight, std=CLASSIFIER_STD, generator=generator)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, frames_MChw: torch.Tensor) -> torch.Tensor:
        """Scores of clips: normalised (N * 8, 3, h, w) to (N, K)."""
        scores_MK: torch.Tensor = self.classifier(self.dropout(self.trunk(frames_MChw)))
        return scores_MK.view(-1, SEGMENTS, scores_MK.shape[1]).mean(1)


class FinetuneTask:
    """Cross-entropy on labelled clips; selection by the share of held-out clips that are classified rightly."""

    def __init__(
        self,
        module: TsmClassifier,
        learn: ClipLoader,
        held_out: ClipLoader,
        config: FinetuneConfig,
        device: torch.device,
    ) -> None:
        self.classifier = module.to(device)
        self.optimizer = make_optimizer(module, module.classifier, config)
        self._learn = learn
        self._held_out = held_out
        self._config = config
        self._device = device

    @property
    def module(self) -> nn.Module:
        """Trunk and linear layer."""
        return self.classifier

    def train(self) -> None:
        """All learns, batch norms too (`--npb`)."""
        self.classifier.train()

    def batches(self, epoch: int) -> Iterator[Batch]:
        """See `Task`."""
        return self._learn.training(epoch)

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Loss and accuracy of clips."""
        assert batch.classes_N is not None
        scores_NK = self.classifier(normalised(batch.views[0], self._learn.preprocessing, self._device))
        classes_N = batch.classes_N.to(self._device)
        accuracy = (scores_NK.argmax(dim=1) == classes_N).double().mean()
        return {"loss": F.cross_entropy(scores_NK, classes_N), "accuracy": accuracy}

    def validate(self) -> dict[str, float]:
        """Loss and accuracy of the held-out clips."""
        self.classifier.eval()
        values = mean_values(self, self._held_out.held_out(), self._config)
        return {"held_out_loss": values["loss"], "score": values["accuracy"]}


def finetune(
    project: Project, config: FinetuneConfig, name: str, *, overwrite: bool, watcher: Watcher
) -> tuple[Run, dict[str, Any]]:
    """Fine-tune a TSM as a config says, go on with it, or find it done.

    Returns:
        The training and its result.

    Raises:
        SyncError: If labels, videos or weights can't be used, or the name has another training.
    """
    device = Placement.choose(config.device, "float32").device
    labeled = find_labels(open_dataset(project), config, choose_views(project, config.views))
    learn, held_out = hold_out(list(labeled.actions), config)
    start = open_start(config, config.preset)
    run = Run.of(project, name, config, _inputs(labeled, held_out, start))
    if (done := run.claim(overwrite=overwrite)) is not None:
        return run, done
    films, classes, num_uncovered = _clips(labeled, start.preprocessing, config, run)
    run.store(list(films.values()), watcher)
    learn_clips, held_out_clips = (
        _loader(films, classes, recordings, start.preprocessing, config) for recordings in (learn, held_out)
    )
    module = TsmClassifier(start.network, len(labeled.classes), dropout=config.dropout, seed=config.seed)
    task = FinetuneTask(module, learn_clips, held_out_clips, config, device)
    fitted = fit(task, config, run.folder, on_epoch=lambda values: watcher.epoch(values, config.epochs))
    info = TsmInfo(
        trained_on=(
            *start.info.trained_on,
            f"fine-grained labels of {len(labeled.actions)} recordings of the split {config.split}, "
            f"{views_in_words(labeled.views)}",
        ),
        shift="window8",
        preset=start.preprocessing.name,
        classes=labeled.classes,
    )
    counts = {
        "recordings": len(labeled.actions),
        "held_out": held_out,
        "clips": len(learn_clips),
        "held_out_clips": len(held_out_clips),
        "uncovered_clips": num_uncovered,
    }
    layer = module.classifier
    classifier = Classifier(weight=layer.weight, bias=layer.bias)
    return run, run.finish(module.trunk, info, fitted, counts, classifier=classifier)


def _inputs(labeled: LabeledVideos, held_out: list[str], start: Start) -> dict[str, Any]:
    actions = {
        name: [(action.start_ns, action.stop_ns, action.label) for action in found]
        for name, found in labeled.actions.items()
    }
    return {
        "command": "finetune",
        "views": labeled.views,
        "recordings": list(labeled.actions),
        "held_out": held_out,
        "actions": json_digest(actions),
        "classes": json_digest(labeled.classes),
        "videos": describe_videos(labeled.videos),
        **start.inputs,
    }


def _clips(
    labeled: LabeledVideos, preprocessing: Preprocessing, config: FinetuneConfig, run: Run
) -> tuple[dict[tuple[str, str], FilmFrames], dict[tuple[str, str], Int64s], int]:
    """Clips and their classes by recording and view, and how many actions a view didn't film."""
    class_ids = {label: number for number, label in enumerate(labeled.classes)}
    films, classes, num_uncovered = {}, {}, 0
    for (recording, view), source in labeled.videos.items():
        film = open_film(source)
        actions = labeled.actions[recording]
        moments = candidate_moments(
            np.array([action.start_ns for action in actions], np.int64),
            np.array([action.stop_ns for action in actions], np.int64),
            config.moments_per_segment,
        )
        frames, is_covered = nearest_frames(film, moments)
        num_uncovered += int(np.count_nonzero(~is_covered))
        if not is_covered.any():
            continue
        films[recording, view] = FilmFrames(
            path=run.frames_path(source),
            film=film,
            preprocessing=preprocessing,
            frames_NSC=frames[is_covered],
        )
        ids = np.array([class_ids[action.label] for action in actions], np.int64)
        classes[recording, view] = ids[is_covered]
    return films, classes, num_uncovered


def _loader(
    films: Mapping[tuple[str, str], FilmFrames],
    classes: Mapping[tuple[str, str], Int64s],
    recordings: Sequence[str],
    preprocessing: Preprocessing,
    config: FinetuneConfig,
) -> ClipLoader:
    chosen = set(recordings)
    keys = [key for key in films if key[0] in chosen]
    clips: list[Clip] = [(films[key], clip) for key in keys for clip in range(len(classes[key]))]
    if recordings and not clips:
        raise DatasetError(
            f"no action of {', '.join(recordings[:5])} lies within its videos. Check offset_seconds and clock"
        )
    return ClipLoader(
        views=(clips,),
        classes=np.concatenate([classes[key] for key in keys]) if keys else np.empty(0, np.int64),
        preprocessing=preprocessing,
        augment=True,
        batch_size=config.batch_size,
        seed=config.seed,
        workers=config.workers,
    )
