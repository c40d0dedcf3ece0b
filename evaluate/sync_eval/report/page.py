"""The page: data, styles and scripts in one file that asks nobody for anything.

Names and labels come from data. The template escapes them, the scripts only ever set them as text, and what the
Content-Security-Policy doesn't know by its hash neither runs nor styles.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from sync_eval.plots import Color, colors_of
from sync_eval.report.confusion import ClassCounts, count_classes
from sync_eval.report.contents import Contents
from sync_eval.report.curves import HEIGHT, WIDTH, draw_charts, read_stages
from sync_eval.report.tested import bars_of_tested, read_tested
from sync_eval.report.timeline import describe_recording
from sync_eval.report.videos import VideoFinder
from sync_eval.table_forms import MARKED
from sync_eval.tables import COLUMNS

SCRIPTS = ("page.js", "bars.js", "player.js", "classes.js", "main.js")
"""Parts of the script in their order."""


def build_page(contents: Contents, finder: VideoFinder | None) -> str:
    """Write the report as HTML; the same inputs give the same text.

    Args:
        contents: What it is about.
        finder: Finds the videos; None to show none.

    Raises:
        DatasetError: If a file of labels or predictions can't be read.
    """
    seeds = sorted({seed for group in contents.groups for seed in group.seeds})
    style, script = _asset("report.css"), "".join(map(_asset, SCRIPTS))
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(_asset),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html").render(
        title=contents.title,
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        data=_json_in_html(_page_data(contents, finder)),
        layouts=contents.layouts,
        marked=MARKED,
        num_recordings=len(contents.recordings),
        without_videos=finder is None,
        notes=contents.notes,
        charts=draw_charts(read_stages(contents.groups), seeds),
        chart_size=(WIDTH, HEIGHT),
        seeds=seeds,
        version=version("sync-tas"),
    )


def _page_data(contents: Contents, finder: VideoFinder | None) -> dict[str, Any]:
    """Everything that the scripts draw."""
    dataset = contents.dataset
    tested = read_tested(contents.names, contents.rows, contents.truths)
    colors = colors_of(contents.groups, dataset, bars_of_tested(tested))
    class_ids = {name: index for index, name in enumerate(colors)}
    counts = [count_classes(each, list(colors), contents.protocol) for each in tested]
    return {
        "classes": [
            {"name": name, "color": _hex(color), "isBackground": name in dataset.background}
            for name, color in colors.items()
        ],
        "metrics": list(COLUMNS.values()),
        "rows": [
            {"name": each.name, "seeds": list(each.row.group.seeds), "kind": each.row.group.info.kind}
            for each in tested
        ],
        "counts": [_counts_data(each) for each in counts],
        "recordings": [
            describe_recording(recording, tested, dataset, class_ids)
            | {"videos": [asdict(video) for video in finder.videos(recording)] if finder is not None else []}
            for recording in contents.recordings
        ],
    }


def _counts_data(counts: ClassCounts) -> dict[str, Any]:
    """One row's counts; `confusion` has three numbers for each cell that isn't 0: true, predicted, frames."""
    cells = zip(*(index.tolist() for index in counts.frames_CP.nonzero()), strict=True)
    return {
        "confusion": [n for true, seen in cells for n in (true, seen, int(counts.frames_CP[true, seen]))],
        "segments": counts.num_true_segments_C.tolist(),
        "recall": _rounded(counts.recall),
        "precision": _rounded(counts.precision),
        "f1": _rounded(counts.f1),
    }


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(value, 2) for value in values]


def _json_in_html(value: Any) -> Markup:
    """JSON that can't end the <script> it stands in: no `</script>`, and no `<!--`, after which one wouldn't end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _policy(style: str, script: str) -> str:
    """Only this style, this script, and video files beside the page; no other request, form or plug-in."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "media-src 'self' file:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hex(color: Color) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in color)
