"""How each speed figure was made; `make bench` runs all, results lie in `results/`."""
