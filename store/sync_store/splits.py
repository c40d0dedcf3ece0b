"""Splits: which recordings are for training, for adaptation and for testing. Reads them, and draws new ones.

A split is a text file in a folder: one recording a line. The field's other forms are read too: `<name>.bundle`,
names that end in ".txt", and further columns after a tab.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sync_store.bounded import read_text
from sync_store.errors import DatasetError
from sync_store.names import check_name

SUFFIXES = (".txt", ".bundle")

Sizes = tuple[int, int, int]
"""Numbers of recordings for training, adaptation and test."""


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
            raise DatasetError(
                f"{path} line {number}: recording {entry} is in line {first_line[entry]} already"
            )
        first_line[entry] = number
    if not first_line:
        raise DatasetError(f"{path}: the split is empty; expected one recording a line")
    return list(dict.fromkeys(map(recording_of, first_line)))


def split_names(folder: Path) -> list[str]:
    """Names of all splits of a folder, sorted; none without the folder. Hidden files are no splits."""
    files = (file for suffix in SUFFIXES for file in folder.glob(f"*{suffix}"))
    return sorted({file.stem for file in files if not file.name.startswith(".")})


def read_lines(path: Path) -> list[str]:
    """Lines of a text file without the spaces around them.

    Raises:
        DatasetError: If it isn't UTF-8 text.
    """
    try:
        return [line.strip() for line in read_text(path).splitlines()]
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path}: can't be read as text ({error})") from None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recording that can be drawn, and what there is of it."""

    name: str
    labeled: bool
    exo: bool
    """Its exo video, or the features of it, are there."""
    ego: bool


@dataclass(frozen=True, kw_only=True)
class DrawnSplit:
    """Disjoint recordings, sorted by name."""

    train: tuple[str, ...]
    """Labelled, with the exo view; with the ego view, too, as far as there are enough."""
    adapt: tuple[str, ...]
    """With both views."""
    test: tuple[str, ...]
    """Labelled, with both views."""

    @property
    def sizes(self) -> Sizes:
        """Numbers of recordings."""
        return len(self.train), len(self.adapt), len(self.test)


def draw_split(candidates: Iterable[Candidate], sizes: Sizes, seed: int) -> DrawnSplit:
    """Draw recordings for training, adaptation and test.

    Candidates are shuffled, from the order of their names. The first of the labelled pairs are for test. Unlabelled
    pairs adapt, since that needs no labels, then labelled ones where these are too few. Training takes the labelled
    pairs that are left, then labelled recordings without the ego view. So as many as possible find a place. Where there
    are too few, all three shrink in proportion.

    Args:
        candidates: In any order.
        sizes: How many are asked for in training, adaptation and test; at least 1 each.
        seed: Of the shuffle: NumPy's PCG64.

    Raises:
        DatasetError: If there are too few for one recording in each.
    """
    ordered = sorted(candidates, key=lambda candidate: candidate.name)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(ordered))
    shuffled = [ordered[place] for place in order]
    both = [candidate for candidate in shuffled if candidate.exo and candidate.ego]
    pairs = [candidate.name for candidate in both if candidate.labeled]
    unlabeled = [candidate.name for candidate in both if not candidate.labeled]
    only_exo = [one.name for one in shuffled if one.labeled and one.exo and not one.ego]
    for total in range(sum(sizes), 2, -1):
        num_train, num_adapt, num_test = _in_proportion(sizes, total)
        test, rest = pairs[:num_test], pairs[num_test:]
        adapt, rest = [*unlabeled, *rest][:num_adapt], rest[max(0, num_adapt - len(unlabeled)) :]
        train = [*rest, *only_exo][:num_train]
        got = len(train), len(adapt), len(test)
        if got == (num_train, num_adapt, num_test) and min(got):
            return DrawnSplit(
                train=tuple(sorted(train)), adapt=tuple(sorted(adapt)), test=tuple(sorted(test))
            )
    raise DatasetError(
        f"too few recordings to split: {len(pairs) + len(only_exo)} have labels and the exo view, {len(both)} both "
        f"views, {len(pairs)} all three. Each of training, adaptation and test needs one at least"
    )


def _find(folder: Path, name: str) -> Path:
    check_name("split", name, DatasetError)
    for suffix in SUFFIXES:
        if (path := folder / f"{name}{suffix}").is_file():
            return path
    have = ", ".join(split_names(folder)) or "none"
    raise DatasetError(f"{folder / name}.txt: there is no such split; have: {have}")


def _in_proportion(sizes: Sizes, total: int) -> Sizes:
    """`total` shared out in proportion to `sizes`, by the largest remainders; of equal ones the first."""
    whole = [size * total // sum(sizes) for size in sizes]
    rest = [size * total % sum(sizes) for size in sizes]
    for place in sorted(range(3), key=lambda place: -rest[place])[: total - sum(whole)]:
        whole[place] += 1
    return whole[0], whole[1], whole[2]
