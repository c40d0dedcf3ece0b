"""Learning curves: the journals of a run's stages as small charts of lines, one line a seed.

Coordinates are those of an SVG: pixels, from the upper left corner.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from sync_eval.runs import Group
from sync_store.bounded import read_json, read_small
from sync_store.errors import DatasetError
from sync_store.labels import first_seen

JOURNAL = "journal.jsonl"
RESULT = "result.json"

WIDTH, HEIGHT = 300, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 26
"""Margins around the lines."""

CURVES = {"loss": ("loss", False), "held_out_loss": ("loss", True), "score": ("held-out score", False)}
"""Values of a journal that are drawn: in which chart, and whether the line is dashed."""

STAGES = ("teacher", "ego-oracle", "adapter", "tas", "feature-tas")
"""Order of the charts of a run; other stages follow by name."""

LARGEST = 1e100
"""Values and epochs beyond are left out: axes are computed in floats. A range of less than its inverse is none."""

LOG_FROM_RATIO = 20.0
"""Values that span more than this are drawn on a logarithmic scale."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Journal of one stage of one seed."""

    run: str
    name: str
    """Such as `teacher` or `tas`."""
    seed: int
    epochs: tuple[dict[str, Any], ...]
    selected_epoch: int | None
    """The epoch that was kept, from 0; None if the stage isn't done."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One seed's values."""

    seed: int
    color: int
    """Number of the seed among the report's."""
    dashed: bool
    points: str
    """As SVG writes them."""
    kept: tuple[float, float] | None
    """Place of the epoch that was kept."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart."""

    title: str
    y_label: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    is_log: bool


def read_stages(groups: Iterable[Group]) -> list[Stage]:
    """Every stage with a journal beside the predictions of the groups, by run, seed and name.

    Raises:
        DatasetError: If a journal is no file, or one that is far too large.
    """
    of_folder = {
        each.folder.resolve().parents[2]: (group.run, each.info.seed)
        for group in groups
        for each in group.sets
    }
    stages = [
        Stage(
            run=run,
            name=path.parent.name,
            seed=seed,
            epochs=_read_journal(path),
            selected_epoch=_selected_epoch(path.with_name(RESULT)),
        )
        for folder, (run, seed) in sorted(of_folder.items(), key=lambda item: (*item[1], item[0]))
        for path in sorted(folder.glob(f"*/{JOURNAL}"))
    ]
    return [stage for stage in stages if stage.epochs]


def draw_charts(stages: Sequence[Stage], seeds: Sequence[int]) -> dict[str, list[Chart]]:
    """Charts by run: for each stage one of its loss, and one of its score where it has one of its own.

    Args:
        stages: What `read_stages` found.
        seeds: All of the report; a seed has the same colour in every chart.
    """
    charts: dict[str, list[Chart]] = defaultdict(list)
    runs = first_seen(stage.run for stage in stages)
    names = sorted({stage.name for stage in stages}, key=_stage_order)
    for run, name in product(runs, names):
        of_stage = [stage for stage in stages if (stage.run, stage.name) == (run, name)]
        for y_label in first_seen(label for label, _ in CURVES.values()):
            if chart := _draw_chart(of_stage, y_label, seeds):
                charts[run].append(chart)
    return dict(charts)


def _stage_order(name: str) -> tuple[int, str]:
    return (STAGES.index(name) if name in STAGES else len(STAGES), name)


def _draw_chart(stages: Sequence[Stage], y_label: str, seeds: Sequence[int]) -> Chart | None:
    series = [
        (stage, dashed, values)
        for stage in stages
        for key, (label, dashed) in CURVES.items()
        if label == y_label and (values := _series(stage, key))
    ]
    if not series:
        return None
    numbers = [value for _, _, values in series for _, value in values]
    last_epoch = max(epoch for _, _, values in series for epoch, _ in values)
    is_log = min(numbers) > 0 and max(numbers) / min(numbers) > LOG_FROM_RATIO
    scale = _Scale(min(numbers), max(numbers), is_log)
    x_step = (WIDTH - LEFT - RIGHT) / max(last_epoch, 1)

    def place(epoch: int, value: float) -> tuple[float, float]:
        return round(LEFT + epoch * x_step, 1), round(scale.place(value), 1)

    lines = []
    for stage, dashed, values in series:
        kept = next((place(*each) for each in values if each[0] == stage.selected_epoch), None)
        points = " ".join(f"{x:g},{y:g}" for x, y in (place(*each) for each in values))
        color = seeds.index(stage.seed)
        lines.append(Line(seed=stage.seed, color=color, dashed=dashed, points=points, kept=kept))
    epochs = nice_ticks(0, max(last_epoch, 1), 5)
    return Chart(
        title=stages[0].name,
        y_label=y_label,
        x_ticks=tuple((round(LEFT + e * x_step, 1), f"{e:g}") for e in epochs if e == int(e)),
        y_ticks=tuple((round(scale.place(value), 1), f"{value:g}") for value in scale.ticks()),
        lines=tuple(lines),
        is_log=is_log,
    )


class _Scale:
    """Values to heights."""

    def __init__(self, low: float, high: float, is_log: bool) -> None:
        self._is_log = is_log
        self._values = (low, high)
        low, high = (math.log10(low), math.log10(high)) if is_log else (min(low, 0.0), max(high, 0.0))
        self._low, self._high = low, high if high - low > 1 / LARGEST else low + 1.0

    def place(self, value: float) -> float:
        share = ((math.log10(value) if self._is_log else value) - self._low) / (self._high - self._low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def ticks(self) -> list[float]:
        if not self._is_log:
            return nice_ticks(self._low, self._high, 4)
        low, high = self._values
        powers = range(math.floor(self._low), math.ceil(self._high) + 1)
        return [tick for power in powers if low <= (tick := float(f"1e{power}")) <= high]


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from `low` to `high`, about as many as asked for: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.6g}") for index in range(first, last + 1)]


def _series(stage: Stage, key: str) -> list[tuple[int, float]]:
    """Epochs and values of one key. A score that is minus the held-out loss would say the same twice."""
    if key == "score" and any("held_out_loss" in line for line in stage.epochs):
        return []
    values = [(line["epoch"], line.get(key)) for line in stage.epochs]
    return [
        (epoch, float(value))
        for epoch, value in values
        if isinstance(value, int | float) and abs(value) <= LARGEST
    ]


def _read_journal(path: Path) -> tuple[dict[str, Any], ...]:
    """Whole lines of a journal; one that isn't an epoch's, such as a line cut by a crash, ends it."""
    try:
        texts = read_small(path).splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: can't be read as a journal ({error})") from None
    lines: list[dict[str, Any]] = []
    for text in texts:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            break
        if (
            not isinstance(line, dict)
            or type(epoch := line.get("epoch")) is not int
            or not 0 <= epoch <= LARGEST
        ):
            break
        lines.append(line)
    return tuple(lines)


def _selected_epoch(path: Path) -> int | None:
    try:
        result = read_json(path)
    except (OSError, ValueError, RecursionError):
        return None
    selected = result.get("selected_epoch") if isinstance(result, dict) else None
    return selected if isinstance(selected, int) else None
