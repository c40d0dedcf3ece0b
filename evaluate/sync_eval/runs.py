"""Rows of a result table: prediction sets found on disk, grouped over seeds, in the order of Table 1."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from sync_eval.config import Protocol
from sync_eval.metrics import Scores
from sync_eval.scoring import ScoredSet, Truth, score_set
from sync_store.errors import DatasetError
from sync_store.labels import first_seen
from sync_store.predictions import METHODS, PredictionInfo, PredictionSet, find_predictions

ORACLES = ("exo-oracle", "ego-oracle")
"""Trained and tested on one kind of view; Table 1 has them above the adaptation methods."""

SELECTED_ON_TEST = "published-test-ego"
"""Selection by the labels of the test split, as `sync_train` calls it."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a row's numbers come from, as far as it says whether they are of unseen data."""

    features: str
    """Feature set, or the teacher's → the other's."""
    trained_on: tuple[str, ...]
    """What the backbone itself was trained on."""
    selected_on_test: bool
    """Whether the labels of the test split chose an epoch of any stage."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Prediction sets that differ in their seed alone, in order of it."""

    run: str
    """Name of the run, with the folder it was found in where two runs share the name."""
    sets: tuple[PredictionSet, ...]

    @property
    def info(self) -> PredictionInfo:
        """Manifest of the lowest seed."""
        return self.sets[0].info

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, ascending."""
        return tuple(found.info.seed for found in self.sets)

    @property
    def features(self) -> str:
        """Feature set, as tables show it; after the one that the teacher learnt from, where that is another."""
        return _features(self.info)

    @property
    def trained_on(self) -> tuple[str, ...]:
        """What the backbone itself was trained on, as the manifest of any seed says."""
        return first_seen(words for found in self.sets for words in found.info.trained_on)

    @property
    def selection(self) -> str:
        """How each stage chose its epoch, such as "teacher held-out, tas last"; empty where no manifest says so."""
        said = (_protocol(found.info, "selection") for found in self.sets)
        return "; ".join(first_seen(str(selection) for selection in said if selection is not None))

    @property
    def selected_on_test(self) -> bool:
        """Whether the labels of the test split chose an epoch of any stage."""
        return SELECTED_ON_TEST in self.selection

    @property
    def origin(self) -> Origin:
        """Where its numbers come from."""
        return Origin(
            features=self.features, trained_on=self.trained_on, selected_on_test=self.selected_on_test
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table."""

    group: Group
    scored: tuple[ScoredSet, ...]
    """One for each seed."""
    unsegmented: tuple[str, ...] = ()
    """Classes that formed no segments."""

    @cached_property
    def scores(self) -> tuple[Scores, ...]:
        """Scores of each seed."""
        return tuple(scored.scores for scored in self.scored)

    def mean(self, metric: str) -> float:
        """Mean over seeds."""
        return statistics.fmean(getattr(scores, metric) for scores in self.scores)

    def deviation(self, metric: str) -> float | None:
        """Sample standard deviation over seeds (n - 1); None for a single seed."""
        values = [getattr(scores, metric) for scores in self.scores]
        return statistics.stdev(values) if len(values) > 1 else None


def find_groups(folders: Sequence[Path]) -> list[Group]:
    """Find the finished prediction sets below folders.

    Runs that share a name and a seed but lie below different ones of `folders` stay apart, named with the
    folder.

    Raises:
        DatasetError: If a folder holds none, one seed of a method twice, or seeds that were trained otherwise.
    """
    below: dict[Path, tuple[Path, PredictionSet]] = {}
    for folder in folders:
        if not (found := find_predictions(folder)):
            problem = "there are no finished runs in it" if folder.is_dir() else "there is no such folder"
            raise DatasetError(f"{folder}: {problem}; train first with: sync-train")
        for each in found:
            below.setdefault(each.folder.resolve(), (folder, each))
    times_seen = Counter((_key(each.info), each.info.seed) for _, each in below.values())
    ambiguous = {key[0] for (key, _), times in times_seen.items() if times > 1 and len(folders) > 1}
    sets: dict[tuple[str, ...], list[PredictionSet]] = defaultdict(list)
    for folder, each in below.values():
        run, *rest = _key(each.info)
        sets[f"{run} ({folder})" if run in ambiguous else run, *rest].append(each)
    return sorted((make_group(run, of_key) for (run, *_), of_key in sets.items()), key=_table_order)


def make_group(run: str, sets: Iterable[PredictionSet]) -> Group:
    """Group seeds of one method.

    Raises:
        DatasetError: If one seed is there twice, or seeds were trained otherwise.
    """
    group = Group(run=run, sets=tuple(sorted(sets, key=lambda each: each.info.seed)))
    _check_seeds(group)
    _check_settings(group)
    return group


def score_groups(groups: Iterable[Group], truths: Mapping[str, Truth], protocol: Protocol) -> list[Row]:
    """Score each group against the truth of its split.

    Raises:
        DatasetError: See `score_set`.
    """
    return [
        Row(
            group=group,
            scored=tuple(score_set(found, truths[found.info.split], protocol) for found in group.sets),
            unsegmented=truths[group.info.split].unsegmented,
        )
        for group in groups
    ]


def _key(info: PredictionInfo) -> tuple[str, str, str, str, str]:
    return (info.run, _features(info), info.method, info.view, info.split)


def _features(info: PredictionInfo) -> str:
    return named_features(info.teacher_feature_set or info.feature_set, info.feature_set)


def named_features(teacher: str, student: str) -> str:
    """The features of a row, as tables show them."""
    return student if teacher == student else f"{teacher} → {student}"


def _check_seeds(group: Group) -> None:
    for earlier, later in pairwise(group.sets):
        if earlier.info.seed == later.info.seed:
            raise DatasetError(
                f"{earlier.folder} and {later.folder} both hold run {group.run}, method {group.info.method}, "
                f"view {group.info.view}, seed {later.info.seed}. Move one away, or name the two run folders "
                "as arguments to see them side by side"
            )


def _check_settings(group: Group) -> None:
    """Refuse to average seeds of other settings. A manifest without `settings` agrees with its like alone."""
    first, *others = group.sets
    for other in others:
        if _protocol(first.info, "settings") != _protocol(other.info, "settings"):
            raise DatasetError(
                f"{first.folder} and {other.folder} were trained with different settings, so they can't be seeds "
                f"of one row (run {group.run}, method {group.info.method}, view {group.info.view}). Train "
                "what is outdated again with: sync-train --overwrite --seed N, or keep both apart with: "
                "sync-train --run NAME"
            )


def _protocol(info: PredictionInfo, key: str) -> str | int | float | bool | None:
    return (info.protocol or {}).get(key)


def _table_order(group: Group) -> tuple[bool, int, str, str, int, str, str]:
    """Oracles by method, then blocks of one feature set and run, as in Table 1; other methods come last."""
    info = group.info
    is_oracle = info.method in ORACLES
    method = METHODS.index(info.method) if info.method in METHODS else len(METHODS)
    return (
        not is_oracle,
        method if is_oracle else 0,
        group.features,
        group.run,
        method,
        info.method,
        info.view,
    )
