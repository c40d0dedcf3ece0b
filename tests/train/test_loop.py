"""One fit: resuming, selection, patience, on a network of a few weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sync_store.errors import TrainingError
from sync_train.fit_config import FitConfig
from sync_train.journal import read_journal
from sync_train.loop import CHECKPOINT, JOURNAL, FitResult, fit


class Killed(BaseException):
    """Stands for whatever ends a process."""


class Toy:
    """Regression with dropout, batch norm and two optimizers; scores may be prescribed by epoch."""

    def __init__(
        self, *, scores: list[float] | None = None, dies_in: tuple[int, int] | None = None, **losses: float
    ) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(self.module[:2].parameters(), lr=0.01, weight_decay=0.1),
            torch.optim.SGD(self.module[3].parameters(), lr=0.01, momentum=0.9),
        ]
        self._scores = scores
        self._dies_in = dies_in
        self._losses = losses
        self._epoch = -1

    def losses(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        self._epoch = epoch
        generator = torch.Generator().manual_seed(epoch)
        for batch in range(3):
            if (epoch, batch) == self._dies_in:
                raise Killed
            x = torch.randn(10, 3, generator=generator)
            loss = (self.module(x)[:, 0] - x.sum(1)).square().mean()
            yield {"loss": loss * self._losses.get(f"epoch_{epoch}", 1.0), "half": loss.detach() / 2}

    def validate(self) -> dict[str, float]:
        self.module.eval()
        if self._scores is not None:
            return {"score": self._scores[self._epoch], "edit": 50.0}
        return {"score": -self.module(torch.ones(1, 3)).square().item()}


def config(**settings: Any) -> FitConfig:
    return FitConfig(**{"max_epochs": 6, **settings})


def state(task: Toy) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in task.module.state_dict().items()}


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert [name for name, tensor in wanted.items() if not torch.equal(found[name], tensor)] == []


@pytest.mark.parametrize("selection", ["held-out", "last"])
@pytest.mark.parametrize("dies_in", [(0, 1), (1, 0), (3, 2), (5, 2)])
def test_a_fit_that_was_killed_ends_like_one_that_wasnt(
    tmp_path: Path, dies_in: tuple[int, int], selection: str
) -> None:
    settings, whole = config(selection=selection), Toy()
    wanted = fit(whole, settings, tmp_path / "whole", seed=3)
    with pytest.raises(Killed):
        fit(Toy(dies_in=dies_in), settings, tmp_path / "killed", seed=3, checkpoint_seconds=0)
    torch.rand(17)  # whatever happens in between
    resumed, told = Toy(), []
    found = fit(
        resumed, settings, tmp_path / "killed", seed=3, on_epoch=lambda epoch, values: told.append(epoch)
    )
    assert found == wanted
    assert_same(state(resumed), state(whole))
    assert told == list(range(dies_in[0], 6))
    journals = [(tmp_path / name / JOURNAL).read_text() for name in ("whole", "killed")]
    assert journals[0] == journals[1]


def test_a_kill_before_the_first_checkpoint_starts_anew(tmp_path: Path) -> None:
    whole = Toy()
    wanted = fit(whole, config(), tmp_path / "whole", seed=0)
    with pytest.raises(Killed):
        fit(Toy(dies_in=(4, 0)), config(), tmp_path / "killed", seed=0, checkpoint_seconds=1e9)
    assert not (tmp_path / "killed" / CHECKPOINT).exists()
    assert len(read_journal(tmp_path / "killed" / JOURNAL)) == 4
    resumed = Toy()
    assert fit(resumed, config(), tmp_path / "killed", seed=0) == wanted
    assert_same(state(resumed), state(whole))
    assert [line["epoch"] for line in read_journal(tmp_path / "killed" / JOURNAL)] == list(range(6))


def test_a_kill_after_the_last_epoch_repeats_none(tmp_path: Path) -> None:
    wanted = fit(Toy(), config(), tmp_path, seed=0, checkpoint_seconds=0)
    told: list[int] = []
    assert fit(Toy(), config(), tmp_path, seed=0, on_epoch=lambda epoch, _: told.append(epoch)) == wanted
    assert told == []


def test_same_seed_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    """Batches are the same here; the seed decides dropout."""
    tasks = {name: Toy() for name in ("a", "b", "c")}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        fit(tasks[name], config(selection="last"), tmp_path / name, seed=seed)
    assert_same(state(tasks["a"]), state(tasks["b"]))
    assert not torch.equal(tasks["a"].module[0].weight, tasks["c"].module[0].weight)


def test_the_largest_seed_works(tmp_path: Path) -> None:
    fit(Toy(), config(max_epochs=2), tmp_path, seed=2**32 - 1)


def test_the_best_epochs_weights_are_kept(tmp_path: Path) -> None:
    """Of equally good ones the first."""
    scores = [1.0, 7.0, 3.0, 7.0, 2.0, 6.9]
    task, best = Toy(scores=scores), Toy(scores=scores)
    result = fit(task, config(), tmp_path / "all", seed=0)
    assert (result.num_epochs, result.selected_epoch, result.score) == (6, 1, 7.0)
    fit(best, config(max_epochs=2, selection="last"), tmp_path / "two", seed=0)
    assert_same(state(task), state(best))


def test_last_keeps_the_last_and_never_validates(tmp_path: Path) -> None:
    task = Toy(scores=[])
    result = fit(task, config(selection="last"), tmp_path, seed=0)
    assert result == FitResult(num_epochs=6, selected_epoch=5, score=None, final_loss=result.final_loss)
    assert "score" not in read_journal(tmp_path / JOURNAL)[0]


@pytest.mark.parametrize(
    ("scores", "patience", "num_epochs", "selected"),
    [
        ([5.0, 4, 4, 4, 9, 9, 9], 3, 4, 0),
        ([5.0, 4, 4, 5.1, 4, 4, 4, 9], 3, 7, 3),
        ([5.0, 5.0, 9], 1, 2, 0),
        ([1.0, 2, 3, 4, 5, 6, 7, 8], 1, 8, 7),
        ([-5.0, -9, -4, -9, -9, -1], 2, 5, 2),
    ],
)
def test_patience_is_a_number_of_epochs_without_improvement(
    tmp_path: Path, scores: list[float], patience: int, num_epochs: int, selected: int
) -> None:
    """The published code, which counts down to below 0, waits one more."""
    result = fit(Toy(scores=scores), config(max_epochs=len(scores), patience=patience), tmp_path, seed=0)
    assert (result.num_epochs, result.selected_epoch, result.score) == (
        num_epochs,
        selected,
        scores[selected],
    )


def test_patience_goes_on_counting_after_a_kill(tmp_path: Path) -> None:
    scores = [5.0, 4, 4, 4, 9]
    with pytest.raises(Killed):
        fit(Toy(scores=scores, dies_in=(3, 1)), config(patience=3), tmp_path, seed=0, checkpoint_seconds=0)
    result = fit(Toy(scores=scores), config(patience=3), tmp_path, seed=0)
    assert (result.num_epochs, result.selected_epoch) == (4, 0)


def test_journal_has_the_mean_of_each_loss_and_the_scores(tmp_path: Path) -> None:
    fit(Toy(scores=[1.0, 2.0]), config(max_epochs=2), tmp_path, seed=0)
    lines = [json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1]
    for line, score in zip(lines, (1.0, 2.0), strict=True):
        assert line["half"] == pytest.approx(line["loss"] / 2)
        assert (line["score"], line["edit"]) == (score, 50.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_fit(tmp_path: Path, bad: float) -> None:
    with pytest.raises(TrainingError, match=r"loss of epoch 3 is (nan|inf). Try a smaller learning_rate"):
        fit(Toy(epoch_2=bad), config(), tmp_path, seed=0)
    assert len(read_journal(tmp_path / JOURNAL)) == 2


def test_a_score_that_is_no_number_ends_the_fit(tmp_path: Path) -> None:
    """Nothing is better than it, so it would be kept to the end."""
    with pytest.raises(TrainingError, match="score of epoch 1 is nan"):
        fit(Toy(scores=[float("nan")] * 6), config(), tmp_path, seed=0)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x02."])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(
        TrainingError, match=r"checkpoint.pt: can't be gone on with .*; train anew with --over"
    ):
        fit(Toy(), config(), tmp_path, seed=0)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    fit(Toy(), config(max_epochs=1), tmp_path, seed=0, checkpoint_seconds=0)
    other = Toy()
    other.module[0] = nn.Linear(3, 9)
    with pytest.raises(TrainingError, match=r"checkpoint.pt: can't be gone on with"):
        fit(other, config(), tmp_path, seed=0)
