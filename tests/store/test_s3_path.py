"""Addresses of a bucket's objects, and what is said where it can't be asked at all; no server is needed."""

import sys
from pathlib import Path

import pytest

from sync_store.errors import StoreError
from sync_store.place import to_place
from sync_store.s3 import S3Path
from sync_store.s3_connection import connect


def test_an_address_is_read_and_printed_as_it_was() -> None:
    path = S3Path.parse("s3://bucket/lab/features.zarr/")
    assert (path.bucket, path.key, path.name) == ("bucket", "lab/features.zarr", "features.zarr")
    assert str(path) == "s3://bucket/lab/features.zarr"


@pytest.mark.parametrize(
    "address",
    [
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3:///name",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "gs://b/a",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match=rf"^expected s3://BUCKET/NAME, got '{address}'$"):
        S3Path.parse(address)


def test_a_place_is_a_folder_unless_it_is_an_address(tmp_path: Path) -> None:
    assert to_place("features.zarr", tmp_path) == tmp_path / "features.zarr"
    assert to_place("/data/features.zarr", tmp_path) == Path("/data/features.zarr")
    assert to_place("s3://bucket/a", tmp_path) == S3Path("bucket", "a")


def test_it_goes_up_and_down_as_a_path_does() -> None:
    path = S3Path("bucket", "a/b")
    assert (path / "c").key == "a/b/c"
    assert path.joinpath("c", "0").key == "a/b/c/0"
    assert path.joinpath().key == "a/b"
    assert path.parent.key == "a" and path.parent.parent.key == ""
    assert (path.parent.parent / "z").key == "z"
    assert path.with_name("z").key == "a/z"
    assert sorted([S3Path("bucket", "b"), S3Path("bucket", "a")])[0].key == "a"


@pytest.mark.parametrize("address", ["127.0.0.1:7480", "ftp://server", "server"])
def test_an_endpoint_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    with pytest.raises(
        StoreError, match=f"^AWS_ENDPOINT_URL: expected http://HOST:PORT .*, got '{address}'$"
    ):
        connect("bucket")


def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreError, match=r"^~/\.aws: The config profile \(nobody\) could not be found$"):
        connect("bucket")


@pytest.mark.parametrize("package", ["obstore", "boto3"])
def test_without_the_extra_it_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "lab")
    monkeypatch.setitem(sys.modules, package, None)  # importing it raises ModuleNotFoundError
    with pytest.raises(StoreError, match=r"the extra s3 isn't installed. .* pip install 'sync-tas\[s3\]'$"):
        S3Path("bucket", "features.zarr").is_file()
