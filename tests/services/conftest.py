"""Slurm and an S3 server for the tests that need real ones: `make test-services` starts them."""

import fcntl
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal
from urllib.request import Request, urlopen

import numpy as np
import obstore
import pytest
from obstore.store import S3Store

from sync_demo.encode import COLOR, write_video
from sync_store.layout import CLAIMS, INDEX
from sync_store.s3 import S3Path

SCRIPTS = Path(__file__).parent


def service(name: str) -> Path:
    """Folder of a service that runs; without it the test is skipped, unless SYNC_REQUIRE_SERVICES forbids it."""
    folder = Path(os.environ.get("SYNC_SERVICES", os.devnull)) / name
    if (folder / "state").exists():
        return folder
    missing = f"no {name}: run `make test-services`"
    if os.environ.get("SYNC_REQUIRE_SERVICES") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def run(*command: str | Path) -> str:
    """What a command prints; its own words if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """A cluster of two nodes with two processors and one feigned GPU each; /dev/null is the GPU's device file.

    A job that gets SIGTERM for another's sake has 5 seconds. If it ends by itself in that time, Slurm counts it as
    finished and doesn't put it back into the queue; only what has to be killed is put back.
    """

    folder: Path
    nodes: tuple[str, str] = ("n1", "n2")
    low: str = "low"
    """The default partition, whose jobs make room for those of `high`."""
    high: str = "high"

    def submit(self, script: str, *options: str | Path) -> str:
        """Submit the lines of a bash script, with options of sbatch; the number of the job."""
        command = ["sbatch", "--parsable", *options]
        done = subprocess.run(
            command, input=f"#!/bin/bash\n{script}", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def tasks(self, job: str) -> list[dict[str, str]]:
        """What `scontrol show job` says of each task of an array, or of the one job."""
        lines = run("scontrol", "--oneliner", "show", "job", job).splitlines()
        return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines if line]

    def states(self, job: str) -> set[str]:
        """States of a job's tasks: PENDING, RUNNING, COMPLETED, FAILED and so on."""
        return {task["JobState"] for task in self.tasks(job)}

    def wait_for(self, job: str, state: str) -> None:
        """Until all tasks of a job are in a state."""
        self.wait_until(lambda: self.states(job) == {state}, f"job {job} is {state}")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Until something is so; AssertionError, with what Slurm knows of all jobs, if it isn't in two minutes."""
        stop = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < stop, f"not in two minutes: {what}\n{run('scontrol', 'show', 'job')}"
            time.sleep(0.1)

    def release(self, job: str) -> None:
        """Wait until a job was put back into the queue, and let it start at once instead of after ten seconds."""
        self.wait_until(lambda: "PENDING" in self.states(job), f"job {job} was put back")
        for task in self.tasks(job):
            if task["JobState"] == "PENDING":
                run("scontrol", "update", f"JobId={task['JobId']}", "StartTime=now")

    def kill(self, node: str) -> None:
        """SIGKILL to a node and its jobs; the controller notices after ten seconds or more."""
        run(SCRIPTS / "slurm.sh", "kill-node", self.folder, node)

    def restore(self, node: str) -> None:
        """Bring a killed node back, and wait until it takes jobs; nothing happens to one that runs."""
        run(SCRIPTS / "slurm.sh", "start-node", self.folder, node)

    def clear(self) -> None:
        """No jobs, and all nodes up."""
        run("scancel", "--full", "--user", str(os.getuid()))
        self.wait_until(lambda: not run("squeue", "--noheader"), "the queue is empty")
        for node in self.nodes:
            self.restore(node)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """The cluster, for one test at a time, to which this process and its children submit; afterwards as it was."""
    cluster = Slurm(folder=service("slurm"))
    monkeypatch.setenv("SLURM_CONF", str(cluster.folder / "slurm.conf"))
    with (cluster.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cluster
        cluster.clear()


@dataclass(frozen=True, kw_only=True)
class S3:
    """A server, and an empty bucket on it."""

    bucket: str
    environment: dict[str, str]
    """Endpoint and keys, in the variables that the tools of this field read (AWS_ENDPOINT_URL and so on)."""

    @property
    def endpoint(self) -> str:
        """Address of the server."""
        return self.environment["AWS_ENDPOINT_URL"]

    @property
    def url(self) -> str:
        """Of the bucket, without a slash at the end."""
        return f"s3://{self.bucket}"

    @property
    def store(self) -> S3Store:
        """The bucket as obstore sees it."""
        return S3Store(self.bucket)

    def files(self, name: str) -> dict[str, bytes]:
        """All objects of a store but the readers' caches, as `Labs.store` gives the files of a folder."""
        paths = [path for path, _ in S3Path(self.bucket, name).files()]
        return {path.key: path.read_bytes() for path in paths if path.name != INDEX}


def ask_for_bucket(store: S3Store, method: Literal["PUT", "DELETE"]) -> None:
    """PUT makes the bucket, DELETE deletes it once it is empty; HTTPError if the server refuses."""
    signed = obstore.sign(store, method, "", timedelta(minutes=1))
    urlopen(Request(signed, method=method)).close()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A bucket of the test's own, with the keys in the environment of this process and its children."""
    lines = (service("s3") / "environment").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    server = S3(bucket=f"sync-{uuid.uuid4().hex}", environment=environment)
    ask_for_bucket(server.store, "PUT")
    yield server
    for listed in server.store.list():
        server.store.delete([entry["path"] for entry in listed])
    ask_for_bucket(server.store, "DELETE")


class Labs:
    """Projects of noise, and `sync-extract` in them."""

    command = str(Path(sys.executable).with_name("sync-extract"))

    def make(self, folder: Path, project: str, lengths: Sequence[int]) -> Path:
        """A project of recordings r0, r1, … of one view, e4, with so many frames each."""
        (folder / "sync.toml").write_text(project)
        generator = np.random.default_rng(0)
        for number, length in enumerate(lengths):
            path = folder / "videos" / f"r{number}" / "e4.mp4"
            path.parent.mkdir(parents=True)
            pictures = generator.integers(0, 256, (length, 32, 32, 3), dtype=np.uint8)
            write_video(path, iter(pictures), COLOR, Fraction(30), Fraction(0), (32, 32))
        return folder

    def environment(self) -> dict[str, str]:
        """Without settings of the user's own."""
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("SYNC_", "HF_"))}
        return {**plain, "OMP_NUM_THREADS": "1"}

    def run(self, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The command to its end."""
        return subprocess.run(
            [self.command, *arguments],
            cwd=folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(self, folder: Path, *arguments: str) -> "subprocess.Popen[str]":
        """The command, which runs on."""
        return subprocess.Popen(
            [self.command, *arguments],
            cwd=folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def store(self, folder: Path) -> dict[str, bytes]:
        """All files of the store but the readers' caches."""
        files = [path for path in (folder / "features.zarr").rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != INDEX}

    def claims(self, folder: Path) -> list[dict[str, Any]]:
        """What the claims say that are held just now."""
        found = []
        for path in (folder / "features.zarr" / CLAIMS).rglob("[0-9]*"):
            with suppress(OSError, ValueError):  # let go, or not written yet
                found.append(json.loads(path.read_text()))
        return found


@pytest.fixture(scope="session")
def labs() -> Labs:
    return Labs()
