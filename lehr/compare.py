"""Two schedules compared: where they first differ, where they are furthest apart, and how much each adds up to.

Between two joints of the two curves, up to a thousand updates are looked at one by one; of more, a few hundred are,
close to each other at both ends, and the places they point to are then narrowed down to the update. So the answer is
exact wherever the difference of two ramps turns less often than that, which those of lehr's own shapes do.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from lehr.ramp import Ramp
from lehr.schedule import Schedule
from lehr.words import is_number

EACH = 1000  # updates between two joints that are looked at one by one
PROBES = 400


@dataclass(frozen=True, slots=True)
class Difference:
    """What `diff` found. True where the two schedules differ.

    `first` is the first update at which they do, None if there is none; `values` is what each uses there. `absolute` is
    the greatest distance between what both use at one update, `relative` the greatest such distance as a share of the
    greater of the two, so at most 1, and the `.._at` are the (first) updates with it. `areas` are the integrals of the
    curves, `update_sums` the sums over the updates, both over the longer of the two. What is no further apart than
    `tolerance` times the greater peak counts as equal.
    """

    first: int | None
    values: tuple[float, float] | None
    absolute: float
    absolute_at: int | None
    relative: float
    relative_at: int | None
    areas: tuple[float, float]
    update_sums: tuple[float, float]
    total: float
    tolerance: float

    def __bool__(self) -> bool:
        return self.first is not None


def diff(a: Schedule, b: Schedule, tolerance: float = 1e-12) -> Difference:
    """Compare two schedules update by update, up to where both have ended.

    `tolerance` is a share of the greater peak; the default forgives roundings, 0 compares to the bit.
    Raises TypeError for what is not a schedule, ValueError for a tolerance that is not a number >= 0.

    >>> from lehr.recipes import cosine
    >>> found = diff(cosine(1000, 100), cosine(1000, 200))
    >>> found.first, found.values, found.absolute_at
    (0, (0.01, 0.005), 99)
    >>> bool(diff(cosine(1000, 100), cosine(1000, 100)))
    False
    """
    for schedule in (a, b):
        if not isinstance(schedule, Schedule):
            raise TypeError(f"two schedules are compared, not {schedule!r}; write lehr.parse({schedule!r})")
    if not (is_number(tolerance) and tolerance >= 0):
        raise ValueError(f"the tolerance is a share of the peak >= 0, not {tolerance!r}")
    total = max(a.total, b.total)
    enough = tolerance * max(a.peak, b.peak)

    def distance(step: int) -> float:
        return abs(a(step) - b(step))

    def share(step: int) -> float:
        apart = distance(step)
        return apart / max(a(step), b(step)) if apart > enough else 0.0

    first: int | None = None
    furthest: list[tuple[float, int]] = []
    shares: list[tuple[float, int]] = []
    for begin, end in pairwise(_turns(a, b)):
        if _in_charge(a, begin) == _in_charge(b, begin) and a.sample == b.sample:
            continue
        steps = _probes(begin, end)
        if first is None:
            first = _first(distance, steps, enough)
        furthest.append(_greatest(distance, steps))
        shares.append(_greatest(share, steps))
    absolute, absolute_at = max(furthest, key=lambda found: found[0], default=(0.0, 0))
    relative, relative_at = max(shares, key=lambda found: found[0], default=(0.0, 0))
    stop = math.ceil(total)
    return Difference(
        first,
        None if first is None else (a(first), b(first)),
        absolute,
        absolute_at if absolute else None,
        relative,
        relative_at if relative else None,
        (a.area(0, total), b.area(0, total)),
        (a.update_sum(0, stop), b.update_sum(0, stop)),
        total,
        tolerance,
    )


def _turns(a: Schedule, b: Schedule) -> list[int]:
    """The updates at which either gets into another ramp or ends one; the last stands for all that follow."""
    steps = {0}
    for schedule in (a, b):
        offset = int(schedule.sample == "end")
        for ramp in schedule.ramps:
            steps |= {math.floor(ramp.begin) if offset else math.ceil(ramp.begin), math.ceil(ramp.end) - offset}
    last = max(math.ceil(a.total), math.ceil(b.total)) + 1
    return [*sorted(step for step in steps if 0 <= step < last), last]


def _in_charge(schedule: Schedule, step: int) -> Ramp | float:
    """The ramp in charge of an update, or the value before the first."""
    time = step + (schedule.sample == "end")
    begun = [r for r in schedule.ramps if r.begin < time or (r.begin == time and schedule.sample == "start")]
    return begun[-1] if begun else schedule.ramps[0].start_value


def _probes(begin: int, end: int) -> list[int]:
    """The updates to look at between two joints: all, or a few hundred, the closer to each other the nearer an end."""
    count = end - begin
    if count <= EACH:
        return list(range(begin, end))
    even = {begin + (count - 1) * i // PROBES for i in range(PROBES + 1)}
    near = {2**i for i in range(count.bit_length() - 1)}
    return sorted({*even, *(begin + d for d in near), *(end - 1 - d for d in near)})


def _first(distance: Callable[[int], float], steps: list[int], enough: float) -> int | None:
    """The first update that is further apart than `enough`."""
    before = steps[0] - 1
    for step in steps:
        if distance(step) > enough:
            while step - before > 1:
                middle = (before + step) // 2
                before, step = (before, middle) if distance(middle) > enough else (middle, step)
            return step
        before = step
    return None


def _greatest(distance: Callable[[int], float], steps: list[int]) -> tuple[float, int]:
    """The greatest distance and its first update: that of the probes, or between it and its neighbours."""
    values = [distance(step) for step in steps]
    at = values.index(max(values))
    lo, hi = steps[max(at - 1, 0)], steps[min(at + 1, len(steps) - 1)]
    while hi - lo > 8:
        third = (hi - lo) // 3
        left, right = lo + third, hi - third
        lo, hi = (lo, right) if distance(left) >= distance(right) else (left, hi)
    found = [*zip(steps, values, strict=True), *((step, distance(step)) for step in range(lo, hi + 1))]
    enough = max(value for _, value in found) * (1 - 1e-9)  # what differs by roundings alone is as great
    step, value = min(pair for pair in found if pair[1] >= enough)
    return value, step
