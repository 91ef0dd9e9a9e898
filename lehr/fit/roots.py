"""In logs of few digits: a warmup, then one over the square root of the updates, and perhaps a cooldown at its end.

With warmup W and timescale S the value at time t is the peak times sqrt(S / (t - W + S)), and S is W for most (Vaswani
et al. 2017, arXiv 1706.03762; the cooldown: Zhai et al. 2022, arXiv 2106.04560). So few numbers say it, and of the
whole ones that are at every point of the log the plainest are meant. How low the curve has come at its end says nothing
of them, which is why the general search, which looks for it, takes one that is off.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from lehr.fit.nearby import GRIDS, USUAL, digits, inverse, near, short_within
from lehr.fit.pieces import Points
from lehr.fit.plain import WAYS, Log, fits, rising_and_falling
from lehr.fit.plainness import SHAPES, Plain
from lehr.ramp import Ramp
from lehr.schedule import Sample, Schedule
from lehr.words import write_number

SOME = 200  # points to which each pair of warmup and timescale is held
TRIED = 12  # of the roundest
COOLDOWNS = ("linear", "sqrt", "cosine")
LEAST = 4  # points of the curve, and of a cooldown


def slowing(points: Points) -> list[Plain]:
    """The plainest of them that is at every point of the log, if there is one."""
    found: list[Plain] = []
    for own in points.own:
        log = next(rising_and_falling(points, own), None)  # cut before its greatest value
        if log is None:
            continue
        for shift, sample in WAYS:
            found += _Curve(points, own, log, shift, sample).schedules()
    return sorted(found, key=lambda plain: plain.cost)[:1]


@dataclass(frozen=True)
class _Curve:
    """A log with one way of sampling: an update's time is `shift` after its step."""

    points: Points
    own: list[float]
    log: Log
    shift: int
    sample: Sample

    def schedules(self) -> Iterator[Plain]:
        n = len(self.points.steps)
        if n - self.log.last < 2 * LEAST or (not self.log.first and self.points.steps[0] > 0):
            return
        for timescales in (self._same, self._other):
            reached = [(self._until(w, s), w, s) for w in self._warmups() for s in timescales(w)]
            furthest = max((until for until, *_ in reached), default=0)
            if furthest - self.log.last < LEAST:
                continue
            best = sorted(
                {(w, s) for until, w, s in reached if until >= furthest - 2 - (furthest - self.log.last) // 50},
                key=lambda pair: (digits(pair[0]) + digits(pair[1]), pair),
            )
            some = [plain for w, s in best[:TRIED] for plain in self._ended(w, s)]
            some = [plain for plain in some if fits(self.points, self.own, plain)]
            if some:
                yield from some
                return

    # --- the curve

    def _weight(self, step: int, w: int, s: int) -> float:
        """The value at a step, as a share of the peak."""
        time = step + self.shift
        if time <= w:
            return time / w if w else 1.0
        begin = w or self.shift  # without a warmup the first update is at the peak
        return math.sqrt(s / (time - begin + s))

    def _warmups(self) -> list[int]:
        """Whole lengths of the warmup, the roundest first."""
        log, steps, values = self.log, self.points.steps, self.points.values
        if not log.first:
            return [0]
        low, high = steps[log.first - 1] + self.shift, steps[log.last + 1] + self.shift
        found = near((low + high) / 2, (high - low) / 2 + 1)
        k, later = log.first - 1, log.last + max(LEAST, (len(steps) - log.last) // 8)
        t0, t1 = steps[k] + self.shift, steps[later] + self.shift
        if values[k] and values[later]:
            # the ramp through one point and the curve with S = W through the other
            w = (values[later] / values[k] * t0 * math.sqrt(t1)) ** (2 / 3)
            off = self.own[k] / values[k] + self.own[later] / values[later]
            found += near(w, 2 + w * off)
        return [w for w in dict.fromkeys(found) if w > 0 and low - 1 <= w <= high + 1]

    def _same(self, w: int) -> list[int]:
        return [max(w, 1)]

    def _other(self, w: int) -> list[int]:
        """Other timescales, by the points of the curve's first half."""
        steps, values, size = self.points.steps, self.points.values, len(self.points.steps) - self.log.last
        lo, hi = self._peak(w, max(w, 1), self.log.last)
        found: list[int] = []
        for k in (self.log.last + size // 8, self.log.last + size // 2):
            peak, v = (lo + hi) / 2 if hi < math.inf else self.points.highest, values[k]
            if 0 < v < peak:
                s = (steps[k] + self.shift - (w or self.shift)) * v * v / (peak * peak - v * v)
                found += near(s, 2 + s * (2 * self.own[k] + hi - lo) / (peak - v) if hi < math.inf else 2)[:TRIED]
        return [s for s in dict.fromkeys(found) if s >= 1]

    @cached_property
    def _order(self) -> list[int]:
        n = len(self.points.steps)
        log = self.log
        rise, fall = max(1, log.first * 4 // SOME), max(1, (n - log.last) // SOME)
        return sorted({*range(0, log.first, rise), *range(log.first, n, fall), log.first - (log.first > 0), n - 1})

    def _until(self, w: int, s: int) -> int:
        """At how many points of the log the curve can be with one peak."""
        lo, hi, before = 0.0, math.inf, -1
        for k in self._order:
            new = self._narrowed(lo, hi, k, w, s)
            if new is None:
                for j in range(before + 1, k):
                    new = self._narrowed(lo, hi, j, w, s)
                    if new is None:
                        return j
                    lo, hi = new
                return k
            (lo, hi), before = new, k
        return len(self.points.steps)

    def _narrowed(self, lo: float, hi: float, k: int, w: int, s: int) -> tuple[float, float] | None:
        """What the peak can be, with the k-th point as well."""
        weight, v, own = self._weight(self.points.steps[k], w, s), self.points.values[k], self.own[k]
        if weight <= 0:
            return (lo, hi) if v <= own else None
        lo, hi = max(lo, (v - own) / weight), min(hi, (v + own) / weight)
        return (lo, hi) if lo <= hi else None

    def _peak(self, w: int, s: int, until: int) -> tuple[float, float]:
        """Between which values the peak is, for the curve to be at the first points."""
        lo, hi = 0.0, math.inf
        for k in range(until):
            lo, hi = self._narrowed(lo, hi, k, w, s) or (lo, hi)
        return lo, hi

    # --- its end

    def _ended(self, w: int, s: int) -> Iterator[Plain]:
        steps, until = self.points.steps, self._until(w, s)
        if until >= len(steps) - 1:  # it ends before the next point would have come, or with the last one
            last, stride = steps[-1], steps[-1] - steps[-2]
            ends = (size * -(-(last + 1) // size) for size in GRIDS)
            for end in dict.fromkeys((next(end for end in ends if end <= last + stride), last)):
                for peak in self._peaks(w, s, until):
                    yield self._plain(w, s, peak, end)
            return
        if len(steps) - until < LEAST:
            return
        # a rounded log shows it late: by as many steps as a cosine takes to be off by four roundings
        off = max(self.own) / max(self.points.values[until], max(self.own))
        late = math.sqrt(2 * off) * (steps[-1] - steps[until])
        first = max(steps[until] - int(late) - 2 * (steps[until] - steps[until - 1]), steps[self.log.last])
        begins = near((first + steps[until]) / 2, (steps[until] - first) / 2 + 1)
        begins = sorted(dict.fromkeys(begins), key=lambda a: digits(a + self.shift))[:TRIED]
        for begin in dict.fromkeys([*self._crossing(w, s, until, first), *begins]):
            k = next(k for k in range(until + 1) if steps[k] > begin or k == until)
            for peak in self._peaks(w, s, k):
                yield from self._cooled(w, s, peak, begin, k)

    def _crossing(self, w: int, s: int, until: int, first: int) -> list[int]:
        """Whole times about which the curve meets a straight line through the points that are off it."""
        steps, values, n = self.points.steps, self.points.values, len(self.points.steps)
        i, j = until + (n - until) // 4, until + (n - until) * 3 // 4
        slope = (values[j] - values[i]) / (steps[j] - steps[i])
        lo, hi = self._peak(w, s, until)

        def off(step: int) -> float:
            return values[i] + slope * (step - steps[i]) - (lo + hi) / 2 * self._weight(step, w, s)

        low, high = first, steps[until]
        while high - low > 1 and hi < math.inf:
            middle = (low + high) // 2
            low, high = (middle, high) if off(middle) > 0 else (low, middle)
        return [begin for begin in range(high - 8, high + 9) if first < begin <= steps[until]]

    def _peaks(self, w: int, s: int, until: int) -> list[float]:
        lo, hi = self._peak(w, s, until)
        return short_within(lo, hi)[:2] if lo > 0 and hi < math.inf else []

    def _cooled(self, w: int, s: int, peak: float, begin: int, k: int) -> Iterator[Plain]:
        """Cooldowns from the time `begin` on, which the points from the k-th on follow."""
        points, n = self.points, len(self.points.steps)
        rest = Points(list(points.steps[k:]), points.values[k:], points.tolerances[k:], points.at)
        log = Log(rest, self.own[k:], 0, 0)
        start = peak * self._weight(begin, w, s)
        data = [(points.steps[j], points.values[j], self.own[j]) for j in {*range(k, n, max(1, (n - k) // 40)), n - 1}]
        stride = rest.steps[-1] - rest.steps[-2]
        for shape in COOLDOWNS:
            g = SHAPES[shape][1]
            ends = near(rest.steps[-1] + stride / 2, stride / 2 + 1)
            for j, floor in product((log.bottom, log.bottom - 1), USUAL):  # the last may be a step after its end
                weight = (rest.values[j] - floor * peak) / (start - floor * peak) if floor * peak < start else 0.0
                if 0 < weight < 1:
                    end = begin + (rest.steps[j] - begin) / inverse(g, weight)
                    ends += near(end, 2 + 0.01 * (end - begin))
            found = []
            for end in dict.fromkeys(ends):
                within = log.floors_within(g, begin, end, start, data) if end > begin else None
                if within is not None:
                    lo, hi = within
                    usual = [floor for floor in USUAL if lo <= floor * peak <= hi]
                    floor = [*usual, *short_within(lo / peak, hi / peak)][0]
                    found.append(self._plain(w, s, peak, begin + self.shift, (end + self.shift, floor, shape)))
            yield from sorted(found, key=lambda plain: plain.cost)[:1]

    # --- as a schedule

    def _plain(self, w: int, s: int, peak: float, end: int, cooldown: tuple[int, float, str] | None = None) -> Plain:
        """The schedule with what it costs to say; `end`: that of the curve, in updates."""
        begin = w or self.shift
        head = Ramp(0, w, 0, 1) if w else Ramp(0, begin, 1, 1)
        down = (s / (end - begin + s)) ** 0.5
        ramps = [*([head] if begin else []), Ramp(begin, end - begin, 1, down, "inverse_sqrt")]
        cost = digits(w) + len(write_number(peak)) + digits(end) + (self.sample == "start") / 4
        cost += 0 if s == max(w, 1) else 1 + digits(s)
        if cooldown:
            total, floor, shape = cooldown
            ramps.append(Ramp(end, total - end, down, floor, shape))
            cost += min(digits(total), digits(total - end)) + len(write_number(floor)) + SHAPES[shape][0]
            cost += 2 * (total > 2 * self.points.steps[-1] - self.points.steps[-2] + 1)  # the log ends with the run
        return Plain(cost, peak, Schedule(tuple(ramps), self.sample))
