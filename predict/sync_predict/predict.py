"""From videos to segments: extraction with the model's own recipe, the model, and what is written of each video."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync_predict.model import Model
from sync_predict.results import read_written, write_results
from sync_predict.videos import Video
from sync_predict.work import ExtractionOptions, open_work
from sync_store.bounded import read_json
from sync_store.errors import TrainingError

DAMAGED = "its features, which were extracted before, are damaged. Extract them again with --overwrite"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a video."""

    video: Video
    folder: Path
    """Of its files."""
    is_written: bool
    problem: str | None = None
    """Why there are no segments, or only of a part of the video."""


def predict_videos(
    videos: Sequence[Video],
    model: Model,
    output: Path,
    options: ExtractionOptions,
    say: Callable[[str], None],
) -> list[Outcome]:
    """Predict videos; one that fails doesn't stop the others, and one that is done isn't done again.

    Args:
        videos: The videos.
        model: The model.
        output: Folder of all results, one a video, and of the work folder.
        options: About extraction; with `overwrite` everything is done again.
        say: Told what is going on.

    Raises:
        SyncError: If nothing can be done.
    """
    folders = {video: output / video.name for video in videos}
    with open_work(output, model.recipe) as work:
        before = {} if options.overwrite else _read_written(folders, model)
        to_do = [video for video in videos if video not in before]
        problems: dict[Video, str | None] = {
            video: table.get("incomplete") for video, table in before.items()
        }
        if to_do:
            say(
                f"extracting features {model.recipe.feature_set.name} of {len(to_do)} of {len(videos)} videos"
            )
            problems.update(work.extract(to_do, options))
        extracted = [video for video in to_do if work.has_features(video)]
        segments = work.predict(extracted, model, options.device)
        classes = _classes(model)
        for video in to_do:
            problems.setdefault(video, work.shortfall(video) if video in segments else DAMAGED)
            if video in segments:
                write_results(folders[video], video, segments[video], model.recipe, classes, problems[video])
    return [
        Outcome(
            video=video,
            folder=folders[video],
            is_written=video in before or video in segments,
            problem=problems[video],
        )
        for video in videos
    ]


def _read_written(folders: Mapping[Video, Path], model: Model) -> dict[Video, dict[str, Any]]:
    """What was written before of videos, of those that are done."""
    tables = {video: read_written(folder, video, model.recipe) for video, folder in folders.items()}
    return {video: table for video, table in tables.items() if table is not None}


def _classes(model: Model) -> list[str]:
    """Read as it is: predicting a video can't import the trainer, which reads and checks it in `sync-train apply`."""
    path = model.folder / "config.json"
    try:
        classes = read_json(path)["classes"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: isn't a model's config ({type(error).__name__}: {error})") from None
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise TrainingError(f"{path}: isn't a model's config (classes must be a list of texts)")
    return classes
