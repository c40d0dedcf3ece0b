"""From videos to rows in the store: which row is made from which frame, failures, and equal bytes."""

import errno
import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sync_extract.backbones import Placement, load_backbone
from sync_extract.backbones.dinov2 import RANDOM_DEMO
from sync_extract.clips import Clips
from sync_extract.forward import AdaptiveForward, is_out_of_memory
from sync_extract.pipeline import Settings, extract, make_feature_set
from sync_extract.plan import Failure, Job, State
from sync_extract.reading import Reading
from sync_store.datasets import VideoSource
from sync_store.errors import VideoError
from sync_store.layout import FeatureSet, ensure_feature_set
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter

Make = Callable[..., Path]

BLOCK = 8

WINDOW8 = Clips(num_frames=8, stride=1, anchor=4, edges="repeat")
OMNIVORE = Clips(num_frames=32, stride=16, anchor=16, edges="backpad")


class NumberBackbone:
    """A backbone whose first feature is the number that a picture carries; the others are all that number's.

    Of a clip it is that of the anchor; a clip whose other pictures aren't those around it makes -1.
    """

    name = "number"
    device = torch.device("cpu")
    module = torch.nn.Identity()
    trained_on: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = {"backbone": "number"}

    def __init__(
        self,
        feature_dim: int = 4,
        most_frames: int = 10**9,
        bad_number: int | None = None,
        clips: Clips | None = None,
    ) -> None:
        self.clips = clips or Clips()
        self.feature_dim = feature_dim
        self.most_frames = most_frames
        """More at once don't fit into its memory."""
        self.bad_number = bad_number
        """The picture of which it makes NaN."""
        self.batches: list[int] = []
        self.prepared: list[int] = []

    def prepare(self, frames_NHWC: torch.Tensor) -> torch.Tensor:
        self.prepared.append(len(frames_NHWC))
        return frames_NHWC

    def features(self, clips_NKHWC: torch.Tensor) -> torch.Tensor:
        if clips_NKHWC.shape[:2].numel() > self.most_frames:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(len(clips_NKHWC))
        numbers_NK = numbers(clips_NKHWC.flatten(0, 1)).reshape(clips_NKHWC.shape[:2])
        numbers_N = numbers_NK[:, self.clips.anchor]
        features_ND = numbers_N[:, None].expand(-1, self.feature_dim).float()
        if self.bad_number is not None:
            features_ND = features_ND.masked_fill(numbers_N[:, None] == self.bad_number, torch.nan)
        around_NK = numbers_N[:, None] + torch.arange(self.clips.num_frames) - self.clips.anchor
        strange_N = ((numbers_NK != around_NK) & (around_NK >= 0) & (around_NK < 90)).any(dim=1)
        return features_ND.masked_fill(strange_N[:, None], -1).half()


def numbers(frames_NHWC: torch.Tensor) -> torch.Tensor:
    """The numbers (N,) that pictures (N, H, W, 3) carry."""
    bits = torch.tensor([1 << bit for bit in range(16)])
    gray = frames_NHWC[:, : 2 * BLOCK, : 8 * BLOCK].float().mean(dim=3)
    blocks = gray.reshape(-1, 2, BLOCK, 8, BLOCK)[:, :, 2:-2, :, 2:-2].mean(dim=(2, 4)).flatten(1)
    return ((blocks > 128) * bits).sum(dim=1)


def blank_clips(num_rows: int, num_frames: int = 1) -> torch.Tensor:
    return torch.zeros((num_rows, num_frames, 48, 64, 3), dtype=torch.uint8)


class Notes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        self.calls.append(("started", job.name, done_rows, num_rows))

    def advanced(self, job: Job, num_rows: int) -> None:
        self.calls.append(("advanced", job.name, num_rows))

    def finished(self, job: Job, failure: Failure | None) -> None:
        self.calls.append(("finished", job.name, failure.outcome if failure else "good"))


def job(path: Path, state: State = "new", **source: Any) -> Job:
    return Job(source=VideoSource(recording=path.stem, view="e4", path=path, **source), state=state)


def settings(store: Path, **changes: Any) -> Settings:
    default = Settings(store=store, fps=Fraction(30), batch_size=16, workers=2, min_coverage=0.9)
    return replace(default, **changes)


def run(
    jobs: list[Job], backbone: Any, run_settings: Settings, watcher: Notes | None = None
) -> tuple[list[Failure], FeatureStore, FeatureSet]:
    feature_set = make_feature_set("set", backbone, run_settings.fps)
    ensure_feature_set(run_settings.store, feature_set)
    failures = extract(jobs, backbone, feature_set, run_settings, watcher or Notes())
    return failures, FeatureStore(run_settings.store), feature_set


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "index.json"
    }


@pytest.fixture
def few_rows_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 16 rows at 4 values a row, so that a short video has several."""
    monkeypatch.setattr("sync_store.layout.CHUNK_BYTES", 16)
    monkeypatch.setattr("sync_store.layout.SHARD_BYTES", 128)


@pytest.mark.parametrize(
    ("suffix", "coder", "options"),
    [("mp4", "h264", {"uneven": True}), ("mp4", "hevc-open", {"start": Fraction(3, 2)}), ("webm", "vp9", {})],
)
def test_a_row_is_made_from_the_frame_of_its_time(
    tmp_path: Path, make_video: Make, films: Any, suffix: str, coder: str, options: dict[str, Any]
) -> None:
    path = make_video(tmp_path / f"a.{suffix}", coder, **options)
    offset = Fraction(-1, 8)
    failures, store, _ = run([job(path, offset=offset)], NumberBackbone(), settings(tmp_path / "s"))
    assert failures == []
    read = store.read("set", "e4", "a")
    numbers = read.features[:, 0].astype(int).tolist()
    tick = Fraction(1, 1000) if suffix == "webm" else Fraction(1, 90_000)
    written = [round(time / tick) * tick + offset for time in films.times(**options)]
    assert read.timestamps.tolist() == [round(written[number] * 10**9) for number in numbers]
    assert len(numbers) > 80 or options.get("uneven")


def test_every_frame_at_the_native_rate_and_every_third_at_a_third(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "a.mp4")
    every_third = [*range(0, 90, 3), 89]  # the last frame is nearest to 3.0 s
    for name, fps, frames in (("native", None, list(range(90))), ("ten", Fraction(10), every_third)):
        _, store, _ = run([job(path)], NumberBackbone(), settings(tmp_path / name, fps=fps))
        assert store.read("set", "e4", "a").features[:, 0].tolist() == frames


def test_label_frame_f_is_video_frame_2f(tmp_path: Path, make_video: Make) -> None:
    """Assembly101's rule, on a 60 fps file with a start offset."""
    path = make_video(tmp_path / "a.mp4", fps=60, count=120, start=Fraction(7, 100))
    _, store, _ = run([job(path, clock="stream-start")], NumberBackbone(), settings(tmp_path / "s"))
    read = store.read("set", "e4", "a")
    assert read.features[:, 0].tolist() == list(range(0, 120, 2))
    assert read.timestamps.tolist() == [round(Fraction(frame, 30) * 10**9) for frame in range(60)]


def test_batch_size_does_not_matter(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "a.mp4", count=40)
    backbone = load_backbone(
        RANDOM_DEMO, placement=Placement(device=torch.device("cpu"), dtype=torch.float32)
    )
    rows = []
    for batch_size in (1, 13, 64):
        _, store, _ = run([job(path)], backbone, settings(tmp_path / str(batch_size), batch_size=batch_size))
        rows.append(store.read("set", "e4", "a").features.astype(np.float32))
    assert rows[0].shape == (40, 128)
    for other in rows[1:]:
        np.testing.assert_allclose(other, rows[0], rtol=2e-3, atol=2e-3)


def test_workers_do_not_matter(tmp_path: Path, make_video: Make) -> None:
    paths = [make_video(tmp_path / f"{name}.mp4", uneven=True, count=60) for name in "abcde"]
    stores = {}
    for workers in (1, 4):
        notes = Notes()
        run(
            [job(path) for path in paths],
            NumberBackbone(),
            settings(tmp_path / str(workers), workers=workers),
            notes,
        )
        stores[workers] = tree(tmp_path / str(workers))
        assert [call[1] for call in notes.calls if call[0] == "finished"] == [
            f"e4/{name}" for name in "abcde"
        ]
    assert stores[1] == stores[4]


@pytest.mark.parametrize("workers", [1, 3])
def test_decoding_and_writing_go_on_beside_the_backbone(
    tmp_path: Path, make_video: Make, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """A video of six batches can't be decoded to its end before its turn: three wait, a fourth is in hand."""
    monkeypatch.setattr("sync_extract.reading.QUEUE_BYTES", 3 * 16 * 48 * 64 * 3)
    at_work: list[set[str]] = []

    class Witness(NumberBackbone):
        def features(self, clips_NKHWC: torch.Tensor) -> torch.Tensor:
            at_work.append({thread.name for thread in threading.enumerate()})
            return super().features(clips_NKHWC)

    paths = [make_video(tmp_path / f"{name}.mp4") for name in "abc"]
    run([job(path) for path in paths], Witness(), settings(tmp_path / "s", workers=workers))
    assert len(at_work) == 18
    assert at_work[0] >= {f"decode e4/{name}" for name in "abc"[:workers]}
    assert all("writer_0" in names for names in at_work[1:])
    together = [sum(name.startswith("decode") for name in names) for names in at_work]
    assert max(together) == workers
    left = {thread.name for thread in threading.enumerate()}
    assert not [name for name in left if name.startswith(("decode", "writer"))]


def test_large_pictures_are_decoded_few_at_a_time(
    tmp_path: Path, make_video: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync_extract.reading.PREPARED_BATCH_BYTES", 5 * 48 * 64 * 3)
    backbone = NumberBackbone()
    _, store, _ = run([job(make_video(tmp_path / "a.mp4"))], backbone, settings(tmp_path / "s"))
    assert set(backbone.prepared) == {5} and set(backbone.batches) == {16, 10}
    assert store.read("set", "e4", "a").features[:, 0].tolist() == list(range(90))


@pytest.mark.parametrize("ahead", [False, True])
def test_a_reading_holds_no_more_than_its_queue_and_ends_when_stopped(
    tmp_path: Path, make_video: Make, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    """With the network's inputs made in its thread, or frames handed on as for a GPU."""
    frame_bytes, backbone = 48 * 64 * 3, NumberBackbone()
    monkeypatch.setattr("sync_extract.reading.BATCH_BYTES", 5 * frame_bytes)
    monkeypatch.setattr("sync_extract.reading.PREPARED_BATCH_BYTES", 5 * frame_bytes)
    monkeypatch.setattr("sync_extract.reading.QUEUE_BYTES", 12 * frame_bytes)
    feature_set = make_feature_set("set", backbone, Fraction(30))
    ensure_feature_set(tmp_path / "s", feature_set)
    decoded: list[int] = []

    def prepare(frames: Any) -> torch.Tensor:
        decoded.append(len(frames))
        return torch.from_numpy(frames)

    path = make_video(tmp_path / "a.mp4")
    for take in (90, 20):
        decoded.clear()
        reading = Reading(
            job(path, "redo"),
            feature_set,
            backbone.clips,
            settings(tmp_path / "s"),
            {},
            prepare if ahead else None,
        )
        reading.prepared()
        taken = 0
        for batch in reading.batches():
            assert isinstance(batch, torch.Tensor if ahead else np.ndarray) and len(batch) == 5
            first = numbers(torch.as_tensor(batch))[0]
            assert first == taken
            taken += len(batch)
            assert sum(decoded) <= taken + 15  # two batches wait, one is in hand
            if taken == take:
                break
        assert taken == take
        reading.stop()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.usefixtures("few_rows_a_shard")
def test_resumed_at_any_shard_gives_the_same_bytes(tmp_path: Path, make_video: Make) -> None:
    """A backbone that gives up at some picture stops a run there; the next one goes on after the last shard."""
    path = make_video(tmp_path / "a.mp4", "hevc-open", count=90)
    run([job(path)], NumberBackbone(), settings(tmp_path / "whole"))
    expected = tree(tmp_path / "whole")
    assert sum("/features/c/" in name for name in expected) == 6
    for number in (5, 16, 40, 89):
        store = tmp_path / str(number)
        failures, reader, _ = run([job(path)], NumberBackbone(bad_number=number), settings(store))
        assert [failure.kept for failure in failures] == [False] and reader.recordings("set", "e4") == []
        backbone, notes = NumberBackbone(), Notes()
        assert run([job(path, "resume")], backbone, settings(store), notes)[0] == []
        assert notes.calls[0] == ("started", "e4/a", number // 16 * 16, 90)
        assert sum(backbone.batches) == 90 - number // 16 * 16
        assert tree(store) == expected


@pytest.mark.usefixtures("few_rows_a_shard")
@pytest.mark.parametrize("clips", [Clips(), WINDOW8])
def test_ended_between_the_last_row_and_the_commit(
    tmp_path: Path, make_video: Make, monkeypatch: pytest.MonkeyPatch, clips: Clips
) -> None:
    path = make_video(tmp_path / "a.mp4", count=80)
    run([job(path)], NumberBackbone(clips=clips), settings(tmp_path / "whole"))

    def interrupt(_: RecordingWriter) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RecordingWriter, "commit", interrupt)
        run([job(path)], NumberBackbone(clips=clips), settings(tmp_path / "s"))
    backbone, notes = NumberBackbone(clips=clips), Notes()
    assert run([job(path, "resume")], backbone, settings(tmp_path / "s"), notes)[0] == []
    assert notes.calls[0] == ("started", "e4/a", 80, 80) and not backbone.batches
    assert tree(tmp_path / "s") == tree(tmp_path / "whole")


@pytest.mark.usefixtures("few_rows_a_shard")
def test_rows_after_a_refused_one_never_take_its_place(tmp_path: Path, make_video: Make) -> None:
    """Batches wait for the writer: those behind a bad one must not reach the store."""
    path = make_video(tmp_path / "a.mp4")
    feature_set = make_feature_set("set", NumberBackbone(), Fraction(30))
    few = settings(tmp_path / "s", batch_size=4)
    extract([job(path)], NumberBackbone(bad_number=2), feature_set, few, Notes())
    extract([job(path, "resume")], NumberBackbone(), feature_set, few, Notes())
    assert FeatureStore(tmp_path / "s").read("set", "e4", "a").features[:, 0].tolist() == list(range(90))


def test_a_full_disk_is_said_with_its_folder(
    tmp_path: Path, make_video: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system names no file then."""

    def full(_writer: RecordingWriter, _rows: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RecordingWriter, "append", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        run([job(make_video(tmp_path / "a.mp4"))], NumberBackbone(), settings(tmp_path / "s"))
    assert caught.value.filename == str(tmp_path / "s")


def test_nan_is_refused_with_its_time(tmp_path: Path, make_video: Make) -> None:
    good, bad = make_video(tmp_path / "a.mp4", count=30), make_video(tmp_path / "b.mp4", count=50)
    failures, store, _ = run([job(bad), job(good)], NumberBackbone(bad_number=45), settings(tmp_path / "s"))
    (failure,) = failures
    assert failure.recording == "b" and "the frame at 1.5 s hold NaN or infinity" in failure.message
    assert store.recordings("set", "e4") == ["a"]


def test_a_failing_video_does_not_stop_the_others(tmp_path: Path, make_video: Make, films: Any) -> None:
    good = [make_video(tmp_path / f"{name}.mp4", count=30) for name in "adf"]
    (tmp_path / "b.mp4").touch()
    (tmp_path / "c.mp4").write_text("text")
    whole = make_video(tmp_path / "whole.ts", count=30, options={"bf": "0"})
    larger = make_video(tmp_path / "larger.ts", count=30, start=1, size=(96, 128), options={"bf": "0"})
    (tmp_path / "e.ts").write_bytes(whole.read_bytes() + larger.read_bytes())
    paths = [good[0], tmp_path / "b.mp4", tmp_path / "c.mp4", good[1], tmp_path / "e.ts", good[2]]
    notes = Notes()
    failures, store, _ = run([job(path) for path in paths], NumberBackbone(), settings(tmp_path / "s"), notes)
    assert [failure.recording for failure in failures] == ["b", "c", "e"]
    assert [failure.kept for failure in failures] == [False] * 3
    for failure, part in zip(failures, ("is empty", "not a video", "size changes"), strict=True):
        assert part in failure.message
    assert store.recordings("set", "e4") == ["a", "d", "f"]
    assert [call[2] for call in notes.calls if call[0] == "finished"] == [
        "good",
        *["failed"] * 2,
        "good",
        "failed",
        "good",
    ]


@pytest.fixture
def cut_short(tmp_path: Path, make_video: Make) -> Path:
    """The first part of an mp4 whose index is at the front."""
    content = make_video(tmp_path / "whole.mp4", container_options={"movflags": "+faststart"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(0.95 * len(content))])
    return tmp_path / "cut.mp4"


def test_a_video_cut_short_is_kept_and_listed_above_the_coverage(tmp_path: Path, cut_short: Path) -> None:
    failures, store, _ = run([job(cut_short)], NumberBackbone(), settings(tmp_path / "s", min_coverage=0.5))
    (failure,) = failures
    read = store.read("set", "e4", "cut")
    numbers = read.features[:, 0].astype(int).tolist()
    assert (
        numbers == [round(time * 30 / 10**9) for time in read.timestamps.tolist()] and 60 < len(numbers) < 90
    )
    # about 90: frames that lie between others of the last packets leave gaps, not a shorter file
    assert failure.kept and re.search(rf"only {len(numbers)} of about (8[6-9]|90) frames", failure.message)
    assert "before its stated end" in failure.message
    source = store.attributes("set", "e4", "cut")["provenance"]["source"]
    assert source["missing_end_seconds"] == pytest.approx((90 - len(numbers)) / 30, abs=0.1)


def test_a_video_cut_short_is_refused_below_the_coverage(tmp_path: Path, cut_short: Path) -> None:
    failures, store, _ = run([job(cut_short)], NumberBackbone(), settings(tmp_path / "s", min_coverage=0.99))
    (failure,) = failures
    assert not failure.kept and "Less than min_coverage (99%) is refused: get a whole copy" in failure.message
    assert "ffmpeg -i cut.mp4 -c copy cut-whole.mp4" in failure.message
    assert store.recordings("set", "e4") == []


def test_an_end_that_does_not_decode_counts_as_missing(tmp_path: Path, make_video: Make, films: Any) -> None:
    """All packets are there, but the last ones hold nothing: only decoding tells."""
    path = make_video(tmp_path / "a.mkv", options={"g": "30", "bf": "0"})
    films.blank_packets(path, range(85, 90))
    failures, store, _ = run([job(path)], NumberBackbone(), settings(tmp_path / "kept"))
    assert [failure.kept for failure in failures] == [True]
    assert (
        "only 85 of about 90 frames of the sampling grid: its frames decode up to 2.8 of 2.967 s"
        in failures[0].message
    )
    read = store.read("set", "e4", "a")
    assert read.features[:, 0].tolist() == list(range(85)) and len(read.timestamps) == 85
    failures, store, _ = run([job(path)], NumberBackbone(), settings(tmp_path / "s", min_coverage=0.95))
    assert [failure.kept for failure in failures] == [False] and store.recordings("set", "e4") == []


def test_a_missing_beginning_counts_as_missing(tmp_path: Path, make_video: Make, films: Any) -> None:
    whole = make_video(tmp_path / "whole.mkv", options={"g": "30", "bf": "0"})
    headless = films.copy_packets(whole, tmp_path / "headless.mkv", keep=lambda place: place >= 20)
    failures, _, _ = run([job(headless)], NumberBackbone(), settings(tmp_path / "s"))
    assert [failure.kept for failure in failures] == [False]
    assert (
        "only 60 of about 70 frames of the sampling grid: its first 0.333 s refer to frames before"
        in failures[0].message
    )
    failures, store, _ = run([job(headless)], NumberBackbone(), settings(tmp_path / "s", min_coverage=0.8))
    assert [failure.kept for failure in failures] == [True]
    assert store.read("set", "e4", "headless").features[:, 0].tolist() == list(range(30, 90))


def test_a_camera_slower_than_the_grid_lacks_only_what_it_filmed(tmp_path: Path, make_video: Make) -> None:
    content = make_video(
        tmp_path / "whole.mp4", fps=12, count=90, container_options={"movflags": "+faststart"}
    ).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(0.97 * len(content))])
    failures, store, _ = run([job(tmp_path / "cut.mp4")], NumberBackbone(), settings(tmp_path / "s"))
    assert [failure.kept for failure in failures] == [True]
    num_rows = len(store.read("set", "e4", "cut").features)
    assert 81 <= num_rows < 90
    assert re.search(rf"only {num_rows} of about (8[6-9]|90) frames", failures[0].message)


@pytest.mark.parametrize(("num_lost", "is_said"), [(5, False), (12, True)])
def test_points_of_the_grid_without_a_frame_are_said(
    tmp_path: Path,
    films: Any,
    caplog: pytest.LogCaptureFixture,
    num_lost: int,
    is_said: bool,
) -> None:
    times = films.times(count=60)
    path = films.write(tmp_path / "a.mp4", [*times[:20], *times[20 + num_lost :]])
    assert run([job(path)], NumberBackbone(), settings(tmp_path / "s"))[0] == []
    said = "e4/a: 12 of 60 points of the sampling grid have no frame and so no row"
    assert (said in caplog.text) == is_said and ("sampling grid" in caplog.text) == is_said


def test_a_wrong_frame_count_is_listed_and_all_frames_are_kept(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "a.mp4")
    content = path.read_bytes()
    at = content.index(b"stts") + 12
    path.write_bytes(content[:at] + (200).to_bytes(4, "big") + content[at + 4 :])
    failures, store, _ = run([job(path)], NumberBackbone(), settings(tmp_path / "s"))
    assert [failure.kept for failure in failures] == [True]
    assert "its header counts 200 frames, but it holds 90; all of these were used" in failures[0].message
    assert store.read("set", "e4", "a").features[:, 0].tolist() == list(range(90))


def test_trimmed_video_is_not_taken_for_a_wrong_header(tmp_path: Path, make_video: Make, films: Any) -> None:
    whole = make_video(tmp_path / "whole.mp4", options={"g": "12", "bf": "2"})
    cut = films.copy_packets(whole, tmp_path / "cut.mp4", from_seconds=Fraction(1_234, 1_000))
    failures, store, _ = run([job(cut)], NumberBackbone(), settings(tmp_path / "s", min_coverage=1.0))
    assert failures == []
    assert store.read("set", "e4", "cut").features[:, 0].tolist() == list(range(38, 90))


@pytest.mark.parametrize(("most_frames", "batches"), [(16, {16}), (5, {4}), (1, {1})])
def test_batches_are_halved_until_they_fit(
    tmp_path: Path, make_video: Make, caplog: pytest.LogCaptureFixture, most_frames: int, batches: set[int]
) -> None:
    path = make_video(tmp_path / "a.mp4", count=64)
    backbone = NumberBackbone(most_frames=most_frames)
    with caplog.at_level(logging.WARNING):
        failures, store, _ = run([job(path)], backbone, settings(tmp_path / "s"))
    assert failures == [] and set(backbone.batches) == batches
    assert store.read("set", "e4", "a").features[:, 0].tolist() == list(range(64))
    assert ("going on with batches of" in caplog.text) == (most_frames < 16)


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_all_words_for_too_little_memory_are_known(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_provenance_tells_that_batches_were_halved(tmp_path: Path, make_video: Make) -> None:
    paths = [make_video(tmp_path / f"{name}.mp4", count=40) for name in "ab"]
    _, store, _ = run(
        [job(path) for path in paths], NumberBackbone(most_frames=5), settings(tmp_path / "s", workers=1)
    )
    for name in "ab":
        provenance = store.attributes("set", "e4", name)["provenance"]
        assert (provenance["batch_size"], provenance["halved_to"]) == (16, 4)
    _, store, _ = run([job(paths[0])], NumberBackbone(), settings(tmp_path / "whole"))
    assert "halved_to" not in store.attributes("set", "e4", "a")["provenance"]


@pytest.mark.usefixtures("few_rows_a_shard")
def test_rows_of_other_batches_are_not_gone_on_with(tmp_path: Path, make_video: Make) -> None:
    """A run that halved its batches and was ended, then one with memory enough."""
    path = make_video(tmp_path / "a.mp4")
    run([job(path)], NumberBackbone(most_frames=4, bad_number=70), settings(tmp_path / "s"))
    notes = Notes()
    run([job(path, "resume")], NumberBackbone(), settings(tmp_path / "s"), notes)
    assert notes.calls[0] == ("started", "e4/a", 0, 90)
    run([job(path)], NumberBackbone(), settings(tmp_path / "whole"))
    assert tree(tmp_path / "s") == tree(tmp_path / "whole")


def test_a_processor_without_memory_is_no_crash() -> None:
    class Greedy(NumberBackbone):
        def features(self, clips_NKHWC: torch.Tensor) -> torch.Tensor:
            if len(clips_NKHWC) > 3:
                torch.empty(1 << 57, dtype=torch.uint8)
            return super().features(clips_NKHWC)

    forward = AdaptiveForward(Greedy(), batch_size=8)
    assert forward.features(blank_clips(8)).wait().shape == (8, 4) and forward.batch_size == 2


def test_a_batch_size_is_rounded_down_and_said(
    tmp_path: Path, make_video: Make, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_video(tmp_path / "a.mp4", count=20)
    _, store, _ = run([job(path)], NumberBackbone(), settings(tmp_path / "s", batch_size=12))
    assert "batches have 8 frames: a batch size of 12 is rounded down to a power of two" in caplog.text
    assert store.attributes("set", "e4", "a")["provenance"]["batch_size"] == 8


@pytest.mark.parametrize(
    ("clips", "moments"),
    [(WINDOW8, list(range(90))), (OMNIVORE, [16, 32, 48, 64, 74])],
    ids=["window8", "omnivore"],
)
def test_a_row_of_a_clip_has_the_time_of_its_anchor(
    tmp_path: Path, make_video: Make, clips: Clips, moments: list[int]
) -> None:
    """And the clip holds the frames around it, in order; the last window of 90 frames is [58, 90)."""
    path = make_video(tmp_path / "a.mp4", "hevc-open", count=90)
    _, store, _ = run([job(path)], NumberBackbone(clips=clips), settings(tmp_path / "s"))
    stored = store.read("set", "e4", "a")
    assert stored.features[:, 0].tolist() == moments
    assert stored.timestamps.tolist() == [round(Fraction(10**9 * moment, 30)) for moment in moments]


@pytest.mark.usefixtures("few_rows_a_shard")
@pytest.mark.parametrize("batch_size", [1, 16, 64])
def test_clips_resumed_at_any_shard_give_the_same_bytes(
    tmp_path: Path, make_video: Make, batch_size: int
) -> None:
    path = make_video(tmp_path / "a.mp4", count=90)
    run([job(path)], NumberBackbone(clips=WINDOW8), settings(tmp_path / "whole", batch_size=batch_size))
    for number in (3, 17, 89):
        store = settings(tmp_path / str(number), batch_size=batch_size)
        run([job(path)], NumberBackbone(clips=WINDOW8, bad_number=number), store)
        notes = Notes()
        backbone = NumberBackbone(clips=WINDOW8)
        assert run([job(path, "resume")], backbone, store, notes)[0] == []
        assert notes.calls[0] == ("started", "e4/a", number // 16 * 16, 90)
        assert tree(tmp_path / str(number)) == tree(tmp_path / "whole")
        assert max(backbone.batches) == max(1, batch_size // 8)


def test_batches_of_clips_are_halved_until_they_fit(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "a.mp4", count=90)
    backbone = NumberBackbone(clips=WINDOW8, most_frames=16)
    _, store, _ = run([job(path)], backbone, settings(tmp_path / "s", batch_size=64))
    assert set(backbone.batches) == {2}
    assert store.attributes("set", "e4", "a")["provenance"]["halved_to"] == 16
    forward = AdaptiveForward(NumberBackbone(clips=WINDOW8, most_frames=7), batch_size=64)
    with pytest.raises(VideoError, match=r"not even one clip of 8 frames, \(1, 8, 48, 64, 3\), fits"):
        forward.features(blank_clips(2, 8))


def test_a_video_shorter_than_a_clip_is_listed(tmp_path: Path, make_video: Make) -> None:
    paths = [make_video(tmp_path / f"{count}.mp4", count=count) for count in (31, 32)]
    backbone = NumberBackbone(clips=OMNIVORE)
    failures, store, _ = run([job(path) for path in paths], backbone, settings(tmp_path / "s"))
    assert [failure.recording for failure in failures] == ["31"]
    assert re.search(r"31\.mp4: only 31 frames on the sampling grid.*clips of 32", failures[0].message)
    assert len(store.read("set", "e4", "32").features) == 1


def test_clips_of_a_video_cut_short_end_where_the_last_whole_one_does(
    tmp_path: Path, make_video: Make, films: Any
) -> None:
    path = make_video(tmp_path / "a.mp4", count=90, options={"bf": "0"})
    films.blank_packets(path, range(80, 90))
    for clips, moments in ((OMNIVORE, [16, 32, 48, 64]), (WINDOW8, list(range(77)))):
        backbone = NumberBackbone(clips=clips)
        failures, store, _ = run(
            [job(path)], backbone, settings(tmp_path / str(clips.stride), min_coverage=0.5)
        )
        assert [failure.kept for failure in failures] == [True]
        assert store.read("set", "e4", "a").features[:, 0].tolist() == moments


def test_a_batch_size_that_fits_is_kept_for_the_next_video(tmp_path: Path, make_video: Make) -> None:
    forward = AdaptiveForward(NumberBackbone(most_frames=7), batch_size=100)
    assert forward.features(blank_clips(20)).wait().shape == (20, 4) and forward.batch_size == 5
    assert forward.features(blank_clips(3)).wait().shape == (3, 4) and forward.batch_size == 5


def test_not_even_one_frame_fits(tmp_path: Path, make_video: Make) -> None:
    forward = AdaptiveForward(NumberBackbone(most_frames=0), batch_size=64)
    with pytest.raises(VideoError, match=r"not even one frame, .*48, 64.*fits.*cpu.*smaller backbone"):
        forward.features(blank_clips(2))


def test_provenance_says_how_it_was_made(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "a.mp4", fps=60, count=90)
    _, store, feature_set = run(
        [job(path, offset=Fraction(1, 3))], NumberBackbone(), settings(tmp_path / "s")
    )
    attributes = store.attributes("set", "e4", "a")
    assert attributes["fingerprint"] == feature_set.fingerprint
    provenance = attributes["provenance"]
    source = provenance["source"]
    assert source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (source["file_name"], source["offset_seconds"], source["clock"]) == ("a.mp4", "1/3", "container")
    assert (source["reader"], source["num_frames"], source["measured_fps"]) == ("pyav", 90, pytest.approx(60))
    assert provenance["grid"] == {"num_rows": 45, "num_missing": 0, "num_unused_frames": 45}
    assert provenance["device"] == "cpu" and provenance["batch_size"] == 16
    assert set(provenance["libraries"]) >= {"torch", "av", "decord"} and provenance["code"]


def test_the_grid_and_the_decode_rules_are_part_of_the_fingerprint() -> None:
    backbone = NumberBackbone()
    rates = (Fraction(30), Fraction(30_000, 1_001), Fraction(10), None)
    recipes = [make_feature_set("set", backbone, fps) for fps in rates]
    assert len({feature_set.fingerprint for feature_set in recipes}) == 4
    assert recipes[1].recipe["grid_fps"] == "30000/1001" and recipes[3].recipe["grid_fps"] == "native"
    assert recipes[0].recipe["decode_rules"] == 4


def test_redo_replaces_and_a_broken_file_keeps_the_old_rows(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "a.mp4", count=30)
    run([job(path)], NumberBackbone(), settings(tmp_path / "s"))
    path.write_bytes(b"broken")
    failures, store, _ = run([job(path, "redo")], NumberBackbone(), settings(tmp_path / "s"))
    assert len(failures) == 1 and len(store.read("set", "e4", "a").features) == 30
    make_video(path, count=40)
    failures, store, _ = run([job(path, "redo")], NumberBackbone(), settings(tmp_path / "s"))
    assert failures == [] and len(store.read("set", "e4", "a").features) == 40


def test_redo_mends_damaged_metadata(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "a.mp4", count=30)
    run([job(path)], NumberBackbone(), settings(tmp_path / "s"))
    (tmp_path / "s/set/e4/a/zarr.json").write_text("{")
    failures, store, _ = run([job(path, "redo")], NumberBackbone(), settings(tmp_path / "s"))
    assert failures == [] and len(store.read("set", "e4", "a").features) == 30


def test_an_unwritable_store_ends_the_run(tmp_path: Path, make_video: Make) -> None:
    (tmp_path / "s").write_text("a file where the store should be")
    with pytest.raises(OSError, match="s"):
        run([job(make_video(tmp_path / "a.mp4", count=30))], NumberBackbone(), settings(tmp_path / "s"))
