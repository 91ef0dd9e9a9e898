"""Plain functions from a step to its learning rate, for a loop written by hand.

Each is its published formula (to 1e-12 of the peak, over the arithmetic of `lehr.Schedule`), without the traps: a
warmup of 0 divides by nothing, a warmup as long as the run is legal, and from the end on the floor is held. `step`
counts completed updates, so 0 is the first one. Impossible arguments raise ValueError.
"""

from functools import lru_cache

from lehr.schedule import Ramp, Schedule

FOREVER = 2**52  # an end no run reaches, for curves that have none


def get_lr(step: float, warmup_steps: int, max_steps: int, max_lr: float, min_lr: float = 0) -> float:
    """Linear warmup, cosine decay, floor.

    max_lr (step + 1) / warmup_steps for step < warmup_steps; min_lr from max_steps on; between them
    min_lr + (max_lr - min_lr) (1 + cos(pi (step - warmup_steps) / (max_steps - warmup_steps))) / 2.

    >>> [round(get_lr(step, 2, 10, 1.0, 0.1), 3) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.55, 0.1]
    """
    return _decay(warmup_steps, max_steps, max_lr, min_lr, "cosine")(step)


def get_lr_linear_decay(step: float, warmup_steps: int, max_steps: int, max_lr: float, min_lr: float = 0) -> float:
    """Linear warmup, linear decay, floor: `get_lr` with max_lr - (max_lr - min_lr) (step - warmup) / (max - warmup).

    >>> [round(get_lr_linear_decay(step, 2, 10, 1.0), 3) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    return _decay(warmup_steps, max_steps, max_lr, min_lr, "linear")(step)


def get_lr_constant_with_warmup(step: float, warmup_steps: int, max_lr: float) -> float:
    """max_lr (step + 1) / warmup_steps for step < warmup_steps, then max_lr.

    >>> [get_lr_constant_with_warmup(step, 2, 1.0) for step in (0, 1, 99)]
    [0.5, 1.0, 1.0]
    """
    return _decay(warmup_steps, FOREVER, max_lr, max_lr, "linear")(step)


def get_lr_inverse_sqrt(step: float, warmup_steps: int, max_lr: float) -> float:
    """max_lr (step + 1) / warmup_steps for step < warmup_steps, then max_lr sqrt(warmup_steps / step).

    A warmup of 0 counts as a timescale of 1: max_lr / sqrt(max(step, 1)).

    >>> [get_lr_inverse_sqrt(step, 4, 1.0) for step in (0, 3, 4, 16)]
    [0.25, 1.0, 1.0, 0.5]
    """
    warmup = 1 if warmup_steps == 0 else warmup_steps
    return _decay(warmup, FOREVER, max_lr, max_lr * (warmup / FOREVER) ** 0.5, "inverse_sqrt")(step)


def get_lr_cosine_schedule(
    it: float, max_learning_rate: float, min_learning_rate: float, warmup_iters: int, cosine_cycle_iters: int
) -> float:
    """The schedule of Stanford CS336, assignment 1.

    max it / warmup_iters for it < warmup_iters; min + (max - min) (1 + cos(pi (it - warmup_iters) /
    (cosine_cycle_iters - warmup_iters))) / 2 up to and including cosine_cycle_iters; min after.

    >>> [round(get_lr_cosine_schedule(it, 1.0, 0.1, 7, 21), 4) for it in (0, 6, 7, 14, 21, 22)]
    [0.0, 0.8571, 1.0, 0.55, 0.1, 0.1]
    """
    return _cs336(max_learning_rate, min_learning_rate, warmup_iters, cosine_cycle_iters)(it)


@lru_cache(maxsize=256)
def _decay(warmup: int, end: int, peak: float, floor: float, shape: str) -> Schedule:
    """(step + 1) / warmup, then `shape` with its time at `step`: one more update at the peak stands between them."""
    _check(warmup, end)
    rise = Ramp(0, warmup, 0, peak)
    if warmup == end:
        jump = Ramp(warmup, 0, peak, floor)
        return Schedule((rise, jump) if warmup else (jump,))
    hold = Ramp(warmup, 1, peak, peak)
    fall = Ramp(warmup + 1, end - warmup, peak, floor, shape)
    return Schedule((rise, hold, fall) if warmup else (hold, fall))


@lru_cache(maxsize=256)
def _cs336(peak: float, floor: float, warmup: int, end: int) -> Schedule:
    _check(warmup, end)
    rise, fall = Ramp(0, warmup, 0, peak), Ramp(warmup, end - warmup, peak, floor, "cosine")
    return Schedule((rise, fall) if warmup else (fall,), sample="start")


def _check(warmup: int, end: int) -> None:
    if not 0 <= warmup <= end:
        raise ValueError(
            f"the warmup of {warmup!r} steps does not fit into the {end!r} of the schedule; write 0 to {end!r}"
        )
