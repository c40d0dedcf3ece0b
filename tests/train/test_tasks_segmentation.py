"""Supervised training of the network. Axes: T rows, B sequences, L padded steps, D feature width, K classes."""

from typing import Any

import numpy as np
import pytest
import torch

from sync_store.errors import TrainingError
from sync_train.batches import Windowing, stack
from sync_train.ensemble import ensemble_probabilities
from sync_train.fit_config import TeacherConfig
from sync_train.losses.segmentation import cross_entropy, smoothing
from sync_train.models.c2f_tcn import C2FTCN
from sync_train.models.segmenter import Segmenter, Standardizer
from sync_train.sequences import IGNORE, Labeled, Recording
from sync_train.tasks.segmentation import SegmentationTask

WINDOWING = Windowing(chunk_rows=4, max_chunks=25)


def make_model() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(Standardizer(4), C2FTCN(feature_dim=4, num_classes=3))


def make_labeled(length: int, *, unlabeled: slice = slice(0, 0), seed: int = 0) -> Labeled:
    generator = torch.Generator().manual_seed(seed)
    classes_T = torch.randint(3, (length // 10 + 1,), generator=generator).repeat_interleave(10)[:length]
    classes_T[unlabeled] = IGNORE
    rows_TD = torch.randn(length, 4, generator=generator).half()
    times = np.arange(length, dtype=np.int64)
    recording = Recording(name=f"r{seed}", rows_TD=rows_TD, timestamps=times)
    return Labeled(recording=recording, classes_T=classes_T)


def make_task(recordings: list[Labeled], **config: Any) -> SegmentationTask:
    model, settings = make_model(), TeacherConfig(**config)
    return SegmentationTask(model, recordings, settings, WINDOWING, seed=0, score=None)


def test_the_loss_is_cross_entropy_and_weighted_smoothing_of_the_ensemble() -> None:
    labeled = make_labeled(90, unlabeled=slice(10, 30))
    task = make_task([labeled], zoom=False, smoothing=0.5)
    (losses,) = task.losses(0)
    chunks = [slice(start, start + 4) for start in range(0, 90, 4)]
    rows_CD = torch.stack([labeled.recording.rows_TD[chunk].amax(0) for chunk in chunks])
    votes = [labeled.classes_T[chunk] for chunk in chunks]
    classes_C = torch.tensor(
        [v[v >= 0].bincount(minlength=3).argmax().item() if (v >= 0).any() else IGNORE for v in votes]
    )
    batch = stack([rows_CD], 384, torch.device("cpu"), [classes_C])
    assert batch.classes_BL is not None
    with torch.no_grad():
        logits = make_model().train()(batch.rows_BLD, batch.valid_BL).logits
    probabilities = ensemble_probabilities(logits)
    entropy = cross_entropy(probabilities, batch.classes_BL)
    flicker = 0.5 * smoothing(probabilities, batch.valid_BL)
    torch.testing.assert_close(losses["cross_entropy"].detach(), entropy)
    torch.testing.assert_close(losses["smoothing"].detach(), flicker)
    torch.testing.assert_close(losses["loss"].detach(), entropy + flicker)


def test_every_parameter_gets_a_gradient() -> None:
    task = make_task([make_labeled(90)])
    for losses in task.losses(0):
        torch.autograd.backward(losses["loss"])
    assert [name for name, p in task.module.named_parameters() if p.grad is None] == []


def test_heads_of_levels_without_weight_learn_nothing() -> None:
    """Weights as in C2F-TCN's own repository: the heads of y1 and y2 have no part in the loss."""
    task = make_task([make_labeled(90)], zoom=False)
    task.module.ensemble_weights = (1.0, 1.0, 1.0, 1.0, 0.0, 0.0)
    (losses,) = task.losses(0)
    torch.autograd.backward(losses["loss"])
    network = task.module.c2f_tcn
    heads = [network.outcc0, network.outcc1, network.outcc2, network.outcc3, network.outcc4, network.outcc]
    learns = [any(p.grad is not None and bool(p.grad.any()) for p in head.parameters()) for head in heads]
    assert learns == [False, False, True, True, True, True]


def test_a_window_without_labels_is_left_out() -> None:
    """Alone in its batch, its mean loss over no step would be NaN, and the whole network with it."""
    recordings = [make_labeled(250, unlabeled=slice(90, 250)), make_labeled(40, seed=1)]
    losses = list(make_task(recordings, batch_size=1).losses(0))
    assert len(losses) == 2
    assert all(torch.isfinite(values["loss"]) for values in losses)


def test_labels_at_other_times_than_features_are_an_error() -> None:
    recordings = [make_labeled(50, unlabeled=slice(0, 50)), make_labeled(30, unlabeled=slice(0, 30))]
    with pytest.raises(TrainingError, match="none of the 2 recordings to learn from has a row with a label"):
        make_task(recordings)


def test_epochs_differ_and_repeat() -> None:
    recordings = [make_labeled(length, seed=length) for length in (90, 150, 60)]
    losses = [
        [values["loss"].item() for values in make_task(recordings, batch_size=2).losses(epoch)]
        for epoch in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]
