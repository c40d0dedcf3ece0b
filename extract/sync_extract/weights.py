"""Files of weights, read without executing anything that is pickled in them.

A checkpoint of torch.save is a pickle, and a pickle is a program: it may call any function by name. torch's own
restricted reader knows tensors and plain values only, and refuses the whole file where anything else lies beside
the weights: training configurations, callbacks, loggers. Then ours reads it: all calls but those that build
tensors give inert placeholders, so the weights load and the rest is as if it weren't there.
"""

import pickle
import reprlib
import tarfile
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import safetensors
import torch

from sync_store.bounded import is_special
from sync_store.errors import SyncError

EXPECTED = "expected a file that torch.save wrote (.pth, .pt, .ckpt, .pth.tar), or .safetensors"

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
"""First byte of a pickle of protocol 2 or later, and so of torch.save's older form."""


class Foreign:
    """Stands for an object of a class that isn't a tensor's, and takes whatever a pickle does with it."""

    origin: str = ""
    """The class or function that the file names, which was neither looked up nor called."""

    def __init__(self, *_arguments: Any, **_named: Any) -> None: ...

    def __call__(self, *_arguments: Any, **_named: Any) -> "Foreign":
        """What a foreign function gives, itself gives nothing."""
        return self

    def __setstate__(self, *_state: Any) -> None:
        """Ignore the state; also when a file gives one to the class itself, which then is the first argument."""

    def __setitem__(self, _key: Any, _value: Any) -> None: ...

    def append(self, _item: Any) -> None:
        """Ignore an item of a foreign list."""

    def extend(self, _items: Any) -> None:
        """Ignore items of a foreign list."""

    def add(self, _item: Any) -> None:
        """Ignore an item of a foreign set."""

    def __repr__(self) -> str:
        return f"<{self.origin}, not loaded>"


def read_checkpoint(path: Path) -> dict[Any, Any]:
    """Read a file of weights; nothing pickled in it is executed.

    Tensors of torch.save's present form stay mapped to the file until they are used, so optimizer states that
    nobody asks for cost no memory: copy what is to outlive the file.

    Args:
        path: Written by torch.save in either of its forms, or safetensors.

    Returns:
        The dict that was saved; objects of foreign classes in it, keys too, are `Foreign`. Of safetensors,
        {"state_dict": tensors by name, "metadata": texts by name}.

    Raises:
        SyncError: If the file is missing, damaged, no checkpoint, or holds something else than a dict.
    """
    head = _head(path)
    try:
        if path.suffix == ".safetensors" or head[8:9] == b"{":  # 8 bytes of length, then JSON
            return _read_safetensors(path)
        if not head.startswith((_ZIP, _PICKLE)) or tarfile.is_tarfile(path):
            raise SyncError(f"{path}: isn't a checkpoint{_guess(head)}; {EXPECTED}")
        content = _read_torch(path, mmap=head.startswith(_ZIP))
    except SyncError:
        raise
    except Exception as error:  # a damaged file raises one of many errors
        raise SyncError(
            f"{path}: can't be read as a checkpoint ({_reason(error)}); {EXPECTED}. If it is one, copy or "
            "download it again"
        ) from None
    if not isinstance(content, dict):
        what = content.origin if isinstance(content, Foreign) else type(content).__name__
        raise SyncError(
            f"{path}: holds {what!r}, expected a dict of weights. Where it was made, save its state dictionary: "
            "torch.save(model.state_dict(), PATH)"
        )
    return content


def check_tensor(
    path: Path, key: Any, value: Any, shape: tuple[int, ...], hint: str, *, is_float: bool = True
) -> None:
    """Refuse what a network can't take as the weight `key` of a file.

    Args:
        path: The file.
        key: As the file has it.
        value: What the file has there.
        shape: That it must have.
        hint: What to say besides.
        is_float: Whether it must hold fractions: whole numbers are what quantization leaves.

    Raises:
        SyncError: If it isn't a dense tensor of this shape and kind.
    """
    if not isinstance(value, torch.Tensor):
        raise SyncError(f"{path}: {key} is {reprlib.repr(value)}, not a tensor; {hint}")
    if (got := tuple(value.shape)) != shape:
        raise SyncError(f"{path}: {key} has shape {got}, expected {shape}; {hint}")
    is_dense = value.layout == torch.strided and not value.is_quantized
    if not is_dense or (is_float and not value.is_floating_point()):
        kind = str(value.dtype if value.layout == torch.strided else value.layout).removeprefix("torch.")
        raise SyncError(
            f"{path}: {key} holds {kind}, expected float32, float16 or bfloat16, neither quantized nor sparse; {hint}"
        )


def _head(path: Path) -> bytes:
    if is_special(path):
        raise SyncError(f"{path}: is a pipe or a device; {EXPECTED}")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise SyncError(f"{path}: there is no such file of weights") from None
    except IsADirectoryError:
        raise SyncError(f"{path}: is a folder; {EXPECTED}") from None
    except OSError as error:
        raise SyncError(f"{path}: can't be read ({error.strerror})") from None
    if not head:
        raise SyncError(f"{path}: is empty. Copy or download it again")
    return head


def _guess(head: bytes) -> str:
    """What file hosts give in place of a large file that they don't let go."""
    return " but a web page, saved in the place of the download" if head.lstrip().startswith(b"<") else ""


def _read_safetensors(path: Path) -> dict[str, Any]:
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return {"state_dict": tensors, "metadata": file.metadata() or {}}


def _read_torch(path: Path, *, mmap: bool) -> Any:
    with warnings.catch_warnings(action="ignore"):  # of unusual pickles, and of classes that aren't looked up
        try:
            return torch.load(path, map_location="cpu", mmap=mmap, weights_only=True)
        except pickle.UnpicklingError:  # there is more in it than tensors
            return torch.load(
                path, map_location="cpu", mmap=mmap, weights_only=False, pickle_module=_inert_pickle()
            )


class _Builder:
    """A function that a file may call. An object of its own, as a file can set attributes of a function."""

    def __init__(self, build: Callable[..., torch.Tensor]) -> None:
        self._build = build

    def __call__(self, *arguments: Any) -> torch.Tensor:
        return self._build(*arguments)

    def __setstate__(self, _state: Any) -> None:
        """Nothing in a file changes how tensors are built."""


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_hooks_and_metadata: Any) -> torch.Tensor:
    """A tensor on its storage, beyond which torch lets none reach; without its hooks, which are code."""
    view: torch.Tensor = torch._utils._rebuild_tensor(storage, offset, size, stride)  # type: ignore[no-untyped-call]
    return view


def _parameter(tensor: torch.Tensor, *_requires_grad_and_hooks: Any) -> torch.Tensor:
    return tensor


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _Builder(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Builder(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Builder(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): _Builder(_parameter),
}


class _InertUnpickler(pickle.Unpickler):
    """Looks up no name: a file gets the four builders of tensors, or placeholders made for this one reading."""

    def __init__(self, file: IO[bytes], **options: Any) -> None:
        super().__init__(file, **options)
        self._foreign: dict[str, type[Foreign]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """See `pickle.Unpickler.find_class`, the one place where a pickle gets hold of anything callable."""
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        origin = f"{module}.{name}"
        if origin not in self._foreign:
            # Of no module: torch compares the sources of modules in its older form with those it can find.
            self._foreign[origin] = type("Foreign", (Foreign,), {"origin": origin, "__module__": ""})
        return self._foreign[origin]


def _inert_pickle() -> ModuleType:
    """In the place of the module pickle, of which torch.load uses `Unpickler` and `load` only."""
    module = ModuleType("inert_pickle")
    module.Unpickler = _InertUnpickler  # type: ignore[attr-defined]
    module.load = lambda file, **options: _InertUnpickler(file, **options).load()  # type: ignore[attr-defined]
    return module


def _reason(error: Exception) -> str:
    """One line."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".:")
