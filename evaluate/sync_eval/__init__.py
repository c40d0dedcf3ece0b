"""Scores predictions and reports: needs no torch."""
