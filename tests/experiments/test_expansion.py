"""From rows to runs: what is one run, whose teacher it takes, and what a project lacks."""

from collections.abc import Callable

import pytest

from sync_experiments.expansion import PlannedRow, merge_runs, plan_experiment
from sync_experiments.experiment import Experiment, Row, list_experiments, read_experiment
from sync_store.errors import ProjectError
from sync_store.names import check_name
from sync_store.project import Project

Build = Callable[..., Project]

BASE = '[extract]\nfeature_set = "base"\n'


def plan(project: Project, *rows: Row, **fields: object) -> tuple[PlannedRow, ...]:
    experiment = Experiment(
        name="t", source="t", title="T", place="ours", dataset="none", rows=rows, **fields
    )  # type: ignore[arg-type]
    return plan_experiment(experiment, project)


def shipped(name: str, project: Project) -> dict[str, PlannedRow]:
    planned = plan_experiment(read_experiment(name), project)
    return {f"{each.row.group}|{each.row.label}": each for each in planned}


def test_equal_rows_of_different_tables_are_one_run(whole: Project) -> None:
    tas = [
        shipped("table1", whole)["EXO → EGO, DINOv2|TAS distillation"],
        shipped("table3", whole)["|Sync. (ours)"],
        shipped("table4", whole)["|100 %"],
        shipped("table5", whole)["|No drop"],
        shipped("table6", whole)["EXO → EGO|TAS distillation"],
        shipped("supp-table1", whole)["|1–6 (ours)"],
        shipped("offsets", whole)["|0 s"],
        shipped("drift", whole)["|0 ppm"],
    ]
    assert all(each.run == tas[0].run for each in tas)
    assert (tas[0].run.name, tas[0].run.teacher_run, tas[0].run.settings) == ("base.v3-e4", None, ())
    ego = [
        shipped("table1", whole)["EGO → EGO (ego-oracle)|DINOv2"],
        shipped("supp-table3", whole)["|DINOv2"],
    ]
    ego += [shipped("table2", whole)["EGO → EGO|DINOv2 (ego-oracle)"]]
    assert all(each.run == ego[0].run and each.view == "e4" for each in ego)


def test_a_name_is_one_request_and_the_other_way_round(whole: Project) -> None:
    planned = [row for name in list_experiments() for row in plan_experiment(read_experiment(name), whole)]
    assert {each.lacks for each in planned} == {None}
    asked: dict[str, set[str]] = {}
    for each in planned:
        check_name("run", each.run.name, ProjectError)
        asked.setdefault(each.run.name, set()).add(
            repr((sorted(each.run.options.items()), each.run.settings))
        )
    assert {len(requests) for requests in asked.values()} == {1}
    assert len({request for requests in asked.values() for request in requests}) == len(asked)
    merged = merge_runs(planned)
    names = [run.name for run in merged]
    assert len(set(names)) == len(names) and set(asked) <= set(names)
    for run in merged:
        if run.teacher_run is not None:
            maker = merged[names.index(run.teacher_run)]
            assert maker.methods and maker.teacher_run is None
            assert names.index(run.teacher_run) < names.index(run.name)


def test_rows_that_need_only_the_teacher_are_in_its_run(whole: Project) -> None:
    exo, none, mmd = plan(
        whole,
        Row(label="A", method="exo-oracle", train={"student": {"loss": "mmd"}, "chunk_rows": 5}),
        Row(label="B", method="no-adaptation", train={"chunk_rows": 5, "pairs": {"share": 0.5}}),
        Row(label="C", method="tas", train={"student": {"loss": "mmd"}, "chunk_rows": 5}),
    )
    assert exo.run.name == none.run.name == "base.v3-e4.chunk_rows=5" == mmd.run.teacher_run
    assert mmd.run.name == "base.v3-e4.chunk_rows=5,student.loss=mmd"
    assert mmd.run.settings == ("chunk_rows=5", 'student.loss="mmd"')
    assert (exo.view, none.view, mmd.view) == ("v3", "e4", "e4")
    (maker, student) = merge_runs([mmd])
    assert (maker.name, maker.methods, maker.settings) == (
        exo.run.name,
        ("no-adaptation",),
        ("chunk_rows=5",),
    )
    assert student == mmd.run


def test_methods_that_read_no_student_settings_are_the_run_without_them(whole: Project) -> None:
    train = {"student": {"loss": "mmd"}, "adapter": {"num_layers": 2}}
    rows = [Row(label=method, method=method, train=train) for method in ("feature", "tas", "feature-tas")]
    assert [each.run.name for each in plan(whole, *rows)] == [
        "base.v3-e4.adapter.num_layers=2",
        "base.v3-e4.student.loss=mmd",
        "base.v3-e4.adapter.num_layers=2,student.loss=mmd",
    ]


def test_what_the_project_says_anyway_is_no_setting(build: Build) -> None:
    project = build(settings=BASE + "[train.student]\nlevels = [1, 2, 3, 4, 5]\n")
    planned = shipped("supp-table1", project)
    assert planned["|1–5"].run.name == "base.v3-e4"
    assert planned["|1–6 (ours)"].run.settings == ("student.levels=[1, 2, 3, 4, 5, 6]",)


def test_directions_and_views(build: Build) -> None:
    project = build(settings=BASE + '[train]\nexo = "v4"\n')
    first, second, back = plan(
        project,
        Row(label="A"),
        Row(label="B", exo_number=2),
        Row(label="C", method="no-adaptation", direction="ego-to-exo"),
    )
    assert [first.run.name, second.run.name] == ["base.v4-e4", "base.v3-e4"]
    assert (back.run.name, back.view, back.run.options["direction"]) == ("base.e4-v4", "v4", "ego-to-exo")


def test_an_ego_view_with_features_of_its_own_shares_the_teacher(whole: Project) -> None:
    planned = shipped("table1", whole)
    both = planned["EXO → EGO, TSM|Feature + TAS distillation"]
    assert (both.feature_set, both.run.name) == ("tsm-v3-e4", "tsm-exo+tsm-v3-e4.v3-e4")
    assert both.run.teacher_run == planned["EXO → EGO, TSM|TAS distillation"].run.name == "tsm-exo.v3-e4"
    (maker, _) = merge_runs([both])
    assert maker.methods == ("exo-oracle",)  # which needs no ego features of tsm-exo
    assert maker.options["ego_feature_set"] == "tsm-exo"
    oracle = shipped("supp-table3", whole)["|TSM of exo, distilled"]
    assert (oracle.run.name, oracle.run.teacher_run) == (both.run.name, None)


def test_roles_are_named_by_the_project(build: Build) -> None:
    roles = '[experiments.features]\ndinov2 = "mine"\ntsm-exo = "base"\n'
    project = build(features={"base": ("v3", "e4"), "mine": ("v3", "e4")}, settings=roles)
    planned = plan(project, Row(label="A"), Row(label="B", features="tsm-exo"))
    assert [each.feature_set for each in planned] == ["mine", "base"]


@pytest.mark.parametrize(
    ("settings", "features", "name"),
    [
        ("", {"only": ("v3", "e4")}, "only"),
        ('[extract]\nbackbone = "b"\n', {"b": ("v3", "e4"), "c": ("v3",)}, "b"),
        ('[train]\nfeature_set = "c"\n[extract]\nbackbone = "b"\n', {"b": ("v3",), "c": ("v3", "e4")}, "c"),
        ("", {"b": ("v3", "e4"), "dinov2-large": ("v3", "e4")}, "dinov2-large"),
    ],
)
def test_the_default_features_are_the_trainers(
    build: Build, settings: str, features: dict[str, tuple[str, ...]], name: str
) -> None:
    (planned,) = plan(build(features=features, settings=settings), Row(label="A"))
    assert (planned.feature_set, planned.lacks) == (name, None)


def test_checks_are_no_training_but_where_they_need_the_adapter(whole: Project) -> None:
    rows = [Row(label=method, method=method) for method in ("exo-oracle", "random", "feature")]
    oracle, guess, feature = plan(whole, *rows, measure="recognition")
    assert [each.run.methods for each in (oracle, guess, feature)] == [(), (), ("feature",)]
    (run,) = merge_runs((oracle, guess, feature))
    assert run.methods == ("feature",)
    assert run.checks == ("recognition/exo-oracle", "recognition/random", "recognition/feature")


@pytest.mark.parametrize(
    ("features", "row", "message"),
    [
        (
            {},
            Row(label="A"),
            "feature set base isn't there. Extract it with: sync-extract --view v3 --view e4",
        ),
        (
            {"base": ("v3",)},
            Row(label="A"),
            "feature set base has no recordings of e4. Extract them with: sync-extract --view e4",
        ),
        ({"base": ("v3",)}, Row(label="A", method="exo-oracle"), None),
        (
            {"base": ("v3", "e4")},
            Row(label="A", features="tsm-ego", method="ego-oracle"),
            "feature set tsm-ego isn't there. Train its backbone with: sync-extract finetune ego --weights "
            "tsm_rgb.ckpt --views e4; extract it with: sync-extract --backbone tsm --weights "
            "backbones/ego/model.safetensors --feature-set tsm-ego --view e4; or name another in "
            "[experiments.features] tsm-ego",
        ),
        (
            {"tsm-exo": ("v3",)},
            Row(label="A", features="tsm-exo", ego_features="tsm-v3-e4"),
            "feature set tsm-v3-e4 isn't there. Train its backbone with: sync-extract distill v3-e4 --weights "
            "backbones/exo/model.safetensors --exo v3 --ego e4; extract it with: sync-extract --backbone tsm "
            "--weights backbones/v3-e4/model.safetensors --feature-set tsm-v3-e4 --view e4; or name another in "
            "[experiments.features] tsm-v3-e4",
        ),
        (
            {"base": ("v3", "e4")},
            Row(label="A", features="mine"),
            "feature set mine isn't there. Extract it with: sync-extract --feature-set mine --view v3 --view e4, or "
            "name another in [experiments.features] mine",
        ),
        (
            {"mine": ("e4",), "base": ("v3",)},
            Row(label="A", features="mine"),
            "feature set mine has no recordings of v3. Extract them with: sync-extract --feature-set mine --view v3",
        ),
    ],
)
def test_features_that_are_lacking(
    build: Build, features: dict[str, tuple[str, ...]], row: Row, message: str | None
) -> None:
    (planned,) = plan(build(features=features, settings=BASE), row)
    assert planned.lacks == message
    assert (merge_runs([planned]) == ()) == (message is not None)


def test_the_command_that_trains_a_backbone_is_of_the_network_of_the_project(build: Build) -> None:
    settings = f'{BASE}[extract.finetune]\nbackbone = "tsm-random-demo"\n'
    (planned,) = plan(
        build(features={"base": ("v3", "e4")}, settings=settings), Row(label="A", features="tsm-exo")
    )
    assert (
        planned.lacks is not None
        and ("finetune exo --views v3; extract it with: sync-extract --backbone tsm-random-demo --weights")
        in planned.lacks
    )


def test_views_that_are_lacking(build: Build) -> None:
    project = build(features={"base": ("v3",)}, settings=BASE, views={"v3": "exo"})
    second, ego, oracle = plan(
        project, Row(label="A", exo_number=2), Row(label="B"), Row(label="C", method="exo-oracle")
    )
    assert second.lacks == (
        f'{project.file} has 1 exo view, and this row needs 2. Add one: [views.NAME] kind = "exo"'
    )
    assert (
        ego.lacks
        == f'{project.file} has 0 ego views, and this row needs 1. Add one: [views.NAME] kind = "ego"'
    )
    assert oracle.lacks is None and oracle.view == "v3" and "ego" not in oracle.run.options
    (of_hours,) = plan(project, Row(label="D", method="exo-oracle", train_budget=0.5), budget_hours=1.0)
    assert of_hours.lacks == ego.lacks


def test_an_unreadable_choice_of_features(build: Build) -> None:
    project = build(features={"base": ("v3", "e4")}, settings="[extract]\nbackbone = 3\n")
    with pytest.raises(ProjectError, match=r"sync\.toml \[extract\]: backbone must be str, got 3"):
        plan(project, Row(label="A"))


@pytest.mark.parametrize(
    ("paper_hours", "num_rows", "hours"),
    [
        # Rows are a tenth of a second: t0 and t1 are labelled, a0 and a1 are pairs.
        (10.0, {"t0": 36_000, "t1": 18_000, "a0": 36_000, "a1": 36_000}, 1.5),  # all that is labelled
        (10.0, {"t0": 36_000, "t1": 36_000, "a0": 18_000, "a1": 9_000}, 1.5),  # twice the pairs
        (1.0, {"t0": 36_000, "t1": 36_000, "a0": 36_000, "a1": 36_000}, 1.0),  # the paper's
        (10.0, {"t0": 14, "t1": 13, "a0": 90, "a1": 9}, 2 / 3600),  # 2.7 s, rounded down
    ],
)
def test_a_budget_of_hours(build: Build, paper_hours: float, num_rows: dict[str, int], hours: float) -> None:
    project = build(num_rows=num_rows, features={"base": ("v3", "e4")})
    rows = (
        Row(label="A", method="no-adaptation", train_budget=1.0),
        Row(label="B", train_budget=0.5, pairs_budget=0.5),
    )
    alone, half = plan(project, *rows, budget_hours=paper_hours)
    half_hours = hours / 2
    assert alone.run.settings == (f"train_hours={hours!r}",)
    assert half.run.settings == (f"pairs.hours={half_hours!r}", f"train_hours={half_hours!r}")
    assert merge_runs([half])[0].settings == (f"train_hours={half_hours!r}",)
