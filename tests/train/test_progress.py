"""What is shown: bars on a terminal, lines elsewhere, nothing with --quiet."""

import re

import pytest

from sync_train.progress import show_progress

RESULT = {"num_epochs": 4, "selected_epoch": 1, "score": 321.456, "final_loss": 0.12345}


def play(*, quiet: bool = False) -> None:
    with show_progress(quiet=quiet) as watcher:
        watcher.started("teacher", 7, 20)
        watcher.epoch(0, {"loss": 1.23456, "cross_entropy": 9.0, "score": 300.0})
        watcher.finished(RESULT, again=False)
        watcher.started("[bold]tas", 7, 20)
        watcher.finished(RESULT | {"score": None}, again=False)
        watcher.started("adapter", 7, 20)
        watcher.finished(RESULT, again=True)


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    play()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "seed 7, teacher: kept epoch 2 of 4, loss 0.1235, score 321.5",
        "seed 7, [bold]tas: kept epoch 2 of 4, loss 0.1235",
        "seed 7, adapter: done before",
    ]


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    play(quiet=True)
    assert capsys.readouterr() == ("", "")


def test_bars(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich takes stderr for a terminal
    monkeypatch.setenv("COLUMNS", "160")
    with show_progress() as watcher:
        watcher.started("teacher", 7, 20)
        watcher.epoch(2, {"loss": 1.23456, "cross_entropy": 9.0, "score": 300.0})
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "epoch 3/20" in shown and "loss 1.235  score 300" in shown and "cross_entropy" not in shown
    play()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "epoch 4/4" in shown and "kept epoch 2 of 4, loss 0.1235, score 321.5" in shown
    assert "done before" in shown
