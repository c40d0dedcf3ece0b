"""What counts as the same settings."""

from typing import Any

import pytest

from sync_store.predictions import METHODS
from sync_store.project import load_project
from sync_train.protocol import selections, settings_digest, stage_settings, stages_of
from sync_train.setting import make_setting

ALL = set(METHODS)
ON_PAIRS = {"feature", "tas", "feature-tas"}


def digests(project: Any, **changed: Any) -> dict[str, str]:
    setting = make_setting(load_project(project.root), project.config(**{"device": "cpu", **changed}))
    return {method: settings_digest(setting, method) for method in METHODS}


@pytest.mark.parametrize(
    ("changed", "others"),
    [
        ({"teacher": {"smoothing": 0.2}}, ALL),
        ({"teacher": {"selection": "last"}}, ALL),
        ({"adapter": {"num_layers": 2}}, {"feature", "feature-tas"}),
        ({"student": {"levels": (1,)}}, {"tas", "feature-tas"}),
        ({"chunk_rows": 3}, ALL),
        ({"max_chunks": 33}, ALL),
        ({"pad_to": 400}, ALL),
        ({"precision": "bfloat16"}, ALL),
        ({"precision": "float32"}, set()),
        ({"standardize": True}, ALL),
        ({"tta_chunk_rows": (1, 2)}, ALL),
        ({"ensemble_weights": (1.0, 1.0, 1.0, 1.0, 0.0, 0.0)}, ALL),
        ({"ensemble_weights": (1.0,) * 6}, set()),
        ({"tolerance_seconds": 0.1}, ON_PAIRS),
        ({"min_coverage": 0.4}, ON_PAIRS),
        ({"seeds": (1, 2)}, set()),
        ({"run": "another"}, set()),
        ({"methods": ("tas",)}, set()),
        ({"checkpoint_seconds": 0.0}, set()),
    ],
)
def test_methods_whose_settings_a_change_makes_others(tiny: Any, changed: Any, others: set[str]) -> None:
    """Precision "auto" is that of the device: it is float32 here."""
    before, after = digests(tiny), digests(tiny, **changed)
    assert {method for method in METHODS if before[method] != after[method]} == others


def test_settings_name_the_splits(project: Any) -> None:
    before = digests(project)
    for split, others in (("adapt", ON_PAIRS), ("test", ALL), ("train", ALL)):
        file = project.root / "splits" / f"{split}.txt"
        file.rename(file.with_name("renamed.txt"))
        after = digests(project, splits={split: "renamed"})
        assert {method for method in METHODS if before[method] != after[method]} == others
        file.with_name("renamed.txt").rename(file)


def test_settings_name_the_views(project: Any) -> None:
    before = digests(project)
    file = project.root / "sync.toml"
    file.write_text(file.read_text() + '\n[views.v4]\nkind = "exo"\n')
    assert digests(project) == before
    after = digests(project, exo="v4")
    assert all(after[method] != before[method] for method in METHODS)


def test_settings_depend_on_no_features_and_no_splits_lines(project: Any) -> None:
    before = digests(project)
    project.delete_features("e4", ["a0", "e0"])
    (project.root / "splits" / "adapt.txt").write_text("a1\n")
    assert digests(project) == before


def test_equal_weights_are_no_setting_of_a_stage(tiny: Any) -> None:
    """Stages that were trained before there was a choice stay valid."""
    for weights, said in (((1.0,) * 6, False), ((1.0, 1.0, 1.0, 1.0, 0.0, 0.0), True)):
        setting = make_setting(load_project(tiny.root), tiny.config(ensemble_weights=weights))
        for stage in ("teacher", "ego-oracle", "adapter", "tas", "feature-tas"):
            assert ("ensemble_weights" in stage_settings(setting, stage)) is said


def test_what_a_loss_doesnt_use_is_no_setting_of_it(tiny: Any) -> None:
    """`reduction` is eq. 2's alone, and other losses have their own sections."""
    for loss, said in (("mse", True), ("coral", False)):
        before, after = (
            digests(tiny, student={"loss": loss, "reduction": reduction})["tas"]
            for reduction in ("mean", "sum")
        )
        assert (before != after) is said
        setting = make_setting(load_project(tiny.root), tiny.config(student={"loss": loss}))
        assert ("reduction" in stage_settings(setting, "tas")["config"]) is said


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ({"drop_rate": 0.1, "join": "time"}, True),
        ({"drop_rate": 0.1, "join": "index"}, False),
        ({"join": "index"}, False),
        ({"share": 0.5}, False),
    ],
)
def test_rules_of_dropping_are_a_setting_where_they_decide(
    tiny: Any, pairs: dict[str, Any], said: bool
) -> None:
    setting = make_setting(load_project(tiny.root), tiny.config(pairs=pairs))
    assert ("rules" in stage_settings(setting, "tas")["pairs"]) is said


def test_how_each_stage_is_selected(tiny: Any) -> None:
    config = tiny.config(teacher={"selection": "published-test-ego"}, student={"selection": "last"})
    assert all(stages_of(config, method) for method in METHODS)
    assert selections(config, "exo-oracle") == "teacher published-test-ego"
    assert selections(config, "ego-oracle") == "ego-oracle published-test-ego"
    assert selections(config, "feature-tas") == (
        "teacher published-test-ego, adapter held-out, feature-tas last"
    )
