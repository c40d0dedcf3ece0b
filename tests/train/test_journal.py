"""The journal after crashes."""

import json
import os
from pathlib import Path

import pytest

from sync_store.errors import TrainingError
from sync_train.journal import Journal, read_journal


def test_lines_come_back(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", next_epoch=0) as journal:
        journal.write(epoch=0, loss=1.5)
        assert read_journal(tmp_path / "j") == [{"epoch": 0, "loss": 1.5}]  # readable while it is written
        journal.write(epoch=1, loss=0.1)
    assert read_journal(tmp_path / "j") == [{"epoch": 0, "loss": 1.5}, {"epoch": 1, "loss": 0.1}]


def test_resuming_drops_what_will_be_done_again_and_a_cut_line(tmp_path: Path) -> None:
    whole = "".join(json.dumps({"epoch": epoch}) + "\n" for epoch in range(4))
    (tmp_path / "j").write_text(whole + '{"epoch": 4, "lo')
    with Journal(tmp_path / "j", next_epoch=3) as journal:
        journal.write(epoch=3, loss=2)
    assert (tmp_path / "j").read_text().splitlines() == [
        '{"epoch": 0}',
        '{"epoch": 1}',
        '{"epoch": 2}',
        '{"epoch": 3, "loss": 2}',
    ]


@pytest.mark.parametrize(
    "line",
    [
        "3",
        "null",
        "[]",
        '{"loss": 1}',
        '{"epoch": "1"}',
        '{"epoch": true}',
        '{"epoch": 1, "loss": "low"}',
        f'{{"epoch": 1, "loss": 1{400 * "0"}}}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_epochs_ends_it(tmp_path: Path, line: str) -> None:
    (tmp_path / "j").write_text(f'{{"epoch": 0}}\n{line}\n{{"epoch": 2}}\n')
    assert read_journal(tmp_path / "j") == [{"epoch": 0}]
    with Journal(tmp_path / "j", next_epoch=1) as journal:
        journal.write(epoch=1, loss=2)
    assert [found["epoch"] for found in read_journal(tmp_path / "j")] == [0, 1]


def test_a_journal_that_isnt_there_is_empty(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "j") == []


def test_a_journal_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "j")
    with pytest.raises(
        TrainingError, match=r"/j: can't be read \(it isn't a file but a pipe or a device\); train"
    ):
        read_journal(tmp_path / "j")
