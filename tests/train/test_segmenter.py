"""The whole model: standardised, adapted, segmented. Axes: B sequences, T steps, D feature width."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate

from sync_train.models.adapter import Adapter, AdapterConfig
from sync_train.models.c2f_tcn import C2FTCN, LEVELS
from sync_train.models.segmenter import MIN_DEVIATION, Segmenter, Standardizer


def make_segmenter(*, adapted: bool) -> Segmenter:
    torch.manual_seed(0)
    adapter = None
    if adapted:
        adapter = Adapter(AdapterConfig(feature_dim=4, num_layers=1, num_heads=1, ffn_dim=4))
        nn.init.normal_(adapter.out.weight)
    return Segmenter(Standardizer(4), C2FTCN(feature_dim=4, num_classes=3), adapter).eval()


def test_standardizer_is_the_identity_until_fitted() -> None:
    rows = torch.randn(2, 5, 4)
    assert torch.equal(Standardizer(4)(rows), rows)


def test_standardizer_takes_mean_and_deviation_over_all_rows() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([1, 100, 0.01, 0])  # the last feature never varies
    sequences = [(rng.normal(3, 1, (length, 4)) * scale + 7).astype(np.float16) for length in (1, 50, 200)]
    standardizer = Standardizer(4)
    standardizer.fit(torch.from_numpy(sequence) for sequence in sequences)
    everything = np.concatenate(sequences).astype(np.float64)
    np.testing.assert_allclose(standardizer.mean_D, everything.mean(0), rtol=1e-6)
    wanted = np.maximum(everything.std(0), MIN_DEVIATION)
    np.testing.assert_allclose(standardizer.deviation_D, wanted, rtol=1e-4)
    standardized = standardizer(torch.from_numpy(everything).float())
    np.testing.assert_allclose(standardized.std(0, correction=0), [1, 1, 1, 0], atol=1e-3)


def test_features_are_standardised_then_adapted_then_zero_where_padded() -> None:
    segmenter = make_segmenter(adapted=True)
    segmenter.standardizer.mean_D.fill_(2.0)
    segmenter.standardizer.deviation_D.fill_(4.0)
    rows, valid = torch.randn(2, 9, 4), torch.arange(9)[None] < torch.tensor([[9], [4]])
    assert segmenter.adapter is not None
    wanted = segmenter.adapter((rows - 2) / 4, valid)
    wanted[1, 4:] = 0
    torch.testing.assert_close(segmenter.features(rows, valid), wanted)


def test_padding_never_matters() -> None:
    for adapted in (False, True):
        segmenter = make_segmenter(adapted=adapted)
        rows, valid = torch.randn(2, 400, 4), torch.arange(400)[None] < torch.tensor([[400], [90]])
        garbage = rows.clone()
        garbage[1, 90:] = 1e3
        with torch.no_grad():
            found, wanted = segmenter(garbage, valid).logits, segmenter(rows, valid).logits
        for level in LEVELS:
            torch.testing.assert_close(found[level], wanted[level], rtol=1e-4, atol=1e-5)


def test_without_adapter_it_is_the_network() -> None:
    segmenter = make_segmenter(adapted=False)
    rows, valid = torch.randn(1, 400, 4), torch.ones(1, 400, dtype=torch.bool)
    with torch.no_grad():
        found, wanted = segmenter(rows, valid).logits, segmenter.c2f_tcn(rows.transpose(1, 2))
    assert all(torch.equal(found[level], wanted[level]) for level in LEVELS)


def test_probabilities_are_the_weighted_ensemble() -> None:
    """Without the two coarsest levels, as in C2F-TCN's own repository, and with all alike."""
    segmenter = make_segmenter(adapted=True)
    rows, valid = torch.randn(2, 400, 4), torch.arange(400)[None] < torch.tensor([[400], [90]])
    with torch.no_grad():
        logits = segmenter(rows, valid).logits
        for shares in ((1, 1, 1, 1, 1, 1), (1, 1, 1, 1, 0, 0), (0, 3, 0, 0, 0, 1)):
            segmenter.ensemble_weights = shares
            wanted = torch.zeros(2, 3, 400)
            for share, level in zip(shares, LEVELS, strict=True):
                stretched = interpolate(logits[level], size=400, mode="linear", align_corners=True)
                wanted += share / sum(shares) * stretched.softmax(1)
            torch.testing.assert_close(segmenter.probabilities(rows, valid), wanted)


def test_lower_precision_multiplies_in_it_and_keeps_the_rest() -> None:
    """Near the float32 result but not equal; outputs, weights and gradients stay float32."""
    exact = make_segmenter(adapted=True)
    coarse = Segmenter(exact.standardizer, exact.c2f_tcn, exact.adapter, precision=torch.bfloat16)
    rows, valid = torch.randn(2, 400, 4), torch.arange(400)[None] < torch.tensor([[400], [90]])
    wanted, found = exact(rows, valid), coarse(rows, valid)
    for outputs in (wanted, found):
        values = [*outputs.logits.values(), *outputs.representations.values()]
        assert {value.dtype for value in values} == {torch.float32}
    for level in LEVELS:
        torch.testing.assert_close(found.logits[level], wanted.logits[level], rtol=0.1, atol=0.05)
        assert not torch.equal(found.logits[level], wanted.logits[level])
    torch.autograd.backward(torch.stack([logits.square().mean() for logits in found.logits.values()]).sum())
    assert {tensor.dtype for tensor in coarse.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in coarse.parameters() if p.grad is not None} == {torch.float32}
