"""Plans: all that is settled before anything is rendered."""

from fractions import Fraction

import numpy as np
import pytest

from sync_demo.plan import EGO_VIEW, NUM_RECORDINGS, SPLITS, VIEWS, Settings, plan_benchmark
from sync_store.labels import seconds_to_ns

PAPER = (143, 63, 156)
"""Recordings for exo training, adaptation and test (section 4)."""


def settings(variant: str = "tabletop", size: str = "demo", seed: int = 0) -> Settings:
    return Settings(variant=variant, size=size, seed=seed, recordings=NUM_RECORDINGS[size])  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["tabletop", "kitchen"])
@pytest.mark.parametrize("size", ["demo", "study"])
def test_splits_are_disjoint_and_of_the_stated_sizes(variant: str, size: str) -> None:
    plans = plan_benchmark(settings(variant, size))
    assert len({plan.name for plan in plans}) == len(plans) == sum(NUM_RECORDINGS[size])
    assert tuple(sum(plan.split == split for plan in plans) for split in SPLITS) == NUM_RECORDINGS[size]
    for split in ("train", "test"):
        toys = {plan.script.procedure.toy for plan in plans if plan.split == split}
        assert toys == {procedure.toy for procedure in plans[0].kit.procedures}


def test_the_demo_has_the_papers_proportions_and_the_study_its_own_sizes() -> None:
    demo = NUM_RECORDINGS["demo"]
    assert sum(demo) == 50
    for count, theirs in zip(demo, PAPER, strict=True):
        assert abs(count - 50 * theirs / sum(PAPER)) < 1
    assert NUM_RECORDINGS["study"] == (60, 40, 60)


def test_equal_settings_make_equal_plans_and_other_seeds_others() -> None:
    first, again, other = (plan_benchmark(settings(seed=seed)) for seed in (3, 3, 4))
    for a, b in zip(first, again, strict=True):
        assert (a.name, a.split, a.views, a.script.actions) == (b.name, b.split, b.views, b.script.actions)
    assert [plan.split for plan in first] != [plan.split for plan in other]
    assert all(a.script.actions != b.script.actions for a, b in zip(first, other, strict=True))


def test_recordings_differ_from_each_other() -> None:
    plans = plan_benchmark(settings())
    assert len({plan.script.actions for plan in plans}) == len(plans)
    assert len({plan.camera_rng("v3").integers(1 << 60) for plan in plans}) == len(plans)
    looks = {tuple(plan.scene().look.table[0, 0]) for plan in plans[:8]}
    assert len(looks) > 4


def test_views_have_their_own_rates_and_starts() -> None:
    assert len(set(VIEWS.values())) == len(VIEWS)
    plans = plan_benchmark(settings())
    for plan in plans:
        assert [view.view for view in plan.views] == list(VIEWS)
        starts = [view.start_seconds for view in plan.views]
        assert len(set(starts)) == len(starts)
        for view in plan.views:
            assert view.fps == VIEWS[view.view]
            assert 0 <= view.start_seconds < 2
            # each view films from before the second action to about the end
            stop = view.start_seconds + (view.num_frames - 1) / view.fps
            assert abs(stop - Fraction(plan.script.stop_ns, 10**9)) < 1
            assert view.offset_seconds == (0 if view.keeps_clock else view.start_seconds)
    ego = [view for plan in plans for view in plan.views if view.view == EGO_VIEW]
    assert {view.keeps_clock for view in ego} == {True, False}


def test_times_are_start_plus_k_over_rate() -> None:
    for view in plan_benchmark(settings())[0].views:
        times = view.times()
        assert len(times) == view.num_frames
        for k in (0, 1, 7, view.num_frames - 1):
            assert round(times[k] * 1e9) == seconds_to_ns(view.start_seconds + k / view.fps)
        assert np.all(np.diff(times) > 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recordings": (1, 0, 1)}, r"every split needs a recording, got \(1, 0, 1\)"),
        ({"recordings": (1, 1, 1), "seed": -1}, "seed must not be negative, got -1"),
    ],
)
def test_impossible_settings(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**arguments)  # type: ignore[arg-type]
