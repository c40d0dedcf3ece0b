"""Swin3D against a reference without windows, rolls or index tables: every token attends to every other one, and
each pair is asked where its tokens lie."""

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from sync_extract.backbones.omnivore import SIZES
from sync_extract.backbones.swin3d import Swin3D, Swin3DSize
from sync_extract.backbones.swin3d_windows import (
    from_windows,
    relative_position_index,
    to_windows,
    window_kinds,
)

State = dict[str, torch.Tensor]

PUBLISHED_WINDOW = (8, 7, 7)


def random_network(size: Swin3DSize, *, bias_scale: float = 1.0) -> Swin3D:
    torch.manual_seed(0)
    module = Swin3D(size).double().eval().requires_grad_(False)
    for name, weights in module.named_parameters():
        fan_in = weights[0].numel() if weights.ndim > 1 else 4
        torch.nn.init.normal_(weights, std=bias_scale if "bias_table" in name else fan_in**-0.5)
        if "norm" in name and name.endswith("weight"):
            weights += 1
    return module


def reference(state: State, size: Swin3DSize, clip_3Thw: torch.Tensor) -> torch.Tensor:
    """Feature (D,) of one clip, after the published description."""
    tokens = reference_patches(state, clip_3Thw)
    for stage, depth in enumerate(size.depths):
        for block in range(depth):
            prefix = f"layers.{stage}.blocks.{block}."
            normed = norm(state, prefix + "norm1", tokens)
            shift = [side // 2 if block % 2 else 0 for side in size.window]
            tokens = tokens + reference_attention(
                state, prefix + "attn.", normed, size.num_heads[stage], size.window, shift
            )
            hidden = F.gelu(linear(state, prefix + "mlp.fc1", norm(state, prefix + "norm2", tokens)))
            tokens = tokens + linear(state, prefix + "mlp.fc2", hidden)
        if stage < len(size.depths) - 1:
            tokens = reference_merging(state, f"layers.{stage}.downsample.", tokens)
    return norm(state, "norm", tokens).mean((0, 1, 2))


def norm(state: State, name: str, tokens: torch.Tensor) -> torch.Tensor:
    centred = tokens - tokens.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * state[name + ".weight"] + state[name + ".bias"]


def linear(state: State, name: str, tokens: torch.Tensor) -> torch.Tensor:
    product = tokens @ state[name + ".weight"].T
    return product + state[name + ".bias"] if name + ".bias" in state else product


def reference_patches(state: State, clip_3Thw: torch.Tensor) -> torch.Tensor:
    weight = state["patch_embed.proj.weight"]
    num_frames, height, width = clip_3Thw.shape[1:]
    grid = (-(-num_frames // 2), -(-height // 4), -(-width // 4))
    padded = clip_3Thw.new_zeros(3, 2 * grid[0], 4 * grid[1], 4 * grid[2])
    padded[:, :num_frames, :height, :width] = clip_3Thw
    tokens = clip_3Thw.new_zeros(*grid, len(weight))
    for t, y, x in itertools.product(*map(range, grid)):
        patch = padded[:, 2 * t : 2 * t + 2, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
        tokens[t, y, x] = weight.flatten(1) @ patch.flatten() + state["patch_embed.proj.bias"]
    return norm(state, "patch_embed.norm", tokens)


def reference_merging(state: State, prefix: str, tokens_tyxC: torch.Tensor) -> torch.Tensor:
    num_t, num_y, num_x, channels = tokens_tyxC.shape
    merged = tokens_tyxC.new_zeros(num_t, (num_y + 1) // 2, (num_x + 1) // 2, 4 * channels)
    for y, x in itertools.product(range(num_y), range(num_x)):
        quarter = (y % 2) + 2 * (x % 2)  # above left, below left, above right, below right
        start = quarter * channels
        merged[:, y // 2, x // 2, start : start + channels] = tokens_tyxC[:, y, x]
    return linear(state, prefix + "reduction", norm(state, prefix + "norm", merged))


def reference_attention(
    state: State,
    prefix: str,
    tokens_tyxC: torch.Tensor,
    num_heads: int,
    full_window: tuple[int, int, int],
    full_shift: list[int],
) -> torch.Tensor:
    """Attention between all pairs of padded tokens, of which those of different windows don't count."""
    sizes = tokens_tyxC.shape[:3]
    fits = [size <= side for size, side in zip(sizes, full_window, strict=True)]
    window = [size if fit else side for size, side, fit in zip(sizes, full_window, fits, strict=True)]
    shift = [0 if fit else step for step, fit in zip(full_shift, fits, strict=True)]
    padded = [-(-size // side) * side for size, side in zip(sizes, window, strict=True)]
    grid = tokens_tyxC.new_zeros(*padded, tokens_tyxC.shape[-1])
    grid[: sizes[0], : sizes[1], : sizes[2]] = tokens_tyxC

    place_M3 = torch.tensor(list(itertools.product(*map(range, padded))))
    # After rolling, the token of place p stands at p - shift, the first ones behind the last ones.
    rolled_M3 = (place_M3 - torch.tensor(shift)) % torch.tensor(padded)
    in_window_M3 = rolled_M3 % torch.tensor(window)
    window_M3 = rolled_M3 // torch.tensor(window)
    region_M3 = torch.zeros_like(rolled_M3)
    for axis in range(3):
        if shift[axis]:
            region_M3[:, axis] += (rolled_M3[:, axis] >= padded[axis] - window[axis]).long()
            region_M3[:, axis] += (rolled_M3[:, axis] >= padded[axis] - shift[axis]).long()
    # A token's number in its window, read as a place in the window that wasn't cut: what `[:N, :N]` means.
    number_M = (in_window_M3[:, 0] * window[1] + in_window_M3[:, 1]) * window[2] + in_window_M3[:, 2]
    rows_and_columns = full_window[1] * full_window[2]
    read_M3 = torch.stack(
        [
            number_M // rows_and_columns,
            number_M // full_window[2] % full_window[1],
            number_M % full_window[2],
        ],
        dim=1,
    )
    step_MM3 = read_M3[:, None] - read_M3[None] + torch.tensor(full_window) - 1
    spans = [2 * side - 1 for side in full_window]
    row_MM = (step_MM3[..., 0] * spans[1] + step_MM3[..., 1]) * spans[2] + step_MM3[..., 2]
    is_same_window_MM = (window_M3[:, None] == window_M3[None]).all(-1)
    is_same_region_MM = (region_M3[:, None] == region_M3[None]).all(-1)

    tokens_MC = grid.flatten(0, 2)
    query, key, value = linear(state, prefix + "qkv", tokens_MC).chunk(3, dim=-1)
    head_dim = query.shape[-1] // num_heads
    heads = []
    for head in range(num_heads):
        part = slice(head * head_dim, (head + 1) * head_dim)
        logits_MM = query[:, part] @ key[:, part].T / head_dim**0.5
        logits_MM += state[prefix + "relative_position_bias_table"][row_MM.clamp_min(0), head]
        logits_MM[~is_same_region_MM] -= 100
        logits_MM[~is_same_window_MM] = -torch.inf
        heads.append(logits_MM.softmax(-1) @ value[:, part])
    mixed = linear(state, prefix + "proj", torch.cat(heads, dim=-1)).unflatten(0, padded)
    return mixed[: sizes[0], : sizes[1], : sizes[2]]


def small(depths: tuple[int, ...], window: tuple[int, int, int]) -> Swin3DSize:
    return Swin3DSize(
        embed_dim=4, depths=depths, num_heads=tuple(2**stage for stage in range(len(depths))), window=window
    )


@pytest.mark.parametrize(
    ("depths", "window", "clip"),
    [
        pytest.param((2, 2, 6, 2), (2, 3, 3), (16, 48, 48), id="depths of Swin-T, all shifted"),
        pytest.param((2, 2, 18, 2), (4, 3, 3), (8, 24, 24), id="depths of Swin-S, B and L"),
        pytest.param((2, 2), PUBLISHED_WINDOW, (6, 32, 60), id="fewer frames than a window, padded rows"),
        pytest.param((2,), PUBLISHED_WINDOW, (20, 28, 32), id="more frames than a window, padded time"),
        pytest.param((2, 2), PUBLISHED_WINDOW, (16, 56, 56), id="whole windows"),
        pytest.param((2, 2), PUBLISHED_WINDOW, (10, 20, 24), id="fewer rows and columns than a window"),
        pytest.param((2, 2, 2), (2, 3, 3), (7, 29, 46), id="odd sizes all the way"),
        pytest.param((2, 2), (2, 3, 3), (1, 40, 40), id="one frame"),
        pytest.param((2,), (16, 7, 7), (32, 28, 28), id="a window over all of time, as Swin-B's"),
    ],
)
def test_equals_the_reference(
    depths: tuple[int, ...], window: tuple[int, int, int], clip: tuple[int, int, int]
) -> None:
    size = small(depths, window)
    module = random_network(size)
    clip_3Thw = torch.randn(3, *clip, dtype=torch.float64)
    expected = reference(module.state_dict(), size, clip_3Thw)
    torch.testing.assert_close(module(clip_3Thw[None])[0], expected, rtol=1e-9, atol=1e-9)
    single = module.float()(clip_3Thw[None].float())[0].double()
    assert (single - expected).norm() / expected.norm() < 1e-4


def test_other_regions_are_weakened_by_100_and_not_cut_off() -> None:
    size = small((2, 2), (2, 3, 3))
    module = random_network(size, bias_scale=60)
    clip_3Thw = torch.randn(3, 8, 24, 24, dtype=torch.float64)
    expected = reference(module.state_dict(), size, clip_3Thw)
    torch.testing.assert_close(module(clip_3Thw[None])[0], expected, rtol=1e-9, atol=1e-9)


def test_clips_of_a_batch_are_apart() -> None:
    module = random_network(small((2, 2), (2, 3, 3)))
    clips = torch.randn(3, 3, 8, 36, 40, dtype=torch.float64)
    together = module(clips)
    torch.testing.assert_close(together, torch.cat([module(clip[None]) for clip in clips]))


def test_a_change_reaches_beyond_its_window_through_the_shift() -> None:
    """Without the second block a token of the first window would see nothing of the second."""
    size = small((2,), (2, 3, 3))
    module = random_network(size)
    clip = torch.randn(1, 3, 4, 12, 24, dtype=torch.float64)
    changed = clip.clone()
    changed[..., 12:16] += 1  # the fourth column of tokens, first of the second window
    block_by_block = []
    tokens, other = module.patch_embed(clip), module.patch_embed(changed)
    for block in module.layers[0].blocks:
        tokens, other = block(tokens), block(other)
        block_by_block.append((tokens != other).any(-1).any(2).any(1)[0].tolist())
    assert block_by_block == [[False] * 3 + [True] * 3, [False] + [True] * 5]


def test_windows_and_back() -> None:
    grid = torch.arange(2 * 4 * 6 * 9 * 5).reshape(2, 4, 6, 9, 5)
    windows = to_windows(grid, (2, 3, 3))
    assert windows.shape == (2, 2, 2, 3, 18, 5)
    assert torch.equal(windows[1, 1, 0, 2], grid[1, 2:4, 0:3, 6:9].flatten(0, 2))
    assert torch.equal(from_windows(windows, (2, 3, 3)), grid)


@pytest.mark.parametrize("shift", [(0, 0, 0), (1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 0, 0)])
def test_kinds_of_windows_cover_each_window_once(shift: tuple[int, int, int]) -> None:
    counts = torch.zeros(3, 2, 4)
    for place, regions_L in window_kinds((2, 3, 3), shift):
        counts[place] += 1
        assert regions_L.shape == (18,)
    assert torch.equal(counts, torch.ones(3, 2, 4))


def test_relative_positions_of_a_window_of_two() -> None:
    """Differences of places from -1 to 1, so that 1 is no difference."""
    assert relative_position_index((2, 1, 1)).tolist() == [[1, 0], [2, 1]]
    assert relative_position_index((1, 1, 2)).tolist() == [[1, 0], [2, 1]]
    assert relative_position_index((1, 2, 2)).tolist() == [
        [4, 3, 1, 0],
        [5, 4, 2, 1],
        [7, 6, 4, 3],
        [8, 7, 5, 4],
    ]


@pytest.fixture(scope="module")
def outline() -> Callable[[str], Swin3D]:
    def build(name: str) -> Swin3D:
        with torch.device("meta"):
            return Swin3D(SIZES[name])

    return build


def test_swin_l_has_the_published_sizes(outline: Callable[[str], Swin3D]) -> None:
    """facebookresearch/omnivore, omnivore_model.py, built and counted."""
    module = outline("omnivore-swin-l")
    trunk = sum(weights.numel() for weights in module.parameters())
    assert trunk == 196_345_836
    heads = sum((1536 + 1) * classes for classes in (1000, 19, 400))
    assert trunk + heads == 198_526_839
    state = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    assert len(state) == 355
    assert [state[f"layers.{stage}.blocks.0.attn.relative_position_bias_table"] for stage in range(4)] == [
        (2535, heads) for heads in (6, 12, 24, 48)
    ]
    golden = {
        "patch_embed.proj.weight": (192, 3, 2, 4, 4),
        "patch_embed.norm.bias": (192,),
        "depth_patch_embed.proj.weight": (192, 1, 2, 4, 4),
        "layers.0.blocks.1.attn.relative_position_index": (392, 392),
        "layers.0.downsample.reduction.weight": (384, 768),
        "layers.0.downsample.norm.weight": (768,),
        "layers.2.blocks.17.attn.qkv.weight": (2304, 768),
        "layers.2.blocks.17.attn.proj.bias": (768,),
        "layers.3.blocks.1.mlp.fc1.weight": (6144, 1536),
        "layers.3.blocks.1.mlp.fc2.weight": (1536, 6144),
        "layers.3.blocks.1.norm2.weight": (1536,),
        "norm.weight": (1536,),
    }
    assert {name: state.get(name) for name in golden} == golden
    assert "layers.3.downsample.norm.weight" not in state


@pytest.mark.parametrize(
    ("name", "feature_dim", "num_differences"),
    [
        ("omnivore-swin-t", 768, 2535),
        ("omnivore-swin-s", 768, 2535),
        ("omnivore-swin-b", 1024, 5239),
        ("omnivore-swin-l", 1536, 2535),
    ],
)
def test_tokens_and_features_of_a_clip(
    outline: Callable[[str], Swin3D], name: str, feature_dim: int, num_differences: int
) -> None:
    module = outline(name)
    grids: list[tuple[int, ...]] = []
    for part in (module.patch_embed, *module.layers):
        part.register_forward_hook(lambda _part, _inputs, tokens: grids.append(tuple(tokens.shape)))
    with torch.inference_mode():
        features = module(torch.empty(2, 3, 32, 224, 224, device="meta"))
    width = SIZES[name].embed_dim
    assert grids == [
        (2, 16, 56, 56, width),
        (2, 16, 28, 28, 2 * width),
        (2, 16, 14, 14, 4 * width),
        (2, 16, 7, 7, 8 * width),
        (2, 16, 7, 7, 8 * width),
    ]
    assert features.shape == (2, feature_dim)
    table = module.state_dict()["layers.0.blocks.0.attn.relative_position_bias_table"]
    assert table.shape[0] == num_differences


def test_omnivore_makes_all_of_its_masks_where_it_runs() -> None:
    """A tensor made on the processor would meet those of the device "meta", which is an error; capture forbids it."""
    with torch.device("meta"):
        module = Swin3D(SIZES["omnivore-swin-t"])
    clips = torch.empty(2, 3, 32, 224, 224, device="meta")
    assert module(clips).shape == (2, 768) and module(clips).is_meta
