"""The integral of a curve in closed form, and the sum over its updates.

Most shapes are b + (a - b) f(u) with f falling from 1 to 0; their F is the integral of f from 0 to u. The powers of the
value (linear, exponential, inverse, inverse_sqrt, power:p) have a mean between any two of their values v1, v2 that
depends on these alone: p / (p + 1) (v2**(p+1) - v1**(p+1)) / (v2**p - v1**p), for p = 0 the logarithmic mean.

Without an elementary antiderivative, or where it would cancel, are tanh, cosine_power, k_decay and cosine with a power;
they and registered shapes are integrated by adaptive Gauss-Legendre quadrature, to about 1e-15 too.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache

from lehr import shapes
from lehr.ramp import Ramp, prepare
from lehr.words import is_number

LONG = 200_000  # updates of a curve that are added up one by one
EDGE = 10_000  # of a longer one, those next to each of its ends
MEANS = {"linear": 1.0, "exponential": 0.0, "inverse": -1.0, "inverse_sqrt": -2.0}  # the power whose mean it is


def area(ramps: Sequence[Ramp], a: float, b: float) -> float:
    """The integral of the row's curve from time a to time b."""
    if not (is_number(a) and is_number(b) and 0 <= a <= b < math.inf):
        raise ValueError(f"an area goes from a time a >= 0 to a later one, not from {a!r} to {b!r}")
    first = ramps[0]
    parts = [first.start_value * max(0, min(b, first.begin) - a)]
    for ramp, cut in zip(ramps, [*(ramp.begin for ramp in ramps[1:]), math.inf], strict=True):
        begin, end = max(a, ramp.begin), min(b, cut)
        if begin < end:
            moving = min(end, ramp.end)
            if begin < moving:
                u1, u2 = (begin - ramp.begin) / ramp.duration, (moving - ramp.begin) / ramp.duration
                parts.append(ramp.duration * under(ramp, u1, min(u2, 1.0)))
            parts.append(ramp.end_value * max(0, end - max(begin, ramp.end)))
    return math.fsum(parts)


def under(ramp: Ramp, u1: float, u2: float) -> float:
    """The integral over u of a ramp's curve, from u1 to u2 within 0 .. 1."""
    a, b = ramp.start_value, ramp.end_value
    if a == b:
        return a * (u2 - u1)
    row = prepare(ramp)

    def value(u: float) -> float:
        return min(max(row.g(u), row.low), row.high) if 0 < u < 1 else b if u >= 1 else a

    name, *words = ramp.shape.split(":")
    parameters = [float(word) for word in words]
    power = parameters[0] if name == "power" else MEANS.get(name) if not parameters else None
    if power is not None:
        return (u2 - u1) * _mean(value(u1), value(u2), power)
    f = _INTEGRALS[name](*parameters) if name in _INTEGRALS else None
    if f is not None:
        return b * (u2 - u1) + (a - b) * (f(u2) - f(u1))
    return quadrature(value, u1, u2, row.high)


def _mean(v1: float, v2: float, p: float) -> float:
    """The mean of a curve between two of its values, along which value**p runs linearly."""
    low, high = min(v1, v2), max(v1, v2)
    if low == high or p == 1:
        return low + (high - low) / 2
    near = high / 2 <= low
    log = math.log1p((low - high) / high) if near else math.log(low) - math.log(high) if low else -math.inf

    def grown(c: float) -> float:
        return math.expm1(c * log) / c if c else log

    return min(max(high * (grown(p + 1) / grown(p)), low), high)


# ---------------------------------------------------------------------------------------------------------------------
# F(u), the integral of f from 0 to u; None: no closed form, or one that cancels

Integral = Callable[[float], float]


def _cosine(u0: float = 0.0, k: float = 1.0) -> Integral | None:
    if k != 1:
        return None

    def rest(y: float) -> float:  # the integral of sin(pi s / 2)**2 from 0 to y
        return _minus_sin(math.pi * y) / (2 * math.pi)

    y0 = 1 - u0
    whole, scale = rest(y0), y0 * math.sin(math.pi / 2 * y0) ** 2
    return lambda u: (whole - rest(y0 * (1 - u))) / scale


def _minus_sin(x: float) -> float:
    """x - sin(x), by its series where the difference would cancel."""
    if x > 0.5:
        return x - math.sin(x)
    term, total = x**3 / 6, 0.0
    for n in range(4, 20, 2):
        total += term
        term *= -x * x / (n * (n + 1))
    return total


def _half_cosine() -> Integral:
    return lambda u: u - 4 / math.pi * math.sin(math.pi / 4 * u) ** 2


def _sqrt(u0: float = 0.0) -> Integral:
    def rest(v: float) -> float:  # the integral of 1 - sqrt(s) from s = 1 - v to 1
        root = math.sqrt(1 - v)
        return (v / (1 + root)) ** 2 * (1 + 2 * root) / 3

    late = 1 - u0
    whole, scale = rest(late), late * (late / (1 + math.sqrt(u0)))
    return lambda u: (whole - rest(late * (1 - u))) / scale


def _poly(k: float) -> Integral:
    return lambda u: -math.expm1((k + 1) * math.log1p(-u)) / (k + 1) if u < 1 else 1 / (k + 1)


def _rex() -> Integral:
    return lambda u: 2 * (u + math.log1p(-u / 2))


def _k_decay(k: float, power: float = 1.0) -> Integral | None:
    return (lambda u: u - u ** (k + 1) / (k + 1)) if power == 1 else None


def _approach(k: float) -> Integral | None:
    if abs(k) < 0.1:
        return None
    last, whole = math.exp(-k), -math.expm1(-k)
    return lambda u: (-math.expm1(-k * u) / k - last * u) / whole


def _inverse_sqrt(r: float) -> Integral | None:
    if abs(math.log(r)) < 0.1:
        return None
    growth = math.expm1(-2 * math.log(r))
    return lambda u: u * (2 / (1 + math.sqrt(max(0.0, 1 + growth * u))) - r) / (1 - r)


_INTEGRALS: dict[str, Callable[..., Integral | None]] = {
    "cosine": _cosine,
    "half_cosine": _half_cosine,
    "sqrt": _sqrt,
    "poly": _poly,
    "rex": _rex,
    "k_decay": _k_decay,
    "approach": _approach,
    "exponential": lambda r: _approach(-math.log(r)),
    "inverse_sqrt": _inverse_sqrt,
}


# ---------------------------------------------------------------------------------------------------------------------
# quadrature


def quadrature(f: Callable[[float], float], a: float, b: float, scale: float) -> float:
    """The integral of f from a to b: Gauss-Legendre with 10 nodes, halved until two halves agree with their whole.

    f is only asked between a and b. `scale` is its greatest value; the error is about 1e-16 of scale * (b - a) where f
    is smooth; about a kink or an end with a vertical tangent the halves are cut down to 2**-48 of the whole.
    """
    nodes = _legendre()

    def rule(lo: float, hi: float) -> float:
        middle, half = lo + (hi - lo) / 2, (hi - lo) / 2
        return half * math.fsum(w * f(middle + half * x) for x, w in nodes)

    enough = 1e-16 * scale * (b - a)
    parts, todo = [], [(a, b, rule(a, b), 48)]
    while todo:
        lo, hi, whole, depth = todo.pop()
        middle = lo + (hi - lo) / 2
        left, right = rule(lo, middle), rule(middle, hi)
        if depth == 0 or abs(left + right - whole) <= enough:
            parts.append(left + right)
        else:
            todo += [(lo, middle, left, depth - 1), (middle, hi, right, depth - 1)]
    return math.fsum(parts)


@cache
def _legendre(n: int = 10) -> tuple[tuple[float, float], ...]:
    """Nodes and weights on -1 .. 1: the roots of the Legendre polynomial, by Newton's method."""
    pairs = []
    for index in range(n):
        x = math.cos(math.pi * (index + 0.75) / (n + 0.5))
        for _ in range(10):
            before, now = 1.0, x
            for k in range(2, n + 1):
                before, now = now, ((2 * k - 1) * x * now - (k - 1) * before) / k
            slope = n * (x * now - before) / (x * x - 1)
            x -= now / slope
        pairs.append((x, 2 / ((1 - x * x) * slope * slope)))
    return tuple(pairs)


# ---------------------------------------------------------------------------------------------------------------------
# sums over updates


def update_sum(ramps: Sequence[Ramp], closed: bool, value: Callable[[int], float], start: int, stop: int) -> float:
    """The sum of value(step) for start <= step < stop; `closed`: a ramp is in charge at its own begin already."""
    if not (is_number(start) and is_number(stop) and 0 <= start <= stop and (start, stop) == (int(start), int(stop))):
        raise ValueError(f"a sum over updates goes from a whole step >= 0 to a later one, not {start!r} to {stop!r}")
    start, stop = int(start), int(stop)
    offset = 0 if closed else 1  # update s uses the curve at s + offset
    takes_over = math.ceil if closed else math.floor
    parts = []

    def level(first: int, last: int) -> None:
        if first < last:
            parts.append((last - first) * value(first))

    level(start, min(stop, takes_over(ramps[0].begin)))
    for ramp, cut in zip(ramps, [*(ramp.begin for ramp in ramps[1:]), math.inf], strict=True):
        first = max(start, takes_over(ramp.begin))
        last = min(stop, takes_over(cut)) if cut < math.inf else stop
        done = min(max(first, math.ceil(ramp.end) - offset), last)  # from here on it holds its end
        if first < done:
            if ramp.start_value == ramp.end_value:
                level(first, done)
            elif ramp.shape == "linear":
                parts.append((done - first) * (value(first) / 2 + value(done - 1) / 2))
            elif done - first <= LONG or not _ours(ramp):
                parts.append(math.fsum(map(value, range(first, done))))
            else:
                parts += _long(ramp, offset, value, first, done)
        level(done, last)
    return math.fsum(parts)


def _ours(ramp: Ramp) -> bool:
    return shapes.TABLE[ramp.shape.partition(":")[0]].__module__ == "lehr.curves"


def _long(ramp: Ramp, offset: int, value: Callable[[int], float], first: int, last: int) -> list[float]:
    """A long curve: its edges, and between them the midpoint rule read backwards, with its first correction.

    The sum over m <= s < n is the integral from m - 1/2 to n - 1/2, less a 24th of what the slope gains between them.
    """
    m, n = first + EDGE, last - EDGE
    since = offset - ramp.begin
    u1, u2 = (m - 0.5 + since) / ramp.duration, (n - 0.5 + since) / ramp.duration
    gained = (value(n) - value(n - 1)) - (value(m) - value(m - 1))
    edges = math.fsum(map(value, [*range(first, m), *range(n, last)]))
    return [edges, ramp.duration * under(ramp, u1, u2), -gained / 24]
