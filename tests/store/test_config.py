"""Tables of plain values as checked dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from sync_store.config import from_table, suggest
from sync_store.errors import ProjectError


@dataclass(frozen=True, kw_only=True)
class Inner:
    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        if self.learning_rate < 0:
            raise ValueError(f"learning_rate must not be negative, got {self.learning_rate}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str = "x"
    epochs: int = 1
    zoom: bool = False
    levels: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()
    path: Path = Path()
    weights: Path | None = None
    rate: float | str | None = None
    pad_to: int | None = None
    extra: tuple[str, ...] | None = None
    select: Literal["last", "held-out"] = "last"
    notes: Mapping[str, str | int | bool] | None = None
    teacher: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("table", "value"),
    [
        ({}, Outer()),
        ({"levels": [1, 2], "tokens": ["cls"]}, Outer(levels=(1, 2), tokens=("cls",))),
        ({"levels": []}, Outer(levels=())),
        ({"path": "a/b", "weights": "w"}, Outer(path=Path("a/b"), weights=Path("w"))),
        ({"weights": None, "extra": None}, Outer()),
        ({"extra": ["a"]}, Outer(extra=("a",))),
        ({"rate": 30}, Outer(rate=30.0)),
        ({"rate": "native"}, Outer(rate="native")),
        ({"pad_to": 1200, "zoom": True}, Outer(pad_to=1200, zoom=True)),
        ({"select": "held-out"}, Outer(select="held-out")),
        ({"notes": {"a": True, "b": 2, "c": "d"}}, Outer(notes={"a": True, "b": 2, "c": "d"})),
        ({"teacher": {"learning_rate": 1}}, Outer(teacher=Inner(learning_rate=1.0))),
    ],
)
def test_values_become_fields(table: dict[str, Any], value: Outer) -> None:
    built = from_table(Outer, table, "sync.toml [train]")
    assert built == value
    assert [type(getattr(built, name)) for name in vars(value)] == [type(v) for v in vars(value).values()]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"epoch": 3}, r"sync\.toml \[train\]: unknown key 'epoch', did you mean 'epochs'\?"),
        ({"qqq": 3}, r"unknown key 'qqq'; known: epochs, extra, levels, name, notes, pad_to, path, rate, "),
        (
            {"teacher": {"learning_rat": 1.0}},
            r"sync\.toml \[train\.teacher\]: unknown key 'learning_rat', did you mean 'learning_rate'\?",
        ),
        ({"teacher": {"name": "x"}}, r"\[train\.teacher\]: unknown key 'name'; known: learning_rate"),
        ({"teacher": 3}, r"teacher must be a section with keys, got 3"),
        ({"teacher": {"learning_rate": "fast"}}, r"teacher\.learning_rate must be float, got 'fast'"),
        ({"teacher": {"learning_rate": -1.0}}, r"learning_rate must not be negative, got -1\.0"),
        ({"epochs": "3"}, r"epochs must be int, got '3'"),
        ({"epochs": 2.5}, r"epochs must be int, got 2\.5"),
        ({"epochs": True}, r"epochs must be int, got True"),
        ({"pad_to": False}, r"pad_to must be int \| None, got False"),
        ({"rate": True}, r"rate must be float \| str \| None, got True"),
        ({"zoom": 1}, r"zoom must be bool, got 1"),
        ({"name": ["x"]}, r"name must be str, got \['x'\]"),
        ({"tokens": "cls"}, r"tokens must be a list of str, got 'cls'"),
        ({"tokens": ["cls", 3]}, r"tokens must be a list of str, got \['cls', 3\]"),
        ({"levels": 5}, r"levels must be a list of int, got 5"),
        ({"levels": {"a": 1}}, r"levels must be a list of int, got \{'a': 1\}"),
        ({"extra": "a"}, r"extra must be a list of str \| None, got 'a'"),
        ({"path": 3}, r"path must be a path, got 3"),
        ({"weights": ["w"]}, r"weights must be a path \| None, got \['w'\]"),
        ({"select": "best"}, r"select must be Literal\['last', 'held-out'\], got 'best'"),
    ],
)
def test_what_does_not_fit_is_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        from_table(Outer, table, "sync.toml [train]")


def test_missing_values_are_named() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Needs:
        kind: str

    with pytest.raises(ProjectError, match=r'^here: .*"kind"'):
        from_table(Needs, {}, "here")


def test_suggest() -> None:
    assert suggest("veiws", ["views", "store"]) == ", did you mean 'views'?"
    assert suggest("xyz", ["views", "store"]) == "; known: store, views"
