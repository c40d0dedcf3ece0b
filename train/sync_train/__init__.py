"""Fits teacher, adapter and student on stored features: reads tensors only."""
