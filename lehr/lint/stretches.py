"""A schedule's curve in stretches, along each of which it is level, rises or falls, and the updates that fall in each.

What an analysis needs in place of a sample of steps: a row of ramps has a handful of stretches however long the run is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf

from lehr.schedule import Ramp, Schedule

ALMOST = 0.99


@dataclass(frozen=True, slots=True)
class Stretch:
    """The curve between the times `begin` and `end`, from the value `start` to `stop`, as seen from within.

    `ramp` is the one in charge; None before the first. The updates `first` .. `last` of the run use its values; where
    `last < first` none does.
    """

    begin: float
    end: float
    start: float
    stop: float
    ramp: Ramp | None
    first: int
    last: int

    @property
    def rises(self) -> bool:
        return self.stop > self.start

    @property
    def falls(self) -> bool:
        return self.stop < self.start

    @property
    def level(self) -> bool:
        return self.stop == self.start

    @property
    def used(self) -> bool:
        """Whether any update of the run uses it."""
        return self.last >= self.first

    @property
    def cut(self) -> bool:
        """Whether the next ramp takes over before this one has reached its end value."""
        return self.ramp is not None and self.stop != self.ramp.end_value

    def crossing(self, value: float) -> float:
        """The time at which a rise first is at the value, or a fall below it, to a share of 2**-40 of its length."""
        assert self.ramp is not None and not self.level
        curve, pieces, up = Schedule((self.ramp,), sample="start"), 2**40, self.rises  # by time, not by update

        def time(piece: int) -> float:
            return self.begin + (self.end - self.begin) * (piece / pieces)

        return time(first_where(0, pieces, lambda piece: (curve(time(piece)) < value) is not up))


def stretches(schedule: Schedule, total: int) -> list[Stretch]:
    """The stretches of a schedule in order, with the updates of a run of `total` that fall in each.

    The last one is the held end value and never ends. A jump is where one `stop` is not the next `start`.

    >>> schedule = Schedule((Ramp(0, 2, 0, 1), Ramp(2, 8, 1, 0, "cosine")))
    >>> [(s.begin, s.end, s.start, s.stop, s.first, s.last) for s in stretches(schedule, total=20)]
    [(0, 2, 0.0, 1.0, 0, 1), (2, 10, 1.0, 0.0, 2, 9), (10, inf, 0.0, 0.0, 10, 19)]
    """
    closed = schedule.sample == "start"

    def stretch(begin: float, end: float, start: float, stop: float, ramp: Ramp | None) -> Stretch:
        # sampled at the end, update s has the value at time s + 1, and a stretch the times up to its end;
        # sampled at the start, the value at time s, and a stretch the times from its begin on
        first = max(0, ceil(begin) if closed else floor(begin))
        last = total - 1 if end == inf else min(total, ceil(end) if closed else floor(end)) - 1
        return Stretch(begin, end, start, stop, ramp, first, last)

    ramps = schedule.ramps
    found = []
    if ramps[0].begin:
        value = ramps[0].start_value
        found.append(stretch(0, ramps[0].begin, value, value, None))
    for ramp, cut in zip(ramps, [*(later.begin for later in ramps[1:]), inf], strict=True):
        end = min(ramp.end, cut)
        if ramp.duration:
            stop = ramp.end_value if end == ramp.end else ramp.at(end)
            found.append(stretch(ramp.begin, end, ramp.start_value, stop, ramp))
        if end < cut:
            found.append(stretch(end, cut, ramp.end_value, ramp.end_value, ramp))
    return found


def warmup_end(parts: Sequence[Stretch]) -> float:
    """The time at which the curve first stands on the height from which it goes down, or stays; 0 if it does at once.

    An exponential approach, which never quite gets there, is there at 99 %.

    >>> warmup_end(stretches(Schedule((Ramp(0, 2, 0, 1), Ramp(2, 8, 1, 0, "cosine"))), total=20))
    2
    """
    reached, top = 0.0, parts[0].start
    for part in parts:
        if part.falls or part.start < top:
            break
        if part.start > top:
            reached, top = part.begin, part.start
        if part.rises:
            reached, top = part.end, part.stop
            if part.ramp and part.ramp.shape.startswith("approach"):  # it is there long before it ends
                reached = ceil(part.crossing(ALMOST * top))
    return reached


def has_no_end(part: Stretch) -> bool:
    """Whether a stretch follows a power of time that falls for ever: 1/t, 1/sqrt(t) and their like."""
    return part.falls and part.ramp is not None and part.ramp.shape.startswith(("inverse", "power:-"))


def first_where(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The first whole number of low .. high for which `holds`, once true always true, is true; high + 1 if none.

    >>> first_where(0, 10**12, lambda step: step > 123_456_789)
    123456790
    """
    high += 1
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
