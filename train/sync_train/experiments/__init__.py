"""Runs of the paper's tables: many `sync-train` processes, some at a time, to the end of all that can end."""
