"""Freed memory is used again instead of being asked for anew."""

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, threading
import numpy as np
from sync_store.memory import keep_freed_memory

def fill():
    for _ in range(4):
        np.ones(25_000_000)  # 200 MB

if "keep" in sys.argv:
    keep_freed_memory()
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
thread = threading.Thread(target=fill)
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_arrays_take_the_pages_of_freed_ones() -> None:
    assert page_faults("keep") < 100 < page_faults()


def page_faults(*options: str) -> int:
    """How often the system had to find a page while arrays were made and freed, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *options], check=True, capture_output=True, text=True
    )
    return int(done.stdout)
