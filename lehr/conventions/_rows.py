"""What the conversions share: phases laid in a row, and the checks of arguments.

A conversion writes down the phases of the other system's curve, in updates, and `lay` makes a schedule of them. Where
the other system reads its curve at the number of completed updates the row is sampled at the start; where it counts
first, at the end.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import islice, takewhile
from typing import Any, NamedTuple, ParamSpec

from lehr.schedule import Ramp, Sample, Schedule
from lehr.words import is_number, nearest, write_number

P = ParamSpec("P")

MOST = 10_000  # ramps in one schedule: beyond that it is a table and no schedule
GONE = 1e-300  # what a decay that never ends may fall to: below it floats lose their digits
FOREVER = 2.0**52  # an end that no run reaches
ROUNDING = 1e-12  # a share of a phase's time that is nothing but rounding


class Phase(NamedTuple):
    """A ramp that may also begin before update 0, or be over before it is in charge."""

    begin: float
    duration: float
    start: float
    end: float
    shape: str = "linear"

    @property
    def stop(self) -> float:
        return self.begin + self.duration

    @property
    def level(self) -> bool:
        return self.start == self.end or not self.duration

    def at(self, time: float) -> float:
        """The value at a time, the ends held."""
        return Ramp(0, self.duration, self.start, self.end, self.shape).at(time - self.begin)

    def moved(self, by: float) -> "Phase":
        return self._replace(begin=self.begin + by)

    def times(self, factor: float) -> "Phase":
        return self._replace(start=self.start * factor, end=self.end * factor)

    def entered(self, time: float) -> "Phase":
        """What is left of the phase from `time` on: the same curve, begun later.

        >>> Phase(-5, 20, 1, 0, "cosine").entered(0)
        Phase(begin=0, duration=15, start=0.8535533905932737, end=0, shape='cosine:0.25')
        """
        if time <= self.begin:
            return self
        if time >= self.stop:
            return Phase(time, 0, self.end, self.end)
        if self.level:
            return Phase(time, self.stop - time, self.end, self.end)
        u0 = (time - self.begin) / self.duration
        shape = late(self.shape, u0) if u0 > ROUNDING else self.shape
        return Phase(time, self.stop - time, self.at(time), self.end, shape)


def late(shape: str, u0: float) -> str:
    """The shape that goes on like `shape` from its share `u0` on. Raises ValueError where no shape does.

    Straight lines and powers go on as themselves, whatever their scale; the others take u0 into their parameters.

    >>> late("poly:2", 0.25), late("cosine", 0.25), late("approach:8", 0.25)
    ('poly:2', 'cosine:0.25', 'approach:6.0')
    """
    name, *words = shape.split(":")
    numbers = [float(word) for word in words]
    if name in ("linear", "poly", "power", "inverse") or (name in ("exponential", "inverse_sqrt") and not numbers):
        return shape
    if name in ("cosine", "sqrt"):
        already, *rest = numbers or [0.0]
        return ":".join([name, repr(already + (1 - already) * u0), *map(repr, rest)])
    if name == "approach":
        return f"approach:{numbers[0] * (1 - u0)!r}"
    if name == "exponential":
        return f"exponential:{numbers[0] ** (1 - u0)!r}"
    if name == "tanh":
        low, high = numbers
        return f"tanh:{low + (high - low) * u0!r}:{high!r}"
    raise ValueError(f"the curve {shape!r} is entered late here, and no shape is the rest of it")


def lay(phases: Iterable[Phase], sample: Sample = "start") -> Schedule:
    """The phases in a row as a schedule, each in charge from its begin on.

    What is before update 0 is cut off. Of two that begin together the later one counts: a phase of length 0 that
    another follows vanishes.

    >>> print(lay([Phase(0, 0, 0, 1), Phase(0, 8, 1, 0, "cosine")]))
    cosine 8 from 1 to 0, sampled at start
    """
    row: list[Phase] = []
    for phase in phases:
        phase = phase.entered(0)
        if not phase.duration:
            phase = Phase(phase.begin, 0, phase.end, phase.end)  # a jump, whatever the shape would have been
        while row and row[-1].begin >= phase.begin:
            row.pop()
        if row and not phase.duration and row[-1].stop <= phase.begin and row[-1].end == phase.end:
            continue  # a jump to where the curve stays already
        if row and row[-1].level and row[-1].stop > phase.begin:
            row[-1] = row[-1]._replace(duration=phase.begin - row[-1].begin)
        row.append(phase)
    few(len(row))
    return Schedule(tuple(Ramp(*phase) for phase in row), sample)


def laid(sample: Sample) -> Callable[[Callable[P, Iterable[Phase]]], Callable[P, Schedule]]:
    """Make a function that returns phases return their schedule; `inspect.unwrap` gives the phases again."""

    def decorate(function: Callable[P, Iterable[Phase]]) -> Callable[P, Schedule]:
        @wraps(function)
        def schedule(*args: P.args, **kwargs: P.kwargs) -> Schedule:
            return lay(function(*args, **kwargs), sample)

        return schedule

    return decorate


# ---------------------------------------------------------------------------------------------------------------------
# rows of phases


def until(phases: Iterable[Phase], end: float) -> list[Phase]:
    """The phases up to the time `end`, from which on the value is held.

    >>> until([Phase(0, 10, 1, 0), Phase(10, 10, 1, 0)], 15)[-1]
    Phase(begin=10, duration=5, start=1, end=0.5, shape='linear')
    """
    row = list(islice(takewhile(lambda phase: phase.begin < end, phases), MOST + 1))
    few(len(row))
    if row and row[-1].stop > end:
        last = row[-1]
        value = last.at(end)
        if last.shape == "linear":
            row[-1] = last._replace(duration=end - last.begin, end=value)
        else:
            row.append(Phase(end, 0, value, value))
    return row


def levels(begins: Sequence[float], values: Sequence[float], total: float | None = None) -> list[Phase]:
    """Each value held from its begin to the next one's; the last to `total`, or for good."""
    last = begins[-1] if total is None else max(total, begins[-1])
    ends = [*begins[1:], last]
    return [Phase(b, max(e - b, 0), v, v) for b, e, v in zip(begins, ends, values, strict=True)]


def decay(begin: float, value: float, rate: float, period: float, end: float) -> list[Phase]:
    """`value` times `rate` every `period`, continuously, up to the time `end`: value * rate**((t - begin) / period).

    A decay that would fall below 1e-300 stops there, within the rounding of anything it is compared with.
    """
    if rate == 0:  # rate**0 is 1, and 0 from then on
        return [Phase(begin, 1, value, value), Phase(begin + 1, 0, 0, 0)]
    if rate == 1 or value <= GONE:
        return [Phase(begin, end - begin, value, value)]
    if rate < 1:
        end = min(end, begin + period * math.log(GONE / value) / math.log(rate))
    return [Phase(begin, end - begin, value, value * rate ** ((end - begin) / period), "exponential")]


def stairs(begin: float, value: float, rate: float, period: float, end: float) -> Iterator[Phase]:
    """`value` times `rate` at every multiple of `period`, up to the time `end`."""
    if period < 1:
        raise ValueError("its levels last less than one update each, which is no row of ramps")
    if rate == 1 or value == 0:
        yield Phase(begin, end - begin, value, value)
        return
    count = math.ceil((end - begin) / period)
    for k in range(min(count, MOST + 1)):  # one too many is noticed by whoever lays them
        level = value * rate**k
        yield Phase(begin + k * period, period if k + 1 < count else end - begin - k * period, level, level)
        if level < GONE:
            return


def waves(begin: float, duration: float, high: float, low: float, halves: float) -> list[Phase]:
    """Half cosine waves from `high` down to `low` and up again, `halves` of them in `duration`."""
    length = duration / halves
    ends = [(high, low), (low, high)]
    row = [Phase(begin + k * length, length, *ends[k % 2], "cosine") for k in range(few(halves))]
    return until(row, begin + duration)


def few(phases: float) -> int:
    """That many phases, rounded up; a ValueError if they are too many for a schedule."""
    if phases > MOST:
        raise ValueError(f"this would be more than {MOST} ramps; give a smaller total, or longer phases")
    return math.ceil(phases)


def from_then_on(phases: Iterable[Phase], time: float) -> list[Phase]:
    """The phases as they are when they take over at `time`."""
    row = list(phases)
    past = [phase for phase in row if phase.begin <= time]
    coming = [phase for phase in row if phase.begin > time]
    return [*(past[-1:] and [past[-1].entered(time)]), *coming]


def product(left: Sequence[Phase], right: Sequence[Phase]) -> list[Phase]:
    """The product of two rows, where at any time one of them is level, or both are exponential.

    Raises ValueError where two curves run at once: their product has no formula of its own.

    >>> product([Phase(0, 4, 0.5, 0.5), Phase(4, 0, 1, 1)], [Phase(0, 10, 1, 0.1, "exponential")])[1].shape
    'exponential'
    """
    joints = sorted({time for phase in (*left, *right) for time in (phase.begin, phase.stop)})
    row: list[Phase] = []
    before: Any = None
    for time, following in zip(joints, [*joints[1:], joints[-1]], strict=True):
        (i, a), (j, b) = _piece(left, time), _piece(right, time)
        if a.level and b.level:
            now: Any = a.end * b.end
            phase = Phase(time, following - time, now, now)
        elif a.level or b.level:
            moving, factor = (a, b.end) if b.level else (b, a.end)
            now = (i if b.level else None, j if a.level else None, factor)
            phase = moving.times(factor)
        elif a.shape == b.shape == "exponential":
            now = (i, j)
            phase = Phase(time, following - time, a.start * b.start, a.at(following) * b.at(following), "exponential")
        else:
            raise ValueError(f"it is the product of two running curves ({a.shape} and {b.shape} at update {time:g})")
        if now != before:
            row.append(phase)
        elif phase.level:
            row[-1] = row[-1]._replace(duration=phase.stop - row[-1].begin)
        before = now
    return row


def _piece(row: Sequence[Phase], time: float) -> tuple[int, Phase]:
    """The phase in charge at `time`, with its place in the row, entered then."""
    index = bisect_right(row, time, key=lambda phase: phase.begin) - 1
    return (index, row[index].entered(time)) if index >= 0 else (index, Phase(time, 0, row[0].start, row[0].start))


def first_update(guess: float, begun: Callable[[int], bool]) -> int:
    """The first update for which `begun` holds, at most a few after `guess`.

    Asked with the other system's own arithmetic: a boundary that its rounding moves by one update moves here too.
    """
    update = max(0, math.floor(guess) - 2)
    while not begun(update):
        update += 1
        if update > guess + 4:
            return math.ceil(guess)
    return update


# ---------------------------------------------------------------------------------------------------------------------
# checks of arguments: each takes them by name, so that the message can say which one is wrong


def not_negative(**values: Any) -> None:
    for name, value in values.items():
        if not (_number(name, value) >= 0 and math.isfinite(value)):
            raise ValueError(f"{name} is a number >= 0, not {value!r}")


def above_0(**values: Any) -> None:
    for name, value in values.items():
        if not (_number(name, value) > 0 and math.isfinite(value)):
            raise ValueError(f"{name} is a number above 0, not {value!r}")


def number(**values: Any) -> None:
    for name, value in values.items():
        if not math.isfinite(_number(name, value)):
            raise ValueError(f"{name} is a finite number, not {value!r}")


def share(**values: Any) -> None:
    for name, value in values.items():
        if not 0 <= _number(name, value) <= 1:
            raise ValueError(f"{name} is a share from 0 to 1, not {value!r}")


def count(**values: Any) -> None:
    for name, value in values.items():
        if not (_number(name, value) >= 0 and math.isfinite(value) and value == int(value)):
            raise ValueError(f"{name} is a whole number >= 0, not {value!r}")


def _number(name: str, value: Any) -> float:
    if isinstance(value, (list, tuple)):
        raise ValueError(f"{name} is one number, not {value!r}; convert each parameter group on its own")
    if not is_number(value):
        raise ValueError(f"{name} is a number, not {value!r}")
    return float(value)


def sequence(name: str, value: Any) -> list[Any]:
    if not isinstance(value, Iterable) or isinstance(value, (str, Mapping)):
        raise ValueError(f"{name} is a list, not {value!r}")
    return list(value)


def one_of(options: Sequence[str], **values: Any) -> None:
    for name, value in values.items():
        if value not in options:
            hint = nearest(str(value), options)
            raise ValueError(f"{name} is one of {', '.join(map(repr, options))}, not {value!r}{hint}")


def fits(name: str, inner: float, whole: str, outer: float) -> None:
    if inner > outer:
        raise ValueError(
            f"{name}={write_number(inner)} is longer than {whole}={write_number(outer)}; "
            f"write {name}={write_number(outer)} or less"
        )


def needed(total: float | None, why: str = "this curve never ends", such_as: float = 10_000) -> float:
    """`total`, or a ValueError that asks for it."""
    if total is None:
        raise ValueError(f"{why}; say how long the run is: total={such_as:.0f} (from there on the value is held)")
    return total


def poly(power: float) -> str:
    """The shape (1 - u)**power."""
    above_0(power=power)
    return "linear" if power == 1 else f"poly:{power!r}"
