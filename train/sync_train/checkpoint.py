"""Models on disk: our own as config.json and model.safetensors, and the field's published C2F-TCN checkpoints."""

import hashlib
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save

from sync_store.atomic import write_atomic, write_json
from sync_store.bounded import is_special, read_json
from sync_store.config import from_table
from sync_store.errors import TrainingError
from sync_store.exported import WEIGHTS
from sync_train.batches import Windowing
from sync_train.config import EQUAL_WEIGHTS, Precision
from sync_train.models.adapter import Adapter, AdapterConfig
from sync_train.models.c2f_tcn import C2FTCN
from sync_train.models.segmenter import Segmenter, Standardizer

CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class SegmenterInfo:
    """What a saved model needs besides its weights."""

    feature_set: str
    fingerprint: str
    """Of the feature set that it was trained on: a student's and an adapter's is that of the ego view. A teacher's
    is that of the exo view, also where no-adaptation gives it ego rows of another one, as asked for."""
    feature_dim: int
    classes: tuple[str, ...]
    windowing: Windowing
    adapter: AdapterConfig | None = None
    precision: Precision = "float32"
    ensemble_weights: tuple[float, ...] = EQUAL_WEIGHTS

    def build(self) -> Segmenter:
        """A new model of these sizes."""
        return Segmenter(
            Standardizer(self.feature_dim),
            C2FTCN(feature_dim=self.feature_dim, num_classes=len(self.classes)),
            None if self.adapter is None else Adapter(self.adapter),
            precision=getattr(torch, self.precision),
            ensemble_weights=self.ensemble_weights,
        )


def save_segmenter(folder: Path, model: Segmenter, info: SegmenterInfo) -> None:
    """Write a model, the weights first."""
    save_weights(folder / WEIGHTS, model)
    write_json(folder / CONFIG, asdict(info))


def load_segmenter(folder: Path) -> tuple[Segmenter, SegmenterInfo]:
    """Load a model, on the CPU and in evaluation mode.

    Raises:
        TrainingError: If the folder holds no model, or its two files don't fit each other.
    """
    try:
        table = read_json(folder / CONFIG)
    except FileNotFoundError:
        raise TrainingError(f"{folder}: holds no model ({CONFIG} is missing)") from None
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{folder / CONFIG}: can't be read as JSON ({error})") from None
    if not isinstance(table, dict):
        raise TrainingError(f"{folder / CONFIG}: isn't a model's config")
    info = from_table(SegmenterInfo, table, str(folder / CONFIG))
    model = info.build()
    load_weights(folder / WEIGHTS, model)
    return model.eval(), info


def save_weights(path: Path, module: torch.nn.Module) -> None:
    """Write all weights of a module as safetensors, atomically."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    write_atomic(path, save(weights))


def weights_digest(path: Path) -> str:
    """SHA-256 of a file of weights; equal weights have equal files."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_weights(path: Path, module: torch.nn.Module) -> None:
    """Read all weights of a module.

    Raises:
        TrainingError: If the file is missing, damaged, or doesn't have just the module's weights.
    """
    try:
        if is_special(path):
            raise OSError("it isn't a file but a pipe or a device")
        module.load_state_dict(load_file(path))
    except (OSError, safetensors.SafetensorError, RuntimeError) as error:
        raise TrainingError(
            f"{path}: can't be loaded ({_reason(error)}); train anew with --overwrite"
        ) from None


def load_published_c2f(path: Path | str) -> C2FTCN:
    """Load a published C2F-TCN checkpoint; its sizes are read off the weights.

    The repositories of C2F-TCN, Assembly101 and the paper save a plain state dictionary with `torch.save`;
    one inside {"state_dict": …}, names that begin with "module." and safetensors are understood too. Pickled
    code is never executed.

    Returns:
        The network in evaluation mode.

    Raises:
        TrainingError: If the file is no such checkpoint; the message names the first weight that is wrong.
    """
    path = Path(path)
    weights = _read_published(path)
    weights = {name.removeprefix("module."): value for name, value in weights.items()}
    try:
        feature_dim = weights["inc.conv.conv.0.weight"].shape[1]
        num_classes = weights["outcc.conv.weight"].shape[0]
    except (KeyError, AttributeError, IndexError):
        raise TrainingError(
            f"{path}: isn't a C2F-TCN checkpoint: it lacks inc.conv.conv.0.weight or outcc.conv.weight"
        ) from None
    network = C2FTCN(feature_dim=feature_dim, num_classes=num_classes)
    weights.setdefault("weights", network.state_dict()["weights"])
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise TrainingError(f"{path}: isn't a C2F-TCN checkpoint ({_reason(error)})") from None
    return network.eval()


def _read_published(path: Path) -> dict[str, Any]:
    try:
        if is_special(path):
            raise ValueError("it isn't a file but a pipe or a device")
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f"{path}: there is no such file") from None
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):
            raise TrainingError(
                f"{path}: can't be read as a checkpoint (torch.save didn't write it)"
            ) from None
        raise TrainingError(
            f"{path}: holds pickled code, which is never executed. Save its state dictionary alone: "
            "torch.save(model.state_dict(), PATH)"
        ) from None
    except Exception as error:  # a file that is no checkpoint raises one of many errors
        raise TrainingError(f"{path}: can't be read as a checkpoint ({_reason(error)})") from None
    content = content.get("state_dict", content) if isinstance(content, dict) else {}
    return {str(name): value for name, value in content.items()} if isinstance(content, dict) else {}


def _reason(error: Exception) -> str:
    """One line; of the many that torch has for weights that don't fit, the first that names one."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[min(1, len(lines) - 1)].strip().rstrip(".")
