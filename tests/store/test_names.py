"""Names that become folders."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_store.errors import DatasetError, StoreError
from sync_store.names import MAX_NAME_BYTES, check_name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty or begins or ends with a space"),
        (" a", "is empty or begins or ends with a space"),
        ("a\n", "is empty or begins or ends with a space"),
        ("..", "begins with '.' or '__', which the store reserves"),
        (".hidden", "begins with '.' or '__'"),
        ("__marker__", "begins with '.' or '__'"),
        ("../../etc/passwd", "begins with '.'"),
        ("a/../../b", "contains a path separator"),
        ("/etc", "contains a path separator"),
        ("a\\b", "contains a path separator"),
        ("C:x", "contains a path separator, a control character or one of"),
        ("what?", "contains a path separator, a control character or one of"),
        ("a\0b", "a control character"),
        ("a\x1b[31mb", "a control character"),
        ("zarr.json", "is reserved by the store"),
        ("index.json", "is reserved by the store"),
        ("r.partial", "is reserved by the store"),
        ("a" * 201, "is longer than 200 bytes"),
        ("é" * 101, "is longer than 200 bytes"),
        ("a\u200bb", "contains a character that can't be printed"),
        ("a\u202eb", "contains a character that can't be printed"),
        ("a\udcffb", "contains a character that can't be printed"),
    ],
)
def test_refused(name: str, problem: str) -> None:
    with pytest.raises(DatasetError) as refused:
        check_name("recording", name, DatasetError)
    message = str(refused.value)
    assert message.startswith("recording name ") and problem in message
    assert message.endswith("Rename it: letters, digits, '-', '_', '.' are safe.")
    assert message.isprintable()  # nothing of a hostile name reaches the terminal


@pytest.mark.parametrize(
    "name",
    [
        "r1",
        "nusar-2021_action_both_9011-a01_9011_user_id_2021-02-01_153724",
        "HMC_21179183_mono10bit",
        "fair cooking 05_2",
        "schütteln",
        "組み立て",
        "a..b",
        "x.zarr.json",
        "a" * MAX_NAME_BYTES,
    ],
)
def test_accepted(name: str) -> None:
    assert check_name("view", name, StoreError) == name


@given(st.text(st.characters(), max_size=30))
def test_an_accepted_name_is_one_folder_inside(name: str) -> None:
    try:
        check_name("view", name, StoreError)
    except StoreError:
        return
    root = Path("/store/set")
    assert (root / name).parent == root
    assert (root / name).resolve().parent == root
    assert (root / name).name == name


def test_the_class_of_the_error_is_the_callers() -> None:
    with pytest.raises(StoreError, match=r"^view name 'a/b' contains"):
        check_name("view", "a/b", StoreError)
