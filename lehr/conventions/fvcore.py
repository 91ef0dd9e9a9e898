"""fvcore.common.param_scheduler (read at 3378afe): functions of `where`, the share of the run that is done.

`where` is s / total at update s, so `total` is needed by all of them. fvcore defines its curves for `where` below 1;
past that a line goes on below 0, a cosine rises again, a polynomial turns complex and the others raise: here they hold.
The exponential alone decays on there, and so it does here.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lehr.conventions import _rows as rows
from lehr.conventions._calls import check_arguments, look_up
from lehr.conventions._rows import Phase, lay
from lehr.schedule import Schedule

REFUSED: dict[str, str] = {}

EPSILON = 1e-6  # by how much fvcore has a joint early
NEGLIGIBLE = 1e-13  # of its start: where an exponential may stop for good


class Clock(NamedTuple):
    """The part of the run that a scheduler sees: its `where` runs from 0 to 1 between `start` and `start + length`."""

    total: float
    start: float = 0.0
    length: float = 1.0

    def where(self, update: int) -> float:
        where = update / self.total
        return where if self.length == 1 else (where - self.start) / self.length

    def time(self, where: float) -> float:
        """The update at which `where` is reached, a whole one where only rounding keeps it from that."""
        time = (self.start + where * self.length) * self.total
        return round(time) if abs(time - round(time)) <= rows.ROUNDING * self.total else time

    def curve(self, start: float, end: float, shape: str = "linear") -> list[Phase]:
        """From `start` to `end` over the whole part."""
        return [Phase(self.time(0), self.time(1) - self.time(0), start, end, shape)]

    def steps(self, values: list[float], begun: Callable[[float, int], bool], joints: list[float]) -> list[Phase]:
        """Each value from the first update on for which `begun(where, its place)`, which is near its joint."""

        def first(k: int, joint: float) -> float:
            return rows.first_update(self.time(joint), lambda update: begun(self.where(update), k))

        return rows.levels(
            [self.time(0), *(first(k, joint) for k, joint in enumerate(joints, 1))], values, self.time(1)
        )


def _of_the_run(curve: Callable[..., list[Phase]], total: int | None, **args: Any) -> Schedule:
    """The schedule over the whole run."""
    end = rows.needed(total, "fvcore counts in shares of the run")
    return lay(curve(Clock(end), **args))


def ConstantParamScheduler(value: float, total: int | None = None) -> Schedule:
    """`value`.

    >>> print(ConstantParamScheduler(0.42, total=20))
    hold 20 from 0.42, sampled at start
    """
    return _of_the_run(_constant, total, value=value)


def LinearParamScheduler(start_value: float, end_value: float, total: int | None = None) -> Schedule:
    """Straight from `start_value` to `end_value`.

    >>> print(LinearParamScheduler(1, 0.1, total=20))
    linear 20 from 1 to 0.1, sampled at start
    """
    return _of_the_run(_linear, total, start_value=start_value, end_value=end_value)


def CosineParamScheduler(start_value: float, end_value: float, total: int | None = None) -> Schedule:
    """Half a cosine wave from `start_value` to `end_value`.

    >>> print(CosineParamScheduler(1, 0.1, total=20))
    cosine 20 from 1 to 0.1, sampled at start
    """
    return _of_the_run(_cosine, total, start_value=start_value, end_value=end_value)


def ExponentialParamScheduler(start_value: float, decay: float, total: int | None = None) -> Schedule:
    """start_value decay**where. It goes on past the end of the run, down to nothing; a rise (decay > 1) holds there.

    >>> schedule = ExponentialParamScheduler(2, 0.25, total=20)
    >>> schedule(0), round(schedule(20), 9), round(schedule(30), 9)
    (2.0, 0.5, 0.25)
    """
    return _of_the_run(_exponential, total, start_value=start_value, decay=decay)


def PolynomialDecayParamScheduler(base_value: float, power: float, total: int | None = None) -> Schedule:
    """base_value (1 - where)**power.

    >>> print(PolynomialDecayParamScheduler(1, 0.9, total=20))
    poly:0.9 20 from 1 to 0, sampled at start
    """
    return _of_the_run(_polynomial, total, base_value=base_value, power=power)


def StepParamScheduler(num_updates: float, values: Any, total: int | None = None) -> Schedule:
    """The values one after another, each for an equal share of the run (`num_updates` has no part in that).

    >>> print(StepParamScheduler(20, [1, 0.5], total=20))
    hold 10, hold 10 from 0.5, sampled at start
    """
    return _of_the_run(_step, total, num_updates=num_updates, values=values)


def StepWithFixedGammaParamScheduler(
    base_value: float, num_decays: int, gamma: float, num_updates: int, total: int | None = None
) -> Schedule:
    """`base_value`, multiplied by `gamma` `num_decays` times, at equal distances.

    >>> print(StepWithFixedGammaParamScheduler(1, num_decays=2, gamma=0.5, num_updates=30, total=30))
    hold 10, hold 10 from 0.5, hold 10 from 0.25, sampled at start
    """
    args = {"base_value": base_value, "num_decays": num_decays, "gamma": gamma, "num_updates": num_updates}
    return _of_the_run(_step_with_fixed_gamma, total, **args)


def MultiStepParamScheduler(
    values: Any, num_updates: int | None = None, milestones: Any = None, total: int | None = None
) -> Schedule:
    """The values one after another, from each of the milestones on, which count to `num_updates` over the run.

    Without milestones the values share `num_updates` evenly, rounded up; without it the last milestone is it.

    >>> print(MultiStepParamScheduler([1, 0.5, 0.25], num_updates=90, milestones=[30, 60], total=9))
    hold 3, hold 3 from 0.5, hold 3 from 0.25, sampled at start
    """
    return _of_the_run(_multi_step, total, values=values, num_updates=num_updates, milestones=milestones)


def CompositeParamScheduler(schedulers: Any, lengths: Any, interval_scaling: Any, total: int | None = None) -> Schedule:
    """Schedulers, written [name, arguments], one after another over shares of the run that sum to 1.

    A "rescaled" one runs through its whole curve in its share; a "fixed" one is on its way through the whole run, of
    which its share is seen.

    >>> rise, fall = ["LinearParamScheduler", [0, 1]], ["CosineParamScheduler", [1, 0]]
    >>> rise, fall = ([name, {"start_value": a, "end_value": b}] for name, (a, b) in (rise, fall))
    >>> print(CompositeParamScheduler([rise, fall], [0.25, 0.75], ["rescaled", "rescaled"], total=40))
    linear 10 to 1, cosine 30 to 0, sampled at start
    """
    args = {"schedulers": schedulers, "lengths": lengths, "interval_scaling": interval_scaling}
    return _of_the_run(_composite, total, **args)


# ---------------------------------------------------------------------------------------------------------------------
# the curves, over the part of the run that a clock shows them


def _constant(clock: Clock, value: float) -> list[Phase]:
    rows.not_negative(value=value)
    return clock.curve(value, value)


def _linear(clock: Clock, start_value: float, end_value: float) -> list[Phase]:
    rows.not_negative(start_value=start_value, end_value=end_value)
    return clock.curve(start_value, end_value)


def _cosine(clock: Clock, start_value: float, end_value: float) -> list[Phase]:
    rows.not_negative(start_value=start_value, end_value=end_value)
    return clock.curve(start_value, end_value, "cosine")


def _exponential(clock: Clock, start_value: float, decay: float) -> list[Phase]:
    rows.not_negative(start_value=start_value)
    rows.above_0(decay=decay)
    beyond = max(1.0, math.log(NEGLIGIBLE) / math.log(decay)) if decay < 1 else 1.0
    return rows.decay(clock.time(0), start_value, decay, clock.length * clock.total, clock.time(beyond))


def _polynomial(clock: Clock, base_value: float, power: float) -> list[Phase]:
    rows.not_negative(base_value=base_value)
    return clock.curve(base_value, 0, rows.poly(power))


def _step(clock: Clock, num_updates: float, values: Any) -> list[Phase]:
    rows.above_0(num_updates=num_updates)
    levels = _values(values)
    n = len(levels)
    joints = [k / n - EPSILON for k in range(1, n)]
    return clock.steps(levels, lambda where, k: int((where + EPSILON) * n) >= k, joints)


def _step_with_fixed_gamma(
    clock: Clock, base_value: float, num_decays: int, gamma: float, num_updates: int
) -> list[Phase]:
    rows.above_0(base_value=base_value, gamma=gamma, num_decays=num_decays, num_updates=num_updates)
    rows.count(num_decays=num_decays, num_updates=num_updates)
    return _step(clock, num_updates, [base_value * gamma**k for k in range(min(num_decays, rows.MOST) + 1)])


def _multi_step(clock: Clock, values: Any, num_updates: int | None = None, milestones: Any = None) -> list[Phase]:
    levels = _values(values)
    if milestones is not None:
        joints = rows.sequence("milestones", milestones)
        for milestone in joints:
            rows.count(milestone=milestone)
        if num_updates is None and joints:
            num_updates = joints.pop()
        if len(joints) != len(levels) - 1:
            raise ValueError(f"{len(levels)} values take {len(levels) - 1} milestones and num_updates")
    elif num_updates is not None:
        rows.count(num_updates=num_updates)
        width = math.ceil(num_updates / len(levels))
        joints = [width * k for k in range(1, len(levels))]
    if num_updates is None:
        raise ValueError("give num_updates or milestones")
    rows.count(num_updates=num_updates)
    if joints != sorted(set(joints)) or (joints and not 0 < joints[0] <= joints[-1] < num_updates):
        raise ValueError(f"milestones rise from above 0 to below num_updates={num_updates}, not {joints!r}")
    updates, near = num_updates, [joint / num_updates - EPSILON for joint in joints]
    return clock.steps(levels, lambda where, k: int((where + EPSILON) * updates) >= joints[k - 1], near)


def _composite(clock: Clock, schedulers: Any, lengths: Any, interval_scaling: Any) -> list[Phase]:
    children = rows.sequence("schedulers", schedulers)
    shares, scalings = rows.sequence("lengths", lengths), rows.sequence("interval_scaling", interval_scaling)
    rows.above_0(**{f"lengths[{i}]": share for i, share in enumerate(shares)})
    if not len(children) == len(shares) == len(scalings) > 0:
        raise ValueError("schedulers, lengths and interval_scaling are lists of one length, at least 1")
    if abs(sum(shares) - 1) >= 1e-3:
        raise ValueError(f"the lengths sum to 1, not {sum(shares):g}")
    shares[-1] = 1 - sum(shares[:-1]) if sum(shares) != 1 else shares[-1]
    row: list[Phase] = []
    done = 0.0
    for child, share, scaling in zip(children, shares, scalings, strict=True):
        rows.one_of(("rescaled", "fixed"), interval_scaling=scaling)
        before, done = done, done + share
        begin = clock.time(before)
        if before:
            begin = _first_beyond(clock, before)
        rescaled = Clock(clock.total, clock.start + before * clock.length, share * clock.length)
        phases = _curve(rescaled if scaling == "rescaled" else clock, child)
        row = [phase for phase in row if phase.begin < begin]
        row += rows.from_then_on(phases, begin)
    return row


def _first_beyond(clock: Clock, share: float) -> float:
    """The first update that fvcore finds beyond that share of the clock's time."""
    return rows.first_update(clock.time(share - EPSILON), lambda update: clock.where(update) + EPSILON > share)


def _curve(clock: Clock, spec: Any) -> list[Phase]:
    """The phases of a nested scheduler."""
    if not (isinstance(spec, (list, tuple)) and len(spec) == 2 and isinstance(spec[0], str)):
        raise ValueError(f"a nested scheduler is written [name, {{argument: value}}], not {spec!r}")
    name, args = spec
    if not isinstance(args, Mapping):
        raise ValueError(f"the arguments of the nested {name} are {{argument: value}}, not {args!r}")
    try:
        check_arguments(look_up(name, SCHEDULERS, REFUSED), args)
        return _CURVES[name](clock, **args)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _values(values: Any) -> list[float]:
    levels = rows.sequence("values", values)
    rows.not_negative(**{f"values[{i}]": value for i, value in enumerate(levels)})
    if not levels:
        raise ValueError("values is a list of at least one")
    return levels


_CURVES: dict[str, Callable[..., list[Phase]]] = {
    "CompositeParamScheduler": _composite,
    "ConstantParamScheduler": _constant,
    "CosineParamScheduler": _cosine,
    "ExponentialParamScheduler": _exponential,
    "LinearParamScheduler": _linear,
    "MultiStepParamScheduler": _multi_step,
    "PolynomialDecayParamScheduler": _polynomial,
    "StepParamScheduler": _step,
    "StepWithFixedGammaParamScheduler": _step_with_fixed_gamma,
}
SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    f.__name__: f
    for f in (
        CompositeParamScheduler,
        ConstantParamScheduler,
        CosineParamScheduler,
        ExponentialParamScheduler,
        LinearParamScheduler,
        MultiStepParamScheduler,
        PolynomialDecayParamScheduler,
        StepParamScheduler,
        StepWithFixedGammaParamScheduler,
    )
}
