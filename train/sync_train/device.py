"""The device that everything runs on, and whether it multiplies bfloat16."""

import os

import torch

from sync_store.errors import ProjectError
from sync_train.distributed import num_processes


def choose_device(name: str) -> torch.device:
    """The device of that name; for "auto" the first GPU if there is one, of several processes each its own.

    Raises:
        ProjectError: If it can't be used here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ProjectError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type == "cuda" and num_processes() > 1:
        device = _own_gpu(device)
    try:
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ProjectError(f"device {name!r} can't be used here ({reason}). Try --device auto") from None
    return device


def _own_gpu(device: torch.device) -> torch.device:
    """The GPU of one process of several."""
    if device.index is not None:
        raise ProjectError(
            f"device '{device}' is one GPU, but torchrun has started several processes, and each takes its own: "
            "say auto or cuda"
        )
    number, num_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= num_gpus:
        raise ProjectError(
            f"torchrun has started {os.environ['LOCAL_WORLD_SIZE']} processes on this machine, which has {num_gpus} "
            f"GPUs. Say --nproc-per-node {num_gpus}, or --device cpu"
        )
    device = torch.device("cuda", number)
    torch.cuda.set_device(device)
    return device


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself, as far as torch can tell; true where it can't."""
    capabilities = torch.cpu.get_capabilities()
    known = [name for name in ("avx512_bf16", "amx_bf16") if name in capabilities]
    return not known or any(capabilities[name] for name in known)
