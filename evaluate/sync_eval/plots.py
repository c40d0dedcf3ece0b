"""Segmentation bars of one recording: ground truth above, a method below it each, like the paper's Figure 4."""

import colorsys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from sync_eval.runs import Group
from sync_store.datasets import Dataset
from sync_store.errors import DatasetError
from sync_store.labels import NS_PER_SECOND, Segments, first_seen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Color = tuple[float, float, float]
"""Red, green and blue, 0–1."""

BACKGROUND_COLOR: Color = (0.82, 0.82, 0.82)

DPI = 150
WIDTH_INCHES = 12.0
BAR_INCHES = 0.36
LEGEND_LINE_INCHES = 0.22
LEGEND_LINE_CHARACTERS = 130

_SHADES = ((0.70, 0.90), (0.95, 0.65), (0.40, 0.98))
"""Saturation and value that neighbouring classes take in turn."""

_GOLDEN = 0.6180339887498949
"""Steps of this share of a circle never come near one another again soon."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One line of a figure."""

    name: str
    segments: tuple[Segments, ...]


def class_colors(classes: Iterable[str], background: Collection[str] = ()) -> dict[str, Color]:
    """A colour for each class. That of the i-th depends on i alone, so adding classes changes none."""
    colors: dict[str, Color] = {}
    for index, name in enumerate(first_seen(classes)):
        saturation, value = _SHADES[index % len(_SHADES)]
        colors[name] = colorsys.hsv_to_rgb(index * _GOLDEN % 1, saturation, value)
    return colors | dict.fromkeys(background, BACKGROUND_COLOR)


def colors_of(groups: Sequence[Group], dataset: Dataset, bars: Iterable[Bar]) -> dict[str, Color]:
    """Colours that are the same in every figure of a project.

    Classes come in the order the dataset states. Where it states none: by name, those of the runs first, then
    those of the labels, then what else `bars` hold.
    """
    stated = dataset.classes() or sorted({name for group in groups for name in group.info.classes})
    splits = {group.info.split for group in groups}
    sequences = [s for split in splits for name in dataset.split(split) for s in dataset.labeled(name)]
    labeled = sorted({label for sequence in sequences for label in sequence.segments.labels})
    drawn = sorted({label for bar in bars for segments in bar.segments for label in segments.labels})
    return class_colors((*stated, *labeled, *drawn), dataset.background)


def bars_of(groups: Sequence[Group], dataset: Dataset, recording: str) -> list[Bar]:
    """Ground truth, where the recording has labels, and one bar a group that tested on it, of its lowest seed.

    Raises:
        DatasetError: If the recording is in a group's split but wasn't predicted, no group tested on it, or there
            is nothing to draw.
    """
    labeled = tuple(sequence.segments for sequence in dataset.labeled(recording))
    tested = [group for group in groups if recording in _recordings_of(group, dataset)]
    if not tested:
        splits = ", ".join(sorted({group.info.split for group in groups}))
        raise DatasetError(f"recording {recording} wasn't predicted; the runs predicted the split {splits}")
    bars = [Bar(name="ground truth", segments=labeled)] if labeled else []
    for group, name in zip(tested, names_of(tested), strict=True):
        bars.append(Bar(name=name, segments=(group.sets[0].read(recording),)))
    if not any(len(segments) for bar in bars for segments in bar.segments):
        raise DatasetError(f"recording {recording}: there is nothing to draw, neither labels nor predictions")
    return bars


def names_of(groups: Sequence[Group]) -> list[str]:
    """A name for each group: its method, and what else tells it from the others."""
    rest = [(group.info.view, group.features, group.run, group.info.split) for group in groups]
    varies = [len(set(values)) > 1 for values in zip(*rest, strict=True)]
    return [
        ", ".join([group.info.method, *compress(values, varies)])
        for group, values in zip(groups, rest, strict=True)
    ]


def _recordings_of(group: Group, dataset: Dataset) -> set[str]:
    """What the group predicted or should have."""
    return {*group.sets[0].recordings, *dataset.split(group.info.split)}


def plot_recording(path: Path, title: str, bars: Sequence[Bar], colors: Mapping[str, Color]) -> None:
    """Write one figure as PNG. Time without a segment stays white.

    Args:
        path: The file; its folder is made if need be.
        title: Stands above the bars.
        bars: Upper one first, at least one segment in all.
        colors: Of every class in the bars; those that occur are in the legend, in this order.

    Raises:
        OSError: If the file can't be written.
    """
    from matplotlib.figure import Figure

    present = {label for bar in bars for segments in bar.segments for label in segments.labels}
    legend = [name for name in colors if name in present]
    columns = max(1, min(len(legend), LEGEND_LINE_CHARACTERS // (max(map(len, legend), default=0) + 6)))
    legend_lines = ceil(len(legend) / columns)
    height = 1.1 + BAR_INCHES * len(bars) + LEGEND_LINE_INCHES * legend_lines
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for line, bar in enumerate(bars):
        for segments in bar.segments:
            _draw(axes, line, segments, colors)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(*_limits_seconds(bars))
    axes.set_xlabel("seconds")
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "right", "top"]].set_visible(False)
    _as_written([axes.set_title(title, loc="left"), *axes.get_yticklabels()])
    _add_legend(figure, legend, colors, columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def _draw(axes: "Axes", line: int, segments: Segments, colors: Mapping[str, Color]) -> None:
    starts = segments.start_ns / NS_PER_SECOND
    durations = (segments.stop_ns - segments.start_ns) / NS_PER_SECOND
    axes.broken_barh(
        list(zip(starts.tolist(), durations.tolist(), strict=True)),
        (line - 0.4, 0.8),
        facecolors=[colors[label] for label in segments.labels],
        linewidth=0,
        # neighbours of one class would show a seam, and thin segments a mixed colour
        antialiased=False,
    )


def _limits_seconds(bars: Sequence[Bar]) -> tuple[float, float]:
    spans = [segments.span_ns for bar in bars for segments in bar.segments if len(segments)]
    return min(start for start, _ in spans) / NS_PER_SECOND, max(stop for _, stop in spans) / NS_PER_SECOND


def _add_legend(figure: "Figure", names: Sequence[str], colors: Mapping[str, Color], columns: int) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=colors[name]) for name in names]
    # matplotlib leaves out names that begin with "_", so they are set after
    numbered = [str(index) for index in range(len(names))]
    legend = figure.legend(patches, numbered, loc="outside lower left", ncols=columns, frameon=False)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
    _as_written(legend.get_texts())


def _as_written(texts: Iterable["Text"]) -> None:
    """Show a dollar sign as one, not as the start of a formula."""
    for text in texts:
        text.set_parse_math(False)
