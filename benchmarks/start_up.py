"""How long the commands take before they do anything: from a new process to its end.

"first step" is what `sync-train` needs before it trains: Python, torch, our modules and an optimiser's first step,
which imports half of torch's compiler. All files are in the page cache. Targets: `sync-eval --help` in 0.3 s,
`sync-train` in 3 s.
"""

import subprocess
import sys

from benchmarks.measure import Timing, arguments, time_in_turn, write_result

FIRST_STEP = """
import torch
import sync_train.run
weights = [torch.nn.Parameter(torch.zeros(3))]
optimizer = torch.optim.Adam(weights, fused=True)
weights[0].sum().backward()
optimizer.step()
"""

PROGRAMS = {
    "sync-eval --help": "import sys; sys.argv = ['sync-eval', '--help']; from sync_eval.cli import main; main()",
    "sync-train --help": "import sys; sys.argv = ['sync-train', '--help']; from sync_train.cli import main; main()",
    "sync-train, first step": FIRST_STEP,
}

TARGET_SECONDS = {"sync-eval --help": 0.3, "sync-train, first step": 3.0}


def main() -> None:
    options = arguments("start_up", __doc__)
    num_rounds = 1 if options.smoke else 9
    timings = time_in_turn(
        {name: lambda program=program: run(program) for name, program in PROGRAMS.items()},  # type: ignore[misc]
        num_rounds=num_rounds,
    )
    ratios = {
        f"target_over_{name}": over_target(timings[name], seconds) for name, seconds in TARGET_SECONDS.items()
    }
    write_result(
        options.out,
        settings={"rounds": num_rounds, "target_seconds": TARGET_SECONDS},
        timings={name: timing.summary(1, "processes") for name, timing in timings.items()},
        ratios=ratios,
        targets=dict.fromkeys(ratios, 1.0),
    )


def run(program: str) -> None:
    """Run it in a process of its own."""
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def over_target(timing: Timing, seconds: float) -> dict[str, float]:
    """How many times a timing fits into the seconds that we want: of the median, and the least and most."""
    return {
        "of_medians": round(seconds / timing.median_seconds, 3),
        "least": round(seconds / max(timing.seconds), 3),
        "most": round(seconds / min(timing.seconds), 3),
    }


if __name__ == "__main__":
    main()
