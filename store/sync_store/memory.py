"""How a process that computes gets its memory; see docs/performance.md for what this is worth."""

import ctypes
import os

_ENVIRONMENT = {
    # Large pages for large tensors.
    "THP_MEM_ALLOC_ENABLE": "1",
    # oneDNN prepares a layer anew for each shape of batch and by itself remembers 1,024 preparations; a training run
    # with sequences of all lengths needs some ten thousand, of 8 KB each.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "50000",
}
"""Read by torch when it is imported or first used; what the user has set stays."""

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""Parameters of `mallopt` (glibc, malloc.h)."""


def keep_freed_memory() -> None:
    """Keep what tensors free for the next ones, in this process from now on; before the first tensor.

    By itself glibc gives each large array back to the system, which clears its pages again for the next array; here a
    process stays as large as it once was. Elsewhere than with glibc nothing happens.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
