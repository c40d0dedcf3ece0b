"""Settings: the paper's numbers as defaults, and what can't be."""

import re
import tomllib
from typing import Any

import pytest

from sync_store.config import from_table
from sync_store.errors import ProjectError
from sync_train.config import METHODS, TrainConfig
from sync_train.fit_config import AdapterFitConfig, FitConfig, StudentConfig, TeacherConfig


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


@pytest.mark.parametrize(
    ("lines", "chunks", "rates", "batch_size", "tta"),
    [
        (", ".join(map(str, range(7, 16))), (10, 1200), (1e-4, 3e-3), 100, tuple(range(7, 16))),
        ("3, 4, 4, 4, 5", (4, 600), (5e-4, 3e-4), 11, (3, 4, 4, 4, 5)),
        (", ".join(map(str, range(20, 40))), (20, 960), (3e-4, 1e-3), 20, tuple(range(20, 40))),
    ],
    ids=["Breakfast", "GTEA", "50Salads"],
)
def test_the_settings_of_c2f_tcns_own_repository_can_be_written(
    lines: str, chunks: tuple[int, int], rates: tuple[float, float], batch_size: int, tta: tuple[int, ...]
) -> None:
    """dipika-singhania/C2F-TCN train.py, eval.py."""
    text = f"""
        chunk_rows = {chunks[0]}
        max_chunks = {chunks[1]}
        pad_to = {chunks[1]}
        tta_chunk_rows = [{lines}]
        ensemble_weights = [1, 1, 1, 1, 0, 0]
        [teacher]
        learning_rate = {rates[0]}
        weight_decay = {rates[1]}
        batch_size = {batch_size}
        smoothing = 0.15
        max_epochs = 500
        patience = 500
        selection = "last"
    """
    config = read(tomllib.loads(text))
    assert (config.chunk_rows, config.max_chunks, config.pad_to) == (*chunks, chunks[1])
    assert (config.tta_chunk_rows, config.ensemble_weights) == (tta, (1, 1, 1, 1, 0, 0))
    teacher = config.teacher
    assert (teacher.learning_rate, teacher.weight_decay, teacher.batch_size) == (*rates, batch_size)
    assert (teacher.smoothing, teacher.max_epochs, teacher.patience) == (0.15, 500, 500)
    assert TrainConfig().ensemble_weights == (1, 1, 1, 1, 1, 1)


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
        (
            TrainConfig,
            {"ensemble_weights": (1.0,) * 5},
            "ensemble_weights must be 6 numbers of at least 0, one of them above 0, got [1.0, 1.0, 1.0, 1.0, 1.0]",
        ),
        (TrainConfig, {"ensemble_weights": (0.0,) * 6}, "one of them above 0, got [0.0, 0.0"),
        (TrainConfig, {"ensemble_weights": (1.0, 1.0, 1.0, 1.0, 1.0, -1.0)}, "ensemble_weights must be 6"),
        (TrainConfig, {"ensemble_weights": (1.0, 1.0, 1.0, 1.0, 1.0, NAN)}, "ensemble_weights must be 6"),
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
