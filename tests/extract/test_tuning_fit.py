"""How TSM is fitted: groups of parameters, steps, selection, checkpoints; and that it learns."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sync_extract.backbones.resnet_tsm import ResNetTSM, random_tsm
from sync_extract.transforms import Preprocessing
from sync_extract.tuning.checkpoint import FORMAT
from sync_extract.tuning.config import DistillConfig, FinetuneConfig, TuningConfig
from sync_extract.tuning.distill import DistillTask, feature_distillation
from sync_extract.tuning.finetune import FinetuneTask, TsmClassifier
from sync_extract.tuning.frames import FilmFrames
from sync_extract.tuning.loader import Batch, ClipLoader, normalised
from sync_extract.tuning.loop import CHECKPOINT, JOURNAL, fit, mean_values, step
from sync_extract.tuning.optimizer import make_optimizer, parameter_groups, set_learning_rate
from sync_extract.tuning.video_clips import candidate_moments, nearest_frames, open_film
from sync_store.datasets import VideoSource
from sync_store.errors import TrainingError

CPU = torch.device("cpu")
SMALL = Preprocessing(name="small", resize=(32, 40), interpolation="bilinear")


def make_classifier(num_classes: int = 3, *, dropout: float = 0.0) -> TsmClassifier:
    trunk = random_tsm(width=8, shift="window8", seed=0)
    return TsmClassifier(trunk, num_classes, dropout=dropout, seed=1)


def make_batch(num_clips: int = 2, *, views: int = 1, num_classes: int = 3, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    frames = [
        torch.from_numpy(rng.integers(0, 256, (num_clips, 8, 32, 40, 3), np.uint8)) for _ in range(views)
    ]
    classes = torch.from_numpy(rng.integers(0, num_classes, num_clips))
    return Batch(views=tuple(frames), classes_N=classes if views == 1 else None)


def no_clips() -> ClipLoader:
    return ClipLoader(
        views=([],), classes=None, preprocessing=SMALL, augment=False, batch_size=1, seed=0, workers=1
    )


# The optimizer


def test_parameter_groups_are_the_recipes() -> None:
    """By the names of the weights: torchvision's batch norms are bn* and downsample.1."""
    module = make_classifier()
    module.trunk.conv1.bias = nn.Parameter(
        torch.zeros(8)
    )  # a ResNet has no bias but the classifier's and norms'
    config = FinetuneConfig(learning_rate=0.1, weight_decay=0.01)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    seen = {}
    for group in parameter_groups(module, module.classifier, config):
        for parameter in group["params"]:  # type: ignore[attr-defined]
            assert names[id(parameter)] not in seen
            seen[names[id(parameter)]] = (group["lr"], group["weight_decay"])
    assert set(seen) == set(names.values())
    for name, found in seen.items():
        if name == "classifier.weight":
            expected = (0.5, 0.01)
        elif name == "classifier.bias":
            expected = (1.0, 0.0)
        elif ".bn" in name or "downsample.1" in name:
            expected = (0.1, 0.0)
        elif name.endswith("bias"):
            expected = (0.2, 0.0)
        else:
            expected = (0.1, 0.01)
        assert found == pytest.approx(expected), name


def test_rates_fall_to_a_tenth_at_each_step() -> None:
    module = make_classifier()
    config = FinetuneConfig()
    optimizer = make_optimizer(module, module.classifier, config)
    rates = {}
    for epoch in (0, 19, 20, 39, 40, 49):
        set_learning_rate(optimizer, config, epoch)
        rates[epoch] = sorted(group["lr"] for group in optimizer.param_groups)
    first = [1e-3, 1e-3, 5e-3, 1e-2]  # weights, norms, the classifier's weight and bias
    for epoch, factor in ((0, 1.0), (19, 1.0), (20, 0.1), (39, 0.1), (40, 0.01), (49, 0.01)):
        assert rates[epoch] == pytest.approx([rate * factor for rate in first])


@pytest.mark.parametrize("clip", [20.0, 0.05])
def test_steps_equal_a_plain_loop(clip: float) -> None:
    """Cross-entropy of mean scores, the norm clipped, and SGD with momentum written out."""
    config = FinetuneConfig(learning_rate=1e-3, weight_decay=0.1, gradient_clip=clip, batch_size=2)
    module, reference = make_classifier(), make_classifier()
    reference.load_state_dict(module.state_dict())
    task = FinetuneTask(module, no_clips(), no_clips(), config, CPU)
    task.train()
    reference.train()
    weights = dict(reference.named_parameters())
    begun = {name: weight.detach().clone() for name, weight in weights.items()}
    momentum: dict[str, torch.Tensor] = {}
    for number in range(3):
        batch = make_batch(seed=number)
        step(task, batch, config, {})
        frames = SMALL(batch.views[0].flatten(0, 1))
        scores = reference.classifier(reference.trunk(frames)).reshape(2, 8, 3).mean(1)
        assert batch.classes_N is not None
        reference.zero_grad()
        (-torch.log_softmax(scores, 1)[[0, 1], batch.classes_N].mean()).backward()
        norm = math.sqrt(sum(float((w.grad**2).sum()) for w in weights.values() if w.grad is not None))
        assert (norm > clip) is (clip < 1)
        with torch.no_grad():
            for name, weight in weights.items():
                assert weight.grad is not None
                is_norm = ".bn" in name or "downsample.1" in name
                rate = {"classifier.weight": 5e-3, "classifier.bias": 1e-2}.get(name, 1e-3)
                decay = 0.0 if is_norm or name.endswith("bias") else 0.1
                gradient = weight.grad * min(1.0, clip / (norm + 1e-6)) + decay * weight
                momentum[name] = 0.9 * momentum[name] + gradient if name in momentum else gradient
                weight -= rate * momentum[name]
    for name, parameter in module.named_parameters():
        moved, expected = parameter - begun[name], weights[name] - begun[name]
        assert (moved - expected).norm() <= 1e-2 * expected.norm() + 1e-6, name


def test_several_passes_make_the_same_step() -> None:
    """Where batch norms see nothing: frozen ones."""
    batch = make_batch(5, views=2)
    trained = []
    for pass_clips in (None, 2):
        config = DistillConfig(freeze_batch_norm=True, pass_clips=pass_clips, learning_rate=0.1)
        student = random_tsm(width=8, shift="window8", seed=0)
        task = DistillTask(student, no_clips(), no_clips(), config, CPU)
        task.train()
        totals: dict[str, torch.Tensor] = {}
        step(task, batch, config, totals)
        trained.append((student.state_dict(), totals["loss"].item()))
    assert trained[0][1] == pytest.approx(trained[1][1])
    for name, tensor in trained[0][0].items():
        torch.testing.assert_close(tensor, trained[1][0][name], rtol=1e-4, atol=1e-6)


def test_memory_that_is_too_small_says_what_to_do() -> None:
    class Full(FinetuneTask):
        def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    config = FinetuneConfig()
    task = Full(make_classifier(), no_clips(), no_clips(), config, CPU)
    with pytest.raises(TrainingError, match=r"2 clips a pass don't fit .* such as --pass-clips 1; decoded"):
        step(task, make_batch(), config, {})
    with pytest.raises(TrainingError, match=r"5 clips a pass don't fit .* such as --pass-clips 2; decoded"):
        mean_values(task, [make_batch(5)], config)  # of validation
    with pytest.raises(TrainingError, match=r"not even one clip a pass fits into memory\. Free some"):
        step(task, make_batch(), replace(config, pass_clips=1), {})


def test_values_are_means_over_clips_in_whatever_passes() -> None:
    batches = [make_batch(5, seed=1), make_batch(2, seed=2)]
    module = make_classifier().eval()
    seen: list[int] = []
    losses: list[float] = []
    for batch in batches:
        assert batch.classes_N is not None
        for part in batch.split(1):
            frames = normalised(part.views[0], SMALL, CPU)
            assert part.classes_N is not None
            losses.append(F.cross_entropy(module(frames), part.classes_N).item())
    handle = module.register_forward_hook(lambda _module, inputs, _scores: seen.append(len(inputs[0]) // 8))
    for pass_clips, expected in [(None, [5, 2]), (2, [2, 2, 1, 2])]:
        config = FinetuneConfig(pass_clips=pass_clips)
        task = FinetuneTask(module, no_clips(), no_clips(), config, CPU)
        values = mean_values(task, batches, config)
        assert values["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
        assert seen == expected
        seen.clear()
    handle.remove()


def test_the_classifier_begins_small_and_the_same_for_a_seed() -> None:
    layer = TsmClassifier(random_tsm(width=8, shift="window8", seed=0), 400, dropout=0.5, seed=3).classifier
    assert layer.weight.shape == (400, 256) and not layer.bias.any()
    assert abs(layer.weight.std().item() - 1e-3) < 2e-5
    torch.manual_seed(9)
    again = TsmClassifier(random_tsm(width=8, shift="window8", seed=0), 400, dropout=0.5, seed=3).classifier
    assert torch.equal(layer.weight, again.weight)


# Distillation


def test_distillation_is_equation_1() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(16, 12, generator=generator) for _ in range(2))
    squares = [
        sum((float(s) - float(t)) ** 2 for s, t in zip(a, b, strict=True))
        for a, b in zip(student, teacher, strict=True)
    ]
    assert feature_distillation(student, teacher, "sum").item() == pytest.approx(sum(squares) / 16)
    assert feature_distillation(student, teacher, "mean").item() == pytest.approx(sum(squares) / 16 / 12)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_teacher_sees_exo_and_stays_as_it_is(frozen: bool) -> None:
    student = random_tsm(width=8, shift="window8", seed=0)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    reference = ResNetTSM(width=8).eval()
    reference.load_state_dict(before)
    config = DistillConfig(freeze_batch_norm=frozen, learning_rate=0.1)
    task = DistillTask(student, no_clips(), no_clips(), config, CPU)
    task.train()
    batch = make_batch(views=2)
    exo_MD = reference(SMALL(batch.views[0].flatten(0, 1)))
    for _ in range(2):  # also after a step
        student.zero_grad()
        ego_MD = student(SMALL(batch.views[1].flatten(0, 1)))
        torch.testing.assert_close(task.losses(batch)["loss"], F.mse_loss(ego_MD, exo_MD))
        step(task, batch, config, {})
    assert all(parameter.grad is not None for parameter in student.parameters())
    moved = {name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])}
    assert ("bn1.running_mean" in moved) is not frozen and "conv1.weight" in moved


# Epochs


class Toy:
    """A line that is to become another; counts what it is asked."""

    def __init__(self, scores: list[float] | None = None, *, fail_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.module: nn.Module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.optimizer = make_optimizer(self.module, None, CONFIG)
        self.validated = 0
        self._scores = scores or [1.0] * 100
        self._fail_at = fail_at

    def train(self) -> None:
        self.module.train()

    def batches(self, epoch: int) -> Iterator[Batch]:
        if epoch == self._fail_at:
            raise KeyboardInterrupt
        for number in range(3):
            yield make_batch(4, seed=10 * epoch + number)

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        inputs = batch.views[0][:, 0, 0, :4, 0].float() / 255
        return {"loss": (self.module(inputs) - inputs.sum(1, keepdim=True)).square().mean()}

    def validate(self) -> dict[str, float]:
        self.validated += 1
        return {"score": self._scores[self.validated - 1]}


CONFIG = FinetuneConfig(epochs=5, learning_rate=0.01, learning_rate_steps=(2, 4))


def run(task: Any, folder: Path, config: TuningConfig = CONFIG) -> Any:
    return fit(task, config, folder, on_epoch=lambda values: None)


def test_an_interrupted_fit_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    """Bit for bit, with momentum, dropout, rates that fall, and the best epoch before the interruption."""
    scores = [1.0, 3.0, 2.0, 2.0, 2.0]
    whole = Toy(scores)
    expected = run(whole, tmp_path / "whole")
    for fail_at in range(5):
        folder = tmp_path / str(fail_at)
        with pytest.raises(KeyboardInterrupt):
            run(Toy(scores, fail_at=fail_at), folder)
        resumed = Toy(scores[fail_at:])
        assert run(resumed, folder) == expected
        for name, tensor in whole.module.state_dict().items():
            assert torch.equal(tensor, resumed.module.state_dict()[name])
        assert (folder / JOURNAL).read_bytes() == (tmp_path / "whole" / JOURNAL).read_bytes()
        assert (folder / CHECKPOINT).read_bytes() == (tmp_path / "whole" / CHECKPOINT).read_bytes()
    assert (expected.selected_epoch, expected.score, expected.epochs) == (2, 3.0, 5)


def test_the_best_epoch_is_kept_and_of_equals_the_first(tmp_path: Path) -> None:
    short = FinetuneConfig(**{**vars(CONFIG), "epochs": 2})
    best = Toy()
    run(best, tmp_path / "best", short)
    stopped = Toy([0.0, 4.0, 4.0, 1.0, 2.0])
    assert run(stopped, tmp_path / "all").selected_epoch == 2
    last = Toy()
    after_two = run(last, tmp_path / "two", FinetuneConfig(**{**vars(short), "selection": "last"}))
    assert (after_two.selected_epoch, after_two.score, last.validated) == (2, None, 0)
    for name, tensor in stopped.module.state_dict().items():
        assert torch.equal(tensor, last.module.state_dict()[name])


def test_the_journal_has_a_line_an_epoch(tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    fit(Toy(), CONFIG, tmp_path, on_epoch=told.append)
    lines = [json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines()]
    assert lines == told and [line["epoch"] for line in lines] == [1, 2, 3, 4, 5]
    assert set(lines[0]) == {"epoch", "loss", "score"}


def test_a_loss_that_is_no_number_ends_the_fit(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"score of epoch 2 is nan\. Try a smaller learning_rate"):
        run(Toy([1.0, math.nan]), tmp_path)


@pytest.mark.parametrize("content", [b"", b"not safetensors", None])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes | None) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Toy(fail_at=2), tmp_path)
    whole = (tmp_path / CHECKPOINT).read_bytes()
    assert FORMAT.encode() in whole and b"\x80" not in whole[:1]  # no pickle
    (tmp_path / CHECKPOINT).write_bytes(whole[:-10] if content is None else content)
    with pytest.raises(TrainingError, match=r"checkpoint\.safetensors: can't be gone on with .* --overwrite"):
        run(Toy(), tmp_path)


# Learning


def scene(action: str, view: str) -> Callable[[int, int, int], np.ndarray[Any, np.dtype[np.uint8]]]:
    """A red square that moves across, or a green bar that moves down; the other view is upside down and bluish."""

    def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray[Any, np.dtype[np.uint8]]:
        image = np.full((height, width, 3), 90, np.uint8)
        if action == "red":
            left = 2 * number % (width - 20)
            image[14:34, left : left + 20] = (220, 40, 40)
        else:
            top = 2 * number % (height - 12)
            image[top : top + 12] = (40, 210, 60)
        if view == "e4":
            image = image[::-1, ::-1] // 2
            image[..., 2] += 60
        return np.ascontiguousarray(image)

    return picture


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, films: Any) -> dict[tuple[str, str], FilmFrames]:
    """Pictures of films of two seconds, four clips each, by action and view."""
    folder = tmp_path_factory.mktemp("scenes")
    found = {}
    for action in ("red", "green"):
        for view in ("v3", "e4"):
            painter = type(films)()
            painter.picture = scene(action, view)
            path = painter.write(folder / action / f"{view}.mp4", painter.times(count=60))
            film = open_film(VideoSource(recording=action, view=view, path=path))
            starts = np.arange(4, dtype=np.int64) * 500_000_000
            frames, _ = nearest_frames(film, candidate_moments(starts, starts + 500_000_000, 3))
            found[action, view] = FilmFrames(
                path=folder / f"{action}-{view}.u8", film=film, preprocessing=SMALL, frames_NSC=frames
            )
            found[action, view].store(Event())
    return found


def clips_of(stored: Any, view: str, numbers: range) -> list[tuple[FilmFrames, int]]:
    return [(stored[action, view], number) for action in ("red", "green") for number in numbers]


def test_two_distinct_actions_are_learnt(stored: Any, tmp_path: Path) -> None:
    config = FinetuneConfig(epochs=12, batch_size=6, learning_rate=5e-3, learning_rate_steps=(9,))

    def loader(numbers: range) -> ClipLoader:
        clips = clips_of(stored, "v3", numbers)
        classes = np.repeat([0, 1], len(numbers))
        return ClipLoader(
            views=(clips,),
            classes=classes,
            preprocessing=SMALL,
            augment=True,
            batch_size=6,
            seed=0,
            workers=2,
        )

    module = make_classifier(2, dropout=0.5)
    task = FinetuneTask(module, loader(range(3)), loader(range(3, 4)), config, CPU)
    run(task, tmp_path, config)
    lines = [json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines()]
    assert lines[-1]["accuracy"] == 1 and lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    assert task.validate()["score"] == 1


def test_distilled_ego_features_come_nearer_to_exo(stored: Any, tmp_path: Path) -> None:
    """On held-out pairs, measured here and not by the task; the teacher's norms know exo, as a trained one's do."""
    teacher = random_tsm(width=8, shift="window8", seed=0)
    exo = SMALL(
        torch.cat(
            [
                stored[action, "v3"].read(n, np.ones(8, np.int64))
                for action in ("red", "green")
                for n in range(4)
            ]
        )
    )
    ego = SMALL(
        torch.cat([stored[action, "e4"].read(3, np.ones(8, np.int64)) for action in ("red", "green")])
    )
    teacher.train()
    with torch.no_grad():
        for _ in range(60):
            teacher(exo)
    teacher.eval().requires_grad_(False)
    held_out = torch.cat([exo.unflatten(0, (8, 8))[number] for number in (3, 7)])
    target, before = teacher(held_out), teacher(ego)
    config = DistillConfig(epochs=25, batch_size=6, learning_rate=0.02, freeze_batch_norm=True)

    def loader(numbers: range) -> ClipLoader:
        views = (clips_of(stored, "v3", numbers), clips_of(stored, "e4", numbers))
        return ClipLoader(
            views=views, classes=None, preprocessing=SMALL, augment=False, batch_size=6, seed=0, workers=2
        )

    student = ResNetTSM(width=8)
    student.load_state_dict(teacher.state_dict())
    task = DistillTask(student, loader(range(3)), loader(range(3, 4)), config, CPU)
    result = run(task, tmp_path, config)
    with torch.no_grad():
        after = student.eval()(ego)
    distance_before, distance_after = (F.mse_loss(features, target).item() for features in (before, after))
    assert distance_after < 0.5 * distance_before
    assert -result.score == pytest.approx(distance_after, rel=1e-3)
