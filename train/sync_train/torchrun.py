"""A command that torchrun has started in several processes speaks and ends as one.

The first process prints. What another prints is kept back, and shown only where that process fails and the first
doesn't: an error of all is told once, and that of one isn't lost.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from datetime import timedelta
from io import StringIO
from typing import NoReturn

import click
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from sync_store.console import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_TERMINATED
from sync_train.distributed import LostError, first

PATIENCE = timedelta(days=7)
"""How long a process waits for another: all predictions, say. torchrun ends those that wait for one that ended."""

GRACE_SECONDS = 5.0
"""How long a process that failed leaves it to the first one to fail and tell."""

_TOLD = "told"


def run_as_one(run: Callable[[], object]) -> NoReturn:
    """Run a command in this process and the others that torchrun has started, and end the process.

    Args:
        run: The command, which may end by SystemExit.
    """
    store, rank, num_processes = next(rendezvous("env://"))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore("group", store),
        rank=rank,
        world_size=num_processes,
        timeout=PATIENCE,
    )
    kept = StringIO()
    with ExitStack() as stack:
        if rank > 0:
            stack.enter_context(redirect_stdout(kept))
            stack.enter_context(redirect_stderr(kept))
        status = _status(run, store)
    if not status:
        dist.destroy_process_group()
    elif rank == 0:
        store.set(_TOLD, "")
    elif status not in (EXIT_INTERRUPTED, EXIT_TERMINATED) and not _is_told(store, GRACE_SECONDS):
        store.set(_TOLD, "")
        sys.stderr.write(kept.getvalue())
    sys.stdout.flush()
    sys.stderr.flush()
    # Python's own shutdown is left out: in one of some thirty runs a process aborted in it ("terminate called without
    # an active exception", torch 2.13, gloo), with all its work done, and torchrun took that for a failure.
    os._exit(status)


def _status(run: Callable[[], object], store: Store) -> int:
    try:
        try:
            run()
        except SystemExit as end:
            if end.code:
                return end.code if isinstance(end.code, int) else EXIT_FAILURE
        first(lambda: None)  # none ends while another is at work
    except LostError:
        if not _is_told(store, 0):
            click.echo(
                "error: another process of this run has ended; run the same command again to go on", err=True
            )
        return EXIT_FAILURE
    except Exception:
        traceback.print_exc()
        return EXIT_FAILURE
    return 0


def _is_told(store: Store, patience_seconds: float) -> bool:
    stop = time.monotonic() + patience_seconds
    while not (told := store.check([_TOLD])) and time.monotonic() < stop:
        time.sleep(0.1)
    return told
