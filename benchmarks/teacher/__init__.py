"""What the benchmarks of the teacher share."""
