"""Settings: the paper's numbers as defaults, and what can't be."""

import re
from typing import Any

import pytest

from sync_store.config import from_table
from sync_store.errors import ProjectError
from sync_train.config import (
    METHODS,
    AdapterFitConfig,
    FitConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
)


def read(table: dict[str, Any]) -> TrainConfig:
    return from_table(TrainConfig, table, "sync.toml [train]")


def test_defaults_are_the_papers() -> None:
    """Supplement A and D."""
    config = TrainConfig()
    for fit in (config.teacher, config.student):
        assert (fit.learning_rate, fit.weight_decay, fit.max_epochs, fit.patience) == (1e-4, 1e-4, 200, 20)
        assert fit.selection == "held-out"
    adapter = config.adapter
    assert (adapter.optimizer, adapter.learning_rate) == ("sgd", 1e-2)
    assert (adapter.num_layers, adapter.num_heads, adapter.ffn_dim) == (12, 16, 1024)
    assert (config.chunk_rows, config.max_chunks, config.teacher.smoothing) == (20, 1200, 0.17)
    assert config.methods == METHODS


def test_every_section_and_list_is_read_from_a_table() -> None:
    config = read(
        {
            "seeds": [1, 2],
            "methods": ["tas"],
            "tta_chunk_rows": [10, 17, 24],
            "splits": {"train": "a", "adapt": "b", "test": "c"},
            "teacher": {"learning_rate": 1, "selection": "published-test-ego"},
            "adapter": {"optimizer": "adam", "selection": "last"},
            "student": {"levels": [1, 2, 3, 4, 5], "match": "representations", "reduction": "sum"},
        }
    )
    assert (config.seeds, config.methods, config.tta_chunk_rows) == ((1, 2), ("tas",), (10, 17, 24))
    assert config.splits.adapt == "b"
    assert config.teacher == TeacherConfig(learning_rate=1.0, selection="published-test-ego")
    assert config.adapter == AdapterFitConfig(optimizer="adam", selection="last")
    assert config.student == StudentConfig(levels=(1, 2, 3, 4, 5), match="representations", reduction="sum")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"teachr": {}}, "unknown key 'teachr', did you mean 'teacher'?"),
        ({"teacher": {"learning_rat": 1}}, "[train.teacher]: unknown key 'learning_rat', did you mean"),
        ({"student": {"match": "features"}}, "[train]: student.match must be"),
        ({"seeds": "1"}, "seeds must be a list of int, got '1'"),
        ({"device": 3}, "device must be str, got 3"),
    ],
)
def test_strange_tables_are_refused_with_a_hint(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ProjectError, match=re.escape(message)):
        read(table)


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (FitConfig, {"learning_rate": 0.0}, "learning_rate must be above 0"),
        (FitConfig, {"learning_rate": NAN}, "learning_rate must be above 0"),
        (FitConfig, {"learning_rate": INFINITY}, "learning_rate must be above 0"),
        (FitConfig, {"weight_decay": -1.0}, "weight_decay at least 0, got 0.0001 and -1.0"),
        (FitConfig, {"max_epochs": 0}, "max_epochs must be at least 1, got 0"),
        (FitConfig, {"patience": 0}, "patience must be at least 1, got 0"),
        (FitConfig, {"batch_size": -3}, "batch_size must be at least 1, got -3"),
        (FitConfig, {"held_out": 0.0}, "held_out must lie between 0 and 1, got 0.0"),
        (FitConfig, {"held_out": 1.0}, "held_out must lie between 0 and 1, got 1.0"),
        (TeacherConfig, {"smoothing": -0.1}, "smoothing must be at least 0, got -0.1"),
        (TeacherConfig, {"max_epochs": 0}, "max_epochs must be at least 1"),
        (AdapterFitConfig, {"num_heads": 0}, "num_heads must be at least 1, got 0"),
        (AdapterFitConfig, {"num_layers": 0}, "num_layers must be at least 1"),
        (AdapterFitConfig, {"ffn_dim": 0}, "ffn_dim must be at least 1"),
        (AdapterFitConfig, {"dropout": 1.0}, "dropout must lie from 0 to below 1, got 1.0"),
        (AdapterFitConfig, {"selection": "published-test-ego"}, 'must be "held-out" or "last"'),
        (StudentConfig, {"levels": ()}, "levels must name one level or more, each once, got []"),
        (StudentConfig, {"levels": (1, 1)}, "each once, got [1, 1]"),
        (StudentConfig, {"levels": (1, 7)}, "levels go from 1 to 6, got 7"),
        (StudentConfig, {"levels": (0,)}, "levels go from 1 to 6, got 0"),
        (StudentConfig, {"adapter_learning_rate": 0.0}, "adapter_learning_rate must be above 0"),
        (TrainConfig, {"methods": ("oracle",)}, "unknown method 'oracle'; known: exo-oracle"),
        (TrainConfig, {"methods": ()}, "methods must name one or more of exo-oracle"),
        (TrainConfig, {"seeds": ()}, "seeds must be whole numbers from 0"),
        (TrainConfig, {"seeds": (0, -1)}, "seeds must be whole numbers from 0 to 4294967295, got [0, -1]"),
        (TrainConfig, {"seeds": (2**32,)}, "seeds must be whole numbers from 0 to 4294967295"),
        (TrainConfig, {"chunk_rows": 0}, "chunk_rows must be at least 1, got 0"),
        (TrainConfig, {"max_chunks": 0}, "max_chunks must be at least 1"),
        (TrainConfig, {"tta_chunk_rows": (10, 0)}, "tta_chunk_rows must be at least 1 each, got [10, 0]"),
        (TrainConfig, {"pad_to": 600}, "pad_to must be at least max_chunks 1200, got 600"),
        (TrainConfig, {"tolerance_seconds": -0.1}, "tolerance_seconds must be at least 0, got -0.1"),
        (TrainConfig, {"min_coverage": 1.5}, "min_coverage must lie from 0 to 1, got 1.5"),
        (TrainConfig, {"checkpoint_seconds": -1.0}, "checkpoint_seconds must be at least 0, got -1.0"),
    ],
)
def test_impossible_values_are_refused(kind: type[Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        kind(**settings)


def test_an_impossible_value_in_a_section_is_the_users_error() -> None:
    with pytest.raises(ProjectError, match=r"sync.toml \[train\].*: levels go from 1 to 6, got 9"):
        read({"student": {"levels": [9]}})
