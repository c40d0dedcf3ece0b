"""What fine-tuning learns from: views, fine-grained labels of one split, and their videos. No video is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sync_extract.tuning.config import FinetuneConfig
from sync_extract.tuning.sources import find_videos
from sync_store.config import suggest
from sync_store.datasets import Action, Dataset, VideoSource
from sync_store.errors import DatasetError
from sync_store.project import Project


@dataclass(frozen=True, kw_only=True, eq=False)
class LabeledVideos:
    """Labelled actions and who filmed them."""

    views: list[str]
    actions: Mapping[str, list[Action]]
    """Of each recording of the split that has any and has a video."""
    classes: tuple[str, ...]
    videos: Mapping[tuple[str, str], VideoSource]
    """By recording and view."""


def choose_views(project: Project, asked: Sequence[str]) -> list[str]:
    """Views by name, where exo and ego stand for all of the kind and both for all, unless a view has that name."""
    kinds = {
        "exo": project.views_of_kind("exo"),
        "ego": project.views_of_kind("ego"),
        "both": list(project.views),
    }
    chosen: list[str] = []
    for name in asked:
        if name in kinds and name not in project.views:
            if not kinds[name]:
                raise DatasetError(f"{project.file}: has no {name} view to train on")
            chosen += kinds[name]
        else:
            project.view(name)
            chosen.append(name)
    return list(dict.fromkeys(chosen))


def find_labels(dataset: Dataset, config: FinetuneConfig, views: list[str]) -> LabeledVideos:
    """Labels and videos of a split; of other splits no label file is opened.

    Raises:
        DatasetError: If the split has no action, or one that isn't in the dataset's list of classes.
        VideoError: If a video is missing that should be there.
    """
    recordings = dataset.split(config.split)
    videos = find_videos(dataset, recordings, views)
    filmed = {recording for recording, _ in videos}
    actions = {name: dataset.actions(name) for name in recordings if name in filmed}
    actions = {name: found for name, found in actions.items() if found}
    if not actions:
        raise DatasetError(
            f"split {config.split}: none of its {len(recordings)} recordings has a video and fine-grained actions "
            f"to train on, in {views_in_words(views)}. Add actions or labels (docs/datasets.md says where), or name "
            "another --split or other --views"
        )
    occurring = sorted({action.label for found in actions.values() for action in found})
    if len(occurring) < 2:
        raise DatasetError(
            f"split {config.split}: all its actions are {occurring[0]!r}; there are two classes or more to tell apart, "
            "or nothing to learn"
        )
    classes = dataset.action_classes() or tuple(occurring)
    known = set(classes)
    for name, found in actions.items():
        for action in found:
            if action.label not in known:
                hint = suggest(action.label, list(classes))
                raise DatasetError(
                    f"recording {name}: action {action.label!r} isn't in the dataset's list of "
                    f"{len(classes)} classes{hint if hint.startswith(', did') else ''}"
                )
    return LabeledVideos(
        views=views,
        actions=actions,
        classes=classes,
        videos={key: source for key, source in videos.items() if key[0] in actions},
    )


def views_in_words(views: Sequence[str]) -> str:
    """For messages: view v3, or views v3, e4."""
    return f"view{'s' if len(views) > 1 else ''} {', '.join(views)}"
