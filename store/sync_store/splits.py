"""Splits: which recordings are for training, for adaptation and for testing.

A split is a text file in a folder: one recording a line. The field's other forms are read too: `<name>.bundle`,
names that end in ".txt", and further columns after a tab.
"""

from collections.abc import Callable
from pathlib import Path

from sync_store.errors import DatasetError
from sync_store.names import check_name

SUFFIXES = (".txt", ".bundle")


def read_split(folder: Path, name: str, recording_of: Callable[[str], str] = str) -> list[str]:
    """Read a split.

    Args:
        folder: Folder of the split files.
        name: Name of the split: the file's without its suffix.
        recording_of: The recording that a line's first column names. Several lines may name one where a
            recording has several labelled sequences.

    Returns:
        Recordings in the file's order, each once.

    Raises:
        DatasetError: If there is no such split, it is empty, or a line stands in it twice.
    """
    path = _find(folder, name)
    first_line: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        entry = line.split("\t")[0].strip().removesuffix(".txt")
        if not entry:
            continue
        check_name(f"{path} line {number}: recording", entry, DatasetError)
        if entry in first_line:
            raise DatasetError(f"{path} line {number}: recording {entry} is in line {first_line[entry]} already")
        first_line[entry] = number
    if not first_line:
        raise DatasetError(f"{path}: the split is empty; expected one recording a line")
    return list(dict.fromkeys(map(recording_of, first_line)))


def read_lines(path: Path) -> list[str]:
    """Lines of a text file without the spaces around them.

    Raises:
        DatasetError: If it isn't UTF-8 text.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (UnicodeDecodeError, OSError) as error:
        raise DatasetError(f"{path}: can't be read as text ({error})") from None


def _find(folder: Path, name: str) -> Path:
    check_name("split", name, DatasetError)
    for suffix in SUFFIXES:
        if (path := folder / f"{name}{suffix}").is_file():
            return path
    have = sorted({file.stem for suffix in SUFFIXES for file in folder.glob(f"*{suffix}")})
    raise DatasetError(f"{folder / name}.txt: there is no such split; have: {', '.join(have) or 'none'}")
