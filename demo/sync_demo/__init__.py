"""Renders a small synchronized exo/ego benchmark and runs every stage on it."""
