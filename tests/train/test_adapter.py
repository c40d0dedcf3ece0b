"""The adapter: what it mixes, what it must not see, and its size. Axes: B sequences, T steps, D feature width."""

import pytest
import torch
from torch import nn

from sync_train.models.adapter import Adapter, AdapterConfig

SMALL = AdapterConfig(feature_dim=8, num_layers=2, num_heads=2, ffn_dim=16)


def make_adapter(config: AdapterConfig = SMALL) -> Adapter:
    """In evaluation mode, with an output that isn't zero any more, as after some training."""
    torch.manual_seed(0)
    adapter = Adapter(config).double().eval()
    nn.init.normal_(adapter.out.weight, std=0.5)
    nn.init.normal_(adapter.out.bias, std=0.5)
    return adapter


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


ALL_20 = torch.ones(1, 20, dtype=torch.bool)


def test_starts_as_the_identity() -> None:
    rows = torch.randn(2, 20, 8)
    valid = torch.arange(20)[None] < torch.tensor([[20], [7]])
    adapter = Adapter(SMALL)
    for mode in (True, False):
        assert torch.equal(adapter.train(mode)(rows, valid), rows)


def test_every_step_depends_on_every_other() -> None:
    """The published adapter attends over the batch instead: a change of step 5 changes output 5 alone."""
    adapter, rows = make_adapter(), draw(1, 20, 8)
    before = adapter(rows, ALL_20)
    for step in (0, 5, 19):
        changed = rows.clone()
        changed[0, step, 3] += 1  # one feature: the norm takes away what all have in common
        moved = (adapter(changed, ALL_20) - before)[0].abs().amax(1)
        assert (moved > 1e-6).all()


def test_order_matters() -> None:
    """Without positions a permuted sequence would give the permuted output."""
    adapter, rows = make_adapter(), draw(1, 20, 8)
    backwards = adapter(rows.flip(1), ALL_20).flip(1)
    assert not torch.allclose(adapter(rows, ALL_20), backwards, atol=1e-3)


def test_sequences_of_a_batch_dont_see_each_other() -> None:
    adapter, rows = make_adapter(), draw(3, 20, 8)
    together = adapter(rows, ALL_20.expand(3, -1))
    for index in range(3):
        alone = adapter(rows[index : index + 1], ALL_20)
        torch.testing.assert_close(together[index : index + 1], alone)


@pytest.mark.parametrize("training", [True, False], ids=["gradient", "inference"])
def test_padding_is_not_seen_and_comes_out_as_it_went_in(training: bool) -> None:
    """Both ways through torch's encoder: with gradients, and the fused one of inference."""
    adapter, rows = make_adapter(), draw(2, 20, 8)
    valid = torch.arange(20)[None] < torch.tensor([[20], [12]])
    garbage = rows.clone()
    garbage[1, 12:] = 1e3
    with torch.set_grad_enabled(training):
        adapted, adapted_garbage = adapter(rows, valid), adapter(garbage, valid)
        cut = adapter(rows[1:, :12], valid[1:, :12])
    torch.testing.assert_close(adapted_garbage[1, :12], adapted[1, :12])
    torch.testing.assert_close(adapted[1, :12], cut[0])
    torch.testing.assert_close(adapted_garbage[1, 12:], garbage[1, 12:], rtol=0, atol=0)


def test_moves_along_a_residual() -> None:
    """With weights that give a constant, the output is the input and that constant."""
    adapter = make_adapter()
    nn.init.zeros_(adapter.out.weight)
    rows = draw(1, 20, 8)
    torch.testing.assert_close(adapter(rows, ALL_20), rows + adapter.out.bias)


def test_size_at_the_papers_setting() -> None:
    """torch's encoder of 12 layers, 16 heads and 1,024 hidden units, our last norm and our output."""
    with torch.device("meta"):
        adapter = Adapter(AdapterConfig(feature_dim=1024))
    count = sum(parameter.numel() for parameter in adapter.parameters())
    assert count == 75_620_352 + 2 * 1024 + (1024 * 1024 + 1024)
    layers = adapter.encoder.layers
    assert len(layers) == 12
    assert all(layer.self_attn.num_heads == 16 and layer.norm_first for layer in layers)
    assert all(layer.linear1.out_features == 1024 for layer in layers)


@pytest.mark.parametrize("feature_dim", [5, 6])
def test_any_width_works(feature_dim: int) -> None:
    """Odd ones too: sines and cosines don't come in equal numbers."""
    adapter = make_adapter(AdapterConfig(feature_dim=feature_dim, num_layers=1, num_heads=1, ffn_dim=4))
    assert adapter(draw(1, 20, feature_dim), ALL_20).shape == (1, 20, feature_dim)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"num_heads must divide the feature width 10, got 4"):
        AdapterConfig(feature_dim=10, num_heads=4)
