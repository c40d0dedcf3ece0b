"""What is fitted on what: each a `sync_train.loop.Task`."""
