"""From the rows of a table to runs: what `sync-train` is to be asked for, and where its results will be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sync_experiments.budget import hours_of_budget, share_of_hours
from sync_experiments.experiment import ROW_METHODS, Experiment, Row
from sync_experiments.features import KINDS, Shelf, Views, choose_views, kinds_read
from sync_experiments.naming import as_setting, flatten, run_name, setting_key
from sync_store.errors import SyncError
from sync_store.project import Project

DEFAULTS: Mapping[str, Any] = {
    "student.levels": [1, 2, 3, 4, 5, 6],
    "student.loss": "mse",
    "student.pairing": "synchronized",
    "pairs.share": 1.0,
    "pairs.drop_rate": 0.0,
    "pairs.join": "time",
    "pairs.offset_seconds": 0.0,
    "pairs.drift_ppm": 0.0,
}
"""What `sync-train` takes where sync.toml says nothing, as far as rows ask for it: a row that does is the same run as
one that says nothing. (A test holds this to `TrainConfig`.)"""

READS: Mapping[str, tuple[str, ...]] = {
    "exo-oracle": (),
    "ego-oracle": (),
    "no-adaptation": (),
    "random": (),
    "feature": ("adapter", "pairs"),
    "tas": ("student", "pairs"),
    "feature-tas": ("adapter", "student", "pairs"),
}
"""Sections of [train] about distillation that a method's result depends on. All others concern the teacher, too."""

DISTILLATION = ("adapter", "student", "pairs")
"""All such sections."""

_DISTILLED = ("feature", "tas", "feature-tas")

_STUDENT_ORACLES = {"exo-to-ego": "ego-oracle", "ego-to-exo": "exo-oracle"}
"""The oracle that has no part of the teacher, by direction."""

_TEACHERS = {"exo-to-ego": "exo-oracle", "ego-to-exo": "ego-oracle"}
"""The one that is the teacher."""


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """What `sync-train` is to be asked for, for each seed."""

    name: str
    teacher_run: str | None
    """Run that has its teacher; None if it's this one."""
    options: Mapping[str, str]
    """`feature_set`, `ego_feature_set`, `exo`, `ego`, `direction`; each of them, since sync.toml may say something
    else. There's no `ego` in a project without such a view."""
    settings: tuple[str, ...]
    """`KEY=VALUE` for `--set`."""
    methods: tuple[str, ...]
    """To be trained and predicted."""
    checks: tuple[str, ...] = ()
    """To be done besides: `recognition/<method>`, `retrieval/<method>`, as in the run's folder `checks`."""


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """A row, and where its results are."""

    row: Row
    run: PlannedRun
    method: str
    view: str
    """View that is predicted on; "" if the project has none such."""
    feature_set: str
    """Features that are predicted on."""
    lacks: str | None
    """What must be there first, and the command that makes it."""


def plan_experiment(experiment: Experiment, project: Project) -> tuple[PlannedRow, ...]:
    """What each row of a table stands for in a project.

    Raises:
        SyncError: If the project's store or sync.toml can't be read.
    """
    shelf = Shelf(project)
    return tuple(_plan_row(experiment, row, project, shelf) for row in experiment.rows)


def merge_runs(rows: Iterable[PlannedRow]) -> tuple[PlannedRun, ...]:
    """Every run once, with all that is asked of it; a run whose teacher others take stands before them.

    Rows that lack something are left out.
    """
    runs: dict[str, PlannedRun] = {}
    for planned in rows:
        if planned.lacks is not None:
            continue
        run = planned.run
        for each in (run,) if run.teacher_run is None else (_teacher_run(run), run):
            before = runs.get(each.name, each)
            runs[each.name] = replace(
                before,
                teacher_run=before.teacher_run or each.teacher_run,
                methods=_in_order(before.methods + each.methods),
                checks=tuple(dict.fromkeys(before.checks + each.checks)),
            )
    teachers = {run.teacher_run for run in runs.values()}
    return tuple(sorted(runs.values(), key=lambda run: run.name not in teachers))


def _plan_row(experiment: Experiment, row: Row, project: Project, shelf: Shelf) -> PlannedRow:
    views = choose_views(project, row.exo_number)
    feature_set = shelf.feature_set(row.features)
    ego_feature_set = feature_set if row.ego_features is None else shelf.feature_set(row.ego_features)
    lacks = _lacking_view(experiment, row, project, views) or _lacking_features(row, shelf, views)
    settings = flatten(row.train)
    if lacks is None and experiment.budget_hours is not None:
        try:
            settings |= _budget(row, project, experiment.budget_hours, views, feature_set, ego_feature_set)
        except SyncError as error:
            lacks = str(error)
    run = _plan_run(experiment, row, project, views, (feature_set, ego_feature_set), settings)
    view = _tested_view(row, views)
    return PlannedRow(
        row=row,
        run=run,
        method=row.method,
        view=view or "",
        feature_set=ego_feature_set if view == views.ego else feature_set,
        lacks=lacks,
    )


def _plan_run(
    experiment: Experiment,
    row: Row,
    project: Project,
    views: Views,
    feature_sets: tuple[str, str],
    settings: Mapping[str, Any],
) -> PlannedRun:
    present = flatten(project.stage("train"))
    asked = {key: value for key, value in settings.items() if not _is_so_already(key, value, present)}
    distilling = {key: value for key, value in asked.items() if key.split(".")[0] in DISTILLATION}
    of_teacher = {key: value for key, value in asked.items() if key not in distilling}
    read = {key: value for key, value in distilling.items() if key.split(".")[0] in READS[row.method]}
    teachers_set = feature_sets[row.direction == "ego-to-exo"]
    teacher = run_name(_base_name(row, views, (teachers_set, teachers_set)), of_teacher)
    name = run_name(_base_name(row, views, feature_sets), of_teacher | read)
    trained = row.method != "random" and (experiment.measure == "segmentation" or row.method in _DISTILLED)
    options = {
        "feature_set": feature_sets[0],
        "ego_feature_set": feature_sets[1],
        "exo": views.exo,
        "ego": views.ego,
        "direction": row.direction,
    }
    return PlannedRun(
        name=name,
        teacher_run=teacher
        if name != teacher and trained and row.method != _STUDENT_ORACLES[row.direction]
        else None,
        options={key: value for key, value in options.items() if value is not None},
        settings=tuple(as_setting(key, value) for key, value in sorted((of_teacher | read).items())),
        methods=(row.method,) if trained else (),
        checks=() if experiment.measure == "segmentation" else (f"{experiment.measure}/{row.method}",),
    )


def _is_so_already(key: str, value: Any, present: Mapping[str, Any]) -> bool:
    """Whether a setting says no more than sync.toml, or than `sync-train` itself where sync.toml is silent."""
    known = present.get(key, DEFAULTS.get(key))
    return known is not None and bool(known == value)


def _base_name(row: Row, views: Views, feature_sets: tuple[str, str]) -> str:
    """`dinov2-large.v3-e4`; the teacher's view first, and both feature sets where they differ."""
    pair = [name for name in (views.exo, views.ego) if name is not None]
    if row.direction == "ego-to-exo":
        pair.reverse()
    return f"{'+'.join(dict.fromkeys(feature_sets))}.{'-'.join(pair)}"


def _tested_view(row: Row, views: Views) -> str | None:
    if row.method in ("exo-oracle", "ego-oracle"):
        return views.exo if row.method == "exo-oracle" else views.ego
    return views.ego if row.direction == "exo-to-ego" else views.exo


def _lacking_view(experiment: Experiment, row: Row, project: Project, views: Views) -> str | None:
    read = KINDS if experiment.budget_hours is not None else kinds_read(row)
    for kind in read:
        if views.by_kind[kind] is None:
            count = len(project.views_of_kind(kind))
            wanted = row.exo_number if kind == "exo" else 1
            return (
                f"{project.file} has {count} {kind} view{'s'[count == 1 :]}, and this row needs {wanted}. "
                f'Add one: [views.NAME] kind = "{kind}"'
            )
    return None


def _lacking_features(row: Row, shelf: Shelf, views: Views) -> str | None:
    read = [name for kind in kinds_read(row) if (name := views.by_kind[kind]) is not None]
    by_role = {row.features: read}
    if row.ego_features is not None:
        by_role = {
            row.features: [v for v in read if v != views.ego],
            row.ego_features: [v for v in read if v == views.ego],
        }
    lacks = (shelf.lacks(role, shelf.feature_set(role), of_role) for role, of_role in by_role.items())
    return "; ".join(lack for lack in lacks if lack is not None) or None


def _budget(
    row: Row, project: Project, paper_hours: float, views: Views, feature_set: str, ego_feature_set: str
) -> dict[str, float]:
    """The settings that a row's shares of the budget come to."""
    assert views.exo is not None and views.ego is not None, "such a row lacks a view"
    exo, ego = (feature_set, views.exo), (ego_feature_set, views.ego)
    teacher, student = (exo, ego) if row.direction == "exo-to-ego" else (ego, exo)
    hours = hours_of_budget(project, paper_hours=paper_hours, teacher=teacher, student=student)
    shares = {"train_hours": row.train_budget, "pairs.hours": row.pairs_budget}
    return {key: share_of_hours(hours, share) for key, share in shares.items() if share is not None}


def _teacher_run(run: PlannedRun) -> PlannedRun:
    """The run that makes another's teacher.

    With it goes the row that costs nothing more and needs no other features: "no adaptation", or the oracle that is the
    teacher where the student's view has features of its own.
    """
    assert run.teacher_run is not None
    settings = tuple(s for s in run.settings if setting_key(s).split(".")[0] not in DISTILLATION)
    exo_to_ego = run.options["direction"] == "exo-to-ego"
    feature_set = run.options["feature_set" if exo_to_ego else "ego_feature_set"]
    same = run.options["feature_set"] == run.options["ego_feature_set"]
    return replace(
        run,
        name=run.teacher_run,
        teacher_run=None,
        options={**run.options, "feature_set": feature_set, "ego_feature_set": feature_set},
        settings=settings,
        methods=("no-adaptation" if same else _TEACHERS[run.options["direction"]],),
        checks=(),
    )


def _in_order(methods: Iterable[str]) -> tuple[str, ...]:
    asked = {*methods}
    return tuple(method for method in ROW_METHODS if method in asked)
