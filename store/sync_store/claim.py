"""One writer a recording: the right to write it, held by one process of a whole cluster at a time.

    <store>/.claims/<feature set>/<view>/<recording>/<number>

A claim is a file that is created exclusively, which holds on shared file systems and in buckets, too; whoever made the
highest number has the recording. Its holder renews it while it lives. A claim that isn't renewed any more is taken over
by creating the next number, in which one of many succeeds. A holder that was taken for dead, such as a paused
machine's, finds another's claim before its next write. Only the times of the file system or the bucket's server are
compared with each other, so no host's clock matters.
"""

import errno
import json
import os
import platform
import threading
import weakref
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from sync_store.atomic import create_atomic
from sync_store.errors import BusyError, LostClaimError
from sync_store.layout import CLAIMS, METADATA, recording_path
from sync_store.place import Place, files
from sync_store.s3 import S3Path

LEASE_SECONDS = 60.0
"""A claim that is older has a dead holder."""

BUCKET_LEASE_SECONDS = 400.0
"""In a bucket, where a write that was begun may go on for RETRY_TIMEOUT, one more request and its own repetitions
(`s3_connection`): it must not end after another process has taken over."""

RENEW_SECONDS = 10.0
"""A holder may miss a few renewals: file servers stall."""

_RENEWED = ".renewed"
"""Suffix of the object whose time is that of the last renewal: an object's own time changes only when it is written
anew, which would bring back a claim that was deleted meanwhile."""


class Claim:
    """Held from `__init__` until `release`, or until it is collected as garbage."""

    def __init__(self, store: Place, feature_set: str, view: str, recording: str) -> None:
        """Take the recording, also from a holder that is dead.

        Raises:
            BusyError: If a living process holds it.
            OSError: If the store can't be written.
        """
        self._where = f"recording {recording}, view {view}"
        self._store = store
        self._folder = recording_path(store / CLAIMS, feature_set, view, recording)
        self._token = uuid4().hex
        self._path = self._take()
        stop = threading.Event()
        threading.Thread(
            target=_renew, args=(self._path, self._token, stop), name="claim", daemon=True
        ).start()
        self.release = weakref.finalize(self, _release, self._path, self._token, stop)
        """Let others write it; harmless when done twice."""

    def check(self) -> None:
        """Make sure, before something is written, that the recording is still ours.

        Raises:
            LostClaimError: If another process took it.
            FileNotFoundError: If the store has vanished.
        """
        if not (self._store / METADATA).is_file():
            raise FileNotFoundError(errno.ENOENT, "has vanished. Is its disk there?", str(self._store))
        if _highest(self._folder) != self._path or not self._is_ours(self._path):
            raise LostClaimError(
                f"{self._where}: another job has taken it over, since this one hadn't been heard of for "
                f"{lease_seconds(self._store):.0f} s; what this one computed of it is discarded"
            )

    def _is_ours(self, path: Place) -> bool:
        try:
            return _read(path).get("token") == self._token
        except FileNotFoundError:
            return False

    def _take(self) -> Place:
        while True:
            held = _highest(self._folder)
            if held is not None and self._is_ours(held):  # created by a request whose answer was lost
                return held
            try:
                living = _holder(held) if held is not None else None
            except FileNotFoundError:  # let go just now
                continue
            if living is not None:
                raise BusyError(f"{self._where}: is being written by {_words(living)}, and left to it")
            path = self._folder / str(1 + (int(held.name) if held else 0))
            try:
                _create(path, self._token)
            except FileExistsError:  # another one was faster
                continue
            if _highest(self._folder) != path:
                path.unlink(missing_ok=True)
                continue
            for older in _numbers(self._folder):
                if older < int(path.name):
                    _unlink(self._folder / str(older))
            return path


def lease_seconds(store: Place) -> float:
    """How long a claim counts after its last renewal."""
    return BUCKET_LEASE_SECONDS if isinstance(store, S3Path) else LEASE_SECONDS


def holder(store: Place, feature_set: str, view: str, recording: str) -> dict[str, Any] | None:
    """Who writes a recording: host, process, job and since when; None if nobody who lives."""
    held = _highest(recording_path(store / CLAIMS, feature_set, view, recording))
    try:
        return _holder(held) if held is not None else None
    except FileNotFoundError:
        return None


def sweep(store: Place) -> None:
    """Delete the claims that dead processes left, and what else they left there.

    A living process that loses a file which it is just making makes it anew.
    """
    for folder in sorted({path.parent for path, _ in _files(store / CLAIMS)}):
        with suppress(FileNotFoundError):
            held = _highest(folder)
            if held is not None and _holder(held) is not None:
                continue
            newest = 0 if held is None else int(held.name)
            paths: list[Place] = list(folder.iterdir())
            for path in paths:
                if not path.name.isdecimal() or int(path.name) <= newest:
                    path.unlink(missing_ok=True)
            _remove_empty(folder)


def _create(path: Place, token: str) -> None:
    content = {
        "token": token,
        "host": platform.node(),
        "process": os.getpid(),
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "started": _started(os.getpid()),
    }
    if isinstance(path, S3Path):
        return create_atomic(path, json.dumps(content).encode())
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # who has just released a claim has deleted the folder again
            return create_atomic(path, json.dumps(content).encode())


def _files(folder: Place) -> Iterable[tuple[Place, Any]]:
    try:
        return list(files(folder))
    except FileNotFoundError:
        return ()


def _highest(folder: Place) -> Place | None:
    numbers = _numbers(folder)
    return folder / str(max(numbers)) if numbers else None


def _numbers(folder: Place) -> list[int]:
    try:
        return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    except FileNotFoundError:
        return []


def _holder(path: Place) -> dict[str, Any] | None:
    """What a claim says of its holder; None if that is dead.

    Raises:
        FileNotFoundError: If it was let go.
    """
    claim = _read(path)
    if claim.get("machine") and claim["machine"] == _machine():
        is_alive = _is_alive(int(claim.get("process", 0)), claim.get("started"))
    else:
        is_alive = _age(path) < lease_seconds(path)
    return claim if is_alive else None


def _words(claim: dict[str, Any]) -> str:
    if not claim:
        return "another process"
    job = f", job {claim['job']}," if claim.get("job") else ""
    return f"process {claim.get('process')} on {claim.get('host')}{job} since {claim.get('since')}"


def _read(path: Place) -> dict[str, Any]:
    try:
        claim = json.loads(path.read_bytes())
    except ValueError:
        return {}
    return claim if isinstance(claim, dict) else {}


def _age(path: Place) -> float:
    """Seconds since a claim was renewed, by the file system's clock; 0 where we mustn't write to ask for it."""
    now = path.with_name(f"{uuid4().hex}.now")
    try:
        now.touch()
        renewed = path.stat().st_mtime
        if isinstance(path, S3Path):
            with suppress(FileNotFoundError):
                renewed = max(renewed, _renewed(path).stat().st_mtime)
        return now.stat().st_mtime - renewed
    except FileNotFoundError:
        raise
    except OSError:
        return 0.0
    finally:
        with suppress(OSError):
            now.unlink()


def _renew(path: Place, token: str, stop: threading.Event) -> None:
    while not stop.wait(RENEW_SECONDS):
        with suppress(OSError):  # lost, or out of reach for now: `check` tells before a write
            if _read(path).get("token") != token:
                continue
            if isinstance(path, S3Path):
                _renewed(path).touch()
            else:
                os.utime(path)


def _renewed(path: S3Path) -> S3Path:
    return path.with_name(path.name + _RENEWED)


def _release(path: Place, token: str, stop: threading.Event) -> None:
    stop.set()
    with suppress(OSError):  # the disk is lost
        # else it was taken over, and its number is another one's by now
        if _read(path).get("token") == token:
            _unlink(path)
            _remove_empty(path.parent)


def _unlink(path: Place) -> None:
    """Delete one claim."""
    path.unlink(missing_ok=True)
    if isinstance(path, S3Path):
        _renewed(path).unlink()


def _remove_empty(folder: Place) -> None:
    """Delete the folder of a recording's claims, and those above it that are empty then."""
    if isinstance(folder, S3Path):
        return
    with suppress(OSError):  # others have a claim there
        for each in (folder, *list(folder.parents)[:3]):
            each.rmdir()


def _machine() -> str:
    """This system's start and its space of process numbers, where they can be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot + " " + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _is_alive(process: int, started: object) -> bool:
    """Whether a process of this machine is the one that started then; another user's may not say when."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return _started(process) in (started, "")
    return _started(process) == started


def _started(process: int) -> str:
    """When a process of this machine started, in ticks; empty if there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
