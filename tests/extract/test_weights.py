"""Checkpoints in torch.save's two forms with payloads that would run, and files that are no checkpoints."""

import argparse
import builtins
import contextlib
import io
import os
import pickle
import posix
import re
import sys
import tarfile
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sync_extract.weights import Foreign, read_checkpoint
from sync_store.errors import SyncError

FORMS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


class Opcodes:
    """Pickles as the opcodes it is given: what no object of Python's would."""

    def __init__(self, opcodes: bytes) -> None:
        self.opcodes = opcodes


class OpcodePickler(pickle._Pickler):  # the one in Python: its dispatch can be extended
    dispatch = pickle._Pickler.dispatch.copy()

    def save_opcodes(self, opcodes: Opcodes) -> None:
        self.write(opcodes.opcodes)  # type: ignore[attr-defined]

    dispatch[Opcodes] = save_opcodes  # type: ignore[assignment]


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(6, 4, generator=generator)
    return OrderedDict(
        weight=weight,
        transposed=weight.T,
        shared=weight[2:4, 1:3],
        half=torch.rand(3, generator=generator).half(),
        brain=torch.rand(3, generator=generator).bfloat16(),
        count=torch.tensor(7),
        parameter=torch.nn.Parameter(torch.rand(2, generator=generator)),
        empty=torch.zeros(0, 5),
    )


class OpcodePickle:
    """In the place of the module pickle when saving."""

    Pickler = OpcodePickler

    @staticmethod
    def dump(content: Any, file: Any, protocol: int) -> None:
        OpcodePickler(file, protocol).dump(content)


def assert_loaded(loaded: Any, tensors: dict[str, torch.Tensor]) -> None:
    assert list(loaded) == list(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype


def save(path: Path, content: Any, *, is_zip: bool) -> Path:
    torch.save(content, path, pickle_module=OpcodePickle, _use_new_zipfile_serialization=is_zip)
    return path


@FORMS
def test_tensors_and_plain_values(tmp_path: Path, tensors: dict[str, torch.Tensor], is_zip: bool) -> None:
    content = {"epoch": 50, "arch": "resnet50", "best": 61.5, "state_dict": tensors, "steps": [20, 40]}
    loaded = read_checkpoint(save(tmp_path / "x.pth.tar", content, is_zip=is_zip))
    assert_loaded(loaded["state_dict"], tensors)
    assert {**loaded, "state_dict": None} == {**content, "state_dict": None}


@FORMS
def test_a_plain_state_dictionary(tmp_path: Path, tensors: dict[str, torch.Tensor], is_zip: bool) -> None:
    assert_loaded(read_checkpoint(save(tmp_path / "x.pt", tensors, is_zip=is_zip)), tensors)


def test_safetensors(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    plain = {name: tensor.detach().clone().contiguous() for name, tensor in sorted(tensors.items())}
    save_file(plain, tmp_path / "x.safetensors", metadata={"made by": "a test"})
    save_file(plain, tmp_path / "x.bin")
    loaded = read_checkpoint(tmp_path / "x.safetensors")
    assert_loaded(dict(sorted(loaded["state_dict"].items())), plain)
    assert loaded["metadata"] == {"made by": "a test"}
    assert read_checkpoint(tmp_path / "x.bin")["metadata"] == {}  # known by its content, too


@FORMS
def test_foreign_objects_of_every_kind_are_placeholders(
    tmp_path: Path, tensors: dict[str, torch.Tensor], is_zip: bool
) -> None:
    """Classes with state, lists, dicts, sets, as keys and class objects as keys: what trainers leave in files."""

    class Things(list[int]):
        pass

    class Table(dict[str, int]):
        pass

    made = ModuleType("gone_when_loading")
    for kind in (Things, Table):
        kind.__module__, kind.__qualname__ = made.__name__, kind.__name__
        setattr(made, kind.__name__, kind)
    sys.modules[made.__name__] = made
    things = Things([1, 2])
    things.seen = True  # type: ignore[attr-defined]
    content = {
        "options": argparse.Namespace(lr=0.1, nested=argparse.Namespace(weights=tensors)),
        "things": [things, Things([3]), Table(a=1)],
        "counts": defaultdict(int, a=1),
        "names": {"set"},
        "path": Path("x"),
        Table: "a class as a key",
        argparse.Namespace: {"best": 1.0},
        "state_dict": tensors,
    }
    path = save(tmp_path / "x.ckpt", content, is_zip=is_zip)
    del sys.modules[made.__name__]
    loaded = read_checkpoint(path)
    assert_loaded(loaded["state_dict"], tensors)
    assert loaded["options"].origin == "argparse.Namespace"
    assert not hasattr(loaded["options"], "lr")
    assert [thing.origin for thing in loaded["things"]] == [
        "gone_when_loading." + n for n in ("Things",) * 2 + ("Table",)
    ]
    assert repr(loaded["counts"]) == "<collections.defaultdict, not loaded>"
    assert "gone_when_loading" not in sys.modules
    keys = {key.origin: value for key, value in loaded.items() if not isinstance(key, str)}
    assert keys == {"gone_when_loading.Table": "a class as a key", "argparse.Namespace": {"best": 1.0}}


def hostile(mark: Path) -> dict[str, Any]:
    """Objects whose unpickling makes the file `mark`."""
    command, code = f"touch {mark}", f"open({str(mark)!r}, 'w').close()"
    line = command.encode() + b"\n"
    system = Call(os.system, command)
    return {
        "os.system": system,
        "posix.system": Call(posix.system, command),
        "posix.system by name": Opcodes(b"cposix\nsystem\n(V" + line + b"tR"),
        "builtins.eval": Call(builtins.eval, code),
        "builtins.exec": Call(builtins.exec, code),
        "os.mkdir": Call(os.mkdir, str(mark)),
        "subprocess.check_call": Opcodes(
            b"csubprocess\ncheck_call\n](Vtouch\nV" + str(mark).encode() + b"\ne\x85R"
        ),
        "in hyper-parameters": argparse.Namespace(model=argparse.Namespace(losses=[{"name": (system,)}])),
        "as a key": {Call(eval, f"{code} or 1"): 1},
        "as a state": Call(argparse.Namespace, state={"a": system}),
        "through getattr": Opcodes(b"cbuiltins\ngetattr\n(cos\nsystem\nV__call__\ntR(V" + line + b"tR"),
        "as an instance of protocol 0": Opcodes(b"(V" + line + b"ios\nsystem\n"),
        "as an object of protocol 1": Opcodes(b"(cos\nsystem\nV" + line + b"o"),
        "by a state that sets __setstate__": Opcodes(
            b"cargparse\nNamespace\n)\x81}V__setstate__\ncos\nsystem\nsbV" + line + b"b"
        ),
        "by a dict that gets a __setstate__": Opcodes(
            b"ccollections\nOrderedDict\n)R}V__setstate__\ncos\nsystem\nsbV" + line + b"b"
        ),
        "by a pickle in a pickle": Call(pickle.loads, pickle.dumps(system)),
        "through a qualified name": Opcodes(b"\x8c\x02os\x8c\x06system\x93(V" + line + b"tR"),
    }


@FORMS
@pytest.mark.parametrize("kind", hostile(Path("x")))
def test_what_is_pickled_is_never_executed(
    tmp_path: Path, tensors: dict[str, torch.Tensor], kind: str, is_zip: bool
) -> None:
    mark = tmp_path / "executed"
    payload = hostile(mark)[kind]
    buffer = io.BytesIO()
    OpcodePickler(buffer, 2).dump(payload)
    pickle.loads(buffer.getvalue())
    assert mark.exists()  # it is hostile indeed
    mark.rmdir() if mark.is_dir() else mark.unlink()

    path = save(tmp_path / "x.ckpt", {"a": payload, "state_dict": tensors, "z": payload}, is_zip=is_zip)
    loaded = read_checkpoint(path)
    assert_loaded(loaded["state_dict"], tensors)
    assert not mark.exists()


@FORMS
def test_a_file_cannot_change_how_the_next_one_is_read(
    tmp_path: Path, tensors: dict[str, torch.Tensor], is_zip: bool
) -> None:
    mark = tmp_path / "executed"
    line = f"touch {mark}\n".encode()
    for origin in (
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"cany.thing\nElse\n",
    ):
        for attribute in (b"_build", b"__class__", b"__call__", b"__setstate__", b"__new__"):
            for state in (b"}V%s\ncos\nsystem\ns", b"N}V%s\ncos\nsystem\ns\x86"):
                payload = Opcodes(origin + state % attribute + b"b")
                path = save(tmp_path / "x.ckpt", {"a": payload, "b": Call(dict)}, is_zip=is_zip)
                with contextlib.suppress(SyncError):
                    read_checkpoint(path)
    trigger = Opcodes(b"cany.thing\nElse\n)\x81V" + line + b"b")
    loaded = read_checkpoint(save(tmp_path / "y.ckpt", {"a": trigger, "state_dict": tensors}, is_zip=is_zip))
    assert_loaded(loaded["state_dict"], tensors)
    assert isinstance(loaded["a"], Foreign)
    assert not mark.exists()


@FORMS
def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path, is_zip: bool) -> None:
    class Reaching(torch.Tensor):
        def __reduce_ex__(self, protocol: Any) -> Any:
            rebuild, (storage, _, _, stride, *rest) = torch.zeros(4).__reduce_ex__(protocol)  # type: ignore[no-untyped-call]
            return rebuild, (storage, 0, (1 << 20,), stride, *rest)

    content = {
        "options": argparse.Namespace(),
        "state_dict": {"weight": torch.zeros(4).as_subclass(Reaching)},
    }
    path = save(tmp_path / "x.ckpt", content, is_zip=is_zip)
    with pytest.raises(SyncError, match=r"x\.ckpt: can't be read as a checkpoint \(.*storage"):
        read_checkpoint(path)


def test_tensors_are_mapped_not_read(tmp_path: Path) -> None:
    """An optimizer's state, twice as large as the weights, costs nothing."""
    path = save(
        tmp_path / "x.ckpt",
        {"state_dict": {"weight": torch.ones(1 << 24)}, "o": argparse.Namespace()},
        is_zip=True,
    )
    before = resident_bytes()
    weight = read_checkpoint(path)["state_dict"]["weight"]
    assert resident_bytes() - before < 1 << 25
    assert weight.sum() == 1 << 24


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@FORMS
def test_a_whole_model_is_refused(tmp_path: Path, is_zip: bool) -> None:
    path = save(tmp_path / "x.pt", torch.nn.Linear(2, 2), is_zip=is_zip)
    with pytest.raises(
        SyncError, match=r"x\.pt: holds 'torch\.nn\.modules\.linear\.Linear', expected a dict of weights"
    ):
        read_checkpoint(path)


def test_a_single_tensor_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", torch.zeros(2), is_zip=True)
    with pytest.raises(SyncError, match=r"holds 'Tensor'.*torch\.save\(model\.state_dict\(\), PATH\)"):
        read_checkpoint(path)


def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", {"a": argparse.Namespace()}, is_zip=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/constants.pkl", b"")
    with pytest.raises(SyncError, match=r"x\.pt: can't be read as a checkpoint \(.*TorchScript"):
        read_checkpoint(path)


@FORMS
@pytest.mark.parametrize("foreign", [True, False])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(tmp_path: Path, part: float, foreign: bool, is_zip: bool) -> None:
    content = {"state_dict": {"weight": torch.rand(1000)}, "o": argparse.Namespace() if foreign else 1}
    path = save(tmp_path / "x.ckpt", content, is_zip=is_zip)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(
        SyncError, match=r"x\.ckpt: can't be read as a checkpoint .*copy or download it again"
    ):
        read_checkpoint(path)


def test_truncated_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"weight": torch.rand(1000)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SyncError, match="can't be read as a checkpoint"):
        read_checkpoint(path)


def plain_pickle(path: Path) -> None:
    path.write_bytes(
        pickle.dumps({"state_dict": {"weight": [1.0]}, "o": Call(os.system, f"touch {path}.executed")})
    )


def old_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": 1.0}, 0))


def tar_archive(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("\x80"))


def plain_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "weights")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such file of weights"),
        (lambda path: path.mkdir(), r"is a folder; expected a file that torch\.save wrote"),
        (lambda path: path.touch(), r"is empty\. Copy or download it again"),
        (
            lambda path: path.write_bytes(b"\0" * 100),
            r"isn't a checkpoint; expected .*\.pth, .*\.safetensors",
        ),
        (
            lambda path: path.write_text("<!DOCTYPE html><p>Too large to scan"),
            "isn't a checkpoint but a web page, saved in the place",
        ),
        (plain_pickle, r"can't be read as a checkpoint \(Invalid magic number; corrupt file\?\)"),
        (old_pickle, "isn't a checkpoint"),
        (tar_archive, "isn't a checkpoint"),
        (plain_zip, "can't be read as a checkpoint"),
        (lambda path: path.write_bytes(b"\x80\x02"), "can't be read as a checkpoint"),
    ],
)
def test_no_checkpoint(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "x.pth"
    make(path)
    with pytest.raises(SyncError, match=rf"x\.pth: {message}") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    assert re.search("executed", " ".join(file.name for file in tmp_path.iterdir())) is None
