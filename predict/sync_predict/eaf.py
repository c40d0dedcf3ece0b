"""Segments as a file of ELAN, the annotation program: EAF 3.0.

Written with the standard library: it is one small XML document, for which the package pympi-ling, which the tests read
it with, would be one more thing to install. Its schema: https://www.mpi.nl/tools/elan/EAFv3.0.xsd
"""

import os
import re
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from sync_store.labels import Segments

ACTIONS = "action"
CONFIDENCES = "confidence"
"""Each confidence hangs on its action, and moves with it when that is edited."""

NS_PER_MS = 1_000_000

_MIME_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm"}

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_CONSTRAINTS = {
    "Time_Subdivision": "Time subdivision of parent annotation's time interval, no time gaps allowed",
    "Symbolic_Subdivision": "Symbolic subdivision of a parent annotation. Ordered",
    "Symbolic_Association": "1-1 association with a parent annotation",
    "Included_In": "Time alignable annotations within the parent annotation's time interval, gaps are allowed",
}
"""The four that the format has, in its words."""


def to_eaf(segments: Segments, video: Path, folder: Path, author: str, written: datetime) -> bytes:
    """An annotation document.

    Args:
        segments: On the video's clock; what lies before 0, where ELAN has no time, is cut off.
        video: The file that they are of, absolute.
        folder: Where the document will be.
        author: Who annotated.
        written: When, with a time zone.
    """
    document = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": _xml(author),
            "DATE": written.isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    header = ET.SubElement(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    ET.SubElement(
        header,
        "MEDIA_DESCRIPTOR",
        MEDIA_URL=_xml(f"file:///{video.as_posix().lstrip('/')}"),
        MIME_TYPE=_MIME_TYPES.get(video.suffix.lower(), "unknown"),
        RELATIVE_MEDIA_URL=_xml(_relative(video, folder)),
    )
    times = ET.SubElement(document, "TIME_ORDER")
    types = {ACTIONS: "action-type", CONFIDENCES: "confidence-type"}
    actions = ET.SubElement(document, "TIER", LINGUISTIC_TYPE_REF=types[ACTIONS], TIER_ID=ACTIONS)
    confidences = ET.SubElement(
        document, "TIER", LINGUISTIC_TYPE_REF=types[CONFIDENCES], PARENT_REF=ACTIONS, TIER_ID=CONFIDENCES
    )
    last = _annotate(segments, times, actions, confidences)
    ET.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(last)
    ET.SubElement(
        document,
        "LINGUISTIC_TYPE",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID=types[ACTIONS],
        TIME_ALIGNABLE="true",
    )
    ET.SubElement(
        document,
        "LINGUISTIC_TYPE",
        CONSTRAINTS="Symbolic_Association",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID=types[CONFIDENCES],
        TIME_ALIGNABLE="false",
    )
    for stereotype, description in _CONSTRAINTS.items():
        ET.SubElement(document, "CONSTRAINT", DESCRIPTION=description, STEREOTYPE=stereotype)
    ET.indent(document)
    text: bytes = ET.tostring(document, encoding="UTF-8", xml_declaration=True)
    return text + b"\n"


def _annotate(segments: Segments, times: ET.Element, actions: ET.Element, confidences: ET.Element) -> int:
    """Add an action and a confidence a segment; the number of the last annotation."""
    number = 0
    for index, label in enumerate(segments.labels):
        edges = [int(edges_ns[index]) for edges_ns in (segments.start_ns, segments.stop_ns)]
        start, stop = (max(0, round(edge_ns / NS_PER_MS)) for edge_ns in edges)
        if start == stop:  # less than ELAN's millisecond, or before 0
            continue
        slots = [f"ts{2 * index + 1}", f"ts{2 * index + 2}"]
        for slot, milliseconds in zip(slots, (start, stop), strict=True):
            ET.SubElement(times, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(milliseconds))
        action = ET.SubElement(
            ET.SubElement(actions, "ANNOTATION"),
            "ALIGNABLE_ANNOTATION",
            ANNOTATION_ID=f"a{number + 1}",
            TIME_SLOT_REF1=slots[0],
            TIME_SLOT_REF2=slots[1],
        )
        ET.SubElement(action, "ANNOTATION_VALUE").text = _xml(label)
        number += 1
        if segments.confidence is not None:
            confidence = ET.SubElement(
                ET.SubElement(confidences, "ANNOTATION"),
                "REF_ANNOTATION",
                ANNOTATION_ID=f"a{number + 1}",
                ANNOTATION_REF=f"a{number}",
            )
            ET.SubElement(confidence, "ANNOTATION_VALUE").text = f"{segments.confidence[index]:.4f}"
            number += 1
    return number


def _relative(video: Path, folder: Path) -> str:
    """From the document to the video, without the quoting of addresses, as ELAN itself writes it."""
    path = Path(os.path.relpath(video, folder.resolve())).as_posix()
    return path if path.startswith("../") else f"./{path}"


def _xml(text: str) -> str:
    """A text without the characters that XML has no form for."""
    return _NOT_IN_XML.sub("\ufffd", text)
