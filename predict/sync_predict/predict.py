"""From videos to segments: extraction with the model's own recipe, the model, and what is written of each video."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sync_predict.model import Model
from sync_predict.results import are_written, write_results
from sync_predict.videos import Video
from sync_predict.work import ExtractionOptions, Work


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
    to_do = [
        video for video in videos if options.overwrite or not are_written(folders[video], video, model.recipe)
    ]
    work = Work(output, model.recipe)
    problems: dict[Video, str] = {}
    if to_do:
        say(f"extracting features {model.recipe.feature_set.name} of {len(to_do)} of {len(videos)} videos")
        problems = work.extract(to_do, options)
    extracted = [video for video in to_do if work.has_features(video)]
    segments = work.predict(extracted, model, options.device)
    classes = _classes(model)
    for video in extracted:
        write_results(folders[video], video, segments[video], model.recipe, classes)
    return [
        Outcome(
            video=video,
            folder=folders[video],
            is_written=video not in to_do or video in segments,
            problem=problems.get(video),
        )
        for video in videos
    ]


def _classes(model: Model) -> list[str]:
    """Read as it is: predicting a video can't import the trainer, which reads and checks it in `sync-train apply`."""
    table = json.loads((model.folder / "config.json").read_text(encoding="utf-8"))
    return list(table["classes"])
