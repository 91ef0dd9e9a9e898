"""A logged learning rate as it was written: its rows in order, and how far each number may be off by its digits."""

import math
import struct
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import pairwise

from lehr.fit.pieces import Points
from lehr.words import is_number


def rows(steps: Iterable[int], lrs: Iterable[float]) -> tuple[list[tuple[int, float]], tuple[int, ...]]:
    """The rows by rising step, and the steps at which the log goes back and says something else than before.

    A run that is resumed from a checkpoint appends to its log, and so logs some steps again: what it wrote before the
    checkpoint stands, what it wrote after it is replaced. Raises ValueError for what is no log (see `identify`).

    >>> rows([0, 1, 2, 3, 2, 3, 4], [1, 1, 1, 1, 0.5, 0.5, 0.5])
    ([(0, 1.0), (1, 1.0), (2, 0.5), (3, 0.5), (4, 0.5)], (2,))
    """
    at, values = list(steps), list(lrs)
    if len(at) != len(values):
        raise ValueError(f"there are {len(at)} steps and {len(values)} learning rates; give one learning rate a step")
    parts: list[list[tuple[int, float]]] = []
    for step, value in zip(at, values, strict=True):
        if not (is_number(step) and 0 <= step < math.inf and step == int(step)):
            raise ValueError(f"a step is a whole number of completed updates, not {step!r}")
        if not (is_number(value) and 0 <= value < math.inf):
            raise ValueError(f"at step {int(step)} the learning rate is {value!r}; it is a finite number >= 0")
        if not parts or step <= parts[-1][-1][0]:
            parts.append([])
        parts[-1].append((int(step), float(value)))
    if not parts:
        raise ValueError("the log is empty; give at least one step and its learning rate")
    log = dict(parts[0])
    back: list[int] = []
    twice = 0
    for before, part in pairwise(parts):
        begin, news = part[0][0], dict(part)
        if any(step in log for step in news):  # not only rows out of order
            if any(log.get(step, value) != value for step, value in part):
                back.append(begin)
            twice += before[-1][0] == begin and before[-1][1] != part[0][1]
            if twice > 1:
                raise ValueError(
                    f"step {begin} stands twice in the log, with {before[-1][1]!r} and {part[0][1]!r}, and so do "
                    "others; give the rows of one parameter group"
                )
            log = {step: value for step, value in log.items() if step < begin}
        log.update(part)
    return sorted(log.items()), tuple(back)


def readings(log: list[tuple[int, float]]) -> list[Points]:
    """The log with what each value may be off by, from the strictest reading of its numbers to the loosest."""
    steps, values = [step for step, _ in log], [value for _, value in log]
    return [
        Points(steps, values, tolerances, dict(log), _written(values, tolerances)) for tolerances in _tolerances(values)
    ]


def _tolerances(values: list[float]) -> Iterator[list[float]]:
    """How far each value may be off: by float64's roundings; else float32's; else those of the digits written."""
    peak = max(values) or 1.0
    exact = 1e-12 * peak
    yield [exact] * len(values)
    if all(v == 0 or abs(struct.unpack("f", struct.pack("f", v))[0] - v) <= 1e-15 * v for v in values if v < 3e38):
        yield [max(exact, 3e-7 * peak)] * len(values)
    if len(set(values)) <= 3:
        return
    most, last = _digits(values)
    if most <= 9:
        digits = 0.5 * 10.0 ** (math.floor(math.log10(peak)) - most + 1)
        yield [max(exact, 0.5 * 10.0**last, digits)] * len(values)


def _digits(values: list[float]) -> tuple[int, int]:
    """The most digits that a value has, and the place of the last digit of all."""
    most, last = 0, 0
    for value in values:
        if value:
            number = Decimal(repr(value)).normalize().as_tuple()
            most, last = max(most, len(number.digits)), min(last, int(number.exponent))
            if most > 9:
                break
    return most or 17, last


def _written(values: list[float], tolerances: list[float]) -> list[list[float]]:
    """Half a unit of the last digit of each value, where that is what it may be off by.

    For the two ways of writing few digits: as many decimals each (%.6f), or as many digits each (%.2e).
    """
    peak = max(values) or 1.0
    if max(tolerances) <= 1e-9 * peak:
        return []
    most, last = _digits(values)
    if max(tolerances) <= 1e-6 * peak and most > 9:
        return []
    exact = 1e-12 * peak
    decimals = 0.501 * 10.0**last + exact
    digits = [(0.501 * 10.0 ** (math.floor(math.log10(v)) - most + 1) if v else 0.0) + exact for v in values]
    return [[decimals] * len(values), digits]
