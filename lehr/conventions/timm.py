"""timm.scheduler (read at aa4b5850): the schedulers stepped once an update (`t_in_epochs=False`, `step_update(s + 1)`).

The curves are taken at s, but for two quirks: update 0 has what the constructor left, the LR itself or
`warmup_lr_init`, and `MultiStepLRScheduler` drops one update before each milestone. With `warmup_prefix=False`, the
default of the cosine, tanh and polynomial schedulers, the curve runs on beneath the warmup: when that ends, the LR
jumps onto it and the peak is never used. From the end of the last cycle on the LR is `lr_min`. `lr` is the optimizer's.

Counted in epochs (`t_in_epochs=True`) the LR stands still within one, which is a step an epoch and no curve.
"""

import math
from collections.abc import Callable
from typing import Any

from lehr.conventions import _rows as rows
from lehr.conventions._rows import Phase, laid, needed
from lehr.schedule import Schedule

REFUSED = {"PlateauLRScheduler": "it follows a measured metric, which no schedule can know"}

Curve = Callable[[float, float, float], list[Phase]]  # (begin, length, top) of a cycle -> its phases


@laid("start")
def CosineLRScheduler(
    lr: float,
    t_initial: float,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = False,
    noise_range_t: Any = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    k_decay: float = 1.0,
    initialize: bool = True,
) -> list[Phase]:
    """lr_min + (lr - lr_min) (1 + cos(pi t**k / T**k)) / 2 over `cycle_limit` cycles, each `cycle_mul` times longer.

    Each cycle's top is `cycle_decay` times that of the last.

    >>> print(CosineLRScheduler(lr=1, t_initial=10, cycle_limit=2, cycle_decay=0.5))
    cosine 10 from 1 to 0, cosine 10 from 0.5 to 0, sampled at start
    >>> print(CosineLRScheduler(lr=1, t_initial=40, warmup_t=10))
    linear 10 to 1, cosine:0.25 30 from 0.8535533905932737 to 0, sampled at start
    """
    rows.above_0(k_decay=k_decay)
    shape = "cosine" if k_decay == 1 else f"cosine:0:{k_decay!r}"

    def curve(begin: float, length: float, top: float) -> list[Phase]:
        return [Phase(begin, length, top, lr_min, shape)]

    rows.count(warmup_t=warmup_t)
    row = _cycles(lr, curve, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit, warmup_t if warmup_prefix else 0)
    return _warmed(lr, row, None, warmup_t, warmup_lr_init, t_in_epochs, noise_range_t)


@laid("start")
def TanhLRScheduler(
    lr: float,
    t_initial: float,
    lb: float = -7.0,
    ub: float = 3.0,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = False,
    noise_range_t: Any = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    initialize: bool = True,
) -> list[Phase]:
    """lr_min + (lr - lr_min) (1 - tanh(lb (1 - t/T) + ub t/T)) / 2: short of both ends by what tanh is short of 1.

    So the first update has the LR itself, the next ones a little less, and the end is a small jump to `lr_min`. Without
    `warmup_prefix` the warmup goes to where the curve is when it ends.

    >>> schedule = TanhLRScheduler(lr=1, t_initial=30)
    >>> [round(schedule(step), 4) for step in (0, 20, 29, 30)]
    [1.0, 0.6608, 0.0048, 0.0]
    """
    rows.not_negative(lr_min=lr_min)
    rows.number(lb=lb, ub=ub)

    def curve(begin: float, length: float, top: float) -> list[Phase]:
        start, end = (lr_min + 0.5 * (top - lr_min) * (1 - math.tanh(x)) for x in (lb, ub))
        return [Phase(begin, length, start, end, f"tanh:{float(lb)!r}:{float(ub)!r}")]

    rows.count(warmup_t=warmup_t)
    row = _cycles(lr, curve, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit, warmup_t if warmup_prefix else 0)
    target = None if warmup_prefix or not warmup_t else rows.from_then_on(row, warmup_t)[0].start
    return _warmed(lr, row, target, warmup_t, warmup_lr_init, t_in_epochs, noise_range_t)


@laid("start")
def PolyLRScheduler(
    lr: float,
    t_initial: float,
    power: float = 0.5,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = False,
    noise_range_t: Any = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    k_decay: float = 1.0,
    initialize: bool = True,
) -> list[Phase]:
    """lr_min + (lr - lr_min) (1 - t**k / T**k)**power, in cycles as those of `CosineLRScheduler`.

    With `k_decay` other than 1, a warmup and without `warmup_prefix` it is refused: no shape is that curve entered
    late.

    >>> print(PolyLRScheduler(lr=1, t_initial=24, power=2, warmup_t=4, warmup_prefix=True, lr_min=0.001))
    linear 4 to 1, poly:2 24 to 0.001, sampled at start
    """
    rows.above_0(k_decay=k_decay, power=power)
    shape = rows.poly(power) if k_decay == 1 else f"k_decay:{k_decay!r}:{power!r}"

    def curve(begin: float, length: float, top: float) -> list[Phase]:
        return [Phase(begin, length, top, lr_min, shape)]

    rows.count(warmup_t=warmup_t)
    row = _cycles(lr, curve, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit, warmup_t if warmup_prefix else 0)
    return _warmed(lr, row, None, warmup_t, warmup_lr_init, t_in_epochs, noise_range_t)


@laid("start")
def StepLRScheduler(
    lr: float,
    decay_t: float,
    decay_rate: float = 1.0,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = True,
    t_in_epochs: bool = False,
    noise_range_t: Any = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    initialize: bool = True,
    total: int | None = None,
) -> list[Phase]:
    """lr decay_rate**(t // decay_t). It never ends, so `total` is needed; from there on the value is held.

    >>> print(StepLRScheduler(lr=1, decay_t=8, decay_rate=0.5, total=24))
    hold 8, hold 8 from 0.5, hold 8 from 0.25, sampled at start
    """
    rows.not_negative(lr=lr, decay_rate=decay_rate)
    rows.above_0(decay_t=decay_t)
    rows.count(warmup_t=warmup_t)
    begin, end = warmup_t if warmup_prefix else 0, needed(total)
    falls = rows.decay if decay_t == 1 else rows.stairs
    return _warmed(
        lr, list(falls(begin, lr, decay_rate, decay_t, end)), None, warmup_t, warmup_lr_init, t_in_epochs, noise_range_t
    )


@laid("start")
def MultiStepLRScheduler(
    lr: float,
    decay_t: Any,
    decay_rate: float = 1.0,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = True,
    t_in_epochs: bool = False,
    noise_range_t: Any = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    initialize: bool = True,
    total: int | None = None,
) -> list[Phase]:
    """The LR times `decay_rate` from one update before each of the milestones `decay_t` on.

    >>> print(MultiStepLRScheduler(lr=1, decay_t=[10, 20], decay_rate=0.5))
    hold 9, hold 10 from 0.5, hold 0 from 0.25, sampled at start
    """
    rows.not_negative(lr=lr, decay_rate=decay_rate)
    milestones = rows.sequence("decay_t", decay_t)
    for milestone in milestones:
        rows.count(decay_t=milestone)
    rows.count(warmup_t=warmup_t)
    shift = warmup_t if warmup_prefix else 0
    begins = [0.0, *(max(milestone - 1, 0) + shift for milestone in sorted(milestones))]
    row = rows.levels(begins, [lr * decay_rate**k for k in range(len(begins))], total)
    return _warmed(lr, row, None, warmup_t, warmup_lr_init, t_in_epochs, noise_range_t)


# ---------------------------------------------------------------------------------------------------------------------


def _cycles(
    lr: float,
    curve: Curve,
    t_initial: float,
    lr_min: float,
    cycle_mul: float,
    cycle_decay: float,
    cycle_limit: int,
    shift: float,
) -> list[Phase]:
    """The curve in `cycle_limit` cycles, `shift` updates late, and `lr_min` after them.

    Which cycle an update is in timm finds with a logarithm, whose rounding now and then leaves the first update of a
    cycle at the end of the one before: asked here with the same arithmetic.
    """
    rows.not_negative(lr=lr, lr_min=lr_min, cycle_decay=cycle_decay)
    rows.above_0(t_initial=t_initial, cycle_mul=cycle_mul, cycle_limit=cycle_limit)
    rows.count(cycle_limit=cycle_limit)
    rows.few(cycle_limit)

    def cycle_of(t: int) -> float:
        if cycle_mul == 1:
            return t // t_initial
        return math.floor(math.log(1 - t / t_initial * (1 - cycle_mul), cycle_mul))

    row: list[Phase] = []
    begin, length = 0.0, float(t_initial)
    for k in range(cycle_limit + 1):
        charge = begin
        if begin == int(begin) and cycle_of(int(begin)) < k:
            charge = begin + 1
        if k < cycle_limit:
            cycle = curve(begin, length, lr * cycle_decay**k)
            row += [phase.entered(charge).moved(shift) for phase in cycle]
        else:
            row.append(Phase(charge + shift, 0, lr_min, lr_min))
        begin = t_initial * (k + 1) if cycle_mul == 1 else t_initial * (cycle_mul ** (k + 1) - 1) / (cycle_mul - 1)
        length *= cycle_mul
    return row


def _warmed(
    lr: float,
    row: list[Phase],
    target: float | None,
    warmup_t: int,
    warmup_lr_init: float,
    t_in_epochs: bool,
    noise_range_t: Any,
) -> list[Phase]:
    """The row from the end of the warmup on, which goes from `warmup_lr_init` to `target`, by default the LR."""
    if t_in_epochs:
        raise ValueError("t_in_epochs=True changes the LR once an epoch; count t in updates and leave it out")
    if noise_range_t is not None:
        raise ValueError("noise_range_t adds random noise, which is no row of ramps")
    rows.not_negative(warmup_lr_init=warmup_lr_init)
    if not warmup_t:  # update 0 has what the constructor left
        starts_there = row[0].start == lr and row[0].duration >= 1
        return row if starts_there else [Phase(0, 1, lr, lr), *rows.from_then_on(row, 1)]
    goal = lr if target is None else target
    return [Phase(0, warmup_t, warmup_lr_init, goal), *rows.from_then_on(row, warmup_t)]


SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    f.__name__: f for f in (CosineLRScheduler, MultiStepLRScheduler, PolyLRScheduler, StepLRScheduler, TanhLRScheduler)
}
