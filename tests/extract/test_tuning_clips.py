"""Clips for TSM's training: moments, frames by time, cuts, stored pictures and batches, against naive references."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sync_extract.backbones.tsm import DEMO, OFFICIAL
from sync_extract.decode import decode_frames
from sync_extract.transforms import Preprocessing
from sync_extract.tuning.augment import QUARTERS, Cut, centre, crop_sizes, draw_cut
from sync_extract.tuning.frames import FilmFrames, store_all
from sync_extract.tuning.loader import Clip, ClipLoader, normalised
from sync_extract.tuning.video_clips import Film, candidate_moments, nearest_frames, open_film, tile
from sync_store.datasets import VideoSource
from sync_store.errors import SyncError, VideoError

NS = 1_000_000_000
SMALL = Preprocessing(name="small", resize=32, interpolation="bilinear", crop=(24, 24))
CPU = torch.device("cpu")


def numbered(path: Path, *, offset: Fraction = Fraction(0), view: str = "v3") -> VideoSource:
    return VideoSource(recording=path.stem, view=view, path=path, offset=offset)


def whole(
    film: Film, tmp_path: Path, preprocessing: Preprocessing = SMALL, *, moments: int = 3
) -> FilmFrames:
    """Two clips: the halves of a film."""
    middle = (film.start_ns + film.stop_ns) // 2
    starts, stops = np.array([film.start_ns, middle]), np.array([middle, film.stop_ns])
    frames, is_covered = nearest_frames(film, candidate_moments(starts, stops, moments))
    assert is_covered.all()
    path = tmp_path / "frames" / film.source.view / f"{film.source.recording}.u8"
    return FilmFrames(path=path, film=film, preprocessing=preprocessing, frames_NSC=frames)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Film:
    return open_film(
        numbered(make_video(tmp_path_factory.mktemp("film") / "r1.mp4", count=60, size=(48, 64)))
    )


# Moments


@given(st.integers(-(10**15), 10**15), st.integers(0, 10**13), st.sampled_from([1, 3, 5]))
def test_moments_are_the_middles_of_equal_parts_of_eight_segments(
    start: int, duration: int, each: int
) -> None:
    moments = candidate_moments(np.array([start]), np.array([start + duration]), each)
    assert moments.shape == (1, 8, each)
    for segment in range(8):
        for part in range(each):
            begin = Fraction(duration, 8) * segment
            exact = start + begin + Fraction(duration, 8) * Fraction(2 * part + 1, 2 * each)
            assert abs(moments[0, segment, part] - exact) <= 1  # a nanosecond


def test_the_middle_candidates_are_the_frames_that_the_recipe_validates_on() -> None:
    """int(tick / 2 + tick * x) with tick = frames / 8 (dataset.py), for clips of whole multiples of eight frames.

    A moment between two frames is half a frame away from both in the recipe's count, and takes the later one there.
    """
    for num_frames in (8, 24, 40, 120):
        tick = num_frames / 8
        recipe = [int(tick / 2 + tick * segment) for segment in range(8)]
        moments = candidate_moments(np.array([0]), np.array([num_frames * 1000]), 3)[0, :, 1]
        assert (moments // 1000).tolist() == recipe


# Frames by time


@given(st.data())
def test_the_nearest_frame_is_found(film: Film, data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=30))
    times = np.cumsum(gaps).astype(np.int64)
    moments = data.draw(st.lists(st.integers(-100, 1600), min_size=8, max_size=8))
    uneven = replace(film, timestamps=times)
    frames, is_covered = nearest_frames(uneven, np.array(moments).reshape(1, 8, 1))
    naive = [
        min(range(len(times)), key=lambda frame: (abs(int(times[frame]) - moment), frame))
        for moment in moments
    ]
    assert frames.ravel().tolist() == naive
    period = int(np.median(np.diff(times))) if len(times) > 1 else 0
    distances = [abs(int(times[frame]) - moment) for frame, moment in zip(naive, moments, strict=True)]
    assert is_covered.tolist() == [max(distances) <= period]


def test_windows_lie_end_to_end_where_all_films_are(film: Film) -> None:
    early = replace(film, timestamps=np.arange(0, 100, 10))  # 0 to 100
    late = replace(film, timestamps=np.arange(35, 200, 5))  # 35 to 200
    starts, stops = tile((early, late), 20)
    assert list(zip(starts, stops, strict=True)) == [(35, 55), (55, 75), (75, 95)]
    assert [len(array) for array in tile((early, late), 66)] == [0, 0]
    apart = replace(film, timestamps=np.arange(500, 600, 5))
    assert [len(array) for array in tile((early, apart), 20)] == [0, 0]


def test_both_views_of_a_pair_show_the_same_moments(
    tmp_path: Path, make_video: Callable[..., Path], films: Any
) -> None:
    """Numbers in the pictures: 30 and 25 fps, different starts and lengths, an offset, an uneven camera."""
    settings: list[tuple[dict[str, Any], Fraction]] = [
        ({"fps": 30, "count": 150}, Fraction(0)),
        ({"fps": 25, "count": 90, "start": Fraction(1, 2)}, Fraction(-3, 10)),
        ({"count": 110, "uneven": True}, Fraction(2, 10)),
    ]
    for number, (timing, offset) in enumerate(settings[1:]):
        paths = [
            make_video(tmp_path / f"{number}-{view}.mp4", **options)
            for view, options in (("exo", settings[0][0]), ("ego", timing))
        ]
        pair = [
            open_film(numbered(path, offset=by))
            for path, by in zip(paths, (Fraction(0), offset), strict=True)
        ]
        starts, stops = tile(pair, NS)
        assert len(starts) >= 3
        moments = candidate_moments(starts, stops, 3)
        shown = []
        for film in pair:
            frames, is_covered = nearest_frames(film, moments)
            assert is_covered.all()
            asked = np.unique(frames)
            numbers = films.numbers(decode_frames(film.video, asked, batch_frames=16))
            assert numbers == asked.tolist()  # what is decoded is what was chosen
            shown.append(frames)
        # by what the films were made from, not by what was read from them
        exo_times = np.array([float(time) for time in films.times(**settings[0][0])])
        ego_times = np.array([float(time + offset) for time in films.times(**timing)])
        apart = np.abs(exo_times[shown[0]] - ego_times[shown[1]])
        assert apart.max() < 0.5 / 30 + 0.5 * 0.067 + 1e-3


# Cuts


def recipe_sizes(width: int, height: int, network: int = 224) -> set[tuple[int, int]]:
    """The sizes as the recipe has them, written out."""
    base = min(width, height)
    sizes = [int(base * scale) for scale in (1, 0.875, 0.75, 0.66)]
    sizes = [network if abs(size - network) < 3 else size for size in sizes]
    return {(sizes[a], sizes[b]) for a in range(4) for b in range(4) if a == b or a == b + 1 or b == a + 1}


@pytest.mark.parametrize("size", [(256, 455), (256, 341), (455, 256), (256, 256), (300, 400)])
def test_crop_sizes_are_the_recipes(size: tuple[int, int]) -> None:
    ours = crop_sizes(*size, (224, 224))
    assert set(ours) == recipe_sizes(size[1], size[0]) and len(ours) == 10
    if size[0] == 256:
        assert (256, 224) in ours and (168, 168) in ours and (192, 168) in ours and (256, 168) not in ours


def test_places_are_the_recipes_thirteen() -> None:
    recipe = {
        (0, 0),
        (4, 0),
        (0, 4),
        (4, 4),
        (2, 2),
        (0, 2),
        (4, 2),
        (2, 4),
        (2, 0),
        (1, 1),
        (3, 1),
        (1, 3),
        (3, 3),
    }
    assert set(QUARTERS) == recipe and len(QUARTERS) == 13


def test_cuts_are_drawn_alike_often() -> None:
    rng = np.random.default_rng(0)
    cuts = [draw_cut(rng, 256, 455, (224, 224)) for _ in range(20_000)]
    assert all(cut.top >= 0 and cut.top + cut.height <= 256 for cut in cuts)
    assert all(cut.left >= 0 and cut.left + cut.width <= 455 for cut in cuts)
    assert abs(sum(cut.mirror for cut in cuts) / len(cuts) - 0.5) < 0.02
    squares = [cut for cut in cuts if (cut.height, cut.width) == (168, 168)]
    assert abs(len(squares) / len(cuts) - 0.1) < 0.01
    assert {(cut.top, cut.left) for cut in squares} == {(22 * row, 71 * column) for row, column in QUARTERS}


def test_a_cut_is_the_same_for_all_frames() -> None:
    frame = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (1, 40, 60, 3), np.uint8))
    cut = Cut(top=3, left=5, height=30, width=20, mirror=True)
    cropped = cut(frame.expand(8, -1, -1, -1), (30, 20))
    assert torch.equal(cropped[0], frame[0, 3:33, 5:25].flip(1))
    resized = cut(frame.expand(8, -1, -1, -1), (15, 10))
    assert resized.shape == (8, 15, 10, 3) and resized.dtype == torch.uint8
    assert all(torch.equal(resized[0], other) for other in resized[1:])


@pytest.mark.parametrize("preprocessing", [OFFICIAL, DEMO, SMALL])
def test_held_out_clips_are_what_extraction_sees(
    film: Film, tmp_path: Path, preprocessing: Preprocessing
) -> None:
    stored = whole(film, tmp_path, preprocessing)
    stored.store(Event())
    (batch,) = loader([(stored, 0), (stored, 1)], preprocessing=preprocessing).held_out()
    indices = np.unique(stored.frames_NSC[:, :, 1].ravel())
    (frames,) = decode_frames(film.video, indices, batch_frames=len(indices))
    expected = preprocessing(torch.from_numpy(frames))[
        np.searchsorted(indices, stored.frames_NSC[:, :, 1].ravel())
    ]
    assert torch.equal(normalised(batch.views[0], preprocessing, CPU), expected)


def test_the_centre_cut_of_odd_room_is_extractions() -> None:
    assert centre(256, 455, (224, 224)) == Cut(top=16, left=116, height=224, width=224)


# Stored pictures


def test_a_film_is_decoded_once_and_read_by_candidates(film: Film, tmp_path: Path) -> None:
    stored = whole(film, tmp_path)
    assert stored.size_bytes == len(np.unique(stored.frames_NSC)) * 32 * 42 * 3
    done: list[tuple[int, int]] = []
    store_all([stored], tmp_path / "frames", workers=2, on_film=lambda *counts: done.append(counts))
    assert done == [(0, 1), (1, 1)] and stored.path.stat().st_size == stored.size_bytes
    draw = np.array([0, 1, 2, 0, 1, 2, 2, 0])
    asked = stored.frames_NSC[1, np.arange(8), draw]
    (frames,) = decode_frames(film.video, np.unique(asked), batch_frames=60)
    expected = replace(SMALL, crop=None, mean=(0.0,) * 3, std=(1.0,) * 3)(torch.from_numpy(frames)) * 255
    assert torch.equal(
        stored.read(1, draw).permute(0, 3, 1, 2).float(),
        expected.round()[np.searchsorted(np.unique(asked), asked)],
    )


def test_storing_that_is_stopped_leaves_no_whole_file(film: Film, tmp_path: Path) -> None:
    stored = whole(film, tmp_path)
    stop = Event()
    stop.set()
    stored.store(stop)
    assert not stored.is_stored


def test_storing_goes_on_after_whole_films(film: Film, tmp_path: Path) -> None:
    stored = whole(film, tmp_path)
    stored.path.parent.mkdir(parents=True)
    stored.path.write_bytes(b"whole, as only a renamed file is")
    half = stored.path.with_name("other.u8.partial")
    half.write_bytes(b"half")
    done: list[tuple[int, int]] = []
    store_all([stored], tmp_path / "frames", workers=1, on_film=lambda *counts: done.append(counts))
    assert done == [(1, 1)] and not half.exists()
    assert stored.path.read_bytes().startswith(b"whole")


def test_a_disk_that_is_too_small_is_found_before_decoding(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = whole(film, tmp_path, replace(SMALL, resize=1 << 20))  # 4 TB a picture
    with pytest.raises(
        SyncError, match=r"frames: decoded pictures take \d+\.\d GB more, and [\d.]+ GB are free\. Make"
    ):
        store_all([stored], tmp_path / "frames", workers=1, on_film=lambda *_: None)
    assert list((tmp_path / "frames").iterdir()) == []


def test_a_film_that_stops_decoding_is_named_and_the_others_are_stored(
    film: Film, tmp_path: Path, make_video: Callable[..., Path], films: Any
) -> None:
    path = make_video(tmp_path / "broken.mp4", count=60, options={"g": "1000"})
    broken = whole(open_film(numbered(path)), tmp_path)
    films.blank_packets(path, range(20, 60))
    good = whole(film, tmp_path)
    with pytest.raises(VideoError, match=r"broken\.mp4: "):
        store_all([broken, good], tmp_path / "frames", workers=1, on_film=lambda *_: None)
    assert good.is_stored and not broken.is_stored


# Batches


def loader(clips: list[Clip], *others: list[Clip], **options: Any) -> ClipLoader:
    settings: dict[str, Any] = {
        "preprocessing": SMALL,
        "augment": True,
        "batch_size": 3,
        "seed": 5,
        "workers": 2,
    }
    classes = np.arange(len(clips)) if not others else None
    return ClipLoader(views=(clips, *others), classes=classes, **{**settings, **options})


@pytest.fixture(scope="module")
def clips(film: Film, tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    stored = whole(film, tmp_path_factory.mktemp("stored"))
    stored.store(Event())
    return [(stored, 0), (stored, 1)] * 4


def test_an_epoch_depends_on_seed_and_epoch_alone(clips: list[Clip]) -> None:
    def by_class(batches: Any) -> dict[int, torch.Tensor]:
        return {
            int(number): frames
            for batch in batches
            for number, frames in zip(batch.classes_N, batch.views[0], strict=True)
        }

    first = by_class(loader(clips).training(2))
    again = by_class(loader(clips, batch_size=8, workers=1).training(2))
    assert sorted(first) == list(range(8))
    assert all(torch.equal(first[number], again[number]) for number in first)
    for other in (loader(clips).training(3), loader(clips, seed=6).training(2)):
        changed = by_class(other)
        assert any(not torch.equal(first[number], changed[number]) for number in first)
    parts = [batch.classes_N for batch in loader(clips).training(2) if batch.classes_N is not None]
    assert [len(part) for part in parts] == [3, 3, 2] and torch.cat(parts).tolist() != list(range(8))


def test_clips_of_two_views_are_drawn_at_the_same_moments(clips: list[Clip]) -> None:
    """The same clips as both views: each pair must then be equal."""
    for batch in loader(clips, clips, augment=False).training(1):
        assert batch.classes_N is None
        assert torch.equal(*batch.views)


def test_a_batch_in_parts_has_the_same_clips(clips: list[Clip]) -> None:
    (batch,) = loader(clips, batch_size=8).held_out()
    parts = list(batch.split(3))
    assert [len(part) for part in parts] == [3, 3, 2]
    assert torch.equal(torch.cat([part.views[0] for part in parts]), batch.views[0])
    classes = [part.classes_N for part in parts if part.classes_N is not None]
    assert torch.cat(classes).tolist() == list(range(8))


def test_pictures_that_were_cut_off_are_named(clips: list[Clip], tmp_path: Path) -> None:
    stored = replace(clips[0][0], path=tmp_path / "short.u8")
    stored.path.write_bytes(b"123")
    with pytest.raises(SyncError, match=r"short\.u8: ends early\. Delete it"):
        stored.read(0, np.zeros(8, np.int64))
