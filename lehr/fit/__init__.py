"""The schedule behind a logged learning rate: `lehr.identify`.

The schedules that most people use are tried first (`lehr.fit.plain`), and several of them in turn where a log has few
digits (`lehr.fit.resumed`). Where none fits, the log is cut into the fewest pieces that one curve each explains
(`lehr.fit.pieces`), which are then laid out as ramps (`lehr.fit.layout`). What comes out is compared with every point.
"""

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from lehr.fit import pieces
from lehr.fit.between import between
from lehr.fit.found import Identified, described
from lehr.fit.layout import Layout, Path, index_of, laid_out
from lehr.fit.logged import readings, rows
from lehr.fit.pieces import Piece, Points
from lehr.fit.plain import plainest
from lehr.fit.resumed import Plans, in_turn
from lehr.fit.roots import slowing
from lehr.ramp import Ramp
from lehr.schedule import Schedule

PATIENCE = 200  # points from which curves are tried
MOST = 400  # points among which the pieces are looked for; the joints are then found among all
FEW = 14  # numbers, some four pieces: a look with more shapes or a looser tolerance would not be simpler
SPARE = 0.7  # a description that takes more numbers than this share of the points explains nothing


def identify(steps: Iterable[int], lrs: Iterable[float]) -> Identified:
    """Return the schedule behind logged learning rates: whole `steps` (completed updates) and the `lrs` used at them.

    A log may begin late, have gaps, and be rounded or in float32: what a value may be off by is read off its digits. A
    restart, a cut or a jump is found as well; what is no row of ramps, or too short to tell, has no schedule, and the
    result says where the best one departs. Where a log goes back to an earlier step, as that of a resumed run does, the
    later rows count. Raises ValueError for an empty log, for steps that are not whole, for two learning rates at each
    step, and for values that are no learning rates.

    >>> log = [min(s / 10, 1 - (s - 10) / 90) * 3e-4 for s in range(100)]
    >>> found = identify(range(100), log)
    >>> found.text, found.peak, found.family, found.warmup
    ('linear 10 to 1, linear 90 to 0, sampled at start', 0.0003, 'warmup, linear', 10)
    """
    log, overlaps = rows(steps, lrs)
    return replace(_found(readings(log)), overlaps=overlaps)


def _found(ways: list[Points]) -> Identified:
    for points in ways:
        if plain := plainest(points) or slowing(points):
            return described(Layout(points, plain[0].unit, plain[0].peak, len(plain) > 1, ()), sure=True)
    best: tuple[float, Layout] | None = None
    plans: Plans | None = None
    for points in sorted(ways, key=lambda points: points.share > 1e-9):
        if points.share > 1e-9 and (plans := in_turn(points)) and plans.until == len(points.steps):
            return described(Layout(points, plans.unit, plans.peak, False, plans.departures), sure=True)
        for rare in (False, True):
            path, until = _cut(_thinned(points), rare)
            cost = sum(piece.cost + 1 for piece, *_ in path)
            found = laid_out(points, path) if until is None and _explains(points, path) else None
            if found is not None and (best is None or cost < best[0] - 2):
                best = (cost, found)
            if best is not None and best[0] <= FEW:
                return described(best[1])
    if best is not None:
        return described(best[1])
    if ways[-1].share <= 1e-9:
        plans = in_turn(ways[-1])
        if plans and plans.until == len(ways[-1].steps):
            return described(Layout(ways[-1], plans.unit, plans.peak, False, plans.departures), sure=True)
    return _none_fits(ways[-1], plans)


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
            if piece := between(points, first, j):
                yield piece, j
                return
            # sampled at the start of updates a curve that jumps at its end is never seen there; it mostly ends at 0
            if piece := between(points, first, j, (points.steps[j] + 1, 0.0)):
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


def _none_fits(points: Points, plans: Plans | None) -> Identified:
    """The best schedule of few pieces, and where the log leaves it."""
    left = len(points.steps) if plans is None else plans.until
    thin = _thinned(points)
    path, until = _cut(thin, True, FEW)
    while path and index_of(thin, path[-1][2]) - index_of(thin, path[-1][1]) < 2 * path[-1][0].cost:
        until = path.pop()[1]  # a curve through few points more than it takes to lay it explains nothing
    while path and until is not None:
        if plans is not None and until <= points.steps[left]:
            break
        found = laid_out(points, path, until)
        if found is not None:
            return described(found, until)
        until = path.pop()[1]
    if plans is not None:
        return described(Layout(points, plans.unit, plans.peak, False, plans.departures), points.steps[left])
    at = points.steps[0]
    return Identified(
        schedule=None,
        text=str(Schedule((Ramp(0, 1, 1, 1),))),
        peak=points.highest,
        family="none",
        warmup=0,
        total=1,
        floor=1.0,
        convention="cannot be told",
        error=math.inf,
        error_at=at,
        tolerance=points.loosest,
        departures=(),
        departs_at=at,
    )
