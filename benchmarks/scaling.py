"""How the cost of `sync-extract` grows with the length of a video, the number of videos and the width of a feature.

The command runs in a process of its own with the demo backbone in float32 on the processor. A long video is a rendered
minute whose packets are repeated at later times, so nothing is encoded twice. Start-up, which is the time of a video of
one second, is taken off before a rate is stated. Memory is the largest resident set of the process. The command also
draws the growth: beside `--out`, or as `docs/scaling.svg` for the result that belongs to the repository.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from benchmarks.extraction import pictures
from benchmarks.measure import RESULTS, ROOT, Timing, arguments, time_in_turn, write_result
from benchmarks.memory import extract
from sync_demo.encode import COLOR, write_video
from sync_extract.backbones.dinov2 import RANDOM_DEMO, RANDOM_DEMO_CONFIG
from sync_extract.config import TOKENS
from sync_store.reader import FeatureStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (96, 128)
"""Height and width: the demo's own."""

FPS = 30
VIEW = "e4"
NUM_ROUNDS = 3
LONG_FRAMES = 20_000
"""A case of more frames is run once."""

LEAST_FRAMES = 1_000
"""Fewer take no longer than the start-up's own spread, so they give no rate."""

PICTURE = ROOT / "docs" / "scaling.svg"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One project to extract: equal videos, each made of `num_pieces` equal pieces."""

    name: str
    num_videos: int = 1
    num_pieces: int = 1
    piece_seconds: int = 60
    tokens: tuple[str, ...] = ("cls",)

    @property
    def video_frames(self) -> int:
        """Frames of one of its videos."""
        return self.num_pieces * self.piece_seconds * FPS

    @property
    def num_frames(self) -> int:
        """Frames in all."""
        return self.num_videos * self.video_frames

    @property
    def feature_dim(self) -> int:
        """Width of its rows."""
        return len(self.tokens) * int(RANDOM_DEMO_CONFIG["hidden_size"])

    @property
    def num_rounds(self) -> int:
        """How often it is run."""
        return 1 if self.num_frames > LONG_FRAMES else NUM_ROUNDS


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one case took."""

    timing: Timing
    peak_bytes: int
    """Largest resident set of any round."""
    store_bytes: int
    num_files: int

    def summary(self, case: Case) -> dict[str, Any]:
        """JSON values."""
        return {
            **self.timing.summary(case.num_frames, "frames"),
            "frames": case.num_frames,
            "videos": case.num_videos,
            "feature_dim": case.feature_dim,
            "peak_bytes": self.peak_bytes,
            "store_bytes": self.store_bytes,
            "store_bytes_a_row": round(self.store_bytes / case.num_frames, 2),
            "files": self.num_files,
        }


def main() -> None:
    options = arguments("scaling", __doc__)
    start_up, lengths, counts, widths = cases(smoke=options.smoke)
    longest = lengths[-1]
    costs: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for case in dict.fromkeys((start_up, *lengths, *counts, *widths)):
            costs[case.name] = measure(case, folder, num_rounds=1 if options.smoke else case.num_rounds)
        reading = read(folder / longest.name, longest)
    timings = {start_up.name: costs[start_up.name].summary(start_up)}
    for case in (*lengths, *counts, *widths):
        timings[case.name] = costs[case.name].summary(case)
        if case.num_frames < LEAST_FRAMES:
            continue
        seconds = costs[case.name].timing.median_seconds - costs[start_up.name].timing.median_seconds
        rate = (case.num_frames - start_up.num_frames) / seconds
        timings[case.name]["frames_per_second_after_start_up"] = round(rate, 1)
    write_result(
        options.out,
        settings={"backbone": RANDOM_DEMO, "size": SIZE, "fps": FPS, "device": "cpu", "precision": "float32"},
        timings={**timings, f"reading {longest.name}": reading.summary(longest.num_frames, "rows")},
        ratios={
            "memory_of_shortest_over_longest": less_memory(costs[lengths[0].name], costs[longest.name]),
            "memory_of_one_over_most_videos": less_memory(costs[counts[0].name], costs[counts[-1].name]),
        },
        targets={},
    )
    ours = options.out.resolve() == (RESULTS / "scaling.json").resolve()
    draw(PICTURE if ours else options.out.with_suffix(".svg"), timings, (lengths, counts, widths))


def cases(*, smoke: bool) -> tuple[Case, Sequence[Case], Sequence[Case], Sequence[Case]]:
    """Start-up, lengths, numbers of videos, widths; a series grows."""
    start_up = Case(name="start-up", piece_seconds=1)
    if smoke:
        every = [Case(name="smoke", num_videos=2, num_pieces=2, piece_seconds=1, tokens=TOKENS)]
        return start_up, every, every, every
    lengths = [Case(name=f"{pieces} min", num_pieces=pieces) for pieces in (1, 4, 15, 60, 240)]
    counts = [Case(name=f"{number} videos", num_videos=number, piece_seconds=15) for number in (1, 4, 16, 64)]
    wider = [Case(name=f"{number} tokens", num_pieces=4, tokens=TOKENS[:number]) for number in (2, 5)]
    widths = [lengths[1], *wider]
    return start_up, lengths, counts, widths


def measure(case: Case, folder: Path, *, num_rounds: int) -> Cost:
    """Make a case's project below `folder`, and extract it anew in each round.

    Raises:
        RuntimeError: If the command fails, or a frame has no row.
    """
    project = folder / case.name
    make_project(project, case)
    store = project / "features.zarr"
    seconds, peaks = [], []
    for _ in range(num_rounds):
        shutil.rmtree(store, ignore_errors=True)
        peak_bytes, once_seconds = extract(project, RANDOM_DEMO, project / "no weights")
        peaks.append(peak_bytes)
        seconds.append(once_seconds)
    reader = FeatureStore(store)
    found = [entry.num_rows for entry in reader.entries(RANDOM_DEMO, VIEW)]
    width = reader.feature_set(RANDOM_DEMO)["feature_dim"]
    if found != [case.video_frames] * case.num_videos or width != case.feature_dim:
        expected = f"{case.video_frames} of each video, {case.feature_dim} wide"
        raise RuntimeError(f"{case.name}: rows {found}, {width} wide, expected {expected}")
    sizes = [path.stat().st_size for path in store.rglob("*") if path.is_file()]
    return Cost(
        timing=Timing(seconds=tuple(seconds)),
        peak_bytes=max(peaks),
        store_bytes=sum(sizes),
        num_files=len(sizes),
    )


def make_project(project: Path, case: Case) -> None:
    """Render one piece, repeat it, and give the video to each recording."""
    project.mkdir()
    piece, video = project / "piece.mp4", project / "video.mp4"
    num_frames = case.piece_seconds * FPS
    write_video(piece, pictures(SIZE, num_frames, 0), COLOR, Fraction(FPS), Fraction(0), SIZE)
    repeat_video(piece, video, case.num_pieces, Fraction(case.piece_seconds))
    for index in range(case.num_videos):
        place = project / "videos" / f"r{index:02d}" / f"{VIEW}.mp4"
        place.parent.mkdir(parents=True)
        os.link(video, place)
    tokens = ", ".join(f'"{token}"' for token in case.tokens)
    (project / "sync.toml").write_text(
        f'[views.{VIEW}]\nkind = "ego"\n\n[extract]\nbackbone = "{RANDOM_DEMO}"\ntokens = [{tokens}]\n'
    )


def repeat_video(source: Path, target: Path, num_times: int, seconds: Fraction) -> None:
    """Write the packets of `source`, which lasts so many seconds, so many times one after the other."""
    with av.open(str(source)) as first, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(first.streams.video[0])
        for turn in range(num_times):
            for packet in packets(source):
                assert packet.pts is not None and packet.dts is not None
                later = int(turn * seconds / packet.time_base)
                packet.pts += later
                packet.dts += later
                packet.stream = stream
                out.mux(packet)


def packets(video: Path) -> Iterator["Packet[VideoStream]"]:
    """The packets of a file's first video stream, but for the empty one at the end."""
    with av.open(str(video)) as container:
        yield from (packet for packet in container.demux(container.streams.video[0]) if packet.size)


def read(project: Path, case: Case) -> Timing:
    """Time how the trainer reads a recording whole, after checking that the last piece's rows are the first's."""
    store = FeatureStore(project / "features.zarr")
    rows = store.read(RANDOM_DEMO, VIEW, "r00").features
    piece_rows = case.piece_seconds * FPS
    if not np.allclose(rows[:piece_rows], rows[-piece_rows:], atol=0.02):
        raise RuntimeError(f"{case.name}: the last piece's features aren't those of the first")
    return time_in_turn({"read": lambda: store.read(RANDOM_DEMO, VIEW, "r00")}, num_rounds=5)["read"]


def less_memory(small: Cost, large: Cost) -> dict[str, float]:
    """What the smaller case needs as a share of what the larger one does."""
    return dict.fromkeys(("of_medians", "least", "most"), round(small.peak_bytes / large.peak_bytes, 3))


def draw(path: Path, timings: dict[str, dict[str, Any]], series: tuple[Sequence[Case], ...]) -> None:
    """Write the growth of rate, memory and store, a column for each series, as SVG; equal figures, equal bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.5), layout="constrained")
    panels = figure.subplots(3, 3, sharex="col")
    abscissas = (
        ("video, min", "frames", 60 * FPS),
        ("videos of 15 s", "videos", 1),
        ("values a feature", "feature_dim", 1),
    )
    for column, ((x_label, x_key, unit), members) in enumerate(zip(abscissas, series, strict=True)):
        values = [timings[case.name] for case in members]
        for row, (label, key, factor) in enumerate(
            (
                ("frames/s after start-up", "frames_per_second_after_start_up", 1),
                ("peak memory, MB", "peak_bytes", 1e-6),
                ("store, MB", "store_bytes", 1e-6),
            )
        ):
            points = [(value[x_key] / unit, value[key] * factor) for value in values if key in value]
            draw_panel(panels[row, column], points, log=row == 2)
            panels[row, 0].set_ylabel(label)
        panels[2, column].set_xlabel(x_label)
        places = [value[x_key] / unit for value in values]
        panels[2, column].set_xticks(places, [f"{place:g}" for place in places])
        panels[2, column].minorticks_off()
    with mpl.rc_context({"svg.hashsalt": "scaling", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def draw_panel(axes: "Axes", points: Sequence[tuple[float, float]], *, log: bool) -> None:
    """One line; its abscissa is logarithmic, its ordinate if `log`, else that begins at 0."""
    axes.plot([place for place, _ in points], [height for _, height in points], marker="o", markersize=3)
    axes.set_xscale("log")
    if log:
        axes.set_yscale("log")
        axes.tick_params(axis="y", which="minor", labelleft=False)
    else:
        axes.set_ylim(0, 1.15 * max((height for _, height in points), default=1.0))
    axes.spines[["right", "top"]].set_visible(False)


if __name__ == "__main__":
    main()
