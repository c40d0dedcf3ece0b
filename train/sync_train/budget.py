"""How much is learnt from: recordings in an order drawn from the seed, until a time is reached, the last one cut.

What a smaller budget takes is part of what a larger one of the same seed takes.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def within_budget(
    items: Sequence[Item],
    seconds: Sequence[float],
    budget_seconds: float,
    cut: Callable[[Item, float], Item],
    seed: int,
) -> list[Item]:
    """Take as many items as a time holds.

    Args:
        items: Recordings or pairs.
        seconds: How long each is.
        budget_seconds: How much to take in all; all of it where it's more than there is.
        cut: Gives the beginning of an item; told which share of it, above 0 and below 1.
        seed: Decides the order in which they are taken.

    Returns:
        What is taken, in the order of `items`.
    """
    taken: dict[int, Item] = {}
    left = budget_seconds
    for number in np.random.default_rng(seed).permutation(len(items)).tolist():
        if left <= 1e-9:
            break
        share = min(1.0, left / seconds[number])
        taken[number] = items[number] if share == 1 else cut(items[number], share)
        left -= seconds[number]
    return [taken[number] for number in sorted(taken)]
