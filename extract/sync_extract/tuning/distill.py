"""Feature distillation of TSM (eq. 1), without labels.

A student on ego clips imitates its frozen teacher on the exo clips of the same moments.

Axes: N clips, S = 8 segments, M = N * S frames, D feature width.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sync_extract.backbones.base import Placement
from sync_extract.backbones.resnet_tsm import ResNetTSM
from sync_extract.backbones.tsm_checkpoint import TsmInfo
from sync_extract.transforms import Preprocessing
from sync_extract.tuning.config import DistillConfig
from sync_extract.tuning.frames import FilmFrames
from sync_extract.tuning.loader import Batch, Clip, ClipLoader, normalised
from sync_extract.tuning.loop import fit, mean_values
from sync_extract.tuning.optimizer import make_optimizer
from sync_extract.tuning.run import Run, Watcher, hold_out
from sync_extract.tuning.sources import describe_videos, find_videos, open_start
from sync_extract.tuning.video_clips import candidate_moments, nearest_frames, open_film, tile
from sync_store.datasets import VideoSource, open_dataset
from sync_store.errors import AlignmentError, DatasetError
from sync_store.project import Project

NS_PER_SECOND = 1_000_000_000

Pair = tuple[FilmFrames, FilmFrames]
"""Exo and ego pictures; clip n of both shows the same moments."""


class DistillTask:
    """Squared distance between the student's and the teacher's features of each frame.

    An epoch is selected by that of held-out pairs, with the student in evaluation mode.
    """

    def __init__(
        self,
        student: ResNetTSM,
        learn: ClipLoader,
        held_out: ClipLoader,
        config: DistillConfig,
        device: torch.device,
    ) -> None:
        self.student = student.to(device)
        self.optimizer = make_optimizer(student, None, config)
        self._teacher = copy.deepcopy(student).eval().requires_grad_(False)
        self._learn = learn
        self._held_out = held_out
        self._config = config
        self._device = device

    @property
    def module(self) -> nn.Module:
        """The student."""
        return self.student

    def train(self) -> None:
        """The student learns, its batch statistics unless they are frozen; the teacher stays as it is."""
        self.student.train()
        if self._config.freeze_batch_norm:
            for part in self.student.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()

    def batches(self, epoch: int) -> Iterator[Batch]:
        """See `Task`."""
        return self._learn.training(epoch)

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Eq. 1 of clips."""
        exo, ego = (normalised(view, self._learn.preprocessing, self._device) for view in batch.views)
        with torch.no_grad():
            exo_MD = self._teacher(exo)
        return {"loss": feature_distillation(self.student(ego), exo_MD, self._config.reduction)}

    def validate(self) -> dict[str, float]:
        """Loss of the held-out pairs."""
        self.student.eval()
        loss = mean_values(self, self._held_out.held_out(), self._config)["loss"]
        return {"held_out_loss": loss, "score": -loss}


def feature_distillation(student_MD: torch.Tensor, teacher_MD: torch.Tensor, reduction: str) -> torch.Tensor:
    """Mean over frames of the squared distance, over D for "mean"."""
    mean = F.mse_loss(student_MD, teacher_MD)
    return mean if reduction == "mean" else mean * student_MD.shape[1]


def distill(
    project: Project, config: DistillConfig, name: str, *, overwrite: bool, watcher: Watcher
) -> tuple[Run, dict[str, Any]]:
    """Distill a TSM as a config says, go on with it, or find it done.

    Returns:
        The training and its result.

    Raises:
        SyncError: If videos or weights can't be used, or the name has another training.
    """
    device = Placement.choose(config.device, "float32").device
    exo, ego = choose_pair(project, config)
    dataset = open_dataset(project)
    recordings = dataset.split(config.split)
    videos = find_videos(dataset, recordings, (exo, ego))
    paired = [name for name in recordings if (name, exo) in videos and (name, ego) in videos]
    if not paired:
        raise DatasetError(
            f"split {config.split}: none of its {len(recordings)} recordings has videos of both {exo} and {ego}"
        )
    learn, held_out = hold_out(paired, config)
    start = open_start(config, config.preset)
    inputs = {
        "command": "distill",
        "views": [exo, ego],
        "held_out": held_out,
        "videos": describe_videos(
            {(name, view): videos[name, view] for name in paired for view in (exo, ego)}
        ),
        **start.inputs,
    }
    run = Run.of(project, name, config, inputs)
    if (done := run.claim(overwrite=overwrite)) is not None:
        return run, done
    pairs = {
        name: make_pair((videos[name, exo], videos[name, ego]), start.preprocessing, config, run)
        for name in paired
    }
    run.store([film for pair in pairs.values() for film in pair], watcher)
    learn_clips, held_out_clips = (
        _loader(pairs, names, start.preprocessing, config) for names in (learn, held_out)
    )
    task = DistillTask(start.network, learn_clips, held_out_clips, config, device)
    before = task.validate() if held_out else {}
    fitted = fit(task, config, run.folder, on_epoch=lambda values: watcher.epoch(values, config.epochs))
    info = TsmInfo(
        trained_on=(
            *start.info.trained_on,
            f"synchronized pairs {exo}-{ego} of {len(paired)} recordings of the split {config.split}, no labels",
        ),
        shift="window8",
        preset=start.preprocessing.name,
    )
    counts = {
        "recordings": len(paired),
        "held_out": held_out,
        "clips": len(learn_clips),
        "held_out_clips": len(held_out_clips),
        "held_out_loss_before": before.get("held_out_loss"),
    }
    return run, run.finish(start.network, info, fitted, counts)


def choose_pair(project: Project, config: DistillConfig) -> tuple[str, str]:
    """The two views, by default the first of each kind."""
    names = []
    for kind, asked in (("exo", config.exo), ("ego", config.ego)):
        if asked is None and not project.views_of_kind(kind):
            raise DatasetError(f"{project.file}: has no {kind} view; distillation needs one of each kind")
        names.append(asked if asked is not None else project.views_of_kind(kind)[0])
        project.view(names[-1])
    if names[0] == names[1]:
        raise DatasetError(f"exo and ego are both {names[0]!r}; distillation needs two views")
    return names[0], names[1]


def make_pair(
    sources: tuple[VideoSource, VideoSource], preprocessing: Preprocessing, config: DistillConfig, run: Run
) -> Pair:
    """Clips of the time that both views cover.

    Raises:
        AlignmentError: If there isn't a single one.
    """
    films = [open_film(source) for source in sources]
    starts, stops = tile(films, round(config.window_seconds * NS_PER_SECOND))
    moments = candidate_moments(starts, stops, config.moments_per_segment)
    found = [nearest_frames(film, moments) for film in films]
    is_covered = found[0][1] & found[1][1]
    if not is_covered.any():
        spans = " and ".join(
            f"{film.source.view} from {film.start_ns / NS_PER_SECOND:.3f} to {film.stop_ns / NS_PER_SECOND:.3f} s"
            for film in films
        )
        raise AlignmentError(
            f"recording {sources[0].recording}: {spans} have no {config.window_seconds} s in common. Check "
            "offset_seconds and clock, take a smaller window_seconds, or leave the recording out of the split"
        )
    exo, ego = (
        FilmFrames(
            path=run.frames_path(film.source),
            film=film,
            preprocessing=preprocessing,
            frames_NSC=frames[is_covered],
        )
        for film, (frames, _) in zip(films, found, strict=True)
    )
    return exo, ego


def _loader(
    pairs: Mapping[str, Pair], recordings: Sequence[str], preprocessing: Preprocessing, config: DistillConfig
) -> ClipLoader:
    exo: list[Clip] = []
    ego: list[Clip] = []
    for name in recordings:
        for clips, film in zip((exo, ego), pairs[name], strict=True):
            clips += [(film, clip) for clip in range(len(film.frames_NSC))]
    return ClipLoader(
        views=(exo, ego),
        classes=None,
        preprocessing=preprocessing,
        augment=False,
        batch_size=config.batch_size,
        seed=config.seed,
        workers=config.workers,
    )
