"""The teacher's loss after twenty epochs at Assembly101's shape: our trainer against a plain loop, over seeds.

A seed decides weights, order and zoom. Loss is the mean cross-entropy over the chunks of twelve held-out recordings,
each trained way padded as it was trained. Equal means: means over seeds no further apart than the seeds of one way.
"""

import statistics
import time

import torch

from benchmarks.measure import Timing, arguments, write_result
from benchmarks.teacher.assembly101 import NUM_CLASSES, SMOKE, Sizes, held_out_loss, make_dataset, make_model
from benchmarks.teacher.ours import Ours
from benchmarks.teacher.plain_loop import PlainLoop
from sync_store.memory import keep_freed_memory

WAYS = ("trainer", "trainer bfloat16", "plain loop")


def main() -> None:
    options = arguments("teacher_loss", __doc__)
    sizes, num_seeds, num_epochs = (SMOKE, 2, 2) if options.smoke else (Sizes(), 3, 20)
    keep_freed_memory()
    recordings, held_out = make_dataset(sizes)
    losses: dict[str, list[float]] = {way: [] for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for seed in range(num_seeds):
        for way in WAYS:
            precision = torch.bfloat16 if way.endswith("bfloat16") else torch.float32
            model = make_model(sizes.feature_dim, seed, precision)
            fit: Ours | PlainLoop
            if way == "plain loop":
                fit = PlainLoop(model.c2f_tcn, recordings, sizes.windowing, seed=seed)
            else:
                fit = Ours(model, recordings, sizes.windowing, seed=seed)
            start = time.perf_counter()
            for _ in range(num_epochs):
                fit.epoch()
            seconds[way].append(time.perf_counter() - start)
            losses[way].append(held_out_loss(model.c2f_tcn, held_out, fit.windowing))
            print(f"seed {seed}, {way}: {losses[way][-1]:.4f}")
    write_result(
        options.out,
        settings={
            "recordings": sizes.num_recordings,
            "rows": sum(len(labeled.classes_T) for labeled in recordings),
            "feature_dim": sizes.feature_dim,
            "classes": NUM_CLASSES,
            "epochs": num_epochs,
            "seeds": num_seeds,
            "held_out_loss": {way: [round(loss, 4) for loss in of_way] for way, of_way in losses.items()},
        },
        timings={
            way: Timing(seconds=tuple(of_way)).summary(num_epochs, "epochs")
            for way, of_way in seconds.items()
        },
        ratios={
            f"spread_over_difference_{way}".replace(" ", "_"): agreement(losses[way], losses["plain loop"])
            for way in WAYS[:-1]
        },
        targets={f"spread_over_difference_{way}".replace(" ", "_"): 1.0 for way in WAYS[:-1]},
    )


def agreement(ours: list[float], plain: list[float]) -> dict[str, float]:
    """How many times the difference of the means fits into the larger range over the seeds of one way."""
    difference = abs(statistics.mean(ours) - statistics.mean(plain))
    spreads = [max(losses) - min(losses) for losses in (ours, plain)]
    return {
        "of_medians": round(max(spreads) / difference, 3),
        "least": round(min(spreads) / difference, 3),
        "most": round(max(spreads) / difference, 3),
    }


if __name__ == "__main__":
    main()
