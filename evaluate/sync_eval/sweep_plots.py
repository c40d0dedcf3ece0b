"""Curves of an experiment that sweeps one setting: mean over seeds and a band of one standard deviation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sync_eval.experiment_tables import HEADINGS
from sync_eval.experiments import Evaluation, Result
from sync_experiments.expansion import DEFAULTS
from sync_experiments.experiment import Row
from sync_experiments.naming import flatten
from sync_store.errors import DatasetError, ProjectError
from sync_store.labels import first_seen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = ("edit", "f1_25", "mof")
"""Of segmentation, a panel each; other measures have few."""

PANEL_INCHES = 4.0
HEIGHT_INCHES = 3.6
DPI = 150

_AXES = {
    "pairs.share": ("share of the pairs, %", 100.0),
    "pairs.hours": ("hours of pairs", 1.0),
    "pairs.drop_rate": ("dropped frames, %", 100.0),
    "pairs.offset_seconds": ("offset, s", 1.0),
    "pairs.drift_ppm": ("drift, ppm", 1.0),
    "train_hours": ("hours of labelled videos", 1.0),
}
"""Label of a swept setting's axis and what its values are multiplied by; any other setting is shown as it is."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The results of one group, in order of the swept value."""

    name: str
    points: tuple[tuple[float, Result], ...]
    """Value on the axis and the row that has it."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What there is to draw."""

    title: str
    axis: str
    metrics: tuple[str, ...]
    curves: tuple[Curve, ...]
    levels: tuple[Result, ...]
    """Rows without adaptation, which the setting doesn't concern."""


def find_sweep(evaluation: Evaluation) -> Sweep:
    """The curves of an experiment; rows that aren't done are left out.

    Rows that aren't in a group, where others are, belong to every curve: what nothing was dropped from is where
    both ways to pair begin.

    Raises:
        ProjectError: If the experiment sweeps nothing, or a row's value isn't a number.
        DatasetError: If no row that has a value is done.
    """
    experiment = evaluation.experiment
    if experiment.swept is None:
        raise ProjectError(f"experiment {experiment.name}: sweeps no setting, so there is no curve to draw")
    axis, factor = _AXES.get(experiment.swept, (experiment.swept, 1.0))
    done = [result for result in evaluation.results if result.state == "done"]
    adapted = [result for result in done if result.planned.method != "no-adaptation"]
    if not adapted:
        raise DatasetError(
            f"experiment {experiment.name}: no row that could be drawn has been run. Run them with: "
            f"{evaluation.command}"
        )
    points = [
        (result.planned.row.group, factor * _value(result.planned.row, experiment.swept), result)
        for result in adapted
    ]
    groups = [group for group in first_seen(group for group, _, _ in points) if group] or [""]
    curves = [
        Curve(
            name=group,
            points=tuple(
                sorted(
                    ((value, result) for of, value, result in points if of in (group, "")),
                    key=lambda point: point[0],
                )
            ),
        )
        for group in groups
    ]
    return Sweep(
        title=experiment.title,
        axis=axis,
        metrics=METRICS if experiment.measure == "segmentation" else experiment.metrics,
        curves=tuple(curves),
        levels=tuple(result for result in done if result.planned.method == "no-adaptation"),
    )


def plot_sweep(path: Path, sweep: Sweep) -> None:
    """Write the figure as PNG; its folder is made if need be.

    Raises:
        OSError: If the file can't be written.
    """
    from matplotlib.figure import Figure

    size = (PANEL_INCHES * len(sweep.metrics), HEIGHT_INCHES)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    for index, metric in enumerate(sweep.metrics, start=1):
        axes = figure.add_subplot(1, len(sweep.metrics), index)
        _draw(axes, sweep, metric)
    handles, names = figure.axes[0].get_legend_handles_labels()
    legend = figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.suptitle(sweep.title).set_parse_math(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def _value(row: Row, swept: str) -> float:
    """A row's value of the swept setting, or what it is where nobody sets it."""
    value = flatten(row.train).get(swept, DEFAULTS.get(swept))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProjectError(f"row {row.label!r}: {swept} must be a number to be drawn, got {value!r}")
    return float(value)


def _draw(axes: "Axes", sweep: Sweep, metric: str) -> None:
    for curve in sweep.curves:
        values = [value for value, _ in curve.points]
        means, deviations = _statistics([result for _, result in curve.points], metric)
        (line,) = axes.plot(values, means, marker="o", markersize=3, label=curve.name or "adapted")
        lower = [mean - sd for mean, sd in zip(means, deviations, strict=True)]
        upper = [mean + sd for mean, sd in zip(means, deviations, strict=True)]
        axes.fill_between(values, lower, upper, color=line.get_color(), alpha=0.2, linewidth=0)
    for mean in _statistics(sweep.levels, metric)[0]:
        axes.axhline(mean, color="0.4", linestyle="--", linewidth=1, label="no adaptation")
    axes.set_xlabel(sweep.axis)
    axes.set_ylabel(f"{HEADINGS[metric]}, %")
    axes.spines[["right", "top"]].set_visible(False)


def _statistics(results: Sequence[Result], metric: str) -> tuple[list[float], list[float]]:
    """Means and deviations; 0 for one of a single seed."""
    means = [mean for result in results if (mean := result.mean(metric)) is not None]
    return means, [result.deviation(metric) or 0.0 for result in results]
