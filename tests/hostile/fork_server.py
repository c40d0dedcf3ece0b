"""Runs the commands in processes of their own, forked from one that has imported them, so that each starts at once.

One JSON object a line on stdin asks for a command, and one on stdout says how it ended. Every process has a limit of
memory and of time: a safety net, which turns what would take the machine down into a failure of one test.
"""

import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import sync_eval.cli
import sync_extract.cli
import sync_predict.cli
import sync_train.cli

MAIN = {
    "sync-extract": sync_extract.cli.main,
    "sync-train": sync_train.cli.main,
    "sync-eval": sync_eval.cli.main,
    "sync-predict": sync_predict.cli.main,
}

MEMORY_BYTES = 6 << 30
"""Of private memory; mapped files don't count."""

SECONDS = 100


def serve() -> None:
    """Run what is asked for, one at a time."""
    for line in sys.stdin:
        asked = json.loads(line)
        process = os.fork()
        if not process:
            _run(asked)
        print(json.dumps({"status": _wait(process)}), flush=True)


def _run(asked: dict[str, Any]) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    for descriptor, path in enumerate(("/dev/null", asked["stdout"], asked["stderr"])):
        os.dup2(os.open(path, os.O_RDONLY if not descriptor else os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.chdir(asked["folder"])
    for name in [name for name in os.environ if name.startswith("SYNC_")]:
        del os.environ[name]
    os.environ.update(asked["variables"])
    program, *arguments = asked["command"]
    status = 1
    try:
        MAIN[program](arguments, prog_name=program)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _wait(process: int) -> int | str:
    """Exit status, or minus the signal that ended it; "timeout" where it had to be killed."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return "timeout"


def _import_all() -> None:
    """What commands import when they need it."""
    import lmdb  # noqa: F401
    import transformers.models.dinov2.modeling_dinov2  # noqa: F401

    for name in ("sync_store", "sync_extract", "sync_train", "sync_eval", "sync_predict", "sync_experiments"):
        package = Path(sys.modules[name].__path__[0])
        for path in sorted(package.rglob("*.py")):
            module = ".".join((name, *path.relative_to(package).with_suffix("").parts))
            if path.stem != "__init__" and "decord" not in module and "-" not in module:
                __import__(module)


if __name__ == "__main__":
    _import_all()
    serve()
