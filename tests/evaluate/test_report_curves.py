"""Charts of journals on disk: which lines there are, and that points lie where the axes say."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_eval.report.curves import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    Stage,
    draw_charts,
    nice_ticks,
    read_stages,
)
from sync_eval.runs import find_groups
from sync_store.errors import DatasetError


def journal(folder: Path, lines: list[dict[str, Any]], selected: int | None = None, rest: str = "") -> None:
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + rest)
    if selected is not None:
        (folder / "result.json").write_text(json.dumps({"selected_epoch": selected}))


def losses(*values: float) -> list[dict[str, Any]]:
    return [{"epoch": epoch, "loss": value} for epoch, value in enumerate(values)]


@pytest.fixture
def seeds(folder: Any) -> Any:
    """A run of two seeds."""
    folder.add("r1", "a*10")
    for seed in (0, 3):
        folder.predict({"r1": "a*10"}, seed=seed)
    return folder


def charts_of(folder: Any) -> dict[str, list[Chart]]:
    return draw_charts(read_stages(find_groups([folder.root / "runs"])), [0, 3])


def read_value(chart: Chart, y: float) -> float:
    """A height as the axis's own labels read, between or beyond the first tick and the last."""
    (low_y, low), (high_y, high) = chart.y_ticks[0], chart.y_ticks[-1]
    share = (y - low_y) / (high_y - low_y)
    if chart.is_log:
        return 10 ** (math.log10(float(low)) + share * (math.log10(float(high)) - math.log10(float(low))))
    return float(low) + share * (float(high) - float(low))


@pytest.mark.parametrize("values", [(3.0, 2.5, 1.0, 0.75), (40.0, 3.0, 0.5, 0.02)], ids=["linear", "log"])
def test_points_lie_where_the_axes_say(seeds: Any, values: tuple[float, ...]) -> None:
    journal(seeds.root / "runs" / "main" / "seed-0" / "teacher", losses(*values), selected=2)
    (chart,) = charts_of(seeds)["main"]
    assert (chart.title, chart.y_label, chart.is_log) == ("teacher", "loss", values[0] == 40)
    (line,) = chart.lines
    points = [tuple(map(float, point.split(","))) for point in line.points.split()]
    assert [read_value(chart, y) for _, y in points] == pytest.approx(values, rel=0.02, abs=0.01)
    assert [x for x, _ in points] == pytest.approx(
        [LEFT + k * (WIDTH - LEFT - RIGHT) / 3 for k in range(4)], abs=0.06
    )
    assert all(TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1 for _, y in points)
    assert line.kept == points[2]
    assert {float(text): x for x, text in chart.x_ticks}[3] == WIDTH - RIGHT


def test_a_line_a_seed_in_the_seeds_colour_and_stages_in_their_order(seeds: Any) -> None:
    run = seeds.root / "runs" / "main"
    for stage in ("tas", "adapter", "zebra", "teacher"):
        journal(run / "seed-3" / stage, losses(2, 1))
    journal(run / "seed-0" / "tas", losses(3, 2))
    charts = charts_of(seeds)["main"]
    assert [chart.title for chart in charts] == ["teacher", "adapter", "tas", "zebra"]
    assert [(line.seed, line.color) for line in charts[2].lines] == [(0, 0), (3, 1)]


def test_held_out_losses_are_dashed_and_a_score_of_its_own_has_a_chart(seeds: Any) -> None:
    run = seeds.root / "runs" / "main" / "seed-0"
    journal(
        run / "teacher",
        [{"epoch": 0, "loss": 2.0, "score": 100.0}, {"epoch": 1, "loss": 1.0, "score": 200.0}],
    )
    journal(run / "tas", [{"epoch": 0, "loss": 2.0, "held_out_loss": 3.0, "score": -3.0}])
    drawn = {(chart.title, chart.y_label): chart for chart in charts_of(seeds)["main"]}
    assert sorted(drawn) == [("tas", "loss"), ("teacher", "held-out score"), ("teacher", "loss")]
    assert [line.dashed for line in drawn["tas", "loss"].lines] == [False, True]


def test_what_isnt_a_number_or_a_whole_line_is_left_out(seeds: Any) -> None:
    run = seeds.root / "runs" / "main" / "seed-0"
    journal(run / "teacher", [*losses(2, 1), {"epoch": 2, "loss": float("nan")}], rest='{"epoch": 3, "lo')
    journal(run / "tas", [], rest="[1]\n")
    journal(run / "adapter", losses(1))
    (run / "adapter" / "result.json").write_text("{")
    teacher, adapter = charts_of(seeds)["main"]
    assert len(teacher.lines[0].points.split()) == 2 and teacher.lines[0].kept is None
    assert len(adapter.lines[0].points.split()) == 1 and adapter.lines[0].kept is None


def test_runs_without_journals_have_no_charts(seeds: Any) -> None:
    assert charts_of(seeds) == {}


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_are_round_evenly_spaced_and_inside(low: float, length: float, about: int) -> None:
    ticks = nice_ticks(low, low + length, about)
    assert len(ticks) <= about + 1
    assert (
        all(low - 1e-5 * length <= tick <= low + length * (1 + 1e-5) for tick in ticks)
        or length < abs(low) * 1e-4
    )


def test_a_journal_that_is_no_file(seeds: Any) -> None:
    stage = seeds.root / "runs" / "main" / "seed-0" / "teacher"
    stage.mkdir(parents=True)
    os.mkfifo(stage / "journal.jsonl")
    with pytest.raises(
        DatasetError, match=r"teacher/journal\.jsonl: can't be read as a journal \(it isn't a file"
    ):
        charts_of(seeds)


@given(
    st.lists(st.floats() | st.integers() | st.sampled_from([10**400, 5e-324, 1e308, True, None]), max_size=4)
)
def test_any_values_are_drawn_or_left_out(values: list[Any]) -> None:
    epochs = tuple({"epoch": 10**number, "loss": value} for number, value in enumerate(values))
    stage = Stage(run="r", name="teacher", seed=0, epochs=epochs, selected_epoch=1)
    for chart in draw_charts([stage], [0]).get("r", []):
        for _, y in (point.split(",") for line in chart.lines for point in line.points.split()):
            assert TOP - 0.1 <= float(y) <= HEIGHT - BOTTOM + 0.1
