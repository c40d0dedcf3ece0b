"""TSM weights on disk: the published checkpoints, and our own safetensors.

| form | keys | beside the weights |
|---|---|---|
| Assembly101, MIT (`.pth.tar`) | `module.base_model.…`, `module.new_fc.…` | epoch, arch, optimizer, best_prec1 |
| EPIC-KITCHENS-100 (Lightning, `.ckpt`) | `model.base_model.…`, `model.new_fc.…` | pickled hyper-parameters |
| ours (`.safetensors`) | torchvision's, `classifier.…` | `TsmInfo` as JSON in the metadata |

The first convolution of a block that is shifted has `.net` in its name where the network held it in a shift.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from sync_extract.backbones.resnet_tsm import EXPANSION, WIDTH, ResNetTSM, Shift
from sync_extract.weights import check_tensor, read_checkpoint
from sync_store.atomic import write_atomic
from sync_store.config import from_table
from sync_store.errors import SyncError

FORMAT = "sync-tsm"
"""Key of the JSON in the metadata of our own files."""

EXPECTED = (
    "expected a TSM ResNet-50 of Assembly101 or MIT (module.base_model.…), of EPIC-KITCHENS-100 "
    "(model.base_model.…), or of sync-extract finetune or distill"
)

_PUBLISHED = re.compile(
    r"(?:module|model)\.(?:base_model\.(?P<trunk>.+)|new_fc\.(?P<classifier>weight|bias))"
)
_COUNTER = "num_batches_tracked"
"""Of batch norms; absent from old files, and without effect on a feature."""


@dataclass(frozen=True, kw_only=True)
class TsmInfo:
    """What weights don't say of themselves."""

    trained_on: tuple[str, ...]
    """Views, recordings and labels, in words; for a table's reader to judge what the network has seen."""
    shift: Shift | None = None
    """In training; None if the file doesn't tell."""
    preset: str | None = None
    """Name of the preprocessing in training; None if the file doesn't tell."""
    classes: tuple[str, ...] = ()
    """Names of the classifier's rows, where known."""
    training: dict[str, Any] = field(default_factory=dict)
    """How it was trained, as JSON values; for the record only."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """The linear layer on the features that the network was trained with."""

    weight: torch.Tensor
    """(classes, D)."""
    bias: torch.Tensor
    """(classes,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TsmWeights:
    """A file's contents."""

    trunk: dict[str, torch.Tensor]
    """All weights of a `ResNetTSM` of this width."""
    width: int
    classifier: Classifier | None
    info: TsmInfo

    def build(self, shift: Shift) -> ResNetTSM:
        """A network with a copy of the trunk, float32 on the processor."""
        module = _outline(self.width, shift).to_empty(device="cpu")
        module.load_state_dict(self.trunk)
        return module


ASSEMBLY101 = TsmInfo(
    trained_on=(
        "Assembly101 fine-grained actions (told by 1,380 classes; the released checkpoint saw all 12 views, "
        "exo and ego)",
    ),
    shift="window8",
    preset="official",
)
"""assembly-101/assembly101-action-recognition: README (recipe), issue #6 (views)."""

EPIC = TsmInfo(
    trained_on=("EPIC-KITCHENS-100 verbs and nouns (told by 97 + 300 classes)",),
    shift="window8",
    preset="epic",
)
"""epic-kitchens/C1-Action-Recognition-TSN-TRN-TSM: README, news of 2021-02-20 (std = mean), systems.py (classes)."""

_KNOWN_BY_CLASSES = {1380: ASSEMBLY101, 397: EPIC}


def read_tsm(path: Path) -> TsmWeights:
    """Read the weights of a TSM in any of the forms above; nothing pickled in them is executed.

    Raises:
        SyncError: If the file can't be read, or its weights aren't just a TSM ResNet-50's; the message names
            the first key that is wrong, as the file has it.
    """
    content = read_checkpoint(path)
    state = content.get("state_dict", content)
    if not isinstance(state, dict):
        raise SyncError(f"{path}: state_dict is {state!r}, not a dict of weights; {EXPECTED}")
    metadata = content.get("metadata")
    own = metadata.get(FORMAT) if isinstance(metadata, dict) else None
    names = {key: key if own is not None else _published_name(path, key) for key in state}
    head = {name: state[key] for key, name in names.items() if name.startswith("classifier.")}
    trunk = _checked_trunk(path, {key: name for key, name in names.items() if name not in head}, state)
    width = trunk["conv1.weight"].shape[0]
    classifier = _checked_classifier(path, head, feature_dim=width * 8 * EXPANSION)
    if own is not None:
        info = _own_info(path, own)
    else:
        info = _published_info(classifier, has_shifts=any(".net." in key for key in state))
    return TsmWeights(trunk=trunk, width=width, classifier=classifier, info=info)


def save_tsm(path: Path, module: ResNetTSM, info: TsmInfo, *, classifier: Classifier | None = None) -> None:
    """Write weights that `read_tsm` reads, atomically; equal ones give equal files."""
    tensors = dict(module.state_dict())
    if classifier is not None:
        tensors |= {"classifier.weight": classifier.weight, "classifier.bias": classifier.bias}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, safetensors.torch.save(plain, metadata={FORMAT: json.dumps(asdict(info))}))


def _outline(width: int, shift: Shift) -> ResNetTSM:
    """A network without values."""
    with torch.device("meta"):
        return ResNetTSM(width=width, shift=shift)


def _published_name(path: Path, key: Any) -> str:
    match = _PUBLISHED.fullmatch(key) if isinstance(key, str) else None
    if match is None:
        raise SyncError(f"{path}: unexpected key {key!r}; {EXPECTED}")
    if match["classifier"]:
        return f"classifier.{match['classifier']}"
    return match["trunk"].replace(".net.", ".")


def _checked_trunk(path: Path, names: dict[str, str], state: dict[str, Any]) -> dict[str, torch.Tensor]:
    keys = {name: key for key, name in names.items()}
    stem = state[keys["conv1.weight"]] if "conv1.weight" in keys else None
    width = stem.shape[:1].numel() if isinstance(stem, torch.Tensor) else WIDTH
    shapes = {
        name: tuple(tensor.shape) for name, tensor in _outline(max(width, 1), "none").state_dict().items()
    }
    if unexpected := next((key for key in names if names[key] not in shapes), None):
        raise SyncError(f"{path}: unexpected key {unexpected!r}; {EXPECTED}")
    missing = [name for name in shapes if name not in keys and not name.endswith(_COUNTER)]
    if missing:
        raise SyncError(
            f"{path}: lacks {missing[0]} ({len(missing)} of {len(shapes)} weights are missing); {EXPECTED}"
        )
    for name, key in keys.items():
        is_float = not name.endswith(_COUNTER)
        check_tensor(path, key, state[key], shapes[name], EXPECTED, is_float=is_float)
    return {name: state[keys[name]] if name in keys else torch.tensor(0) for name in shapes}


def _checked_classifier(path: Path, head: dict[str, Any], *, feature_dim: int) -> Classifier | None:
    if not head:
        return None
    weight, bias = head.get("classifier.weight"), head.get("classifier.bias")
    if not (
        isinstance(weight, torch.Tensor)
        and isinstance(bias, torch.Tensor)
        and weight.is_floating_point()
        and bias.is_floating_point()
        and weight.shape == (len(weight), feature_dim)
        and bias.shape == (len(weight),)
    ):
        raise SyncError(
            f"{path}: its classifier isn't a weight (classes, {feature_dim}) and a bias (classes,); {EXPECTED}"
        )
    return Classifier(weight=weight, bias=bias)


def _own_info(path: Path, text: Any) -> TsmInfo:
    try:
        table = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise SyncError(f"{path}: its metadata {FORMAT!r} isn't JSON ({error})") from None
    if not isinstance(table, dict):
        raise SyncError(f"{path}: its metadata {FORMAT!r} must be a JSON object, got {text}")
    return from_table(TsmInfo, table, f"{path} metadata {FORMAT}")


def _published_info(classifier: Classifier | None, *, has_shifts: bool) -> TsmInfo:
    """What a published file tells; its own words, where it has any, are pickled."""
    num_classes = None if classifier is None else len(classifier.bias)
    if num_classes in _KNOWN_BY_CLASSES:
        return _KNOWN_BY_CLASSES[num_classes]
    told = "no classifier" if num_classes is None else f"a classifier of {num_classes} classes"
    return TsmInfo(
        trained_on=(f"not stated by the file of weights ({told})",), shift="window8" if has_shifts else None
    )
