"""TSM against an independent ResNet and a shift written out in loops; its published files; its rows."""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import ResNetConfig, ResNetModel

from sync_extract.backbones import Backbone, Placement, load_backbone
from sync_extract.backbones.base import weights_digest
from sync_extract.backbones.resnet_tsm import ResNetTSM, random_tsm, temporal_shift
from sync_extract.backbones.tsm_checkpoint import Classifier, TsmInfo, read_tsm, save_tsm
from sync_store.errors import SyncError

CPU = Placement(device=torch.device("cpu"), dtype=torch.float32)
DEMO = "tsm-random-demo"

SHIFTED = [
    f"layer{layer}.{block}.conv1"
    for layer, count in ((1, 3), (2, 4), (3, 6), (4, 3))
    for block in range(count)
]
"""The 16 convolutions that the published network wraps (facts: exactly these keys gain `.net`)."""


def shift_in_loops(frames: torch.Tensor) -> torch.Tensor:
    """Frames (N*8, C, h, w): an eighth of the channels from the next frame, an eighth from the one before."""
    shifted = torch.zeros_like(frames)
    num_channels = frames.shape[1]
    for number in range(len(frames)):
        first = number // 8 * 8
        for channel in range(num_channels):
            source = number
            if channel < num_channels // 8:
                source = number + 1
            elif channel < 2 * (num_channels // 8):
                source = number - 1
            if first <= source < first + 8:
                shifted[number, channel] = frames[source, channel]
    return shifted


def torchvision_name(name: str) -> str:
    """The name that torchvision has for a weight of transformers' ResNet."""
    parts = name.split(".")
    kind = {"convolution": "conv", "normalization": "bn"}
    if parts[0] == "embedder":
        return f"{kind[parts[2]]}1.{parts[3]}"
    stage, block = int(parts[2]) + 1, parts[4]
    if parts[5] == "shortcut":
        place = f"downsample.{'01'[parts[6] == 'normalization']}"
    else:
        place = f"{kind[parts[7]]}{int(parts[6]) + 1}"
    return f"layer{stage}.{block}.{place}.{parts[-1]}"


@pytest.fixture(scope="module")
def reference() -> ResNetModel:
    """A ResNet-50 of transformers (stride in the 3x3) with lively norms."""
    generator = torch.Generator().manual_seed(0)
    model = ResNetModel(ResNetConfig(downsample_in_bottleneck=False)).eval().requires_grad_(False)
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 4:
            fan_out = tensor.shape[0] * tensor.shape[2] * tensor.shape[3]
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / fan_out) ** 0.5)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(100)
        elif name.endswith(("weight", "running_var")):
            tensor.copy_(0.4 + 0.4 * torch.rand(tensor.shape, generator=generator))
        else:
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def trunk(reference: ResNetModel) -> dict[str, torch.Tensor]:
    return {torchvision_name(name): tensor for name, tensor in reference.state_dict().items()}


@pytest.fixture
def shifting(reference: ResNetModel) -> Iterator[ResNetModel]:
    """The reference with the naive shift before the first convolution of every bottleneck."""
    convolutions = [
        block.layer[0].convolution for stage in reference.encoder.stages for block in stage.layers
    ]
    assert len(convolutions) == 16
    hooks = [
        convolution.register_forward_pre_hook(lambda _, inputs: (shift_in_loops(inputs[0]),))
        for convolution in convolutions
    ]
    yield reference
    for hook in hooks:
        hook.remove()


def published(
    trunk: dict[str, torch.Tensor], *, prefix: str, num_classes: int, has_net: bool = True
) -> dict[str, torch.Tensor]:
    """A state dictionary with the published names."""
    state = {}
    for name, tensor in trunk.items():
        layer, _, kind = name.rpartition(".")
        state[f"{prefix}base_model.{layer}{'.net' if has_net and layer in SHIFTED else ''}.{kind}"] = tensor
    width = trunk["layer4.2.bn3.bias"].shape[0]
    generator = torch.Generator().manual_seed(1)
    state[f"{prefix}new_fc.weight"] = torch.randn(num_classes, width, generator=generator)
    state[f"{prefix}new_fc.bias"] = torch.randn(num_classes, generator=generator)
    return state


def save_assembly101(path: Path, state: dict[str, Any]) -> Path:
    parameters = [nn.Parameter(torch.zeros(2))]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)
    content = {
        "epoch": 50,
        "arch": "resnet50",
        "state_dict": state,
        "optimizer": optimizer.state_dict(),
        "best_prec1": torch.tensor(33.8),
    }
    torch.save(content, path)
    return path


@pytest.fixture
def omegaconf() -> Iterator[ModuleType]:
    """A stand-in for the library whose objects Lightning pickles beside EPIC-KITCHENS-100's weights."""
    module = ModuleType("omegaconf")
    for name in ("DictConfig", "AnyNode", "ContainerMetadata"):
        kind = type(name, (), {"__module__": "omegaconf"})
        setattr(module, name, kind)
    sys.modules["omegaconf"] = module
    yield module
    sys.modules.pop("omegaconf", None)


def save_epic(path: Path, state: dict[str, Any], omegaconf: ModuleType) -> Path:
    node = omegaconf.AnyNode()
    node.__dict__.update(_metadata=omegaconf.ContainerMetadata(), _val=0.7)
    hyper_parameters = omegaconf.DictConfig()
    hyper_parameters.__dict__.update(_content={"dropout": node, "modality": "RGB"}, _parent=None)
    content = {
        "epoch": 79,
        "global_step": 1000,
        "pytorch-lightning_version": "0.9.1",
        "callbacks": {omegaconf.ContainerMetadata: {"best_model_score": torch.tensor(1.0)}},
        "optimizer_states": [{"state": {}, "param_groups": []}],
        "lr_schedulers": [{"milestones": [20, 40]}],
        "state_dict": state,
        "hparams_name": "cfg",
        "hyper_parameters": hyper_parameters,
    }
    torch.save(content, path)
    sys.modules.pop("omegaconf")
    return path


@pytest.fixture(scope="module")
def demo_trunk() -> dict[str, torch.Tensor]:
    return dict(random_tsm(width=16, shift="none", seed=4).state_dict())


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (20, 72, 96, 3), dtype=np.uint8))


def clips_of(backbone: Backbone, frames: torch.Tensor) -> torch.Tensor:
    return frames[torch.from_numpy(backbone.clips.rows(len(frames)))]


# The network


def test_the_shift_is_the_one_in_loops() -> None:
    frames = torch.randn(24, 20, 3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(temporal_shift(frames), shift_in_loops(frames))
    channels_last = frames.to(memory_format=torch.channels_last)
    assert torch.equal(temporal_shift(channels_last), shift_in_loops(frames))


def test_gradients_go_back_the_same_way() -> None:
    frames = torch.randn(16, 16, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(temporal_shift, (frames,))


def test_window8_equals_the_published_network(
    tmp_path: Path, trunk: dict[str, torch.Tensor], shifting: ResNetModel
) -> None:
    path = save_assembly101(tmp_path / "x.pth.tar", published(trunk, prefix="module.", num_classes=1380))
    backbone = load_backbone("tsm", weights=path, shift="window8", placement=CPU)
    assert sum(parameter.numel() for parameter in backbone.module.parameters()) == 23_508_032  # facts
    images = torch.randn(16, 3, 96, 80, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = shifting(images).pooler_output.flatten(1)
        features = backbone.module(images)
    assert features.shape == (16, 2048)
    assert expected.std() > 0.01  # alive
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().mean()))
    with torch.inference_mode():
        assert not torch.allclose(
            features, load_backbone("tsm", weights=path, placement=CPU).module(images), rtol=0.05
        )


def test_none_equals_the_network_without_shifts(
    tmp_path: Path, trunk: dict[str, torch.Tensor], reference: ResNetModel
) -> None:
    """Also at the size that the presets give."""
    path = save_assembly101(tmp_path / "x.pth.tar", published(trunk, prefix="module.", num_classes=1380))
    backbone = load_backbone("tsm", weights=path, placement=CPU)
    frames = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 270, 480, 3), dtype=np.uint8))
    images = backbone.prepare(frames)
    assert images.shape == (1, 3, 224, 224)
    with torch.inference_mode():
        expected = reference(images).pooler_output.flatten(1)
        features = backbone.module(images)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().mean()))
    torch.testing.assert_close(backbone(frames).float(), expected, rtol=1e-3, atol=1e-3)


def test_whole_clips_only() -> None:
    with pytest.raises(ValueError, match="expected clips of 8 frames, one after the other, got 12"):
        ResNetTSM(width=16)(torch.zeros(12, 3, 64, 64))


# The contract of a backbone


@pytest.fixture(scope="module", params=["none", "window8"])
def demo(request: pytest.FixtureRequest) -> Backbone:
    return load_backbone(DEMO, shift=request.param, placement=CPU)


def test_width_and_dtype(demo: Backbone, frames: torch.Tensor) -> None:
    features = demo(clips_of(demo, frames))
    assert features.shape == (20, demo.feature_dim) == (20, 512)
    assert features.dtype == torch.float16
    assert torch.isfinite(features).all()
    assert not demo.module.training
    assert not any(parameter.requires_grad for parameter in demo.module.parameters())


def test_frames_have_different_features(demo: Backbone, frames: torch.Tensor) -> None:
    features = demo(clips_of(demo, frames)).float()
    assert features.std(0).mean() > 0.01 * features.std()


def test_batch_size_does_not_matter(demo: Backbone, frames: torch.Tensor) -> None:
    clips = clips_of(demo, frames)
    singles = torch.cat([demo(clips[row : row + 1]) for row in range(len(clips))])
    torch.testing.assert_close(demo(clips), singles, rtol=2e-3, atol=2e-3)


def test_deterministic(demo: Backbone, frames: torch.Tensor) -> None:
    again = load_backbone(DEMO, shift=demo.recipe["shift"], placement=CPU)
    clips = clips_of(demo, frames)
    assert again.recipe == demo.recipe
    assert torch.equal(again(clips), demo(clips))


def test_loading_leaves_the_random_state_alone(tmp_path: Path, demo_trunk: dict[str, torch.Tensor]) -> None:
    path = save_assembly101(tmp_path / "x.pth.tar", published(demo_trunk, prefix="module.", num_classes=3))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_backbone(DEMO, placement=CPU)
    load_backbone(DEMO, weights=path, placement=CPU)
    assert torch.equal(torch.rand(3), expected)


def test_bfloat16_agrees_with_float32(demo: Backbone, frames: torch.Tensor) -> None:
    half = Placement(device=torch.device("cpu"), dtype=torch.bfloat16)
    other = load_backbone(DEMO, shift=demo.recipe["shift"], placement=half)
    clips = clips_of(demo, frames)
    a, b = demo(clips).float(), other(clips).float()
    assert nn.functional.cosine_similarity(a, b).min() > 0.999
    assert other.recipe["weights_sha256"] == demo.recipe["weights_sha256"]


def test_a_row_of_window8_is_the_frame_at_the_anchor(frames: torch.Tensor) -> None:
    """By the definition: frames t-4 to t+3, the end frames repeated; the fifth output of the module."""
    backbone = load_backbone(DEMO, shift="window8", placement=CPU)
    features = backbone(clips_of(backbone, frames)).float()
    for row in (0, 3, 4, 10, 17, 19):
        clip = torch.stack([frames[min(max(frame, 0), 19)] for frame in range(row - 4, row + 4)])
        with torch.inference_mode():
            expected = backbone.module(backbone.prepare(clip))[4]
        torch.testing.assert_close(features[row], expected, rtol=2e-3, atol=2e-3)


def test_a_row_of_window8_depends_on_its_eight_frames_only(frames: torch.Tensor) -> None:
    backbone = load_backbone(DEMO, shift="window8", placement=CPU)
    before = backbone(clips_of(backbone, frames))
    changed = frames.clone()
    changed[10] = 255 - changed[10]
    after = backbone(clips_of(backbone, changed))
    rows = torch.nonzero((before != after).any(1)).flatten().tolist()
    assert rows == list(range(7, 15))  # frame 10 is in t-4 to t+3 of these


def test_a_row_of_none_depends_on_its_frame_only(frames: torch.Tensor) -> None:
    backbone = load_backbone(DEMO, placement=CPU)
    before = backbone(frames)
    changed = frames.clone()
    changed[10] = 255 - changed[10]
    assert torch.nonzero((before != backbone(changed)).any(1)).flatten().tolist() == [10]


def test_recipes_tell_shifts_and_presets_apart(tmp_path: Path, demo_trunk: dict[str, torch.Tensor]) -> None:
    path = save_assembly101(tmp_path / "x.pth.tar", published(demo_trunk, prefix="module.", num_classes=3))
    recipes = [
        load_backbone("tsm", weights=path, shift=shift, preset=preset, placement=CPU).recipe
        for shift in ("none", "window8")
        for preset in ("official", "epic")
    ]
    assert len({json.dumps(recipe) for recipe in recipes}) == 4
    assert len({recipe["weights_sha256"] for recipe in recipes}) == 1
    assert recipes[2]["feature"] == "average pool of frame 4 of 8"
    assert recipes[2]["clips"] == {"num_frames": 8, "stride": 1, "anchor": 4, "edges": "repeat"}
    assert (recipes[0]["width"], recipes[0]["shift"], recipes[2]["shift"]) == (16, "none", "window8")


def test_presets_normalise_as_published(demo_trunk: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """Values by hand: gray 51 of 255 is 0.2; EPIC-KITCHENS' divides by the mean."""
    path = save_assembly101(tmp_path / "x.pth.tar", published(demo_trunk, prefix="module.", num_classes=3))
    gray = torch.full((1, 256, 341, 3), 51, dtype=torch.uint8)
    for preset, expected in (
        ("official", [(0.2 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]),
        ("epic", [0.2 / 0.485 - 1, 0.2 / 0.456 - 1, 0.2 / 0.406 - 1]),
    ):
        images = load_backbone("tsm", weights=path, preset=preset, placement=CPU).prepare(gray)
        assert images.shape == (1, 3, 224, 224)
        torch.testing.assert_close(images[0, :, 0, 0], torch.tensor(expected))


# Files


@pytest.mark.parametrize("has_net", [True, False])
@pytest.mark.parametrize(
    ("num_classes", "trained_on"),
    [
        (1380, r"Assembly101 fine-grained actions .*all 12 views"),
        (397, r"EPIC-KITCHENS-100 verbs and nouns"),
        (5, r"not stated by the file of weights \(a classifier of 5 classes\)"),
    ],
)
def test_all_published_forms_load_to_the_same_weights(
    tmp_path: Path,
    omegaconf: ModuleType,
    demo_trunk: dict[str, torch.Tensor],
    num_classes: int,
    trained_on: str,
    has_net: bool,
) -> None:
    states = {
        prefix: published(demo_trunk, prefix=prefix, num_classes=num_classes, has_net=has_net)
        for prefix in ("module.", "model.")
    }
    paths = [
        save_assembly101(tmp_path / "x.pth.tar", states["module."]),
        save_epic(tmp_path / "tsm_rgb.ckpt", states["model."], omegaconf),
    ]
    torch.save(states["module."], tmp_path / "bare.pt")
    for path in (*paths, tmp_path / "bare.pt"):
        read = read_tsm(path)
        assert read.trunk.keys() == demo_trunk.keys()
        assert all(torch.equal(read.trunk[name], tensor) for name, tensor in demo_trunk.items())
        assert read.width == 16
        assert read.classifier is not None
        assert torch.equal(read.classifier.weight, states["module."]["module.new_fc.weight"])
        assert torch.equal(read.classifier.bias, states["module."]["module.new_fc.bias"])
        backbone = load_backbone("tsm", weights=path, placement=CPU)
        assert len(backbone.trained_on) == 1
        assert re.match(trained_on, backbone.trained_on[0])


def test_an_epic_file_of_full_width(
    tmp_path: Path, omegaconf: ModuleType, trunk: dict[str, torch.Tensor]
) -> None:
    path = save_epic(tmp_path / "x.ckpt", published(trunk, prefix="model.", num_classes=397), omegaconf)
    backbone = load_backbone("tsm", weights=path, preset="epic", placement=CPU)
    assert backbone.feature_dim == 2048
    state = backbone.module.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in trunk.items())
    assert "omegaconf" not in sys.modules


def test_own_file_round_trip(
    tmp_path: Path, demo_trunk: dict[str, torch.Tensor], frames: torch.Tensor
) -> None:
    module = ResNetTSM(width=16, shift="window8")
    module.load_state_dict(demo_trunk)
    info = TsmInfo(
        trained_on=("views v1, e4 of 3 recordings, fine-grained actions", "a teacher"),
        shift="window8",
        preset="demo",
        classes=("pick up", "put down", "screw"),
        training={"epochs": 50, "steps": [20, 40], "teacher": {"weights_sha256": "00"}},
    )
    classifier = Classifier(weight=torch.randn(3, 512), bias=torch.randn(3))
    save_tsm(tmp_path / "a.safetensors", module, info, classifier=classifier)
    save_tsm(tmp_path / "b.safetensors", module, info, classifier=classifier)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    read = read_tsm(tmp_path / "a.safetensors")
    assert read.info == info
    assert read.classifier is not None
    assert torch.equal(read.classifier.weight, classifier.weight)
    assert torch.equal(read.classifier.bias, classifier.bias)
    rebuilt = read.build("window8")
    assert weights_digest(rebuilt) == weights_digest(module)
    assert all(parameter.requires_grad for parameter in rebuilt.parameters())
    backbone = load_backbone(DEMO, weights=tmp_path / "a.safetensors", placement=CPU)
    assert backbone.trained_on == info.trained_on
    images = backbone.prepare(frames)
    plain = ResNetTSM(width=16, shift="none").eval()
    plain.load_state_dict(demo_trunk)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(frames), plain(images).half())


def test_own_file_without_classifier(tmp_path: Path, demo_trunk: dict[str, torch.Tensor]) -> None:
    module = ResNetTSM(width=16)
    module.load_state_dict(demo_trunk)
    save_tsm(tmp_path / "a.safetensors", module, TsmInfo(trained_on=()))
    read = read_tsm(tmp_path / "a.safetensors")
    assert read.classifier is None
    assert read.info == TsmInfo(trained_on=())


def test_old_files_without_counters(tmp_path: Path, demo_trunk: dict[str, torch.Tensor]) -> None:
    state = published(demo_trunk, prefix="module.", num_classes=3)
    state = {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}
    read = read_tsm(save_assembly101(tmp_path / "x.pth.tar", state))
    assert all(torch.equal(read.trunk[name], tensor) for name, tensor in demo_trunk.items())  # theirs are 0


def test_weights_outlive_their_file(
    tmp_path: Path, demo_trunk: dict[str, torch.Tensor], frames: torch.Tensor
) -> None:
    path = save_assembly101(tmp_path / "x.pth.tar", published(demo_trunk, prefix="module.", num_classes=3))
    backbone = load_backbone(DEMO, weights=path, placement=CPU)
    before = backbone(frames[:2])
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    assert torch.equal(backbone(frames[:2]), before)


@pytest.mark.parametrize(
    ("num_classes", "preset", "shift", "has_net", "warning"),
    [
        (397, "official", "none", True, "was trained with the preset 'epic' and is used with 'official'"),
        (1380, "epic", "none", True, "was trained with the preset 'official' and is used with 'epic'"),
        (
            5,
            "official",
            "window8",
            False,
            "doesn't say that it was trained with shifts, and is used with window8",
        ),
        (397, "epic", "window8", True, None),
        (1380, "official", "window8", True, None),
        (1380, "official", "window8", False, None),
        (5, "official", "window8", True, None),
        (5, "epic", "none", False, None),
    ],
)
def test_warns_of_use_unlike_training(
    tmp_path: Path,
    demo_trunk: dict[str, torch.Tensor],
    caplog: pytest.LogCaptureFixture,
    num_classes: int,
    preset: str,
    shift: str,
    has_net: bool,
    warning: str | None,
) -> None:
    state = published(demo_trunk, prefix="model.", num_classes=num_classes, has_net=has_net)
    path = save_assembly101(tmp_path / "x.ckpt", state)
    with caplog.at_level(logging.WARNING):
        load_backbone("tsm", weights=path, preset=preset, shift=shift, placement=CPU)
    assert [message.partition("x.ckpt: ")[2] for message in caplog.messages] == ([warning] if warning else [])


def without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.pop(key)


def with_value(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("module.base_model.layer3.5.conv1.net.weight"),
            r"lacks layer3\.5\.conv1\.weight \(1 of 318 weights are missing\); expected a TSM ResNet-50 of Assembly101",
        ),
        (without("module.base_model.conv1.weight"), r"lacks conv1\.weight"),
        (
            with_value("module.base_model.layer3.6.conv1.net.weight", torch.zeros(1)),  # a ResNet-101
            r"unexpected key 'module\.base_model\.layer3\.6\.conv1\.net\.weight'; expected .*model\.base_model",
        ),
        (with_value("backbone.conv1.weight", torch.zeros(1)), r"unexpected key 'backbone\.conv1\.weight'"),
        (with_value(7, torch.zeros(1)), "unexpected key 7"),  # type: ignore[arg-type]
        (
            with_value("module.base_model.layer1.0.conv2.weight", torch.zeros(16, 16, 1, 1)),
            r"module\.base_model\.layer1\.0\.conv2\.weight has shape \(16, 16, 1, 1\), expected \(16, 16, 3, 3\)",
        ),
        (
            with_value("module.base_model.conv1.weight", torch.tensor(1.0)),
            r".*conv1\.weight has shape \(\), expected",
        ),
        (with_value("module.base_model.bn1.bias", 3), r"module\.base_model\.bn1\.bias is 3, not a tensor"),
        (
            with_value("module.base_model.bn1.bias", torch.zeros(16, dtype=torch.int8)),
            r"module\.base_model\.bn1\.bias holds int8, expected float32, float16 or bfloat16, neither quantized",
        ),
        (
            with_value("module.base_model.bn1.num_batches_tracked", torch.tensor(1).to_sparse()),
            r"module\.base_model\.bn1\.num_batches_tracked holds sparse_coo, expected",
        ),
        (with_value("module.new_fc.weight", torch.zeros(3, 512, dtype=torch.int8)), "its classifier isn't"),
        (without("module.new_fc.bias"), r"its classifier isn't a weight \(classes, 512\) and a bias"),
        (with_value("module.new_fc.weight", torch.zeros(3, 2048)), "its classifier isn't a weight"),
    ],
)
def test_wrong_weights_name_the_key(
    tmp_path: Path,
    demo_trunk: dict[str, torch.Tensor],
    change: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    state = published(demo_trunk, prefix="module.", num_classes=3)
    change(state)
    path = save_assembly101(tmp_path / "x.pth.tar", state)
    with pytest.raises(SyncError, match=rf"x\.pth\.tar: {message}"):
        load_backbone("tsm", weights=path, placement=CPU)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"its metadata 'sync-tsm' isn't JSON"),
        ("[]", r"its metadata 'sync-tsm' must be a JSON object, got \[\]"),
        (
            '{"trained_on": [], "shft": "none"}',
            r"metadata sync-tsm: unknown key 'shft', did you mean 'shift'",
        ),
        ('{"trained_on": [], "shift": "window9"}', r"metadata sync-tsm: shift"),
        ('{"shift": "none"}', r"metadata sync-tsm: .*trained_on"),
    ],
)
def test_wrong_metadata_of_our_own(
    tmp_path: Path, demo_trunk: dict[str, torch.Tensor], text: str, message: str
) -> None:
    save_file(demo_trunk, tmp_path / "x.safetensors", metadata={"sync-tsm": text})
    with pytest.raises(SyncError, match=rf"x\.safetensors:? {message}"):
        load_backbone("tsm", weights=tmp_path / "x.safetensors", placement=CPU)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "backbone 'tsm' has no weights of its own: give a checkpoint with --weights"),
        ({"weights": Path("none.pth")}, r"none\.pth: there is no such file of weights"),
        ({"shift": "window"}, "unknown shift 'window', did you mean 'window8'"),
        ({"preset": "published"}, "unknown preset 'published' of tsm; known: epic, official"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SyncError, match=message):
        load_backbone("tsm", placement=CPU, **options)


def test_state_dict_that_is_none(tmp_path: Path) -> None:
    torch.save({"state_dict": 3}, tmp_path / "x.pt")
    with pytest.raises(SyncError, match=r"x\.pt: state_dict is 3, not a dict of weights; expected a TSM"):
        read_tsm(tmp_path / "x.pt")


@pytest.mark.parametrize("shift", ["none", "window8"])
def test_the_layout_of_a_gpu_changes_no_value(shift: str, frames: torch.Tensor) -> None:
    """Channels last, in which a GPU's convolutions work: shifts move the same channels."""
    backbone = load_backbone(DEMO, shift=shift, placement=CPU)
    clips = clips_of(backbone, frames)
    expected = backbone(clips)
    backbone.module.to(memory_format=torch.channels_last)
    torch.testing.assert_close(backbone(clips), expected, rtol=2e-3, atol=2e-3)
