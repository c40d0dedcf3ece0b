"""Datasets: where the videos, labels and splits of each published layout are."""

from sync_store.datasets.assembly101 import Assembly101Dataset
from sync_store.datasets.base import Action, Dataset, LabeledSequence, VideoSource, labels_digest
from sync_store.datasets.egoexo4d import EgoExo4DDataset
from sync_store.datasets.folder import FolderDataset
from sync_store.datasets.frames import FramesDataset
from sync_store.project import Project

__all__ = [
    "Action",
    "Assembly101Dataset",
    "Dataset",
    "EgoExo4DDataset",
    "FolderDataset",
    "FramesDataset",
    "LabeledSequence",
    "VideoSource",
    "labels_digest",
    "open_dataset",
]


def open_dataset(project: Project) -> Dataset:
    """Open the dataset that a project names.

    Raises:
        DatasetError: If its folder isn't there.
    """
    match project.dataset.kind:
        case "folder":
            return FolderDataset(project)
        case "assembly101":
            return Assembly101Dataset(project)
        case "egoexo4d":
            return EgoExo4DDataset(project)
        case "frames":
            return FramesDataset(project)
