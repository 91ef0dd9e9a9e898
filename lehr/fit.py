"""The schedule behind a logged learning rate: `lehr.identify`.

The log is cut into the fewest pieces that one curve each explains (`lehr.pieces`), where pieces meet is worked out from
the curves themselves, steps are rounded to whole ones and values to short decimals as far as the log allows, both ways
of sampling are tried, and what comes out is compared with every point of the log.
"""

import heapq
import math
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise, product

from lehr import pieces
from lehr.pieces import Piece, Points, Section
from lehr.ramp import Ramp
from lehr.schedule import Sample, Schedule
from lehr.verbs import is_level
from lehr.words import is_number, write_number

PATIENCE = 200  # points from which curves are tried
MOST = 400  # points among which the pieces are looked for; the joints are then found among all
SAMPLES: tuple[Sample, ...] = ("end", "start")
FEW = 14  # numbers, some four pieces: a look with more shapes or a looser tolerance would not be simpler
SPARE = 0.7  # a description that takes more numbers than this share of the points explains nothing
GRIDS = (10_000, 5000, 1000, 500, 100, 50, 10, 5, 1)


@dataclass(frozen=True, slots=True)
class Identified:
    """What `identify` found. True where a schedule fits.

    `schedule` gives the logged values themselves, `peak` times the schedule whose text is `text`; None where none fits,
    and `text` is then that of the best one, which the log leaves at step `departs_at`. `family` names the shapes in
    order, `warmup` and `total` are in updates, `floor` is the last value as a share of the peak, `convention` says in
    words which value of the curve an update uses. `error` is the greatest distance from the log, at step `error_at`;
    `tolerance` is what the log's own digits allow. `departures` are the steps at which the log leaves a curve before
    its end, as a run does that is resumed under another horizon.
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

    def __bool__(self) -> bool:
        return self.schedule is not None


def identify(steps: Iterable[int], lrs: Iterable[float]) -> Identified:
    """Return the schedule behind logged learning rates: whole `steps` (completed updates) and the `lrs` used at them.

    A log may begin late, have gaps, and be rounded or in float32: what a value may be off by is read off its digits. A
    restart, a cut or a jump is found as well; what is no row of ramps, or too short to tell, has no schedule, and the
    result says where the best one departs. Raises ValueError for an empty log, for steps that are not whole, or twice
    in it with different values, and for values that are no learning rates.

    >>> log = [min(s / 10, 1 - (s - 10) / 90) * 3e-4 for s in range(100)]
    >>> found = identify(range(100), log)
    >>> found.text, found.peak, found.family, found.warmup
    ('linear 10 to 1, linear 90 to 0, sampled at start', 0.0003, 'warmup, linear', 10)
    """
    logged = _read(steps, lrs)
    best: tuple[float, _Found] | None = None
    for tolerances in _tolerances([value for _, value in logged]):
        points = Points([step for step, _ in logged], [value for _, value in logged], list(tolerances), dict(logged))
        for rare in (False, True):
            path, until = _cut(_thinned(points), rare)
            cost = sum(piece.cost + 1 for piece, *_ in path)
            found = _laid_out(points, path) if until is None and _explains(points, path) else None
            if found is not None and (best is None or cost < best[0] - 2):
                best = (cost, found)
            if best is not None and best[0] <= FEW:
                return best[1].described()
    if best is not None:
        return best[1].described()
    return _none_fits(points)


def _read(steps: Iterable[int], lrs: Iterable[float]) -> list[tuple[int, float]]:
    log: dict[int, float] = {}
    for step, value in zip(list(steps), list(lrs), strict=True):
        if not (is_number(step) and 0 <= step < math.inf and step == int(step)):
            raise ValueError(f"a step is a whole number of completed updates, not {step!r}")
        if not (is_number(value) and 0 <= value < math.inf):
            raise ValueError(f"at step {int(step)} the learning rate is {value!r}; it is a finite number >= 0")
        if log.setdefault(int(step), float(value)) != value:
            raise ValueError(f"step {int(step)} stands twice in the log, with {log[int(step)]!r} and {value!r}")
    if not log:
        raise ValueError("the log is empty; give at least one step and its learning rate")
    return sorted(log.items())


def _tolerances(values: list[float]) -> Iterator[list[float]]:
    """How far each value may be off: by float64's roundings; else float32's; else those of the digits written."""
    peak = max(values) or 1.0
    exact = 1e-12 * peak
    yield [exact] * len(values)
    if all(v == 0 or abs(struct.unpack("f", struct.pack("f", v))[0] - v) <= 1e-15 * v for v in values if v < 3e38):
        yield [max(exact, 3e-7 * peak)] * len(values)
    written = [Decimal(repr(v)).normalize().as_tuple() for v in values if v]
    most = max((len(number.digits) for number in written), default=17)
    if most <= 9 and len(set(values)) > 3:
        decimals = 0.5 * 10.0 ** min(int(number.exponent) for number in written)
        digits = 0.5 * 10.0 ** (math.floor(math.log10(peak)) - most + 1)
        yield [max(exact, decimals, digits)] * len(values)


# ---------------------------------------------------------------------------------------------------------------------
# the fewest pieces


def _thinned(points: Points) -> Points:
    """At most some MOST points: evenly spread, dense at the beginning, and about every bend."""
    n = len(points.steps)
    if n <= MOST:
        return points
    s, v = points.steps, points.values
    bends = sorted(
        range(1, n - 1),
        key=lambda k: -abs((v[k + 1] - v[k]) / (s[k + 1] - s[k]) - (v[k] - v[k - 1]) / (s[k] - s[k - 1])),
    )
    kept = {n * i // (MOST // 2) for i in range(MOST // 2)} | {int(n ** (i / 100)) - 1 for i in range(101)}
    kept |= {min(max(k + d, 0), n - 1) for k in bends[: MOST // 20] for d in range(-3, 4)} | {n - 1}
    order = sorted(kept)
    return Points([s[k] for k in order], [v[k] for k in order], [points.tolerances[k] for k in order], points.at)


Path = list[tuple[Piece, int, int]]  # a piece, and the steps of its first and last point


def _cut(points: Points, rare: bool, most: float | None = None) -> tuple[Path, int | None]:
    """The cheapest row of pieces (Dijkstra's algorithm), and the first step that it does not reach, None for none.

    `rare`: shapes that are only known between two ends are tried too, which takes longer.
    """
    n = len(points.steps)
    limit = min(max(min(n, 6), SPARE * n), 60) if most is None else most
    queue: list[tuple[int, int]] = [(0, 0)]
    came: dict[int, tuple[int, int, Piece | None]] = {0: (0, -1, None)}
    done: set[int] = set()
    far = 0
    while queue:
        cost, i = heapq.heappop(queue)
        if i in done:
            continue
        done.add(i)
        if len(done) > PATIENCE:
            break
        far = max(far, i)
        if i == n:
            break
        for piece, j in _from(points, i, rare):
            total = cost + piece.cost + 1
            if total <= limit and (j + 1 not in came or total < came[j + 1][0]):
                came[j + 1] = (total, i, piece)
                heapq.heappush(queue, (total, j + 1))
    path: Path = []
    at = far
    while at > 0:
        _, before, piece_ = came[at]
        assert piece_ is not None
        path.append((piece_, points.steps[before], points.steps[at - 1]))
        at = before
    return path[::-1], None if far == n else points.steps[far]


def _explains(points: Points, path: Path) -> bool:
    """Whether the curves go through more points than it takes to lay them, but for a piece or two."""
    counts = [_index(points, last) - _index(points, first) + 1 - piece.cost for piece, first, last in path]
    return len(path) == 1 or sum(count <= 0 for count in counts) <= 2


def _from(points: Points, i: int, rare: bool) -> Iterator[tuple[Piece, int]]:
    """Each curve from the i-th point on, as far as it goes."""
    n = len(points.steps)
    for model in pieces.FREE:
        best: tuple[Piece, int] | None = None
        fails: int | None = None
        size, j = 1, i
        while True:
            j = min(i + size - 1, n - 1)
            piece = model(points, i, j)
            if piece:
                best, fails = (piece, j), None
            elif best and fails is None:
                fails = j
                if model in pieces.SURE:
                    break
            if j == n - 1:
                break
            size += max(1, size // 2 if size > 8 else 0)
        if best and fails:
            while fails - best[1] > 1:
                middle = (fails + best[1]) // 2
                piece = model(points, i, middle)
                if piece:
                    best = (piece, middle)
                else:
                    fails = middle
        if best:
            yield best
    if rare:
        yield from _between(points, i)


def _between(points: Points, i: int) -> Iterator[tuple[Piece, int]]:
    for j in _natural_ends(points, i):
        for first in (i - 1, i) if i else (i,):
            if piece := pieces.between(points, first, j):
                yield piece, j
                return
            # sampled at the start of updates a curve that jumps at its end is never seen there; it mostly ends at 0
            if piece := pieces.between(points, first, j, (points.steps[j] + 1, 0.0)):
                yield piece, j
                return


def _natural_ends(points: Points, i: int) -> list[int]:
    """The last point, and those after which the log is level or jumps: where a curve would end."""
    v, n = points.values, len(points.values)
    ends = [n - 1]
    for k in range(n - 2, i + 4, -1):
        step = abs(v[k + 1] - v[k])
        if (step <= points.tolerances[k] < abs(v[k] - v[k - 1])) or step > 4 * abs(v[k] - v[k - 1]) > 0:
            ends.append(k)
    return ends[:8]


# ---------------------------------------------------------------------------------------------------------------------
# from pieces to ramps


@dataclass(frozen=True)
class _Joint:
    """Where one piece gives way to the next: the time at which they meet, None for a jump; and the steps about it."""

    meets: float | None
    last: int
    first: int
    bridged: bool = False  # the curve is level from the last point to the first


def _joint(points: Points, one: Piece, other: Piece, last: int, first: int) -> _Joint:
    # in a log that was thinned there are points between, which belong to one or the other
    between = list(points.steps[_index(points, last) : _index(points, first) + 1]) if first - last > 1 else []
    for step in between:
        k = _index(points, step)
        if last < step < first and abs(one.curve(step) - points.values[k]) <= pieces.SOFT * points.tolerances[k]:
            last = step
        elif step > last:
            first = step
            break
    near = pieces.SOFT * max(points.tolerances)
    slack = 0.02 * (first - last) + 1e-3
    for time in (other.left, one.right):
        if time is not None and last - slack <= time <= first + slack:
            time = round(time) if abs(time - round(time)) < 1e-3 else time
            if abs(one.curve(time) - other.curve(time)) <= max(4 * near, 1e-6 * max(points.values)):
                return _Joint(time, last, first)

    def off(time: float) -> float:
        try:
            return one.curve(time) - other.curve(time)
        except (ValueError, OverflowError, ZeroDivisionError, TypeError):
            return math.nan

    whole = min(
        (step for step in (last, first)), key=lambda step: abs(off(step)) if off(step) == off(step) else math.inf
    )
    if abs(off(whole)) <= near:
        return _Joint(whole, last, first)
    lo, hi = float(last), float(first)
    if off(lo) * off(hi) < 0:
        for _ in range(80):
            middle = (lo + hi) / 2
            lo, hi = (middle, hi) if off(middle) * off(lo) > 0 else (lo, middle)
        return _Joint((lo + hi) / 2, last, first)
    return _Joint(None, last, first)


def _index(points: Points, step: int) -> int:
    lo, hi = 0, len(points.steps)
    while lo < hi:
        middle = (lo + hi) // 2
        lo, hi = (middle + 1, hi) if points.steps[middle] < step else (lo, middle)
    return lo


@dataclass(frozen=True)
class _Found:
    """A schedule that fits, before it is described."""

    points: Points
    unit: Schedule
    peak: float
    both: bool  # the other sampling fits as well
    departures: tuple[int, ...]

    def described(self, departs_at: int | None = None) -> Identified:
        unit, points = self.unit, self.points
        schedule = self.peak * unit
        errors = [
            abs(schedule(s) - v)
            for s, v in zip(points.steps, points.values, strict=True)
            if departs_at is None or s < departs_at
        ]
        error = max(errors)
        warmup = 0.0
        for ramp, name in zip(unit.ramps, unit._phases(), strict=True):
            if name != "warmup":
                break
            warmup = ramp.end
        words = {
            "end": "sampled at the end of an update: W warmup updates climb 1/W ... 1",
            "start": "sampled at the start of an update: step / W in a warmup, the first update at the first value",
        }[unit.sample]
        if self.both:
            words += " (the other convention fits as well, with a longer text)"
        return Identified(
            None if departs_at is not None else schedule,
            str(unit),
            self.peak,
            _family(unit),
            warmup,
            unit.total,
            unit.ramps[-1].end_value,
            words,
            error,
            points.steps[errors.index(error)],
            max(points.tolerances),
            self.departures,
            departs_at,
        )


def _family(unit: Schedule) -> str:
    """The shapes in order: `warmup, cosine`."""
    names: list[str] = []
    for ramp, phase in zip(unit.ramps, unit._phases(), strict=True):
        name = "hold" if is_level(ramp) else "warmup" if phase == "warmup" and ramp.shape == "linear" else ramp.shape
        if not (name == "hold" and ramp.duration <= 1) and names[-1:] != [name]:
            names.append(name)
    return "constant" if names in ([], ["hold"]) else ", ".join(names)


def _laid_out(points: Points, path: Path, until: int | None = None) -> _Found | None:
    """The pieces as a schedule that is at every point of the log (before step `until`), the shorter of two texts."""
    met = [_joint(points, a[0], b[0], a[2], b[1]) for a, b in pairwise(path)]
    # two curves that cross between two steps may as well jump from the one to the other, or be level between
    odd = [j.meets is not None and j.meets != int(j.meets) for j in met]
    jumps = [replace(j, meets=None) if o else j for j, o in zip(met, odd, strict=True)]
    near = pieces.SOFT * max(points.tolerances)
    levels = [
        replace(j, bridged=abs(a[0].curve(j.last) - b[0].curve(j.first)) <= near) if j.meets is None else j
        for j, (a, b) in zip(jumps, pairwise(path), strict=True)
    ]
    ways = [met, *([jumps] if jumps != met else []), *([levels] if levels != jumps else [])]
    made: dict[tuple[float, Schedule], float] = {}
    for sample, joints, early, late in product(SAMPLES, ways, (1, 0), (1, 0)):
        for grid in (*GRIDS, 0):
            one = _schedule(points, path, joints, sample, grid, early, late)
            if one is not None:
                unseen = one[0] > (1 + 2 * points.share) * max(points.values)
                made.setdefault(one, _length(*one, points.steps[-1] + 1) + 8 * unseen)
    fitting: dict[str, tuple[float, Schedule]] = {}
    for peak, unit in sorted(made, key=lambda one: made[one]):
        if unit.sample not in fitting and _fits(points, peak * unit, until):
            fitting[unit.sample] = peak, unit
    if not fitting:
        return None
    peak, unit = next(iter(fitting.values()))
    return _Found(points, unit, peak, len(fitting) > 1, _departures(path, met, peak))


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
    points: Points, path: Path, joints: list[_Joint], sample: Sample, grid: int, early: int, late: int
) -> tuple[float, Schedule] | None:
    """(peak, the schedule with peak 1) of the pieces.

    `grid`: joints are rounded to its multiples where they are near; `early`: the first curve begins before the first
    update where updates are sampled at their end; `late`: the last goes on to the end of the last update.
    """
    offset = 1 if sample == "end" else 0
    loose = max(points.tolerances) > 1e-9 * max(points.values)

    def snapped(time: float, length: float) -> float:
        slack = max(0.02, 0.02 * length) if loose else 1e-3
        return _rounded(time + offset, grid, slack) - offset if grid else time

    rows: list[Section] = []
    start = _beginning(path[0][0], path[0][1], offset * early, max(points.tolerances))
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
    near = max(points.tolerances)
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


def _departures(path: Path, joints: list[_Joint], peak: float) -> tuple[int, ...]:
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


def _none_fits(points: Points) -> Identified:
    """The best schedule of few pieces, and where the log leaves it."""
    thin = _thinned(points)
    path, until = _cut(thin, True, FEW)
    while path and _index(thin, path[-1][2]) - _index(thin, path[-1][1]) < 2 * path[-1][0].cost:
        until = path.pop()[1]  # a curve through few points more than it takes to lay it explains nothing
    while path and until is not None:
        found = _laid_out(points, path, until)
        if found is not None:
            return found.described(departs_at=until)
        until = path.pop()[1]
    at = points.steps[0]
    constant = Schedule((Ramp(0, 1, 1, 1),))
    return Identified(
        None,
        str(constant),
        max(points.values),
        "none",
        0,
        1,
        1.0,
        "cannot be told",
        math.inf,
        at,
        max(points.tolerances),
        (),
        at,
    )
