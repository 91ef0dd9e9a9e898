"""composer.optim.scheduler (read at 64051888): multipliers, from Composer's time strings and the run they are part of.

Composer's Trainer steps the scheduler before it advances its clock. So the curve lags by one update: update s uses its
value at s - 1, a warmup begins with two updates at 0, and the floor is reached at the first update past the end.

`run` says what Composer's State knows: {"max_duration": "20ba", "dataloader_len": 30, "tokens_per_batch": 512,
"samples_per_batch": 8, "scale_schedule_ratio": 1.0}, as far as a time string needs it. The schedules are multipliers,
and learning rates where `lr` is given.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from lehr.conventions import _rows as rows
from lehr.conventions._rows import Phase, lay
from lehr.schedule import Schedule

REFUSED: dict[str, str] = {}

UNITS = {"ba": None, "ep": "dataloader_len", "tok": "tokens_per_batch", "sp": "samples_per_batch"}
_TIME = re.compile(r"(?P<number>[0-9.eE_+]+) ?(?P<unit>dur|ba|ep|tok|sp)")


class Run(NamedTuple):
    """The run: its length, already stretched, what a batch holds, and by how much schedules are stretched."""

    unit: str  # of max_duration
    duration: float
    per: Mapping[str, float]  # batches an epoch, tokens and samples a batch, as far as given
    stretch: float

    @classmethod
    def read(cls, run: Any) -> "Run":
        known = ("max_duration", "scale_schedule_ratio", *filter(None, UNITS.values()))
        if not isinstance(run, Mapping) or "max_duration" not in run:
            raise ValueError('run is {"max_duration": "20ba"} and so on; write run={"max_duration": ...}')
        for key in run:
            rows.one_of(known, **{"a key of run": key})
        per = {key: run[key] for key in UNITS.values() if key is not None and run.get(key) is not None}
        rows.above_0(**per)
        stretch = run.get("scale_schedule_ratio", 1.0)
        rows.above_0(scale_schedule_ratio=stretch)
        number, unit = _read("max_duration", run["max_duration"])
        if unit == "dur":
            raise ValueError("max_duration is a time such as '20ba', not a share of itself")
        return cls(unit, int(number * stretch), per, stretch)

    def time(self, name: str, text: Any, stretched: bool = True) -> tuple[int, str]:
        """A time in whole units of its own, as Composer cuts it; epochs and shares of epochs become batches."""
        number, unit = _read(name, text)
        if unit == "dur":
            if self.unit == "ep":
                return int(number * self.figure("ep") * self.duration), "ba"
            return int(number * self.duration), self.unit
        if unit == "ep":
            number, unit = number * self.figure("ep"), "ba"
        return int(number * (self.stretch if stretched else 1.0)), unit

    def figure(self, unit: str) -> float:
        key = UNITS[unit]
        if key is None:
            return 1
        if key not in self.per:
            raise ValueError(f"a time in {unit!r} needs run[{key!r}]")
        return self.per[key]

    def updates(self, time: float, unit: str) -> float:
        return time * self.figure(unit) if unit == "ep" else time / self.figure(unit)

    def span(self, name: str, text: Any, stretched: bool = True) -> float:
        """A time in updates."""
        return self.updates(*self.time(name, text, stretched))

    @property
    def length(self) -> float:
        return self.updates(self.duration, self.unit)


def _read(name: str, text: Any) -> tuple[float, str]:
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    try:
        number = float(match["number"]) if match else math.nan
    except ValueError:
        number = math.nan
    if match is None or not 0 <= number < 1e18 or (match["unit"] != "dur" and number != int(number)):
        raise ValueError(f"{name} is a time such as '10ba', '2ep', '1000tok', '64sp' or '0.1dur', not {text!r}")
    return number, match["unit"]


def _lagging(phases: Iterable[Phase], lr: float) -> Schedule:
    """The schedule one update late; before that it stands at its first value."""
    rows.not_negative(lr=lr)
    return lay([phase.moved(1).times(lr) for phase in phases])


def _end(total: int | None, run: Run) -> float:
    """Where a curve that never ends is to hold; the lag is still to come."""
    return rows.needed(total, such_as=run.length) - 1


# ---------------------------------------------------------------------------------------------------------------------


def ConstantScheduler(run: Any, alpha: float = 1.0, t_max: str = "1dur", lr: float = 1.0) -> Schedule:
    """`alpha` up to `t_max`, then 1. (At the very end of the run Composer jumps to 1 too; here `alpha` is held.)

    >>> print(ConstantScheduler({"max_duration": "20ba"}, alpha=0.5))
    at 1 hold 20 from 0.5, sampled at start
    """
    known = Run.read(run)
    end = known.span("t_max", t_max)
    rows.not_negative(alpha=alpha)
    row = [Phase(0, end, alpha, alpha)]
    return _lagging(row if end >= known.length else [*row, Phase(end, 0, 1, 1)], lr)


def LinearScheduler(
    run: Any, alpha_i: float = 1.0, alpha_f: float = 0.0, t_max: str = "1dur", lr: float = 1.0
) -> Schedule:
    """Straight from `alpha_i` to `alpha_f` over `t_max`.

    >>> print(LinearScheduler({"max_duration": "20ba"}, alpha_f=0.1, t_max="15ba"))
    at 1 linear 15 from 1 to 0.1, sampled at start
    """
    rows.not_negative(alpha_i=alpha_i, alpha_f=alpha_f)
    return _lagging([Phase(0, Run.read(run).span("t_max", t_max), alpha_i, alpha_f)], lr)


def CosineAnnealingScheduler(run: Any, t_max: str = "1dur", alpha_f: float = 0.0, lr: float = 1.0) -> Schedule:
    """Half a cosine wave from 1 to `alpha_f` over `t_max`.

    >>> schedule = CosineAnnealingScheduler({"max_duration": "30ba"}, alpha_f=0.1)
    >>> [round(schedule(step), 4) for step in (0, 1, 2, 29, 30, 31)]
    [1.0, 1.0, 0.9975, 0.1098, 0.1025, 0.1]
    """
    rows.not_negative(alpha_f=alpha_f)
    return _lagging([Phase(0, Run.read(run).span("t_max", t_max), 1, alpha_f, "cosine")], lr)


def PolynomialScheduler(run: Any, power: float, t_max: str = "1dur", alpha_f: float = 0.0, lr: float = 1.0) -> Schedule:
    """alpha_f + (1 - alpha_f) (1 - t / t_max)**power.

    >>> print(PolynomialScheduler({"max_duration": "20ba"}, power=2))
    at 1 poly:2 20 from 1 to 0, sampled at start
    """
    rows.not_negative(alpha_f=alpha_f)
    return _lagging([Phase(0, Run.read(run).span("t_max", t_max), 1, alpha_f, rows.poly(power))], lr)


def StepScheduler(run: Any, step_size: str, gamma: float = 0.1, lr: float = 1.0, total: int | None = None) -> Schedule:
    """gamma**(t // step_size). It never ends, so `total` is needed; from there on the value is held.

    >>> print(StepScheduler({"max_duration": "20ba"}, "10ba", gamma=0.5, total=21))
    at 1 hold 10, hold 10 from 0.5, sampled at start
    """
    known = Run.read(run)
    size = known.span("step_size", step_size)
    rows.above_0(step_size=size)
    rows.not_negative(gamma=gamma)
    end = _end(total, known)
    falls = rows.decay if size == 1 else rows.stairs
    return _lagging(falls(0, 1.0, gamma, size, end), lr)


def MultiStepScheduler(run: Any, milestones: Any, gamma: float = 0.1, lr: float = 1.0) -> Schedule:
    """Times `gamma` from each milestone on.

    >>> print(MultiStepScheduler({"max_duration": "4ep", "dataloader_len": 6}, ["1ep", "0.75dur"], gamma=0.5))
    at 1 hold 6, hold 12 from 0.5, hold 0 from 0.25, sampled at start
    """
    return _lagging(_milestones(Run.read(run), milestones, gamma), lr)


def ExponentialScheduler(
    run: Any, gamma: float, decay_period: str = "1ep", lr: float = 1.0, total: int | None = None
) -> Schedule:
    """gamma**(t / decay_period). It never ends, so `total` is needed; from there on the value is held.

    >>> schedule = ExponentialScheduler({"max_duration": "20ba"}, gamma=0.25, decay_period="2ba", total=20)
    >>> [round(schedule(step), 9) for step in (0, 1, 2, 3)]
    [1.0, 1.0, 0.5, 0.25]
    """
    known = Run.read(run)
    period = known.span("decay_period", decay_period)
    rows.above_0(decay_period=period)
    rows.not_negative(gamma=gamma)
    return _lagging(rows.decay(0, 1.0, gamma, period, _end(total, known)), lr)


def CosineAnnealingWarmRestartsScheduler(
    run: Any, t_0: str, t_mult: float = 1.0, alpha_f: float = 0.0, lr: float = 1.0, total: int | None = None
) -> Schedule:
    """Half cosine waves from 1 to `alpha_f`, the first t_0 long, each t_mult times longer, cut to whole units.

    They never end, so `total` is needed; from there on the value is held.

    >>> print(CosineAnnealingWarmRestartsScheduler({"max_duration": "30ba"}, "10ba", t_mult=2, total=31))
    at 1 cosine 10 from 1 to 0, cosine 20 from 1 to 0, sampled at start
    """
    known = Run.read(run)
    first, unit = known.time("t_0", t_0)
    rows.above_0(t_0=first, t_mult=t_mult)
    rows.not_negative(alpha_f=alpha_f)
    if known.updates(first, unit) < 1:
        raise ValueError("t_0 is less than one update, and its cycles are no row of ramps")

    def cycles() -> Iterator[Phase]:
        begin, length = 0, first
        while length:
            yield Phase(known.updates(begin, unit), known.updates(length, unit), 1, alpha_f, "cosine")
            begin, length = begin + length, int(t_mult * length)
        raise ValueError(f"t_mult={t_mult!r} makes the cycles shrink to nothing")

    return _lagging(rows.until(cycles(), _end(total, known)), lr)


def ConstantWithWarmupScheduler(
    run: Any,
    t_warmup: str,
    alpha: float = 1.0,
    t_max: str = "1dur",
    scale_warmup: bool = False,
    lr: float = 1.0,
) -> Schedule:
    """Straight up from 0 to `alpha` over `t_warmup`, then `alpha`.

    >>> print(ConstantWithWarmupScheduler({"max_duration": "20ba"}, "5ba"))
    at 1 linear 5 to 1, hold 15, sampled at start
    """
    return _warmed(Run.read(run), t_warmup, t_max, scale_warmup, alpha, alpha, "linear", lr)


def LinearWithWarmupScheduler(
    run: Any,
    t_warmup: str,
    alpha_i: float = 1.0,
    alpha_f: float = 0.0,
    t_max: str = "1dur",
    scale_warmup: bool = False,
    lr: float = 1.0,
) -> Schedule:
    """Straight up from 0 to `alpha_i` over `t_warmup`, straight to `alpha_f` at `t_max`, which is not before the end.

    >>> print(LinearWithWarmupScheduler({"max_duration": "30ba"}, "5ba", alpha_f=0.1))
    at 1 linear 5 to 1, linear 25 to 0.1, sampled at start
    """
    return _warmed(Run.read(run), t_warmup, t_max, scale_warmup, alpha_i, alpha_f, "linear", lr)


def CosineAnnealingWithWarmupScheduler(
    run: Any,
    t_warmup: str,
    t_max: str = "1dur",
    alpha_f: float = 0.0,
    scale_warmup: bool = False,
    lr: float = 1.0,
) -> Schedule:
    """Straight up from 0 to 1 over `t_warmup`, half a cosine wave to `alpha_f` at `t_max`, which is not before the end.

    With `scale_schedule_ratio` the run is stretched and the warmup is not, unless `scale_warmup`; then the ramp is, but
    it still ends where the unstretched one would, with a jump: so in Composer, so here.

    >>> print(CosineAnnealingWithWarmupScheduler({"max_duration": "50ba"}, "10ba", alpha_f=0.1))
    at 1 linear 10 to 1, cosine 40 to 0.1, sampled at start
    """
    return _warmed(Run.read(run), t_warmup, t_max, scale_warmup, 1.0, alpha_f, "cosine", lr)


def PolynomialWithWarmupScheduler(
    run: Any,
    t_warmup: str,
    power: float = 2.0,
    t_max: str = "1dur",
    alpha_f: float = 0.0,
    scale_warmup: bool = False,
    lr: float = 1.0,
) -> Schedule:
    """Straight up from 0 to 1 over `t_warmup`, then alpha_f + (1 - alpha_f) (1 - progress)**power to `t_max`.

    >>> print(PolynomialWithWarmupScheduler({"max_duration": "24ba"}, "4ba"))
    at 1 linear 4 to 1, poly:2 20 to 0, sampled at start
    """
    return _warmed(Run.read(run), t_warmup, t_max, scale_warmup, 1.0, alpha_f, rows.poly(power), lr)


def MultiStepWithWarmupScheduler(
    run: Any, t_warmup: str, milestones: Any, gamma: float = 0.1, scale_warmup: bool = False, lr: float = 1.0
) -> Schedule:
    """Straight up from 0 to 1 over `t_warmup`, then `MultiStepScheduler`, its milestones counted from the start.

    >>> print(MultiStepWithWarmupScheduler({"max_duration": "24ba"}, "4ba", ["10ba"], gamma=0.5))
    at 1 linear 4 to 1, hold 6, hold 0 from 0.5, sampled at start
    """
    known = Run.read(run)
    warmup = known.span("t_warmup", t_warmup, stretched=False)
    rise = Phase(0, known.span("t_warmup", t_warmup, stretched=scale_warmup), 0, 1)
    return _lagging([rise, *rows.from_then_on(_milestones(known, milestones, gamma), warmup)], lr)


def _milestones(run: Run, milestones: Any, gamma: float) -> list[Phase]:
    rows.not_negative(gamma=gamma)
    times = sorted(run.span("milestone", milestone) for milestone in rows.sequence("milestones", milestones))
    return rows.levels([0, *times], [gamma**k for k in range(len(times) + 1)])


def _warmed(
    run: Run,
    t_warmup: str,
    t_max: str,
    scale_warmup: bool,
    alpha_i: float,
    alpha_f: float,
    shape: str,
    lr: float,
) -> Schedule:
    """The ramp to `alpha_i`, and from the end of the unstretched warmup on the curve from there to `t_max`."""
    rows.not_negative(alpha_i=alpha_i, alpha_f=alpha_f)
    (warmup, unit), (end, end_unit) = run.time("t_warmup", t_warmup, stretched=False), run.time("t_max", t_max)
    if unit != end_unit:
        raise ValueError(f"t_warmup={t_warmup!r} and t_max={t_max!r} count in different units; write both in one")
    begin, stop = run.updates(warmup, unit), run.updates(end, unit)
    if end_unit in (run.unit, "ba" if run.unit == "ep" else None) and stop < run.length:
        raise ValueError(f"t_max={t_max!r} is shorter than the run's max_duration; write '1dur' or longer")
    rise = Phase(0, run.span("t_warmup", t_warmup, stretched=scale_warmup), 0, alpha_i)
    if stop <= begin:  # Composer stays at the top
        return _lagging([rise, Phase(begin, 0, alpha_i, alpha_i)], lr)
    return _lagging([rise, Phase(begin, stop - begin, alpha_i, alpha_f, shape)], lr)


SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    f.__name__: f
    for f in (
        ConstantScheduler,
        ConstantWithWarmupScheduler,
        CosineAnnealingScheduler,
        CosineAnnealingWarmRestartsScheduler,
        CosineAnnealingWithWarmupScheduler,
        ExponentialScheduler,
        LinearScheduler,
        LinearWithWarmupScheduler,
        MultiStepScheduler,
        MultiStepWithWarmupScheduler,
        PolynomialScheduler,
        PolynomialWithWarmupScheduler,
        StepScheduler,
    )
}
