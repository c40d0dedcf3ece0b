"""Subcommands of `sync-eval`, one a file. What needs numpy or matplotlib is imported when it is used."""
