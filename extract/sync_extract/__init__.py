"""Video files to per-frame features in the store: the only stage that sees video."""
