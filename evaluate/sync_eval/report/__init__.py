"""One self-contained HTML page: tables, segmentations beside their videos, classes and learning curves."""
