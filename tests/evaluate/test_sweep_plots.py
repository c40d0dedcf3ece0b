"""Curves of a sweep: the points that are drawn, and a picture that has them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sync_eval.config import EvaluateConfig
from sync_eval.experiments import Evaluation, evaluate_experiment
from sync_eval.sweep_plots import find_sweep, plot_sweep
from sync_experiments.expansion import plan_experiment
from sync_experiments.experiment import Experiment, Row
from sync_store.errors import DatasetError, ProjectError
from sync_store.project import load_project


def drop(rate: float, join: str, group: str) -> Row:
    return Row(label=f"{rate}", group=group, train={"pairs": {"drop_rate": rate, "join": join}})


DROPS = Experiment(
    name="drops",
    source="drops",
    title="$Drops$",
    place="ours",
    dataset="none",
    swept="pairs.drop_rate",
    rows=(
        Row(label="none dropped"),
        drop(0.3, "index", "by number"),
        drop(0.1, "index", "by number"),
        drop(0.1, "time", "by time"),
        Row(label="No adaptation", method="no-adaptation", ranked=False),
    ),
)


@pytest.fixture
def evaluation(folder: Any, run_row: Callable[..., None]) -> Callable[..., Evaluation]:
    """Runs the rows of the given numbers with MoF 50 and 100, and evaluates."""
    folder.add("r1", "a*10 b*10")

    def evaluate(*indices: int, experiment: Experiment = DROPS) -> Evaluation:
        project = load_project(folder.root)
        rows = plan_experiment(experiment, project)
        for index in indices:
            run_row(folder, rows[index], "a*20", "a*10 b*10")
        return evaluate_experiment(experiment, project, EvaluateConfig())

    return evaluate


def test_a_row_of_no_group_begins_every_curve(evaluation: Callable[..., Evaluation]) -> None:
    sweep = find_sweep(evaluation(0, 1, 2, 3, 4))
    assert sweep.axis == "dropped frames, %" and sweep.metrics == ("edit", "f1_25", "mof")
    curves = {
        curve.name: [(value, result.planned.row.label) for value, result in curve.points]
        for curve in sweep.curves
    }
    assert curves == {
        "by number": [(0.0, "none dropped"), (10.0, "0.1"), (30.0, "0.3")],
        "by time": [(0.0, "none dropped"), (10.0, "0.1")],
    }
    assert [result.mean("mof") for result in sweep.levels] == [75]


def test_rows_that_are_not_done_are_left_out(evaluation: Callable[..., Evaluation]) -> None:
    with pytest.raises(
        DatasetError, match=r"drops: no row that could be drawn has been run\. Run them with: sync-tr"
    ):
        find_sweep(evaluation(4))
    sweep = find_sweep(evaluation(1))
    (curve,) = sweep.curves
    assert [value for value, _ in curve.points] == [30.0]


def test_the_picture_has_a_line_a_band_and_the_level(
    evaluation: Callable[..., Evaluation], tmp_path: Path
) -> None:
    path = tmp_path / "plots" / "drops.png"
    plot_sweep(path, find_sweep(evaluation(0, 1, 2, 4)))
    with Image.open(path) as image:
        assert image.format == "PNG" and image.size == (1800, 540)
        counts = {color: count for count, color in image.convert("RGB").getcolors(1 << 20)}
    # matplotlib's first colour, the same at a fifth of its strength on white, and the level's grey
    for color in ((31, 119, 180), (210, 228, 240), (102, 102, 102)):
        near = [count for found, count in counts.items() if max(abs(np.subtract(found, color))) <= 1]
        assert sum(near) > 100, color


def test_what_sweeps_nothing_or_no_number_is_an_error(evaluation: Callable[..., Evaluation]) -> None:
    still = Experiment(
        name="still", source="still", title="t", place="ours", dataset="none", rows=(Row(label="x"),)
    )
    with pytest.raises(
        ProjectError, match="experiment still: sweeps no setting, so there is no curve to draw"
    ):
        find_sweep(evaluation(0, experiment=still))
    words = Experiment(
        name="words",
        source="words",
        title="t",
        place="ours",
        dataset="none",
        swept="pairs.join",
        rows=(Row(label="x", train={"pairs": {"join": "time"}}),),
    )
    with pytest.raises(ProjectError, match=r"row 'x': pairs\.join must be a number to be drawn, got 'time'"):
        find_sweep(evaluation(0, experiment=words))
