"""The device that everything runs on, and whether it multiplies bfloat16."""

import torch

from sync_store.errors import ProjectError


def choose_device(name: str) -> torch.device:
    """The device of that name; for "auto" the first GPU if there is one.

    Raises:
        ProjectError: If it can't be used here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ProjectError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from None
    try:
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ProjectError(f"device {name!r} can't be used here ({reason}). Try --device auto") from None
    return device


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself, as far as torch can tell; true where it can't."""
    capabilities = torch.cpu.get_capabilities()
    known = [name for name in ("avx512_bf16", "amx_bf16") if name in capabilities]
    return not known or any(capabilities[name] for name in known)
