"""A log of several plans: the longest plain beginning, then the plan that the rest follows, and so on.

So a run that was resumed under another horizon is read where its numbers have few digits, and where nothing fits the
whole log the longest beginning that something fits is told.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from lehr.fit.nearby import GRIDS, USUAL
from lehr.fit.pieces import Points
from lehr.fit.plain import Log, plainest
from lehr.fit.plainness import Plain
from lehr.ramp import Ramp
from lehr.schedule import Schedule
from lehr.verbs import is_level

LEAST = 8  # points of which a plan is made out, and at least this share of the log
SHARE = 1 / 12
PLANS = 3


@dataclass(frozen=True)
class Plans:
    """A schedule up to the `until`-th point, its peak, and the steps at which it leaves a plan before its end."""

    unit: Schedule
    peak: float
    until: int
    departures: tuple[int, ...]


def in_turn(points: Points) -> Plans | None:
    """Plain plans, one after the other; None where not even the beginning is plain."""
    begun = _longest(points, 0)
    if begun is None:
        return None
    until, plain = begun
    found = Plans(plain.unit, plain.peak, until, ())
    for _ in range(PLANS):
        if found.until > len(points.steps) - LEAST:
            break
        longer = _extended(points, found, len(points.steps))
        if longer is None:
            following = _longest(points, found.until)
            joined = following and _joined(points, found, *following)
            some = [plans for plans in (joined, _furthest(points, found)) if plans]
            longer = max(some, key=lambda plans: plans.until, default=None)
        if not longer:
            break
        found = longer
    return found


def _part(points: Points, begin: int, end: int) -> Points:
    own = [few[begin:end] for few in points.own]
    steps, values, tolerances = (row[begin:end] for row in (points.steps, points.values, points.tolerances))
    return Points(list(map(int, steps)), values, tolerances, points.at, own)


def _longest(points: Points, begin: int) -> tuple[int, Plain] | None:
    """Up to which point, from the `begin`-th on, a plain schedule fits, and that schedule."""
    end = len(points.steps)
    least = max(LEAST, int(SHARE * end))
    best: tuple[int, Plain] | None = None
    fails = end + 1
    while best is None and end - begin >= least:
        if plain := plainest(_part(points, begin, end)):
            best = (end, plain[0])
        else:
            fails, end = end, begin + (end - begin) * 3 // 4
    while best is not None and fails - best[0] > 1 and best[0] < len(points.steps):
        middle = (best[0] + fails) // 2
        if plain := plainest(_part(points, begin, middle)):
            best = (middle, plain[0])
        else:
            fails = middle
    return best


def _furthest(points: Points, found: Plans) -> Plans | None:
    """One fall from the current value on, as far as it goes; the log leaves it for another."""
    best, fails = None, len(points.steps)
    while fails - found.until > max(LEAST, SHARE * len(points.steps)):
        end = (found.until + fails) // 2 if best is None else (best.until + fails) // 2
        if best is not None and end == best.until:
            break
        if longer := _extended(points, found, end):
            best = longer
        else:
            fails = end
    return best


def _extended(points: Points, found: Plans, end: int) -> Plans | None:
    """One fall from the current value on, up to the `end`-th point."""
    step, shift = points.steps[found.until], found.unit.sample == "end"
    some = [size * (step // size) for size in GRIDS if step % size <= 0.01 * step]
    rest = _part(points, found.until, end)
    for own in rest.own or [[1.5 * t for t in rest.tolerances]]:
        for begin in dict.fromkeys((*some, step)):
            ramps = [ramp for ramp in found.unit.ramps if ramp.begin < begin]
            start = found.unit.ramps[-1].at(begin)
            if not ramps or ramps[-1] != found.unit.ramps[-1] or not start:
                continue
            falls = Log(rest, own, 0, 0).onward(begin - shift, found.peak * start)
            ways: Iterable[tuple[str, int, float]]
            ways = ((shape, stop, float(f"{floor * start:.12g}")) for shape, stop, floor in falls)
            if end < len(points.steps):  # it was to end later than where it was left, and mostly at a usual floor
                ways = sorted(ways, key=lambda way: way[2] not in USUAL)
            for shape, stop, last in islice(ways, 20):
                new = Ramp(begin, stop + shift - begin, float(f"{start:.12g}"), last, shape)
                unit = Schedule((*ramps, new), found.unit.sample)
                if _fits(points, found.peak * unit, end):
                    return Plans(unit, found.peak, end, found.departures + (begin,) * _unfinished(ramps[-1], begin))
    return None


def _fits(points: Points, schedule: Schedule, end: int) -> bool:
    """Whether the schedule is at each of the first points."""
    return any(
        all(abs(schedule(points.steps[k]) - points.values[k]) <= own[k] for k in range(end))
        for own in points.own or [[1.5 * t for t in points.tolerances]]
    )


def _unfinished(ramp: Ramp, begin: float) -> bool:
    return ramp.end > begin + 1 + 0.02 * ramp.duration


def _joined(points: Points, found: Plans, end: int, plain: Plain) -> Plans | None:
    """The plan, and another one from its last point on."""
    step, sample = points.steps[found.until], found.unit.sample
    fall = plain.unit.ramps[-1]
    shift = (sample == "end") - (plain.unit.sample == "end")
    natural, stop = fall.begin + shift, fall.end + shift
    share = plain.peak / found.peak
    curve = Ramp(max(natural, 0), stop - max(natural, 0), fall.start_value, fall.end_value, fall.shape)
    last = points.steps[found.until - 1]
    for begin in dict.fromkeys((natural, step, last + 1)):
        if not (found.unit.ramps[-1].begin < begin <= step and begin < stop and begin >= natural):
            continue
        ramps = [ramp for ramp in found.unit.ramps if ramp.begin < begin]
        late = (begin - natural) / (stop - natural)
        if late and fall.shape not in ("linear", "cosine", "sqrt", "poly:2", "poly:0.5"):
            continue
        shape = f"{fall.shape}:{late!r}" if late and fall.shape in ("cosine", "sqrt") else fall.shape
        start, held = curve.at(begin) * share, found.unit.ramps[-1].at(begin)
        if abs(start - held) <= 4 * points.share:
            start = held  # from the current value on
        new = Ramp(begin, stop - begin, start, fall.end_value * share, shape)
        if len(plain.unit.ramps) > 1 and is_level(plain.unit.ramps[-2]):
            continue  # a level between: cut by the general search
        unit = Schedule((*ramps, new), sample)
        if _fits(points, found.peak * unit, end):
            return Plans(unit, found.peak, end, found.departures + (step,) * _unfinished(ramps[-1], begin))
    return None
