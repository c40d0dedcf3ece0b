"""Subcommands of sync-extract, one a file. Their heavy imports wait until they run."""
