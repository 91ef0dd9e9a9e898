"""The curves that a stretch of a logged learning rate can follow, fitted to its points; `lehr.fit` puts them together.

A piece is a curve through points (step, value), with what is known of where it begins and ends by nature: a cosine at
its turning points, a square root where it is vertical, a parabola where it is level.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lehr.words import write_number

Curve = Callable[[float], float]
Section = tuple[float, float, float, float, str]  # from time, to time, start value, end value, shape

SOFT = 3.0  # a curve laid through points that are off by a tolerance each is off by a few between them


@dataclass(frozen=True)
class Points:
    """A log's points in order of their steps, with how far each may be off."""

    steps: Sequence[int]
    values: Sequence[float]
    tolerances: Sequence[float]
    at: dict[int, float]  # the value by its step
    # what a log of few digits may be off by, point for point, in each format that its numbers may have been written in
    own: Sequence[list[float]] = ()

    @cached_property
    def highest(self) -> float:
        return max(self.values)

    @cached_property
    def loosest(self) -> float:
        return max(self.tolerances)

    @property
    def share(self) -> float:
        """The greatest tolerance as a share of the greatest value."""
        return self.loosest / (self.highest or 1.0)

    def fit(self, curve: Curve, i: int, j: int, slack: float = SOFT) -> bool:
        """Whether the curve is at every point from the i-th to the j-th."""
        order = range(i, j + 1)
        if j - i > 30:  # those spread out first: a curve that does not fit is soon found out
            order = [*range(i, j + 1, (j - i) // 10), *order]  # type: ignore[assignment]
        try:
            return all(abs(curve(self.steps[k]) - self.values[k]) <= slack * self.tolerances[k] for k in order)
        except (ValueError, OverflowError, ZeroDivisionError, TypeError):
            return False


@dataclass(frozen=True)
class Piece:
    """A curve, what it takes to describe it, and how its part from one time to another is written as ramps."""

    family: str
    cost: int
    curve: Curve
    sections: Callable[[float, float], list[Section]]
    left: float | None = None  # where it begins by nature
    right: float | None = None


def _plain(curve: Curve, shape: str) -> Callable[[float, float], list[Section]]:
    """Any part of the curve is a ramp of the same shape."""
    return lambda t0, t1: [(t0, t1, curve(t0), curve(t1), shape)]


def level(points: Points, i: int, j: int) -> Piece | None:
    values = points.values[i : j + 1]
    middle = min(values) / 2 + max(values) / 2

    def curve(s: float) -> float:
        return middle

    return Piece("level", 1, curve, _plain(curve, "linear")) if points.fit(curve, i, j, 1.01) else None


def linear(points: Points, i: int, j: int) -> Piece | None:
    s0, v0, v1 = points.steps[i], points.values[i], points.values[j]
    if j == i or v0 == v1:
        return None
    slope = (v1 - v0) / (points.steps[j] - s0)

    def curve(s: float) -> float:
        return v0 + slope * (s - s0)

    return Piece("linear", 2, curve, _plain(curve, "linear")) if points.fit(curve, i, j) else None


def power(shape: str, p: float) -> Callable[[Points, int, int], Piece | None]:
    """value**p runs linearly; the logarithm for p = 0."""

    def fitted(points: Points, i: int, j: int) -> Piece | None:
        s0, s1, v0, v1 = points.steps[i], points.steps[j], points.values[i], points.values[j]
        if j - i < 3 or v0 == v1 or min(v0, v1) <= 0:
            return None
        ratio = math.log(v1 / v0) if not p else (v1 / v0) ** p - 1

        def curve(s: float) -> float:
            x = (s - s0) / (s1 - s0)
            if p and not 1 + ratio * x > 0:
                raise ValueError("the curve has no value there")
            return v0 * (math.exp(ratio * x) if not p else (1 + ratio * x) ** (1 / p))

        return Piece(shape, 2, curve, _plain(curve, shape)) if points.fit(curve, i, j) else None

    return fitted


def approach(points: Points, i: int, j: int) -> Piece | None:
    """c + d exp(-k s), by three points equally far apart."""
    s0, h = points.steps[i], (points.steps[j] - points.steps[i]) // 2
    three = [points.at.get(s0 + n * h) for n in range(3)]
    if j - i < 4 or h < 1 or None in three:
        return None
    v0, v1, v2 = (v for v in three if v is not None)
    if v1 == v0 or not (v2 - v1) / (v1 - v0) > 0:
        return None
    k = -math.log((v2 - v1) / (v1 - v0)) / h
    if abs(k) * h < 1e-6 or abs(k) * h > 300:
        return None
    scale = (v1 - v0) / math.expm1(-k * h)

    def curve(s: float) -> float:
        return v0 + scale * math.expm1(-k * (s - s0))

    def sections(t0: float, t1: float) -> list[Section]:
        constants = k * (t1 - t0)
        named = f"approach:{write_number(short(constants, points.share))}"
        if abs(constants) < 700:
            r = math.exp(-constants)
            other = f"exponential:{write_number(short(r, points.share))}"
            named = other if k < 0 or len(other) < len(named) else named
        return [(t0, t1, curve(t0), curve(t1), named)]

    return Piece("exponential approach", 3, curve, sections) if points.fit(curve, i, j) else None


def short(x: float, tolerance: float) -> float:
    """The shortest decimal that is the number but for the tolerance."""
    for digits in range(1, 17):
        if abs(float(f"{x:.{digits}g}") - x) <= tolerance * abs(x):
            return float(f"{x:.{digits}g}")
    return x


def _three(points: Points, i: int, j: int) -> list[tuple[float, float, float]]:
    """First, middle and last point, with the weights that take a straight line to 0."""
    m = (i + j) // 2
    s, v = points.steps, points.values
    s0, s1, s2 = s[i], s[m], s[j]
    weights = (1 / ((s1 - s0) * (s2 - s0)), -1 / ((s1 - s0) * (s2 - s1)), 1 / ((s2 - s0) * (s2 - s1)))
    return [(s[k], v[k], w) for k, w in zip((i, m, j), weights, strict=True)]


def parabola(points: Points, i: int, j: int) -> Piece | None:
    """b + c (T - s)**2: poly:2, up to its turning point."""
    if j - i < 4:
        return None
    # least squares: 1, x and x**2 made orthogonal over the points
    order = range(i, j + 1, max(1, (j - i) // 200))
    steps, values = [points.steps[k] for k in order], [points.values[k] for k in order]
    n, middle, size = len(steps), math.fsum(steps) / len(steps), steps[-1] - steps[0]
    xs = [(s - middle) / size for s in steps]
    mean, xx = math.fsum(values) / n, math.fsum(x * x for x in xs)
    skew = math.fsum(x**3 for x in xs) / xx
    squares = [x * x - skew * x - xx / n for x in xs]
    slope = math.fsum(x * (v - mean) for x, v in zip(xs, values, strict=True)) / xx
    c = math.fsum(q * (v - mean) for q, v in zip(squares, values, strict=True)) / math.fsum(q * q for q in squares)
    if not c:
        return None

    def curve(s: float) -> float:
        x = (s - middle) / size
        return mean + slope * x + c * (x * x - skew * x - xx / n)

    turn = middle + size * (skew - slope / c) / 2
    if not turn > middle or not points.fit(curve, i, j):
        return None
    return Piece("poly:2", 3, curve, lambda t0, t1: [(t0, turn, curve(t0), curve(turn), "poly:2")], right=turn)


def root(points: Points, i: int, j: int) -> Piece | None:
    """c + d sqrt(s - s0), the 1-sqrt cooldown, or c + d sqrt(T - s), which is poly:0.5."""
    if j - i < 4:
        return None
    three = _three(points, i, j)
    bend = sum(w * v for _, v, w in three)
    if not bend:
        return None
    c = sum(w * v * v for _, v, w in three) / (2 * bend)
    (s0, v0, _), _, (s2, v2, _) = three
    slope = ((v2 - c) ** 2 - (v0 - c) ** 2) / (s2 - s0)
    side = math.copysign(1, v0 + v2 - 2 * c)
    if not slope:
        return None

    def curve(s: float) -> float:
        return c + side * math.sqrt(max(0.0, (v0 - c) ** 2 + slope * (s - s0)))

    zero = s0 - (v0 - c) ** 2 / slope
    if not points.fit(curve, i, j):
        return None
    if slope < 0:
        return Piece("poly:0.5", 3, curve, lambda t0, t1: [(t0, zero, curve(t0), c, "poly:0.5")], right=zero)

    def sections(t0: float, t1: float) -> list[Section]:
        u0 = (t0 - zero) / (t1 - zero)
        shape = "sqrt" if abs(u0) < max(1e-6, points.share) else f"sqrt:{write_number(short(u0, points.share))}"
        return [(t0, t1, c if shape == "sqrt" else curve(t0), curve(t1), shape)]

    return Piece("sqrt", 3, curve, sections, left=zero)


def wave(points: Points, i: int, j: int) -> Piece | None:
    """m + A cos(w (s - s0)): three points h apart of a sinusoid obey v(s-h) + v(s+h) = p v(s) + q, p = 2 cos(w h)."""
    if j - i < 4:
        return None
    steps, first, last = points.steps, points.steps[i], points.steps[j]
    h = _stride(points, i, j)
    middle = points.values[(i + j) // 2]
    triples = [
        (points.at[s - h] + points.at[s + h] - 2 * middle, points.at[s] - middle)
        for s in steps[i : j + 1 : max(1, (j - i) // 300)]
        if s - h >= first and s + h <= last and s - h in points.at and s + h in points.at
    ]
    if len(triples) < 2:
        return None
    n, sx, sy = len(triples), math.fsum(x for _, x in triples), math.fsum(y for y, _ in triples)
    sxx, sxy = math.fsum(x * x for _, x in triples), math.fsum(x * y for y, x in triples)
    det = n * sxx - sx * sx
    if not det > 0:
        return None
    p, q = (n * sxy - sx * sy) / det, (sxx * sy - sx * sxy) / det
    if not -2 < p < 2 - 1e-13:
        return None
    omega, mean = math.acos(p / 2) / h, middle + q / (2 - p)
    some = range(i, j + 1, max(1, (j - i) // 100))
    waves = [(math.cos(omega * (steps[k] - first)), math.sin(omega * (steps[k] - first))) for k in some]
    rest = [points.values[k] - mean for k in some]
    cc, ss = math.fsum(c * c for c, _ in waves), math.fsum(s * s for _, s in waves)
    cs = math.fsum(c * s for c, s in waves)
    cv = math.fsum(c * v for (c, _), v in zip(waves, rest, strict=True))
    sv = math.fsum(s * v for (_, s), v in zip(waves, rest, strict=True))
    det = cc * ss - cs * cs
    if not det > 0:
        return None
    a, b = (cv * ss - sv * cs) / det, (sv * cc - cv * cs) / det
    size, phase = math.hypot(a, b), math.atan2(b, a)

    def curve(s: float) -> float:
        return mean + size * math.cos(omega * (s - first) - phase)

    if not size or not points.fit(curve, i, j):
        return None
    half = math.pi / omega
    top = first + phase / omega  # one of its turning points, the others are half waves apart

    def turn(s: float, way: Callable[[float], int]) -> float:
        x = (s - top) / half
        return top + half * (round(x) if abs(x - round(x)) < 1e-3 else way(x))

    def sections(t0: float, t1: float) -> list[Section]:
        found: list[Section] = []
        while t0 < t1 - 1e-3 * half and len(found) < 100:
            before = turn(t0, math.floor)
            after = before + half
            peak = mean + size * math.cos(omega * (after - first) - phase)
            u0 = (t0 - before) / half
            if abs(u0) < 1e-3:
                shape, start = "cosine", 2 * mean - peak
            else:
                shape = "half_cosine" if abs(u0 - 0.5) < 1e-6 else f"cosine:{write_number(short(u0, points.share))}"
                start = curve(t0)
            found.append((t0, after, start, peak, shape))
            t0 = after
        return found

    left, right = turn(first, math.floor), turn(last, math.ceil)
    return Piece("cosine", 4, curve, sections, left, right)


def _stride(points: Points, i: int, j: int) -> int:
    """About a quarter of the stretch, a whole number of the distances at which it was logged."""
    unit = points.steps[i + 1] - points.steps[i]
    for k in range(i, min(j, i + 20)):
        unit = math.gcd(unit, points.steps[k + 1] - points.steps[k])
    return max(unit, (points.steps[j] - points.steps[i]) // 4 // unit * unit)


SURE = (
    level,
    linear,
)  # where these do not fit, no longer stretch does; the others may be laid badly through few points
FREE = (
    level,
    linear,
    power("exponential", 0),
    power("inverse", -1),
    power("inverse_sqrt", -2),
    parabola,
    root,
    approach,
    wave,
)
