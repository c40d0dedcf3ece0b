"""The command `sync-extract` on real videos: as a process where that matters, else in this one."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from transformers import Dinov2Config, Dinov2Model
from transformers.utils import logging as transformers_logging

from sync_store.reader import FeatureStore

COMMAND = str(Path(sys.executable).with_name("sync-extract"))

PROJECT = """\
[dataset]
label_fps = 15

[views.v3]
kind = "exo"

[views.e4]
kind = "ego"

[extract]
backbone = "dinov2-random-demo"
device = "cpu"
batch_size = 32
"""

Invoke = Callable[..., Result]


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "index.json"
    }


def environment(**more: str) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("SYNC_", "HF_"))}
    # threads that wait for each other take long where other work runs beside the tests
    return {**plain, "OMP_NUM_THREADS": "1", **more}


def run(folder: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def first_run(
    tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]
) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """A project and the bare command's first run on it."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "sync.toml").write_text(PROJECT)
    for recording in ("r1", "r2"):
        make_video(folder / f"videos/{recording}/v3.mp4", count=30)
        make_video(folder / f"videos/{recording}/e4.mp4", "hevc", count=40, pixel_format="gray10le")
    return folder, run(folder)


@pytest.fixture
def lab(first_run: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of the project after its first run."""
    return shutil.copytree(first_run[0], tmp_path / "lab")


def test_the_bare_command_extracts_every_view(first_run: tuple[Path, Any]) -> None:
    folder, done = first_run
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "\x1b" not in done.stderr
    lines = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines[:4]] == [
        f"[{number}/4] {name}" for number, name in enumerate(("v3/r1", "v3/r2", "e4/r1", "e4/r2"), start=1)
    ]
    assert lines[4:] == ["dinov2-random-demo: 4 extracted, 0 complete already, 0 failed"]
    store = FeatureStore(folder / "features.zarr")
    read = store.read("dinov2-random-demo", "v3", "r1")
    assert read.features.shape == (15, 128)
    assert read.timestamps[:3].tolist() == [0, 66_666_667, 133_333_333]
    recipe = store.feature_set("dinov2-random-demo")["recipe"]
    assert recipe["grid_fps"] == "15" and recipe["precision"] == "float32"


def test_a_second_run_extracts_nothing(lab: Path, call_extract: Invoke) -> None:
    before = tree(lab / "features.zarr")
    result = call_extract(lab)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "dinov2-random-demo: 0 extracted, 4 complete already, 0 failed\n"
    assert tree(lab / "features.zarr") == before


def test_overwrite_gives_the_same_rows_again(lab: Path, call_extract: Invoke) -> None:
    store = FeatureStore(lab / "features.zarr")
    before = store.read("dinov2-random-demo", "e4", "r2")
    stamp = (lab / "features.zarr/dinov2-random-demo/e4/r2/zarr.json").stat().st_mtime_ns
    result = call_extract(lab, "--view", "e4", "--recording", "r2", "--overwrite", "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["extracted"] == 1
    assert (lab / "features.zarr/dinov2-random-demo/e4/r2/zarr.json").stat().st_mtime_ns > stamp
    again = store.read("dinov2-random-demo", "e4", "r2")
    assert np.array_equal(again.features, before.features)
    assert np.array_equal(again.timestamps, before.timestamps)


def test_json_is_all_there_is(lab: Path, call_extract: Invoke) -> None:
    (lab / "videos/r2/v3.mp4").unlink()
    result = call_extract(lab, "--json", "--view", "e4", "--view", "v3")
    assert result.exit_code == 3 and result.stderr == ""
    report = json.loads(result.stdout)
    assert report.pop("failed") == [
        {
            "recording": "r2",
            "view": "v3",
            "message": f"recording r2, view v3: no video; expected {lab}/videos/r2/v3.mp4",
            "kept": False,
            "left": False,
        }
    ]
    assert report == {
        "feature_set": "dinov2-random-demo",
        "store": str(lab / "features.zarr"),
        "extracted": 0,
        "to_do": [],
        "skipped": 3,
        "absent": [],
    }


def test_dry_run_says_what_it_would_do_and_does_nothing(lab: Path, call_extract: Invoke) -> None:
    shutil.rmtree(lab / "features.zarr/dinov2-random-demo/e4")
    before = tree(lab)
    result = call_extract(lab, "--dry-run", "--view", "e4", "--view", "v3")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"new: e4/{name}: about 20 rows, {lab}/videos/{name}/e4.mp4" for name in ("r1", "r2")
    ]
    assert result.stderr == "dinov2-random-demo: 2 to extract, 2 complete already, 0 failed\n"
    report = json.loads(call_extract(lab, "--dry-run", "--json", "--recording", "r2").stdout)
    assert report["to_do"] == [{"view": "e4", "recording": "r2", "state": "new", "expected_rows": 20}]
    assert (report["extracted"], report["skipped"], report["failed"]) == (0, 1, [])
    assert tree(lab) == before


@pytest.mark.parametrize(
    "options", [("--fps", "10"), ("--fps", "10", "--dry-run"), ("--fps", "10", "--overwrite")]
)
def test_two_recipes_are_never_mixed(lab: Path, call_extract: Invoke, options: tuple[str, ...]) -> None:
    before = tree(lab)
    result = call_extract(lab, *options)
    assert result.exit_code == 1
    assert "made by another recipe (grid_fps: stored '15', now '10')" in result.stderr
    assert "give this one another name with --feature-set" in result.stderr and result.stderr.count("\n") == 1
    assert tree(lab) == before


def test_another_feature_set_beside_it(lab: Path, call_extract: Invoke) -> None:
    result = call_extract(
        lab, "--fps", "10", "--feature-set", "ten", "--recording", "r1", "--workers", "1", "-q"
    )
    assert result.exit_code == 0, result.stderr
    store = FeatureStore(lab / "features.zarr")
    assert store.feature_sets() == ["dinov2-random-demo", "ten"]
    assert store.recordings("ten", "v3") == ["r1"]
    assert store.read("ten", "v3", "r1").features.shape == (11, 128)


def test_what_the_file_says_of_its_backbone_is_not_said_of_another(lab: Path, call_extract: Invoke) -> None:
    of_dinov2 = 'feature_set = "mine"\npreset = "published"\ntokens = ["mean"]\nposition_embedding = "hub"\n'
    (lab / "sync.toml").write_text(PROJECT + of_dinov2 + "fps = 5\n")
    done = call_extract(lab, "--dry-run", "--backbone", "tsm-random-demo", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["feature_set"] == "tsm-random-demo"
    named = call_extract(lab, "--dry-run", "--backbone", "dinov2-random-demo", "--json")  # as the file does
    assert json.loads(named.stdout)["feature_set"] == "mine"


def test_options_beat_variables_and_variables_beat_the_file(lab: Path, call_extract: Invoke) -> None:
    shutil.rmtree(lab / "features.zarr")
    variables = {"SYNC_FPS": "native", "SYNC_BATCH_SIZE": "8", "SYNC_VIEW": "v3", "SYNC_PROJECT": str(lab)}
    result = call_extract(lab.parent, "--recording", "r1", "--batch-size", "4", "--json", **variables)
    assert result.exit_code == 0 and json.loads(result.stdout)["extracted"] == 1
    store = FeatureStore(lab / "features.zarr")
    assert store.views("dinov2-random-demo") == ["v3"]
    assert len(store.read("dinov2-random-demo", "v3", "r1").features) == 30
    assert store.attributes("dinov2-random-demo", "v3", "r1")["provenance"]["batch_size"] == 4


def test_bad_videos_are_listed_and_the_others_kept(
    lab: Path, call_extract: Invoke, make_video: Callable[..., Path], films: Any
) -> None:
    """Every kind of bad input at once; the exit status says that there was some."""
    videos = lab / "videos"
    make_video(videos / "a-good/v3.mp4", count=30)
    for name in ("missing", "empty", "text", "cut", "rotten"):
        (videos / name).mkdir()
    (videos / "empty/v3.mp4").touch()
    (videos / "text/v3.mp4").write_text("notes")
    whole = make_video(lab / "whole.mp4", container_options={"movflags": "+faststart"}, options={"bf": "0"})
    content = whole.read_bytes()
    (videos / "cut/v3.mp4").write_bytes(content[: int(0.97 * len(content))])
    (videos / "rotten/v3.mp4").write_bytes(content[: int(0.5 * len(content))])
    (videos / "two").mkdir()
    films.copy_packets(whole, videos / "two/v3.mp4", twice=True)
    make_video(videos / "z-good/v3.mp4", count=30)
    (videos / "r1/v3.mp4").write_bytes(content)
    result = call_extract(lab, "--view", "v3")
    assert result.exit_code == 3
    final = [line for line in result.stderr.splitlines() if line.startswith(("failed: ", "incomplete: "))]
    listed = {line.split(": ")[1]: line for line in final}
    parts = {
        "v3/empty": "the file is empty",
        "v3/missing": "no video; expected",
        "v3/r1": "in bytes has changed from",
        "v3/text": "not a video that FFmpeg can read",
        "v3/two": "2 video streams",
        "v3/cut": "incomplete: v3/cut",
        "v3/rotten": "is refused",
    }
    assert set(listed) == set(parts)
    for name, part in parts.items():
        assert part in listed[name]
    assert result.stderr.splitlines()[-1] == (
        "dinov2-random-demo: 3 extracted, 1 complete already, 1 incomplete, 6 failed"
    )
    good = FeatureStore(lab / "features.zarr").recordings("dinov2-random-demo", "v3")
    assert good == ["a-good", "cut", "r1", "r2", "z-good"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--view", "e5"], "there is no view 'e5'; known: e4, v3"),
        (["--recording", "r11"], "there is no recording 'r11' in the dataset, did you mean 'r1'?"),
        (["--backbone", "dinov2-larg"], "unknown backbone 'dinov2-larg', did you mean 'dinov2-large'?"),
        (["--fps", "fast"], """fps must be a rate such as 30 or "30000/1001", or "native", got 'fast'"""),
        (["--device", "gpu"], "device 'gpu' can't be used"),
        (["--feature-set", "a/b"], "feature set name 'a/b' contains a path separator"),
    ],
)
def test_wrong_usage_is_one_line_that_helps(
    lab: Path, call_extract: Invoke, arguments: list[str], message: str
) -> None:
    result = call_extract(lab, *arguments)
    assert result.exit_code == 1 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and message in line


def test_a_device_that_is_not_there(lab: Path, call_extract: Invoke) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    result = call_extract(lab, "--device", "cuda")
    assert result.exit_code == 1 and "device 'cuda' can't be used" in result.stderr


def test_unknown_keys_of_the_project_file(lab: Path, call_extract: Invoke) -> None:
    (lab / "sync.toml").write_text(PROJECT.replace("batch_size", "batchsize"))
    result = call_extract(lab)
    assert result.exit_code == 1 and "unknown key 'batchsize', did you mean 'batch_size'?" in result.stderr


def test_no_project(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: no sync.toml in {tmp_path} or any folder above it. Write one")
    assert run(tmp_path, "--no-such-option").returncode == 2


def test_local_weights_are_taken_and_nothing_is_downloaded(lab: Path, call_extract: Invoke) -> None:
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=48, num_hidden_layers=1, num_attention_heads=3, image_size=56, patch_size=56
    )
    transformers_logging.disable_progress_bar()
    Dinov2Model(config).save_pretrained(lab / "weights")
    arguments = ["--backbone", "dinov2", "--weights", "weights", "--view", "v3", "--preset", "published"]
    result = call_extract(lab, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["extracted"] == 2
    store = FeatureStore(lab / "features.zarr")
    assert store.read("dinov2", "v3", "r1").features.shape == (15, 48)
    recipe = store.feature_set("dinov2")["recipe"]
    assert recipe["preprocessing"]["name"] == "published" and recipe["tokens"] == ["cls"]


def test_weights_that_need_a_network_say_what_to_do(lab: Path, tmp_path: Path) -> None:
    """Offline, which saves the half minute that the hub's client waits and tries again; and an empty cache."""
    done = run(lab, "--backbone", "dinov2-large", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "cache"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the weights of dinov2-large can't be had from the Hugging Face hub")
    assert "hf download facebook/dinov2-large --local-dir dinov2-large; then" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_what_is_asked_for_is_checked_before_weights_are_loaded(
    lab: Path, tmp_path: Path, call_extract: Invoke, options: tuple[str, ...]
) -> None:
    (tmp_path / "weights").mkdir()
    arguments = ["--backbone", "dinov2", "--weights", str(tmp_path / "weights"), *options]
    assert "there is no recording 'r11'" in call_extract(lab, *arguments, "--recording", "r11").stderr
    shutil.rmtree(lab / "videos")
    (lab / "videos").mkdir()
    assert "the dataset has no recordings" in call_extract(lab, *arguments).stderr


def test_ls_lists_what_the_store_holds(lab: Path, call_extract: Invoke) -> None:
    metadata = lab / "features.zarr/dinov2-random-demo/e4/r2/zarr.json"
    metadata.write_text(metadata.read_text().replace('"complete": true', '"complete": false'))
    result = call_extract(lab, "ls", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["store"] == str(lab / "features.zarr")
    e4, v3 = report["views"]
    assert (e4["view"], e4["recordings"], e4["incomplete"]) == ("e4", 1, ["r2"])
    assert (v3["view"], v3["recordings"], v3["incomplete"]) == ("v3", 2, [])
    assert v3["hours"] == round(2 * 14 / 15 / 3600, 3) and v3["size_bytes"] > 2 * 15 * 128 * 2
    assert len(v3["fingerprint"]) == 64 and v3["feature_set"] == "dinov2-random-demo"
    table = run(lab, "ls").stdout
    assert "\x1b" not in table
    cells = [
        [cell.strip() for cell in line.strip("│┃ ").split("│")] for line in table.splitlines() if "│" in line
    ]
    assert [row[:3] + row[5:] for row in cells] == [
        ["dinov2-random-demo", "e4", "1", "r2"],
        ["dinov2-random-demo", "v3", "2", "-"],
    ]


def test_ls_lists_what_is_damaged(lab: Path, call_extract: Invoke) -> None:
    views = lab / "features.zarr/dinov2-random-demo"
    times = views / "e4/r1/timestamps/c/0"
    content = bytearray(times.read_bytes())
    content[3] ^= 1
    times.write_bytes(content)
    (views / "e4/index.json").unlink(missing_ok=True)
    (views / "v3/r2/zarr.json").write_text("{")
    for _ in range(2):  # with and without the cache
        result = call_extract(lab, "ls", "--json")
        assert result.exit_code == 0
        e4, v3 = json.loads(result.stdout)["views"]
        assert (e4["recordings"], e4["incomplete"], e4["damaged"]) == (1, [], ["r1"])
        assert (v3["recordings"], v3["incomplete"], v3["damaged"]) == (1, [], ["r2"])
    assert "r1 (damaged)" in call_extract(lab, "ls").stdout
    mended = call_extract(lab, "--view", "e4", "--view", "v3", "--overwrite")
    assert mended.exit_code == 0, mended.stderr
    assert call_extract(lab, "verify").stdout == "4 good, 0 incomplete, 0 damaged\n"


def test_verify_finds_a_flipped_bit(lab: Path, call_extract: Invoke) -> None:
    result = call_extract(lab, "verify")
    assert (result.exit_code, result.stdout) == (0, "4 good, 0 incomplete, 0 damaged\n")
    shard = lab / "features.zarr/dinov2-random-demo/v3/r1/features/c/0/0"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    result = call_extract(lab, "verify", "--view", "v3")
    assert result.exit_code == 3
    assert result.stdout.startswith("damaged: dinov2-random-demo/v3/r1 shard 0 can't be read")
    assert result.stdout.endswith("1 good, 0 incomplete, 1 damaged\n")
    findings = json.loads(call_extract(lab, "verify", "--json").stdout)["findings"]
    assert [finding["state"] for finding in findings] == ["good", "good", "damaged", "good"]


def test_verify_and_ls_refuse_what_is_not_there(lab: Path, call_extract: Invoke) -> None:
    assert "there is no view 'v4'; known: e4, v3" in call_extract(lab, "verify", "--view", "v4").stderr
    assert "there is no feature set 'x'" in call_extract(lab, "verify", "--feature-set", "x").stderr
    shutil.rmtree(lab / "features.zarr")
    for command in ("ls", "verify"):
        result = call_extract(lab, command)
        assert result.exit_code == 1 and "there is no feature store here. Make it with" in result.stderr


SMALL_SHARDS = {"CHUNK_BYTES": 2 << 10, "SHARD_BYTES": 8 << 10}
"""Chunks of 8 rows of 128 values, shards of 32, so that 240 rows make eight."""

IN_SMALL_SHARDS = (
    "import sync_store.layout as layout\n"
    f"layout.CHUNK_BYTES, layout.SHARD_BYTES = {SMALL_SHARDS['CHUNK_BYTES']}, {SMALL_SHARDS['SHARD_BYTES']}\n"
    "from sync_extract.cli import main\n"
    "main()\n"
)


def interrupt(folder: Path, number: signal.Signals, shard: int) -> "subprocess.CompletedProcess[str]":
    """Start the command and send it a signal when it has written a shard of e4/r1."""
    command = [sys.executable, "-c", IN_SMALL_SHARDS, "--view", "e4", "--fps", "native", "--batch-size", "16"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    file = folder / f"features.zarr/dinov2-random-demo/e4/r1/features/c/{shard}/0"
    while not file.exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in the processes: the order of sums depends on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_killed_in_the_middle_and_started_again_gives_the_same_bytes(
    tmp_path: Path, make_video: Callable[..., Path], call_extract: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
        (folder / "sync.toml").write_text(PROJECT)
        make_video(folder / "videos/r1/e4.mp4", "hevc-open", count=240)
    for name, value in SMALL_SHARDS.items():
        monkeypatch.setattr(f"sync_store.layout.{name}", value)
    options = ("--view", "e4", "--fps", "native", "--batch-size", "16")
    assert call_extract(folders[0], *options).exit_code == 0
    expected = tree(folders[0] / "features.zarr")
    assert sum("/features/c/" in name for name in expected) == 8

    killed = interrupt(folders[1], signal.SIGKILL, shard=0)
    assert killed.returncode == -signal.SIGKILL
    store = FeatureStore(folders[1] / "features.zarr")
    assert store.recordings("dinov2-random-demo", "e4") == []
    ended = interrupt(folders[1], signal.SIGTERM, shard=2)
    assert ended.returncode == 143
    assert ended.stderr.endswith("interrupted; run the same command again to go on\n")
    assert "Traceback" not in ended.stderr
    assert store.recordings("dinov2-random-demo", "e4") == []

    result = call_extract(folders[1], *options)
    assert result.exit_code == 0, result.stderr
    computed = int(result.stderr.split("e4/r1: ")[1].split(" rows")[0])
    assert computed <= 240 - 3 * 32
    assert tree(folders[1] / "features.zarr") == expected
