"""Names of runs: valid folders, one for each set of settings."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_experiments.naming import MAX_CHARACTERS, as_setting, flatten, run_name
from sync_store.errors import ProjectError
from sync_store.names import check_name

VALUES = st.one_of(
    st.booleans(),
    st.integers(-10_000, 10_000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.lists(st.integers(0, 9), max_size=7),
)
KEYS = st.from_regex(r"[a-z_]{1,12}(\.[a-z_]{1,12}){0,2}", fullmatch=True)
SETTINGS = st.dictionaries(KEYS, VALUES, max_size=4)


def kind_of(value: Any) -> Any:
    """Equal for what a config takes for the same: 1 and 1.0, but not 1 and true; no setting takes both 1 and [1]."""
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    return (bool, value) if isinstance(value, bool) else value


ONE = st.fixed_dictionaries({"a": VALUES | st.sampled_from(["1", "1-2", "true", "b", "", "0.5", "1,b=2"])})
"""Values that look like others."""


@given(SETTINGS)
def test_any_settings_make_a_folder(settings: dict[str, Any]) -> None:
    name = run_name("dinov2-large.v3-e4", settings)
    assert check_name("run", name, ProjectError) == name and len(name) <= MAX_CHARACTERS
    assert name == run_name("dinov2-large.v3-e4", dict(reversed(settings.items())))


@given(SETTINGS | ONE, SETTINGS | ONE)
def test_other_settings_have_another_name(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = {key: kind_of(value) for key, value in one.items()} == {
        key: kind_of(v) for key, v in other.items()
    }
    assert (run_name("base", one) == run_name("base", other)) == same


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "b.v3-e4"),
        ({"student.loss": "mmd", "pairs.share": 0.5}, "b.v3-e4.pairs.share=0.5,student.loss=mmd"),
        ({"student.levels": [1, 2]}, "b.v3-e4.student.levels=1-2"),
        ({"pairs.drift_ppm": 30000.0}, "b.v3-e4.pairs.drift_ppm=30000"),
        ({"teacher.zoom": False}, "b.v3-e4.teacher.zoom=false"),
    ],
)
def test_names_can_be_read(settings: dict[str, Any], name: str) -> None:
    assert run_name("b.v3-e4", settings) == name


def test_a_cut_name_ends_with_a_digest() -> None:
    long = run_name("b", {f"student.setting_{number}": number for number in range(20)})
    assert len(long) == MAX_CHARACTERS and long[-9] == "-" and int(long[-8:], 16) >= 0
    assert run_name("b", {"train_hours": 1 / 3}).startswith("b.train_hours=0.33333-")


@given(KEYS, VALUES)
def test_a_setting_is_toml(key: str, value: Any) -> None:
    text = as_setting(key, value)
    assert text.startswith(f"{key}=")
    assert tomllib.loads(f"value = {text.removeprefix(f'{key}=')}")["value"] == value


def test_sections_become_dotted_keys() -> None:
    assert flatten({"a": 1, "b": {"c": {"d": [2]}, "e": "f"}}) == {"a": 1, "b.c.d": [2], "b.e": "f"}
