"""What the benchmarks share: timing candidates in turn, and a result file that says where it was made."""

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from sync_store.atomic import write_json
from sync_store.provenance import library_versions, machine

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

LIBRARIES = ("torch", "numpy", "zarr", "numcodecs", "lmdb", "av", "decord", "transformers", "pillow")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long one candidate took in each round."""

    seconds: tuple[float, ...]

    @property
    def median_seconds(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.seconds)

    def summary(self, amount: float, unit: str) -> dict[str, Any]:
        """JSON values.

        Args:
            amount: Work done in a round, in `unit`.
            unit: What is counted, such as "frames"; the rate is stated as `frames_per_second`.
        """
        return {
            "median_seconds": round(self.median_seconds, 6),
            "fastest_seconds": round(min(self.seconds), 6),
            "slowest_seconds": round(max(self.seconds), 6),
            f"{unit}_per_second": round(amount / self.median_seconds, 1),
        }


def time_in_turn(
    candidates: Mapping[str, Callable[[], object]], *, num_rounds: int, num_warm_up: int = 1
) -> dict[str, Timing]:
    """Time candidates in rounds, one after the other in each, so that what else the machine does hits all.

    Args:
        candidates: What to time, by name. A round begins with another one each time.
        num_rounds: Timed rounds.
        num_warm_up: Rounds before them that don't count.
    """
    names = list(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-num_warm_up, num_rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            candidates[name]()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing(seconds=tuple(values)) for name, values in seconds.items()}


def ratio(fast: Timing, slow: Timing) -> dict[str, float]:
    """How many times as fast `fast` is: of the medians, and the least and most of any one round."""
    rounds = [b / a for a, b in zip(fast.seconds, slow.seconds, strict=True)]
    return {
        "of_medians": round(slow.median_seconds / fast.median_seconds, 3),
        "least": round(min(rounds), 3),
        "most": round(max(rounds), 3),
    }


def arguments(name: str, description: str | None, **options: str) -> argparse.Namespace:
    """Read the command line: `--out`, where the result goes, `--smoke`, tiny sizes for the tests, and others.

    Args:
        name: Of the benchmark.
        description: What it measures.
        options: Help of options that only this one has; each has a value, None by default.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", help="Result file.")
    parser.add_argument("--smoke", action="store_true", help="Tiny sizes: runs, and measures nothing.")
    for option, text in options.items():
        parser.add_argument(f"--{option}", help=text)
    return parser.parse_args()


def write_result(
    out: Path,
    *,
    settings: Mapping[str, Any],
    timings: Mapping[str, Any],
    ratios: Mapping[str, Any],
    targets: Mapping[str, float],
) -> None:
    """Write a result beside the machine, versions and commit that made it, and print its ratios.

    Args:
        out: JSON file.
        settings: Sizes and repetitions.
        timings: A `Timing.summary` for each candidate.
        ratios: A `ratio` for each comparison, by name.
        targets: The least `of_medians` that we want, by the ratio's name.
    """
    result = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {**machine(), "cores": os.cpu_count(), "torch_threads": torch.get_num_threads()},
        "libraries": library_versions(LIBRARIES),
        "settings": dict(settings),
        "timings": dict(timings),
        "ratios": dict(ratios),
        "targets": dict(targets),
    }
    write_json(out, result)
    for name, values in ratios.items():
        print(f"{name}: {values['of_medians']:.2f} ({values['least']:.2f} to {values['most']:.2f})", end="")
        print(f", target {targets[name]:g}" if name in targets else "")
    print(f"-> {out}")


def _commit() -> str:
    """The commit, marked if a file differs from it; earlier results of the same `make bench` don't count."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = _output([*git, "rev-parse", "--short=12", "HEAD"])
        changed = _output([*git, "status", "--porcelain", "-uno", "--", ".", ":!benchmarks/results"])
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + (".changed" if changed else "")


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
