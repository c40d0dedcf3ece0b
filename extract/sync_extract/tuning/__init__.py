"""Training TSM on video: on fine-grained labels, or to imitate a teacher that sees another view."""
