"""The curves between two points of a log that are known to be their ends, with one number of their own at most."""

import math
from collections.abc import Callable

from lehr import curves
from lehr.fit.pieces import Curve, Piece, Points, short
from lehr.words import write_number

ONE_NUMBER: dict[str, Callable[[float, float, float], Curve]] = {
    "poly:{}": lambda a, b, x: curves.poly(a, b, math, x),
    "power:{}": lambda a, b, x: curves.power(a, b, math, x),
    "power:-{}": lambda a, b, x: curves.power(a, b, math, -x),
    "k_decay:{}": lambda a, b, x: curves.k_decay(a, b, math, x),
    "cosine:0:{}": lambda a, b, x: curves.cosine(a, b, math, 0, x),
    "cosine_power:{}": lambda a, b, x: curves.cosine_power(a, b, math, x),
    "inverse_sqrt:{}": lambda a, b, x: curves.inverse_sqrt(a, b, math, x),
}


def between(points: Points, i: int, j: int, end: tuple[float, float] | None = None) -> Piece | None:
    """A shape from the i-th point to the j-th (or to `end`, past it), its one number by the point half way."""
    t0, a = points.steps[i], points.values[i]
    t1, b = end or (points.steps[j], points.values[j])
    if j - i < 5 or a == b:
        return None
    m = (i + j) // 2
    u, middle = (points.steps[m] - t0) / (t1 - t0), points.values[m]

    def piece(shape: str, g: Curve, cost: int) -> Piece | None:
        def curve(s: float) -> float:
            x = (s - t0) / (t1 - t0)
            return g(x) if 0 < x < 1 else b if x >= 1 else a

        if not points.fit(curve, i, j):
            return None
        return Piece(shape, cost, curve, lambda *_: [(t0, t1, a, b, shape)], t0, t1)

    for shape, g in (("rex", curves.rex(a, b, math)), ("tanh:-7:3", curves.tanh(a, b, math, -7, 3))):
        if found := piece(shape, g, 2):
            return found
    for form, family in ONE_NUMBER.items():
        number = _solve(lambda x, family=family: family(a, b, x)(u) - middle)  # type: ignore[misc]
        if number is not None:
            for parameter in dict.fromkeys((short(number, 1e-6), short(number, points.share), number)):
                try:
                    curve = family(a, b, parameter)
                except ValueError:
                    continue  # a number that the family does not take, as `inverse_sqrt:1`
                if found := piece(form.format(write_number(parameter)), curve, 3):
                    return found
    return None


def _solve(off: Callable[[float], float]) -> float | None:
    """A number from 0.02 to 50 at which `off` is 0, on one side of 1 or the other."""

    def at(x: float) -> float:
        try:
            return off(math.exp(x))
        except (ValueError, OverflowError, ZeroDivisionError):
            return math.nan

    for lo, hi in ((math.log(0.02), -1e-3), (1e-3, math.log(50))):
        low, high = at(lo), at(hi)
        if not low * high < 0:
            continue
        side = 0
        for turn in range(90):
            # a false position that does not stick (Illinois: Dowell & Jarratt 1971, BIT 11); halves where it is slow
            middle = lo - low * (hi - lo) / (high - low) if turn < 30 else (lo + hi) / 2
            off_by = at(middle)
            if off_by != off_by or not off_by or hi - lo < 1e-15 or middle in (lo, hi):
                return math.exp(middle)
            if off_by * low > 0:
                lo, low, high = middle, off_by, high / 2 if side == 1 else high
                side = 1
            else:
                hi, high, low = middle, off_by, low / 2 if side == -1 else low
                side = -1
        return math.exp((lo + hi) / 2)
    return None
