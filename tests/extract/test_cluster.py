"""Bins of equal time, what failed how often, and options that don't fit; the jobs: tests/services."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_extract.cluster.bins import Item, num_bins, pack
from sync_extract.cluster.ledger import Attempt, Ledger

PROJECT = """\
[dataset]
label_fps = 15

[views.e4]
kind = "ego"

[extract]
backbone = "dinov2-random-demo"
device = "cpu"
"""


@pytest.fixture
def lab(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    (tmp_path / "sync.toml").write_text(PROJECT)
    make_video(tmp_path / "videos" / "r0" / "e4.mp4", count=45)
    make_video(tmp_path / "videos" / "r1" / "e4.mp4", count=90)
    return tmp_path


def test_no_slurm_here(lab: Path, call_extract: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = call_extract(lab, "--cluster", "slurm")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: there is no Slurm here") and "--cluster local" in done.stderr


def test_a_dry_run_says_what_is_left_and_does_nothing(lab: Path, call_extract: Any) -> None:
    done = call_extract(lab, "--cluster", "local", "--dry-run")
    assert (done.exit_code, done.stdout) == (0, "e4/r0: about 22 rows\ne4/r1: about 45 rows\n")
    assert not (lab / "extract-jobs").exists() and not (lab / "features.zarr").exists()


def test_another_video_than_the_stored_rows_are_of_is_said(
    lab: Path, call_extract: Any, make_video: Callable[..., Path]
) -> None:
    assert call_extract(lab, "--cluster", "none").exit_code == 0
    video = lab / "videos" / "r0" / "e4.mp4"
    video.unlink()
    make_video(video, count=60)
    done = call_extract(lab, "--cluster", "local", "--json")
    assert done.exit_code == 3
    assert "failed: e4/r0: the size of e4.mp4 in bytes has changed from" in done.stderr
    report = json.loads(done.stdout)
    assert (report["to_do"], [failure["recording"] for failure in report["changed"]]) == ([], ["r0"])
    mended = call_extract(lab, "--overwrite", "--recording", "r0")
    assert mended.exit_code == 0, mended.stderr
    assert call_extract(lab, "--cluster", "local").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--cluster", "none", "--partition", "gpu"], 1, "--partition is for --cluster slurm"),
        (["--cluster", "slurm", "--processes", "2"], 1, "--processes is for --cluster local"),
        (["--cluster", "local", "--overwrite"], 2, "--cluster none"),
        (["--cluster", "local", "--device", "cuda:1"], 1, "name cuda, or the GPUs in CUDA_VISIBLE_DEVICES"),
        (["--cluster", "local", "--recording", "r7"], 1, "there is no recording 'r7'"),
    ],
)
def test_what_does_not_fit_is_said(
    lab: Path, call_extract: Any, arguments: list[str], status: int, said: str
) -> None:
    done = call_extract(lab, *arguments)
    assert done.exit_code == status and said in done.stderr


def test_status_before_any_job(lab: Path, call_extract: Any) -> None:
    done = call_extract(lab, "status")
    assert (done.exit_code, done.stdout) == (
        0,
        "dinov2-random-demo: 0 done, 0 running, 2 waiting, 0 failed\n",
    )


@given(rows=st.lists(st.integers(0, 10_000), min_size=1, max_size=60), most=st.integers(1, 9))
def test_bins_hold_every_item_once_and_are_even(rows: list[int], most: int) -> None:
    items = [Item(view="e4", recording=f"r{number}", rows=count) for number, count in enumerate(rows)]
    bins = pack(items, num_bins(items, bin_rows=3000, most=most))
    assert sorted((item for of_bin in bins for item in of_bin), key=items.index) == items
    assert all(bins) and len(bins) <= most
    loads = [sum(max(1, item.rows) for item in of_bin) for of_bin in bins]
    assert max(loads) <= sum(loads) / len(bins) + max(1, *rows, 1)  # Graham's bound


def attempt(job: str, *, first_row: int = 0, error: str = "") -> Attempt:
    return Attempt(
        job=job, host="n1", log="", began="2026-01-01T00:00:00+00:00", first_row=first_row, error=error
    )


def test_an_attempt_that_ends_without_a_word_counts_unless_it_added_rows(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.begin("e4", "r", attempt("1"))
    ledger.begin("e4", "r", attempt("1"))  # requeued by Slurm
    assert ledger.failures("e4", "r") == []
    ledger.begin("e4", "r", attempt("2"))
    (silent,) = ledger.failures("e4", "r")
    assert silent.job == "1" and "without a word" in silent.error
    ledger.begin("e4", "r", attempt("3", first_row=256))
    assert len(ledger.failures("e4", "r")) == 1
    ledger.fail("e4", "r", attempt("3", error="broken"))
    assert [one.error for one in ledger.failures("e4", "r")][1:] == ["broken"]
    ledger.finish("e4", "r")
    assert ledger.failures("e4", "r") == []
