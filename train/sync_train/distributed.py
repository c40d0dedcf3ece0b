"""One run on several GPUs: the processes that torchrun starts, each with its share of every batch.

Each process has the whole model and the whole batch, and runs the model on its share of the batch's sequences. The
outputs of all shares are put together, and each process computes the loss of the whole batch from them, so that a loss
may compare all its sequences with each other. What has been summed over processes sums their gradients on the way back:
a parameter's gradient is that of the sum of all processes' losses, which are equal, and so the mean over processes is
that of one loss, as one process alone has it up to the order of sums.

Files are the first process's: what it read or decided, it tells the others.

Axes: N processes, B sequences, C channels, T steps.
"""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from sync_train.batches import Batch

Result = TypeVar("Result")

MAX_SEED_BITS = 52
"""Of the loop's seed: 32 bits of the run's, 20 of the epoch."""

_STANDS_IN = ContextVar("stands_in", default=False)
"""Whether this process has no sequence of the batch, and runs one that doesn't count."""


class LostError(Exception):
    """Another process ended while this one waited for it. The one that ended has said why, where it could."""


def num_processes() -> int:
    """How many train this run together."""
    return dist.get_world_size() if _is_shared() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and shows."""
    return not _is_shared() or dist.get_rank() == 0


def first(do: Callable[[], Result]) -> Result:
    """Do something in the first process alone; all wait for it, and get what it returned."""
    if not _is_shared():
        return do()
    results: list[Any] = [do() if is_first() else None]
    _together(dist.broadcast_object_list, results, src=0)
    result: Result = results[0]
    return result


def share_state(module: nn.Module) -> None:
    """Give all processes the first one's weights and buffers."""
    if _is_shared():
        for tensor in module.state_dict().values():
            _together(dist.broadcast, tensor, src=0)


def process_seed(seed: int) -> int:
    """A seed for what differs between processes (dropout); the first process's is `seed` itself."""
    return (dist.get_rank() << MAX_SEED_BITS) + seed if _is_shared() else seed


def common_generator() -> torch.Generator:
    """A generator for what is the same in all processes (a loss's draws), by torch's seed as `process_seed` made it.

    It draws what torch's own does in a process alone whose network draws nothing.
    """
    if not _is_shared():
        return torch.default_generator
    return torch.Generator().manual_seed(torch.initial_seed() % (1 << MAX_SEED_BITS))


def run_share(run: Callable[[torch.Tensor, torch.Tensor], Result], batch: Batch) -> Result:
    """Run a model on this process's share of a batch: of rows (B, T, D) and which of them are valid (B, T).

    Where there are fewer sequences than processes, some run the first sequence in place of none.
    """
    if not _is_shared():
        return run(batch.rows_BLD, batch.valid_BL)
    start, stop = _share(len(batch.valid_BL))
    token = _STANDS_IN.set(start == stop)
    try:
        counted = slice(start, stop) if start < stop else slice(1)
        return run(batch.rows_BLD[counted], batch.valid_BL[counted])
    finally:
        _STANDS_IN.reset(token)


def gather(share: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Put together what `run_share` made of all shares of a batch: (B, …), the same in all processes."""
    if not _is_shared():
        return share
    start, stop = _share(len(batch.valid_BL))
    before, after = start, len(batch.valid_BL) - stop
    return _total(
        torch.cat(
            [
                share.new_zeros(before, *share.shape[1:]),
                share[: stop - start],
                share.new_zeros(after, *share.shape[1:]),
            ]
        )
    )


def average_gradients(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Replace each gradient by its mean over processes."""
    if not _is_shared():
        return
    parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    _together(dist.all_reduce, flat)
    flat /= num_processes()
    means = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def share_batch_norms(module: nn.Module) -> nn.Module:
    """Let the batch norms of a module see the whole batch; without other processes nothing changes.

    Parameters and buffers stay, and so do their names.
    """
    if _is_shared():
        for parent in list(module.modules()):
            for name, child in parent.named_children():
                if type(child) is nn.BatchNorm1d:
                    setattr(parent, name, _SharedBatchNorm(child))
    return module


class _SharedBatchNorm(nn.BatchNorm1d):
    """Batch norm over the sequences and steps of all processes. torch's own SyncBatchNorm needs GPUs."""

    def __init__(self, layer: nn.BatchNorm1d) -> None:
        """Take the place of a layer."""
        super().__init__(layer.num_features, eps=layer.eps, momentum=layer.momentum)
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked

    def forward(self, x_BCT: torch.Tensor) -> torch.Tensor:
        """See the class; in evaluation as torch's."""
        if not self.training:
            return super().forward(x_BCT)
        values_BCT = x_BCT.to(self.weight.dtype)
        num_steps, mean_C, variance_C = _statistics(values_BCT)
        self._track(num_steps, mean_C, variance_C)
        scale_C = self.weight * torch.rsqrt(variance_C + self.eps)
        shift_C = self.bias - mean_C * scale_C
        return (values_BCT * scale_C[:, None] + shift_C[:, None]).to(x_BCT.dtype)

    @torch.no_grad()
    def _track(self, num_steps: torch.Tensor, mean_C: torch.Tensor, variance_C: torch.Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(variance_C * num_steps / (num_steps - 1), self.momentum)


def _statistics(values_BCT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How many sequences' steps all processes have, and mean and variance over them: scalar, (C,), (C,)."""
    num_sequences, num_channels, num_steps = values_BCT.shape
    variance_C, mean_C = torch.var_mean(values_BCT, dim=(0, 2), correction=0)
    counted = 0 if _STANDS_IN.get() else num_sequences * num_steps
    row = torch.cat([mean_C, variance_C, mean_C.new_full((1,), counted)])
    table_NW = row.new_zeros(num_processes(), len(row))
    table_NW[dist.get_rank()] = row
    means_NC, variances_NC, counts_N1 = torch.split(_total(table_NW), [num_channels, num_channels, 1], dim=1)
    total = counts_N1.sum()
    weights_N1 = counts_N1 / total
    mean_C = (weights_N1 * means_NC).sum(dim=0)
    variance_C = (weights_N1 * (variances_NC + (means_NC - mean_C).square())).sum(dim=0)
    return total, mean_C, variance_C


def _total(x: torch.Tensor) -> torch.Tensor:
    """Sum over processes; the gradient is that of the sum of all processes' losses."""
    total: torch.Tensor = _Total.apply(x)  # type: ignore[no-untyped-call]
    return total


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.contiguous().clone()
        _together(dist.all_reduce, total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].contiguous().clone()
        _together(dist.all_reduce, total)
        return total


def _share(num_sequences: int) -> tuple[int, int]:
    """First sequence of this process's share, and one past its last."""
    rank, num = dist.get_rank(), num_processes()
    return num_sequences * rank // num, num_sequences * (rank + 1) // num


def _together(communicate: Callable[..., object], *arguments: Any, **options: Any) -> None:
    try:
        communicate(*arguments, **options)
    except RuntimeError as error:
        raise LostError(str(error)) from error


def _is_shared() -> bool:
    return dist.is_available() and dist.is_initialized()
