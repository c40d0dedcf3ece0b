"""Renders a small synchronized exo/ego benchmark as real mp4 files with labels, splits and a sync.toml."""
