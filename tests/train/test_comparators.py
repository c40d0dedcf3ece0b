"""Table 3's comparators and the other ways to spoil or turn around a distillation, by the real trainer."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sync_store.errors import DatasetError, TrainingError
from sync_store.predictions import open_predictions
from sync_train.config import TrainConfig
from sync_train.fit_config import StudentConfig
from sync_train.losses.config import GRLConfig, MMDConfig
from sync_train.models.c2f_tcn import C2FTCN
from sync_train.protocol import stages_of

LAST = {"selection": "last"}
ONE_EPOCH = {"max_epochs": 1, **LAST}
PAIRINGS = {
    "mmd": "random",
    "coral": "random",
    "grl": "random",
    "tcc": "same-procedure",
    "sdtw": "same-procedure",
    "mse": "random-frames",
}
"""Of each loss, one that Table 3 has."""


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, build_project: Any) -> Any:
    """A project with a trained teacher and two procedures. Not to be changed: copy it."""
    project = build_project(tmp_path_factory.mktemp("taught") / "project")
    rows = ["recording,procedure", "a0,crane", "a1,crane", "a2,truck"]
    (project.root / "recordings.csv").write_text("\n".join(rows) + "\n")
    project.train(methods=("no-adaptation",), teacher=ONE_EPOCH)
    return project


@pytest.mark.parametrize("loss", PAIRINGS)
def test_a_comparator_moves_the_student_and_shares_the_teacher(taught: Any, tmp_path: Any, loss: str) -> None:
    project = taught.copy(tmp_path)
    teacher = project.stage("teacher") / "model.safetensors"
    before = teacher.stat().st_mtime_ns
    # without weight decay, which moves weights that get no gradient; "ganin" begins with a factor of 0
    student = {"loss": loss, "pairing": PAIRINGS[loss], "weight_decay": 0.0, **ONE_EPOCH}
    student["grl"] = GRLConfig(schedule="constant")
    project.train(run="other", teacher_run="main", methods=("tas",), teacher=ONE_EPOCH, student=student)
    assert teacher.stat().st_mtime_ns == before
    assert not project.stage("teacher", run="other").exists()
    (line,) = (project.stage("tas", run="other") / "journal.jsonl").read_text().splitlines()
    assert json.loads(line)["loss"] > 0
    learnt, taught_by = load_file(project.stage("tas", run="other") / "model.safetensors"), load_file(teacher)
    assert learnt.keys() == taught_by.keys()
    assert not torch.equal(
        learnt["c2f_tcn.inc.conv.conv.0.weight"], taught_by["c2f_tcn.inc.conv.conv.0.weight"]
    )
    assert set(project.predictions("tas", run="other")) == {"e0", "e1"}


@pytest.mark.parametrize("loss", ["grl", "mmd"])
def test_a_comparator_that_is_resumed_ends_as_if_it_hadnt_stopped(
    taught: Any, tmp_path: Any, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With discriminators, whose weights and optimizer state aren't the student's, and with random subsets."""
    student = {"loss": loss, "pairing": "random", "max_epochs": 4, **LAST}
    changed: dict[str, Any] = {"methods": ("tas",), "teacher": ONE_EPOCH, "checkpoint_seconds": 0.0}
    whole = taught.copy(tmp_path / "whole")
    stopped = taught.copy(tmp_path / "stopped")
    if loss == "mmd":
        student["mmd"] = MMDConfig(max_samples=8)
    whole.train(**changed, student=student)

    from sync_train import loop

    save, saved = loop._save, []

    def save_twice(*arguments: Any) -> None:
        save(*arguments)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_save", save_twice)
        with pytest.raises(KeyboardInterrupt):
            stopped.train(**changed, student=student)
    stopped.train(**changed, student=student)
    assert stopped.weights("tas") == whole.weights("tas")


def test_a_discriminator_is_no_part_of_the_saved_student(taught: Any, tmp_path: Any) -> None:
    project = taught.copy(tmp_path)
    student = {"loss": "grl", "pairing": "random", **ONE_EPOCH}
    project.train(methods=("tas",), teacher=ONE_EPOCH, student=student)
    names = load_file(project.stage("tas") / "model.safetensors")
    assert {name.split(".")[0] for name in names} == {"standardizer", "c2f_tcn"}
    assert len(C2FTCN(feature_dim=16, num_classes=3).state_dict()) == sum("c2f_tcn" in n for n in names)


def test_the_other_direction_has_its_teacher_in_the_ego_view(taught: Any, tmp_path: Any) -> None:
    project = taught.copy(tmp_path)
    methods = ("exo-oracle", "ego-oracle", "no-adaptation", "tas", "feature")
    fits = {"teacher": ONE_EPOCH, "student": ONE_EPOCH, "adapter": ONE_EPOCH}
    project.train(run="back", direction="ego-to-exo", methods=methods, **fits)
    project.train(run="forth", methods=("ego-oracle",), **fits)
    assert project.weights("teacher", run="back") == project.weights("ego-oracle", run="forth")
    assert project.weights("exo-oracle", run="back") == project.weights("teacher")
    for method, view, kind in (
        ("exo-oracle", "v3", "exo"),
        ("ego-oracle", "e4", "ego"),
        ("no-adaptation", "v3", "exo"),
        ("tas", "v3", "exo"),
        ("feature", "v3", "exo"),
    ):
        info = open_predictions(project.stage("predictions", run="back") / method / view).info
        assert (info.view, info.kind) == (view, kind)
    provenance = json.loads((project.stage("tas", run="back") / "provenance.json").read_text())
    assert provenance["direction"] == "ego-to-exo"


def test_stages_by_direction() -> None:
    back = TrainConfig(direction="ego-to-exo")
    assert stages_of(back, "ego-oracle") == stages_of(back, "no-adaptation") == ("teacher",)
    assert stages_of(back, "exo-oracle") == ("exo-oracle",)
    assert stages_of(TrainConfig(), "exo-oracle") == ("teacher",)


def test_fewer_hours_of_labels(taught: Any, tmp_path: Any) -> None:
    """The labelled training recordings have about 24 s; a third of that teaches something else."""
    project = taught.copy(tmp_path)
    project.train(run="short", methods=("no-adaptation",), teacher=ONE_EPOCH, train_hours=8 / 3600)
    assert project.weights("teacher", run="short") != project.weights("teacher")
    with pytest.raises(TrainingError, match=r"was trained with train_hours = 0.00\d+, now None"):
        project.train(run="short", methods=("no-adaptation",), teacher=ONE_EPOCH)
    with pytest.raises(DatasetError, match=r"1.0 hours of labelled recordings .*train_hours.*there are 0.00"):
        project.train(run="long", methods=("no-adaptation",), teacher=ONE_EPOCH, train_hours=1.0)


def test_overwriting_leaves_another_runs_teacher(taught: Any, tmp_path: Any) -> None:
    project = taught.copy(tmp_path)
    shared: dict[str, Any] = {
        "run": "other",
        "teacher_run": "main",
        "teacher": ONE_EPOCH,
        "student": ONE_EPOCH,
    }
    project.train(methods=("tas",), **shared)
    before = (project.stage("teacher") / "model.safetensors").stat().st_mtime_ns
    project.train(methods=("tas",), overwrite=True, **shared)
    assert (project.stage("teacher") / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": "mse", "pairing": "random"}, "loss 'mse' compares step with step"),
        ({"loss": "grl", "pairing": "random"}, 'loss "grl" needs selection "last"'),
    ],
)
def test_combinations_without_a_meaning_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudentConfig(**values)


def test_settings_from_the_command_line(project: Any) -> None:
    done = project.run(
        *("--set", "student.loss=coral", "--set", "student.pairing=random", "--set", "student.levels=[1,2]"),
        *(
            "--set",
            "student.max_epochs=1",
            "--set",
            "student.selection=last",
            "--set",
            "teacher.max_epochs=1",
        ),
        *("--method", "tas", "--run", "set", "--runs", "elsewhere", "-q"),
    )
    assert done.returncode == 0, done.stderr
    config = json.loads((project.root / "elsewhere/set/seed-0/config.json").read_text())
    assert config["student"]["loss"] == "coral" and config["student"]["levels"] == [1, 2]
    assert not (project.root / "runs").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("student.los=mmd", "unknown key 'los', did you mean 'loss'?"),
        ("student.loss", "--set: expected KEY=VALUE such as student.levels=[1,2], got 'student.loss'"),
        ("run.x=1", "run"),
        ("student.max_epochs=many", "max_epochs must be int, got 'many'"),
        ("student.loss=l1", "loss must be"),
    ],
)
def test_a_wrong_setting_is_one_line(project: Any, setting: str, message: str) -> None:
    done = project.run("--set", setting)
    assert done.returncode == 1
    assert message in done.stderr and done.stderr.count("\n") == 1
