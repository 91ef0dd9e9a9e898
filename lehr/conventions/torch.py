"""torch.optim.lr_scheduler (read at torch 2.13): closed forms of what its schedulers compute update by update.

The LR of update s is read before `scheduler.step()` has been called for it, so every curve is taken at s. `lr` is the
LR that the optimizer was built with. Past the end `CosineAnnealingLR` climbs again and `OneCycleLR` extrapolates and
then raises: here both hold their last value.
"""

import math
from collections.abc import Callable, Iterator
from functools import reduce
from inspect import signature
from itertools import count as count_from
from itertools import pairwise
from typing import Any

from lehr.conventions import _rows as rows
from lehr.conventions._calls import in_sequence, nested
from lehr.conventions._rows import Phase, laid, needed
from lehr.schedule import Schedule

REFUSED = {
    "LambdaLR": "an arbitrary function is no row of ramps; write the curve itself, or pass the function to Scheduler",
    "MultiplicativeLR": "an arbitrary function is no row of ramps; for a constant factor convert torch.ExponentialLR",
    "ReduceLROnPlateau": "it follows a measured loss, which no schedule can know",
}


@laid("start")
def ConstantLR(lr: float, factor: float = 1 / 3, total_iters: int = 5) -> list[Phase]:
    """`factor` times the LR for `total_iters` updates, then the LR.

    `total_iters=0` is the LR throughout (torch never leaves `factor` then).

    >>> print(ConstantLR(lr=0.1, factor=0.5, total_iters=6))
    hold 6 from 0.05, hold 0 from 0.1, sampled at start
    """
    rows.not_negative(lr=lr)
    rows.share(factor=factor)
    rows.count(total_iters=total_iters)
    return rows.levels([0, total_iters], [lr * factor, lr])


@laid("start")
def LinearLR(lr: float, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5) -> list[Phase]:
    """A straight line from `start_factor` to `end_factor` times the LR over `total_iters` updates.

    `start_factor` is above 0, as in torch, which multiplies its way up. `total_iters=0` is `end_factor` throughout
    (torch never leaves `start_factor` then).

    >>> print(LinearLR(lr=0.01, start_factor=0.2, total_iters=8))
    linear 8 from 0.002 to 0.01, sampled at start
    """
    rows.not_negative(lr=lr)
    rows.above_0(start_factor=start_factor)
    rows.share(start_factor=start_factor, end_factor=end_factor)
    rows.count(total_iters=total_iters)
    return [Phase(0, total_iters, lr * start_factor, lr * end_factor)]


@laid("start")
def PolynomialLR(lr: float, total_iters: int = 5, power: float = 1.0) -> list[Phase]:
    """lr (1 - s / total_iters)**power.

    >>> print(PolynomialLR(lr=0.1, total_iters=20, power=2))
    poly:2 20 from 0.1 to 0, sampled at start
    """
    rows.not_negative(lr=lr)
    rows.above_0(total_iters=total_iters)
    return [Phase(0, total_iters, lr, 0, rows.poly(power))]


@laid("start")
def CosineAnnealingLR(lr: float, T_max: int, eta_min: float = 0.0) -> list[Phase]:
    """Half a cosine wave from the LR to `eta_min`, which is reached at update `T_max`, the first one past the end.

    torch climbs back up after that, with a period of 2 T_max; here `eta_min` is held.

    >>> print(CosineAnnealingLR(lr=3e-4, T_max=37, eta_min=1e-4))
    cosine 37 from 0.0003 to 0.0001, sampled at start
    """
    rows.not_negative(lr=lr, eta_min=eta_min)
    rows.count(T_max=T_max)
    return [Phase(0, T_max, lr, eta_min, "cosine")]


@laid("start")
def CosineAnnealingWarmRestarts(
    lr: float, T_0: int, T_mult: int = 1, eta_min: float = 0.0, total: int | None = None
) -> list[Phase]:
    """Half cosine waves from the LR to `eta_min`, the first T_0 updates long, each T_mult times longer than the last.

    They never end, so `total` is needed; from there on the value is held.

    >>> print(CosineAnnealingWarmRestarts(lr=0.1, T_0=5, T_mult=2, total=35))
    cosine 5 from 0.1 to 0, cosine 10 from 0.1 to 0, cosine 20 from 0.1 to 0, sampled at start
    """
    rows.not_negative(lr=lr, eta_min=eta_min)
    rows.count(T_0=T_0, T_mult=T_mult)
    rows.above_0(T_0=T_0, T_mult=T_mult)
    end = needed(total)
    if T_0 == T_mult == 1:  # a restart at every update
        return [Phase(0, end, lr, lr)]

    def cycles() -> Iterator[Phase]:
        begin, length = 0, T_0
        while True:
            yield Phase(begin, length, lr, eta_min, "cosine")
            begin, length = begin + length, length * T_mult

    return rows.until(cycles(), end)


@laid("start")
def ExponentialLR(lr: float, gamma: float, total: int | None = None) -> list[Phase]:
    """lr gamma**s. It never ends, so `total` is needed; from there on the value is held.

    >>> schedule = ExponentialLR(lr=0.1, gamma=0.9, total=25)
    >>> len(schedule.ramps), round(schedule(25), 12)
    (1, 0.007178979877)
    """
    rows.not_negative(lr=lr, gamma=gamma)
    return rows.decay(0, lr, gamma, 1, needed(total))


@laid("start")
def StepLR(lr: float, step_size: int, gamma: float = 0.1, total: int | None = None) -> list[Phase]:
    """lr gamma**(s // step_size). It never ends, so `total` is needed; from there on the value is held.

    >>> print(StepLR(lr=1, step_size=7, gamma=0.5, total=21))
    hold 7, hold 7 from 0.5, hold 7 from 0.25, sampled at start
    """
    rows.not_negative(lr=lr, gamma=gamma)
    rows.count(step_size=step_size)
    rows.above_0(step_size=step_size)
    end = needed(total)
    return rows.decay(0, lr, gamma, 1, end) if step_size == 1 else list(rows.stairs(0, lr, gamma, step_size, end))


@laid("start")
def MultiStepLR(lr: float, milestones: Any, gamma: float = 0.1, total: int | None = None) -> list[Phase]:
    """The LR times `gamma` from each milestone on. A milestone that stands twice counts twice.

    >>> print(MultiStepLR(lr=1, milestones=[5, 12], gamma=0.5))
    hold 5, hold 7 from 0.5, hold 0 from 0.25, sampled at start
    """
    rows.not_negative(lr=lr, gamma=gamma)
    begins = rows.sequence("milestones", milestones)
    for milestone in begins:
        rows.count(milestone=milestone)
    begins = [0, *sorted(begins)]
    return rows.levels(begins, [lr * gamma**k for k in range(len(begins))], total)


@laid("start")
def OneCycleLR(
    max_lr: float,
    total_steps: int | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    div_factor: float = 25.0,
    final_div_factor: float = 10000.0,
    three_phase: bool = False,
    lr: float | None = None,
) -> list[Phase]:
    """Up from max_lr / div_factor to max_lr, and down to a final_div_factor-th of the start (Smith & Topin 2017).

    The joints are at pct_start total_steps - 1 (with three phases also at twice that) and total_steps - 1, so that the
    last update stands on the end; a first joint before update 0 enters the next phase late, as torch does. The
    arguments about momentum have no part in the LR, nor has the optimizer's own `lr`, which torch overwrites. After the
    last update torch extrapolates once, below 0 with `anneal_strategy="linear"`, and then raises; here the end is held.
    Where pct_start total_steps is 1, on which torch divides by 0, the cycle starts at the peak.

    >>> print(OneCycleLR(max_lr=1, total_steps=50))
    cosine 14 from 0.04 to 1, cosine 35 to 4e-06, sampled at start
    """
    if total_steps is None:
        if epochs is None or steps_per_epoch is None:
            raise ValueError("give total_steps, or epochs and steps_per_epoch")
        rows.count(epochs=epochs, steps_per_epoch=steps_per_epoch)
        total_steps = epochs * steps_per_epoch
    rows.count(total_steps=total_steps)
    rows.above_0(total_steps=total_steps, div_factor=div_factor, final_div_factor=final_div_factor)
    rows.not_negative(max_lr=max_lr)
    rows.share(pct_start=pct_start)
    rows.one_of(("cos", "linear"), anneal_strategy=anneal_strategy)
    shape = "cosine" if anneal_strategy == "cos" else "linear"
    start = max_lr / div_factor
    up, end = pct_start * total_steps - 1, total_steps - 1
    if three_phase:
        joints, values = [0, up, 2 * pct_start * total_steps - 2, end], [start, max_lr, start, start / final_div_factor]
    else:
        joints, values = [0, up, end], [start, max_lr, start / final_div_factor]
    row = [
        Phase(begin, stop - begin, a, b, shape)
        for (begin, stop), (a, b) in zip(pairwise(joints), pairwise(values), strict=True)
        if stop > begin and stop > 0
    ]
    return rows.until(row, end) or [Phase(0, 0, values[-1], values[-1])]


@laid("start")
def CyclicLR(
    base_lr: float,
    max_lr: float,
    step_size_up: float = 2000,
    step_size_down: float | None = None,
    mode: str = "triangular",
    gamma: float = 1.0,
    scale_fn: Callable[[float], float] | None = None,
    scale_mode: str = "cycle",
    cycle_momentum: bool = True,
    base_momentum: float = 0.8,
    max_momentum: float = 0.9,
    lr: float | None = None,
    total: int | None = None,
) -> list[Phase]:
    """Straight up from base_lr to max_lr in step_size_up updates and down in step_size_down, for ever (Smith 2015).

    "triangular2" halves the height with each cycle. They never end, so `total` is needed. "exp_range" shrinks the
    height at every update, which makes each line a product of two running curves: it is refused, as is a `scale_fn`.
    The arguments about momentum have no part in the LR, nor has the optimizer's own `lr`, which torch overwrites.

    >>> print(CyclicLR(base_lr=0.1, max_lr=1, step_size_up=6, total=24))  # doctest: +ELLIPSIS
    linear 6 from 0.1 to 1, linear 6 to 0.1, linear 6 to 1, linear 6 to 0.1, sampled at start
    """
    if scale_fn is not None:
        raise ValueError("scale_fn is an arbitrary function, which is no row of ramps")
    rows.one_of(("triangular", "triangular2", "exp_range"), mode=mode)
    if mode == "exp_range" and gamma != 1:
        raise ValueError("mode='exp_range' is the product of two running curves, a line and gamma**s")
    rows.not_negative(base_lr=base_lr, max_lr=max_lr)
    down = step_size_up if step_size_down is None else step_size_down
    rows.above_0(step_size_up=step_size_up, step_size_down=down)
    end = needed(total)

    def cycles() -> Iterator[Phase]:
        for k in count_from():
            begin = k * (step_size_up + down)
            peak = base_lr + (max_lr - base_lr) / (2.0**k if mode == "triangular2" else 1)
            yield Phase(begin, step_size_up, base_lr, peak)
            yield Phase(begin + step_size_up, down, peak, base_lr)

    return rows.until(cycles(), end)


@laid("start")
def SequentialLR(schedulers: Any, milestones: Any, lr: float | None = None, total: int | None = None) -> list[Phase]:
    """One scheduler after another: each starts anew, at the LR's own base, when its milestone is reached.

    `schedulers` are written [name, arguments]. A curve that ends before the next milestone holds there, where
    `CosineAnnealingLR` would climb again; one that does not is cut short. A scheduler of length 0 is skipped. `total`
    is needed where the last one never ends.

    A SequentialLR or ChainedScheduler that comes first in another SequentialLR is stepped once too often when torch
    builds it: it runs through its milestones one update early, and its first curve may start beside the LR (a cosine
    above it). That is what the optimizer gets, so it is what this schedule says. Elsewhere than first torch cannot run
    a nested one at all; here it then does what one would expect.

    >>> warmup, cosine = ["LinearLR", {"start_factor": 0.1}], ["CosineAnnealingLR", {"T_max": 25}]
    >>> print(SequentialLR(lr=1, schedulers=[warmup, cosine], milestones=[5]))
    linear 5 from 0.1 to 1, cosine 25 to 0, sampled at start
    """

    def phases_of(number: int, spec: Any, length: float | None) -> list[Phase]:
        return (
            _stepped_again(spec, lr, length, 0)
            if number == 0
            else nested(spec, SCHEDULERS, REFUSED, lr=lr, total=length)
        )

    return in_sequence({"schedulers": schedulers, "milestones": milestones}, phases_of, total)


def _stepped_again(spec: Any, lr: float | None, total: float | None, times: int) -> list[Phase]:
    """The phases of a scheduler that torch began `times` times more, without setting the LR back to its base."""
    phases = nested(spec, SCHEDULERS, REFUSED, lr=lr, total=total)
    name, args = spec[0], {**_defaults(spec[0]), **spec[1]}
    if name == "SequentialLR":
        if times:
            raise ValueError("torch steps a SequentialLR three levels deep in an order that no schedule follows")

        def phases_of(number: int, child: Any, length: float | None) -> list[Phase]:
            if number == 0:
                return _stepped_again(child, lr, length, 1)
            return nested(child, SCHEDULERS, REFUSED, lr=lr, total=length)

        return in_sequence({key: args[key] for key in ("schedulers", "milestones")}, phases_of, total, early=1)
    if name == "ChainedScheduler":
        factors = [_stepped_again(child, 1.0, total, 1) for child in args["schedulers"]]
        return [phase.times(lr or 0) for phase in reduce(rows.product, factors)]
    if not times:
        return phases
    base, factor = 0.0, 1.0
    if name == "ExponentialLR":
        factor = args["gamma"]
    elif name == "PolynomialLR":
        factor = (1 + 1 / args["total_iters"]) ** -args["power"]
    elif name == "CosineAnnealingLR" and args["T_max"] > 1:
        base, factor = args["eta_min"], 2 / (1 + math.cos(math.pi / args["T_max"]))
    return [p._replace(start=base + (p.start - base) * factor, end=base + (p.end - base) * factor) for p in phases]


def _defaults(name: str) -> dict[str, Any]:
    return {key: p.default for key, p in signature(SCHEDULERS[name]).parameters.items() if p.default is not p.empty}


@laid("start")
def ChainedScheduler(schedulers: Any, lr: float | None = None, total: int | None = None) -> list[Phase]:
    """Several schedulers at once, each multiplying the LR: where at any time one of them at most is running.

    Two exponentials may run together. Any other two running curves have a product without a formula of its own, and
    are refused; so are the schedulers that set the LR instead of multiplying it.

    >>> hold = ["ConstantLR", {"factor": 0.5, "total_iters": 4}]
    >>> rise = ["LinearLR", {"start_factor": 0.5, "total_iters": 8}]
    >>> print(ChainedScheduler([hold, rise], lr=1))
    linear 8 from 0.25 to 0.5, at 4 linear 4 from 0.75 to 1, sampled at start
    """
    children = rows.sequence("schedulers", schedulers)
    if not children:
        raise ValueError("schedulers is a list of at least one")
    if lr is None:
        raise ValueError("it multiplies the optimizer's base learning rate; give it as lr=3e-4")
    factors = []
    for child in children:
        name, args = child if isinstance(child, (list, tuple)) and len(child) == 2 else (None, {})
        sets = name in ("OneCycleLR", "CyclicLR", "CosineAnnealingWarmRestarts", "SequentialLR")
        if sets or (name == "CosineAnnealingLR" and dict(args).get("eta_min")):
            raise ValueError(f"{name} sets the learning rate and does not multiply it, so it has no part in a product")
        factors.append(nested(child, SCHEDULERS, REFUSED, lr=1.0, total=total))
    return [phase.times(lr) for phase in reduce(rows.product, factors)]


SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    f.__name__: f
    for f in (
        ChainedScheduler,
        ConstantLR,
        CosineAnnealingLR,
        CosineAnnealingWarmRestarts,
        CyclicLR,
        ExponentialLR,
        LinearLR,
        MultiStepLR,
        OneCycleLR,
        PolynomialLR,
        SequentialLR,
        StepLR,
    )
}
