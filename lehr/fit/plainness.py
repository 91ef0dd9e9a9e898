"""How much it takes to say a plain schedule: of two that are at every point of a log, the shorter one is meant."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from lehr import curves
from lehr.fit.nearby import digits
from lehr.fit.pieces import Points
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
    "poly:0.9": (4, curves.poly(1, 0, math, 0.9)),
    "poly:0.5": (4, curves.poly(1, 0, math, 0.5)),
}


@dataclass(frozen=True)
class Plain:
    """A schedule that is at every point, its peak, and how many characters say it, as it were."""

    cost: float
    peak: float
    unit: Schedule


def priced(points: Points, ramps: tuple[Ramp, ...], sample: Sample, peak: float) -> Plain:
    """The ramps as a schedule, with what it costs to say: digits of the values, digits of the times, the shape."""
    fall, last = ramps[-1], points.steps[-1]
    ends = last <= fall.end <= max(last + 1, 2 * last - points.steps[-2])  # with the log, or before its next row
    cost = len(write_number(peak).replace(".", "")) + len(write_number(fall.end_value)) + (sample == "start") / 4
    cost += SHAPES[fall.shape][0] + len(ramps) + _joints(ramps, sample) + 2 * (not ends)
    if len(ramps) > 1 and ramps[0].start_value not in (0, 1):  # the rise of a one-cycle, and its kind
        cost += len(write_number(ramps[0].start_value))
    cost += 2 * (len(ramps) > 1 and ramps[0].shape != "linear")
    if ramps[0].start_value == 1:  # both ways of sampling fit
        cost += (sample == "end") / 2 if len(ramps) == 1 or ramps[0].duration == 1 else 0
    return Plain(cost, peak, Schedule(ramps, sample))


def _joints(ramps: tuple[Ramp, ...], sample: Sample) -> float:
    """How many digits say the times, as one of the known systems counts them."""
    begin = ramps[0].begin
    ends = [begin] * bool(begin) + [ramp.end for ramp in ramps]
    ways: list[float] = [digits(begin) + sum(digits(ramp.duration) for ramp in ramps), sum(map(digits, ends))]
    level = len(ramps) > 1 and ramps[-2].start_value == ramps[-2].end_value
    if level and ramps[-2].duration == 1:
        # (s + 1) / W and then a curve that counts from s; without a warmup, a curve from the first update on
        late = [digits(ends[-1] - 1), *map(digits, ends[:-2])]
        ways = [sum(late) + (1.0 if len(ramps) == 3 else 0), sum(late[1:]) + digits(ends[-1]) + 1.0]
    elif sample == "end" and len(ends) == len(ramps) == 2 and not level:
        ways.append(digits(ends[0] - 1) + digits(ends[1] - 1) + 1.0)  # (s + 1) / (W + 1), as nanoGPT has it
    return min(ways) * 1.5
