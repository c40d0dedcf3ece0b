"""Settings of extraction."""

from fractions import Fraction
from pathlib import Path

import pytest

from sync_extract.config import PRESET_NAMES, ExtractConfig
from sync_extract.transforms import PRESETS
from sync_store.config import from_table
from sync_store.errors import ProjectError


def test_the_grid_is_the_label_rate_unless_stated() -> None:
    labels = Fraction(30_000, 1_001)
    assert ExtractConfig().rate(labels) == labels
    assert ExtractConfig(fps=10).rate(labels) == 10
    assert ExtractConfig(fps="30000/1001").rate(Fraction(30)) == labels
    assert ExtractConfig(fps=29.97).rate(labels) == Fraction(2997, 100)
    assert ExtractConfig(fps="native").rate(labels) is None


def test_the_feature_set_has_the_backbones_name_unless_stated() -> None:
    assert ExtractConfig(backbone="dinov2-base").name == "dinov2-base"
    assert ExtractConfig(backbone="dinov2-base", feature_set="mine").name == "mine"


def test_a_table_of_toml_becomes_a_config() -> None:
    table = {"fps": 10, "views": ["e4"], "tokens": ["cls", "max"], "weights": "folder", "min_coverage": 1}
    config = from_table(ExtractConfig, table, "sync.toml [extract]")
    assert config == ExtractConfig(
        fps=10.0, views=("e4",), tokens=("cls", "max"), weights=Path("folder"), min_coverage=1.0
    )


def test_every_preset_has_a_name_in_the_settings() -> None:
    assert set(PRESET_NAMES) == {*PRESETS, "epic"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"batchsize": 3}, r"\[extract\]: unknown key 'batchsize', did you mean 'batch_size'\?"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"workers": -1}, "workers must be at least 1, got -1"),
        ({"workers": "two"}, "workers must be int, got 'two'"),
        ({"min_coverage": 1.5}, "min_coverage must be above 0 and at most 1, got 1.5"),
        ({"fps": "thirty"}, r'fps must be a rate such as 30 or "30000/1001", or "native", got \'thirty\''),
        ({"fps": 0}, "fps must be a rate"),
        ({"tokens": []}, "tokens must name at least one of cls, mean, max, min, std, got none"),
        ({"tokens": ["clss"]}, r"unknown token 'clss', did you mean 'cls'\?"),
        ({"preset": "offical"}, r"unknown preset 'offical', did you mean 'official'\?"),
        ({"precision": "int8"}, "precision must be"),
    ],
)
def test_impossible_settings_are_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        from_table(ExtractConfig, table, "sync.toml [extract]")
