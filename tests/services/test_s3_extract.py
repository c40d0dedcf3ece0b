"""`sync-extract` into a bucket: several processes at once, profiles of ~/.aws, and what is said when it can't."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sync_store.layout import CLAIMS
from sync_store.s3 import S3Path

PROJECT = """\
[dataset]
label_fps = 15

[views.e4]
kind = "ego"

[extract]
backbone = "dinov2-random-demo"
device = "cpu"
batch_size = 32
"""

STORE = b'{"zarr_format": 3, "node_type": "group", "attributes": {"format": "sync-features", "version": 1}}'

LENGTHS = (40, 60, 80, 100, 120, 140)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory, labs: Any) -> Path:
    return Path(labs.make(tmp_path_factory.mktemp("filmed"), PROJECT, LENGTHS))


@pytest.fixture(scope="module")
def by_one_process(filmed: Path, tmp_path_factory: pytest.TempPathFactory, labs: Any) -> dict[str, bytes]:
    folder = Path(shutil.copytree(filmed, tmp_path_factory.mktemp("one") / "lab"))
    done = labs.run(folder)
    assert done.returncode == 0, done.stderr
    store: dict[str, bytes] = labs.store(folder)
    return store


def lab_on(place: str, filmed: Path, folder: Path) -> Path:
    """The project with its store at another place."""
    lab = Path(shutil.copytree(filmed, folder / "lab"))
    with (lab / "sync.toml").open("a") as file:
        file.write(f'\n[store]\npath = "{place}"\n')
    return lab


@pytest.fixture
def lab(s3: Any, filmed: Path, tmp_path: Path) -> Path:
    return lab_on(f"{s3.url}/features.zarr", filmed, tmp_path)


@pytest.fixture
def environment(s3: Any) -> Iterator[pytest.MonkeyPatch]:
    """Changes of the environment that end before the bucket is deleted."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_four_processes_at_once_make_the_store_of_one(
    labs: Any, lab: Path, s3: Any, by_one_process: dict[str, bytes]
) -> None:
    commands = [labs.start(lab) for _ in range(4)]
    for command in commands:
        _, said = command.communicate(timeout=120)
        assert command.returncode in (0, 3), said
        assert "Traceback" not in said
        if command.returncode == 3:
            assert "is being written by process" in said and "left to it" in said
    assert s3.files("features.zarr") == by_one_process
    assert not any(CLAIMS in name for name in s3.files("features.zarr"))
    assert labs.run(lab, "verify").stdout == f"{len(LENGTHS)} good, 0 incomplete, 0 damaged\n"


def test_local_jobs_extract_into_a_bucket(
    labs: Any, lab: Path, s3: Any, by_one_process: dict[str, bytes]
) -> None:
    done = labs.run(lab, "--cluster", "local", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == len(LENGTHS)
    assert s3.files("features.zarr") == by_one_process
    index = S3Path(s3.bucket, "features.zarr/dinov2-random-demo/e4/index.json")
    assert len(json.loads(index.read_bytes())) == len(LENGTHS)


@pytest.mark.parametrize("where", ["variables", "home"])
def test_a_profile_of_the_users_own_opens_it(
    labs: Any, lab: Path, s3: Any, tmp_path: Path, environment: pytest.MonkeyPatch, where: str
) -> None:
    """Keys, endpoint and region come from files, as other tools take them; the environment has none."""
    S3Path(s3.bucket, "features.zarr/zarr.json").write_bytes(STORE)
    folder = tmp_path / ".aws"
    folder.mkdir()
    keys = s3.environment["AWS_ACCESS_KEY_ID"], s3.environment["AWS_SECRET_ACCESS_KEY"]
    (folder / "credentials").write_text(
        "[lab]\naws_access_key_id = {}\naws_secret_access_key = {}\n".format(*keys)
    )
    (folder / "config").write_text(f"[profile lab]\nregion = us-east-1\nendpoint_url = {s3.endpoint}\n")
    for name in s3.environment:
        environment.delenv(name)
    environment.setenv("HOME", str(tmp_path))
    if where == "variables":
        environment.setenv("HOME", str(tmp_path / "elsewhere"))
        environment.setenv("AWS_CONFIG_FILE", str(folder / "config"))
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    environment.setenv("AWS_PROFILE", "lab")
    listed = labs.run(lab, "ls", "--json")
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout) == {"store": f"{s3.url}/features.zarr", "views": []}
    environment.setenv("AWS_PROFILE", "default")
    environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
    refused = labs.run(lab, "ls")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "~/.aws: The config profile (default) could not be found" in refused.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, r"zarr\.json: the server refuses: .*"),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, r"zarr\.json: the server refuses: .*"),
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            r"zarr\.json: no credentials are found\. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        ),
    ],
    ids=["secret", "key", "none"],
)
def test_keys_that_do_not_open_it_are_said_in_one_line(
    labs: Any,
    lab: Path,
    s3: Any,
    environment: pytest.MonkeyPatch,
    changes: dict[str, str | None],
    message: str,
) -> None:
    for name, value in changes.items():
        environment.delenv(name) if value is None else environment.setenv(name, value)
    for arguments in (["ls"], ["copy", f"{s3.url}/features.zarr", "copied.zarr"]):
        done = labs.run(lab, *arguments)
        assert done.returncode == 1
        assert re.fullmatch(rf"error: {s3.url}/features\.zarr/{message}\n", done.stderr), done.stderr


def test_an_address_that_is_none_is_refused(labs: Any, filmed: Path, tmp_path: Path) -> None:
    lab = lab_on("s3:///features.zarr", filmed, tmp_path)
    done = labs.run(lab)
    assert done.returncode == 1
    said = f"error: {lab}/sync.toml [store]: expected s3://BUCKET/NAME, got 's3:///features.zarr'\n"
    assert done.stderr == said
