"""Models on disk: ours, and the published ones, also when they are damaged or evil."""

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sync_store.errors import ProjectError, TrainingError
from sync_train.batches import Windowing
from sync_train.checkpoint import (
    SegmenterInfo,
    load_published_c2f,
    load_segmenter,
    load_weights,
    save_segmenter,
)
from sync_train.models.adapter import AdapterConfig
from sync_train.models.c2f_tcn import C2FTCN, LEVELS

INFO = SegmenterInfo(
    feature_set="tiny",
    fingerprint="abc",
    feature_dim=4,
    classes=("attach", "screw"),
    windowing=Windowing(chunk_rows=3, max_chunks=20, pad_to=400),
    adapter=AdapterConfig(feature_dim=4, num_layers=1, num_heads=2, ffn_dim=8),
)

Weights = dict[str, Any]


@pytest.mark.parametrize(
    "info",
    [
        INFO,
        replace(INFO, adapter=None),
        replace(INFO, precision="bfloat16"),
        replace(INFO, ensemble_weights=(1.0, 1.0, 1.0, 1.0, 0.0, 0.0)),
    ],
    ids=["adapted", "plain", "bfloat16", "weighted"],
)
def test_a_saved_model_comes_back_the_same(tmp_path: Path, info: SegmenterInfo) -> None:
    torch.manual_seed(0)
    model = info.build()
    model.standardizer.mean_D.normal_()
    rows, valid = torch.randn(2, 50, 4), torch.ones(2, 50, dtype=torch.bool)
    model.train()(rows, valid)  # gives the batch norms statistics
    save_segmenter(tmp_path / "m", model, info)
    loaded, loaded_info = load_segmenter(tmp_path / "m")
    assert loaded_info == info
    assert loaded.precision == getattr(torch, info.precision)
    assert loaded.ensemble_weights == info.ensemble_weights
    assert not loaded.training
    found, wanted = loaded(rows, valid).logits, model.eval()(rows, valid).logits
    assert all(torch.equal(found[level], wanted[level]) for level in LEVELS)


def test_a_model_from_before_there_were_weights_of_levels_has_equal_ones(tmp_path: Path) -> None:
    save_segmenter(tmp_path, INFO.build(), INFO)
    table = json.loads((tmp_path / "config.json").read_text())
    del table["ensemble_weights"]
    (tmp_path / "config.json").write_text(json.dumps(table))
    assert load_segmenter(tmp_path)[1] == INFO


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"m: holds no model \(config.json is missing\)"):
        load_segmenter(tmp_path / "m")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "can't be read as JSON"), ("[1]", "isn't a model's config"), ("[" * 10_000, "can't be read")],
)
def test_a_damaged_config_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(TrainingError, match=f"config.json: {message}"):
        load_segmenter(tmp_path)


def test_a_config_of_another_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 1024}')
    with pytest.raises(ProjectError, match=r"config.json: unknown key 'hidden_size'"):
        load_segmenter(tmp_path)


def test_weights_that_dont_fit_the_config_are_refused(tmp_path: Path) -> None:
    save_segmenter(tmp_path, INFO.build(), INFO)
    table = json.loads((tmp_path / "config.json").read_text())
    table["classes"] = ["a", "b", "c"]
    (tmp_path / "config.json").write_text(json.dumps(table))
    with pytest.raises(
        TrainingError, match=r"model.safetensors: can't be loaded .*size mismatch.*--overwrite"
    ):
        load_segmenter(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"not safetensors", b"\xff" * 100])
def test_missing_or_damaged_weights_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"model.safetensors: can't be loaded .* anew with --overwrite"):
        load_weights(path, INFO.build())


@pytest.fixture(scope="module")
def published() -> Weights:
    """Weights as the published repositories save them, `weights` as a parameter among them."""
    torch.manual_seed(1)
    network = C2FTCN(feature_dim=5, num_classes=3)
    network.train()(torch.randn(2, 5, 400))
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def with_prefix(weights: Weights) -> Weights:
    return {f"module.{name}": tensor for name, tensor in weights.items()}


def without_unused(weights: Weights) -> Weights:
    return {name: tensor for name, tensor in weights.items() if name != "weights"}


@pytest.mark.parametrize(
    "saved",
    [
        lambda w, path: torch.save(w, path),
        lambda w, path: torch.save({"state_dict": w, "epoch": 12}, path),
        lambda w, path: torch.save(with_prefix(w), path),
        lambda w, path: torch.save({"state_dict": with_prefix(w)}, path),
        lambda w, path: torch.save(without_unused(w), path),
        lambda w, path: torch.save(w, path, _use_new_zipfile_serialization=False),
    ],
    ids=["plain", "state_dict", "module", "both", "without the unused one", "before torch 1.6"],
)
def test_published_checkpoints_load(tmp_path: Path, published: Weights, saved: Any) -> None:
    saved(published, tmp_path / "best.pt")
    network = load_published_c2f(tmp_path / "best.pt")
    assert (network.feature_dim, network.num_classes, network.training) == (5, 3, False)
    assert all(torch.equal(tensor, published[name]) for name, tensor in network.state_dict().items())


def test_published_safetensors_load(tmp_path: Path, published: Weights) -> None:
    save_file(published, tmp_path / "best.safetensors")
    network = load_published_c2f(str(tmp_path / "best.safetensors"))
    assert all(torch.equal(tensor, published[name]) for name, tensor in network.state_dict().items())


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.touch, (self.marker,))


def test_pickled_code_is_refused_and_never_runs(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    torch.save({"inc.conv.conv.0.weight": Evil(marker)}, tmp_path / "evil.pt")
    with pytest.raises(
        TrainingError, match=r"evil.pt: holds pickled code, which is never executed. Save its"
    ):
        load_published_c2f(tmp_path / "evil.pt")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Evil(marker)))  # it would have
    assert marker.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    """What torch.save(model) writes."""
    torch.save(C2FTCN(feature_dim=2, num_classes=2), tmp_path / "model.pt")
    with pytest.raises(TrainingError, match=r"torch.save\(model.state_dict\(\), PATH\)"):
        load_published_c2f(tmp_path / "model.pt")


def changed(weights: Weights, **new: Any) -> Weights:
    return weights | {name.replace("__", "."): value for name, value in new.items()}


def dropped(weights: Weights, name: str) -> Weights:
    return {other: tensor for other, tensor in weights.items() if other != name}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: dropped(w, "up2.conv.conv.0.bias"), 'Missing key.*"up2.conv.conv.0.bias"'),
        (lambda w: changed(w, extra=torch.ones(1)), 'Unexpected key.*"extra"'),
        (lambda w: changed(w, tpp__conv__bias=torch.ones(2)), "size mismatch for tpp.conv.bias"),
        (lambda w: changed(w, outcc0__conv__bias=torch.ones(9)), "size mismatch for outcc0.conv.bias"),
        (
            lambda w: changed(w, down1__max_pool_conv__1__conv__0__bias="text"),
            "down1.max_pool_conv.1.conv.0.bias",
        ),
        (lambda w: dropped(w, "inc.conv.conv.0.weight"), "lacks inc.conv.conv.0.weight or outcc.conv.weight"),
        (lambda w: dropped(w, "outcc.conv.weight"), "lacks inc.conv.conv.0.weight or outcc.conv.weight"),
        (lambda w: changed(w, outcc__conv__weight=3), "lacks inc.conv.conv.0.weight or outcc.conv.weight"),
        (lambda w: changed(w, outcc__conv__weight=torch.ones(())), "lacks inc.conv"),
        (lambda w: {}, "lacks inc.conv"),
        (lambda w: {"state_dict": [1]}, "lacks inc.conv"),
        (lambda w: torch.ones(3), "lacks inc.conv"),
        (lambda w: [w], "lacks inc.conv"),
    ],
)
def test_what_is_no_such_network_is_refused(
    tmp_path: Path, published: Weights, make: Any, message: str
) -> None:
    torch.save(make(published), tmp_path / "other.pt")
    with pytest.raises(TrainingError, match=f"other.pt: isn't a C2F-TCN checkpoint.*{message}"):
        load_published_c2f(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.pt", None, "there is no such file"),
        ("missing.safetensors", None, "there is no such file"),
        ("empty.pt", b"", "can't be read as a checkpoint"),
        ("empty.safetensors", b"", "can't be read as a checkpoint"),
        ("text.pt", b"hello\nworld\n", "can't be read as a checkpoint"),
        ("page.pt", b"<!DOCTYPE html><html>404</html>", "can't be read as a checkpoint"),
        ("bytes.pt", bytes(range(256)), "can't be read as a checkpoint"),
    ],
)
def test_files_that_are_no_checkpoint_are_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainingError, match=f"{re.escape(name)}: {message}"):
        load_published_c2f(tmp_path / name)


def test_a_cut_file_is_named(tmp_path: Path, published: Weights) -> None:
    torch.save(published, tmp_path / "cut.pt")
    content = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingError, match=r"cut.pt: can't be read as a checkpoint"):
        load_published_c2f(tmp_path / "cut.pt")
