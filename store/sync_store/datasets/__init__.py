"""Datasets: where the videos, labels and splits of each published layout are."""

from sync_store.datasets.base import Dataset, LabeledSequence, VideoSource
from sync_store.datasets.folder import FolderDataset
from sync_store.project import Project

__all__ = ["Dataset", "FolderDataset", "LabeledSequence", "VideoSource", "open_dataset"]


def open_dataset(project: Project) -> Dataset:
    """Open the dataset that a project names."""
    return FolderDataset(project)
