"""The journal after crashes."""

import json
from pathlib import Path

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


def test_a_journal_that_isnt_there_is_empty(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "j") == []
