"""Launches a network's kernels as one CUDA graph: for networks of many small kernels, which wait for their launches.

DINOv2-L isn't one of them: at 64 frames its kernels take about 22 ms of an H200, by arithmetic, and launching them
about 3 ms.
"""

import logging
from collections import Counter
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)

EAGER_CALLS = 3
"""Calls with a shape before it is captured: libraries choose and set up their kernels in the first ones."""

MAX_GRAPHS = 2
"""Shapes captured at most, since each keeps its memory: whole batches, and one more. Others run eagerly."""

_Key = tuple[torch.Size, torch.dtype, torch.device]


class Captured:
    """A function of one tensor that, on a GPU, is captured once for a shape and replayed.

    The function mustn't wait for the device nor copy from the processor's memory; if it does, capturing fails, which
    is logged once, and all calls are eager. So they are on a processor. One thread may call it.
    """

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._run = run
        self._calls: Counter[_Key] = Counter()
        self._graphs: dict[_Key, _Graph] = {}
        self._gave_up = False

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """The function's value, a tensor of its own."""
        if not inputs.is_cuda or self._gave_up:
            return self._run(inputs)
        key = (inputs.shape, inputs.dtype, inputs.device)
        if key not in self._graphs and not self._capture(key, inputs):
            return self._run(inputs)
        return self._graphs[key].replay(inputs)

    def _capture(self, key: _Key, inputs: torch.Tensor) -> bool:
        self._calls[key] += 1
        if self._calls[key] <= EAGER_CALLS or len(self._graphs) == MAX_GRAPHS:
            return False
        try:
            self._graphs[key] = _Graph(self._run, inputs)
        except RuntimeError as error:
            self._gave_up = True
            reason = str(error).partition("\n")[0]
            log.warning(
                "no CUDA graph of %s (%s): its kernels are launched one by one", tuple(key[0]), reason
            )
        return not self._gave_up


class _Graph:
    """One captured call with the memory it works in."""

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor], like: torch.Tensor) -> None:
        self._inputs = like.clone()
        self._graph = torch.cuda.CUDAGraph()
        # A capture that fails leaves its own stream current (torch 2.13): the outer context mends that. Other
        # threads may pin memory meanwhile.
        with (
            torch.cuda.stream(torch.cuda.current_stream(like.device)),
            torch.cuda.graph(self._graph, capture_error_mode="thread_local"),
        ):
            self._outputs = run(self._inputs)

    def replay(self, inputs: torch.Tensor) -> torch.Tensor:
        self._inputs.copy_(inputs)
        self._graph.replay()
        return self._outputs.clone()
