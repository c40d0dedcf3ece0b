"""EgoExo4D: takes, keysteps as labels, and the best exo camera."""

from sync_store.datasets.egoexo4d.dataset import EgoExo4DDataset

__all__ = ["EgoExo4DDataset"]
