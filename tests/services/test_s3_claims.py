"""One writer a recording in a bucket, over processes and machines."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sync_store import claim as claims
from sync_store.claim import Claim, holder, sweep
from sync_store.errors import BusyError, LostClaimError
from sync_store.layout import CLAIMS, METADATA, FeatureSet
from sync_store.reader import FeatureStore
from sync_store.s3 import S3Path
from sync_store.verify import verify_store
from sync_store.writer import RecordingWriter

SMALL = FeatureSet(name="small", recipe={"backbone": "test"}, feature_dim=3)
TIMES = np.arange(5, dtype=np.int64) * 33
ROWS = np.ones((5, 3), dtype=np.float16)

LEASE_SECONDS = 3.0
"""Of these tests: a server's times are those of whole seconds."""

HOLDER = """
import sys
from sync_store.claim import Claim
from sync_store.s3 import S3Path
claim = Claim(S3Path.parse(sys.argv[1]), "small", "e4", "r")
print("held", flush=True)
sys.stdin.read()
"""

RACER = """
import sys
from sync_store.claim import Claim
from sync_store.errors import BusyError
from sync_store.s3 import S3Path
store = S3Path.parse(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()  # all at once
claims = []
for number in range(20):
    try:
        claims.append(Claim(store, "small", "e4", f"r{number}"))
        print(number, flush=True)
    except BusyError:
        pass
print("done", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(s3: Any) -> S3Path:
    """A folder of a bucket that looks like a store to those who write there."""
    place = S3Path(s3.bucket, "features.zarr")
    (place / METADATA).touch()
    return place


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BUCKET_LEASE_SECONDS", LEASE_SECONDS)


def start(program: str, store: S3Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program, str(store)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() in ("held\n", "ready\n")
    return process


def objects(store: S3Path) -> list[str]:
    """What lies in the folder of claims."""
    return [str(path).removeprefix(f"{store / CLAIMS}/") for path, _ in (store / CLAIMS).files()]


def from_another_machine(store: S3Path) -> S3Path:
    """Make the claim on a recording look as one of another machine, renewed just now."""
    path = store / CLAIMS / "small" / "e4" / "r" / "1"
    content = {**json.loads(path.read_bytes()), "host": "n7", "machine": "another"}
    path.write_bytes(json.dumps(content).encode())
    return path


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_free(store: S3Path) -> bool:
    try:
        Claim(store, "small", "e4", "r").release()
    except BusyError:
        return False
    return True


def test_a_living_holder_is_named_and_keeps_its_recording(store: S3Path) -> None:
    process = start(HOLDER, store)
    with pytest.raises(
        BusyError, match=f"^recording r, view e4: is being written by process {process.pid} on .*left to it$"
    ):
        Claim(store, "small", "e4", "r")
    known = holder(store, "small", "e4", "r")
    assert known is not None and known["process"] == process.pid
    process.communicate()
    assert holder(store, "small", "e4", "r") is None
    assert objects(store) == []


def test_a_killed_holder_is_succeeded_at_once(store: S3Path) -> None:
    process = start(HOLDER, store)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    claim = Claim(store, "small", "e4", "r")
    assert objects(store) == ["small/e4/r/2"]
    claim.check()
    claim.release()
    assert objects(store) == []


def test_of_many_processes_one_gets_each_recording(store: S3Path) -> None:
    racers = [start(RACER, store) for _ in range(4)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    won: list[int] = []
    for racer in racers:
        assert racer.stdout is not None
        won += map(int, iter(racer.stdout.readline, "done\n"))
    for racer in racers:
        racer.communicate()
    assert sorted(won) == list(range(20))
    assert objects(store) == []


@pytest.mark.usefixtures("short_lease")
def test_a_holder_elsewhere_that_renews_keeps_its_recording(
    store: S3Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "RENEW_SECONDS", 0.2)
    claim = Claim(store, "small", "e4", "r")
    path = from_another_machine(store)
    made = path.stat().st_mtime
    now = store / "now"

    def is_lease_over() -> bool:
        now.touch()
        return now.stat().st_mtime - made > LEASE_SECONDS + 1

    wait_for(is_lease_over)
    assert not is_free(store)
    claim.check()
    claim.release()
    assert is_free(store)


@pytest.mark.usefixtures("short_lease")
def test_a_stale_renewal_does_not_bring_a_claim_back(store: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slept wakes up after its successor is done, and renews what is no longer there."""
    monkeypatch.setattr(claims, "RENEW_SECONDS", 0.2)
    sleeper = start(HOLDER, store)
    path = store / CLAIMS / "small" / "e4" / "r" / "1"
    os.kill(sleeper.pid, signal.SIGSTOP)
    from_another_machine(store)
    wait_for(lambda: holder(store, "small", "e4", "r") is None)
    successor = Claim(store, "small", "e4", "r")
    successor.check()
    path.with_name("1.renewed").touch()  # had been on its way
    successor.check()
    assert not is_free(store)
    successor.release()
    os.kill(sleeper.pid, signal.SIGCONT)
    assert is_free(store)
    sleeper.communicate()
    assert not path.exists()


@pytest.mark.usefixtures("short_lease")
def test_two_writers_of_one_recording_never_mix(s3: Any, tmp_path: Path) -> None:
    place = S3Path(s3.bucket, "features.zarr")
    writer = RecordingWriter(place, SMALL, "e4", "r", timestamps=TIMES, provenance={})
    from_another_machine(place)
    with pytest.raises(BusyError, match=r"on n7"):
        RecordingWriter(place, SMALL, "e4", "r", timestamps=TIMES, provenance={})
    wait_for(lambda: holder(place, "small", "e4", "r") is None)
    with RecordingWriter(place, SMALL, "e4", "r", timestamps=TIMES, provenance={}) as successor:
        successor.append(ROWS)
        with pytest.raises(LostClaimError, match=r"another job has taken it over.*discarded"):
            writer.append(ROWS * 2)
        writer.close()  # doesn't let go of what isn't its own
        successor.commit()
    store = FeatureStore(place)
    np.testing.assert_array_equal(store.read("small", "e4", "r").features, ROWS)
    assert [finding.state for finding in verify_store(store, [], [])] == ["good"]
    assert objects(place) == []


@pytest.mark.usefixtures("short_lease")
def test_what_dead_processes_left_is_swept_and_the_living_keep_theirs(store: S3Path) -> None:
    living, dead = Claim(store, "small", "e4", "a"), Claim(store, "small", "e4", "r")
    from_another_machine(store)
    wait_for(lambda: holder(store, "small", "e4", "r") is None)
    sweep(store)
    assert objects(store) == ["small/e4/a/1"]
    living.check()
    with pytest.raises(LostClaimError):
        dead.check()
    (store / METADATA).unlink()
    with pytest.raises(FileNotFoundError, match="has vanished"):
        living.check()
