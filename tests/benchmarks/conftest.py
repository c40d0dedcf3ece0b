"""Benchmarks are run from the repository's root and aren't installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
