"""An experiment: a table of the paper as a TOML file, row by row, with the paper's figures."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from sync_experiments.naming import flatten
from sync_store.bounded import read_toml
from sync_store.config import from_table, suggest
from sync_store.errors import ProjectError
from sync_store.predictions import METHODS

Measure = Literal["segmentation", "recognition", "retrieval"]
"""What a table's figures are of: predicted segmentations, or a check of the features."""

Improvement = Literal["no-adaptation", "second-best"]
"""What the best of a group is compared with."""

METRICS: Mapping[str, tuple[str, ...]] = {
    "segmentation": ("edit", "f1_10", "f1_25", "f1_50", "mof"),
    "recognition": ("accuracy",),
    "retrieval": ("recall_5",),
}
"""Columns of a table, by its measure; all in per cent."""

ROW_METHODS = (*METHODS, "random")
"""What a row may be; `random` is guessing, in recognition alone."""

CHOSEN_ELSEWHERE = (
    "feature_set",
    "ego_feature_set",
    "exo",
    "ego",
    "direction",
    "run",
    "teacher_run",
    "seeds",
    "methods",
    "device",
)
"""Settings of [train] that follow from a row's other fields or from the command line."""

MAX_BYTES = 1 << 20
"""An experiment is a page or two of text; anything larger is another file by mistake."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table."""

    label: str
    """First column, in the paper's words."""
    group: str = ""
    """Rows of one group are compared with each other; the best of them is marked."""
    method: str = "tas"
    """One of `ROW_METHODS`."""
    features: str = "dinov2"
    """Role of the teacher's features (`sync_experiments.features`)."""
    ego_features: str | None = None
    """Role of the ego view's features, where it's another."""
    exo_number: int = 1
    """Which exo view of the project, from 1."""
    direction: Literal["exo-to-ego", "ego-to-exo"] = "exo-to-ego"
    """From whose labels to whose view."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """Settings below [train] that this row is about, nested as there."""
    train_budget: float | None = None
    """Share of the experiment's hours that are labelled training videos; all there are, if none."""
    pairs_budget: float | None = None
    """Share of the experiment's hours that are pairs; all there are, if none."""
    paper: Mapping[str, float] = field(default_factory=dict)
    """The paper's figures in per cent, by metric."""
    ranked: bool = True
    """Whether it takes part in best and second best."""

    def __post_init__(self) -> None:
        if self.method not in ROW_METHODS:
            raise ValueError(f"unknown method {self.method!r}{suggest(self.method, list(ROW_METHODS))}")
        if self.exo_number < 1:
            raise ValueError(f"exo_number counts from 1, got {self.exo_number}")
        if taken := [name for name in self.train if name in CHOSEN_ELSEWHERE]:
            raise ValueError(
                f"train.{taken[0]} can't be set by a row: its other fields or the command line say it"
            )
        for name in ("train_budget", "pairs_budget"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {share}")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A table."""

    name: str
    """Of its file, without `.toml`."""
    source: str
    """What to call it by on a command line: its name, or the path of a file of one's own."""
    title: str
    place: str
    """Where it is in the paper: "Table 3", "Supplement, Table 1", "ours"."""
    dataset: str
    """What the paper's figures were measured on."""
    measure: Measure = "segmentation"
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """To be printed below the table."""
    improvements: tuple[Improvement, ...] = ()
    """Lines that `sync-eval table` computes below each group that has a ranked row: by how much the best is above no
    adaptation, or above the second best."""
    swept: str | None = None
    """Setting below [train] that the rows differ in, dotted (`pairs.share`): the horizontal axis of `sync-eval
    plot`."""
    budget_hours: float | None = None
    """Hours that `train_budget` and `pairs_budget` are shares of, or as many as the dataset has."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Its columns."""
        return METRICS[self.measure]

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("has no rows; write one [[rows]] each")
        seen: set[tuple[str, str]] = set()
        for row in self.rows:
            self._check(row)
            if (row.group, row.label) in seen:
                raise ValueError(
                    f"row {row.label!r} is there twice in group {row.group!r}; their labels must differ"
                )
            seen.add((row.group, row.label))
        if self.swept is not None and not any(self.swept in flatten(row.train) for row in self.rows):
            raise ValueError(f"no row sets what is swept: train.{self.swept}")

    def _check(self, row: Row) -> None:
        if unknown := [metric for metric in row.paper if metric not in self.metrics]:
            raise ValueError(
                f"row {row.label!r}: paper has no metric {unknown[0]!r} of {self.measure}; known: "
                f"{', '.join(self.metrics)}"
            )
        if row.method == "random" and self.measure != "recognition":
            raise ValueError(f'row {row.label!r}: method "random" is for measure "recognition" alone')
        if (row.train_budget or row.pairs_budget) and self.budget_hours is None:
            raise ValueError(
                f"row {row.label!r}: train_budget and pairs_budget are shares of budget_hours, which is missing"
            )
        if self.budget_hours is not None and not self.budget_hours > 0:
            raise ValueError(f"budget_hours must be above 0, got {self.budget_hours}")


def list_experiments() -> tuple[str, ...]:
    """Names of the experiments that come with the package: tables of the paper, of the supplement, ours."""
    names = [file.name[: -len(".toml")] for file in _shipped().iterdir() if file.name.endswith(".toml")]
    return tuple(
        sorted(names, key=lambda name: (not name.startswith("table"), not name.startswith("supp"), name))
    )


def read_experiment(source: str | Path) -> Experiment:
    """Read an experiment.

    Args:
        source: Its name, or a file of one's own.

    Raises:
        ProjectError: If there is none of that name, or its file isn't one; says which field of which row.
    """
    if isinstance(source, Path):
        return _parse(source.stem, str(source), _read(source), str(source))
    if source not in (known := list_experiments()):
        raise ProjectError(f"there is no experiment {source!r}{suggest(source, list(known))}")
    file = _shipped() / f"{source}.toml"
    return _parse(source, source, tomllib.loads(file.read_text(encoding="utf-8")), file.name)


def _shipped() -> Traversable:
    return resources.files("sync_experiments")


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_toml(file, MAX_BYTES)
    except FileNotFoundError:
        raise ProjectError(f"{file}: there is no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ProjectError(f"{file}: can't be read as TOML ({error})") from None


def _parse(name: str, source: str, table: Mapping[str, Any], where: str) -> Experiment:
    rows = table.get("rows", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ProjectError(f"{where}: rows must be sections, written [[rows]]")
    parsed = tuple(from_table(Row, row, f"{where} [[rows]] {number}") for number, row in enumerate(rows, 1))
    return from_table(Experiment, {**table, "name": name, "source": source, "rows": parsed}, where)
