"""Labels: text and nanoseconds, both file forms, and which segment holds a time."""

import tempfile
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_store.errors import DatasetError
from sync_store.labels import (
    MAX_SECONDS,
    NS_PER_SECOND,
    TICK_SLACK_NS,
    UNLABELED,
    Segments,
    first_seen,
    grid_times,
    ns_to_text,
    parse_decimal,
    read_frames,
    read_segments,
    seconds_to_ns,
    segments_of_frames,
    segments_of_rows,
    segments_to_csv,
)

NAMES = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=12).filter(
    lambda name: name.strip() == name
)
RATES = st.one_of(
    st.sampled_from([Fraction(10), Fraction(30), Fraction(30_000, 1001), Fraction("29.97002997002997")]),
    st.fractions(Fraction(1, 10), 240, max_denominator=1001),
)


@st.composite
def segment_lists(draw: st.DrawFn, scale_ns: int = NS_PER_SECOND) -> Segments:
    """Up to eight segments; some touch, some have a gap between them."""
    count = draw(st.integers(0, 8))
    lengths = draw(st.lists(st.integers(1, 5 * scale_ns), min_size=count, max_size=count))
    gaps = draw(st.lists(st.sampled_from([0, 0, 1, scale_ns // 3]), min_size=count, max_size=count))
    labels = draw(st.lists(NAMES, min_size=count, max_size=count))
    time, starts, stops = draw(st.integers(-scale_ns, scale_ns)), [], []
    for length, gap in zip(lengths, gaps, strict=True):
        starts.append(time + gap)
        time += gap + length
        stops.append(time)
    return Segments(
        start_ns=np.array(starts, dtype=np.int64),
        stop_ns=np.array(stops, dtype=np.int64),
        labels=tuple(labels),
    )


def as_list(segments: Segments) -> list[tuple[int, int, str]]:
    return list(zip(segments.start_ns.tolist(), segments.stop_ns.tolist(), segments.labels, strict=True))


def of(*segments: tuple[int, int, str]) -> Segments:
    starts, stops, labels = zip(*segments, strict=True)
    return Segments(start_ns=np.array(starts), stop_ns=np.array(stops), labels=labels)


class TestText:
    @given(st.integers(-(2**62) + 1, 2**62 - 1))
    def test_nanoseconds_survive(self, time_ns: int) -> None:
        text = ns_to_text(time_ns)
        assert seconds_to_ns(Fraction(text)) == time_ns
        if abs(time_ns) < 10**21:
            assert seconds_to_ns(parse_decimal(text, "here", "time")) == time_ns

    @pytest.mark.parametrize(
        ("time_ns", "text"),
        [
            (0, "0.0"),
            (1, "0.000000001"),
            (-1, "-0.000000001"),
            (10_000_000_000, "10.0"),
            (1_500_000_000, "1.5"),
            (-12_340_000_000, "-12.34"),
        ],
    )
    def test_no_more_decimals_than_needed(self, time_ns: int, text: str) -> None:
        assert ns_to_text(time_ns) == text

    @pytest.mark.parametrize(
        ("text", "value"), [("1.5", "3/2"), (" +2 ", "2"), ("-0.25", "-1/4"), (".5", "1/2")]
    )
    def test_plain_decimals_are_exact(self, text: str, value: str) -> None:
        assert parse_decimal(text, "file line 3", "offset") == Fraction(value)

    @pytest.mark.parametrize(
        "text", ["", "nan", "inf", "1e3", "1/3", "1,5", "0x10", "--1", "1.2.3", "9" * 13, None]
    )
    def test_anything_else_is_refused(self, text: str | None) -> None:
        with pytest.raises(DatasetError, match=r"file line 3: offset must be a plain decimal number, got '"):
            parse_decimal(text, "file line 3", "offset")


class TestGrid:
    @given(st.integers(0, 300), RATES)
    def test_each_time_is_the_exact_one_rounded_once(self, num_frames: int, fps: Fraction) -> None:
        assert grid_times(num_frames, fps).tolist() == [seconds_to_ns(f / fps) for f in range(num_frames)]

    def test_no_drift_over_a_long_recording(self) -> None:
        """Frame number divided by 29.97 would be off by 3.6 ms at the end of this hour."""
        times = grid_times(107_893, Fraction(30_000, 1001))
        assert times[107_892] == 3_599_996_400_000
        assert times.dtype == np.int64

    def test_a_rate_between_two_nanoseconds_rounds_to_even(self) -> None:
        assert grid_times(4, Fraction(1024)).tolist() == [0, 976_562, 1_953_125, 2_929_688]

    def test_a_rate_with_many_decimals_does_not_overflow(self) -> None:
        """As a program prints 30000/1001: its numerator times 1e9 has over 64 bits."""
        printed = grid_times(100_000, Fraction("29.97002997002997"))
        exact = grid_times(100_000, Fraction(30_000, 1001))
        assert np.abs(printed - exact).max() < 1000


class TestSegments:
    def test_what_contradicts_itself_is_refused(self) -> None:
        with pytest.raises(DatasetError, match="equal numbers of starts, stops and labels, got 1, 2, 1"):
            Segments(start_ns=np.array([0]), stop_ns=np.array([1, 2]), labels=("a",))
        with pytest.raises(DatasetError, match=r"segment 2 at 1\.5 s doesn't end after it starts"):
            of((0, 1, "a"), (1_500_000_000, 1_500_000_000, "b"))
        with pytest.raises(
            DatasetError, match=r"segment 2 at 0\.5 s starts before the segment above it ends"
        ):
            of((0, 10**9, "a"), (500_000_000, 2 * 10**9, "b"))

    def test_span(self) -> None:
        assert of((5, 7, "a"), (9, 12, "b")).span_ns == (5, 12)
        none = np.array([], dtype=np.int64)
        assert Segments(start_ns=none, stop_ns=none, labels=()).span_ns == (0, 0)

    @given(segment_lists(scale_ns=20), st.integers(0, 6))
    def test_index_at_against_brute_force(self, segments: Segments, slack_ns: int) -> None:
        """The last segment that has begun, or begins within the slack, and hasn't ended."""
        times = np.arange(-60, 900)
        found = segments.index_at(times, slack_ns)
        for time, index in zip(times.tolist(), found.tolist(), strict=True):
            holding = [
                number
                for number, (start, stop, _) in enumerate(as_list(segments))
                if start - slack_ns <= time < stop
            ]
            assert index == (max(holding) if holding else UNLABELED)

    @given(segment_lists(scale_ns=20), st.lists(NAMES, max_size=4, unique=True))
    def test_classes_at_against_brute_force(self, segments: Segments, others: list[str]) -> None:
        classes = [*dict.fromkeys([*others, *segments.labels[::2]])]
        times = np.arange(-60, 900)
        found = segments.classes_at(times, classes, slack_ns=0)
        for time, index in zip(times.tolist(), found.tolist(), strict=True):
            label = next((name for start, stop, name in as_list(segments) if start <= time < stop), None)
            assert index == (classes.index(label) if label in classes else UNLABELED)

    def test_the_slack_takes_the_coming_segment_but_never_the_end_of_this_one(self) -> None:
        segments = of((0, 10**9, "a"), (10**9, 2 * 10**9, "b"))
        just_before = 10**9 - TICK_SLACK_NS
        times = np.array(
            [just_before - 1, just_before, 2 * 10**9 - 1, 2 * 10**9, -TICK_SLACK_NS, -TICK_SLACK_NS - 1]
        )
        assert segments.index_at(times).tolist() == [0, 1, 1, UNLABELED, 0, UNLABELED]

    def test_a_frame_in_whole_milliseconds_keeps_its_label(self) -> None:
        """Matroska at 30 frames a second: 33, 67, 100 ms for 33.3, 66.7, 100 ms."""
        labels = [f"class {f % 7}" for f in range(1000)]
        segments = segments_of_frames(labels, Fraction(30))
        ticks = np.array([round(Fraction(f * 1000, 30)) * 1_000_000 for f in range(1000)])
        assert [segments.labels[index] for index in segments.index_at(ticks)] == labels


class TestFrames:
    @given(st.lists(st.sampled_from("abc"), max_size=60), RATES)
    def test_frame_f_has_label_f(self, labels: list[str], fps: Fraction) -> None:
        segments = segments_of_frames(labels, fps)
        assert all(a != b for a, b in pairwise(segments.labels))
        classes = ["a", "b", "c"]
        found = segments.classes_at(grid_times(len(labels), fps), classes)
        assert [classes[index] for index in found] == labels
        if labels:
            assert segments.span_ns == (0, seconds_to_ns(len(labels) / fps))
            assert np.array_equal(segments.start_ns[1:], segments.stop_ns[:-1])

    def test_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "r.txt"
        path.write_bytes(b"\xef\xbb\xbfpick up \r\nput down\r\n\r\n\r\n")
        assert read_frames(path) == ["pick up", "put down"]
        path.write_text("")
        assert read_frames(path) == []

    def test_a_gap_is_named_by_its_line(self, tmp_path: Path) -> None:
        path = tmp_path / "r.txt"
        path.write_text("a\n\nb\n")
        with pytest.raises(
            DatasetError, match=r"r\.txt line 2: the line is empty; expected one label a line"
        ):
            read_frames(path)


class TestRows:
    @given(
        st.lists(
            st.tuples(st.integers(0, 2), st.sampled_from([90, 100, 100, 100, 110, 199, 201, 1000, 1001])),
            min_size=1,
            max_size=40,
        ),
        st.integers(-500, 500),
    )
    def test_every_row_is_in_a_segment_of_its_class_and_long_gaps_stay(
        self, rows: list[tuple[int, int]], start: int
    ) -> None:
        class_ids = np.array([class_id for class_id, _ in rows], dtype=np.int64)
        timestamps = 1_000_000 * (start + np.cumsum([0, *(step for _, step in rows[1:])]))
        classes = ["a", "b", "c"]
        segments = segments_of_rows(class_ids, timestamps, classes)
        assert segments.classes_at(timestamps, classes, slack_ns=0).tolist() == class_ids.tolist()
        steps = np.diff(timestamps)
        median = float(np.median(steps)) if len(steps) else 0.0
        for (left, before), (right, after) in pairwise(zip(timestamps.tolist(), class_ids, strict=True)):
            middle = np.array([(left + right) // 2])
            is_gap = 2 * (right - left) > 5 * median
            is_bridged = before == after and right - left <= NS_PER_SECOND
            assert (segments.index_at(middle, slack_ns=0)[0] == UNLABELED) == (is_gap and not is_bridged)
        # no segment reaches further from its rows than the longest step that is no gap
        reach = max((s for s in steps.tolist() if 2 * s <= 5 * median), default=NS_PER_SECOND)
        assert segments.span_ns[0] >= timestamps[0] - reach
        assert segments.span_ns[1] <= timestamps[-1] + reach
        # neighbours of one class are one segment
        for a, b in pairwise(as_list(segments)):
            assert a[2] != b[2] or a[1] < b[0]

    def test_golden(self) -> None:
        """Rows at 0, 1, 2, 9 and 10 s."""
        confidence = np.array([0.5, 1.0, 0.25, 0.75, 1.0])
        times = np.array([0, 100, 200, 900, 1000]) * 10_000_000
        rows = segments_of_rows(np.array([0, 0, 1, 1, 1]), times, ["a", "b"], confidence)
        assert [(start / 1e9, stop / 1e9, label) for start, stop, label in as_list(rows)] == [
            (-0.5, 1.5, "a"),
            (1.5, 2.5, "b"),
            (8.5, 10.5, "b"),
        ]
        assert rows.confidence is not None
        assert rows.confidence.tolist() == [0.75, 0.25, 0.875]

    def test_dropped_frames_do_not_cut_a_segment(self) -> None:
        """Three frames lost in three places of ten seconds at 30 frames a second."""
        whole = grid_times(300, Fraction(30))
        lost = [*range(50, 53), *range(120, 123), *range(250, 253)]
        times = np.delete(whole, lost)
        confidence = np.linspace(0, 1, len(times))
        (one,) = as_list(segments_of_rows(np.zeros(len(times), np.int64), times, ["a"], confidence))
        assert one == as_list(segments_of_rows(np.zeros(300, np.int64), whole, ["a"]))[0]
        # where the class changes, nobody knows which of the two the lost frames showed
        class_ids = (times > whole[121]).astype(np.int64)
        a, b = as_list(segments_of_rows(class_ids, times, ["a", "b"]))
        assert a[1] - whole[119] == whole[123] - b[0] == pytest.approx(10**9 / 60, abs=1)

    @pytest.mark.parametrize(("lost", "num_segments"), [(28, 1), (29, 1), (30, 2)])
    def test_a_gap_of_more_than_a_second_does(self, lost: int, num_segments: int) -> None:
        times = np.delete(grid_times(300, Fraction(30)), slice(100, 100 + lost))
        segments = segments_of_rows(np.zeros(len(times), np.int64), times, ["a"])
        assert len(segments) == num_segments

    def test_none_and_one(self) -> None:
        nothing = np.array([], dtype=np.int64)
        assert len(segments_of_rows(nothing, nothing, ["a"])) == 0
        (one,) = as_list(segments_of_rows(np.array([0]), np.array([7 * NS_PER_SECOND]), ["a"]))
        assert one == (6_500_000_000, 7_500_000_000, "a")


class TestCsv:
    @given(segment_lists(), st.booleans())
    def test_round_trip(self, segments: Segments, with_confidence: bool) -> None:
        if with_confidence and len(segments):
            values = np.linspace(0, 1, len(segments)).round(4)
            segments = Segments(
                start_ns=segments.start_ns,
                stop_ns=segments.stop_ns,
                labels=segments.labels,
                confidence=values,
            )
        again = _read(segments_to_csv(segments))
        assert as_list(again) == as_list(segments)
        assert (again.confidence is None) == (segments.confidence is None)
        if segments.confidence is not None and again.confidence is not None:
            assert np.allclose(again.confidence, segments.confidence, atol=5e-5)

    def test_golden(self) -> None:
        segments = of((0, 1_500_000_000, "pick up, left"), (1_500_000_001, 2 * 10**9, 'say "hi"'))
        assert segments_to_csv(segments) == (
            b'start_seconds,stop_seconds,label\n0.0,1.5,"pick up, left"\n1.500000001,2.0,"say ""hi"""\n'
        )

    def test_what_spreadsheets_write(self) -> None:
        """A byte order mark, CRLF, more columns in another order, spaces."""
        content = "\ufefflabel,note,stop_seconds,start_seconds\r\n cut ,x, 2.5 ,1\r\nput,,4,2.50\r\n"
        assert as_list(_read(content.encode())) == [
            (10**9, 2_500_000_000, "cut"),
            (2_500_000_000, 4 * 10**9, "put"),
        ]

    def test_no_segments(self) -> None:
        assert len(_read(b"start_seconds,stop_seconds,label\n")) == 0

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "no column 'start_seconds'; the first line must name start_seconds, stop_seconds, label"),
            (b"start_seconds,stop_seconds\n0,1\n", "no column 'label'"),
            (
                b"start_seconds,stop_seconds,label\n0,1,a\n1,x,b\n",
                "line 3: stop_seconds must be a plain decimal",
            ),
            (b"start_seconds,stop_seconds,label\n0\n", "line 2: stop_seconds must be .* got ''"),
            (b"start_seconds,stop_seconds,label\n0,1,  \n", "line 2: the label is empty"),
            (b"start_seconds,stop_seconds,label\n0,1\n", "line 2: the label is empty"),
            (
                b"start_seconds,stop_seconds,label\n1,0,a\n",
                r"segment 1 at 1\.0 s doesn't end after it starts",
            ),
            (b"start_seconds,stop_seconds,label\n0,2,a\n1,3,b\n", r"segment 2 at 1\.0 s starts before"),
            (
                b"start_seconds,stop_seconds,label\n0,999999999999,a\n",
                "line 2: stop_seconds is 999999999999 seconds, more than 1000000 either way.*check the unit",
            ),
            (
                b"start_seconds,stop_seconds,label,confidence\n0,1,a,high\n",
                "line 2: confidence must be a plain",
            ),
            (b"start_seconds,stop_seconds,label\n0,1,\xff\n", "can't be read as text"),
            (b'start_seconds,stop_seconds,label\n0,1,"' + b"a" * 140_000 + b'"\n', "can't be read as CSV"),
        ],
    )
    def test_malformed_files_are_named_with_the_line(
        self, tmp_path: Path, content: bytes, message: str
    ) -> None:
        path = tmp_path / "r001.csv"
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"r001\.csv.*" + message):
            read_segments(path)

    def test_the_longest_recording(self) -> None:
        """A label at 4,000,000,000 s, a time of day in nanoseconds or so, would make a grid larger than memory."""
        head = "start_seconds,stop_seconds,label\n"
        assert as_list(_read(f"{head}-{MAX_SECONDS},{MAX_SECONDS},a\n".encode())) == [
            (-(10**15), 10**15, "a")
        ]
        for row in (f"0,{MAX_SECONDS}.000000001", f"-{MAX_SECONDS}.1,0", "0, 4000000000 "):
            with pytest.raises(DatasetError, match=r"line 2: .* seconds, more than 1000000 either way"):
                _read(f"{head}{row},a\n".encode())

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"r\.csv: there is no such file"):
            read_segments(tmp_path / "r.csv")
        with pytest.raises(DatasetError, match="can't be read as text"):
            read_segments(tmp_path)


def _read(content: bytes) -> Segments:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.csv"
        path.write_bytes(content)
        return read_segments(path)


def test_first_seen() -> None:
    assert first_seen(["b", "a", "b", "c", "a"]) == ("b", "a", "c")
