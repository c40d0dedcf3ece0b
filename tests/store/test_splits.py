"""Split files in every form of the field, and drawn splits against counting by hand."""

from fractions import Fraction
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_store.errors import DatasetError
from sync_store.splits import Candidate, DrawnSplit, Sizes, draw_split, read_split, split_names

PAPER = (143, 63, 156)


class TestRead:
    @pytest.mark.parametrize(
        ("file", "content"),
        [
            ("x.txt", b"b\na\n"),
            ("x.txt", b"b.txt\r\na.txt"),
            ("x.bundle", b"b.txt\na.txt\n"),
            ("x.txt", b"\xef\xbb\xbfb.txt\t\tnotshared\ta30\tsuv\r\n\r\na.txt\t\tnotshared\t-\t-"),
            ("x.txt", b"b.txt\t\tshared\na.txt\t\tnotshared"),
        ],
    )
    def test_forms(self, tmp_path: Path, file: str, content: bytes) -> None:
        (tmp_path / file).write_bytes(content)
        assert read_split(tmp_path, "x") == ["b", "a"]

    def test_hidden_files_are_no_splits(self, tmp_path: Path) -> None:
        for name in ("b.txt", "a.bundle", "a.txt", "._b.txt", "split.json"):
            (tmp_path / name).touch()
        assert split_names(tmp_path) == ["a", "b"]
        assert split_names(tmp_path / "none") == []

    def test_several_lines_of_one_recording(self, tmp_path: Path) -> None:
        (tmp_path / "x.txt").write_text("up_b\nup_a\ndown_b\n")
        assert read_split(tmp_path, "x", lambda entry: entry.split("_")[1]) == ["b", "a"]
        (tmp_path / "x.txt").write_text("up_b\nup_a\nup_b\n")
        with pytest.raises(DatasetError, match=r"x\.txt line 3: recording up_b is in line 1 already"):
            read_split(tmp_path, "x", lambda entry: entry.split("_")[1])


def make(num_all: int, num_labeled: int, num_exo: int, num_ego: int, seed: int = 0) -> list[Candidate]:
    """Recordings of which so many, chosen apart from each other, have labels and videos."""
    rng = np.random.default_rng(seed)
    labeled, exo, ego = (
        set(rng.permutation(num_all)[:count].tolist()) for count in (num_labeled, num_exo, num_ego)
    )
    return [
        Candidate(name=f"r{place:03d}", labeled=place in labeled, exo=place in exo, ego=place in ego)
        for place in range(num_all)
    ]


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    flags = draw(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=24))
    return [
        Candidate(name=f"r{place}", labeled=labeled, exo=exo, ego=ego)
        for place, (labeled, exo, ego) in enumerate(flags)
    ]


def can_be_had(recordings: list[Candidate], sizes: Sizes) -> bool:
    """Whether some choice gives these sizes, by trying how many labelled pairs train and adapt."""
    num_train, num_adapt, num_test = sizes
    pairs = sum(r.labeled and r.exo and r.ego for r in recordings)
    only_exo = sum(r.labeled and r.exo and not r.ego for r in recordings)
    unlabeled = sum(not r.labeled and r.exo and r.ego for r in recordings)
    return any(
        num_train - train <= only_exo and num_adapt - adapt <= unlabeled and train + adapt + num_test <= pairs
        for train in range(num_train + 1)
        for adapt in range(num_adapt + 1)
    )


def shares(sizes: Sizes, total: int) -> Sizes:
    """`total` in proportion to `sizes`: whole parts, then one each to the largest fractions."""
    exact = [Fraction(size * total, sum(sizes)) for size in sizes]
    order = sorted(range(3), key=lambda place: (-(exact[place] % 1), place))
    extra = order[: total - sum(int(part) for part in exact)]
    train, adapt, test = (int(part) + (place in extra) for place, part in enumerate(exact))
    return train, adapt, test


class TestDraw:
    def test_the_papers_split_of_362_labelled_pairs(self) -> None:
        drawn = draw_split(make(362, 362, 362, 362), PAPER, seed=0)
        assert drawn.sizes == PAPER
        assert len({*drawn.train, *drawn.adapt, *drawn.test}) == 362

    def test_five_recordings_without_the_ego_view_train(self) -> None:
        recordings = make(362, 362, 362, 357)
        drawn = draw_split(recordings, PAPER, seed=3)
        assert drawn.sizes == PAPER
        assert {r.name for r in recordings if not r.ego} <= set(drawn.train)

    def test_the_stated_rule(self) -> None:
        recordings = make(30, 30, 30, 30)
        order = np.random.Generator(np.random.PCG64(17)).permutation(30)
        names = [f"r{place:03d}" for place in order]
        assert draw_split(recordings, (12, 5, 13), seed=17) == DrawnSplit(
            test=tuple(sorted(names[:13])), adapt=tuple(sorted(names[13:18])), train=tuple(sorted(names[18:]))
        )

    def test_265_labelled_recordings_are_too_few(self) -> None:
        """As many as Assembly101's public labels cover: train and test are to share them, 143 to 156."""
        drawn = draw_split(make(362, 265, 362, 362), PAPER, seed=0)
        assert drawn.sizes == (127, 56, 138)  # of 321: 126.8, 55.9, 138.3
        unlabeled = {r.name for r in make(362, 265, 362, 362) if not r.labeled}
        assert set(drawn.adapt) <= unlabeled

    @given(candidates(), st.tuples(*[st.integers(1, 8)] * 3), st.integers(0, 2**64), st.randoms())
    def test_properties(self, recordings: list[Candidate], sizes: Sizes, seed: int, random: Random) -> None:
        possible = [
            shares(sizes, total)
            for total in range(3, sum(sizes) + 1)
            if min(shares(sizes, total)) and can_be_had(recordings, shares(sizes, total))
        ]
        if not possible:
            with pytest.raises(DatasetError, match="too few recordings to split: "):
                draw_split(recordings, sizes, seed)
            return
        drawn = draw_split(recordings, sizes, seed)
        assert drawn.sizes == max(possible, key=sum)  # all that were asked for, where they can be had
        by_name = {r.name: r for r in recordings}
        train, adapt, test = (
            [by_name[name] for name in names] for names in (drawn.train, drawn.adapt, drawn.test)
        )
        assert len({*drawn.train, *drawn.adapt, *drawn.test}) == sum(drawn.sizes)
        assert all(r.labeled and r.exo for r in train)
        assert all(r.exo and r.ego for r in adapt)
        assert all(r.labeled and r.exo and r.ego for r in test)
        if any(r.labeled for r in adapt):  # every unlabelled pair adapts
            assert {r.name for r in recordings if r.exo and r.ego and not r.labeled} <= set(drawn.adapt)
        if not all(r.ego for r in train):  # every labelled pair has a place
            pairs = {r.name for r in recordings if r.exo and r.ego and r.labeled}
            assert pairs <= {*drawn.train, *drawn.adapt, *drawn.test}
        assert all(list(names) == sorted(names) for names in (drawn.train, drawn.adapt, drawn.test))
        random.shuffle(recordings)
        assert draw_split(recordings, sizes, seed) == drawn

    def test_seeds_differ_and_each_recording_can_be_anywhere(self) -> None:
        recordings = make(12, 12, 12, 12)
        drawn = [draw_split(recordings, (4, 4, 4), seed) for seed in range(60)]
        assert len(set(drawn)) > 50
        for names in zip(*((one.train, one.adapt, one.test) for one in drawn), strict=True):
            counts = np.unique(np.concatenate([list(part) for part in names]), return_counts=True)[1]
            # 60 draws of 4 in 12: 20 expected, deviation 3.7
            assert len(counts) == 12 and counts.min() > 5 and counts.max() < 35

    def test_too_few(self) -> None:
        recordings = [
            Candidate(name="a", labeled=True, exo=True, ego=False),
            Candidate(name="b", labeled=True, exo=True, ego=True),
            Candidate(name="c", labeled=True, exo=False, ego=True),
        ]
        with pytest.raises(
            DatasetError,
            match=r"too few recordings to split: 2 have labels and the exo view, 1 both views, 1 all three\. "
            "Each of training, adaptation and test needs one at least",
        ):
            draw_split(recordings, PAPER, 0)
