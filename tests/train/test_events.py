"""TensorBoard's events, as TensorBoard's own reader sees them: the journal, no more and no less."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sync_store.errors import TrainingError
from sync_train.events import EVENTS
from sync_train.fit_config import FitConfig
from sync_train.journal import read_journal
from sync_train.loop import JOURNAL, fit

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

Curves = dict[str, list[tuple[int, float]]]


class Killed(BaseException):
    """Stands for whatever ends a process."""


class Toy:
    """One weight that is fitted with noise."""

    def __init__(self, *, dies_in: int | None = None) -> None:
        torch.manual_seed(0)
        self.module = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Dropout(0.5))
        self.optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(self.module.parameters(), lr=0.1)]
        self._dies_in = dies_in

    def losses(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        if epoch == self._dies_in:
            raise Killed
        loss = (self.module(torch.ones(8, 3)) - 2).square().mean()
        yield {"loss": loss, "half": loss.detach() / 2}

    def validate(self) -> dict[str, float]:
        return {"score": self.module[0].weight.sum().item()}


def read_events(folder: Path) -> Curves:
    accumulator = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def read_raw_steps(folder: Path, tag: str) -> list[int]:
    """Steps of all files as they were written, without the accumulator's clearing up."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    return [
        event.step
        for file in sorted(folder.iterdir())
        for event in loader.LegacyEventFileLoader(str(file)).Load()
        for value in event.summary.value
        if value.tag == tag
    ]


def curves_of_journal(path: Path) -> Curves:
    """As 32-bit floats, which scalars are."""
    lines = read_journal(path)
    return {
        name: [(line["epoch"], float(np.float32(line[name]))) for line in lines]
        for name in lines[0]
        if name != "epoch"
    }


def run_fit(folder: Path, *, dies_in: int | None = None, tensorboard: bool = True, **options: Any) -> Toy:
    task = Toy(dies_in=dies_in)
    fit(task, FitConfig(max_epochs=6), folder, seed=1, tensorboard=tensorboard, **options)
    return task


@pytest.mark.parametrize("checkpoint_seconds", [0, 1e9])
@pytest.mark.parametrize("dies_in", [0, 1, 4])
def test_a_resumed_fit_shows_the_curves_of_an_uninterrupted_one(
    tmp_path: Path, dies_in: int, checkpoint_seconds: float
) -> None:
    """With a checkpoint after each epoch, and with none, where all epochs are done again."""
    run_fit(tmp_path / "whole")
    with pytest.raises(Killed):
        run_fit(tmp_path / "killed", dies_in=dies_in, checkpoint_seconds=checkpoint_seconds)
    run_fit(tmp_path / "killed")
    wanted = read_events(tmp_path / "whole" / EVENTS)
    assert wanted == curves_of_journal(tmp_path / "whole" / JOURNAL)
    assert sorted(wanted) == ["half", "loss", "score"] and [step for step, _ in wanted["loss"]] == [*range(6)]
    assert read_events(tmp_path / "killed" / EVENTS) == wanted
    assert read_raw_steps(tmp_path / "killed" / EVENTS, "loss") == [*range(6)]


def test_a_fit_that_is_resumed_often_shows_the_same_curves(tmp_path: Path) -> None:
    for epoch in (1, 3, 4):
        with pytest.raises(Killed):
            run_fit(tmp_path, dies_in=epoch, checkpoint_seconds=0)
    run_fit(tmp_path)
    assert read_events(tmp_path / EVENTS) == curves_of_journal(tmp_path / JOURNAL)
    assert read_raw_steps(tmp_path / EVENTS, "loss") == [*range(6)]


def test_events_are_readable_while_a_fit_goes_on(tmp_path: Path) -> None:
    seen = []
    run_fit(
        tmp_path,
        on_epoch=lambda epoch, values: seen.append(read_raw_steps(tmp_path / EVENTS, "loss")),
    )
    assert seen == [[*range(epoch + 1)] for epoch in range(6)]


def test_an_open_reader_forgets_the_epochs_that_are_done_again(tmp_path: Path) -> None:
    """A TensorBoard that runs on while the fit is killed and resumed, without a checkpoint."""
    with pytest.raises(Killed):
        run_fit(tmp_path, dies_in=4, checkpoint_seconds=1e9)
    reader = event_accumulator.EventAccumulator(str(tmp_path / EVENTS), size_guidance={"scalars": 0})
    reader.Reload()
    assert [event.step for event in reader.Scalars("loss")] == [*range(4)]
    run_fit(tmp_path)
    reader.Reload()
    assert [event.step for event in reader.Scalars("loss")] == [*range(6)]


def test_events_of_a_fit_that_goes_on_without_are_deleted(tmp_path: Path) -> None:
    """Else they would end where it was killed, or tell of epochs that the journal has dropped."""
    with pytest.raises(Killed):
        run_fit(tmp_path, dies_in=4, checkpoint_seconds=0)
    run_fit(tmp_path, tensorboard=False)
    assert not (tmp_path / EVENTS).exists()


def test_events_change_no_weights(tmp_path: Path) -> None:
    with_events, without = run_fit(tmp_path / "with"), run_fit(tmp_path / "without", tensorboard=False)
    assert torch.equal(with_events.module[0].weight, without.module[0].weight)
    journals = [(tmp_path / name / JOURNAL).read_bytes() for name in ("with", "without")]
    assert journals[0] == journals[1]


def test_the_command_writes_them_for_every_stage_also_afterwards(finished: Any, tmp_path: Path) -> None:
    """The run was trained without: events come from its journals, and its weights stay."""
    project = finished[0].copy(tmp_path)
    before = {stage: project.weights(stage) for stage in ("teacher", "adapter")}
    done = project.run("--method", "feature", "--tensorboard", "--quiet")
    assert done.returncode == 0, done.stderr
    for stage, weights in before.items():
        folder = project.stage(stage)
        assert project.weights(stage) == weights
        assert read_events(folder / EVENTS) == curves_of_journal(folder / JOURNAL) != {}
    assert not (project.stage("tas") / EVENTS).exists()
    project.train(methods=("no-adaptation",), run="anew", tensorboard=True)
    folder = project.stage("teacher", run="anew")
    assert project.weights("teacher", run="anew") == before["teacher"]
    assert read_events(folder / EVENTS) == read_events(project.stage("teacher") / EVENTS)
    assert (
        json.loads((folder / "inputs.json").read_text()).keys()
        == json.loads((project.stage("teacher") / "inputs.json").read_text()).keys()
    )


def test_without_the_package_one_line_says_so_before_anything_is_made(project: Any, tmp_path: Path) -> None:
    """A package of that name that can't be imported goes before the real one."""
    (tmp_path / "absent" / "tensorboard").mkdir(parents=True)
    broken = "raise ModuleNotFoundError(\"No module named 'tensorboard'\")\n"
    (tmp_path / "absent" / "tensorboard" / "__init__.py").write_text(broken)
    done = project.run("--tensorboard", PYTHONPATH=str(tmp_path / "absent"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: TensorBoard can't be used here (No module named 'tensorboard'). Install it: "
        "pip install 'sync-tas[tensorboard]', or train without --tensorboard\n"
    )
    assert not (project.root / "runs").exists()
    without = project.run("--method", "exo-oracle", "--quiet", PYTHONPATH=str(tmp_path / "absent"))
    assert without.returncode == 0, without.stderr


def test_a_fit_says_so_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r"^TensorBoard can't be used here .*sync-tas\[tensorboard\]"):
        run_fit(tmp_path)
