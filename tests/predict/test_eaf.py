"""ELAN's files, read by pympi, which is another program's reading of the format."""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pympi.Elan import Eaf

from sync_predict.eaf import to_eaf
from sync_store.labels import Segments

WRITTEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make(edges_ms: list[float], labels: list[str], confidence: list[float] | None = None) -> Segments:
    edges_ns = np.array([round(1e6 * edge) for edge in edges_ms], dtype=np.int64)
    return Segments(
        start_ns=edges_ns[:-1],
        stop_ns=edges_ns[1:],
        labels=tuple(labels),
        confidence=None if confidence is None else np.array(confidence),
    )


def read(folder: Path, segments: Segments, video: str = "v.mp4") -> Eaf:
    path = folder / "s.eaf"
    path.write_bytes(to_eaf(segments, folder / video, folder, "somebody", WRITTEN))
    return Eaf(str(path))


LABELS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(data=st.data())
def test_another_reader_finds_what_was_written(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    labels = data.draw(st.lists(LABELS, min_size=1, max_size=6))
    steps = data.draw(st.lists(st.integers(1, 10_000), min_size=len(labels), max_size=len(labels)))
    confidence = data.draw(st.lists(st.floats(0, 1), min_size=len(labels), max_size=len(labels)))
    edges = np.cumsum([0, *steps]).tolist()
    eaf = read(tmp_path_factory.mktemp("eaf"), make(edges, labels, confidence))
    found = sorted(eaf.get_annotation_data_for_tier("action"))
    assert [(start, stop) for start, stop, _ in found] == list(pairwise(edges))
    for (*_, read_label), label in zip(found, labels, strict=True):
        # XML has no form for most control characters, and any parser reads a carriage return as a line feed.
        expected = "".join(
            c if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff") else "\ufffd" for c in label
        )
        assert read_label.replace("\r", "\n") == expected.replace("\r\n", "\n").replace("\r", "\n")
    confidences = sorted(eaf.get_annotation_data_for_tier("confidence"))
    assert [(start, stop, value) for start, stop, value, _ in confidences] == [
        (start, stop, f"{value:.4f}")
        for start, stop, value in zip(edges[:-1], edges[1:], confidence, strict=True)
    ]


def test_what_lies_before_zero_or_within_a_millisecond_is_left_out(tmp_path: Path) -> None:
    eaf = read(tmp_path, make([-500, -100, 40, 40.2, 90], ["before", "over", "short", "rest"]))
    assert sorted(eaf.get_annotation_data_for_tier("action")) == [(0, 40, "over"), (40, 90, "rest")]


def test_the_document_is_as_the_format_has_it(tmp_path: Path) -> None:
    document = to_eaf(
        make([0, 10, 20], ["a", "b"], [0.5, 1]), tmp_path / "v.webm", tmp_path / "out", "me", WRITTEN
    )
    assert document.startswith(b"<?xml version='1.0' encoding='UTF-8'?>\n")
    root = ET.fromstring(document)
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert {key: root.get(key) for key in ("AUTHOR", "DATE", "FORMAT", "VERSION")} == {
        "AUTHOR": "me",
        "DATE": "2026-01-02T03:04:05+00:00",
        "FORMAT": "3.0",
        "VERSION": "3.0",
    }
    # The schema has these as one sequence: in another order ELAN takes the document for invalid.
    assert [child.tag for child in root] == [
        *("HEADER", "TIME_ORDER", "TIER", "TIER", "LINGUISTIC_TYPE", "LINGUISTIC_TYPE"),
        *["CONSTRAINT"] * 4,
    ]
    ids = [element.get("ANNOTATION_ID") for element in root.iter() if element.get("ANNOTATION_ID")]
    assert sorted(ids) == ["a1", "a2", "a3", "a4"]
    assert root.findtext("HEADER/PROPERTY[@NAME='lastUsedAnnotationId']") == "4"
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert media is not None and media.attrib == {
        "MEDIA_URL": f"file://{tmp_path}/v.webm",
        "MIME_TYPE": "video/webm",
        "RELATIVE_MEDIA_URL": "../v.webm",
    }
    slots = {slot.get("TIME_SLOT_ID") for slot in root.iter("TIME_SLOT")}
    assert {a.get(f"TIME_SLOT_REF{n}") for a in root.iter("ALIGNABLE_ANNOTATION") for n in (1, 2)} == slots


def test_names_of_files_stay_as_they_are(tmp_path: Path) -> None:
    """ELAN opens what it reads there as a path: `%20` would be another file."""
    eaf = read(tmp_path, make([0, 10], ["a"]), "my <b> clip #1 & 50%20.mp4")
    (media,) = eaf.media_descriptors
    assert media["RELATIVE_MEDIA_URL"] == "./my <b> clip #1 & 50%20.mp4"
    assert media["MEDIA_URL"].removeprefix("file://") == f"{tmp_path}/my <b> clip #1 & 50%20.mp4"


def test_a_link_is_named_as_itself(tmp_path: Path) -> None:
    (tmp_path / "0a1b2c").touch()
    (tmp_path / "v.mp4").symlink_to("0a1b2c")
    (media,) = read(tmp_path, make([0, 10], ["a"])).media_descriptors
    assert media["RELATIVE_MEDIA_URL"] == "./v.mp4"
    assert media["MEDIA_URL"].endswith("/v.mp4") and media["MIME_TYPE"] == "video/mp4"


def test_nothing_to_annotate(tmp_path: Path) -> None:
    assert read(tmp_path, make([0], [])).get_annotation_data_for_tier("action") == []
