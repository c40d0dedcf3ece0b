"""A candidate in a process of its own, which has the settings of any Python program and not those of our commands."""

import json
import subprocess
import sys
from types import TracebackType
from typing import Any, Self


class Apart:
    """Its process reads requests, a line each, and answers each with a line of JSON."""

    def __init__(self, module: str, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request: str) -> Any:
        """Wait for the answer to a request."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        print(request, file=stdin, flush=True)
        answer = stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args!r} has ended")
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()
