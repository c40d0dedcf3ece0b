"""What distillation changes, what it leaves alone, and what it sees.

Axes: B sequences, P rows of a pair, L padded steps, D feature width.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from sync_train.batches import Windowing
from sync_train.fit_config import ALIGNED, UNSYNCHRONIZED, AdapterFitConfig, Loss, Pairing, StudentConfig
from sync_train.losses.config import GRLConfig, MMDConfig
from sync_train.losses.distillation import feature_distillation, tas_distillation
from sync_train.models.adapter import Adapter, AdapterConfig
from sync_train.models.c2f_tcn import C2FTCN
from sync_train.models.segmenter import Segmenter, Standardizer
from sync_train.pair_batches import PairBatches
from sync_train.pairs import Pair
from sync_train.pooling import pool_rows
from sync_train.tasks.distillation import FeatureDistillationTask, TASDistillationTask

WINDOWING = Windowing(chunk_rows=4, max_chunks=25)
CPU = torch.device("cpu")


def make_pairs(lengths: tuple[int, ...] = (90, 150), feature_dim: int = 4) -> list[Pair]:
    generator = torch.Generator().manual_seed(7)
    return [
        Pair(
            name=str(number),
            teacher_PD=torch.randn(length, feature_dim, generator=generator).half(),
            student_PD=torch.randn(length, feature_dim, generator=generator).half(),
            coverage=1.0,
            max_distance_ns=0,
            seconds=length / 10,
        )
        for number, length in enumerate(lengths)
    ]


def batches_of(
    pairs: list[Pair], *, zoom: bool = True, batch_size: int = 4, seed: int = 0, **options: Any
) -> PairBatches:
    return PairBatches(pairs, WINDOWING, batch_size=batch_size, zoom=zoom, seed=seed, device=CPU, **options)


def make_model(*, adapted: bool = False) -> Segmenter:
    torch.manual_seed(0)
    adapter = None
    if adapted:
        adapter = Adapter(AdapterConfig(feature_dim=4, num_layers=1, num_heads=1, ffn_dim=4, dropout=0.0))
    return Segmenter(Standardizer(4), C2FTCN(feature_dim=4, num_classes=3), adapter)


def one_step(task: FeatureDistillationTask | TASDistillationTask, epoch: int = 0) -> torch.Tensor:
    """The first step of an epoch, as the loop does it."""
    task.module.train()
    losses = next(iter(task.losses(epoch)))
    for optimizer in task.optimizers:
        optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(losses["loss"])
    for optimizer in task.optimizers:
        optimizer.step()
    return losses["loss"].detach()


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: nn.Module) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def windows_of(pairs: list[Pair]) -> Iterator[torch.Tensor]:
    for pair in pairs:
        for start in range(0, len(pair.teacher_PD), WINDOWING.window_rows):
            yield pair.teacher_PD[start : start + WINDOWING.window_rows]


@pytest.mark.parametrize("zoom", [True, False])
def test_both_views_are_pooled_over_the_same_rows(zoom: bool) -> None:
    """Both hold their row's number, so each pooled step tells which rows it is made of."""
    numbers = [torch.arange(length, dtype=torch.float16)[:, None] + 1 for length in (90, 150)]
    pairs = [
        Pair(
            name=str(i),
            teacher_PD=rows,
            student_PD=rows.clone(),
            coverage=1.0,
            max_distance_ns=0,
            seconds=1.0,
        )
        for i, rows in enumerate(numbers)
    ]
    sizes = set()
    for epoch in range(15):
        seen = 0
        for exo, ego in batches_of(pairs, zoom=zoom).epoch(epoch):
            assert torch.equal(exo.rows_BLD, ego.rows_BLD) and torch.equal(exo.valid_BL, ego.valid_BL)
            assert exo.classes_BL is None and ego.classes_BL is None
            for rows_LD, valid_L in zip(exo.rows_BLD, exo.valid_BL, strict=True):
                last = rows_LD[valid_L, 0].long()
                sizes.add(int(last[1] - last[0]))
                start = int(last[0]) - int(last[1] - last[0])
                seen += int(last[-1]) - start
        assert seen == 90 + 150  # every row of every pair, once an epoch
    assert sizes == ({2, 3, 4, 5, 6, 7} if zoom else {4})


def test_pooled_steps_are_those_of_each_view() -> None:
    pairs = make_pairs((90,))
    ((exo, ego),) = batches_of(pairs, zoom=False).epoch(0)
    for batch, rows_PD in ((exo, pairs[0].teacher_PD), (ego, pairs[0].student_PD)):
        wanted = torch.stack([rows_PD[start : start + 4].amax(0) for start in range(0, 90, 4)])
        torch.testing.assert_close(batch.rows_BLD[0, :23], wanted.float())
        assert batch.valid_BL[0].sum() == 23 and not batch.rows_BLD[0, 23:].any()


def names_without_gradient(**config: Any) -> set[str]:
    """Modules of an adapted student that a step leaves without a gradient."""
    student = make_model(adapted=True)
    task = TASDistillationTask(student, make_model(), batches_of(make_pairs()), None, StudentConfig(**config))
    one_step(task)
    without = {name for name, parameter in student.named_parameters() if parameter.grad is None}
    modules = {name.split(".")[1] for name in without}
    for module in modules:  # a module has a gradient as a whole, or has none
        assert {name for name in state(student) if name.startswith(f"c2f_tcn.{module}.")} - without <= {
            name for name, _ in student.named_buffers()
        }
    return modules


HEADS = ["outcc4", "outcc3", "outcc2", "outcc1", "outcc0", "outcc"]
"""Of levels 1 to 6."""


@pytest.mark.parametrize("last", range(1, 7))
def test_which_parameters_get_a_gradient_from_logits(last: int) -> None:
    """Level 1 needs all but the finest block `up4`; each level trains its own head. The paper's 1-5 leaves the
    finest block and the finest head as the teacher had them."""
    without = {*HEADS[last:]} | ({"up4"} if last < 6 else set())
    assert names_without_gradient(levels=tuple(range(1, last + 1))) == without


@pytest.mark.parametrize("last", range(1, 7))
def test_which_parameters_get_a_gradient_from_representations(last: int) -> None:
    """No head ever; its input alone is matched."""
    without = {*HEADS} | ({"up4"} if last < 6 else set())
    assert names_without_gradient(levels=tuple(range(1, last + 1)), match="representations") == without


def test_the_coarsest_level_alone_trains_no_decoder_block_above_it() -> None:
    assert names_without_gradient(levels=(5,)) == {"up0", "up1", "up2", "up3", "up4", *HEADS} - {"outcc0"}


def test_parameters_without_a_gradient_stay_as_they_are() -> None:
    """Weight decay must not move them either."""
    student = make_model()
    before = state(student)
    config = StudentConfig(levels=(1, 2, 3, 4, 5), weight_decay=0.1)
    one_step(TASDistillationTask(student, make_model(), batches_of(make_pairs()), None, config))
    moved = changed(before, student) - {name for name, _ in student.named_buffers()}
    assert not any(name.startswith(("c2f_tcn.up4", "c2f_tcn.outcc.")) for name in moved)
    assert any(name.startswith("c2f_tcn.up3") for name in moved)


def test_the_teacher_stays_as_it_is() -> None:
    """Its weights, and its batch statistics, although the student trains beside it."""
    teacher = make_model().train()
    before = state(teacher)
    task = TASDistillationTask(
        make_model(adapted=True), teacher, batches_of(make_pairs()), batches_of(make_pairs()), StudentConfig()
    )
    one_step(task)
    task.validate()
    assert changed(before, teacher) == set()
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_the_loss_is_that_of_teacher_on_exo_and_student_on_ego() -> None:
    """A student that equals its teacher, on the same view twice, has nothing to learn."""
    pairs = make_pairs((90,))
    config = StudentConfig(levels=(1, 3, 6), reduction="sum", zoom=False)
    student, teacher = make_model(), make_model()
    nn.init.normal_(student.c2f_tcn.outcc.conv.bias)
    task = TASDistillationTask(student, teacher, batches_of(pairs, zoom=False), None, config)
    ((exo, ego),) = batches_of(pairs, zoom=False).epoch(0)
    student.eval()
    (losses,) = task.losses(0)
    with torch.no_grad():
        wanted = tas_distillation(
            student(ego.rows_BLD, ego.valid_BL).logits,
            teacher(exo.rows_BLD, exo.valid_BL).logits,
            ego.valid_BL,
            levels=(1, 3, 6),
            reduction="sum",
        )
    torch.testing.assert_close(losses["loss"].detach(), wanted)

    same = [
        Pair(
            name="s",
            teacher_PD=pairs[0].teacher_PD,
            student_PD=pairs[0].teacher_PD,
            coverage=1.0,
            max_distance_ns=0,
            seconds=1.0,
        )
    ]
    task = TASDistillationTask(make_model(), teacher, batches_of(same), batches_of(same), config)
    assert task.validate() == {"held_out_loss": 0.0, "score": -0.0}


def test_batch_norm_can_keep_the_teachers_statistics() -> None:
    for freeze, moves in ((True, False), (False, True)):
        student = make_model()
        before = state(student)
        config = StudentConfig(freeze_batch_norm=freeze)
        task = TASDistillationTask(student, make_model(), batches_of(make_pairs()), None, config)
        one_step(task)
        one_step(task, epoch=1)
        moved = {name for name in changed(before, student) if "running" in name or "batches" in name}
        assert bool(moved) is moves


def test_the_adapter_is_fine_tuned_at_a_rate_of_its_own() -> None:
    student = make_model(adapted=True)
    assert student.adapter is not None
    nn.init.normal_(student.adapter.out.weight)
    config = StudentConfig(learning_rate=1e-3, adapter_learning_rate=1e-5)
    task = TASDistillationTask(student, make_model(), batches_of(make_pairs()), None, config)
    before = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
    one_step(task)
    steps = {name: (parameter - before[name]).abs().max() for name, parameter in student.named_parameters()}
    adapter = max(step for name, step in steps.items() if name.startswith("adapter."))
    network = max(step for name, step in steps.items() if name.startswith("c2f_tcn."))
    assert 0.5e-5 < adapter < 2e-5 and 0.5e-3 < network < 2e-3  # Adam's first step is the rate
    assert all(step > 0 for name, step in steps.items() if name.startswith("adapter.encoder.layers.0.linear"))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_feature_distillation_trains_the_adapter_alone(optimizer: str) -> None:
    model = make_model(adapted=True)
    before = state(model)
    config = AdapterFitConfig(optimizer=optimizer)  # type: ignore[arg-type]
    task = FeatureDistillationTask(model, batches_of(make_pairs(), zoom=False), None, config)
    losses = [one_step(task) for _ in range(10)]
    assert losses[-1] < losses[0]
    moved = changed(before, model)
    assert moved and all(name.startswith("adapter.") for name in moved)


def test_at_its_start_the_adapters_loss_is_the_distance_of_the_views() -> None:
    pairs = make_pairs((90,))
    model = make_model(adapted=True)
    model.standardizer.mean_D.normal_()
    model.standardizer.deviation_D.fill_(3.0)
    task = FeatureDistillationTask(
        model, batches_of(pairs), batches_of(pairs, zoom=False), AdapterFitConfig()
    )
    pooled = [
        torch.stack([rows[start : start + 4].amax(0) for start in range(0, 90, 4)]).float()
        for rows in (pairs[0].teacher_PD, pairs[0].student_PD)
    ]
    wanted = ((pooled[0] - pooled[1]) / 3).square().mean().item()
    assert task.validate() == pytest.approx({"held_out_loss": wanted, "score": -wanted}, rel=1e-4)


def test_the_exo_view_is_a_target_and_never_an_input() -> None:
    """The published adapter's decoder is fed its own target."""
    pairs = make_pairs((90,))
    others = [replace(pair, teacher_PD=pair.teacher_PD + 5) for pair in pairs]
    model = make_model(adapted=True)
    assert model.adapter is not None
    nn.init.normal_(model.adapter.out.weight)
    model.eval()
    seen: list[torch.Tensor] = []
    hook = model.adapter.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    for chosen in (pairs, others):
        task = FeatureDistillationTask(model, batches_of(chosen), None, AdapterFitConfig())
        (losses,) = task.losses(0)
    hook.remove()
    assert torch.equal(seen[0], seen[1])
    assert losses["loss"] > 1


@pytest.mark.parametrize("kind", ["adapter", "student"])
def test_padding_never_matters(kind: str) -> None:
    """Garbage in the padded steps of a batch, and neither loss nor gradient changes."""
    pairs = make_pairs((90, 60))
    gradients = []
    for garbage in (0.0, 1e3):
        model = make_model(adapted=True)
        assert model.adapter is not None
        nn.init.normal_(model.adapter.out.weight)
        batches = batches_of(pairs, zoom=False)
        original = batches.epoch

        def spoiled(
            epoch: int, original: Callable[[int], Any] = original, garbage: float = garbage
        ) -> Iterator[Any]:
            for exo, ego in original(epoch):
                exo.rows_BLD[~exo.valid_BL] = garbage
                ego.rows_BLD[~ego.valid_BL] = -garbage
                yield exo, ego

        batches.epoch = spoiled  # type: ignore[method-assign]
        task: FeatureDistillationTask | TASDistillationTask
        if kind == "adapter":
            task = FeatureDistillationTask(model, batches, None, AdapterFitConfig())
        else:
            task = TASDistillationTask(model, make_model(), batches, None, StudentConfig())
        loss = one_step(task)
        gradients.append([loss, *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(gradients[0]) == len(gradients[1]) > 10
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_the_published_score_replaces_the_held_out_loss() -> None:
    scored: list[Segmenter] = []

    def score(model: Segmenter) -> dict[str, float]:
        scored.append(model)
        return {"score": 12.0}

    student = make_model()
    task = TASDistillationTask(student, make_model(), batches_of(make_pairs()), score, StudentConfig())
    assert task.validate() == {"score": 12.0}
    assert scored == [student]


def test_held_out_pairs_are_always_pooled_alike() -> None:
    """Else the best epoch would be the one with the luckiest draw."""
    model = make_model(adapted=True)
    held_out = batches_of(make_pairs(), zoom=False)
    task = FeatureDistillationTask(model, batches_of(make_pairs()), held_out, AdapterFitConfig())
    first = task.validate()
    one_step(
        FeatureDistillationTask(copy.deepcopy(model), batches_of(make_pairs()), None, AdapterFitConfig())
    )
    assert task.validate() == first
    assert np.isfinite(first["score"])


@pytest.mark.parametrize(
    ("loss", "pairing"),
    [
        (loss, pairing)
        for loss in get_args(Loss)
        for pairing in get_args(Pairing)
        if not (loss in ALIGNED and pairing in UNSYNCHRONIZED)
    ],
)
def test_equal_models_score_the_same(loss: Any, pairing: Any) -> None:
    """Else the best epoch would be the one with the luckiest partners, subsets or order of frames."""
    procedures = dict.fromkeys("01", "crane")
    held_out = batches_of(make_pairs((100, 80)), zoom=False, pairing=pairing, procedures=procedures)
    mmd = MMDConfig(max_samples=8)
    config = StudentConfig(loss=loss, pairing=pairing, selection="last", levels=(1, 6), mmd=mmd)
    task = TASDistillationTask(make_model(), make_model(), held_out, held_out, config)
    first = task.validate()
    torch.manual_seed(5)
    assert task.validate() == first
    assert first["held_out_loss"] != 0


def test_a_student_whose_reversed_gradient_is_0_stays_and_the_discriminator_learns() -> None:
    """As in the first step of "ganin"; weight decay, which Adam scales up to the rate, is off."""
    student = make_model()
    before = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
    grl = GRLConfig(hidden_dim=8)
    config = StudentConfig(loss="grl", grl=grl, selection="last", weight_decay=0.0, max_epochs=4)
    task = TASDistillationTask(student, make_model(), batches_of(make_pairs()), None, config)
    both = state(task.module)
    one_step(task, epoch=0)
    assert all(torch.equal(parameter, before[name]) for name, parameter in student.named_parameters())
    assert any("discriminators" in name and "weight" in name for name in changed(both, task.module))
    one_step(task, epoch=1)
    assert not any(torch.equal(parameter, before[name]) for name, parameter in student.named_parameters())


@pytest.mark.parametrize("epoch", [0, 3])
def test_the_reversed_gradient_grows_from_batch_to_batch(epoch: int) -> None:
    """By Ganin and Lempitsky's lambda at the share of the fit that is done, against one of a constant 1."""
    gradients: dict[str, list[torch.Tensor]] = {}
    for schedule in ("constant", "ganin"):
        student, teacher = make_model(), make_model()
        grl = GRLConfig(schedule=schedule, hidden_dim=8)  # type: ignore[arg-type]
        config = StudentConfig(loss="grl", grl=grl, selection="last", levels=(1,), max_epochs=5)
        batches = batches_of(make_pairs((90, 80)), batch_size=1)
        task = TASDistillationTask(student, teacher, batches, None, config)
        weight = student.c2f_tcn.inc.conv.conv[0].weight
        task.module.train()
        gradients[schedule] = [
            torch.autograd.grad(losses["loss"], weight)[0] for losses in task.losses(epoch)
        ]
    assert len(gradients["ganin"]) == 2
    for number, (whole, found) in enumerate(zip(gradients["constant"], gradients["ganin"], strict=True)):
        done = (epoch + number / 2) / 5
        assert whole.any()
        torch.testing.assert_close(found, whole * (2 / (1 + math.exp(-10 * done)) - 1))


@pytest.mark.parametrize("kind", ["adapter", "mean", "sum", "tcc", "sdtw"])
def test_held_out_batches_weigh_as_much_as_they_hold(kind: Any) -> None:
    """Sequences of 25, 20 and 2 steps: the score doesn't depend on which share a batch."""
    pairs = make_pairs((100, 80, 8))
    pairs[2] = replace(pairs[2], teacher_PD=pairs[2].teacher_PD + 5)
    scores = []
    for batch_size in (1, 2, 3):
        held_out = batches_of(pairs, zoom=False, batch_size=batch_size)
        task: FeatureDistillationTask | TASDistillationTask
        if kind == "adapter":
            task = FeatureDistillationTask(make_model(adapted=True), held_out, held_out, AdapterFitConfig())
        else:
            kinds = {"reduction": kind} if kind in ("mean", "sum") else {"loss": kind}
            config = StudentConfig(levels=(6,), **kinds)
            task = TASDistillationTask(make_model(), make_model(), held_out, held_out, config)
        scores.append(task.validate()["score"])
    assert scores == pytest.approx([scores[2]] * 3, rel=1e-4)
    assert scores[2] < 0


def test_rows_go_to_the_device_before_they_are_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows for which the device had no room lie elsewhere. "meta" stands for a GPU."""
    seen: list[str] = []

    def pool(rows_TD: torch.Tensor, chunk_rows: int) -> torch.Tensor:
        seen.append(rows_TD.device.type)
        return pool_rows(rows_TD, chunk_rows)

    monkeypatch.setattr("sync_train.kept.pool_rows", pool)
    batches = PairBatches(
        make_pairs(), WINDOWING, batch_size=20, zoom=False, seed=0, device=torch.device("meta")
    )
    ((exo, ego),) = batches.epoch(0)
    assert exo.rows_BLD.is_meta and ego.rows_BLD.is_meta
    assert seen == ["meta"] * 2 * len(exo.rows_BLD)


def test_feature_distillation_is_the_loss_of_valid_steps() -> None:
    pairs = make_pairs((90, 60))
    model = make_model(adapted=True)
    task = FeatureDistillationTask(model, batches_of(pairs, zoom=False), None, AdapterFitConfig())
    (losses,) = task.losses(0)
    ((exo, ego),) = batches_of(pairs, zoom=False).epoch(0)
    wanted = feature_distillation(ego.rows_BLD, exo.rows_BLD, ego.valid_BL)
    torch.testing.assert_close(losses["loss"].detach(), wanted)
