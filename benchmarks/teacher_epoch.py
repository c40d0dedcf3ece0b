"""One epoch of the teacher at Assembly101's shape: our trainer against a plain loop.

The plain loop is the published trainer's way (`benchmarks.teacher.plain_loop`), once in a process of its own, as any
Python program, and once in the trainer's process, whose memory is kept (`sync_store.memory`). Reading is left out: all
start from the same float16 rows in memory. Network, loss, optimiser, batch size and the chunk size drawn for each
window are the same; the trainer runs in float32, its default on a processor, and in bfloat16 as well. That the losses
are the same, too, is judged on held-out recordings after the same number of epochs.
"""

import sys

import torch

from benchmarks.measure import arguments, ratio, time_in_turn, write_result
from benchmarks.teacher.apart import Apart
from benchmarks.teacher.assembly101 import (
    CONFIG,
    NUM_CLASSES,
    SEED,
    SMOKE,
    Sizes,
    held_out_loss,
    make_dataset,
    make_model,
)
from benchmarks.teacher.ours import Ours
from benchmarks.teacher.plain_loop import PlainLoop
from sync_store.memory import keep_freed_memory

MAX_LOSS_RATIO = 1.02
"""More than this times the plain loop's held-out loss isn't equal."""

TRAINERS = {"trainer": torch.float32, "trainer bfloat16": torch.bfloat16}


def main() -> None:
    options = arguments("teacher_epoch", __doc__)
    sizes, num_rounds = (SMOKE, 1) if options.smoke else (Sizes(), 5)
    # Started first: what is set for this process, a new one inherits.
    with Apart("benchmarks.teacher.plain_loop", *(["--smoke"] if options.smoke else [])) as apart:
        keep_freed_memory()
        recordings, held_out = make_dataset(sizes)
        here: dict[str, Ours | PlainLoop] = {
            name: Ours(make_model(sizes.feature_dim, SEED, precision), recordings, sizes.windowing)
            for name, precision in TRAINERS.items()
        }
        here["plain loop, same process"] = PlainLoop(
            make_model(sizes.feature_dim, SEED).c2f_tcn, recordings, sizes.windowing
        )
        timings = time_in_turn(
            {**{name: one.epoch for name, one in here.items()}, "plain loop": lambda: apart.ask("epoch")},
            num_rounds=num_rounds,
        )
        losses = {name: held_out_loss(one.network, held_out, one.windowing) for name, one in here.items()}
        losses["plain loop"] = apart.ask("held-out loss")
    if not all(losses[name] <= MAX_LOSS_RATIO * losses["plain loop"] for name in TRAINERS):
        sys.exit(f"the losses aren't equal: {losses}")
    untrained = make_model(sizes.feature_dim, SEED).c2f_tcn
    num_rows = sum(len(labeled.classes_T) for labeled in recordings)
    write_result(
        options.out,
        settings={
            "recordings": sizes.num_recordings,
            "rows": num_rows,
            "feature_dim": sizes.feature_dim,
            "classes": NUM_CLASSES,
            "chunk_rows": sizes.windowing.chunk_rows,
            "max_chunks": sizes.windowing.max_chunks,
            "batch_size": CONFIG.batch_size,
            "epochs": num_rounds + 1,
            "held_out_loss": {name: round(loss, 4) for name, loss in losses.items()},
            "untrained_loss": round(held_out_loss(untrained, held_out, sizes.windowing), 4),
        },
        timings={name: timing.summary(num_rows, "rows") for name, timing in timings.items()},
        ratios={
            f"{name}_over_{plain}".replace(" ", "_").replace(",", ""): ratio(timings[name], timings[plain])
            for name in TRAINERS
            for plain in ("plain loop", "plain loop, same process")
        },
        targets={"trainer_over_plain_loop": 2.0, "trainer_bfloat16_over_plain_loop": 3.5},
    )


if __name__ == "__main__":
    main()
