"""The schedules most people use, tried before any other: warmup, level, one fall, floor.

Their joints are whole updates, so few numbers say all of them. Where the fall begins and ends is first estimated (for
each shape the two times whose curve leaves the least squares); of the whole times about there, those are kept that
take the curve into every point's interval, half a unit of its last digit to either side; and of these the plainest:
round joints, short values, and the ways of counting that known systems have. A log of every 500th step with a single
point in its warmup is so read as a ramp through that point, from 0, and not as a level.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from lehr.fit.nearby import GRIDS, USUAL, Fit, digits, inverse, least, line, near, roundness, short_within, weight_at
from lehr.fit.pieces import Points
from lehr.fit.plainness import SHAPES, Plain, priced
from lehr.fit.rises import Rise
from lehr.ramp import Ramp
from lehr.schedule import Sample

WAYS: tuple[tuple[int, Sample], ...] = ((0, "start"), (1, "end"))  # how far ahead of its step an update is sampled
SOME = 40  # points from which the times are estimated
MORE = 160  # points against which each pair of whole times is held, before all of them
WARM = 3e-3  # an estimate that is off by more than this share of the peak is of another shape


def plainest(points: Points) -> list[Plain]:
    """The plain schedules that are at every point of the log, the plainest first; one for each way of sampling."""
    found: dict[str, Plain] = {}
    for own in points.own or [[1.5 * t for t in points.tolerances]]:
        some = dict.fromkeys(plain for log in rising_and_falling(points, own) for plain in log.schedules())
        tried = 0
        for plain in sorted(some, key=lambda p: p.cost):
            best = found.get(plain.unit.sample)
            if best is not None and best.cost <= plain.cost:
                continue
            tried += 1
            if tried > 30:
                break
            if fits(points, own, plain):
                found[plain.unit.sample] = plain
    return sorted(found.values(), key=lambda p: p.cost)


def fits(points: Points, own: list[float], plain: Plain) -> bool:
    schedule, steps, values = plain.peak * plain.unit, points.steps, points.values
    n = len(steps)
    for order in (range(0, n, max(1, n // SOME)), range(n)):
        if not all(abs(schedule(steps[k]) - values[k]) <= own[k] for k in order):
            return False
    return True


def rising_and_falling(points: Points, own: list[float]) -> Iterator["Log"]:
    """The log as a rise and a fall, cut before its greatest value and, where that stands alone, behind it too."""
    values, n = points.values, len(points.values)
    highest = max(values)
    if not highest or n < 3:
        return
    first = next(k for k in range(n) if values[k] >= highest - own[k])
    last = next(k for k in reversed(range(n)) if values[k] >= highest - own[k])
    rises = all(values[k + 1] - values[k] > -own[k] - own[k + 1] for k in range(first))
    falls = all(values[k + 1] - values[k] < own[k] + own[k + 1] for k in range(last, n - 1))
    level = all(values[k] >= highest - 2 * own[k] for k in range(first, last))
    if not (rises and falls and level):
        return
    yield Log(points, own, first, last)
    if first == last and 0 < first < n - 3:
        yield Log(points, own, first + 1, first + 1)


@dataclass(frozen=True)
class Log:
    """A log that rises up to the point before `first` and falls after `last`; those between are at the peak."""

    points: Points
    own: list[float]
    first: int
    last: int

    def schedules(self) -> Iterator[Plain]:
        """Plain schedules that are at some points of the log."""
        n = len(self.points.steps)
        if self.last == n - 1 and self.last - self.first >= 1:
            yield from self._levels()
        if self.bottom - self.last < (4 if self.loose else 3):
            return  # too few to tell one curve from another
        estimates = {shape: self._estimate(SHAPES[shape][1]) for shape in SHAPES}
        least, most = min(e[2] for e in estimates.values()), WARM * self.points.highest + 3 * self.tolerance
        # those that come near first, the commoner ones first among them
        for shape in sorted(estimates, key=lambda name: estimates[name][2] > 4 * least + self.tolerance):
            begin, end, off = estimates[shape]
            if off <= most:
                some = list(self._whole(shape, begin, end))
                yield from some
                if some:
                    return  # the commoner shape explains the log

    @cached_property
    def rise(self) -> Rise:
        return Rise(self.points, self.own, self.first, self.first != self.last)

    @cached_property
    def tolerance(self) -> float:
        return max(self.own)

    @cached_property
    def loose(self) -> bool:
        return self.tolerance > 1e-9 * self.points.highest

    @cached_property
    def bottom(self) -> int:
        """The first of the points that are level at the end; the last point where none are."""
        values, k = self.points.values, len(self.points.values) - 1
        while k > self.last + 1 and abs(values[k - 1] - values[-1]) <= self.own[k - 1] + self.own[-1]:
            k -= 1
        return k

    def _some(self, count: int) -> list[int]:
        """Points of the fall, evenly spread and dense at its ends, and the first and last at the peak."""
        n, size = len(self.points.steps), self.bottom + 1 - self.last
        order = {self.first, n - 1} | {self.last + size * i // count for i in range(count)}
        for k in (self.last, self.bottom):
            order |= set(range(max(k - 3, self.first), min(k + 4, n)))
        return sorted(order)

    def onward(self, d: int, peak: float) -> Iterator[tuple[str, int, float]]:
        """Falls that begin at the time `d` with the value `peak`: shape, end, and floor as a share of that value."""
        most = WARM * peak + 3 * self.tolerance
        for shape, (_, g) in SHAPES.items():
            begin, end, off = self._estimate(g)
            if off <= most:
                order = self._some(MORE)
                data = [(self.points.steps[k], self.points.values[k], self.own[k]) for k in order]
                reach = 2 + 0.03 * (end - begin)
                for e in sorted(self._ends(g, d, end, reach, order), key=lambda e: min(digits(e), digits(e + 1))):
                    for floor in self._floors(g, d, e, peak, data) if e > d else ():
                        yield shape, e, floor

    # --- estimated times

    def _estimate(self, g: Callable[[float], float]) -> tuple[float, float, float]:
        """The times at which the fall begins and ends, by least squares, and how far the curve is off then."""
        steps, values, order = self.points.steps, self.points.values, self._some(SOME)
        data = [(steps[k], values[k]) for k in order]
        at, top = steps[self.last], max(values)
        low = steps[self.first - 1] if self.first else 0
        low, high = max(low - 1, -1), steps[self.last + 1]
        stop = steps[self.bottom - 1] if self.bottom < len(steps) - 1 or self.bottom == self.last + 1 else steps[-2]
        size, below = steps[self.bottom] - at, -3 * self.tolerance - 0.02 * top

        def off(begin: float, end: float) -> float:
            if not (low <= begin <= high and end > max(begin, stop)):
                return math.inf
            fit = line([(weight_at(g, s, begin, end), v) for s, v in data])
            return fit[2] if fit and fit[0] > below else math.inf

        ends = [steps[self.bottom] + size * more for more in (0.001, 0.02, 0.1, 0.3, 1, 3, 10)]
        begins = [low + (high - low) * share for share in (0.05, 0.5, 0.95)] + [at]
        _, begin, end = min((off(b, e), b, e) for b in begins for e in ends)
        if off(begin, end) == math.inf:
            return begin, end, math.inf
        begin, end = least(off, (begin, end), ((high - low) / 8 or 1, size / 8))
        return begin, end, math.sqrt(off(begin, end) / len(data))

    # --- whole times

    def _whole(self, shape: str, begin: float, end: float) -> Iterator[Plain]:
        g, steps, values = SHAPES[shape][1], self.points.steps, self.points.values
        order = self._some(MORE)
        # those that say most first: the ends, the quarters
        data = [(steps[k], values[k], self.own[k]) for k in (*order[:: max(1, len(order) // 8)], *order)]
        reach = 2 + (end - begin) * (0.03 if self.loose else 0.003)
        pairs = sorted(
            {
                (d, e)
                for d in self._begins(g, begin, end, reach)
                for e in self._ends(g, d, end, reach, order)
                if e > d and self._bends(g, d, e)
            },
            key=self._said,
        )
        enough = math.inf
        for d, e in pairs:
            if self._said((d, e)) > enough:
                return
            short, found = self._peaks(g, d, e, order), False
            for peak in chain(short, self._fitted_peak(g, d, e, order)):
                if found and peak not in short:
                    break
                for floor in self._floors(g, d, e, peak, data):
                    for plain in self._written(shape, d, e, peak, floor):
                        found, enough = True, min(enough, roundness((d, e)) + 2)
                        yield plain

    def _said(self, pair: tuple[int, int]) -> float:
        """How many digits say the two times, fewer where the fall ends with the log."""
        last = self.points.steps[-1]
        return roundness(pair) - 2 * (last <= pair[1] <= last + 1)

    def _bends(self, g: Callable[[float], float], d: int, e: int) -> bool:
        """Whether points between are where the curve has them, as far as those at its two ends tell."""
        steps, values, own = self.points.steps, self.points.values, self.own
        i, j = self.last, self.bottom
        w0, w1 = weight_at(g, steps[i], d, e), weight_at(g, steps[j], d, e)
        if w0 - w1 < 1e-9:
            return True
        for eighths in (4, 2, 6, 1, 3, 5, 7):
            k = i + (j - i) * eighths // 8
            x = (w0 - weight_at(g, steps[k], d, e)) / (w0 - w1)
            between = values[i] + x * (values[j] - values[i])
            if abs(values[k] - between) > 1.001 * (own[k] + max(own[i], own[j])):
                return False
        return True

    def _begins(self, g: Callable[[float], float], begin: float, end: float, reach: float) -> list[int]:
        """Whole times at which the fall may begin."""
        steps, latest = self.points.steps, self.points.steps[self.last + 1]
        found = near(begin, reach)
        found += [k + more for k in self._crossings(g, end) for more in (-1, 0, 1, 2)]
        if self.first != self.last or self.first == 0:
            found += [steps[self.last] + more for more in (0, 1, -1)] + [0]
        if self.first:  # where it turns, were it a wave
            found += near((steps[self.first] + steps[self.last]) / 2, (steps[self.last] - steps[self.first]) / 2 + 2)
        return [d for d in dict.fromkeys(found) if -1 <= d <= latest]

    def _crossings(self, g: Callable[[float], float], end: float) -> list[int]:
        """Where a ramp from 0 through the rising points meets the fall (which of a power is the same from anywhere)."""
        if not self.first:
            return []
        steps, values = self.points.steps, self.points.values
        data = [(steps[k], values[k]) for k in self._some(SOME) if k >= self.last]
        found = []
        for shift in (0, 1):
            lo, hi = (1 / x if x else math.inf for x in self.rise.lengths(1.0, shift)[::-1])
            slope = (lo + hi) / 2
            if not 0 < slope < math.inf:
                continue

            def over(d: float, shift: int = shift, slope: float = slope) -> float:
                fit = line([(weight_at(g, s, d, end), v) for s, v in data])
                return slope * (d + shift) - (fit[0] + fit[1] if fit else 0.0)

            low, high = float(steps[self.first - 1]), float(steps[self.last])
            if over(low) < 0 <= over(high):
                for _ in range(40):
                    middle = (low + high) / 2
                    low, high = (middle, high) if over(middle) < 0 else (low, middle)
                found.append(round(high))
            at, most = max(values) / slope, 2 + max(values) * (1 / lo - 1 / hi if lo else 0)
            found += [w - shift for size in GRIDS if abs((w := size * round(at / size)) - at) <= most]
        return found

    def _ends(self, g: Callable[[float], float], d: int, end: float, reach: float, order: list[int]) -> list[int]:
        """Whole times at which the fall may end."""
        steps, values = self.points.steps, self.points.values
        ends = near(end, reach) if end > d else []
        ends += [steps[self.bottom], steps[self.bottom] + 1, steps[self.bottom] - 1]
        # with each of the usual floors, where it would end
        k = self.bottom if self.bottom == len(steps) - 1 else self.bottom - 1
        s, v = steps[k], values[k]
        for top in self._peaks(g, d, max(end, s + 1), order)[:1]:
            for floor in USUAL:
                weight = (v / top - floor) / (1 - floor)
                if 0 < weight < 1 and s > d:
                    e = d + (s - d) / inverse(g, weight)
                    ends += near(e, 2 + 0.01 * (e - d) * self.loose)
        return [e for e in dict.fromkeys(ends) if e > steps[self.last]]

    def _peaks(self, g: Callable[[float], float], d: int, e: float, order: list[int]) -> list[float]:
        """What the peak may be, the shortest first."""
        highest, spread = self.points.highest, self.tolerance
        if d in self.points.at:
            highest = self.points.at[d]
        elif self.first == self.last:
            fit = self._fitted(g, d, e, order)
            if fit is None:
                return []
            highest, spread = fit[0] + fit[1], 3 * spread + 1e-10 * highest
        return [peak for peak in short_within(highest - spread, highest + spread) if peak > 0]

    def _fitted_peak(self, g: Callable[[float], float], d: int, e: float, order: list[int]) -> Iterator[float]:
        """What the least squares have it be, where the log tells it no better."""
        if self.loose or (self.first == self.last and d not in self.points.at):
            fit = self._fitted(g, d, e, order)
            if fit and fit[0] + fit[1] > 0:
                yield fit[0] + fit[1]

    def _fitted(self, g: Callable[[float], float], d: int, e: float, order: list[int]) -> Fit | None:
        steps, values = self.points.steps, self.points.values
        return line([(weight_at(g, steps[k], d, e), values[k]) for k in order[:: max(1, len(order) // 20)]])

    def _floors(
        self, g: Callable[[float], float], d: int, e: int, peak: float, data: list[tuple[int, float, float]]
    ) -> list[float]:
        """Shares of the peak with which the curve is in each point's interval: the shortest, if there are any."""
        within = self.floors_within(g, d, e, peak, data)
        if within is None:
            return []
        lo, hi = within
        found = [f for f in USUAL if lo <= f * peak <= hi][:2] or short_within(lo / peak, hi / peak)[:1]
        return list(dict.fromkeys([*found, *(f / peak for f in short_within(lo, hi)[:1])]))

    def floors_within(
        self, g: Callable[[float], float], d: int, e: int, peak: float, data: list[tuple[int, float, float]]
    ) -> tuple[float, float] | None:
        """Between which values the floor is, with which the curve is in each point's interval."""
        lo, hi = 0.0, peak
        for s, v, own in data:
            weight = weight_at(g, s, d, e)
            rest = 1 - weight
            if rest < 1e-9:
                if abs(v - peak) > own + 1e-9 * peak * rest:
                    return None
                continue
            lo, hi = max(lo, (v - own - peak * weight) / rest), min(hi, (v + own - peak * weight) / rest)
            if lo > hi:
                return None
        return None if hi >= peak else (lo, hi)

    # --- as a schedule

    def _written(self, shape: str, d: int, e: int, peak: float, floor: float) -> Iterator[Plain]:
        for shift, sample in WAYS:
            top, total = d + shift, e + shift
            if top < 0:
                continue
            fall = Ramp(top, total - top, 1, floor, shape)
            if self.first:
                for w in self.rise.warmups(peak, shift, top):
                    if 0 < w <= top:
                        level = (Ramp(w, top - w, 1, 1),) if top > w else ()
                        yield priced(self.points, (Ramp(0, w, 0, 1), *level, fall), sample, peak)
                for start, rise in self.rise.others(peak, shift, top):
                    yield priced(self.points, (Ramp(0, top, start, 1, rise), fall), sample, peak)
                continue
            seen = self.last > 0 or self.points.steps[0] == 0
            if not seen and top > 1:  # what came before the log is not in it
                yield priced(self.points, (fall,), sample, peak)
            else:
                level = (Ramp(0, top, 1, 1),) if top else ()
                yield priced(self.points, (*level, fall), sample, peak)

    def _levels(self) -> Iterator[Plain]:
        """A warmup and the peak from then on."""
        if not self.first:
            return  # a constant: nothing to find out
        last, before = self.points.steps[-1], self.points.steps[-2]
        end = min(near((last + before) / 2 + (last - before), (last - before) / 2), key=lambda e: (digits(e), e))
        end = max(end, last + 1)
        for peak in short_within(*(self.points.highest + sign * self.tolerance for sign in (-1, 1))):
            for shift, sample in WAYS:
                for w in self.rise.warmups(peak, shift, end):
                    if 0 < w < end:
                        yield priced(self.points, (Ramp(0, w, 0, 1), Ramp(w, end - w, 1, 1)), sample, peak)
