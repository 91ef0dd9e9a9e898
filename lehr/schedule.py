"""The schedule as a value: a row of ramps.

The newest ramp that has begun is in charge; a finished ramp holds its end value. Holds, gaps, jumps, restarts,
cut-short curves, before the start and after the end need no special case.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real
from typing import Any, Literal, overload

from lehr.evaluate import Row, on_array
from lehr.ramp import LATEST as LATEST
from lehr.ramp import Ramp as Ramp
from lehr.ramp import prepare
from lehr.words import is_number, nearest, write_number

# The rooms of the verbs and the areas are loaded by the methods that need them: `import lehr` stays instant.

Sample = Literal["end", "start"]

EXACT = 2.0**53  # from here on floats are whole, and every other whole number is none
MANY = 10  # beyond so many ramps a look-up by bisection beats the loop


@dataclass(frozen=True, slots=True, weakref_slot=True, repr=False)
class Schedule:
    """A learning-rate schedule: `schedule(step)` is the multiplier that update number `step` uses.

    `step` counts completed updates, so 0 is the first update. Multiply by the peak for learning rates
    (`3e-4 * schedule`); a Schedule of learning rates works just as well.

    The curve runs over time 0 .. total; update `step` spans the time from `step` to `step + 1`. `sample` names which
    value of the curve an update uses:

    * `"end"` (default): the value at `step + 1`. W warmup updates climb 1/W, 2/W ... 1, and the last of `total`
      updates stands exactly on the final value.
    * `"start"`: the value at `step`, i.e. step/W: the first update has LR 0 (CS336, Hugging Face, optax, Megatron).

    `schedule(step)` takes a Python number (and returns a float), a NumPy array (float64), or a torch or JAX array (on
    its device, in its floating dtype; for whole-number steps in the library's default floating dtype). A float32 clock
    counts exactly to 2**24 only; whole-number clocks are exact. JAX without 64 bits, and torch on MPS, compute in
    float32: within 3e-7 of the peak, which beside a value near 0, at the end of a long decay, is no longer little.
    It raises ValueError for a step that is NaN or < 0 (except under torch and JAX, which would have to wait for the
    device: there a negative step has the first value).

    Raises ValueError unless the ramps begin in strictly rising order.

    >>> schedule = Schedule((Ramp(0, 2, 0, 1), Ramp(2, 8, 1, 0, "cosine")))
    >>> [round(schedule(step), 3) for step in (0, 1, 2, 9, 10)]
    [0.5, 1.0, 0.962, 0.0, 0.0]
    >>> print(3e-4 * schedule)
    linear 2 from 0 to 0.0003, cosine 8 to 0
    """

    ramps: tuple[Ramp, ...]
    sample: Sample = "end"
    _rows: tuple[Row, ...] = field(init=False, repr=False, compare=False)  # newest first
    # the same for Python numbers, in one of these three: plain tuples, which unpack in a third of a named one's time
    _ends: tuple[tuple[Any, ...], ...] = field(init=False, repr=False, compare=False)  # for sample="end"
    _starts: tuple[tuple[Any, ...], ...] = field(init=False, repr=False, compare=False)  # for sample="start"
    _origins: tuple[float, ...] = field(init=False, repr=False, compare=False)  # oldest first, when there are many

    # np.float64(3e-4) * schedule: NumPy leaves the product to us instead of looking for an array in a schedule
    __array_ufunc__ = None

    def __post_init__(self) -> None:
        if isinstance(self.ramps, Ramp) or not isinstance(self.ramps, Iterable):
            raise TypeError(f"ramps is a sequence of Ramp, not {self.ramps!r}; write Schedule((ramp,))")
        ramps = tuple(self.ramps)
        for ramp in ramps:
            if not isinstance(ramp, Ramp):
                raise TypeError(f"ramps is a sequence of Ramp, not of {ramp!r}")
        if not ramps:
            raise ValueError("a schedule has at least one ramp; write Ramp(0, 1, 1, 1) for a constant")
        for before, after in pairwise(ramps):
            if not before.begin < after.begin:
                raise ValueError(
                    f"{after} begins at {write_number(after.begin)}, not after {before}, "
                    f"which begins at {write_number(before.begin)}; put the ramps in order, one a begin"
                )
        if self.sample not in ("end", "start"):
            raise ValueError(f"sample is 'end' or 'start', not {self.sample!r}")
        put = object.__setattr__
        put(self, "ramps", ramps)
        put(self, "_rows", tuple(prepare(r, 0 if self._closed else 1) for r in reversed(ramps)))
        many = len(ramps) > MANY
        put(self, "_origins", tuple(r.origin for r in reversed(self._rows)) if many else ())
        put(self, "_ends", () if self._closed or many else tuple(map(_at_end, self._rows)))
        put(self, "_starts", tuple(map(_at_start, self._rows)) if self._closed and not many else ())

    @property
    def _closed(self) -> bool:
        """Whether a ramp is in charge at its own begin already."""
        return self.sample == "start"

    @overload
    def __call__(self, step: float) -> float: ...
    @overload
    def __call__(self, step: Any) -> Any: ...
    def __call__(self, step: Any) -> Any:
        # Two loops and few checks: this is called once an update and a dozen lines by hand are what it is up against.
        # A negative whole number or NaN lies after no origin and falls through.
        if type(step) is not int:
            if type(step) is not float:
                if not isinstance(step, Real) or type(step).__module__ == "numpy":
                    return on_array(self._rows[::-1], self.ramps[0].start_value, self._closed, step)
                step = float(step)
            if not 1e-300 < step < EXACT:
                step = _extreme(step)
        for origin, span, b, low, high, g in self._ends:
            if step > origin:
                u = (step - origin) / span
                if u < 1.0:
                    value = g(u)
                    return low if value < low else high if value > high else value
                return b
        for origin, span, a, b, low, high, g in self._starts:
            if step >= origin:
                u = (step - origin) / span
                if 0.0 < u < 1.0:
                    value = g(u)
                    return low if value < low else high if value > high else value
                return b if u else a
        if not step >= 0:
            raise _bad_step(step)
        if self._origins and (index := (bisect_right if self._closed else bisect_left)(self._origins, step)):
            row = self._rows[-index]
            u = (step - row.origin) / row.span
            if 0.0 < u < 1.0:
                return min(max(row.g(u), row.low), row.high)
            return row.b if u else row.a
        return self.ramps[0].start_value

    def __mul__(self, factor: float) -> "Schedule":
        """Scale every value: `(k * schedule)(step) == k * schedule(step)`."""
        if not is_number(factor):
            return NotImplemented
        if not (factor >= 0 and math.isfinite(factor)):
            raise ValueError(f"a schedule is multiplied by a finite number >= 0, not {factor!r}")
        return self._map(lambda value: value * float(factor))

    __rmul__ = __mul__

    def _map(self, change: Callable[[float], float]) -> "Schedule":
        """Every value changed alike."""
        ramps = (Ramp(r.begin, r.duration, change(r.start_value), change(r.end_value), r.shape) for r in self.ramps)
        return Schedule(tuple(ramps), self.sample)

    def normalized(self) -> tuple[float, "Schedule"]:
        """Return (peak, the schedule divided by it), so that `peak * normalized` is the schedule.

        Raises ValueError for a schedule that is 0 throughout.

        >>> peak, shape = (3e-4 * Schedule((Ramp(0, 10, 0, 1),))).normalized()
        >>> peak, shape.peak
        (0.0003, 1.0)
        """
        peak = self.peak
        if not peak:
            raise ValueError("a schedule that is 0 throughout has no peak to divide by")
        return peak, self._map(lambda value: value / peak)

    @property
    def total(self) -> float:
        """The last joint: the number of updates after which nothing changes any more."""
        return self.ramps[-1].end

    @property
    def joints(self) -> tuple[float, ...]:
        """The times at which a ramp begins, ends or is cut short, in order.

        >>> Schedule((Ramp(0, 2, 0, 1), Ramp(2, 8, 1, 0, "cosine"))).joints
        (0, 2, 10)
        """
        ends = (min(ramp.end, cut) for ramp, cut in self._cuts())
        return tuple(sorted({*ends, *(ramp.begin for ramp in self.ramps)}))

    def _cuts(self) -> Iterator[tuple[Ramp, float]]:
        """Each ramp with the time at which the next one takes over."""
        return zip(self.ramps, [*(ramp.begin for ramp in self.ramps[1:]), math.inf], strict=True)

    @property
    def peak(self) -> float:
        """The greatest value of the curve."""
        starts = [r.start_value for r in self.ramps if r.duration or r.begin == self.ramps[0].begin > 0]
        return max([*starts, *(ramp.at(cut) for ramp, cut in self._cuts())])

    def cooldown(self, at: float, over: float, to: float = 0.0, shape: str = "sqrt") -> "Schedule":
        """Return a schedule equal to this one for the updates before `at`, that then goes to `to` over `over` updates.

        What this schedule would have begun at `at` or later is dropped. With `sample="end"` the updates at .. at+over-1
        cool down, the last of them at `to`. The default shape is the 1-sqrt cooldown of Hägele et al. 2024
        (arXiv 2405.18392). Raises ValueError if `at` is below 1.

        >>> stable = Schedule((Ramp(0, 100, 0, 1), Ramp(100, 900, 1, 1)))
        >>> print(stable.cooldown(at=800, over=200))
        linear 100 to 1, hold 900, at 800 sqrt 200 to 0
        """
        from lehr import verbs

        return Schedule(verbs.cooldown(self.ramps, at, over, to, shape), self.sample)

    def extend(self, to: "float | Schedule", at: float) -> "Schedule":
        """Return a schedule equal to this one for the updates before `at`, whose tail then starts where the curve is.

        `to` is the new total in updates: the ramp in charge at `at` ends later (or earlier) by the difference, and what
        follows is moved by as much. A level stretch is lengthened; so is one that ends at `at` (a cooldown comes
        later). Any other ramp goes on from its value at `at` to its end value, along its shape, over what is left of it
        and the difference. A finished schedule holds its last value up to `to`.

        Or `to` is a schedule whose tail is followed from `at` on: to the end of its ramp in charge there, along that
        ramp's shape, from our value; its later ramps are taken as they are.

        `rescale` is the other way to change the horizon. Raises ValueError where there is no room.

        >>> schedule = Schedule((Ramp(0, 100, 0, 1), Ramp(100, 900, 1, 0, "cosine")))
        >>> print(schedule.extend(1500, at=550))
        linear 100 to 1, cosine 900 to 0, at 550 cosine 950 to 0
        >>> stable = Schedule((Ramp(0, 100, 0, 1), Ramp(100, 700, 1, 1), Ramp(800, 200, 1, 0, "sqrt")))
        >>> print(stable.extend(1500, at=550))
        linear 100 to 1, hold 1200, sqrt 200 to 0
        >>> print(stable.extend(schedule, at=550))
        linear 100 to 1, hold 700, at 550 cosine 450 to 0
        """
        from lehr import verbs

        if not isinstance(to, Schedule):
            return Schedule(verbs.lengthen(self.ramps, to, at), self.sample)
        if at:
            self._alike(to)
        return Schedule(verbs.follow(self.ramps, to.ramps, at), to.sample)

    def rescale(self, total: float) -> "Schedule":
        """Return the schedule as if it had been planned for `total` updates from the beginning.

        A leading warmup keeps its length, and so does the one update at the peak that stands in its place in the
        recipes; all after it is stretched, or squeezed, to end at `total`. Joints may then fall between whole steps:
        nothing is rounded. A run under way jumps where it takes up a rescaled schedule; `extend` does not.
        Raises ValueError where nothing is left after the warmup.

        >>> print(Schedule((Ramp(0, 100, 0, 1), Ramp(100, 900, 1, 0, "cosine"))).rescale(2000))
        linear 100 to 1, cosine 1900 to 0
        """
        from lehr import verbs

        warmup: float = 0
        for (ramp, cut), name in zip(self._cuts(), self._phases(), strict=True):
            if name != "warmup":
                break
            warmup = min(ramp.end, cut)
        first, cut = next(self._cuts())
        one_update = (first.begin, first.duration) == (0, 1) and cut >= 1 and verbs.is_level(first)
        if not warmup and one_update and not self._closed:
            warmup = 1
        return Schedule(verbs.rescale(self.ramps, total, warmup), self.sample)

    def stretch(self, k: float) -> "Schedule":
        """Return the schedule `k` times as long: every begin and every duration times `k`, exactly.

        Joints may then fall between whole steps: nothing is rounded, so the area is `k` times as large and
        `stretch(k).stretch(1 / k)` comes back. Raises ValueError unless k is finite and above 0.

        >>> print(Schedule((Ramp(0, 100, 0, 1), Ramp(100, 900, 1, 0, "cosine"))).stretch(0.5))
        linear 50 to 1, cosine 450 to 0
        """
        from lehr import verbs

        return Schedule(verbs.stretch(self.ramps, k), self.sample)

    def then(self, other: "Schedule") -> "Schedule":
        """Return this schedule followed by `other`, which begins where this one ends.

        `other` keeps its own values: where it starts elsewhere than this one ends there is a jump.
        Raises ValueError for two schedules that are sampled differently.

        >>> print(Schedule((Ramp(0, 100, 0, 1),)).then(Schedule((Ramp(0, 900, 1, 0, "cosine"),))))
        linear 100 to 1, cosine 900 to 0
        """
        from lehr import verbs

        if not isinstance(other, Schedule):
            raise TypeError(f"what follows a schedule is another one, not {other!r}")
        self._alike(other)
        return Schedule(verbs.then(self.ramps, other.ramps), self.sample)

    def repeat(self, n: int) -> "Schedule":
        """Return the schedule `n` times, one after another. Raises ValueError unless n is a whole number >= 1.

        >>> print(Schedule((Ramp(0, 100, 1, 0, "cosine"),)).repeat(2))
        cosine 100 from 1 to 0, cosine 100 from 1 to 0
        """
        from lehr import verbs

        return Schedule(verbs.repeat(self.ramps, n), self.sample)

    def _alike(self, other: "Schedule") -> None:
        if other.sample != self.sample:
            raise ValueError(
                f"one schedule is sampled at the {self.sample} of an update, the other at the {other.sample}; "
                f"write both with, or both without, ', sampled at start' (sample={self.sample!r})"
            )

    def area(self, a: float = 0, b: float | None = None) -> float:
        """The integral of the curve from time `a` to time `b`, by default over the whole schedule.

        In closed form for every shape that has one (`lehr.areas` lists the few others, and registered ones: those by
        quadrature), to about 1e-15 of the ramp's peak times its length. Raises ValueError unless 0 <= a <= b < inf.

        >>> Schedule((Ramp(0, 100, 0, 1), Ramp(100, 900, 1, 0, "cosine"))).area()
        500.0
        """
        from lehr import areas

        return areas.area(self.ramps, a, self.total if b is None else b)

    def update_sum(self, start: int = 0, stop: int | None = None) -> float:
        """The sum of what the updates `start` .. `stop - 1` use, by default all of the schedule's (total rounded up).

        Exact but for rounding: level and linear ramps are a product each; curves are added up update by update, those
        of more than 200,000 updates only within 10,000 of their ends, with the area and its correction between
        (Euler-Maclaurin). A registered shape is always added up. Raises ValueError unless 0 <= start <= stop.

        >>> Schedule((Ramp(0, 4, 0, 1),)).update_sum(), Schedule((Ramp(0, 4, 0, 1),), sample="start").update_sum()
        (2.5, 1.5)
        """
        from lehr import areas

        stop = math.ceil(self.total) if stop is None else stop
        return areas.update_sum(self.ramps, self._closed, self, start, stop)

    def phase(self, step: float) -> str:
        """Name what update `step` does: warmup, stable, cooldown, decay, rewarm, or done.

        A first rising ramp is `warmup`, a level one `stable`, one that falls after a level stretch `cooldown`, one that
        falls otherwise `decay`, one that rises later `rewarm`; from `total` on the schedule is `done`.

        >>> schedule = Schedule((Ramp(0, 2, 0, 1), Ramp(2, 8, 1, 0, "cosine")))
        >>> [schedule.phase(step) for step in (0, 1, 2, 9, 10)]
        ['warmup', 'warmup', 'decay', 'decay', 'done']
        """
        if not step >= 0:
            raise _bad_step(step)
        if step >= self.total:
            return "done"
        time = step if self._closed else step + 1
        find = bisect_right if self._closed else bisect_left
        index = find(self.ramps, time, key=lambda r: r.begin) - 1
        if index < 0 or step >= self.ramps[index].end:
            return "stable"  # before the start, or in a gap
        return self._phases()[index]

    def _phases(self) -> list[str]:
        """The name of each ramp's phase."""
        names: list[str] = []
        for index, ramp in enumerate(self.ramps):
            gap = ramp.begin > (self.ramps[index - 1].end if index else 0)
            if ramp.end_value == ramp.start_value:
                names.append("stable")
            elif ramp.end_value > ramp.start_value:
                risen = any(n != "stable" for n in names)
                names.append("rewarm" if risen and (gap or names[-1] != "warmup") else "warmup")
            else:
                names.append("cooldown" if gap or (names and names[-1] == "stable") else "decay")
        return names

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that name the schedule: sha256 of its JSON, values at 12 significant digits.

        >>> Schedule((Ramp(0, 2, 0, 1), Ramp(2, 8, 1, 0.1, "cosine"))).fingerprint
        'ccebaa75ede5'
        """
        import hashlib  # seldom needed, and a fifth of the time that `import lehr` would take
        import json

        data = to_dict(self)
        for ramp in data["ramps"]:
            for key, value in ramp.items():
                if key != "shape":
                    rounded = float(f"{value:.12g}") if key.endswith("value") else value
                    ramp[key] = int(rounded) if rounded == int(rounded) else rounded
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        """The canonical text, in steps; `lehr.parse` reads it back to an equal schedule."""
        items = []
        before: Ramp | None = None
        for ramp in self.ramps:
            if before is None:
                level = ramp.start_value == ramp.end_value and ramp.shape == "linear"
                implied = (ramp.start_value, ramp.end_value) == (0, 1) or (level and ramp.start_value == 1)
                begin: float = 0
            else:
                implied = ramp.start_value == before.at(ramp.begin)
                begin = before.end
            text = ramp._text(implied)
            items.append(text if ramp.begin == begin else f"at {write_number(ramp.begin)} {text}")
            before = ramp
        return ", ".join(items) + (", sampled at start" if self._closed else "")

    def __repr__(self) -> str:
        return f"lehr.parse({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Schedule, (self.ramps, self.sample)


def _extreme(step: float) -> float:
    """A float at which a share of a ramp could come out as 0 behind the ramp's begin: the whole number that it is."""
    if step < 0:
        raise _bad_step(step)
    if step <= 1e-300:
        return 0
    return int(step) if EXACT <= step < math.inf else step


def _bad_step(step: Any) -> ValueError:
    return ValueError(f"a step is a number >= 0, not {step!r}")


def _at_end(row: Row) -> tuple[Any, ...]:
    """What the value at the end of an update's span takes; u is never 0 there."""
    return row.origin, row.span, row.b, row.low, row.high, row.g


def _at_start(row: Row) -> tuple[Any, ...]:
    return row.origin, row.span, row.a, row.b, row.low, row.high, row.g


def to_dict(schedule: Schedule) -> dict[str, Any]:
    """Return the schedule as plain data for JSON; `from_dict` reads it back to an equal one.

    >>> to_dict(Schedule((Ramp(0, 2, 0, 1),)))["ramps"]
    [{'begin': 0, 'duration': 2, 'start_value': 0.0, 'end_value': 1.0, 'shape': 'linear'}]
    """
    keys = Ramp.__match_args__
    return {"sample": schedule.sample, "ramps": [{key: getattr(r, key) for key in keys} for r in schedule.ramps]}


def from_dict(data: Mapping[str, Any]) -> Schedule:
    """Return the schedule that `to_dict` (or `json.loads`) gave. Raises ValueError naming a key that does not belong.

    >>> from_dict({"ramps": [{"begin": 0, "duration": 2, "start_value": 0, "end_value": 1}]})
    lehr.parse('linear 2 to 1')
    """
    _check_keys("schedule", data, ("sample", "ramps"), required=("ramps",))
    if isinstance(data["ramps"], (str, Mapping)) or not isinstance(data["ramps"], Iterable):
        raise ValueError(f"ramps is a list of ramps, not {data['ramps']!r}")
    ramps = []
    for item in data["ramps"]:
        _check_keys("ramp", item, Ramp.__match_args__, required=Ramp.__match_args__[:4])
        try:
            ramps.append(Ramp(**item))
        except TypeError as error:
            raise ValueError(f"ramp {len(ramps)}: {error}") from None
    return Schedule(tuple(ramps), data.get("sample", "end"))


def _check_keys(what: str, data: Any, known: tuple[str, ...], required: tuple[str, ...]) -> None:
    if not isinstance(data, Mapping):
        raise ValueError(f"a {what} is an object with the keys {', '.join(known)}, not {data!r}")
    for key in data:
        if key not in known:
            raise ValueError(f"a {what} has no key {key!r}{nearest(str(key), known)}; known are {', '.join(known)}")
    for key in required:
        if key not in data:
            raise ValueError(f"a {what} needs the key {key!r}")
