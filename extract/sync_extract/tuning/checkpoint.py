"""A fit's whole state in one file of safetensors, with what isn't tensors as JSON in its metadata.

Random numbers come from (seed, epoch), so there is no state of theirs to keep.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from sync_store.atomic import write_atomic
from sync_store.errors import TrainingError

FORMAT = "sync-tuning"
"""Key of the JSON in the metadata."""

State = dict[str, torch.Tensor]


@dataclass(kw_only=True)
class Progress:
    """How far a fit is."""

    next_epoch: int = 0
    best_epoch: int | None = None
    """From 0; None before the first, and where the last epoch is kept."""
    best_score: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    """Each epoch's values, as the journal has them."""


def save_checkpoint(
    path: Path, module: nn.Module, optimizer: torch.optim.SGD, best: State | None, progress: Progress
) -> None:
    """Write module, momenta, the best epoch's weights and the progress, atomically."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in (best or {}).items()}
    for name, parameter in module.named_parameters():
        momentum = optimizer.state[parameter].get("momentum_buffer") if parameter in optimizer.state else None
        if momentum is not None:
            tensors[f"momentum.{name}"] = momentum
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, safetensors.torch.save(plain, metadata={FORMAT: json.dumps(asdict(progress))}))


def load_checkpoint(
    path: Path, module: nn.Module, optimizer: torch.optim.SGD
) -> tuple[Progress, State | None] | None:
    """Put module and optimizer where a fit was.

    Returns:
        Its progress and the best epoch's weights; None if there is no checkpoint.

    Raises:
        TrainingError: If the file is damaged, or of another network.
    """
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            table = json.loads(file.metadata()[FORMAT])
        progress = Progress(**table)
        module.load_state_dict(_part(tensors, "module."))
        for name, parameter in module.named_parameters():
            if (momentum := tensors.get(f"momentum.{name}")) is not None:
                optimizer.state[parameter]["momentum_buffer"] = momentum.to(parameter.device)
    except Exception as error:  # a damaged file raises one of many errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrainingError(
            f"{path}: can't be gone on with ({reason}); train anew with --overwrite"
        ) from None
    return progress, _part(tensors, "best.") or None


def _part(tensors: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
