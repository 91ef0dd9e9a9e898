"""The verbs of change on rows of ramps: what `Schedule.cooldown`, `extend` and the others do.

Each returns new ramps. What is said to stay as it was before a time `at` stays so to the bit: the updates before `at`
see the curve up to and including that time, and a ramp that begins there is not in charge yet.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from lehr.ramp import Ramp
from lehr.words import is_number, write_number

Ramps = Sequence[Ramp]


def is_level(ramp: Ramp) -> bool:
    return ramp.start_value == ramp.end_value


def value_at(ramps: Ramps, time: float) -> float:
    """The curve at a time; at a jump, the value that it jumps from."""
    begun = [ramp for ramp in ramps if ramp.begin < time]
    return begun[-1].at(time) if begun else ramps[0].start_value


def cooldown(ramps: Ramps, at: float, over: float, to: float, shape: str) -> tuple[Ramp, ...]:
    """From the curve's value at `at` on to `to` over `over` updates."""
    if not at >= 1:
        raise ValueError(f"a cooldown starts after at least one update, not at {at!r}; write at=1 or later")
    begun = tuple(ramp for ramp in ramps if ramp.begin < at)
    return (*begun, Ramp(at, over, value_at(ramps, at), to, shape))


# ---------------------------------------------------------------------------------------------------------------------
# another horizon for a run under way


def lengthen(ramps: Ramps, to: float, at: float) -> tuple[Ramp, ...]:
    """End at `to`: the ramp in charge at `at` takes the difference, what follows is moved by it.

    Where two ramps meet at `at`, a level stretch that ends there is still in charge (the cooldown comes later), else
    the ramp that begins there.
    """
    return _ending(_lengthened(ramps, to, at), to)


def _ending(row: tuple[Ramp, ...], to: float) -> tuple[Ramp, ...]:
    """The row, whose end may be off by roundings, with a last ramp that ends at `to`.

    To the bit for a whole `to`, an even float: where begin + duration lies midway between two floats it rounds there.
    """
    last = row[-1]
    if last.end == to:
        return row
    if last.begin >= to or not last.duration:  # a jump at the end, or one that roundings moved there
        return (*row[:-1], Ramp(to, 0, last.start_value, last.end_value, last.shape))
    return (*row[:-1], Ramp(last.begin, to - last.begin, last.start_value, last.end_value, last.shape))


def _lengthened(ramps: Ramps, to: float, at: float) -> tuple[Ramp, ...]:
    _check_time(at)
    if not (is_number(to) and to >= 0):
        raise ValueError(f"to is the new total in updates, or the schedule to follow, not {to!r}")
    total = ramps[-1].end
    more = to - total
    if not more:
        return tuple(ramps)
    if to < at:
        raise ValueError(f"to={to!r} lies before at={at!r}, where the run is already; write a later `to`")
    if at >= total:
        return _held(ramps, more)
    begun = tuple(ramp for ramp in ramps if ramp.begin < at)
    rest = tuple(ramps[len(begun) :])
    now = begun[-1] if begun else None
    if now and not _level_before(now, at, rest) and not (rest and rest[0].begin == at):
        left = _left(now, now.end - at, more, total, at)
        now_on = Ramp(at, left, now.at(at), now.end_value, _entered_anew(now.shape))
        return _moved((*begun, now_on), rest, more, at, now)
    if rest and rest[0].begin == at and (not _level_before(now, at, rest) if now else at == 0):
        now = rest[0]
        duration = _left(now, now.duration, more, total, at) if now.duration else 0
        now_on = Ramp(at, duration, now.start_value, now.end_value, now.shape)
        return _moved((*begun, now_on), rest[1:], more, at, now)
    if now and is_level(now) and now.end >= at:
        longer = Ramp(now.begin, max(now.duration + more, at - now.begin), now.start_value, now.end_value, now.shape)
        begun = (*begun[:-1], longer)
    return _moved(begun, rest, more, at, now)


def _level_before(now: Ramp, at: float, rest: Ramps) -> bool:
    """Whether the curve is level up to `at`: in a level ramp, or in a gap that a finished one holds."""
    return is_level(now) or now.end < at or (now.end == at and not (rest and rest[0].begin == at))


def _held(ramps: Ramps, more: float) -> tuple[Ramp, ...]:
    """A finished row whose last value is held for `more` updates."""
    last = ramps[-1]
    if last.duration and is_level(last):
        return (*ramps[:-1], Ramp(last.begin, last.duration + more, last.start_value, last.end_value, last.shape))
    return (*without_last_jump(ramps), Ramp(last.end, more, last.end_value, last.end_value))


def without_last_jump(ramps: Ramps) -> tuple[Ramp, ...]:
    """The row up to its total, without a jump there, whose place a ramp that begins then takes."""
    last = ramps[-1]
    if last.duration:
        return tuple(ramps)
    if len(ramps) == 1 and last.begin:  # all before it is level at where it jumps from
        return (Ramp(0, last.begin, last.start_value, last.start_value),)
    return tuple(ramps[:-1])


def _left(now: Ramp, left: float, more: float, total: float, at: float) -> float:
    """What a curve in charge has left, with the difference."""
    if not left + more > 0:
        raise ValueError(
            f"at={at!r}: '{now}' has {write_number(left)} updates left and cannot end {write_number(-more)} earlier; "
            f"write a `to` above {write_number(total - left)}, or cooldown(at={at!r}, over=...)"
        )
    return left + more


def _moved(begun: tuple[Ramp, ...], rest: Ramps, more: float, at: float, was: Ramp | None) -> tuple[Ramp, ...]:
    """`begun`, and `rest` moved by `more`; a ramp that went on from where the curve was still does.

    `was`: what the last of `begun` was, before the change.
    """
    row = list(begun)
    for ramp in rest:
        begin, start, end = ramp.begin + more, ramp.start_value, ramp.end_value
        if row and abs(row[-1].end - begin) <= 1e-12 * begin:
            begin = row[-1].end  # ramps that meet still do
        if begin < at or (row and begin <= row[-1].begin):
            raise ValueError(
                f"at={at!r}: '{ramp}' begins at {write_number(ramp.begin)}, and there is no room for it to begin "
                f"{write_number(-more)} earlier; write a later `to`, or cooldown(at={at!r}, over=...)"
            )
        if row and was and start == was.at(ramp.begin):
            start = row[-1].at(begin)
            end = start if is_level(ramp) else end
        was = ramp
        row.append(Ramp(begin, ramp.duration, start, end, ramp.shape))
    return tuple(row)


def follow(ramps: Ramps, other: Ramps, at: float) -> tuple[Ramp, ...]:
    """From `at` on the tail of `other`: to the end of its ramp in charge from our value, then its later ramps."""
    _check_time(at)
    if not at:
        return tuple(other)  # nothing has been used yet
    if at >= other[-1].end:
        raise ValueError(
            f"the schedule to follow ends at {write_number(other[-1].end)}, and the run is at {at!r} already; "
            "write a longer one"
        )
    count = sum(ramp.begin <= at for ramp in other)
    later = tuple(other[count:])
    own = sum(ramp.begin <= at for ramp in ramps)
    if count and own and ramps[own - 1] == other[count - 1]:
        return (*ramps[:own], *later)  # both are on the same ramp, which goes on
    value = value_at(ramps, at)
    now = other[count - 1] if count else None
    if now and now.end > at:
        shape = now.shape if now.begin == at else _entered_anew(now.shape)
        try:
            tail = Ramp(at, now.end - at, value, now.end_value, shape)
        except ValueError as error:
            raise ValueError(f"at={at!r} the curve is at {write_number(value)}: {error}") from None
    else:  # level, before its first ramp or in a gap
        tail = Ramp(at, later[0].begin - at, value, now.end_value if now else later[0].start_value)
    begun = tuple(ramp for ramp in ramps if ramp.begin < at)
    if begun and begun[-1].end >= at and _same_level(begun[-1], tail):
        first = begun[-1].begin
        return (*begun[:-1], Ramp(first, tail.end - first, value, value), *later)
    return (*begun, tail, *later)


def _same_level(one: Ramp, other: Ramp) -> bool:
    return is_level(one) and is_level(other) and one.end_value == other.end_value and one.shape == other.shape


def _entered_anew(shape: str) -> str:
    """The shape's name without the parameter by which a curve is entered late.

    >>> _entered_anew("sqrt:0.25"), _entered_anew("cosine:0.3"), _entered_anew("cosine:0.3:2"), _entered_anew("poly:2")
    ('sqrt', 'cosine', 'cosine:0:2', 'poly:2')
    """
    name, *parameters = shape.split(":")
    if name == "sqrt":
        return name
    if name == "cosine" and parameters:
        return ":".join([name, *(["0", *parameters[1:]] if parameters[1:] else [])])
    return shape


def _check_time(at: float) -> None:
    if not (is_number(at) and at >= 0):
        raise ValueError(f"at is a number of completed updates >= 0, not {at!r}")


# ---------------------------------------------------------------------------------------------------------------------
# the whole row in another time


def stretch(ramps: Ramps, k: float) -> tuple[Ramp, ...]:
    """Every begin and every duration times `k`."""
    if not (is_number(k) and 0 < k < math.inf):
        raise ValueError(f"a schedule is stretched by a finite number above 0, not {k!r}")
    factor = Fraction(k)
    return _in_time(ramps, lambda time: time * factor)


def then(ramps: Ramps, others: Ramps) -> tuple[Ramp, ...]:
    """The row, then the other from its end on."""
    total = Fraction(ramps[-1].end)
    if others[0].begin:  # until then it is at its start value
        others = (Ramp(0, others[0].begin, others[0].start_value, others[0].start_value), *others)
    return (*without_last_jump(ramps), *_later(others, total))


def _later(ramps: Ramps, by: Fraction) -> tuple[Ramp, ...]:
    return _in_time(ramps, lambda time: time + by)


def repeat(ramps: Ramps, n: int) -> tuple[Ramp, ...]:
    """The row `n` times, one after another."""
    if not (is_number(n) and n >= 1 and n == int(n)):
        raise ValueError(f"a schedule is repeated a whole number of times >= 1, not {n!r}")
    if n > 1 and not ramps[-1].end:
        raise ValueError("a schedule of no length cannot be repeated; write a duration above 0")
    if n == 1:
        return tuple(ramps)
    first = without_last_jump(ramps)
    again = then(ramps, ramps)[len(first) :]
    middle = without_last_jump(again)
    row = list(first)
    for index in range(int(n) - 1):
        row += _later(again if index == n - 2 else middle, index * Fraction(ramps[-1].end))
    return tuple(row)


def rescale(ramps: Ramps, total: float, warmup: float) -> tuple[Ramp, ...]:
    """All after the first `warmup` updates stretched or squeezed to end at `total`."""
    old = ramps[-1].end
    if not (is_number(total) and math.isfinite(total)):
        raise ValueError(f"the new total is a number of updates, not {total!r}")
    if total == old:
        return tuple(ramps)
    if old <= warmup:
        raise ValueError("a schedule that is a warmup throughout has nothing to rescale; write stretch(...)")
    if not total > warmup:
        raise ValueError(f"total={total!r} leaves no room after a warmup of {write_number(warmup)}; write a longer one")
    fixed = Fraction(warmup)
    factor = (Fraction(total) - fixed) / (Fraction(old) - fixed)
    kept = [ramp for ramp in ramps if ramp.begin < warmup]  # one that is cut short keeps the length it never reaches
    return (*kept, *_in_time(ramps[len(kept) :], lambda time: fixed + (time - fixed) * factor))


def _in_time(ramps: Ramps, new: Callable[[Fraction], Fraction]) -> tuple[Ramp, ...]:
    """The same ramps in another time, computed exactly: ramps that met still do, and nothing is rounded to steps."""

    row: list[Ramp] = []
    for index, ramp in enumerate(ramps):
        from_, until = new(Fraction(ramp.begin)), new(Fraction(ramp.begin) + Fraction(ramp.duration))
        begin = row[-1].end if index and ramps[index - 1].end == ramp.begin else _plain(from_)
        duration, end = _plain(until - from_), _plain(new(Fraction(ramp.end)))
        if ramp.duration and begin + duration != end:  # a rounding that would add up from ramp to ramp
            duration = max(end - begin, 0)
        row.append(Ramp(begin, duration, ramp.start_value, ramp.end_value, ramp.shape))
    return tuple(row)


def _plain(number: Fraction) -> float:
    return int(number) if number.denominator == 1 else float(number)
