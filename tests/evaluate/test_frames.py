"""Folders of text files: what is read, and what is refused."""

from pathlib import Path

import pytest

from sync_eval.frames import count_frames, read_frame_folders, unused_background
from sync_store.errors import DatasetError


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content, newline="")
    return folder


def test_reads_pairs_by_name_whatever_the_line_ends(tmp_path: Path) -> None:
    predicted = write(tmp_path / "p", r2="a\nb", r1="a\r\nb c\r\n")
    true = write(tmp_path / "g", r1="a\nb c\n\n", r2="b\nb\n")
    (true / ".DS_Store").write_text("not labels")
    first, second = read_frame_folders(predicted, true)
    assert (first.name, first.predicted, first.true) == ("r1.txt", ("a", "b c"), ("a", "b c"))
    assert (second.name, second.predicted, second.true) == ("r2.txt", ("a", "b"), ("b", "b"))


def test_labels_are_text_and_not_numbers(tmp_path: Path) -> None:
    pairs = read_frame_folders(write(tmp_path / "p", r="1\n01\n"), write(tmp_path / "g", r="1\n1\n"))
    (counts,) = count_frames(pairs).values()
    assert counts.num_correct_frames == 1 and counts.num_predicted_segments == 2


def test_two_background_classes_are_told_apart_in_mof_alone(tmp_path: Path) -> None:
    start, end = "action_start", "action_end"
    predicted = write(tmp_path / "p", r=f"{start}\n{start}\na\na\n{start}\n")
    true = write(tmp_path / "g", r=f"{start}\n{end}\na\na\n{end}\n")
    scores = count_frames(read_frame_folders(predicted, true), [start, end])["r.txt"].scores()
    assert scores.mof == pytest.approx(60)
    assert scores.edit == scores.f1_50 == 100


def test_background_that_no_file_has_is_told(tmp_path: Path) -> None:
    pairs = read_frame_folders(write(tmp_path / "p", r="a\n"), write(tmp_path / "g", r="SIL\n"))
    assert unused_background(pairs, ["SIL", "a", "sil"]) == ["sil"]


def test_lengths_must_agree(tmp_path: Path) -> None:
    predicted, true = write(tmp_path / "p", r="a\na\na\n"), write(tmp_path / "g", r="a\na\n")
    with pytest.raises(DatasetError, match=r"r\.txt: 3 labels in .*/p/r\.txt, but 2 in .*/g/r\.txt"):
        read_frame_folders(predicted, true)


def test_files_missing_on_either_side_are_named(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", r1="a\n"), write(tmp_path / "two", r1="a\n", r2="a\n", r3="a\n")
    with pytest.raises(DatasetError, match=r"one: has no r2\.txt, r3\.txt; both folders"):
        read_frame_folders(one, two)
    with pytest.raises(DatasetError, match=r"one: has no r2\.txt, r3\.txt; both folders"):
        read_frame_folders(two, one)


def test_many_missing_files_are_counted(tmp_path: Path) -> None:
    many = write(tmp_path / "many", **{f"r{i}": "a\n" for i in range(9)})
    with pytest.raises(DatasetError, match=r"has no r0\.txt, .*, r4\.txt and 4 more;"):
        read_frame_folders(write(tmp_path / "none"), many)


def test_folders_must_exist_and_hold_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: there is no such folder"):
        read_frame_folders(tmp_path / "nowhere", tmp_path)
    empty = write(tmp_path / "empty")
    with pytest.raises(DatasetError, match="empty: there are no files to score"):
        read_frame_folders(empty, empty)


def test_an_empty_line_between_labels_is_refused(tmp_path: Path) -> None:
    predicted, true = write(tmp_path / "p", r="a\n\na\n"), write(tmp_path / "g", r="a\na\na\n")
    with pytest.raises(DatasetError, match=r"p/r\.txt line 2: the line is empty"):
        read_frame_folders(predicted, true)
