"""Grouping over seeds, the order of Table 1, means and deviations."""

import shutil
import statistics
from typing import Any

import pytest

from sync_eval.runs import find_groups, score_groups
from sync_eval.scoring import read_truth
from sync_store.errors import DatasetError


def test_rows_stand_in_the_order_of_table_1(folder: Any) -> None:
    folder.add("r1", "a*10")
    methods = ("zoo", "feature-tas", "tas", "ego-oracle", "feature", "mmd", "no-adaptation", "exo-oracle")
    for features in ("tsm", "dinov2"):
        for method in methods:
            folder.predict({"r1": "a*10"}, method=method, feature_set=features, run=f"on-{features}")
    found = [(g.info.method, g.info.feature_set) for g in find_groups([folder.root / "runs"])]
    adaptation = ["no-adaptation", "feature", "tas", "feature-tas", "mmd", "zoo"]
    assert found == [
        ("exo-oracle", "dinov2"),
        ("exo-oracle", "tsm"),
        ("ego-oracle", "dinov2"),
        ("ego-oracle", "tsm"),
        *((method, "dinov2") for method in adaptation),
        *((method, "tsm") for method in adaptation),
    ]


def test_a_teacher_of_other_features_makes_another_row(folder: Any) -> None:
    """It stands by the rows of the teacher's own features, as lines 5 and 6 of Table 1 do."""
    folder.add("r1", "a*10")
    for seed, (teacher, features) in enumerate(
        [
            (None, "exo"),
            ("exo", "distilled"),
            (None, "distilled"),
            ("both", "distilled"),
            ("exo", "distilled"),
        ]
    ):
        folder.predict({"r1": "a*10"}, feature_set=features, teacher_feature_set=teacher, seed=seed)
    groups = find_groups([folder.root / "runs"])
    assert [(group.features, group.seeds) for group in groups] == [
        ("both → distilled", (3,)),
        ("distilled", (2,)),
        ("exo", (0,)),
        ("exo → distilled", (1, 4)),
    ]


def test_seeds_become_one_row_with_mean_and_sample_deviation(folder: Any) -> None:
    folder.add("r1", "a*10")
    for seed, correct in ((2, 9), (0, 6), (10, 3)):
        folder.predict({"r1": f"a*{correct} b*{10 - correct}"}, seed=seed)
    folder.predict({"r1": "a*10"}, seed=0, view="v3")
    groups = find_groups([folder.root / "runs"])
    assert [(group.info.view, group.seeds) for group in groups] == [("e4", (0, 2, 10)), ("v3", (0,))]
    several, single = score_groups(groups, {"test": read_truth(folder.dataset, "test")}, "masked")
    assert [scores.mof for scores in several.scores] == [60, 90, 30]
    assert several.mean("mof") == pytest.approx(60)
    assert several.deviation("mof") == pytest.approx(statistics.stdev([60, 90, 30]))
    assert several.deviation("mof") == pytest.approx(30)
    assert single.mean("mof") == 100 and single.deviation("mof") is None


def test_runs_of_one_name_in_two_folders_stay_apart(folder: Any) -> None:
    folder.add("r1", "a*10")
    folder.predict({"r1": "a*10"})
    shutil.copytree(folder.root / "runs", folder.root / "old")
    new, old = find_groups([folder.root / "runs", folder.root / "old"])
    assert {new.run, old.run} == {f"main ({folder.root / 'runs'})", f"main ({folder.root / 'old'})"}
    (once,) = find_groups([folder.root / "runs", folder.root / "runs" / "main"])
    assert once.run == "main" and len(once.sets) == 1


def test_seeds_in_folders_of_their_own_become_one_row(folder: Any) -> None:
    folder.add("r1", "a*10")
    for seed in (0, 1):
        folder.predict({"r1": "a*10"}, folder=folder.root / f"run-{seed}", seed=seed)
    (group,) = find_groups([folder.root / "run-0", folder.root / "run-1"])
    assert group.run == "main" and group.seeds == (0, 1)


def test_one_seed_twice_in_a_folder_is_an_error_that_names_both(folder: Any) -> None:
    folder.add("r1", "a*10")
    folder.predict({"r1": "a*10"})
    shutil.copytree(folder.root / "runs" / "main", folder.root / "runs" / "old")
    with pytest.raises(
        DatasetError, match=r"runs/main/.* and .*runs/old/.* both hold run main, method tas, view e4, seed 0"
    ):
        find_groups([folder.root / "runs"])


def test_seeds_with_other_settings_are_refused_with_both_folders(folder: Any) -> None:
    folder.add("r1", "a*10")
    for seed, settings in ((0, "aa"), (1, "aa"), (2, "bb")):
        folder.predict({"r1": "a*10"}, seed=seed, protocol={"settings": settings})
    with pytest.raises(
        DatasetError,
        match=r"main/seed-0/.* and .*main/seed-2/.* were trained with different settings.*run main, method tas, "
        r"view e4.*sync-train --overwrite --seed N.*sync-train --run NAME",
    ):
        find_groups([folder.root / "runs"])
    folder.predict({"r1": "a*10"}, seed=2, protocol={"settings": "aa", "model": "other"})
    (group,) = find_groups([folder.root / "runs"])
    assert group.seeds == (0, 1, 2)
    folder.predict({"r1": "a*10"}, seed=3, run="again", protocol={"settings": "bb"})
    assert [group.run for group in find_groups([folder.root / "runs"])] == ["again", "main"]


@pytest.mark.parametrize("protocol", [None, {"selection": "tas last"}])
def test_unknown_settings_agree_with_their_like_alone(folder: Any, protocol: dict[str, str] | None) -> None:
    folder.add("r1", "a*10")
    for seed in (0, 1):
        folder.predict({"r1": "a*10"}, seed=seed, protocol=protocol)
    (group,) = find_groups([folder.root / "runs"])
    assert group.seeds == (0, 1)
    folder.predict({"r1": "a*10"}, seed=2, protocol={"settings": "aa"})
    with pytest.raises(DatasetError, match="different settings"):
        find_groups([folder.root / "runs"])


def test_without_finished_runs_the_message_says_what_to_do(folder: Any) -> None:
    folder.add("r1", "a*10")
    with pytest.raises(DatasetError, match="runs: there is no such folder; train first with: sync-train"):
        find_groups([folder.root / "runs"])
    unfinished = folder.predict({"r1": "a*10"})
    (unfinished.folder / "predictions.json").unlink()
    with pytest.raises(DatasetError, match="there are no finished runs in it; train first with: sync-train"):
        find_groups([folder.root / "runs"])
