"""What the stages share: the feature store, datasets, labels, splits and predictions."""
