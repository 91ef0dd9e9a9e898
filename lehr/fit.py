"""The schedule behind a logged learning rate: `lehr.identify`.

The log is cut into the fewest pieces that one curve each explains (`lehr.pieces`), which are then laid out as ramps
(`lehr.layout`), and what comes out is compared with every point of the log.
"""

import heapq
import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from lehr import pieces
from lehr.layout import Layout, Path, index_of, laid_out
from lehr.pieces import Piece, Points
from lehr.ramp import Ramp
from lehr.schedule import Schedule
from lehr.verbs import is_level
from lehr.words import is_number

PATIENCE = 200  # points from which curves are tried
MOST = 400  # points among which the pieces are looked for; the joints are then found among all
FEW = 14  # numbers, some four pieces: a look with more shapes or a looser tolerance would not be simpler
SPARE = 0.7  # a description that takes more numbers than this share of the points explains nothing


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
    `schedule` and `text` are at the log's own steps.
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

    @property
    def error_share(self) -> float:
        return self.error / self.peak if self.peak else self.error

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
    best: tuple[float, Layout] | None = None
    for tolerances in _tolerances([value for _, value in logged]):
        values = [value for _, value in logged]
        points = Points(
            [step for step, _ in logged], values, list(tolerances), dict(logged), _written(values, tolerances)
        )
        for rare in (False, True):
            path, until = _cut(_thinned(points), rare)
            cost = sum(piece.cost + 1 for piece, *_ in path)
            found = laid_out(points, path) if until is None and _explains(points, path) else None
            if found is not None and (best is None or cost < best[0] - 2):
                best = (cost, found)
            if best is not None and best[0] <= FEW:
                return _described(best[1])
    if best is not None:
        return _described(best[1])
    return _none_fits(points)


def _read(steps: Iterable[int], lrs: Iterable[float]) -> list[tuple[int, float]]:
    log: dict[int, float] = {}
    at, values = list(steps), list(lrs)
    if len(at) != len(values):
        raise ValueError(f"there are {len(at)} steps and {len(values)} learning rates; give one learning rate a step")
    for step, value in zip(at, values, strict=True):
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


def _written(values: list[float], tolerances: list[float]) -> list[list[float]]:
    """Half a unit of the last digit of each value, where that is what it may be off by.

    For the two ways of writing few digits: as many decimals each (%.6f), or as many digits each (%.2e).
    """
    peak = max(values) or 1.0
    written = [Decimal(repr(v)).normalize().as_tuple() for v in values if v]
    most = max((len(number.digits) for number in written), default=17)
    if max(tolerances) <= 1e-6 * peak and (most > 9 or max(tolerances) <= 1e-9 * peak):
        return []
    exact = 1e-12 * peak
    decimals = 0.501 * 10.0 ** min(int(number.exponent) for number in written) + exact
    digits = [(0.501 * 10.0 ** (math.floor(math.log10(v)) - most + 1) if v else 0.0) + exact for v in values]
    return [[decimals] * len(values), digits]


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
    counts = [index_of(points, last) - index_of(points, first) + 1 - piece.cost for piece, first, last in path]
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
# in words


def _described(layout: Layout, departs_at: int | None = None) -> Identified:
    unit, points = layout.unit, layout.points
    schedule = layout.peak * unit
    errors = [
        abs(schedule(s) - v)
        for s, v in zip(points.steps, points.values, strict=True)
        if departs_at is None or s < departs_at
    ]
    error = max(errors)
    zero = _from_zero(layout)
    counted = zero or unit
    warmup = 0.0
    for ramp, name in zip(counted.ramps, counted._phases(), strict=True):
        if name != "warmup":
            break
        warmup = ramp.end
    words = {
        "end": "sampled at the end of an update: W warmup updates climb 1/W ... 1",
        "start": "sampled at the start of an update: step / W in a warmup, the first update at the first value",
    }[unit.sample]
    if layout.both:
        words += " (the other convention fits as well, with a longer text)"
    return Identified(
        None if departs_at is not None else schedule,
        str(unit),
        layout.peak,
        _family(unit),
        warmup,
        counted.total,
        unit.ramps[-1].end_value,
        words,
        error,
        points.steps[errors.index(error)],
        max(points.tolerances),
        layout.departures,
        departs_at,
        None if zero is None else str(zero),
    )


def _from_zero(layout: Layout) -> Schedule | None:
    """The schedule one step earlier, where it begins with an update at a level that no log shows; else None."""
    unit = layout.unit
    if len(unit.ramps) < 2 or layout.points.steps[0] < 1:
        return None
    first, second = unit.ramps[:2]
    if not (is_level(first) and first.duration == second.begin == 1 and first.end_value == second.start_value):
        return None
    rest = (Ramp(r.begin - 1, r.duration, r.start_value, r.end_value, r.shape) for r in unit.ramps[1:])
    return Schedule(tuple(rest), unit.sample)


def _family(unit: Schedule) -> str:
    """The shapes in order: `warmup, cosine`."""
    names: list[str] = []
    for ramp, phase in zip(unit.ramps, unit._phases(), strict=True):
        name = "hold" if is_level(ramp) else "warmup" if phase == "warmup" and ramp.shape == "linear" else ramp.shape
        if not (name == "hold" and ramp.duration <= 1) and names[-1:] != [name]:
            names.append(name)
    return "constant" if names in ([], ["hold"]) else ", ".join(names)


def _none_fits(points: Points) -> Identified:
    """The best schedule of few pieces, and where the log leaves it."""
    thin = _thinned(points)
    path, until = _cut(thin, True, FEW)
    while path and index_of(thin, path[-1][2]) - index_of(thin, path[-1][1]) < 2 * path[-1][0].cost:
        until = path.pop()[1]  # a curve through few points more than it takes to lay it explains nothing
    while path and until is not None:
        found = laid_out(points, path, until)
        if found is not None:
            return _described(found, until)
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
