"""Subcommands of `sync-train`, one a file."""
