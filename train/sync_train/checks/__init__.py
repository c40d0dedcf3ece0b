"""What features are worth for whole action segments: retrieval between views, and recognition."""
