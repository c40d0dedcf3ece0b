"""One page with the video over its segments: self-contained but for the video, and without any request to others.

Labels and names of files come from data. The template escapes them, the script reads numbers only, and what the
Content-Security-Policy doesn't know by its hash neither runs nor styles.
"""

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from sync_eval.plots import Color, class_colors
from sync_eval.report.videos import relative_address
from sync_store.labels import NS_PER_SECOND, Segments

NS_PER_MS = 1_000_000

NS_PER_TENTH = NS_PER_SECOND // 10


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A segment as the template needs it."""

    start_ms: int
    length_ms: int
    seek_seconds: float
    """Where a click leads: its start, or the video's, if it begins before that."""
    start: str
    stop: str
    label: str
    confidence: float
    color: str


def render_page(segments: Segments, video: Path, folder: Path, classes: list[str], title: str) -> str:
    """The page as HTML.

    Args:
        segments: On the video's clock, which is taken for the browser's.
        video: The file; the page refers to it, relative to its own folder.
        folder: Where the page will be.
        classes: Of the model, in order of its outputs; they decide the colours.
        title: What made the segments.
    """
    style, script = _asset("page.css"), _asset("page.js")
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(_asset),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = _shown(segments, class_colors(classes))
    return environment.get_template("page.html").render(
        video_name=video.name,
        address=f"{relative_address(video.parent, folder)}/{quote(video.name)}",
        title=title,
        segments=shown,
        first_ms=shown[0].start_ms if shown else 0,
        length_ms=shown[-1].start_ms + shown[-1].length_ms - shown[0].start_ms if shown else 1,
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
    )


def _shown(segments: Segments, colors: dict[str, Color]) -> list[_Shown]:
    confidences = segments.confidence
    shown = []
    for index, label in enumerate(segments.labels):
        start_ns, stop_ns = int(segments.start_ns[index]), int(segments.stop_ns[index])
        start_ms = round(start_ns / NS_PER_MS)
        shown.append(
            _Shown(
                start_ms=start_ms,
                length_ms=round(stop_ns / NS_PER_MS) - start_ms,
                seek_seconds=max(0, start_ns) / NS_PER_SECOND,
                start=_clock(start_ns),
                stop=_clock(stop_ns),
                label=label,
                confidence=1.0 if confidences is None else float(confidences[index]),
                color=_hex(colors[label]),
            )
        )
    return shown


def _clock(time_ns: int) -> str:
    """Minutes, seconds and tenths: 1:02.5."""
    minutes, tenths = divmod(round(max(0, time_ns) / NS_PER_TENTH), 600)
    return f"{minutes}:{tenths // 10:02d}.{tenths % 10}"


def _policy(style: str, script: str) -> str:
    """Only this style, this script, and video files; no other request, form or plug-in."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; media-src 'self' file:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hex(color: Color) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in color)
