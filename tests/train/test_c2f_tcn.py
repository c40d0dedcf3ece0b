"""The network against a second one, written as plain functions of the published weights' names.

Axes: B sequences, D feature width, K classes, T steps.
"""

import pytest
import torch
import torch.nn.functional as F

from sync_train.models.c2f_tcn import C2FTCN, LEVELS, MIN_STEPS

Weights = dict[str, torch.Tensor]

DECODER = {"up": "outcc0", "up0": "outcc1", "up1": "outcc2", "up2": "outcc3", "up3": "outcc4", "up4": "outcc"}
"""Decoder blocks from the coarsest to the finest, and the head of each."""


class Reference:
    """C2F-TCN in the words of its description: each step is spelt out, no module is used."""

    def __init__(self, weights: Weights, *, training: bool) -> None:
        self.weights = weights
        self.training = training

    def __call__(self, x: torch.Tensor) -> tuple[Weights, Weights]:
        """Logits and representations by level, of features (B, D, T)."""
        skips = [self.double_conv(x, "inc.conv")]
        for number in range(1, 7):
            pooled = self.max_pool(skips[-1], 2)
            skips.append(self.double_conv(pooled, f"down{number}.max_pool_conv.1"))
        x = self.pyramid(skips.pop())
        logits, representations = {}, {}
        for level, (block, head) in zip(reversed(LEVELS), DECODER.items(), strict=True):
            x = self.up(x, skips.pop(), block)
            representations[level] = x
            logits[level] = self.conv(x, f"{head}.conv", padding=0)
        return logits, representations

    def double_conv(self, x: torch.Tensor, name: str) -> torch.Tensor:
        for place in (0, 3):
            x = self.conv(x, f"{name}.conv.{place}", padding=2)
            x = self.normalize(x, f"{name}.conv.{place + 1}").clamp(min=0)
        return x

    def conv(self, x: torch.Tensor, name: str, padding: int) -> torch.Tensor:
        """As a sum over the kernel's places of matrix products."""
        kernel, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        num_steps = x.shape[2]
        x = F.pad(x, (padding, padding))
        parts = [kernel[:, :, k] @ x[:, :, k : k + num_steps] for k in range(kernel.shape[2])]
        return torch.stack(parts).sum(0) + bias[:, None]

    def normalize(self, x: torch.Tensor, name: str) -> torch.Tensor:
        if self.training:
            mean, variance = x.mean((0, 2)), x.var((0, 2), unbiased=False)
        else:
            mean, variance = (self.weights[f"{name}.running_{what}"] for what in ("mean", "var"))
        scale = self.weights[f"{name}.weight"] / (variance + 1e-5).sqrt()
        return (x - mean[:, None]) * scale[:, None] + self.weights[f"{name}.bias"][:, None]

    def max_pool(self, x: torch.Tensor, length: int) -> torch.Tensor:
        whole = x.shape[2] // length * length
        return x[:, :, :whole].unflatten(2, (-1, length)).amax(3)

    def pyramid(self, x: torch.Tensor) -> torch.Tensor:
        maps = [self.conv(self.max_pool(x, length), "tpp.conv", padding=0) for length in (2, 3, 5, 6)]
        return torch.cat([*(self.stretch(each, x.shape[2]) for each in maps), x], dim=1)

    def up(self, x: torch.Tensor, skip: torch.Tensor, name: str) -> torch.Tensor:
        x = self.stretch(x, 2 * x.shape[2])
        missing = skip.shape[2] - x.shape[2]
        before = torch.zeros(*x.shape[:2], missing // 2, dtype=x.dtype)
        after = torch.zeros(*x.shape[:2], missing - missing // 2, dtype=x.dtype)
        return self.double_conv(
            torch.cat([skip, torch.cat([before, x, after], dim=2)], dim=1), f"{name}.conv"
        )

    def stretch(self, x: torch.Tensor, num_steps: int) -> torch.Tensor:
        """Linear interpolation in which the first and the last step stay where they are."""
        places = torch.linspace(0, x.shape[2] - 1, num_steps, dtype=torch.float64)
        left = places.floor().long().clamp(max=max(0, x.shape[2] - 2))
        right = (left + 1).clamp(max=x.shape[2] - 1)
        share = (places - left).to(x.dtype)
        return x[:, :, left] * (1 - share) + x[:, :, right] * share


def make_network(feature_dim: int = 6, num_classes: int = 4, seed: int = 0) -> C2FTCN:
    """Float64, with statistics and weights that no default would give."""
    torch.manual_seed(seed)
    network = C2FTCN(feature_dim=feature_dim, num_classes=num_classes).double()
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.3)
        elif name.endswith("running_var") or (name.endswith("weight") and tensor.ndim == 1):
            tensor.uniform_(0.5, 1.5)
    return network


def assert_equal(found: Weights, wanted: Weights) -> None:
    assert tuple(found) == LEVELS
    for level in LEVELS:
        torch.testing.assert_close(found[level], wanted[level], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("num_steps", [384, 500, 600, 1200])
def test_same_weights_same_outputs(num_steps: int, training: bool) -> None:
    network = make_network().train(training)
    features = torch.randn(1, 6, num_steps, dtype=torch.float64)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    logits, representations = Reference(weights, training=training)(features)
    with torch.no_grad():
        found = network.levels(features)
    assert_equal(found.logits, logits)
    assert_equal(found.representations, representations)


def test_forward_gives_the_six_levels_by_name() -> None:
    network = make_network().eval()
    with torch.no_grad():
        outputs = network(torch.zeros(2, 6, 1200, dtype=torch.float64))
    lengths = {"y": 1200, "y5": 600, "y4": 300, "y3": 150, "y2": 75, "y1": 37}
    assert {level: tuple(logits.shape) for level, logits in outputs.items()} == {
        level: (2, 4, length) for level, length in lengths.items()
    }


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("num_steps", [1, 2, 63, 100, 383])
def test_short_input_is_the_padded_one_cropped(num_steps: int, training: bool) -> None:
    """The published network fails below 384 steps."""
    network = make_network().train(training)
    features = torch.randn(2, 6, num_steps, dtype=torch.float64)
    padded = torch.zeros(2, 6, MIN_STEPS, dtype=torch.float64)
    padded[:, :, :num_steps] = features
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    logits, representations = Reference(weights, training=training)(padded)
    with torch.no_grad():
        found = network.levels(features)
    lengths = [num_steps]
    for _ in LEVELS[1:]:
        lengths.append((lengths[-1] + 1) // 2)
    cropped = dict(zip(LEVELS, lengths, strict=True))
    assert_equal(found.logits, {level: x[..., : cropped[level]] for level, x in logits.items()})
    assert_equal(
        found.representations, {level: x[..., : cropped[level]] for level, x in representations.items()}
    )


@pytest.mark.parametrize(
    ("feature_dim", "num_classes", "published"),
    [
        (1024, 202, 5_578_051),
        (2048, 202, 6_888_771),
        (1024, 33, 5_447_245),
        (1024, 32, 5_446_471),
        (1536, 33, 6_102_605),
        (1536, 32, 6_101_831),
    ],
)
def test_number_of_parameters(feature_dim: int, num_classes: int, published: int) -> None:
    """Counted on the published network, whose `weights`, six numbers, nothing uses."""
    with torch.device("meta"):
        network = C2FTCN(feature_dim=feature_dim, num_classes=num_classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == published - 6
    assert sum(buffer.numel() for buffer in network.buffers()) == 8_218 + 6


def test_names_and_shapes_are_those_of_published_checkpoints() -> None:
    wanted: dict[str, tuple[int, ...]] = {
        "weights": (6,),
        "tpp.conv.weight": (1, 128, 1),
        "tpp.conv.bias": (1,),
    }
    blocks = {"inc.conv": (1024, 256)}
    widths = [256, 256, 256, 128, 128, 128, 128]
    for number in range(1, 7):
        blocks[f"down{number}.max_pool_conv.1"] = (widths[number - 1], widths[number])
    for block, width_in in zip(DECODER, (260, 256, 256, 384, 384, 384), strict=True):
        blocks[f"{block}.conv"] = (width_in, 128)
    for name, (width_in, width) in blocks.items():
        for place, width_before in ((0, width_in), (3, width)):
            wanted[f"{name}.conv.{place}.weight"] = (width, width_before, 5)
            wanted[f"{name}.conv.{place}.bias"] = (width,)
            for what in ("weight", "bias", "running_mean", "running_var"):
                wanted[f"{name}.conv.{place + 1}.{what}"] = (width,)
            wanted[f"{name}.conv.{place + 1}.num_batches_tracked"] = ()
    for head in DECODER.values():
        wanted[f"{head}.conv.weight"], wanted[f"{head}.conv.bias"] = (202, 128, 1), (202,)
    with torch.device("meta"):
        found = C2FTCN(feature_dim=1024, num_classes=202).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == wanted
    assert len(found) == 197


def test_every_parameter_is_used() -> None:
    network = make_network()
    outputs = network(torch.randn(1, 6, MIN_STEPS, dtype=torch.float64))
    torch.autograd.backward(torch.stack([logits.square().sum() for logits in outputs.values()]).sum())
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("shape", [(6, 400), (1, 7, 400), (1, 6, 0), (1, 400, 6)])
def test_wrong_input_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected features \(B, 6, T\) with T of at least 1, got \("):
        make_network()(torch.zeros(shape, dtype=torch.float64))
