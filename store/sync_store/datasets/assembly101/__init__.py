"""Assembly101: videos of both headsets, coarse labels, fine-grained actions."""

from sync_store.datasets.assembly101.dataset import CAMERAS, Assembly101Dataset

__all__ = ["CAMERAS", "Assembly101Dataset"]
