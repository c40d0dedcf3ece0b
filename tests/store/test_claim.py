"""One writer a recording, over processes and machines."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sync_store.claim import LEASE_SECONDS, Claim, holder, sweep
from sync_store.errors import BusyError, CompleteError, LostClaimError
from sync_store.layout import CLAIMS, METADATA, FeatureSet
from sync_store.reader import FeatureStore
from sync_store.verify import verify_store
from sync_store.writer import RecordingWriter

SMALL = FeatureSet(name="small", recipe={"backbone": "test"}, feature_dim=3)
TIMES = np.arange(5, dtype=np.int64) * 33
ROWS = np.ones((5, 3), dtype=np.float16)

HOLDER = """
import sys, time
from pathlib import Path
from sync_store.claim import Claim
claim = Claim(Path(sys.argv[1]), "small", "e4", "r")
print("held", flush=True)
sys.stdin.read()
"""

RACER = """
import sys
from pathlib import Path
from sync_store.claim import Claim
from sync_store.errors import BusyError
sys.stdin.readline()  # all at once
claims = []
for number in range(40):
    try:
        claims.append(Claim(Path(sys.argv[1]), "small", "e4", f"r{number}"))
        print(number, flush=True)
    except BusyError:
        pass
print("done", flush=True)
sys.stdin.read()
"""


def start(program: str, store: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program, str(store)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def held_elsewhere(store: Path) -> "subprocess.Popen[str]":
    process = start(HOLDER, store)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def claim_file(store: Path) -> Path:
    (path,) = (store / CLAIMS / "small" / "e4" / "r").iterdir()
    return path


def from_another_machine(path: Path, *, age_seconds: float) -> None:
    """Make a claim look as one of another machine, renewed so long ago."""
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "n7", "machine": "another"}))
    renewed_at = path.stat().st_mtime - age_seconds
    os.utime(path, (renewed_at, renewed_at))


def test_a_living_holder_is_named_and_keeps_its_recording(tmp_path: Path) -> None:
    process = held_elsewhere(tmp_path)
    with pytest.raises(
        BusyError, match=f"^recording r, view e4: is being written by process {process.pid} on .*left to it$"
    ):
        Claim(tmp_path, "small", "e4", "r")
    known = holder(tmp_path, "small", "e4", "r")
    assert known is not None and known["process"] == process.pid
    process.communicate()
    assert holder(tmp_path, "small", "e4", "r") is None


def test_a_killed_holder_is_succeeded_at_once(tmp_path: Path) -> None:
    process = held_elsewhere(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    Claim(tmp_path, "small", "e4", "r")


def test_a_claim_that_is_let_go_leaves_nothing(tmp_path: Path) -> None:
    claim = Claim(tmp_path, "small", "e4", "r")
    claim.release()
    claim.release()
    assert list(tmp_path.iterdir()) == []
    Claim(tmp_path, "small", "e4", "r")


@pytest.mark.parametrize(
    ("age_seconds", "is_free"), [(0.5 * LEASE_SECONDS, False), (1.5 * LEASE_SECONDS, True)]
)
def test_a_holder_elsewhere_is_dead_once_its_lease_is_over(
    tmp_path: Path, age_seconds: float, is_free: bool
) -> None:
    (tmp_path / METADATA).touch()
    claim = Claim(tmp_path, "small", "e4", "r")
    from_another_machine(claim_file(tmp_path), age_seconds=age_seconds)
    if is_free:
        Claim(tmp_path, "small", "e4", "r").check()
        with pytest.raises(LostClaimError, match=r"another job has taken it over.*discarded"):
            claim.check()
    else:
        with pytest.raises(BusyError, match="on n7"):
            Claim(tmp_path, "small", "e4", "r")
        claim.check()


def test_of_many_processes_one_gets_each_recording(tmp_path: Path) -> None:
    (tmp_path / METADATA).touch()
    stale = Claim(tmp_path, "small", "e4", "r7")
    (path,) = (tmp_path / CLAIMS / "small" / "e4" / "r7").iterdir()
    from_another_machine(path, age_seconds=2 * LEASE_SECONDS)
    racers = [start(RACER, tmp_path) for _ in range(4)]
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
    assert sorted(won) == list(range(40))
    with pytest.raises(LostClaimError):
        stale.check()


def test_two_writers_of_one_recording_never_mix(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path, SMALL, "e4", "r", timestamps=TIMES, provenance={})
    with pytest.raises(BusyError):
        RecordingWriter(tmp_path, SMALL, "e4", "r", timestamps=TIMES, provenance={})
    from_another_machine(claim_file(tmp_path), age_seconds=2 * LEASE_SECONDS)  # its machine slept
    with RecordingWriter(tmp_path, SMALL, "e4", "r", timestamps=TIMES, provenance={}) as successor:
        successor.append(ROWS)
        with pytest.raises(LostClaimError):
            writer.append(ROWS * 2)
        successor.commit()
    with pytest.raises(CompleteError):
        RecordingWriter(tmp_path, SMALL, "e4", "r", timestamps=TIMES, provenance={})
    store = FeatureStore(tmp_path)
    np.testing.assert_array_equal(store.read("small", "e4", "r").features, ROWS)
    assert [finding.state for finding in verify_store(store, [], [])] == ["good"]
    assert store.feature_sets() == ["small"]


def test_a_holder_that_slept_through_two_successors_stays_out(tmp_path: Path) -> None:
    (tmp_path / METADATA).touch()
    sleeper = Claim(tmp_path, "small", "e4", "r")
    first = claim_file(tmp_path)
    from_another_machine(first, age_seconds=2 * LEASE_SECONDS)
    left_behind = first.read_bytes()
    second = Claim(tmp_path, "small", "e4", "r")
    path = claim_file(tmp_path)
    from_another_machine(path, age_seconds=2 * LEASE_SECONDS)
    first.write_bytes(left_behind)  # as if the second had been killed before it deleted it
    os.utime(first, (0, 0))
    third = Claim(tmp_path, "small", "e4", "r")
    assert claim_file(tmp_path).name == "3"
    third.release()
    with pytest.raises(LostClaimError):
        sleeper.check()
    fourth = Claim(tmp_path, "small", "e4", "r")
    assert claim_file(tmp_path).name == "1"
    for late in (sleeper, second):
        with pytest.raises(LostClaimError):
            late.check()
        late.release()
    fourth.check()


def test_overwriting_waits_for_the_claim_before_it_deletes(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path, SMALL, "e4", "r", timestamps=TIMES, provenance={}) as writer:
        writer.append(ROWS)
        writer.commit()
    process = held_elsewhere(tmp_path)
    with pytest.raises(BusyError):
        RecordingWriter(tmp_path, SMALL, "e4", "r", timestamps=TIMES, provenance={}, overwrite=True)
    np.testing.assert_array_equal(FeatureStore(tmp_path).read("small", "e4", "r").features, ROWS)
    process.communicate()
    with RecordingWriter(
        tmp_path, SMALL, "e4", "r", timestamps=TIMES, provenance={}, overwrite=True
    ) as writer:
        writer.append(ROWS * 3)
        writer.commit()
    np.testing.assert_array_equal(FeatureStore(tmp_path).read("small", "e4", "r").features, ROWS * 3)


def test_what_dead_processes_left_is_swept_and_the_living_keep_theirs(tmp_path: Path) -> None:
    (tmp_path / METADATA).touch()
    living, dead = Claim(tmp_path, "small", "e4", "a"), Claim(tmp_path, "small", "e4", "r")
    path = claim_file(tmp_path)
    from_another_machine(path, age_seconds=2 * LEASE_SECONDS)
    for name in (".1.0123.partial", "0123.now"):
        path.with_name(name).touch()
    sweep(tmp_path)
    assert [path.name for path in (tmp_path / CLAIMS / "small" / "e4").iterdir()] == ["a"]
    living.check()
    with pytest.raises(LostClaimError):
        dead.check()
    (tmp_path / METADATA).unlink()
    with pytest.raises(FileNotFoundError, match="has vanished"):
        living.check()
