"""Recognition of averaged segments by a perceptron, on features that show their class."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from sync_store.errors import TrainingError
from sync_train.checks.config import RecognitionConfig
from sync_train.checks.recognition import (
    MLP,
    accuracies,
    class_ids,
    score_guess,
    score_recognition,
    train_mlp,
)
from sync_train.checks.segments import SegmentSet
from sync_train.journal import read_journal
from sync_train.selection import hold_out

CLASSES = ("attach", "inspect", "screw")
SMALL = RecognitionConfig(hidden_dim=16, max_epochs=40, batch_size=16, learning_rate=1e-2)


class Silent:
    """Nobody looks."""

    def started(self, stage: str, seed: int, max_epochs: int) -> None:
        self.stage = stage

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        self.values = values

    def finished(self, result: Mapping[str, Any], again: bool) -> None:
        self.result = result


def toy(seed: int, number: int = 60, *, num_recordings: int = 5, noise: float = 0.3) -> SegmentSet:
    """Each class has a corner of its own."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, number)
    corners = np.array([[1.0, 1, -1, -1], [-1, 1, 1, -1], [-1, -1, -1, 1]])
    times = np.arange(number, dtype=np.int64)
    return SegmentSet(
        features_SD=torch.from_numpy(corners[classes] + rng.normal(0, noise, (number, 4))).float(),
        labels=tuple(CLASSES[c] for c in classes),
        recordings=tuple(f"r{n % num_recordings}" for n in range(number)),
        start_ns=times,
        stop_ns=times + 1,
        num_without_rows=0,
    )


def train(
    folder: Path, segments: SegmentSet | None = None, *, seed: int = 0, **changed: Any
) -> tuple[MLP, Silent]:
    watcher = Silent()
    config = replace(SMALL, **changed)
    mlp = train_mlp(segments or toy(0), CLASSES, config, folder, seed=seed, watcher=watcher)
    return mlp, watcher


@pytest.mark.parametrize("selection", ["held-out", "last"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_separable_classes_are_learnt(tmp_path: Path, selection: str, num_layers: int) -> None:
    mlp, watcher = train(tmp_path / "mlp", selection=selection, num_layers=num_layers)
    scores = score_recognition(mlp, toy(99), CLASSES)
    assert scores["accuracy"] > 97 and scores["balanced_accuracy"] > 97
    assert watcher.stage == "recognition mlp" and watcher.result["num_epochs"] > 1
    assert sum(isinstance(layer, torch.nn.Linear) for layer in mlp) == num_layers + 1
    lines = read_journal(tmp_path / "mlp" / "journal.jsonl")
    assert lines[-1]["loss"] < lines[0]["loss"]
    held_out = (
        {"accuracy", "balanced_accuracy", "held_out_loss", "score"} if selection == "held-out" else set()
    )
    assert lines[0].keys() == {"epoch", "loss", *held_out}


def test_the_seed_decides_everything_and_an_older_fit_nothing(tmp_path: Path) -> None:
    torch.rand(7)
    first, _ = train(tmp_path / "a")
    torch.rand(3)
    again, _ = train(tmp_path / "a", max_epochs=3)
    again, _ = train(tmp_path / "a")
    other, _ = train(tmp_path / "b", seed=1)
    for name, weights in first.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name])
    assert not torch.equal(first[0].weight, other[0].weight)


def test_nothing_is_learnt_from_what_is_held_out(tmp_path: Path) -> None:
    """Held-out recordings with other features: an only epoch ends with the same weights."""
    segments = toy(0)
    _, names = hold_out(sorted({*segments.recordings}), SMALL.held_out, seed=4)
    changed = segments.features_SD.clone()
    changed[[name in names for name in segments.recordings]] *= -7
    mlps = [
        train(tmp_path, replace(segments, features_SD=features), seed=4, max_epochs=1)[0]
        for features in (segments.features_SD, changed)
    ]
    assert names and torch.equal(mlps[0][0].weight, mlps[1][0].weight)
    scores = [score_recognition(mlp, toy(99), CLASSES) for mlp in mlps]
    assert scores[0] == scores[1]


def test_one_recording_cant_be_divided(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"1 recording can't be divided .* selection = \"last\""):
        train(tmp_path, toy(0, num_recordings=1))
    train(tmp_path, toy(0, num_recordings=1), selection="last", max_epochs=1)


def test_accuracies_are_those_of_scikit_learn() -> None:
    """A class without segments has no share in the mean."""
    rng = np.random.default_rng(0)
    true, predicted = rng.choice([0, 1, 3, 4], 200, p=[0.6, 0.3, 0.05, 0.05]), rng.integers(0, 3, 200)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        wanted = accuracy_score(true, predicted), balanced_accuracy_score(true, predicted)
    found = accuracies(torch.from_numpy(predicted), torch.from_numpy(true))
    assert found == pytest.approx([100 * share for share in wanted])


def test_a_class_that_wasnt_learnt_is_never_right(tmp_path: Path) -> None:
    mlp, _ = train(tmp_path)
    tested = toy(99)
    strange = replace(tested, labels=("polish", *tested.labels[1:]))
    assert class_ids(strange, CLASSES)[0] == -1
    found = score_recognition(mlp, strange, CLASSES)
    right = score_recognition(mlp, tested, CLASSES)["accuracy"] / 100 * len(tested)
    assert found["accuracy"] == pytest.approx(100 * (right - 1) / len(tested))
    assert found["balanced_accuracy"] < 100 * 3 / 4 + 1, "the fourth class has none"


def test_a_guess_has_the_papers_half_a_percent() -> None:
    """Supplement Table 5: 0.5 for the 202 coarse classes of Assembly101."""
    guess = score_guess([str(number) for number in range(202)])
    assert round(guess["accuracy"], 1) == 0.5 and guess["balanced_accuracy"] == guess["accuracy"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"hidden_dim": 0}, "hidden_dim must be at least 1, got 0"),
        ({"dropout": 1.0}, "dropout must lie from 0 to below 1, got 1.0"),
        ({"selection": "published-test-ego"}, 'recognition\'s selection must be "held-out" or "last"'),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
    ],
)
def test_impossible_settings(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecognitionConfig(**changed)
