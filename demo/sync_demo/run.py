"""All stages on a rendered benchmark, each by the command that a user would type."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from sync_store.errors import SyncError

NOTE = (
    "These are rendered scenes and features of a backbone with random weights, not the paper's data:\n"
    "they show that the pipeline works, and their scores compare with no published ones."
)

TABLES = {"markdown": "results.md", "json": "results.json"}
"""Files of the result table by format."""
PLOTS = "plots"
RUNS = "runs"
"""Where training leaves its runs unless sync.toml names another folder."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command."""

    name: str
    """What its time is reported under."""
    command: tuple[str, ...]
    folder: Path | None = None
    """Where it runs; None is the working directory."""


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """How long one or several commands of one name took."""

    name: str
    seconds: float


class StepError(SyncError):
    """A command failed; its own message is on stderr already."""

    def __init__(self, step: Step, status: int) -> None:
        super().__init__(
            f"{shlex.join(step.command)} ended with exit status {status}; its message is above. "
            "Once it's mended, run the same command again: what is done is kept"
        )
        self.status = status


def list_steps(out: Path, render_options: Sequence[str], seeds: int | None) -> list[Step]:
    """Every command from an empty folder to the table.

    Args:
        out: Folder of the benchmark.
        render_options: Options of `sync-demo render`.
        seeds: How often to train, with the seeds from 0; by default as sync.toml says.
    """
    chosen = [option for seed in range(seeds or 0) for option in ("--seed", str(seed))]
    return [
        Step(name="render", command=("sync-demo", "render", str(out), *render_options)),
        Step(name="extract", command=("sync-extract",), folder=out),
        Step(name="train", command=("sync-train", *chosen), folder=out),
        Step(name="evaluate", command=("sync-eval", "plot", "--output", PLOTS), folder=out),
        *(
            Step(
                name="evaluate",
                command=("sync-eval", "table", "--format", form, "--output", name),
                folder=out,
            )
            for form, name in TABLES.items()
        ),
        Step(name="evaluate", command=("sync-eval",), folder=out),
    ]


def run_steps(steps: Sequence[Step]) -> list[StepTime]:
    """Run commands one after the other, each shown before it runs, with its output as it comes.

    Raises:
        StepError: If one doesn't end with 0; those after it don't run.
    """
    seconds: dict[str, float] = {}
    folder = None
    for step in steps:
        if step.folder != folder and step.folder is not None:
            click.echo(f"$ cd {shlex.quote(str(step.folder))}")
        folder = step.folder
        click.echo(f"$ {shlex.join(step.command)}")
        start = time.perf_counter()
        status = subprocess.run([_program(step.command[0]), *step.command[1:]], cwd=folder).returncode
        if status != 0:
            raise StepError(step, status if status > 0 else 128 - status)
        seconds[step.name] = seconds.get(step.name, 0.0) + time.perf_counter() - start
    return [StepTime(name=name, seconds=taken) for name, taken in seconds.items()]


def summary(out: Path, times: Sequence[StepTime]) -> str:
    """What the last lines say: what was measured on, where everything is, how long it took."""
    places = {
        "table": ", ".join(str(out / name) for name in TABLES.values()),
        "plots": str(out / PLOTS),
        "runs": str(out / RUNS),
    }
    taken = [*times, StepTime(name="in all", seconds=sum(step.seconds for step in times))]
    lines = [f"{name:<9} {place}" for name, place in places.items()]
    lines += [f"{step.name:<9} {step.seconds:6.1f} s" for step in taken]
    return "\n".join((NOTE, "", *lines))


def _program(name: str) -> str:
    """The command that was installed with this one, also where its folder isn't on the PATH."""
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    found = shutil.which(name, path=beside)
    if found is None:
        raise SyncError(f"there is no command {name}; install this package with: pip install 'sync-tas[all]'")
    return found
