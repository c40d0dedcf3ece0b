"""`sync-extract finetune` and `distill` on real films: as processes where that matters, else in this one."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from sync_extract.backbones.resnet_tsm import random_tsm
from sync_extract.backbones.tsm_checkpoint import TsmInfo, read_tsm, save_tsm
from sync_store.reader import FeatureStore

COMMAND = str(Path(sys.executable).with_name("sync-extract"))

PROJECT = """\
[dataset]
label_fps = 15

[views.v3]
kind = "exo"

[views.e4]
kind = "ego"
offset_seconds = 0.2

[extract]
backbone = "tsm-random-demo"
device = "cpu"

[extract.finetune]
backbone = "tsm-random-demo"
device = "cpu"
epochs = 2
batch_size = 4

[extract.distill]
backbone = "tsm-random-demo"
device = "cpu"
epochs = 2
batch_size = 4
window_seconds = 0.5
"""

SPLITS = {"train": ["r1", "r2"], "adapt": ["a1", "a2"], "test": ["t1"]}

Invoke = Callable[..., Result]
Opened = list[str]


def environment() -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("SYNC_", "HF_"))}
    return {**plain, "OMP_NUM_THREADS": "1"}


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [COMMAND, *arguments], cwd=folder, env=environment(), capture_output=True, text=True, timeout=120
    )


def kill_when(folder: Path, seen: Callable[[], bool], *arguments: str) -> None:
    """Run a command and kill it with -9 as soon as something is there."""
    process = subprocess.Popen(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 60
    while not seen() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.002)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def films_and_labels(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    """Five recordings; labels of the training split alone can be read, all others are rubbish."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "sync.toml").write_text(PROJECT)
    for name in ("splits", "actions", "labels"):
        (folder / name).mkdir()
    for split, recordings in SPLITS.items():
        (folder / "splits" / f"{split}.txt").write_text("\n".join(recordings))
        for recording in recordings:
            make_video(folder / f"videos/{recording}/v3.mp4", count=60)
            make_video(folder / f"videos/{recording}/e4.mp4", fps=25, count=45, start=Fraction(1, 10))
            rubbish = b"\xff\xfe rubbish"
            rows = "".join(f"{n / 2},{(n + 1) / 2},{'take' if n % 2 else 'put'}\n" for n in range(4))
            labels = f"start_seconds,stop_seconds,label\n{rows}".encode()
            (folder / "actions" / f"{recording}.csv").write_bytes(labels if split == "train" else rubbish)
            if split != "train":
                (folder / "labels" / f"{recording}.csv").write_bytes(rubbish)
    return folder


@pytest.fixture(scope="module")
def first_run(films_and_labels: Path) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    done = run(films_and_labels, "finetune", "exo")
    assert done.returncode == 0, done.stderr
    return films_and_labels, done


@pytest.fixture
def lab(first_run: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of the project with a finished training."""
    return shutil.copytree(first_run[0], tmp_path / "lab")


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Paths that this process opens."""
    paths: Opened = []
    is_on = [True]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if is_on and event == "open" and isinstance(arguments[0], str | os.PathLike):
            paths.append(os.fspath(arguments[0]))

    sys.addaudithook(watch)  # can't be removed, only silenced
    yield paths
    is_on.clear()


# Fine-tuning


def test_finetuning_says_what_it_takes_and_makes(first_run: tuple[Path, Any]) -> None:
    folder, done = first_run
    assert done.stdout == "" and "\x1b" not in done.stderr
    lines = done.stderr.splitlines()
    made = folder / "backbones/exo"
    # 2 films of 60 frames, 4 clips of 15 frames and 24 moments: every frame is some moment's
    assert lines[0] == (f"exo: 120 pictures of 2 videos take 0.00 GB in {made}/frames until training is done")
    assert lines[1] == "exo: 2 videos decoded"
    assert lines[2].startswith("exo: epoch 1/2: loss ") and "held_out_loss" in lines[3]
    assert lines[4].startswith("exo: kept epoch ")
    assert lines[5] == (
        f"Extract with: sync-extract --backbone tsm-random-demo --weights {made}/model.safetensors "
        "--feature-set tsm-exo"
    )
    names = {"inputs.json", "journal.jsonl", "model.safetensors", "provenance.json", "result.json"}
    assert {path.name for path in made.iterdir()} == names
    read = read_tsm(made / "model.safetensors")
    assert read.info.classes == ("put", "take") and read.width == 16 and read.info.shift == "window8"
    assert read.info.trained_on == ("fine-grained labels of 2 recordings of the split train, view v3",)
    assert read.classifier is not None and read.classifier.weight.shape == (2, 512)
    assert read.info.training["command"] == "finetune" and len(read.info.training["start_sha256"]) == 64


def test_a_feature_set_of_the_result_says_what_it_was_trained_on(lab: Path, call_extract: Invoke) -> None:
    model = "backbones/exo/model.safetensors"
    done = run(
        lab, "--weights", model, "--feature-set", "tsm-exo", "--view", "e4", "--recording", "t1", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["extracted"] == 1
    assert call_extract(lab, "--feature-set", "tsm-plain", "--view", "e4", "--recording", "t1").exit_code == 0
    sets = {name: FeatureStore(lab / "features.zarr").feature_set(name) for name in ("tsm-exo", "tsm-plain")}
    assert sets["tsm-exo"]["trained_on"] == [
        "fine-grained labels of 2 recordings of the split train, view v3"
    ]
    assert sets["tsm-plain"]["trained_on"] == []
    assert sets["tsm-exo"]["fingerprint"] != sets["tsm-plain"]["fingerprint"]
    assert sets["tsm-exo"]["recipe"]["weights_sha256"] != sets["tsm-plain"]["recipe"]["weights_sha256"]
    listed = json.loads(run(lab, "ls", "--json").stdout)["views"]
    assert {row["feature_set"]: row["fingerprint"] for row in listed} == {
        name: attributes["fingerprint"] for name, attributes in sets.items()
    }


def test_a_killed_finetuning_ends_as_an_uninterrupted_one(
    first_run: tuple[Path, Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(first_run[0], tmp_path / "lab", ignore=shutil.ignore_patterns("backbones"))
    made = folder / "backbones/exo"
    journal = made / "journal.jsonl"
    kill_when(folder, lambda: any((made / "frames").rglob("*.u8*")), "finetune", "exo")
    kill_when(folder, lambda: journal.exists() and journal.read_text().count("\n") == 1, "finetune", "exo")
    assert not (made / "result.json").exists() and (made / "checkpoint.safetensors").exists()
    done = run(folder, "finetune", "exo")
    assert done.returncode == 0, done.stderr
    assert "epoch 1/2" not in done.stderr and "epoch 2/2" in done.stderr
    assert tree(made) == tree(first_run[0] / "backbones/exo")


def test_what_is_done_is_not_done_again(lab: Path, call_extract: Invoke) -> None:
    before = tree(lab)
    (lab / "backbones/exo/checkpoint.safetensors").write_bytes(b"left by a kill at the very end")
    result = call_extract(lab, "finetune", "exo", "--json", "--workers", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert report["model"] == str(lab / "backbones/exo/model.safetensors") and report["name"] == "exo"
    assert (report["epochs"], report["clips"], report["held_out_clips"]) == (2, 4, 4)
    assert (report["recordings"], report["uncovered_clips"], len(report["held_out"])) == (2, 0, 1)
    assert tree(lab) == before


def test_other_settings_are_refused_and_overwrite_begins_anew(lab: Path, call_extract: Invoke) -> None:
    before = tree(lab)
    for option, value, message in [
        (
            "--epochs",
            "1",
            "was trained with settings.epochs = 2, now 1. Choose another name, or train anew with",
        ),
        ("--views", "e4", "was trained with settings.views = ['exo'], now ['e4']. Choose another name, or"),
    ]:
        result = call_extract(lab, "finetune", "exo", option, value)
        assert result.exit_code == 1 and result.stderr.count("\n") == 1
        assert message in result.stderr
        assert tree(lab) == before
    shutil.move(lab / "actions/r1.csv", lab / "elsewhere.csv")
    (lab / "actions/r1.csv").write_text("start_seconds,stop_seconds,label\n0,1,put\n1,1.5,take\n")
    assert "was trained with actions = " in call_extract(lab, "finetune", "exo").stderr
    shutil.move(lab / "elsewhere.csv", lab / "actions/r1.csv")
    result = call_extract(
        lab, "finetune", "exo", "--overwrite", "--epochs", "1", "--views", "both", "--scratch", "fast"
    )
    assert result.exit_code == 0, result.stderr
    info = read_tsm(lab / "backbones/exo/model.safetensors").info
    assert info.trained_on == ("fine-grained labels of 2 recordings of the split train, views v3, e4",)
    assert "240 pictures" not in result.stderr and list((lab / "fast").iterdir()) == []
    # the last action ends at 2.0 s, e4's film at 45 / 25 + 0.1 + 0.2 = 2.1 s, and it begins at 0.3 s
    assert json.loads((lab / "backbones/exo/result.json").read_text())["uncovered_clips"] == 2


def test_labels_of_other_splits_are_never_opened(lab: Path, call_extract: Invoke, opened: Opened) -> None:
    result = call_extract(lab, "finetune", "again", "--epochs", "1")
    assert result.exit_code == 0, result.stderr
    read = {Path(path).name for path in opened if Path(path).parent.name in ("actions", "labels")}
    assert read == {"r1.csv", "r2.csv"}
    assert not any("t1" in path for path in opened)


# Distillation


def test_distillation_reads_no_label(lab: Path, call_extract: Invoke, opened: Opened) -> None:
    """Labels of the adaptation split are rubbish, and none is opened."""
    start = lab / "backbones/exo/model.safetensors"
    result = call_extract(lab, "distill", "pairs", "--weights", str(start))
    assert result.exit_code == 0, result.stderr
    assert {Path(path).parent.name for path in opened}.isdisjoint({"actions", "labels"})
    assert not any(path.endswith("train.txt") or "r1" in path for path in opened)
    read = read_tsm(lab / "backbones/pairs/model.safetensors")
    assert read.info.trained_on == (
        "fine-grained labels of 2 recordings of the split train, view v3",
        "synchronized pairs v3-e4 of 2 recordings of the split adapt, no labels",
    )
    assert read.classifier is None and not torch.equal(
        read.trunk["conv1.weight"], read_tsm(start).trunk["conv1.weight"]
    )
    # v3 covers 0 to 2 s, e4 0.3 to 2.1 s: three windows of half a second
    report = json.loads((lab / "backbones/pairs/result.json").read_text())
    assert (report["recordings"], report["clips"], report["held_out_clips"]) == (2, 3, 3)
    assert report["held_out_loss_before"] > 0 and len(report["held_out"]) == 1


def test_a_killed_distillation_ends_as_an_uninterrupted_one(
    lab: Path, tmp_path: Path, call_extract: Invoke
) -> None:
    other = shutil.copytree(lab, tmp_path / "other")
    command = ("distill", "pairs", "--weights", "backbones/exo/model.safetensors")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the processes have: sums depend on it
    assert call_extract(lab, *command).exit_code == 0
    torch.set_num_threads(threads)
    kill_when(other, (other / "backbones/pairs/journal.jsonl").exists, *command)
    done = run(other, *command)
    assert done.returncode == 0, done.stderr
    assert tree(other / "backbones") == tree(lab / "backbones")


# What can't be done


def test_messages(lab: Path, call_extract: Invoke) -> None:
    def refused(*arguments: str) -> str:
        result = call_extract(lab, *arguments)
        assert result.exit_code == 1 and result.stderr.count("\n") == 1, result.stderr
        return result.stderr

    demo = ("--backbone", "tsm-random-demo")
    assert "TSM needs weights to start from: give a checkpoint with --weights" in refused(
        "finetune", "x", "--backbone", "tsm"
    )
    assert "backbone name 'x/y' contains a path separator" in refused("finetune", "x/y", *demo)
    assert "there is no view 'v5'" in refused("finetune", "x", "--views", "v5")
    assert "r2.csv" not in refused("finetune", "x", "--split", "test")  # rubbish is named, not trained on
    assert "splits/none.txt: there is no such split; have: adapt, test, train" in refused(
        "finetune", "x", "--split", "none"
    )
    assert "exo and ego are both 'v3'; distillation needs two views" in refused("distill", "x", "--ego", "v3")
    (lab / "splits/one.txt").write_text("r1")
    assert "1 recording can't be divided into one to learn from and one to select on" in refused(
        "finetune", "x", "--split", "one"
    )
    assert "1 recording can't be divided" in refused("distill", "x", "--split", "one")
    (lab / "backbones/mine").mkdir()
    (lab / "backbones/mine/weights.ckpt").write_bytes(b"precious")
    for more in ((), ("--overwrite",)):
        assert (
            "mine: isn't the folder of a training (inputs.json is missing). Choose another name"
            in refused("finetune", "mine", *more)
        )
    assert "exo: was trained with command = 'finetune', now 'distill'. Choose another name" in refused(
        "distill", "exo"
    )
    (lab / "backbones/exo/inputs.json").write_text("{")
    assert "inputs.json: can't be read as JSON; train anew with --overwrite" in refused("finetune", "exo")
    for name in ("r1", "r2"):
        path = lab / f"actions/{name}.csv"
        path.write_text(path.read_text().replace("take", "put"))
    assert "split train: all its actions are 'put'; there are two classes or more to tell apart" in refused(
        "finetune", "x"
    )
    for name in ("r1", "r2"):
        (lab / f"actions/{name}.csv").unlink()
    assert (
        "split train: none of its 2 recordings has a video and fine-grained actions to train on, in view v3. "
        "Add actions or labels (docs/datasets.md says where), or name another --split or other --views"
        in refused("finetune", "x")
    )
    (lab / "videos/a1/e4.mp4").unlink()
    assert "recording a1, view e4: no video; expected" in refused("distill", "x")


def test_messages_about_time(lab: Path, call_extract: Invoke) -> None:
    toml = (lab / "sync.toml").read_text()
    (lab / "sync.toml").write_text(toml.replace("offset_seconds = 0.2", "offset_seconds = 500"))
    result = call_extract(lab, "distill", "x")
    assert result.exit_code == 1
    assert (
        "recording a1: v3 from 0.000 to 2.000 s and e4 from 500.100 to 501.900 s have no 0.5 s in common. Check "
        "offset_seconds and clock"
    ) in result.stderr
    result = call_extract(lab, "finetune", "x", "--views", "e4")
    assert result.exit_code == 1
    assert "lies within its videos. Check offset_seconds and clock" in result.stderr


@pytest.mark.parametrize(
    ("section", "line", "message"),
    [
        (
            "finetune",
            "learning_rates = 1",
            r"sync.toml [extract.finetune]: unknown key 'learning_rates', did you mean",
        ),
        (
            "finetune",
            "moments_per_segment = 2",
            "moments_per_segment must be odd, so that one is the middle, got 2",
        ),
        ("finetune", "dropout = 1.0", "dropout must lie from 0 to below 1, got 1.0"),
        ("finetune", "views = []", "views must name one view or more, got none"),
        ("finetune", "learning_rate_steps = [40, 20]", "learning_rate_steps must increase, got [40, 20]"),
        ("finetune", "gradient_clip = 0.0", "gradient_clip must be above 0, got 0.0"),
        ("finetune", "momentum = 1.0", "momentum must lie from 0 to below 1, got 1.0"),
        ("finetune", "weight_decay = -1.0", "weight_decay must be at least 0, got -1.0"),
        ("finetune", "held_out = 1.0", "held_out must lie between 0 and 1, got 1.0"),
        ("finetune", "pass_clips = 0", "pass_clips must be at least 1, got 0"),
        ("finetune", "workers = 0", "workers must be at least 1, got 0"),
        ("finetune", "seed = -1", "seed must lie from 0 to 4294967295, got -1"),
        ("distill", "window_seconds = 0.0", "window_seconds must be above 0, got 0.0"),
        ("distill", 'reduction = "max"', "reduction must be"),
    ],
)
def test_settings_that_make_no_sense(
    films_and_labels: Path, tmp_path: Path, call_extract: Invoke, section: str, line: str, message: str
) -> None:
    (tmp_path / "sync.toml").write_text(
        f'[dataset]\nroot = "{films_and_labels}"\n[views.v3]\nkind = "exo"\n[extract.{section}]\n{line}\n'
    )
    result = call_extract(tmp_path, section, "x")
    assert result.exit_code == 1 and message in result.stderr and result.stderr.count("\n") == 1


def test_exo_ego_and_both_stand_for_views(lab: Path, call_extract: Invoke) -> None:
    """Told by the inputs that a refusal compares with."""
    for views, expected in [
        (("ego",), ["e4"]),
        (("e4", "exo"), ["e4", "v3"]),
        (("both", "v3"), ["v3", "e4"]),
    ]:
        arguments = [part for name in views for part in ("--views", name)]
        name = "-".join(views)
        begun = lab / "backbones" / name / ".inputs.json.1a2b.partial"  # killed within its very first write
        begun.parent.mkdir()
        begun.touch()
        result = call_extract(lab, "finetune", name, *arguments, "--epochs", "1", "--json")
        assert not begun.exists()
        assert result.exit_code == 0, result.stderr
        assert json.loads((lab / "backbones" / name / "inputs.json").read_text())["views"] == expected


def test_the_preset_is_part_of_the_way_to_extract(lab: Path, call_extract: Invoke, tmp_path: Path) -> None:
    save_tsm(lab / "start.safetensors", random_tsm(width=8, shift="window8", seed=4), TsmInfo(trained_on=()))
    shutil.move(lab, tmp_path / "my lab")
    toml = tmp_path / "my lab/sync.toml"
    toml.write_text(toml.read_text() + 'preset = "epic"\n')
    arguments = ("--weights", "start.safetensors", "--backbone", "tsm", "--epochs", "1", "--batch-size", "1")
    result = call_extract(tmp_path / "my lab", "distill", "x", *arguments)
    assert result.exit_code == 0, result.stderr
    model = tmp_path / "my lab/backbones/x/model.safetensors"
    assert result.stderr.splitlines()[-1] == (
        f"Extract with: sync-extract --backbone tsm --weights '{model}' --preset epic --feature-set tsm-x"
    )


def test_a_start_of_ones_own_is_carried_on(lab: Path, call_extract: Invoke) -> None:
    module = random_tsm(width=8, shift="window8", seed=4)
    save_tsm(lab / "start.safetensors", module, TsmInfo(trained_on=("kitchens",)))
    result = call_extract(lab, "finetune", "own", "--weights", "start.safetensors", "--epochs", "1", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["trained_on"][0] == "kitchens"
    read = read_tsm(lab / "backbones/own/model.safetensors")
    assert read.width == 8
    distance = np.abs(read.trunk["conv1.weight"].numpy() - module.conv1.weight.detach().numpy()).max()
    assert 0 < distance < 0.1  # it began there
