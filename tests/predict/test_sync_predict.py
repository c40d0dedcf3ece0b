"""`sync-predict` as one types it, against what the run itself predicted of the same video.

Where the other commands' words don't matter, it runs in the tests' own process, which saves its start.
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pympi.Elan import Eaf
from safetensors.torch import load_file, save_file

from sync_predict.cli import main
from sync_store.exported import ExtractSettings, read_recipe, write_recipe
from sync_store.lock import alone_in

Run = Callable[..., "CompletedProcess[str]"]
Predict = Callable[..., Result]

NAME = "clip #1 & 'ü' %41 <i>"
"""Stem of a file's name; `<` and `>` can't be in a folder's of ours."""

TSM = {
    "backbone": "tsm",
    "preprocessing": {"name": "official"},
    "shift": "none",
    "grid_fps": "10",
    "precision": "float32",
}
"""The part of a recipe that settings are read from."""


def rows(path: Path) -> list[tuple[Fraction, Fraction, str, str]]:
    with path.open(newline="") as file:
        return [
            (Fraction(row["start_seconds"]), Fraction(row["stop_seconds"]), row["label"], row["confidence"])
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, lab: Any, run: Run) -> Path:
    """A folder outside of the project, with the run's model exported to it, and one prediction by that."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copyfile(lab.ego_video, folder / f"{NAME}.mp4")
    done = run("sync-train", "export", "main", "--output", folder / "model", cwd=lab.root)
    assert done.returncode == 0, done.stderr
    done = run("sync-predict", f"{NAME}.mp4", "--run", "model", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch) -> Predict:
    """Run `sync-predict` in a folder, in this process."""

    def invoke(*arguments: object, cwd: Path) -> Result:
        monkeypatch.chdir(cwd)
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def out(desk: Path) -> Path:
    return desk / "predictions" / NAME.replace("<", "-").replace(">", "-")


def test_a_video_gets_the_segments_that_the_run_gave_it(
    lab: Any, out: Path, offset_seconds: Fraction
) -> None:
    theirs = rows(lab.predicted("tas"))
    assert len(theirs) > 1
    shifted = [(start - offset_seconds, stop - offset_seconds, *rest) for start, stop, *rest in theirs]
    assert rows(out / "segments.csv") == shifted


def test_all_forms_say_the_same(out: Path, desk: Path, classes: list[str]) -> None:
    ours = rows(out / "segments.csv")
    document = json.loads((out / "segments.json").read_text())
    assert document["video"] == str(desk / f"{NAME}.mp4")
    assert document["classes"] == classes
    assert (document["model"]["method"], document["model"]["seed"]) == ("tas", 0)
    assert [
        (
            Fraction(str(s["start_seconds"])),
            Fraction(str(s["stop_seconds"])),
            s["label"],
            f"{s['confidence']:.4f}",
        )
        for s in document["segments"]
    ] == ours

    eaf = Eaf(str(out / "segments.eaf"))
    assert [(start, stop, label) for start, stop, label in eaf.get_annotation_data_for_tier("action")] == [
        (max(0, round(1000 * start)), round(1000 * stop), label) for start, stop, label, _ in ours
    ]
    assert [each[2] for each in sorted(eaf.get_annotation_data_for_tier("confidence"))] == [
        confidence for *_, confidence in ours
    ]
    (media,) = eaf.media_descriptors
    assert media["MEDIA_URL"] == f"file://{desk / NAME}.mp4"
    assert (out / media["RELATIVE_MEDIA_URL"]).resolve() == desk / f"{NAME}.mp4"


def test_a_run_does_as_its_exported_model(lab: Any, desk: Path, out: Path, run: Run) -> None:
    """By its folder, without a project, on the features that are there."""
    shutil.copytree(desk / "predictions" / ".work", desk / "other" / ".work", symlinks=True)
    options = ("--run", lab.root / "runs" / "main", "--output", "other", "--json")
    done = run("sync-predict", f"{NAME}.mp4", *options, cwd=desk)
    assert (done.returncode, done.stderr) == (0, "")
    other = Path("other") / out.name
    assert json.loads(done.stdout) == {"written": {str(desk / f"{NAME}.mp4"): str(other)}, "failed": []}
    for name in ("segments.csv", "segments.json", "page.html"):
        assert (desk / other / name).read_bytes() == (out / name).read_bytes()


def test_what_is_done_is_not_done_again(desk: Path, out: Path, predict: Predict) -> None:
    (work,) = (desk / "predictions" / ".work").glob("*/")
    assert sorted(path.name for path in work.iterdir()) == ["features.zarr", "sync.toml", "videos"]
    times = {
        path: path.stat().st_mtime_ns for path in (*out.iterdir(), *(work / "features.zarr").rglob("c/*"))
    }
    again = predict(f"{NAME}.mp4", "--run", "model", cwd=desk)
    assert (again.exit_code, again.stderr) == (0, "")
    assert again.stdout == f"predictions/{out.name}\n"
    assert {path: path.stat().st_mtime_ns for path in times} == times

    (out / "page.html").unlink()  # as if it had been killed before; the features are there still
    mended = predict(f"{NAME}.mp4", "--run", "model", cwd=desk)
    assert mended.exit_code == 0, mended.stderr
    assert (out / "page.html").is_file()
    assert all(path.stat().st_mtime_ns == time for path, time in times.items() if work in path.parents)


def test_another_seed_and_another_method(
    lab: Any, desk: Path, out: Path, tmp_path: Path, run: Run, offset_seconds: Fraction
) -> None:
    """Of the run by its name, in a folder that a variable names, with features that are there already."""
    shutil.copyfile(lab.root / "sync.toml", tmp_path / "sync.toml")  # whose own runs would be beside it
    options = ("--run", "main", "--project", tmp_path, "--method", "no-adaptation", "--seed", 1)
    runs = {"SYNC_RUNS": str(lab.root / "runs")}
    done = run("sync-predict", f"{NAME}.mp4", *options, "--quiet", cwd=desk, **runs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    ours = rows(out / "segments.csv")
    theirs = rows(Path(str(lab.predicted("no-adaptation")).replace("seed-0", "seed-1")))
    assert [(a + offset_seconds, b + offset_seconds, *rest) for a, b, *rest in ours] == theirs


def test_videos_that_fail_do_not_stop_the_others(
    desk: Path, out: Path, films: Callable[..., Path], predict: Predict
) -> None:
    """And what is told of one of which only a part is there is told whenever its features are used."""
    (desk / "empty.mp4").touch()
    (desk / "text.mkv").write_text("not a video\n" * 100)
    cut = films(desk / "cut.mkv", [(200, 40, 40), (30, 190, 50)] * 4, 0)
    cut.write_bytes(cut.read_bytes()[: int(0.95 * cut.stat().st_size)])
    (out / "segments.eaf").unlink()
    videos = ("empty.mp4", f"{NAME}.mp4", "text.mkv", "cut.mkv")
    some = predict(*videos, "--run", "model", "--json", cwd=desk)
    assert some.exit_code == 3
    report = json.loads(some.stdout)
    assert report["written"] == {
        str(desk / f"{NAME}.mp4"): f"predictions/{out.name}",
        str(cut): "predictions/cut",
    }
    assert (out / "segments.eaf").is_file()
    failed = {Path(each["video"]).name: each["message"] for each in report["failed"]}
    assert set(failed) == {"empty.mp4", "text.mkv", "cut.mkv"}
    assert all(".work" not in message for message in failed.values())
    assert f"failed: {desk / 'empty.mp4'}: {failed['empty.mp4']}" in some.stderr
    assert failed["cut.mkv"].startswith(f"{cut}: only ")
    incomplete = f"incomplete: {cut}: {failed['cut.mkv']}\n"
    assert incomplete in some.stderr

    again = predict("cut.mkv", "--run", "model", cwd=desk)
    assert (again.exit_code, again.stdout, again.stderr) == (3, "predictions/cut\n", incomplete)
    written = json.loads((desk / "predictions" / "cut" / "segments.json").read_text())
    assert written["incomplete"] == failed["cut.mkv"]
    assert json.loads((out / "segments.json").read_text())["incomplete"] is None

    (desk / "predictions" / "cut" / "page.html").unlink()  # the features are there still
    more = predict("cut.mkv", "empty.mp4", "--run", "model", "--quiet", cwd=desk)
    failure = f"failed: {desk / 'empty.mp4'}: {failed['empty.mp4']}\n"
    assert (more.exit_code, more.stderr) == (3, incomplete + failure)

    none = predict("empty.mp4", "--run", "model", "--quiet", cwd=desk)
    assert (none.exit_code, none.stdout, none.stderr) == (1, "", failure)


def test_damaged_features_are_told_with_what_to_do_here(desk: Path, tmp_path: Path, predict: Predict) -> None:
    work = shutil.copytree(desk / "predictions" / ".work", tmp_path / "predictions" / ".work", symlinks=True)
    for shard in work.glob("*/features.zarr/*/video/clip*/features/c/0/0"):
        shard.write_bytes(b"")
    done = predict(desk / f"{NAME}.mp4", "--run", desk / "model", "--quiet", cwd=tmp_path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"failed: {desk / NAME}.mp4: its features, which were extracted before, are damaged. Extract them again "
        "with --overwrite\n"
    )


def test_one_at_a_time_in_an_output(desk: Path, predict: Predict) -> None:
    with alone_in(desk / "predictions" / ".work", "held by the test"):
        done = predict(f"{NAME}.mp4", "--run", "model", cwd=desk)
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: {desk / 'predictions' / '.work'}: another sync-predict is at work there; wait for it, or choose "
        "another folder with --output\n"
    )


@pytest.mark.parametrize(
    ("arguments", "status", "messages"),
    [
        (["no.mp4", "--run", "model"], 2, ["File 'no.mp4' does not exist"]),
        (["notes.txt", "--run", "model"], 1, ["notes.txt: isn't a video by its name; expected one of .avi"]),
        (["VIDEO"], 2, ["Missing option '--run'"]),
        (
            ["VIDEO", "--run", "nowhere"],
            1,
            [
                "there is no run 'nowhere': expected a name or a folder that holds seed-0; no sync.toml is near"
            ],
        ),
        (["VIDEO", "--run", "RUN", "--seed", "7"], 1, ["no finished tas of seed 7", "--method tas --seed 7"]),
        (
            ["VIDEO", "--run", "model", "--method", "feature"],
            1,
            ["an exported model of method tas, not feature. Leave"],
        ),
        (
            ["VIDEO", "--run", "model", "--seed", "3"],
            1,
            ["an exported model of seed 0, not 3. Leave --seed out"],
        ),
        (["VIDEO", "sub/VIDEO", "--run", "model"], 1, ["would go to the same folder as those of"]),
    ],
)
def test_wrong_uses(
    lab: Any,
    desk: Path,
    predict: Predict,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    messages: list[str],
) -> None:
    (desk / "notes.txt").touch()
    (desk / "sub").mkdir(exist_ok=True)
    (desk / "sub" / f"{NAME}.mp4").touch()
    names = {"VIDEO": f"{NAME}.mp4", "sub/VIDEO": f"sub/{NAME}.mp4", "RUN": str(lab.root / "runs" / "main")}
    done = predict(*(names.get(word, word) for word in arguments), cwd=desk)
    assert (done.exit_code, done.stdout) == (status, "")
    said = capfd.readouterr().err + done.stderr  # by the other commands, and by itself
    for message in messages:
        assert message in said


def test_features_of_other_weights_are_refused_before_a_frame_is_read(
    desk: Path, tmp_path: Path, run: Run
) -> None:
    """The model's features are said to be those of another backbone, which makes other weights of ours."""
    shutil.copytree(desk / "model", tmp_path / "model")
    edit_recipe(tmp_path / "model", weights_sha256="0" * 64)
    done = run("sync-predict", desk / f"{NAME}.mp4", "--run", "model", cwd=tmp_path)
    assert done.returncode == 1
    above, ours = done.stderr.splitlines()[-2:]
    assert f"was made by another recipe (weights_sha256: stored '{'0' * 64}', now '" in above
    assert ours.startswith(
        "error: the features of run main can't be extracted. If its recipe differs, give the weights"
    )
    assert not list((tmp_path / "predictions").rglob("segments.*"))


def test_missing_weights_are_told_by_who_misses_them(desk: Path, tmp_path: Path, run: Run) -> None:
    shutil.copytree(desk / "model", tmp_path / "model")
    edit_recipe(tmp_path / "model", only=TSM)
    done = run("sync-predict", desk / f"{NAME}.mp4", "--run", "model", cwd=tmp_path)
    assert done.returncode == 1
    assert "backbone 'tsm' has no weights of its own: give a checkpoint with --weights" in done.stderr


def test_imported_features_cannot_be_made(desk: Path, tmp_path: Path, predict: Predict) -> None:
    shutil.copytree(desk / "model", tmp_path / "model")
    edit_recipe(tmp_path / "model", only={"imported": "npy"})
    done = predict(desk / f"{NAME}.mp4", "--run", "model", cwd=tmp_path)
    assert done.exit_code == 1
    assert (
        "was trained on features that were imported (demo features): they can't be made from a video"
        in done.stderr
    )


def test_weights_come_from_the_project(lab: Any, desk: Path, tmp_path: Path, run: Run) -> None:
    """Where its backbone is the model's."""
    (tmp_path / "weights.bin").touch()
    text = (lab.root / "sync.toml").read_text()
    shutil.copytree(desk / "model", tmp_path / "model")
    edit_recipe(tmp_path / "model", only=TSM)
    (tmp_path / "sync.toml").write_text(
        text.replace('backbone = "dinov2-random-demo"', 'backbone = "tsm"\nweights = "weights.bin"')
    )
    done = run("sync-predict", desk / f"{NAME}.mp4", "--run", "model", cwd=tmp_path)
    assert f"error: {tmp_path / 'weights.bin'}: is empty" in done.stderr


def test_other_weights_than_the_exported_ones_are_refused(
    desk: Path, tmp_path: Path, predict: Predict
) -> None:
    shutil.copytree(desk / "model", tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    save_file({name: -tensor for name, tensor in load_file(path).items()}, path)
    done = predict(desk / f"{NAME}.mp4", "--run", "model", cwd=tmp_path)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {path}: isn't the file that was exported (SHA-256 ")
    assert not (tmp_path / "predictions").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", r"isn't a model's config \(JSONDecodeError: "),
        ("[1]", r"isn't a model's config \(TypeError: "),
        ('{"windowing": 1}', r"isn't a model's config \(KeyError: 'classes'\)"),
        ('{"classes": "abc"}', r"isn't a model's config \(classes must be a list of texts\)"),
    ],
)
def test_a_models_config_that_is_none(
    desk: Path, tmp_path: Path, predict: Predict, content: str, problem: str
) -> None:
    """Nothing is left to predict, so the model itself isn't opened."""
    shutil.copytree(desk / "model", tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(content)
    done = predict(f"{NAME}.mp4", "--run", tmp_path / "model", cwd=desk)
    assert done.exit_code == 1
    assert re.fullmatch(rf"error: \S+/model/config\.json: {problem}.*\n", done.stderr), done.stderr


def edit_recipe(folder: Path, *, only: dict[str, Any] | None = None, **changes: Any) -> None:
    """Say that a model's features are others, as an export of such a run would."""
    recipe = read_recipe(folder)
    made = {**recipe.feature_set.recipe, **changes} if only is None else only
    write_recipe(
        folder,
        replace(
            recipe,
            feature_set=replace(recipe.feature_set, recipe=made),
            extract=ExtractSettings.of_recipe(made),
        ),
    )


def test_an_ended_one_leaves_nothing_running_and_goes_on(
    lab: Any, desk: Path, tmp_path: Path, run: Run
) -> None:
    """SIGTERM while rows are written: it is sent on, and heard, before the extraction can end by itself."""
    options = (lab.ego_video, "--run", desk / "model")
    process = subprocess.Popen(
        [Path(sys.executable).with_name("sync-predict"), *options],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: bool(list(tmp_path.rglob("features.zarr/*/video/head-*"))), process)
    (child,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    os.kill(child, signal.SIGSTOP)
    wait_for(lambda: is_stopped(child), process)
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: is_pending(child, signal.SIGTERM), process)
    os.kill(child, signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.count("interrupted; run the same command again to go on\n") == 2, "the child's, and its own"
    assert not Path(f"/proc/{child}").exists()
    assert run("sync-predict", *options, cwd=tmp_path).returncode == 0


def wait_for(happened: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    while not happened():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def is_stopped(pid: int) -> bool:
    """Whether no thread of a process runs any more."""
    return all("(stopped)" in path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status"))


def is_pending(pid: int, number: int) -> bool:
    """Whether a signal was sent to a process that hasn't heard it yet."""
    status = Path(f"/proc/{pid}/status").read_text()
    (pending,) = (line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:"))
    return bool(int(pending, 16) >> (number - 1) & 1)
