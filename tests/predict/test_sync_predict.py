"""`sync-predict` as one types it, against what the run itself predicted of the same video."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from pympi.Elan import Eaf
from safetensors.torch import load_file, save_file

from sync_store.exported import ExtractSettings, read_recipe, write_recipe

Run = Callable[..., "CompletedProcess[str]"]

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
def out(desk: Path) -> Path:
    return desk / "predictions" / NAME.replace("<", "-").replace(">", "-")


def test_a_video_gets_the_segments_that_the_run_gave_it(
    lab: Any, out: Path, offset_seconds: Fraction
) -> None:
    theirs = rows(lab.predicted("tas"))
    assert len(theirs) > 2
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


def test_what_is_done_is_not_done_again(desk: Path, out: Path, run: Run) -> None:
    (work,) = (desk / "predictions" / ".work").iterdir()
    times = {
        path: path.stat().st_mtime_ns for path in (*out.iterdir(), *(work / "features.zarr").rglob("c/*"))
    }
    again = run("sync-predict", f"{NAME}.mp4", "--run", "model", cwd=desk)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == f"predictions/{out.name}\n"
    assert {path: path.stat().st_mtime_ns for path in times} == times

    (out / "page.html").unlink()  # as if it had been killed before; the features are there still
    mended = run("sync-predict", f"{NAME}.mp4", "--run", "model", cwd=desk)
    assert mended.returncode == 0, mended.stderr
    assert (out / "page.html").is_file()
    assert all(path.stat().st_mtime_ns == time for path, time in times.items() if work in path.parents)


def test_another_seed_and_another_method(
    lab: Any, desk: Path, out: Path, run: Run, offset_seconds: Fraction
) -> None:
    """Of the run by its name, with features that are there already."""
    options = ("--run", "main", "--project", lab.root / "sync.toml", "--method", "no-adaptation", "--seed", 1)
    done = run("sync-predict", f"{NAME}.mp4", *options, "--quiet", cwd=desk)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    ours = rows(out / "segments.csv")
    theirs = rows(Path(str(lab.predicted("no-adaptation")).replace("seed-0", "seed-1")))
    assert [(a + offset_seconds, b + offset_seconds, *rest) for a, b, *rest in ours] == theirs


def test_videos_that_fail_do_not_stop_the_others(desk: Path, out: Path, run: Run) -> None:
    (desk / "empty.mp4").touch()
    (desk / "text.mkv").write_text("not a video\n" * 100)
    (out / "segments.eaf").unlink()
    videos = ("empty.mp4", f"{NAME}.mp4", "text.mkv")
    some = run("sync-predict", *videos, "--run", "model", "--json", cwd=desk)
    assert some.returncode == 3
    report = json.loads(some.stdout)
    assert report["written"] == {str(desk / f"{NAME}.mp4"): f"predictions/{out.name}"}
    assert (out / "segments.eaf").is_file()
    failed = {Path(each["video"]).name: each["message"] for each in report["failed"]}
    assert set(failed) == {"empty.mp4", "text.mkv"}
    assert all(".work" not in message for message in failed.values())
    assert f"failed: {desk / 'empty.mp4'}: {failed['empty.mp4']}" in some.stderr

    none = run("sync-predict", "empty.mp4", "--run", "model", cwd=desk)
    assert (none.returncode, none.stdout) == (1, "")
    assert f"failed: {desk / 'empty.mp4'}: {failed['empty.mp4']}" in none.stderr


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
        (
            ["VIDEO", "--run", "RUN", "--method", "feature"],
            1,
            ["has no finished feature of seed 0, 1, but no-adaptation, tas"],
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
    lab: Any, desk: Path, run: Run, arguments: list[str], status: int, messages: list[str]
) -> None:
    (desk / "notes.txt").touch()
    (desk / "sub").mkdir(exist_ok=True)
    (desk / "sub" / f"{NAME}.mp4").touch()
    names = {"VIDEO": f"{NAME}.mp4", "sub/VIDEO": f"sub/{NAME}.mp4", "RUN": str(lab.root / "runs" / "main")}
    done = run("sync-predict", *(names.get(word, word) for word in arguments), cwd=desk)
    assert (done.returncode, done.stdout) == (status, "")
    for message in messages:
        assert message in done.stderr


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


def test_imported_features_cannot_be_made(desk: Path, tmp_path: Path, run: Run) -> None:
    shutil.copytree(desk / "model", tmp_path / "model")
    edit_recipe(tmp_path / "model", only={"imported": "npy"})
    done = run("sync-predict", desk / f"{NAME}.mp4", "--run", "model", cwd=tmp_path)
    assert done.returncode == 1
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


def test_a_damaged_model_is_refused(desk: Path, tmp_path: Path, run: Run) -> None:
    shutil.copytree(desk / "model", tmp_path / "model")
    shutil.copytree(desk / "predictions" / ".work", tmp_path / "predictions" / ".work", symlinks=True)
    weights = load_file(tmp_path / "model" / "model.safetensors")
    save_file({name: torch.zeros(1) for name in weights}, tmp_path / "model" / "model.safetensors")
    done = run("sync-predict", desk / f"{NAME}.mp4", "--run", "model", cwd=tmp_path)
    assert done.returncode == 1
    assert "model.safetensors: can't be loaded" in done.stderr
    assert "error: the model of run main can't be applied (sync-train ended with exit status 1" in done.stderr


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
    """SIGTERM while the features are extracted."""
    options = (lab.ego_video, "--run", desk / "model")
    process = subprocess.Popen(
        [Path(sys.executable).with_name("sync-predict"), *options],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "extracting features demo features of 1 of 1 videos\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.endswith("interrupted; run the same command again to go on\n")
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    of_group = [line.split()[1] for line in listed.splitlines() if line.split()[0] == str(process.pid)]
    assert [state for state in of_group if not state.startswith("Z")] == []
    assert run("sync-predict", *options, cwd=tmp_path).returncode == 0
