"""A command in a process of its own that gets a signal, the same command again, and a comparison of all files.

Processes are forked from one that has imported the libraries, or half of all moments would fall into imports. Shards
are small here, so that a recording has dozens of them.
"""

import hashlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np

from sync_store import layout

LIBRARIES = (
    "sync_extract.importing.run",
    "sync_extract.backbones.tsm",
    "sync_extract.pipeline",
    "sync_store.copying",
    "sync_train.run",
)
"""What a command would import before it does anything."""

CHUNK_BYTES, SHARD_BYTES = 4 << 10, 32 << 10


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that goes on where it was interrupted."""

    name: str
    module: str
    arguments: tuple[str, ...]
    output: str
    """The folder that it writes, all of which is compared but the caches of readers."""
    unit: str
    """What it never does twice."""
    files: str
    """Each unit's, below the folder."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One run that got a signal, and the run after it."""

    when: str
    """`before` it had written anything, `while` it did, or `after` all was written."""
    num_units: int
    """What was done when it ended."""
    seconds: float
    """From the signal to its end."""
    problem: str
    """What isn't as it should be; empty if all is."""


@contextmanager
def one_folder(lab: Path, command: Command) -> Iterator[Path]:
    """The project without what the command writes, deleted in the end."""
    with tempfile.TemporaryDirectory(dir=lab.parent) as folder:
        for path in lab.iterdir():
            if path.name not in (command.output, "sync.toml", "messages"):
                Path(folder, path.name).symlink_to(path)
        shutil.copy(lab / "sync.toml", folder)
        yield Path(folder)


def undisturbed(command: Command, lab: Path) -> tuple[float, dict[str, str]]:
    """How many seconds a run takes that nobody disturbs, and the files that it leaves."""
    with one_folder(lab, command) as place:
        began = time.perf_counter()
        finish(process := start(command, place))
        assert process.exitcode == 0, (place / "messages").read_text()
        return time.perf_counter() - began, tree(command, place)


def draw_moments(seconds: float, times: int, seed: int) -> Sequence[float]:
    """One moment in each of `times` equal parts of a run, in seconds after its start."""
    return [
        float(moment)
        for moment in (np.arange(times) + np.random.default_rng(seed).random(times)) * seconds / times
    ]


def end_and_go_on(
    command: Command, place: Path, sent: signal.Signals, moment: float, expected: dict[str, str]
) -> Ended:
    """Start a command, send it a signal at a moment, run it again, and compare."""
    process = start(command, place)
    process.join(moment)
    assert process.pid is not None
    if process.exitcode is None:
        os.kill(process.pid, sent)
    began = time.perf_counter()
    finish(process)
    seconds = time.perf_counter() - began
    problems = (
        [] if sent == signal.SIGKILL else unclean_end(process.exitcode, (place / "messages").read_text())
    )
    left, units = tree(command, place), stamps(command, place)
    finish(again := start(command, place))
    if again.exitcode != 0:
        problems.append(f"the second run ended with {again.exitcode}: {(place / 'messages').read_text()}")
    after = tree(command, place)
    problems += [
        f"{name} differs" for name in sorted({*after, *expected}) if after.get(name) != expected.get(name)
    ]
    kept = stamps(command, place)
    problems += [f"{name} was done twice" for name, stamp in units.items() if kept.get(name) != stamp]
    return Ended(
        when="before" if not left else "after" if left == expected else "while",
        num_units=len(units),
        seconds=seconds,
        problem="; ".join(problems),
    )


def unclean_end(exitcode: int | None, messages: str) -> list[str]:
    """What SIGTERM should have led to and didn't; before a command begins, the system ends it."""
    if exitcode in (0, -signal.SIGTERM):
        return []
    if exitcode == 143 and messages.endswith("interrupted; run the same command again to go on\n"):
        return ["a traceback"] if "Traceback" in messages else []
    return [f"ended with {exitcode}: {messages}"]


def start(command: Command, place: Path) -> ForkServerProcess:
    """Run a command in a process of its own; what it prints goes to the file `messages`."""
    (place / "messages").touch()  # a signal may come before the process has opened it
    process = multiprocessing.get_context("forkserver").Process(target=run, args=(command, place))
    process.start()
    return process


def finish(process: ForkServerProcess) -> None:
    """Wait for a process, but not for ever."""
    process.join(120)
    assert process.exitcode is not None, f"process {process.pid} doesn't end"


def run(command: Command, place: Path) -> None:
    """What the new process does: the command, with small shards."""
    os.chdir(place)
    sys.stdout = sys.stderr = (place / "messages").open("w", buffering=1)
    layout.CHUNK_BYTES, layout.SHARD_BYTES = CHUNK_BYTES, SHARD_BYTES
    import_module(command.module).main(command.arguments)


def tree(command: Command, place: Path) -> dict[str, str]:
    """Digest of every file that a command wrote, without the project's folder, which provenance names.

    The cache of readers and claims on recordings aren't compared: a killed job's claim may stay until somebody else
    writes the recording.
    """
    folder = place / command.output
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes().replace(str(place).encode(), b"")
        ).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
        and path.name != layout.INDEX
        and layout.CLAIMS not in path.relative_to(folder).parts
    }


def stamps(command: Command, place: Path) -> dict[str, tuple[int, int]]:
    """Which file each unit is, and when it was written: both change when it is done again."""
    found = {str(path): path.stat() for path in (place / command.output).glob(command.files)}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found.items()}
