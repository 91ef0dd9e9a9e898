"""olmo_core.optim.scheduler (read at fa6c5014): dataclasses whose `get_lr` counts the update that is being made.

OLMo-core's trainer counts first: update s uses the curve at s + 1, so that the first update of a warmup has LR 1/W and
the last one stands on the floor. `lr` is the optimizer's LR; `total` is the trainer's `max_steps`, in updates. With
`units="tokens"` lengths are in tokens and `tokens_per_update` says how many make an update.

Where OLMo-core goes on below its floor past the end, or asserts, the last value is held. A warmup as long as `t_max`
gives the cosine, half-cosine and linear schedulers the floor at the last update, where the peak would be: here too.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lehr.conventions import _rows as rows
from lehr.conventions._calls import nested
from lehr.conventions._rows import Phase, laid, needed
from lehr.schedule import Schedule

REFUSED: dict[str, str] = {}


@laid("end")
def ConstantScheduler(lr: float, total: int | None = None) -> list[Phase]:
    """The optimizer's LR.

    >>> print(ConstantScheduler(lr=3e-4, total=1000))
    hold 1000 from 0.0003
    """
    rows.not_negative(lr=lr)
    return [Phase(0, needed(total), lr, lr)]


@laid("end")
def ConstantWithWarmup(
    lr: float,
    warmup: int | None = None,
    warmup_steps: int | None = None,
    warmup_fraction: float | None = None,
    warmup_min_lr: float = 0.0,
    units: str = "steps",
    tokens_per_update: int | None = None,
    total: int | None = None,
) -> list[Phase]:
    """Straight up from `warmup_min_lr`, then the LR. `total` is needed for a `warmup_fraction`.

    >>> print(ConstantWithWarmup(lr=1, warmup=5, total=20))
    linear 5 to 1, hold 15
    """
    clock = _Clock(units, tokens_per_update)
    begin = clock.length("warmup", warmup, warmup_steps, warmup_fraction, total)
    end = max(total or 0, begin)
    return [_rise(lr, begin, warmup_min_lr), Phase(begin, end - begin, lr, lr)]


@laid("end")
def LinearWithWarmup(
    lr: float,
    alpha_f: float = 0.1,
    t_max: int | None = None,
    warmup: int | None = None,
    warmup_steps: int | None = None,
    warmup_fraction: float | None = None,
    warmup_min_lr: float = 0.0,
    units: str = "steps",
    tokens_per_update: int | None = None,
    total: int | None = None,
) -> list[Phase]:
    """Straight up to the LR, straight down to alpha_f times it at `t_max`, by default `total`.

    >>> print(LinearWithWarmup(lr=1, warmup=5, total=30))
    linear 5 to 1, linear 25 to 0.1
    """
    clock = _Clock(units, tokens_per_update)
    end = clock.end(t_max, total)
    begin = clock.length("warmup", warmup, warmup_steps, warmup_fraction, end)
    return _warmed(lr, begin, end, warmup_min_lr, alpha_f, "linear")


@laid("end")
def CosWithWarmup(
    lr: float,
    warmup: int | None = None,
    warmup_steps: int | None = None,
    warmup_fraction: float | None = None,
    alpha_f: float = 0.1,
    t_max: int | None = None,
    warmup_min_lr: float = 0.0,
    units: str = "steps",
    tokens_per_update: int | None = None,
    total: int | None = None,
) -> list[Phase]:
    """Straight up to the LR, half a cosine wave down to alpha_f times it at `t_max`, by default `total`.

    >>> print(CosWithWarmup(lr=1, warmup=10, total=50))
    linear 10 to 1, cosine 40 to 0.1
    """
    clock = _Clock(units, tokens_per_update)
    end = clock.end(t_max, total)
    begin = clock.length("warmup", warmup, warmup_steps, warmup_fraction, end)
    return _warmed(lr, begin, end, warmup_min_lr, alpha_f, "cosine")


@laid("end")
def HalfCosWithWarmup(
    lr: float,
    warmup: int | None = None,
    warmup_steps: int | None = None,
    warmup_fraction: float | None = None,
    alpha_f: float = 0.1,
    t_max: int | None = None,
    warmup_min_lr: float = 0.0,
    units: str = "steps",
    tokens_per_update: int | None = None,
    total: int | None = None,
) -> list[Phase]:
    """The second half of `CosWithWarmup`: the warmup goes half-way up, to the middle between the LR and the floor.

    >>> print(HalfCosWithWarmup(lr=1, warmup=6, total=30, alpha_f=0))
    linear 6 from 0 to 0.5, half_cosine 24 to 0
    """
    clock = _Clock(units, tokens_per_update)
    end = clock.end(t_max, total)
    begin = clock.length("warmup", warmup, warmup_steps, warmup_fraction, end)
    return _warmed(lr, begin, end, warmup_min_lr, alpha_f, "half_cosine")


@laid("end")
def InvSqrtWithWarmup(
    lr: float,
    alpha_f: float = 0.1,
    warmup: int | None = None,
    warmup_steps: int | None = None,
    warmup_fraction: float | None = None,
    warmup_min_lr: float = 0.0,
    units: str = "steps",
    tokens_per_update: int | None = None,
    total: int | None = None,
) -> list[Phase]:
    """Straight up to the LR, then alpha_f lr + (lr - alpha_f lr) sqrt(warmup / t).

    It never ends, so `total` is needed. A warmup of 0, with which OLMo-core is at the floor from the first update on,
    counts as one update.

    >>> print(InvSqrtWithWarmup(lr=1, warmup=100, total=400))
    linear 100 to 1, inverse_sqrt:0.5 300 to 0.55
    """
    rows.not_negative(lr=lr, alpha_f=alpha_f)
    clock, end = _Clock(units, tokens_per_update), needed(total)
    begin = clock.length("warmup", warmup, warmup_steps, warmup_fraction, end) or 1
    if end <= begin:
        return [_rise(lr, begin, warmup_min_lr)]
    ratio = math.sqrt(begin / end)
    floor = lr * alpha_f
    fall = Phase(begin, end - begin, lr, floor + (lr - floor) * ratio, f"inverse_sqrt:{ratio!r}")
    return [_rise(lr, begin, warmup_min_lr), fall]


@laid("end")
def WSD(
    lr: float,
    warmup: int | None = None,
    warmup_steps: int | None = None,
    warmup_fraction: float | None = None,
    decay: int | None = None,
    decay_steps: int | None = None,
    decay_fraction: float | None = 0.1,
    warmup_min_lr: float = 0.0,
    decay_min_lr: float = 0.0,
    units: str = "steps",
    tokens_per_update: int | None = None,
    total: int | None = None,
) -> list[Phase]:
    """Straight up, stable, straight down to `decay_min_lr` over the last updates.

    A decay of length 0, by which OLMo-core divides, is none. One that is longer than what the warmup leaves is entered
    in its midst.

    >>> print(WSD(lr=1, warmup=5, decay_fraction=0.2, total=30))
    linear 5 to 1, hold 19, linear 6 to 0
    """
    clock, end = _Clock(units, tokens_per_update), needed(total, "the decay ends with the run")
    begin = clock.length("warmup", warmup, warmup_steps, warmup_fraction, end)
    fall = clock.length("decay", decay, decay_steps, decay_fraction, end)
    rows.fits("warmup", begin, "total", end)
    row = [Phase(begin, max(end - fall - begin, 0), lr, lr), *_tail(end, fall, lr, decay_min_lr)]
    return [_rise(lr, begin, warmup_min_lr), *rows.from_then_on(row, begin)]


@laid("end")
def PowerLR(
    lr: float,
    b: float = -0.51,
    warmup: int | None = None,
    warmup_steps: int | None = None,
    warmup_fraction: float | None = None,
    warmup_min_lr: float = 0.0,
    decay: int | None = None,
    decay_steps: int | None = None,
    decay_fraction: float | None = 0.1,
    decay_min_lr: float = 0.0,
    units: str = "steps",
    tokens_per_update: int | None = None,
    total: int | None = None,
) -> list[Phase]:
    """Straight up, then lr (t / warmup)**b, then straight down to `decay_min_lr` (Shen et al. 2024, arXiv 2408.13359).

    A warmup of 0, by which OLMo-core divides, counts as one update.

    >>> print(PowerLR(lr=1, b=-0.5, warmup=25, decay_fraction=0.2, total=125))
    linear 25 to 1, inverse_sqrt 75 to 0.5, linear 25 to 0
    """
    clock, end = _Clock(units, tokens_per_update), needed(total, "the decay ends with the run")
    if not b < 0:
        raise ValueError(f"b is a number below 0, not {b!r}")
    begin = clock.length("warmup", warmup, warmup_steps, warmup_fraction, end) or 1
    fall = clock.length("decay", decay, decay_steps, decay_fraction, end)
    rows.fits("warmup", begin, "total", end)
    turn = end - fall
    if turn < begin:
        raise ValueError(f"warmup and decay take {begin + fall:g} of total={end:g} updates; shorten them")
    rows.not_negative(lr=lr)
    value = lr * (turn / begin) ** b
    power = "inverse_sqrt" if b == -0.5 else f"power:{1 / b!r}"
    row = [_rise(lr, begin, warmup_min_lr), Phase(begin, turn - begin, lr, value, power)]
    return row + _tail(end, fall, value, decay_min_lr)


@laid("end")
def CosWithWarmupAndLinearDecay(
    lr: float,
    warmup: int | None = None,
    warmup_steps: int | None = None,
    warmup_fraction: float | None = None,
    alpha_f: float = 0.1,
    t_max: int | None = None,
    warmup_min_lr: float = 0.0,
    decay: int | None = None,
    decay_steps: int | None = None,
    decay_fraction: float | None = 0.1,
    decay_min_lr: float = 0.0,
    units: str = "steps",
    tokens_per_update: int | None = None,
    total: int | None = None,
) -> list[Phase]:
    """`CosWithWarmup`, cut short by a straight line down to `decay_min_lr` over the last updates.

    >>> print(CosWithWarmupAndLinearDecay(lr=1, warmup=10, alpha_f=0, decay=20, total=50))
    linear 10 to 1, cosine 40 to 0, at 30 linear 20 to 0
    """
    clock = _Clock(units, tokens_per_update)
    run = needed(total, "the decay ends with the run")
    end = clock.end(t_max, total)
    begin = clock.length("warmup", warmup, warmup_steps, warmup_fraction, end)
    fall = clock.length("decay", decay, decay_steps, decay_fraction, run)
    rows.fits("decay", fall, "total", run)
    main = _warmed(lr, begin, end, warmup_min_lr, alpha_f, "cosine")
    return _overridden(main, run - fall, _tail(run, fall, _value(main, run - fall), decay_min_lr))


@laid("end")
def WSDS(
    lr: float,
    period_lengths: Any,
    period_lr_multipliers: Any = None,
    warmup: int | None = None,
    warmup_fraction: float | None = None,
    decay: int | None = None,
    decay_fraction: float | None = None,
    warmup_min_lr: float = 0.0,
    decay_min_lr: float = 0.0,
    units: str = "steps",
    tokens_per_update: int | None = None,
) -> list[Phase]:
    """WSD-S: periods that each are stable and then go down to `decay_min_lr` (Wen et al. 2024, arXiv 2410.05192).

    The warmup is part of the first period, its fraction of that period; a decay fraction is of each period.

    >>> print(WSDS(lr=1, period_lengths=[15, 20], warmup=4, decay=5))
    linear 4 to 1, hold 6, linear 5 to 0, hold 15 from 1, linear 5 to 0
    """
    clock = _Clock(units, tokens_per_update)
    lengths = rows.sequence("period_lengths", period_lengths)
    factors = rows.sequence("period_lr_multipliers", period_lr_multipliers or [1.0] * len(lengths))
    if not lengths or len(factors) != len(lengths):
        raise ValueError("period_lengths is a list of at least one, and period_lr_multipliers as long")
    rows.above_0(**{f"period_lengths[{i}]": length for i, length in enumerate(lengths)})
    rows.above_0(**{f"period_lr_multipliers[{i}]": factor for i, factor in enumerate(factors)})
    rows.not_negative(lr=lr)
    begin = clock.length("warmup", warmup, None, warmup_fraction, clock.updates(lengths[0]))
    row = [_rise(lr * factors[0], begin, warmup_min_lr)]
    done = fall = 0.0
    for length, factor in zip(map(clock.updates, lengths), factors, strict=True):
        fall = clock.length("decay", decay, None, decay_fraction, length)
        rows.fits("warmup + decay" if not done else "decay", (0 if done else begin) + fall, "the period", length)
        peak, start, done = lr * factor, done or begin, done + length
        row += [Phase(start, done - fall - start, peak, peak), *_tail(done, fall, peak, decay_min_lr)]
    # the minimum has the last word: without a decay it comes one update early
    return [*row, Phase(done if fall else math.ceil(done) - 1, 0, decay_min_lr, decay_min_lr)]


@laid("end")
def ExponentialScheduler(lr: float, lr_min: float = 1e-9, total: int | None = None) -> list[Phase]:
    """Exponentially up from `lr_min` to the LR at the end of the run (a learning-rate range test).

    >>> print(ExponentialScheduler(lr=1, lr_min=1e-6, total=25))
    exponential 25 from 1e-06 to 1
    """
    rows.above_0(lr=lr, lr_min=lr_min)
    return [Phase(0, needed(total, "it reaches the LR at the end of the run"), lr_min, lr, "exponential")]


@laid("end")
def SequentialScheduler(
    lr: float,
    schedulers: Any,
    schedulers_max: Any = None,
    schedulers_max_steps: Any = None,
    override_decay: Any = None,
    units: str = "steps",
    tokens_per_update: int | None = None,
    total: int | None = None,
) -> list[Phase]:
    """One scheduler after another, each from the LR at which the one before it ended; the last to the end of the run.

    `schedulers` are written [name, arguments], `schedulers_max` says how long each but the last runs. `override_decay`
    ({"start", "duration", "shape", "end_lr" or "end_lr_fraction"}) leaves the row at `start`.

    >>> first, second = ["CosWithWarmup", {"warmup": 4, "alpha_f": 0.5}], ["LinearWithWarmup", {"warmup": 0}]
    >>> print(SequentialScheduler(lr=1, schedulers=[first, second], schedulers_max=[20], total=40))
    linear 4 to 1, cosine 16 to 0.5, linear 20 to 0.05
    """
    clock, end = _Clock(units, tokens_per_update), needed(total, "the last scheduler ends with the run")
    children = rows.sequence("schedulers", schedulers)
    lengths = [*map(clock.updates, rows.sequence("schedulers_max", schedulers_max or schedulers_max_steps or []))]
    lengths = lengths[: len(children) - 1] if len(lengths) == len(children) else lengths
    if not children or len(lengths) != len(children) - 1:
        raise ValueError(f"{len(children)} schedulers take {len(children) - 1} schedulers_max, not {len(lengths)}")
    rows.above_0(**{f"schedulers_max[{i}]": length for i, length in enumerate(lengths)})
    row: list[Phase] = []
    begin, peak = 0.0, lr
    for child, length in zip(children, [*lengths, None], strict=True):
        share = end - begin if length is None else min(length, end - begin)
        if share <= 0:
            break
        context = {"units": units, "tokens_per_update": tokens_per_update} if units != "steps" else {}
        phases = nested(child, SCHEDULERS, REFUSED, lr=peak, total=share, **context)
        row += [phase.moved(begin) for phase in phases if phase.begin < share or length is None]
        begin, peak = begin + share, _value(phases, share)
    return _with_override(row, override_decay, lr, clock)


@laid("end")
def ComposableScheduler(
    lr: float,
    stages: Any,
    override_decay: Any = None,
    units: str = "steps",
    tokens_per_update: int | None = None,
) -> list[Phase]:
    """Stages of a duration and a shape (linear or cosine), each from the end of the last one if it says nothing else.

    A stage is {"duration", "shape", "start_lr" or "start_lr_fraction", "end_lr" or "end_lr_fraction"}; the fractions
    are of the LR. `override_decay` ({"start", "duration", "shape", ...}) leaves the row at `start`.

    >>> print(ComposableScheduler(lr=1, stages=[
    ...     {"duration": 5, "start_lr": 0.0, "end_lr_fraction": 1.0},
    ...     {"duration": 10, "shape": "cosine", "end_lr_fraction": 0.1},
    ... ]))
    linear 5 to 1, cosine 10 to 0.1
    """
    rows.not_negative(lr=lr)
    clock = _Clock(units, tokens_per_update)
    row: list[Phase] = []
    begin, last = 0.0, lr
    for stage in rows.sequence("stages", stages):
        _keys("a stage", stage, ("duration", "shape", "start_lr", "start_lr_fraction", "end_lr", "end_lr_fraction"))
        rows.above_0(duration=stage.get("duration"))
        rows.one_of(("linear", "cosine"), shape=stage.get("shape", "linear"))
        start = _level(stage, "start", lr, last)
        end = _level(stage, "end", lr, None)
        if start != last and row and begin == int(begin):  # OLMo-core is on the new stage when the old one ends
            row.append(Phase(begin - 1, 0, start, start))
        duration = clock.updates(stage["duration"])
        row.append(Phase(begin, duration, start, end, stage.get("shape", "linear")))
        begin, last = begin + duration, end
    if not row:
        raise ValueError("stages is a list of at least one")
    return _with_override(row, override_decay, lr, clock)


# ---------------------------------------------------------------------------------------------------------------------


class _Clock:
    """Lengths as OLMo-core counts them, steps or tokens, in updates."""

    def __init__(self, units: str, tokens_per_update: int | None) -> None:
        rows.one_of(("steps", "tokens"), units=units)
        self.per_update = 1.0
        if units == "tokens":
            if tokens_per_update is None:
                raise ValueError("units='tokens' needs tokens_per_update=...")
            rows.above_0(tokens_per_update=tokens_per_update)
            self.per_update = float(tokens_per_update)

    def updates(self, length: Any) -> float:
        rows.not_negative(length=length)
        return float(length) / self.per_update

    def end(self, t_max: int | None, total: float | None) -> float:
        return self.updates(t_max) if t_max is not None else needed(total, "it ends with the run")

    def length(
        self, name: str, given: int | None, old: int | None, fraction: float | None, whole: float | None
    ) -> float:
        """A length given as such, by its old name, or as a fraction of `whole` updates, rounded in the units."""
        given = old if given is None else given
        if name == "decay" and given is not None and fraction == 0.1:
            fraction = None  # the default; OLMo-core wants a None there
        if (given is None) == (fraction is None):
            raise ValueError(f"give {name} or {name}_fraction, one of them")
        if fraction is None:
            rows.count(**{name: given})
            return self.updates(given)
        rows.share(**{f"{name}_fraction": fraction})
        return self.updates(round(needed(whole, f"{name}_fraction is of the run") * self.per_update * fraction))


def _rise(lr: float, warmup: float, warmup_min_lr: float) -> Phase:
    rows.not_negative(lr=lr, warmup_min_lr=warmup_min_lr)
    if warmup and not warmup_min_lr < lr:
        raise ValueError(f"warmup_min_lr={warmup_min_lr!r} is not below the peak, {lr!r}")
    return Phase(0, warmup, warmup_min_lr, lr)


def _warmed(lr: float, warmup: float, end: float, warmup_min_lr: float, alpha_f: float, shape: str) -> list[Phase]:
    """A warmup to the LR (of the half cosine: half-way from the floor), then a curve to alpha_f times the LR."""
    rows.not_negative(lr=lr, alpha_f=alpha_f)
    rows.fits("warmup", warmup, "t_max", end)
    floor = lr * alpha_f
    peak = floor + (lr - floor) / 2 if shape == "half_cosine" else lr
    rise = _rise(peak, warmup, warmup_min_lr)
    if end == warmup:  # the floor has the last word, one update early
        return [rise, Phase(max(math.ceil(end) - 1, 0), 0, floor, floor)]
    return [rise, Phase(warmup, end - warmup, peak, floor, shape)]


def _tail(end: float, decay: float, start: float, decay_min_lr: float) -> list[Phase]:
    """The straight line down over the last `decay` updates, if any."""
    rows.not_negative(decay_min_lr=decay_min_lr)
    if decay and not decay_min_lr < start:
        raise ValueError(f"decay_min_lr={decay_min_lr!r} is not below the LR that decays, {start!r}")
    return [Phase(end - decay, decay, start, decay_min_lr)] if decay else []


def _value(row: Iterable[Phase], time: float) -> float:
    """The value of a row at a time; at a joint that of the phase that ends there."""
    first, *others = row
    begun = [phase for phase in (first, *others) if phase.begin < time]
    return begun[-1].at(time) if begun else first.start


def _overridden(row: list[Phase], time: float, phases: list[Phase]) -> list[Phase]:
    return [phase for phase in row if phase.begin < time] + phases if phases else row


def _with_override(row: list[Phase], override: Any, lr: float, clock: _Clock) -> list[Phase]:
    if override is None:
        return row
    _keys("override_decay", override, ("start", "duration", "shape", "end_lr", "end_lr_fraction"))
    rows.not_negative(start=override.get("start"))
    rows.above_0(duration=override.get("duration"))
    rows.one_of(("linear", "cosine"), shape=override.get("shape", "linear"))
    time, duration = clock.updates(override["start"]), clock.updates(override["duration"])
    fall = Phase(time, duration, _value(row, time), _level(override, "end", lr, None), override.get("shape", "linear"))
    return _overridden(row, time, [fall])


def _keys(what: str, data: Any, known: tuple[str, ...]) -> None:
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} is {{{', '.join(known)}}}, not {data!r}")
    for key in data:
        rows.one_of(known, **{f"a key of {what}": key})


def _level(data: Mapping[str, Any], which: str, lr: float, default: float | None) -> float:
    """`start_lr`, or `start_lr_fraction` of the LR, or the default; the same for `end`."""
    value, fraction = data.get(f"{which}_lr"), data.get(f"{which}_lr_fraction")
    if (value is not None and fraction is not None) or (value is None and fraction is None and default is None):
        raise ValueError(f"give {which}_lr or {which}_lr_fraction, one of them")
    if value is not None:
        rows.not_negative(**{f"{which}_lr": value})
        return float(value)
    if fraction is not None:
        rows.not_negative(**{f"{which}_lr_fraction": fraction})
        return float(lr * fraction)
    return float(default or 0)


SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    f.__name__: f
    for f in (
        ComposableScheduler,
        ConstantScheduler,
        ConstantWithWarmup,
        CosWithWarmup,
        CosWithWarmupAndLinearDecay,
        ExponentialScheduler,
        HalfCosWithWarmup,
        InvSqrtWithWarmup,
        LinearWithWarmup,
        PowerLR,
        SequentialScheduler,
        WSD,
        WSDS,
    )
}
