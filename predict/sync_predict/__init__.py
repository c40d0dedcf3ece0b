"""Actions of a new video: drives extraction and a trained model, and writes the segments in the forms of others."""
