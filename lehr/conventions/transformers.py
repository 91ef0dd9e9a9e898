"""transformers.optimization (read at 5.23): the `get_*` functions, each a LambdaLR over the optimizer's LR.

The curves are taken at the number of completed updates s, so that the first update of a warmup has LR 0 and the floor
is reached one update after the last; only `get_cosine_with_min_lr_schedule_with_warmup_lr_rate` counts s + 1. The
cosines do not stop at `num_training_steps`: they rise again. Here they hold. `lr` is what the optimizer was built with.
"""

import math
from collections.abc import Callable
from typing import Any

from lehr.conventions import _rows as rows
from lehr.conventions._calls import check_arguments, look_up, takes
from lehr.conventions._rows import Phase, laid, lay, needed
from lehr.schedule import Schedule

REFUSED = {
    "get_reduce_on_plateau_schedule": "it follows a measured loss, which no schedule can know",
    "get_greedy_schedule": "it follows a measured loss, which no schedule can know",
    "get_adafactor_schedule": "it reads the step sizes that Adafactor finds from the parameters",
}


@laid("start")
def get_constant_schedule(lr: float, total: int | None = None) -> list[Phase]:
    """The optimizer's LR. `total` gives it a length.

    >>> print(get_constant_schedule(lr=3e-4, total=1000))
    hold 1000 from 0.0003, sampled at start
    """
    rows.not_negative(lr=lr)
    return [Phase(0, needed(total), lr, lr)]


@laid("start")
def get_constant_schedule_with_warmup(lr: float, num_warmup_steps: int, total: int | None = None) -> list[Phase]:
    """s / num_warmup_steps, then 1.

    >>> print(get_constant_schedule_with_warmup(lr=1, num_warmup_steps=6, total=20))
    linear 6 to 1, hold 14, sampled at start
    """
    row = _warmup(lr, num_warmup_steps)
    return [*row, Phase(num_warmup_steps, max((total or 0) - num_warmup_steps, 0), lr, lr)]


@laid("start")
def get_linear_schedule_with_warmup(lr: float, num_warmup_steps: int, num_training_steps: int) -> list[Phase]:
    """Up to the LR over `num_warmup_steps`, straight down to 0 at `num_training_steps`.

    >>> print(get_linear_schedule_with_warmup(lr=1, num_warmup_steps=5, num_training_steps=25))
    linear 5 to 1, linear 20 to 0, sampled at start
    """
    rest = _rest(num_warmup_steps, num_training_steps)
    return [*_warmup(lr, num_warmup_steps), Phase(num_warmup_steps, rest, lr, 0)]


@laid("start")
def get_cosine_schedule_with_warmup(
    lr: float, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5
) -> list[Phase]:
    """Up to the LR, then `num_cycles` cosine waves: lr max(0, (1 + cos(2 pi num_cycles progress)) / 2).

    Past `num_training_steps` transformers goes on along the wave; here the value at the end is held. A warmup as long
    as the run is followed by 0.

    >>> print(get_cosine_schedule_with_warmup(lr=1, num_warmup_steps=10, num_training_steps=50))
    linear 10 to 1, cosine 40 to 0, sampled at start
    >>> print(get_cosine_schedule_with_warmup(lr=1, num_warmup_steps=4, num_training_steps=40, num_cycles=1))
    linear 4 to 1, cosine 18 to 0, cosine 18 to 1, sampled at start
    """
    return _cosine(lr, num_warmup_steps, num_training_steps, num_cycles, 0)


@laid("start")
def get_cosine_with_min_lr_schedule_with_warmup(
    lr: float,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
) -> list[Phase]:
    """`get_cosine_schedule_with_warmup` down to `min_lr`, or to `min_lr_rate` times the LR; one of them is needed.

    >>> print(get_cosine_with_min_lr_schedule_with_warmup(1, 5, 45, min_lr_rate=0.1))
    linear 5 to 1, cosine 40 to 0.1, sampled at start
    """
    floor = _floor(lr, min_lr, min_lr_rate)
    return _cosine(lr, num_warmup_steps, num_training_steps, num_cycles, floor)


def get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
    lr: float,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
    warmup_lr_rate: float | None = None,
) -> Schedule:
    """The one that counts s + 1: update 0 has LR 1 / num_warmup_steps, the last one has the floor.

    With `warmup_lr_rate` the warmup starts there, and reaches the LR at its last update. (With `num_warmup_steps=1`
    it is over before it does, and the LR itself is never used: so in transformers, so here.)

    >>> print(get_cosine_with_min_lr_schedule_with_warmup_lr_rate(1, 10, 40, min_lr_rate=0.1))
    linear 10 to 1, cosine 30 to 0.1
    >>> print(get_cosine_with_min_lr_schedule_with_warmup_lr_rate(1, 8, 32, min_lr_rate=0, warmup_lr_rate=0.05))
    linear 7 from 0.05 to 1, cosine 24 to 0, sampled at start
    """
    floor = _floor(lr, min_lr, min_lr_rate)
    if warmup_lr_rate is None or num_warmup_steps == 0:
        return lay(_cosine(lr, num_warmup_steps, num_training_steps, num_cycles, floor), "end")
    rows.not_negative(warmup_lr_rate=warmup_lr_rate)
    rest = _rest(num_warmup_steps, num_training_steps)
    rows.above_0(num_cycles=num_cycles)
    last = num_warmup_steps - 1
    warmup = Phase(0, last or 1, lr * warmup_lr_rate, lr if last else lr * warmup_lr_rate)
    fall = rows.waves(last, rest, lr, floor, 2 * num_cycles) if rest else [Phase(num_training_steps, 0, floor, floor)]
    return lay([warmup, *rows.from_then_on(fall, warmup.stop)])


@laid("start")
def get_cosine_with_hard_restarts_schedule_with_warmup(
    lr: float, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 1
) -> list[Phase]:
    """Up to the LR, then `num_cycles` half waves, each from the LR down to 0.

    Where a cycle begins is asked in transformers' own arithmetic, num_cycles * progress % 1: now and then its rounding
    leaves 0 instead of the peak for the one update between two cycles.

    >>> print(get_cosine_with_hard_restarts_schedule_with_warmup(1, 5, 35, num_cycles=3))
    linear 5 to 1, cosine 10 to 0, cosine 10 from 1 to 0, cosine 10 from 1 to 0, sampled at start
    """
    rest = _rest(num_warmup_steps, num_training_steps)
    rows.above_0(num_cycles=num_cycles)
    row = _warmup(lr, num_warmup_steps)
    for k in range(rows.few(num_cycles) if rest else 0):
        begin = k * rest / num_cycles
        cycle = Phase(num_warmup_steps + begin, rest / num_cycles, lr, 0, "cosine")
        if begin == int(begin) and num_cycles * (begin / rest) < k:  # rounded down, to the end of the cycle before
            cycle = cycle.entered(cycle.begin + 1)
        row.append(cycle)
    return [*row, Phase(num_training_steps, 0, 0, 0)]


@laid("start")
def get_polynomial_decay_schedule_with_warmup(
    lr: float, num_warmup_steps: int, num_training_steps: int, lr_end: float = 1e-7, power: float = 1.0
) -> list[Phase]:
    """Up to the LR, then lr_end + (lr - lr_end) (1 - progress)**power. `lr_end` is an LR, below `lr`.

    >>> print(get_polynomial_decay_schedule_with_warmup(1, 3, 21, lr_end=0.0, power=0.5))
    linear 3 to 1, poly:0.5 18 to 0, sampled at start
    """
    rest = _rest(num_warmup_steps, num_training_steps)
    rows.not_negative(lr=lr, lr_end=lr_end)
    if not lr > lr_end:
        raise ValueError(f"lr_end={lr_end!r} is not below the optimizer's lr={lr!r}")
    return [*_warmup(lr, num_warmup_steps), Phase(num_warmup_steps, rest, lr, lr_end, rows.poly(power))]


@laid("start")
def get_inverse_sqrt_schedule(
    lr: float, num_warmup_steps: int, timescale: int | None = None, total: int | None = None
) -> list[Phase]:
    """Up to the LR, then lr sqrt(timescale / (s - num_warmup_steps + timescale)).

    `timescale` is `num_warmup_steps`, or 10000 where that is 0. It never ends, so `total` is needed.

    >>> print(get_inverse_sqrt_schedule(lr=1, num_warmup_steps=100, total=400))
    linear 100 to 1, inverse_sqrt 300 to 0.5, sampled at start
    """
    row = _warmup(lr, num_warmup_steps)
    scale = timescale if timescale is not None else num_warmup_steps or 10_000
    rows.above_0(timescale=scale)
    rest = max(needed(total) - num_warmup_steps, 0)
    end = lr * math.sqrt(scale / (rest + scale))
    return [*row, Phase(num_warmup_steps, rest, lr, end, "inverse_sqrt")]


@laid("start")
def get_wsd_schedule(
    lr: float,
    num_warmup_steps: int,
    num_decay_steps: int,
    num_training_steps: int | None = None,
    num_stable_steps: int | None = None,
    warmup_type: str = "linear",
    decay_type: str = "cosine",
    min_lr_ratio: float = 0.0,
    num_cycles: float = 0.5,
) -> list[Phase]:
    """Warmup from `min_lr_ratio` (not from 0), stable, decay to `min_lr_ratio`; the shapes are linear, cosine, 1-sqrt.

    `num_stable_steps` counts where both it and `num_training_steps` are given. Warmup and decay that together are
    longer than the run make transformers jump into the midst of the decay after the warmup; so does this.

    >>> print(get_wsd_schedule(1, 5, 10, num_training_steps=30, decay_type="1-sqrt", min_lr_ratio=0.1))
    linear 5 from 0.1 to 1, hold 15, sqrt 10 to 0.1, sampled at start
    """
    rows.count(num_warmup_steps=num_warmup_steps, num_decay_steps=num_decay_steps)
    rows.not_negative(lr=lr, min_lr_ratio=min_lr_ratio)
    rows.one_of(("linear", "cosine", "1-sqrt"), warmup_type=warmup_type, decay_type=decay_type)
    if num_stable_steps is not None:
        rows.count(num_stable_steps=num_stable_steps)
        begin = num_warmup_steps + num_stable_steps
    elif num_training_steps is not None:
        rows.count(num_training_steps=num_training_steps)
        rows.fits("num_warmup_steps", num_warmup_steps, "num_training_steps", num_training_steps)
        begin = num_training_steps - num_decay_steps
    else:
        raise ValueError("give num_training_steps or num_stable_steps")
    floor, end = lr * min_lr_ratio, begin + num_decay_steps
    rise = {"linear": "linear", "cosine": "cosine", "1-sqrt": "poly:0.5"}[warmup_type]
    row = [Phase(0, num_warmup_steps, floor, lr, rise), Phase(num_warmup_steps, begin - num_warmup_steps, lr, lr)]
    if begin <= num_warmup_steps:
        row.pop()
    if decay_type == "cosine" and num_decay_steps:
        rows.above_0(num_cycles=num_cycles)
        fall = rows.waves(begin, num_decay_steps, lr, floor, 2 * num_cycles)
    else:
        fall = [Phase(begin, num_decay_steps, lr, floor, "sqrt" if decay_type == "1-sqrt" else "linear")]
    return [*row, *rows.from_then_on(fall, num_warmup_steps), Phase(end, 0, floor, floor)]


def get_scheduler(
    name: str,
    lr: float,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    scheduler_specific_kwargs: dict[str, Any] | None = None,
    total: int | None = None,
) -> Schedule:
    """What the Trainer calls: one of the others by its `lr_scheduler_type`.

    >>> print(get_scheduler("cosine", lr=1, num_warmup_steps=10, num_training_steps=50))
    linear 10 to 1, cosine 40 to 0, sampled at start
    """
    known = [*_TYPES, *_REFUSED_TYPES]
    rows.one_of(known, name=name)
    function = look_up(_TYPES.get(name) or _REFUSED_TYPES[name], SCHEDULERS, REFUSED)
    context: dict[str, Any] = {
        "num_warmup_steps": num_warmup_steps,
        "num_training_steps": num_training_steps,
        "total": total,
    }
    given = {key: value for key, value in context.items() if value is not None and takes(function, key)}
    given |= {"lr": lr, **(scheduler_specific_kwargs or {})}
    check_arguments(function, given)
    schedule: Schedule = function(**given)
    return schedule


# ---------------------------------------------------------------------------------------------------------------------


def _warmup(lr: float, num_warmup_steps: int) -> list[Phase]:
    rows.not_negative(lr=lr)
    rows.count(num_warmup_steps=num_warmup_steps)
    return [Phase(0, num_warmup_steps, 0, lr)]


def _rest(num_warmup_steps: int, num_training_steps: int) -> int:
    """The updates after the warmup."""
    rows.count(num_warmup_steps=num_warmup_steps, num_training_steps=num_training_steps)
    rows.fits("num_warmup_steps", num_warmup_steps, "num_training_steps", num_training_steps)
    return num_training_steps - num_warmup_steps


def _cosine(lr: float, num_warmup_steps: int, num_training_steps: int, num_cycles: float, floor: float) -> list[Phase]:
    rest = _rest(num_warmup_steps, num_training_steps)
    rows.above_0(num_cycles=num_cycles)
    row = _warmup(lr, num_warmup_steps)
    if not rest:
        return [*row, Phase(num_warmup_steps, 0, floor, floor)]
    return row + rows.waves(num_warmup_steps, rest, lr, floor, 2 * num_cycles)


def _floor(lr: float, min_lr: float | None, min_lr_rate: float | None) -> float:
    rows.not_negative(lr=lr)
    if min_lr is not None and min_lr_rate is not None:
        raise ValueError("give min_lr or min_lr_rate, not both")
    if min_lr is not None:
        rows.not_negative(min_lr=min_lr)
        return min_lr
    if min_lr_rate is None:
        raise ValueError("the argument 'min_lr' is missing; write min_lr=... or min_lr_rate=...")
    rows.not_negative(min_lr_rate=min_lr_rate)
    return lr * min_lr_rate


SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    f.__name__: f
    for f in (
        get_constant_schedule,
        get_constant_schedule_with_warmup,
        get_cosine_schedule_with_warmup,
        get_cosine_with_hard_restarts_schedule_with_warmup,
        get_cosine_with_min_lr_schedule_with_warmup,
        get_cosine_with_min_lr_schedule_with_warmup_lr_rate,
        get_inverse_sqrt_schedule,
        get_linear_schedule_with_warmup,
        get_polynomial_decay_schedule_with_warmup,
        get_scheduler,
        get_wsd_schedule,
    )
}
_TYPES = {
    "constant": "get_constant_schedule",
    "constant_with_warmup": "get_constant_schedule_with_warmup",
    "cosine": "get_cosine_schedule_with_warmup",
    "cosine_with_restarts": "get_cosine_with_hard_restarts_schedule_with_warmup",
    "cosine_with_min_lr": "get_cosine_with_min_lr_schedule_with_warmup",
    "cosine_warmup_with_min_lr": "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
    "inverse_sqrt": "get_inverse_sqrt_schedule",
    "linear": "get_linear_schedule_with_warmup",
    "polynomial": "get_polynomial_decay_schedule_with_warmup",
    "warmup_stable_decay": "get_wsd_schedule",
}
_REFUSED_TYPES = {"reduce_lr_on_plateau": "get_reduce_on_plateau_schedule", "greedy": "get_greedy_schedule"}
