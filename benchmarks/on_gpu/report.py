"""Sections that may fail or run out of time, and the result file that is written after each of them."""

import io
import signal
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.measure import Timing, write_result


class OutOfTimeError(Exception):
    """A section took too long. No TimeoutError, since that is an OSError, which the pipeline takes for a full disk."""


@dataclass(kw_only=True)
class Report:
    """All figures so far."""

    out: Path
    settings: dict[str, Any]
    deadline: float
    """By `time.monotonic`."""
    timings: dict[str, Any] = field(default_factory=dict)
    ratios: dict[str, dict[str, float]] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of each its seconds, its remarks, and its error if it has one."""
    rates: dict[str, float] = field(default_factory=dict)
    """Frames, or operations, a second, which later sections compare with."""

    def section(self, name: str, run: Callable[[], dict[str, Any]], *, most_seconds: float) -> None:
        """Run a section, and write what there is; its error is recorded, and the next section runs.

        Args:
            name: In the result.
            run: Adds timings, ratios and rates; returns remarks.
            most_seconds: After them it is ended, and at the deadline in any case.
        """
        start = time.monotonic()
        said: dict[str, Any]
        try:
            said = _within(min(most_seconds, self.deadline - start), run)
        except Exception as error:  # whatever it is, the figures of the other sections are wanted
            said = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        self.sections[name] = {"seconds": round(time.monotonic() - start, 1), **said}
        print(f"{name}: {self.sections[name]}", flush=True)
        with redirect_stdout(io.StringIO()):  # the ratios are printed once, in the end
            self.write()

    def rate(self, name: str) -> float:
        """A rate of an earlier section.

        Raises:
            RuntimeError: If that section failed.
        """
        if name not in self.rates:
            raise RuntimeError(f"the section that measures {name!r} gave nothing to compare with")
        return self.rates[name]

    def add_timing(self, name: str, timing: Timing, amount: float, unit: str) -> float:
        """Record a timing; the rate of its median."""
        self.timings[name] = timing.summary(amount, unit)
        return amount / timing.median_seconds

    def add_ratio(self, name: str, values: list[float], target: float | None = None) -> None:
        """Record a ratio that came out as `values`; the middle one counts."""
        ordered = sorted(round(value, 4) for value in values)
        self.ratios[name] = {
            "of_medians": ordered[len(ordered) // 2],
            "least": ordered[0],
            "most": ordered[-1],
        }
        if target is not None:
            self.targets[name] = target

    def write(self) -> None:
        """Write the file, and print the ratios."""
        write_result(
            self.out,
            settings={**self.settings, "sections": self.sections},
            timings=self.timings,
            ratios=self.ratios,
            targets=self.targets,
        )


def _within(seconds: float, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if seconds <= 0:
        raise OutOfTimeError("no time was left for it")

    def end(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError(f"ended after {seconds:.3g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
