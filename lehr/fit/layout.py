"""The pieces of a log laid out as ramps: `lehr.fit` cuts the log, this makes a schedule of the cuts.

Where two pieces meet follows from their curves; then steps are rounded to whole ones and values to short decimals, as
far as the log allows, both ways of sampling are tried, and of what is at every point of the log the shortest text is
taken.
"""

import math
import re
from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import pairwise, product

from lehr.fit import pieces
from lehr.fit.nearby import GRIDS
from lehr.fit.pieces import Piece, Points, Section
from lehr.fit.tidy import tidied
from lehr.ramp import Ramp
from lehr.schedule import Sample, Schedule
from lehr.verbs import is_level
from lehr.words import write_number

TRIED = 40  # layouts near which plainer ones are looked for
SAMPLES: tuple[Sample, ...] = ("end", "start")

Path = list[tuple[Piece, int, int]]  # a piece, and the steps of its first and last point


@dataclass(frozen=True)
class Joint:
    """Where one piece gives way to the next: the time at which they meet, None for a jump; and the steps about it."""

    meets: float | None
    last: int
    first: int
    bridged: bool = False  # the curve is level from the last point to the first


def joint_of(points: Points, one: Piece, other: Piece, last: int, first: int) -> Joint:
    # in a log that was thinned there are points between, which belong to one or the other
    between = list(points.steps[index_of(points, last) : index_of(points, first) + 1]) if first - last > 1 else []
    for step in between:
        k = index_of(points, step)
        if last < step < first and abs(one.curve(step) - points.values[k]) <= pieces.SOFT * points.tolerances[k]:
            last = step
        elif step > last:
            first = step
            break
    near = pieces.SOFT * points.loosest
    slack = 0.02 * (first - last) + 1e-3
    for time in (other.left, one.right):
        if time is not None and last - slack <= time <= first + slack:
            time = round(time) if abs(time - round(time)) < 1e-3 else time
            if abs(one.curve(time) - other.curve(time)) <= max(4 * near, 1e-6 * points.highest):
                return Joint(time, last, first)

    def off(time: float) -> float:
        try:
            return one.curve(time) - other.curve(time)
        except (ValueError, OverflowError, ZeroDivisionError, TypeError):
            return math.nan

    whole = min(
        (step for step in (last, first)), key=lambda step: abs(off(step)) if off(step) == off(step) else math.inf
    )
    if abs(off(whole)) <= near:
        return Joint(whole, last, first)
    lo, hi = float(last), float(first)
    if off(lo) * off(hi) < 0:
        for _ in range(80):
            middle = (lo + hi) / 2
            lo, hi = (middle, hi) if off(middle) * off(lo) > 0 else (lo, middle)
        return Joint((lo + hi) / 2, last, first)
    return Joint(None, last, first)


def index_of(points: Points, step: int) -> int:
    """Which point has the step."""
    return bisect_left(points.steps, step)


@dataclass(frozen=True)
class Layout:
    """A schedule that fits, before it is described."""

    points: Points
    unit: Schedule
    peak: float
    both: bool  # the other sampling fits as well
    departures: tuple[int, ...]


def laid_out(points: Points, path: Path, until: int | None = None) -> Layout | None:
    """The pieces as a schedule that is at every point of the log (before step `until`), the shorter of two texts."""
    met = [joint_of(points, a[0], b[0], a[2], b[1]) for a, b in pairwise(path)]
    # two curves that cross between two steps may as well jump from the one to the other, or be level between
    odd = [j.meets is not None and j.meets != int(j.meets) for j in met]
    jumps = [replace(j, meets=None) if o else j for j, o in zip(met, odd, strict=True)]
    near = pieces.SOFT * points.loosest
    levels = [
        replace(j, bridged=abs(a[0].curve(j.last) - b[0].curve(j.first)) <= near) if j.meets is None else j
        for j, (a, b) in zip(jumps, pairwise(path), strict=True)
    ]
    ways = [met, *([jumps] if jumps != met else []), *([levels] if levels != jumps else [])]

    def length(one: tuple[float, Schedule]) -> float:
        return _length(*one, points.steps[-1] + 1)

    made: dict[tuple[float, Schedule], float] = {}
    for sample, joints, early, late in product(SAMPLES, ways, (1, 0), (1, 0)):
        for grid in (*GRIDS, 0):
            one = _schedule(points, path, joints, sample, grid, early, late)
            if one is not None:
                unseen = one[0] > (1 + 2 * points.share) * points.highest
                made.setdefault(one, length(one) + 8 * unseen)
    fitting: dict[str, tuple[float, Schedule]] = {}
    for peak, unit in sorted(made, key=lambda one: made[one]):
        if unit.sample not in fitting and _fits(points, peak * unit, until):
            fitting[unit.sample] = peak, unit
    if until is None:
        tidy = tidied(points, sorted(made, key=lambda one: made[one])[:TRIED])
        if tidy and points.own:
            fitting = {}  # those were held to one tolerance for all; these to each number's own last digit
        for one in tidy:
            before = fitting.get(one[1].sample)
            if before is None or length(one) < length(before):
                fitting[one[1].sample] = one
        fitting = {one[1].sample: one for one in sorted(fitting.values(), key=length)}
    if not fitting:
        return None
    peak, unit = next(iter(fitting.values()))
    return Layout(points, unit, peak, len(fitting) > 1, _in_steps_of(unit, _departures(path, met, peak)))


def _length(peak: float, unit: Schedule, updates: int) -> float:
    """How long a description is: of two that fit, the shorter is the one meant."""
    text = str(unit).partition(", sampled")[0] + " " + write_number(peak)
    text = re.sub(r"(?<![.\d])(\d*[1-9])0+(?![.\d])", r"\1", text)  # of 100 and 99 the first is the shorter
    # one that ends with the log, and lehr's own way of sampling, where there is nothing else between them
    return len(text) - 4 * (unit.total == updates) + (unit.sample == "start") / 2


def _fits(points: Points, schedule: Schedule, until: int | None) -> bool:
    return all(
        abs(schedule(s) - v) <= 1.5 * t
        for s, v, t in zip(points.steps, points.values, points.tolerances, strict=True)
        if until is None or s < until
    )


def _rounded(time: float, grid: int, slack: float) -> float:
    for size in GRIDS:
        if size <= grid and abs(time - size * round(time / size)) <= slack:
            return size * round(time / size)
    return time


def _schedule(
    points: Points, path: Path, joints: list[Joint], sample: Sample, grid: int, early: int, late: int
) -> tuple[float, Schedule] | None:
    """(peak, the schedule with peak 1) of the pieces.

    `grid`: joints are rounded to its multiples where they are near; `early`: the first curve begins before the first
    update where updates are sampled at their end; `late`: the last goes on to the end of the last update.
    """
    offset = 1 if sample == "end" else 0
    loose = points.loosest > 1e-9 * points.highest

    def snapped(time: float, length: float) -> float:
        slack = max(0.02, 0.02 * length) if loose else 1e-3
        return _rounded(time + offset, grid, slack) - offset if grid else time

    rows: list[Section] = []
    start = _beginning(path[0][0], path[0][1], offset * early, points.loosest)
    stop: float
    following: float
    for index, (piece, first, last) in enumerate(path):
        length = last - first
        cut: float | None = None
        if index < len(joints):
            joint = joints[index]
            if joint.bridged:
                stop, following = joint.last, joint.first
            elif joint.meets is not None:
                stop = following = snapped(joint.meets, min(length, joint.first - joint.last + 2))
            else:
                left = path[index + 1][0].left
                stop = following = float(joint.first - offset)
                if left is not None and joint.last - 1e-3 <= left <= joint.first + 1e-3:
                    following = snapped(left, 1)
                    stop = max(following, last)
            cut = following
        else:
            stop = following = last + (1 - offset) * late
            if piece.right is not None:
                stop = snapped(max(piece.right, last), length)
            elif piece.family == "linear":
                zero = _zero(piece, last)
                if zero is not None and last <= zero <= stop + 1e-6:
                    stop = zero
        start = snapped(start, length)
        try:
            sections = piece.sections(start, stop)
        except (ValueError, OverflowError, ZeroDivisionError, TypeError):
            return None
        for t0, t1, a, b, shape in sections:
            t1 = (
                stop
                if abs(t1 - stop) <= 1e-3 * max(1.0, t1 - t0) or (loose and abs(t1 - stop) <= 0.05 * (t1 - t0))
                else snapped(t1, t1 - t0)
            )
            t0 = start if abs(t0 - start) <= 1e-3 * max(1.0, t1 - t0) else snapped(t0, t1 - t0)
            if cut is None or t0 < cut:
                rows.append((t0, t1, a, b, shape))
        if index < len(joints) and joints[index].bridged:
            other = path[index + 1][0]
            rows.append((stop, following, piece.curve(stop), other.curve(following), "linear"))
        start = following
    return _ramps(points, rows, sample, offset)


def _beginning(piece: Piece, first: int, offset: int, near: float) -> float:
    """Where the first piece begins: by nature, or with the run, or where it would be below 0 before."""
    if piece.left is not None and -offset - 1e-3 <= piece.left <= first + 1e-3:
        return piece.left
    if piece.left is not None and piece.left > first:
        return first
    try:
        value = piece.curve(-offset)
    except (ValueError, OverflowError, ZeroDivisionError, TypeError):
        return first
    if isinstance(value, complex) or not -4 * near <= value < math.inf:
        zero = _zero(piece, first) if piece.family == "linear" else None
        return zero if zero is not None and -offset < zero <= first else first
    return -offset


def _zero(piece: Piece, step: float) -> float | None:
    """Where a straight line is at 0."""
    slope = piece.curve(step + 1) - piece.curve(step)
    return step - piece.curve(step) / slope if slope else None


def _ramps(points: Points, rows: list[Section], sample: Sample, offset: int) -> tuple[float, Schedule] | None:
    """Ramps of the sections, values that meet made one and short, with peak 1."""
    near = points.loosest
    values = [[max(a, 0.0), max(b, 0.0)] for _, _, a, b, _ in rows]
    for index, (t0, t1, a, b, _) in enumerate(rows):
        for side, time in ((0, t0), (1, t1)):
            if time == int(time) and int(time) in points.at and abs(points.at[int(time)] - (a, b)[side]) <= 4 * near:
                values[index][side] = points.at[int(time)]
    for index, (one, other) in enumerate(pairwise(rows)):
        if one[1] == other[0] and abs(values[index][1] - values[index + 1][0]) <= 6 * near:
            flat = one[2] == one[3]
            values[index + 1][0] = values[index][1] = values[index][1] if flat else values[index + 1][0]
        if other[2] == other[3]:
            values[index + 1][1] = values[index + 1][0]
    share = points.share
    highest = max(max(pair) for pair in values) or 1.0
    peak = next(p for d in range(1, 18) if abs((p := float(f"{highest:.{d}g}")) - highest) <= share * highest)
    ramps: list[Ramp] = []
    try:
        for (t0, t1, a, b, shape), (start, end) in zip(rows, values, strict=True):
            begin, until = t0 + offset, t1 + offset
            start, end = _short(start / peak, share), _short(end / peak, share)
            if a == b:
                end = start
            if begin < 0 or until < begin or (until == begin and start == end and ramps):
                continue
            if not ramps and begin > 0:
                ramps.append(Ramp(0, begin, start, start))
            if ramps and ramps[-1].begin == begin:
                ramps.pop()
            last = ramps[-1] if ramps else None
            if last and is_level(last) and start == end == last.end_value and last.end == begin:
                ramps[-1] = Ramp(last.begin, until - last.begin, start, start)
            else:
                ramps.append(Ramp(begin, until - begin, start, end, shape))
        while (
            len(ramps) > 1
            and is_level(ramps[-1])
            and ramps[-2].end <= ramps[-1].begin
            and (ramps[-2].end_value == ramps[-1].start_value < ramps[-2].start_value)
        ):
            ramps.pop()  # a finished fall holds its last value anyway
        return (peak, Schedule(tuple(ramps), sample)) if ramps else None
    except ValueError:
        return None


def _short(value: float, near: float) -> float:
    """The shortest decimal that is off by no more than the share `near`; 0 for what is near to 0 beside 1."""
    if value <= 2 * near:
        return 0.0
    for digits in range(1, 17):
        short = float(f"{value:.{digits}g}")
        if abs(short - value) <= near * value:
            return short
    return value


def _in_steps_of(unit: Schedule, departures: tuple[int, ...]) -> tuple[int, ...]:
    """Departures that the roundings of a log have moved by a step or two, where the schedule's own ramps begin."""
    begins = []
    for before, ramp in pairwise(unit.ramps):
        jump = abs(before.at(ramp.begin) - ramp.start_value) > 1e-9
        begins.append(round(ramp.begin) + (unit.sample == "start" and not jump))
    return tuple(
        min((b for b in begins if abs(b - at) <= 2), key=lambda b: abs(b - at), default=at) for at in departures
    )


def _departures(path: Path, joints: list[Joint], peak: float) -> tuple[int, ...]:
    """The first steps that are off a curve which had not come to its end."""
    found = []
    for ((one, first, last), (other, _, _)), joint in zip(pairwise(path), joints, strict=True):
        at = joint.first if joint.meets is None else math.floor(joint.meets) + 1
        if one.right is not None:
            unfinished = one.right - at > 1 + 0.02 * (one.right - first)
        else:
            fallen = one.curve(last) / peak
            falling = one.curve(last) < one.curve(first) and fallen > 0.1  # a cooldown to a tenth has come to its end
            bends = other.family == one.family == "linear" and one.curve(at) < other.curve(at + 1) < other.curve(at)
            unfinished = one.family != "level" and falling and (joint.meets is None or bends)
        if unfinished:
            found.append(at)
    return tuple(found)
