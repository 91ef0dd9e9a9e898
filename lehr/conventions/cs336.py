"""Stanford CS336, assignment 1 (read at 25a8a49f): the cosine schedule of the transformer's training loop.

The curve is taken at it = s: the first update of a warmup has LR 0, and the floor is reached at cosine_cycle_iters.
"""

from collections.abc import Callable

from lehr.conventions import _rows as rows
from lehr.conventions._rows import Phase, laid
from lehr.schedule import Schedule

REFUSED: dict[str, str] = {}


@laid("start")
def get_lr_cosine_schedule(
    max_learning_rate: float, min_learning_rate: float, warmup_iters: int, cosine_cycle_iters: int
) -> list[Phase]:
    """Straight up to the maximum, half a cosine wave down to the minimum at `cosine_cycle_iters`.

    A warmup as long as that, on which the formula divides by 0, is followed by the minimum.

    >>> print(get_lr_cosine_schedule(1, 0.1, warmup_iters=7, cosine_cycle_iters=21))
    linear 7 to 1, cosine 14 to 0.1, sampled at start
    """
    rows.not_negative(max_learning_rate=max_learning_rate, min_learning_rate=min_learning_rate)
    rows.count(warmup_iters=warmup_iters, cosine_cycle_iters=cosine_cycle_iters)
    rows.fits("warmup_iters", warmup_iters, "cosine_cycle_iters", cosine_cycle_iters)
    fall = cosine_cycle_iters - warmup_iters
    return [
        Phase(0, warmup_iters, 0, max_learning_rate),
        Phase(warmup_iters, fall, max_learning_rate, min_learning_rate, "cosine"),
    ]


SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    "get_lr_cosine_schedule": get_lr_cosine_schedule,
    "run_get_lr_cosine_schedule": get_lr_cosine_schedule,  # what the assignment's tests call
}
