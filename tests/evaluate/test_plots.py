"""Real PNG files, read back pixel by pixel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sync_eval.plots import (
    BACKGROUND_COLOR,
    DPI,
    WIDTH_INCHES,
    Bar,
    bars_of,
    class_colors,
    colors_of,
    plot_recording,
)
from sync_eval.runs import find_groups
from sync_store.errors import DatasetError


def spelled(**times: int) -> list[str]:
    """Labels a frame; those of more than one letter are gaps."""
    return [name if len(name) == 1 else "-" for name, number in times.items() for _ in range(number)]


def pixels_of(path: Path) -> "np.ndarray":  # type: ignore[type-arg]
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def stretches(line: "np.ndarray", color: tuple[float, float, float]) -> list[tuple[int, int]]:  # type: ignore[type-arg]
    """(start, stop) of the columns of a line of pixels that have a colour."""
    alike = np.abs(line - np.array(color) * 255).max(axis=1) < 2
    edges = np.flatnonzero(np.diff(np.concatenate([[0], alike.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def longest_lines(pixels: "np.ndarray", color: tuple[float, float, float]) -> dict[int, int]:  # type: ignore[type-arg]
    """Pixels of a colour in each line that has any outside the legend."""
    counts = (np.abs(pixels - np.array(color) * 255).max(axis=2) < 2).sum(axis=1)
    return {line: int(number) for line, number in enumerate(counts) if number > 100}


def test_bars_are_as_long_as_their_segments_last(folder: Any, tmp_path: Path) -> None:
    colors = class_colors(["a", "b", "c"])
    truth = Bar(name="ground truth", segments=(folder.segments(spelled(a=50, gap=20, b=20, rest=10)),))
    method = Bar(name="tas", segments=(folder.segments(["b"] * 100),))
    plot_recording(tmp_path / "new" / "r1.png", "r1", [truth, method], colors)
    pixels = pixels_of(tmp_path / "new" / "r1.png")
    assert pixels.shape[1] == WIDTH_INCHES * DPI
    of_a, of_b = longest_lines(pixels, colors["a"]), longest_lines(pixels, colors["b"])
    upper = sorted(of_a)[len(of_a) // 2]
    lower = sorted(line for line in of_b if line not in of_a)[5]
    assert upper < lower
    ((a_start, a_stop),) = stretches(pixels[upper], colors["a"])
    ((b_start, b_stop),) = stretches(pixels[upper], colors["b"])
    ((start, stop),) = stretches(pixels[lower], colors["b"])
    shares = [(edge - start) / (stop - start) for edge in (a_start, a_stop, b_start, b_stop)]
    assert shares == pytest.approx([0, 0.5, 0.7, 0.9], abs=0.002)
    assert (pixels[upper, a_stop + 2 : b_start - 2] == 255).all(), "a gap is white"


def test_the_legend_names_the_classes_of_the_figure_alone(folder: Any, tmp_path: Path) -> None:
    colors = class_colors(["a", "b", "c"])
    heights = {}
    for name, labels in (("one", ["a"] * 9), ("two", ["a", "b"] * 9)):
        plot_recording(
            tmp_path / f"{name}.png", name, [Bar(name="x", segments=(folder.segments(labels),))], colors
        )
        pixels = pixels_of(tmp_path / f"{name}.png")
        below = pixels[int(pixels.shape[0] * 0.75) :]
        heights[name] = [
            (np.abs(below - np.array(colors[label]) * 255).max(axis=2) < 2).sum() > 50 for label in "abc"
        ]
    assert heights == {"one": [True, False, False], "two": [True, True, False]}


def test_a_colour_depends_on_the_place_of_its_class_alone() -> None:
    many = class_colors([f"class {index}" for index in range(202)], background=["idle"])
    few = class_colors([f"class {index}" for index in range(14)])
    assert {name: many[name] for name in few} == few
    assert many["idle"] == BACKGROUND_COLOR
    # Assembly101's 202 classes all differ, and those of the demo clearly
    assert len({tuple(round(255 * part) for part in color) for color in many.values()}) == 203
    values = np.array(list(few.values()))
    apart = np.abs(values[:, None] - values[None]).sum(axis=-1) + 9 * np.eye(len(values))
    assert apart.min() > 0.25


@pytest.mark.parametrize("name", ["[red]", "<b>", r"$\nonsense{$", "_hidden", "$5 or $6"])
def test_any_name_can_be_drawn(folder: Any, tmp_path: Path, name: str) -> None:
    bar = Bar(name=name, segments=(folder.segments([name] * 10),))
    plot_recording(tmp_path / "r1.png", name, [bar], class_colors([name]))
    assert len(longest_lines(pixels_of(tmp_path / "r1.png"), class_colors([name])[name])) > 20


def test_many_long_names_widen_the_figure_downwards(folder: Any, tmp_path: Path) -> None:
    names = [f"attach the {index}th part of the excavator to its chassis" for index in range(40)]
    plot_recording(
        tmp_path / "r1.png", "r1", [Bar(name="x", segments=(folder.segments(names),))], class_colors(names)
    )
    pixels = pixels_of(tmp_path / "r1.png")
    assert pixels.shape[1] == WIDTH_INCHES * DPI and pixels.shape[0] > 40 / 2 * 0.22 * DPI


def test_bars_are_named_by_what_tells_them_apart(folder: Any) -> None:
    folder.add("r1", "a*10")
    folder.add("r2", None)
    for seed in (1, 0):
        folder.predict({"r1": f"a*{9 - seed}", "r2": "b*5"}, seed=seed)
    folder.predict({"r1": "a*9", "r2": "b*5"}, method="exo-oracle", view="v3")
    groups = find_groups([folder.root / "runs"])
    bars = bars_of(groups, folder.dataset, "r1")
    assert [bar.name for bar in bars] == ["ground truth", "exo-oracle, v3", "tas, e4"]
    assert bars[2].segments[0].span_ns == (0, 900_000_000), "the lowest seed"
    assert [bar.name for bar in bars_of(groups, folder.dataset, "r2")] == ["exo-oracle, v3", "tas, e4"]
    assert [bar.name for bar in bars_of(groups[1:], folder.dataset, "r1")] == ["ground truth", "tas"]


def test_a_recording_has_bars_of_the_runs_that_tested_on_it(folder: Any) -> None:
    for name in ("r1", "r2"):
        folder.add(name, "a*10")
    (folder.root / "splits" / "other.txt").write_text("r2\nr3\n")
    folder.predict({"r1": "a*9", "r2": "a*9"})
    folder.predict({"r2": "b*9", "r3": "b*9"}, split="other", run="later")
    groups = find_groups([folder.root / "runs"])
    names = {name: [bar.name for bar in bars_of(groups, folder.dataset, name)] for name in ("r1", "r2", "r3")}
    assert names == {
        "r1": ["ground truth", "tas"],
        "r2": ["ground truth", "tas, later, other", "tas, main, test"],
        "r3": ["tas"],
    }
    with pytest.raises(
        DatasetError, match=r"recording r4 wasn't predicted; the runs predicted .* other, test"
    ):
        bars_of(groups, folder.dataset, "r4")


def test_colours_cover_labels_predictions_and_background(folder: Any) -> None:
    folder.background = ("idle",)
    folder.add("r1", "b*5 idle*5 z*5")
    folder.predict({"r1": "c*5 alien*5"}, classes=("c", "b"))
    groups = find_groups([folder.root / "runs"])
    bars = bars_of(groups, folder.dataset, "r1")
    expected = class_colors(["b", "c", "idle", "z", "alien"], ["idle"])
    assert colors_of(groups, folder.dataset, bars) == expected
    assert list(expected) == ["b", "c", "idle", "z", "alien"]
    (folder.root / "classes.txt").write_text("z\nb\nc\n")
    assert list(colors_of(groups, folder.dataset, bars)) == ["z", "b", "c", "idle", "alien"]


def test_nothing_to_draw_is_an_error(folder: Any) -> None:
    folder.add("r1", None)
    folder.predict({"r1": "-*5"})
    with pytest.raises(DatasetError, match="recording r1: there is nothing to draw"):
        bars_of(find_groups([folder.root / "runs"]), folder.dataset, "r1")
