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

from lehr import curves
from lehr.pieces import Points
from lehr.ramp import Ramp
from lehr.schedule import Sample, Schedule
from lehr.words import write_number

# what each shape costs: of two that are at every point, the commoner one is meant
SHAPES: dict[str, tuple[float, Callable[[float], float]]] = {
    "linear": (0, curves.linear(1, 0, math)),
    "cosine": (0, curves.cosine(1, 0, math)),
    "sqrt": (1, curves.sqrt(1, 0, math)),
    "poly:2": (2, curves.poly(1, 0, math, 2)),
    "half_cosine": (3, curves.half_cosine(1, 0, math)),
    "rex": (3, curves.rex(1, 0, math)),
    "poly:0.5": (4, curves.poly(1, 0, math, 0.5)),
}
GRIDS = (10_000, 5000, 1000, 500, 100, 50, 10, 5, 1)
WAYS: tuple[tuple[int, Sample], ...] = ((0, "start"), (1, "end"))  # how far ahead of its step an update is sampled
USUAL = (0.0, 0.1, 0.01, 0.05, 0.2, 0.001)  # floors, for a log that ends before its schedule
SOME = 40  # points from which the times are estimated
MORE = 160  # points against which each pair of whole times is held, before all of them
WARM = 3e-3  # an estimate that is off by more than this share of the peak is of another shape


Fit = tuple[float, float, float]  # v = c + m w: c, m, and the sum of the squares that are left


@dataclass(frozen=True)
class Plain:
    """A schedule that is at every point, its peak, and how many characters say it, as it were."""

    cost: float
    peak: float
    unit: Schedule


def plainest(points: Points) -> list[Plain]:
    """The plain schedules that are at every point of the log, the plainest first; one for each way of sampling."""
    found: dict[str, Plain] = {}
    for own in points.own or [[1.5 * t for t in points.tolerances]]:
        some = sorted({plain for log in _readings(points, own) for plain in log.schedules()}, key=lambda p: p.cost)
        tried = 0
        for plain in some:
            best = found.get(plain.unit.sample)
            if best is not None and best.cost <= plain.cost:
                continue
            tried += 1
            if tried > 30:
                break
            if _fits(points, own, plain):
                found[plain.unit.sample] = plain
    return sorted(found.values(), key=lambda p: p.cost)


def _fits(points: Points, own: list[float], plain: Plain) -> bool:
    schedule, steps, values = plain.peak * plain.unit, points.steps, points.values
    n = len(steps)
    for order in (range(0, n, max(1, n // SOME)), range(n)):
        if not all(abs(schedule(steps[k]) - values[k]) <= own[k] for k in order):
            return False
    return True


def _readings(points: Points, own: list[float]) -> Iterator["Log"]:
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
                for e in sorted(self._ends(g, d, end, reach, order), key=lambda e: min(_digits(e), _digits(e + 1))):
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
            fit = _line([(_at(g, s, begin, end), v) for s, v in data])
            return fit[2] if fit and fit[0] > below else math.inf

        ends = [steps[self.bottom] + size * more for more in (0.001, 0.02, 0.1, 0.3, 1, 3, 10)]
        begins = [low + (high - low) * share for share in (0.05, 0.5, 0.95)] + [at]
        _, begin, end = min((off(b, e), b, e) for b in begins for e in ends)
        if off(begin, end) == math.inf:
            return begin, end, math.inf
        begin, end = _least(off, (begin, end), ((high - low) / 8 or 1, size / 8))
        return begin, end, math.sqrt(off(begin, end) / len(data))

    # --- whole times

    def _whole(self, shape: str, begin: float, end: float) -> Iterator[Plain]:
        g, steps, values = SHAPES[shape][1], self.points.steps, self.points.values
        order = self._some(MORE)
        # those that say most first: the ends, the quarters
        data = [(steps[k], values[k], self.own[k]) for k in (*order[:: max(1, len(order) // 8)], *order)]
        reach = 2 + (end - begin) * (0.03 if self.loose else 0.003)
        pairs = sorted(
            {(d, e) for d in self._begins(g, begin, end, reach) for e in self._ends(g, d, end, reach, order) if e > d},
            key=_roundness,
        )
        enough = math.inf
        for d, e in pairs:
            if _roundness((d, e)) > enough:
                return
            for peak in self._peaks(g, d, e, order):
                for floor in self._floors(g, d, e, peak, data):
                    for plain in self._written(shape, d, e, peak, floor):
                        enough = min(enough, _roundness((d, e)) + 2)
                        yield plain

    def _begins(self, g: Callable[[float], float], begin: float, end: float, reach: float) -> list[int]:
        """Whole times at which the fall may begin."""
        steps, latest = self.points.steps, self.points.steps[self.last + 1]
        found = _near(begin, reach)
        found += [k + more for k in self._crossings(g, end) for more in (-1, 0, 1, 2)]
        if self.first != self.last or self.first == 0:
            found += [steps[self.last] + more for more in (0, 1, -1)] + [0]
        return [d for d in dict.fromkeys(found) if -1 <= d <= latest]

    def _crossings(self, g: Callable[[float], float], end: float) -> list[int]:
        """Where a ramp from 0 through the rising points meets the fall (which of a power is the same from anywhere)."""
        if not self.first:
            return []
        steps, values = self.points.steps, self.points.values
        data = [(steps[k], values[k]) for k in self._some(SOME) if k >= self.last]
        found = []
        for shift in (0, 1):
            lo, hi = (1 / x if x else math.inf for x in self._warmup(1.0, shift)[::-1])
            slope = (lo + hi) / 2
            if not 0 < slope < math.inf:
                continue

            def over(d: float, shift: int = shift, slope: float = slope) -> float:
                fit = _line([(_at(g, s, d, end), v) for s, v in data])
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
        ends = _near(end, reach) if end > d else []
        ends += [steps[self.bottom], steps[self.bottom] + 1, steps[self.bottom] - 1]
        # with each of the usual floors, where it would end
        k = self.bottom if self.bottom == len(steps) - 1 else self.bottom - 1
        s, v = steps[k], values[k]
        for top in self._peaks(g, d, max(end, s + 1), order)[:1]:
            for floor in USUAL:
                weight = (v / top - floor) / (1 - floor)
                if 0 < weight < 1 and s > d:
                    e = d + (s - d) / _inverse(g, weight)
                    ends += _near(e, 2 + 0.01 * (e - d) * self.loose)
        return [e for e in dict.fromkeys(ends) if e > steps[self.last]]

    def _peaks(self, g: Callable[[float], float], d: int, e: float, order: list[int]) -> list[float]:
        """What the peak may be, the shortest first."""
        highest, spread, fit = self.points.highest, self.tolerance, None
        if d in self.points.at:
            highest = self.points.at[d]
        elif self.first == self.last:
            fit = self._fitted(g, d, e, order)
            if fit is None:
                return []
            highest, spread = fit[0] + fit[1], 3 * spread + 1e-10 * highest
        if fit is None and self.loose:
            fit = self._fitted(g, d, e, order)
        peaks = _short_within(highest - spread, highest + spread)
        return [peak for peak in (*peaks, *([fit[0] + fit[1]] if fit else [])) if peak > 0]

    def _fitted(self, g: Callable[[float], float], d: int, e: float, order: list[int]) -> Fit | None:
        steps, values = self.points.steps, self.points.values
        return _line([(_at(g, steps[k], d, e), values[k]) for k in order[:: max(1, len(order) // 20)]])

    def _floors(
        self, g: Callable[[float], float], d: int, e: int, peak: float, data: list[tuple[int, float, float]]
    ) -> list[float]:
        """Shares of the peak with which the curve is in each point's interval: the shortest, if there are any."""
        lo, hi = 0.0, peak
        for s, v, own in data:
            weight = _at(g, s, d, e)
            rest = 1 - weight
            if rest < 1e-9:
                if abs(v - peak) > own + 1e-9 * peak * rest:
                    return []
                continue
            lo, hi = max(lo, (v - own - peak * weight) / rest), min(hi, (v + own - peak * weight) / rest)
            if lo > hi:
                return []
        if hi >= peak:
            return []
        found = [f for f in USUAL if lo <= f * peak <= hi][:2] or _short_within(lo / peak, hi / peak)[:1]
        return list(dict.fromkeys([*found, *(f / peak for f in _short_within(lo, hi)[:1])]))

    # --- the warmup

    def _warmup(self, peak: float, shift: int) -> tuple[float, float]:
        """Between which lengths a ramp from 0 through every rising point lies; `shift`: its step -shift is at 0."""
        lo, hi = 0.0, math.inf
        for k in range(self.first):
            s, v, own = self.points.steps[k] + shift, self.points.values[k], self.own[k]
            if s <= 0:
                if v > own:
                    return 1.0, 0.0
                continue
            lo = max(lo, s * peak / (v + own))
            hi = min(hi, s * peak / (v - own) if v > own else math.inf)
            if lo > hi:
                break
        return lo, hi

    def _warmups(self, peak: float, shift: int, top: int) -> list[int]:
        """Whole lengths, as round as may be; `top` is the last time at which the peak can be reached."""
        lo, hi = self._warmup(peak, shift)
        if lo > hi or hi == math.inf:
            return []
        slack = 1e-9 * hi
        low, high = math.ceil(lo - slack), math.floor(min(hi + slack, top))
        found = [w for w in (top, top - 1) if low <= w <= high]
        if self.first != self.last:  # a level was seen; else there is none, or one of a single update
            inside = [size * math.ceil(low / size) for size in GRIDS] if high - low > 3 else range(low, high + 1)
            found += [w for w in inside if low <= w <= high][:3]
        return list(dict.fromkeys(found))

    # --- as a schedule

    def _written(self, shape: str, d: int, e: int, peak: float, floor: float) -> Iterator[Plain]:
        for shift, sample in WAYS:
            top, total = d + shift, e + shift
            if top < 0:
                continue
            fall = Ramp(top, total - top, 1, floor, shape)
            if self.first:
                for w in self._warmups(peak, shift, top):
                    if 0 < w <= top:
                        level = (Ramp(w, top - w, 1, 1),) if top > w else ()
                        yield self._plain((Ramp(0, w, 0, 1), *level, fall), sample, peak)
                continue
            seen = self.last > 0 or self.points.steps[0] == 0
            if not seen and top > 1:  # what came before the log is not in it
                yield self._plain((fall,), sample, peak)
            else:
                level = (Ramp(0, top, 1, 1),) if top else ()
                yield self._plain((*level, fall), sample, peak)

    def _levels(self) -> Iterator[Plain]:
        """A warmup and the peak from then on."""
        if not self.first:
            return  # a constant: nothing to find out
        last, before = self.points.steps[-1], self.points.steps[-2]
        end = min(_near((last + before) / 2 + (last - before), (last - before) / 2), key=lambda e: (_digits(e), e))
        end = max(end, last + 1)
        for peak in _short_within(*(self.points.highest + sign * self.tolerance for sign in (-1, 1))):
            for shift, sample in WAYS:
                for w in self._warmups(peak, shift, end):
                    if 0 < w < end:
                        yield self._plain((Ramp(0, w, 0, 1), Ramp(w, end - w, 1, 1)), sample, peak)

    def _plain(self, ramps: tuple[Ramp, ...], sample: Sample, peak: float) -> Plain:
        unit = Schedule(ramps, sample)
        last = self.points.steps[-1]
        fall = ramps[-1]
        cost = len(write_number(peak).replace(".", "")) + len(write_number(fall.end_value)) + (sample == "start") / 4
        cost += SHAPES[fall.shape][0] + len(ramps) + _joints(ramps, sample) + 2 * (fall.end not in (last, last + 1))
        if ramps[0].start_value == 1:  # both ways of sampling fit
            cost += (sample == "end") / 2 if len(ramps) == 1 or ramps[0].duration == 1 else 0
        return Plain(cost, peak, unit)


def _joints(ramps: tuple[Ramp, ...], sample: Sample) -> float:
    """How many digits say the times, as one of the known systems counts them."""
    begin = ramps[0].begin
    ends = [begin] * bool(begin) + [ramp.end for ramp in ramps]
    ways: list[float] = [_digits(begin) + sum(_digits(ramp.duration) for ramp in ramps), sum(map(_digits, ends))]
    level = len(ramps) > 1 and ramps[-2].start_value == ramps[-2].end_value
    if level and ramps[-2].duration == 1:
        # (s + 1) / W and then a curve that counts from s; without a warmup, a curve from the first update on
        late = [_digits(ends[-1] - 1), *map(_digits, ends[:-2])]
        ways = [sum(late) + (1.0 if len(ramps) == 3 else 0), sum(late[1:]) + _digits(ends[-1]) + 1.0]
    elif sample == "end" and len(ends) == len(ramps) == 2 and not level:
        ways.append(_digits(ends[0] - 1) + _digits(ends[1] - 1) + 1.0)  # (s + 1) / (W + 1), as nanoGPT has it
    return min(ways) * 1.5


def _digits(number: float) -> float:
    """How many digits it has without the zeros behind them."""
    return len(str(int(number)).strip("0"))


def _at(g: Callable[[float], float], s: float, begin: float, end: float) -> float:
    u = (s - begin) / (end - begin)
    return 1.0 if u <= 0 else 0.0 if u >= 1 else g(u)


def _line(pairs: list[tuple[float, float]]) -> Fit | None:
    """v = c + m w by least squares: (c, m, the sum of the squares that are left)."""
    n = len(pairs)
    w0, v0 = sum(w for w, _ in pairs) / n, sum(v for _, v in pairs) / n
    ww = sum((w - w0) ** 2 for w, _ in pairs)
    if ww < 1e-18:
        return None
    m = sum((w - w0) * (v - v0) for w, v in pairs) / ww
    if m <= 0:
        return None
    return v0 - m * w0, m, sum((v - v0 - m * (w - w0)) ** 2 for w, v in pairs)


def _least(
    off: Callable[[float, float], float], at: tuple[float, float], size: tuple[float, float]
) -> tuple[float, float]:
    """The pair with the least of a function (Nelder & Mead 1965, Computer Journal 7, for two numbers)."""
    corners = [at, (at[0] + size[0], at[1]), (at[0] - size[0], at[1] + size[1])]
    simplex = sorted((off(*corner), corner) for corner in corners)
    for _ in range(160):
        (_, a), (fb, b), (fc, c) = simplex
        if abs(a[0] - c[0]) + abs(a[1] - c[1]) < 0.02:
            break

        def on(
            x: float, a: tuple[float, float] = a, b: tuple[float, float] = b, c: tuple[float, float] = c
        ) -> tuple[float, tuple[float, float]]:
            """The point x times as far from the worst corner's mirror axis as that corner."""
            middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
            p = (middle[0] + x * (c[0] - middle[0]), middle[1] + x * (c[1] - middle[1]))
            return off(*p), p

        new = on(-1)
        if new[0] < simplex[0][0]:
            new = min(new, on(-2))
        elif new[0] >= fb:
            new = min(new, on(0.5), on(-0.5))
        if new[0] < fc:
            simplex[2] = new
        else:
            half = [((a[0] + p[0]) / 2, (a[1] + p[1]) / 2) for p in (b, c)]
            simplex[1:] = [(off(*p), p) for p in half]
        simplex.sort()
    return simplex[0][1]


def _inverse(g: Callable[[float], float], weight: float) -> float:
    """Where a falling curve has the weight."""
    lo, hi = 0.0, 1.0
    for _ in range(50):
        middle = (lo + hi) / 2
        lo, hi = (middle, hi) if g(middle) > weight else (lo, middle)
    return hi


def _roundness(pair: tuple[int, int]) -> float:
    """How many digits say the two times, counted from 0 or from 1."""
    return min(_digits(pair[0] + a) + _digits(pair[1] + b) for a in (0, 1) for b in (0, 1))


def _near(time: float, reach: float) -> list[int]:
    """Whole times near to one, the roundest first: of the times themselves, and of those one later."""
    found = []
    for size in GRIDS:
        for shift in (0, 1):
            middle = round((time + shift) / size)
            for k in (middle, middle - 1, middle + 1) if size > 1 else range(middle - 2, middle + 3):
                if abs(k * size - shift - time) <= reach:
                    found.append(k * size - shift)
    return list(dict.fromkeys(found))


def _short_within(lo: float, hi: float) -> list[float]:
    """The shortest decimals from lo to hi: at most three, with ever more digits."""
    if lo <= 0 <= hi:
        return [0.0]
    found: list[float] = []
    middle = (lo + hi) / 2
    for digits in range(1, 17):
        value = float(f"{middle:.{digits - 1}e}")
        if lo <= value <= hi:
            found.append(value)
    return list(dict.fromkeys(found))[:3] or [middle]
