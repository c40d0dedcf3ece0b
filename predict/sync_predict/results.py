"""What is written of a video: segments.csv, segments.eaf, page.html, and segments.json last."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sync_predict.eaf import to_eaf
from sync_predict.page import render_page
from sync_predict.videos import Video
from sync_store.atomic import write_atomic, write_json
from sync_store.bounded import read_json
from sync_store.exported import ModelRecipe
from sync_store.labels import NS_PER_SECOND, Segments, segments_to_csv

CSV = "segments.csv"
EAF = "segments.eaf"
PAGE = "page.html"
JSON = "segments.json"


def write_results(
    folder: Path,
    video: Video,
    segments: Segments,
    recipe: ModelRecipe,
    classes: list[str],
    shortfall: str | None,
) -> None:
    """Write all files of a video.

    Args:
        folder: Theirs.
        video: The video.
        segments: On its clock.
        recipe: Of the model.
        classes: Of the model, in order of its outputs.
        shortfall: What the features lack of the video, if anything.
    """
    (folder / JSON).unlink(missing_ok=True)
    write_atomic(folder / CSV, segments_to_csv(segments))
    author = f"sync-tas {version('sync-tas')}"
    eaf = to_eaf(segments, video.path, folder, author, datetime.now(UTC))
    write_atomic(folder / EAF, eaf)
    write_atomic(folder / PAGE, render_page(segments, video.path, folder, classes, _title(recipe)).encode())
    of_video = {**_made_from(video, recipe), "incomplete": shortfall}
    write_json(folder / JSON, {**of_video, "classes": classes, "segments": _table(segments)})


def read_written(folder: Path, video: Video, recipe: ModelRecipe) -> dict[str, Any] | None:
    """What segments.json says, if the files of this very video by this very model are there."""
    try:
        table = read_json(folder / JSON)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(table, dict) or not isinstance(table.get("incomplete"), str | None):
        return None
    made_from = _made_from(video, recipe)
    is_same = {key: table.get(key) for key in made_from} == made_from
    return table if is_same and all((folder / name).is_file() for name in (CSV, EAF, PAGE)) else None


def _made_from(video: Video, recipe: ModelRecipe) -> dict[str, Any]:
    return {
        "video": str(video.path),
        "recording": video.recording,
        "model": {
            "run": recipe.run,
            "seed": recipe.seed,
            "method": recipe.method,
            "weights_sha256": recipe.weights_sha256,
            "tta_chunk_rows": list(recipe.tta_chunk_rows),
        },
        "feature_set": {"name": recipe.feature_set.name, "fingerprint": recipe.feature_set.fingerprint},
        "software": version("sync-tas"),
    }


def _table(segments: Segments) -> list[dict[str, Any]]:
    assert segments.confidence is not None or not len(segments), "sync-train apply writes confidences"
    confidences = [] if segments.confidence is None else segments.confidence.tolist()
    return [
        {
            "start_seconds": int(start_ns) / NS_PER_SECOND,
            "stop_seconds": int(stop_ns) / NS_PER_SECOND,
            "label": label,
            "confidence": confidence,
        }
        for start_ns, stop_ns, label, confidence in zip(
            segments.start_ns, segments.stop_ns, segments.labels, confidences, strict=True
        )
    ]


def _title(recipe: ModelRecipe) -> str:
    return f"{recipe.run}, {recipe.method}, seed {recipe.seed}"
