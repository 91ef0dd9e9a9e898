"""The text form of a schedule, read: items such as `linear 2% to 1, cosine rest to 0.1`.

    spec = item ("," item)* [", sampled at start"]
    item = ["at" step] ( "hold" duration ["from" value] | shape duration ["from" value] "to" value )
    duration = "rest" | NUMBER[k|M|B] [steps|tokens|samples|epochs] | NUMBER%

`str(schedule)` writes it, in steps.
"""

from fractions import Fraction
from math import floor

from lehr.clock import Clock
from lehr.items import Item, items_of
from lehr.schedule import Ramp, Sample, Schedule
from lehr.words import write_number


def parse(text: str, clock: Clock | None = None, total: float | None = None) -> Schedule:
    """Return the schedule that a text describes.

    `total` (the run's length in updates, short for `Clock(total_steps=total)`) or `clock` is needed for `%`, `rest` and
    units other than steps. Without `from` an item goes on from where the curve is; the first starts at 0 and goes to 1,
    and a first `hold` is at 1. `at` begins an item after that many updates. Durations in steps are taken as they are;
    in every other unit the joints are rounded to whole steps, half up. Raises ValueError, one line that names the word
    at fault and what to write instead.

    >>> parse("linear 2% to 1, hold rest, sqrt 20% to 0", total=1000)
    lehr.parse('linear 20 to 1, hold 780, sqrt 200 to 0')
    >>> parse("linear 100 to 1, cosine 900 to 0.1, at 800 linear 200 to 0").total
    1000
    """
    items, joints, sample = _read(text, clock, total)
    return Schedule(tuple(_ramps(items, joints)), sample)


def vanished(text: str, clock: Clock | None = None, total: float | None = None) -> list[tuple[str, str, float, float]]:
    """The items of a text whose length, a share or in a unit other than steps, rounds to no update at all.

    Each with that length as written, where it would begin and how long it would be, in steps. Arguments and errors are
    those of `parse`.

    >>> vanished("linear 1% to 1, cosine rest to 0.1", total=40)
    [('linear 1% to 1', '1%', 0, 0.4)]
    """
    items, joints, _ = _read(text, clock, total)
    found = []
    for item, (begin, duration) in zip(items, joints, strict=True):
        if not duration and item.duration.unit not in ("steps", "rest") and item.duration.number:
            found.append((item.text, item.duration.text, begin, float(item.duration.steps(_clock(clock, total)))))
    return found


def _read(text: str, clock: Clock | None, total: float | None) -> tuple[list[Item], list[tuple[float, float]], Sample]:
    if not isinstance(text, str):
        raise TypeError(f"a schedule's text is a string, not {text!r}")
    clock = _clock(clock, total)
    items, sample = items_of(text)
    return items, _joints(items, clock), sample


def _clock(clock: Clock | None, total: float | None) -> Clock:
    if clock is None:
        clock = Clock()
    elif not isinstance(clock, Clock):
        raise TypeError(f"clock is a lehr.Clock, not {clock!r}; for the run's length write total={clock!r}")
    if total is not None:
        if clock.total_steps not in (None, total):
            raise ValueError(f"total={total!r} and the clock's total_steps={clock.total_steps!r} differ; give one")
        clock = Clock(total, clock.tokens_per_step, clock.samples_per_step, clock.steps_per_epoch)
    return clock


def _joints(items: list[Item], clock: Clock) -> list[tuple[float, float]]:
    """Begin and duration of each item in steps: exact positions run along, joints of other units are rounded."""
    rests = [index for index, item in enumerate(items) if item.duration.unit == "rest"]
    if len(rests) > 1:
        again = items[rests[1]]
        raise again.error("'rest' stands twice in one schedule; give one of them a length", again.duration.word)
    joints: list[tuple[float, float]] = []
    exact, begin = Fraction(0), _step(Fraction(0), rounded=True)
    for index, item in enumerate(items):
        word = item.at.word if item.at is not None else ""
        try:
            if item.at is not None:
                exact = item.at.steps(clock)
                begin = _step(exact, rounded=item.at.unit != "steps")
            word = item.duration.word
            if item.duration.unit == "steps":
                exact += item.duration.number
                duration = _step(item.duration.number, rounded=False)
            else:
                if item.duration.unit == "rest":
                    exact, rounded = _rest(items, index, exact, clock)
                else:
                    exact, rounded = exact + item.duration.steps(clock), True
                duration = max(0, _step(exact, rounded) - begin)
        except ValueError as error:
            raise item.error(str(error), word) from None
        joints.append((begin, duration))
        begin += duration
    return joints


def _rest(items: list[Item], index: int, begin: Fraction, clock: Clock) -> tuple[Fraction, bool]:
    """Where a `rest` ends, and whether that is to be rounded: what follows ends at the next `at` or with the run."""
    exact: Fraction | None = None if clock.total_steps is None else Fraction(clock.total_steps)
    rounded = False
    follow = []
    for item in items[index + 1 :]:
        if item.at is not None:
            exact, rounded = item.at.steps(clock), rounded or item.at.unit != "steps"
            break
        follow.append(item.duration.steps(clock))
        rounded = rounded or item.duration.unit != "steps"
    if exact is None:
        raise ValueError("'rest' needs the run's length; say how long it is: total=10000 (--total 10k)")
    end = exact - sum(follow)
    if end < begin:
        raise ValueError(
            f"no steps are left for 'rest': what stands around it takes {_show(begin + sum(follow))} "
            f"of {_show(exact)} steps; shorten it"
        )
    return end, rounded


def _step(exact: Fraction, rounded: bool) -> float:
    if rounded:
        return floor(exact + Fraction(1, 2))
    return int(exact) if exact.denominator == 1 else float(exact)


def _show(steps: Fraction) -> str:
    return write_number(_step(steps, rounded=False))


def _first(item: Item, to: float, alone: bool) -> str:
    """What to write for a first item that does not go to 1: a decay, or a warmup to a learning rate."""
    if alone or item.shape != "linear" or not to:
        return f"a first item starts at 0 and goes to 1; write 'from 1 to {write_number(to)}'"
    return (
        f"values are multiples of the peak, and a warmup goes 'to 1'; give {write_number(to)} as the peak (--lr), or "
        f"write 'from 0 to {write_number(to)}' (a decay: 'from 1 to {write_number(to)}')"
    )


def _ramps(items: list[Item], joints: list[tuple[float, float]]) -> list[Ramp]:
    ramps: list[Ramp] = []
    vanished: float | None = None  # the end value of an item of length 0 that another follows
    for index, (item, (begin, duration)) in enumerate(zip(items, joints, strict=True)):
        if ramps and begin <= ramps[-1].begin:
            at = item.at.word if item.at is not None else ""
            raise item.error(
                f"it begins at {write_number(begin)}, not after what stands before it; begins must rise", at
            )
        to = item.values.get("to")
        if "from" in item.values:
            start = item.values["from"]
        elif vanished is not None:
            start = vanished
        elif ramps:
            start = ramps[-1].at(begin)
        elif item.shape == "hold":
            start = 1.0
        elif to == 1:
            start = 0.0
        else:
            raise item.error(_first(item, to or 0.0, alone=len(items) == 1))
        vanished = start if to is None else to
        if not duration and index + 1 < len(items) and joints[index + 1][0] == begin:
            continue
        vanished = None
        shape = "linear" if item.shape == "hold" else item.shape
        try:
            ramps.append(Ramp(begin, duration, start, start if to is None else to, shape))
        except ValueError as error:  # it names the ramp already
            raise ValueError(f"{error} ({item.words[0].place})") from None
    return ramps
