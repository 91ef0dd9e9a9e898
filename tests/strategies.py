"""What the property tests draw from: values, shapes, ramps, schedules, and the steps at which to look at one."""

import math
from typing import NamedTuple

from hypothesis import strategies as st

import lehr
from lehr import Ramp, Schedule

# Far from underflow and overflow, so that a product with a sensible factor is still a normal float.
positive = st.one_of(st.sampled_from([1.0, 0.1, 0.5, 3e-4]), st.floats(1e-6, 1e3))
values = st.one_of(st.just(0.0), positive)

COMMON = ("linear", "cosine", "sqrt", "poly:2", "poly:0.5", "poly:3.7", "power:2", "power:0.5")
RARE = ("cosine:0.3", "cosine:0.2:2", "half_cosine", "cosine_power:2", "tanh:-7:3", "sqrt:0.25", "k_decay:2", "rex")
RARE += ("k_decay:2:0.5", "approach:5", "exponential:0.5", "exponential:20", "inverse_sqrt:0.1", "inverse_sqrt:5")
NEVER_ZERO = ("exponential", "inverse", "inverse_sqrt", "power:-2", "power:-1", "power:-0.51", "power:0")
SHAPES = COMMON + NEVER_ZERO + RARE
shapes = st.sampled_from(SHAPES)


def fitting(shape: str, start: float, end: float) -> str:
    """The shape, or `linear` where an end is 0, or as good as 0, and the shape cannot go there."""
    return "linear" if shape in NEVER_ZERO and min(start, end) < 1e-9 else shape


@st.composite
def ends(draw):
    """(shape, start, end): two different ends and a shape that fits them."""
    start, end = draw(st.tuples(values, values).filter(lambda pair: pair[0] != pair[1]))
    return fitting(draw(shapes), start, end), start, end


class Piece(NamedTuple):
    """A ramp told by where it stands after the one before it."""

    place: str  # "next": where the last one ends; "gap": later; "cut": before that end
    distance: float  # of the gap; of the cut, as a share of the ramp cut short
    duration: float
    start: float | None  # None: goes on from where the curve is, anything else is a jump
    end: float
    shape: str


def assemble(pieces: list[Piece], sample: str, whole: bool = False) -> Schedule:
    """A schedule of the pieces; those that would not begin after the one before them are left out."""
    ramps: list[Ramp] = []
    for place, distance, duration, start, end, shape in pieces:
        begin = ramps[-1].end if ramps else 0
        if place == "gap":
            begin += math.ceil(distance) if whole else distance
        elif place == "cut" and ramps:
            begin = ramps[-1].begin + ramps[-1].duration * min(distance / 50, 0.99)
            begin = math.ceil(begin) if whole else begin
        if ramps and begin <= ramps[-1].begin:
            continue
        if start is None:
            start = ramps[-1].at(begin) if ramps else 0.0
        ramps.append(Ramp(begin, duration, start, end, fitting(shape, start, end)))
    return Schedule(tuple(ramps), sample)


def schedules(whole: bool = False, longest: int = 3000, samples: tuple[str, ...] = ("end", "start"), most: int = 15):
    """Schedules of 1 to `most` ramps with gaps, cut-shorts, jumps and restarts; `whole`: every begin a whole step."""
    count = st.one_of(st.integers(0, 30), st.integers(0, longest))
    length = count if whole else st.one_of(count, st.floats(0.01, 50))
    place = st.sampled_from(["next", "next", "next", "gap", "cut"])
    piece = st.builds(Piece, place, st.floats(0.25, 50), length, st.none() | values, values, shapes)
    return st.builds(assemble, st.lists(piece, min_size=1, max_size=most), st.sampled_from(samples), st.just(whole))


def steps_of(schedule: Schedule) -> list[float]:
    """The steps at which a schedule can go wrong: about each joint, between them, and long past the end."""
    steps = {0, 1, schedule.total + 1, 2 * schedule.total + 1000}
    before = 0.0
    for joint in schedule.joints:
        steps |= {joint + d for d in (-2, -1, -0.5, 0, 0.5, 1)}
        steps |= {math.nextafter(joint - 1, math.inf), math.nextafter(joint - 1, -math.inf), math.nextafter(joint, 0)}
        steps |= {(joint + before) / 2, before + (joint - before) / 7}
        before = joint
    # no subnormal ones: XLA takes them for 0, and at a jump at 0 that is another ramp
    return sorted(step for step in steps if step == 0 or step >= 1e-300)


def whole_steps_of(schedule: Schedule) -> list[int]:
    """The same in whole steps."""
    return sorted({math.floor(step) for step in steps_of(schedule)})


def ramp_over(shape: str, start: float, end: float, duration: float = 1) -> Schedule:
    """One ramp from time 0, asked by time."""
    return lehr.Schedule((Ramp(0, duration, start, end, shape),), sample="start")
