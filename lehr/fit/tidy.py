"""Whole durations and short decimals for the ramps that a log was laid out as: of what fits the log, what was meant.

A log of few digits, or of every tenth step, does not tell a joint or a value exactly: each of many schedules is at
every point of it. Near the ramps that were found, plain shapes, round joints and short values are tried ramp by ramp;
each ramp is held against its own points before the next is begun.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from lehr.fit.nearby import GRIDS, USUAL
from lehr.fit.pieces import Points
from lehr.ramp import Ramp
from lehr.schedule import Schedule
from lehr.verbs import is_level

TRIALS = 2000  # ramps held against their points, for one row of ramps
ENOUGH = 3  # schedules from one row of ramps
SPREAD = 40  # points that are looked at first


@dataclass
class _Search:
    """Schedules near one row of ramps, with one peak."""

    points: Points
    own: list[float]  # how far each value may be off
    seed: Schedule
    peak: float
    trials: int = TRIALS
    ramps: list[Ramp] = field(default_factory=list)

    @property
    def loose(self) -> bool:
        return self.points.share > 1e-9

    def found(self, index: int = 0) -> Iterator[tuple[float, Schedule]]:
        if index == len(self.seed.ramps):
            yield self.peak, Schedule(tuple(self.ramps), self.seed.sample)
            return
        ramp = self.seed.ramps[index]
        begin = self.ramps[-1].end if self.ramps else ramp.begin
        for start in self._starts(index):
            for end, last in self._ends(index, begin, start):
                if end <= begin or self.trials <= 0:
                    continue
                self.trials -= 1
                try:
                    new = Ramp(begin, end - begin, start, last, _plain(ramp.shape))
                    fits = self._fits(new, index == len(self.seed.ramps) - 1)
                except (ValueError, OverflowError, ZeroDivisionError):
                    continue
                if fits:
                    self.ramps.append(new)
                    yield from self.found(index + 1)
                    self.ramps.pop()

    def _starts(self, index: int) -> list[float]:
        ramp = self.seed.ramps[index]
        if not self.ramps:
            return self._decimals(ramp.start_value)
        before = self.ramps[-1].end_value
        if abs(before - ramp.start_value) <= self._near():
            return [before]
        return self._decimals(ramp.start_value)

    def _ends(self, index: int, begin: float, start: float) -> Iterator[tuple[float, float]]:
        ramps = self.seed.ramps
        ramp, final = ramps[index], index == len(ramps) - 1
        end = ramp.end if final else ramps[index + 1].begin
        lengths = [end - begin, *(ramps[index + 1].duration for _ in range(not final))]
        slack = min(max(2.5, 0.02 * max(lengths)), 0.3 * min(lengths) + 1) if self.loose else 0.02
        times = [
            size * round(end / size) for size in GRIDS if abs(size * round(end / size) - end) <= slack and end > begin
        ]
        if self.loose:
            times += [round(end) - 1, round(end) + 1]
        level = is_level(ramp)
        values = [start] if level else self._decimals(ramp.end_value)
        pairs = [(time, value) for time in times for value in values]
        steps = self.points.steps
        if final and not level and len(steps) > 2 and ramp.end >= steps[-1]:
            # the end may lie between the last point and the one that would have come next
            stride = steps[-1] - steps[-2]
            beyond = [size * -(-(steps[-1] + 1) // size) for size in GRIDS]
            times = [time for time in dict.fromkeys(beyond) if time <= steps[-1] + stride + 1]
            there = self.points.values[-1] / self.peak if self.peak else 0.0
            usual = (*USUAL, *values, *(float(f"{there:.{n}g}") for n in range(1, 5)))
            pairs = [(time, value) for time in times for value in usual] + pairs
        return iter(dict.fromkeys(pairs))

    def _near(self) -> float:
        return max(20 * self.points.share, 1e-12)

    def _decimals(self, value: float) -> list[float]:
        """Short decimals near to a value, the shortest first, and the value."""
        digits = range(1, 5 if self.loose else 9)
        near = [float(f"{value:.{n}g}") for n in digits] if value > self._near() else [0.0]
        return list(dict.fromkeys([*(v for v in near if abs(v - value) <= self._near()), value]))

    def _fits(self, ramp: Ramp, final: bool) -> bool:
        """Whether the ramp is at each of its points."""
        steps, values, own = self.points.steps, self.points.values, self.own
        cut, side = (bisect_left, 0) if self.seed.sample == "start" else (bisect_right, 1)
        low = cut(steps, ramp.begin - side) if ramp.begin else 0
        high = len(steps) if final else cut(steps, ramp.end - side)
        alone = self.peak * Schedule((ramp,), self.seed.sample)
        some = range(low, high, max(1, (high - low) // SPREAD))
        return all(abs(alone(steps[k]) - values[k]) <= own[k] for order in (some, range(low, high)) for k in order)


def _plain(shape: str) -> str:
    """A cosine or a square root of which a part was found, as the whole."""
    name = shape.partition(":")[0]
    return name if name in ("cosine", "sqrt") else shape


def tidied(points: Points, seeds: list[tuple[float, Schedule]]) -> list[tuple[float, Schedule]]:
    """Schedules, with their peaks, near to the seeds and at every point of the log; fewer digits first."""
    found: list[tuple[float, Schedule]] = []
    seen = set()
    # a wave through rounded points may turn a little before the log ends; what begins there is of no weight
    cut = [
        (peak, Schedule(unit.ramps[:-1], unit.sample))
        for peak, unit in seeds
        if len(unit.ramps) > 1 and unit.ramps[-1].begin >= points.steps[-1] - 5
    ]
    for peak, unit in [*cut, *seeds]:
        loose = points.share > 1e-9
        alike = (
            unit.sample,
            tuple((_plain(r.shape), is_level(r)) for r in unit.ramps),
            tuple(round(r.begin / 4) if loose else r.begin for r in unit.ramps),
            round(unit.total / 4) if loose else unit.total,
        )
        if alike in seen or len(unit.ramps) > 40:
            continue
        seen.add(alike)
        for own in points.own or [[1.5 * t for t in points.tolerances]]:
            for short in _peaks(peak, points.share):
                search = _Search(points, own, unit, short)
                for some, _ in zip(search.found(), range(ENOUGH), strict=False):
                    found.append(some)
    return list(dict.fromkeys(found))


def _peaks(peak: float, share: float) -> list[float]:
    short = (float(f"{peak:.{n}g}") for n in range(1, 7))
    return list(dict.fromkeys([*(p for p in short if abs(p - peak) <= 3 * share * peak), peak]))[:3]
