"""What `lehr.identify` found, in words: family, warmup, total, convention, and what the log does not tell."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise

from lehr.fit.layout import Layout
from lehr.fit.pieces import Points
from lehr.ramp import Ramp
from lehr.schedule import Schedule
from lehr.verbs import is_level
from lehr.words import write_number


@dataclass(frozen=True, slots=True)
class Identified:
    """What `identify` found. True where a schedule fits.

    `schedule` gives the logged values themselves, `peak` times the schedule whose text is `text`; None where none fits,
    and `text` is then that of the best one, which the log leaves at step `departs_at`. `family` names the shapes in
    order, `warmup` and `total` are in updates, `floor` is the last value as a share of the peak, `convention` says in
    words which value of the curve an update uses. `error` is the greatest distance from the log, at step `error_at`;
    `tolerance` is what the log's own digits allow. `departures` are the steps at which the log leaves a curve before
    its end, as a run does that is resumed under another horizon.

    `error` and `tolerance` are in the log's own unit, `error_share` is the error as a share of the peak. Where the log
    seems to count from 1, `from_zero` is the text with the first update at step 0, and `warmup` and `total` are its;
    `schedule` and `text` are at the log's own steps. `overlaps` are the steps to which the log goes back with other
    values. `note` says what the log does not tell: what came before its first step, or how the rate passed through a
    phase of which one point alone was logged (then there is no `schedule`).
    """

    schedule: Schedule | None
    text: str
    peak: float
    family: str
    warmup: float
    total: float
    floor: float
    convention: str
    error: float
    error_at: int
    tolerance: float
    departures: tuple[int, ...]
    departs_at: int | None = None
    from_zero: str | None = None
    overlaps: tuple[int, ...] = ()
    note: str | None = None

    @property
    def error_share(self) -> float:
        return self.error / self.peak if self.peak else self.error

    def __bool__(self) -> bool:
        return self.schedule is not None


def described(layout: Layout, departs_at: int | None = None, sure: bool = False) -> Identified:
    """The layout in words; `sure`: a phase of which one point was logged is explained by the schedule as a whole."""
    points = layout.points
    unit = as_said(points, layout.unit, departs_at)
    alone, note = (None, None) if sure or departs_at is not None else _doubt(points, unit)
    if alone is not None:
        departs_at = alone
    schedule = layout.peak * unit
    errors = [
        abs(schedule(s) - v)
        for s, v in zip(points.steps, points.values, strict=True)
        if departs_at is None or alone is not None or s < departs_at
    ]
    error = max(errors)
    if note is None and points.steps[0] and unit.ramps[0].begin > 0 and unit.ramps[0].start_value:
        note = f"the log begins at step {points.steps[0]:,}; what came before is not in it"
    zero = _from_zero(points, unit)
    counted = zero or unit
    warmup: float = 0
    for index, (ramp, name) in enumerate(zip(counted.ramps, counted._phases(), strict=True)):
        if name == "warmup":
            warmup += ramp.duration
        elif index or ramp.end_value:  # updates at 0 are before the warmup
            break
    words = {
        "end": "sampled at the end of an update: W warmup updates climb 1/W ... 1",
        "start": "sampled at the start of an update: step / W in a warmup, the first update at the first value",
    }[unit.sample]
    if layout.both:
        words += " (as far as this log tells: both ways are at every point of it)"
    return Identified(
        None if departs_at is not None else schedule,
        str(unit),
        layout.peak,
        family(unit),
        warmup,
        counted.total,
        unit.ramps[-1].end_value,
        words,
        error,
        points.steps[errors.index(error)],
        points.loosest,
        layout.departures,
        departs_at,
        None if zero is None else str(zero),
        note=note,
    )


def as_said(points: Points, unit: Schedule, until: int | None = None) -> Schedule:
    """The same at every point of the log, as the known systems would have it."""
    for change in (_one_update, _from_the_start, _without_noise, _unlogged, _evenly, _to_a_round_total):
        new = change(points, unit)
        if new is not None and all(
            abs(new(s) - unit(s)) <= 1e-12 * unit.peak for s in points.steps if until is None or s < until
        ):
            unit = new
    return unit


def _one_update(points: Points, unit: Schedule) -> Schedule | None:
    """An update at a value of its own, and then a jump up: a warmup of one update, sampled at the start."""
    first, *rest = unit.ramps
    jump = first.duration
    if not rest or not is_level(first) or rest[0].begin != jump or first.end_value >= rest[0].start_value:
        return None
    if jump != 1 and not (jump > 1 and jump == int(jump) and first.end_value == 0):
        return None
    before = (Ramp(0, jump - 1, 0, 0),) if jump > 2 else ()
    return Schedule((*before, Ramp(jump - 1, 1, first.end_value, rest[0].start_value), *rest), "start")


def _from_the_start(points: Points, unit: Schedule) -> Schedule | None:
    """After updates at 0 a warmup climbs from 0: sampled at the start, from the last of them on."""
    first, *rest = unit.ramps
    if not is_level(first) or first.end_value or not rest or rest[0].begin != first.end or rest[0].start_value:
        return None
    begins = [ramp.begin for ramp in rest]
    if unit.sample == "end":
        for index, (before, ramp) in enumerate(pairwise(unit.ramps)):
            jump = before.end != ramp.begin or before.end_value != ramp.start_value
            if jump and not is_level(ramp):
                return None  # a curve that starts with a jump is seen an update later then
            begins[index] -= not jump
    moved = []
    for index, (ramp, begin) in enumerate(zip(rest, begins, strict=True)):
        last = index + 1 == len(rest) or rest[index + 1].begin != ramp.end
        duration = ramp.duration if last else begins[index + 1] - begin
        moved.append(Ramp(begin, duration, ramp.start_value, ramp.end_value, ramp.shape))
    if moved[0].begin > 1:
        moved.insert(0, Ramp(0, moved[0].begin, 0, 0))
    return Schedule(tuple(moved), "start")


def _without_noise(points: Points, unit: Schedule) -> Schedule | None:
    """Times that are off a short decimal by roundings alone."""
    ramps = []
    for ramp in unit.ramps:
        begin, end = (float(f"{time:.11g}") for time in (ramp.begin, ramp.end))
        ramps.append(Ramp(begin, end - begin, ramp.start_value, ramp.end_value, ramp.shape))
    new = Schedule(tuple(ramps), unit.sample)
    return new if len(str(new)) < len(str(unit)) else None


def _unlogged(points: Points, unit: Schedule) -> Schedule | None:
    """A level before the first point, of which the log knows nothing, is left out."""
    first = unit.ramps[0]
    if len(unit.ramps) < 2 or not is_level(first) or first.duration <= 1 or _points(points, unit, 0):
        return None
    return Schedule(unit.ramps[1:], unit.sample)


def _evenly(points: Points, unit: Schedule) -> Schedule | None:
    """Stairs of equal length, where each step down may lie anywhere between two points of the log."""
    ramps = unit.ramps
    if len(ramps) < 3 or not all(map(is_level, ramps)) or ramps[0].begin or points.steps[0]:
        return None
    firsts = [bisect_left(points.steps, ramp.begin) for ramp in ramps[1:]]
    if firsts[-1] >= len(points.steps):
        return None
    low = max(-(-(points.steps[k - 1] + 1) // n) for n, k in enumerate(firsts, 1))
    high = min(points.steps[k] // n for n, k in enumerate(firsts, 1))
    sizes = (10**k * m for k in range(16, -1, -1) for m in (5, 1))
    length = next((size * -(-low // size) for size in sizes if size * -(-low // size) <= high), None)
    if length is None:
        return None
    begins = [n * length for n in range(len(ramps))]
    end = max(unit.total, points.steps[-1] + 1)
    ends = [*begins[1:], end if end > begins[-1] else begins[-1] + length]
    stride = points.steps[-1] - points.steps[-2]
    if points.steps[-1] < begins[-1] + length <= points.steps[-1] + stride:
        ends[-1] = begins[-1] + length
    rows = zip(ramps, begins, ends, strict=True)
    return Schedule(tuple(Ramp(a, b - a, ramp.end_value, ramp.end_value) for ramp, a, b in rows), unit.sample)


def _to_a_round_total(points: Points, unit: Schedule) -> Schedule | None:
    """A last level ends before the next point would have come: there, or at a rounder step before."""
    last, steps = unit.ramps[-1], points.steps
    if not is_level(last) or len(steps) < 3 or last.end != steps[-1] + 1 or steps[-1] - steps[-2] < 2:
        return None
    sizes = (10**k * m for k in range(16, -1, -1) for m in (10, 5, 1))
    end = next(e for size in sizes if (e := size * -(-(steps[-1] + 1) // size)) <= 2 * steps[-1] - steps[-2])
    return Schedule((*unit.ramps[:-1], Ramp(last.begin, end - last.begin, last.end_value, last.end_value)), unit.sample)


def _points(points: Points, unit: Schedule, index: int) -> list[int]:
    """The first and last step of the log at which a ramp is in charge."""
    cut, later = (bisect_left, 0) if unit.sample == "start" else (bisect_right, 1)
    begin = unit.ramps[index].begin - later if index else -1
    low = cut(points.steps, begin) if index else 0
    high = len(points.steps)
    if index + 1 < len(unit.ramps):
        high = cut(points.steps, unit.ramps[index + 1].begin - later)
    return list(points.steps[low:high])


def _doubt(points: Points, unit: Schedule) -> tuple[int | None, str | None]:
    """A phase of several updates of which a single point was logged is no evidence: its step, and words for it."""
    for index, ramp in enumerate(unit.ramps):
        logged = _points(points, unit, index)
        if len(logged) == 1 < len(points.steps) and ramp.duration >= 2:
            words = f"step {logged[0]:,} alone was logged of a phase of {write_number(ramp.duration)} updates ({ramp})"
            return logged[0], f"{words}: one point cannot tell how the rate went there; log more often"
    return None, None


def _from_zero(points: Points, unit: Schedule) -> Schedule | None:
    """The schedule one step earlier, where it begins with an update at a level that no log shows; else None."""
    if points.steps[0] < 1:
        return None
    rest = unit.ramps
    if len(rest) > 1 and is_level(rest[0]) and rest[0].duration == 1 and rest[0].end_value == rest[1].start_value:
        rest = rest[1:]
    if rest[0].begin != 1 or (rest[0].start_value and rest is unit.ramps):
        return None
    moved = (Ramp(r.begin - 1, r.duration, r.start_value, r.end_value, r.shape) for r in rest)
    return Schedule(tuple(moved), unit.sample)


def family(unit: Schedule) -> str:
    """The shapes in order: `warmup, cosine`; levels one after the other are `step` or `multistep`."""
    names: list[str] = []
    stairs: list[Ramp] = []
    for ramp, phase in zip(unit.ramps, unit._phases(), strict=True):
        name = "hold" if is_level(ramp) else "warmup" if phase == "warmup" and ramp.shape == "linear" else ramp.shape
        stairs = [*stairs, ramp] if name == "hold" else []
        if len(stairs) > 1:
            names[-1:] = ["step" if _regular(stairs) else "multistep"]
        elif not (name == "hold" and ramp.duration <= 1 and len(unit.ramps) > 1) and names[-1:] != [name]:
            names.append(name)
    return "constant" if names in ([], ["hold"]) else ", ".join(names)


def _regular(stairs: list[Ramp]) -> bool:
    """Whether levels last equally long, but for the last one, and each is the same share of the one before."""
    lengths = {ramp.duration for ramp in stairs[:-1]}
    shares = [b.end_value / a.end_value if a.end_value else 0.0 for a, b in pairwise(stairs)]
    return len(stairs) > 2 and len(lengths) == 1 and max(shares) - min(shares) <= 1e-6
