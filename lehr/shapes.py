"""The curves that a ramp can follow, and the table of their names.

A shape is a function `shape(a, b, m, *parameters)` that returns `g(u)`: the curve from `a` (at u = 0) to `b`
(at u = 1). `m` is the module that owns the array (math, numpy, torch or jax.numpy), so one definition serves them
all. `g` is only asked for 0 < u < 1: the evaluator returns `a` and `b` themselves at the ends and clips between,
for registered shapes too, so that every schedule is exact at its joints and never leaves [low, high].

The formulas are written as low + (high - low) * weight, or high * ratio: `a + (b - a) * u` misses `b` in one pair of
floats out of six, and `a * (1 - u) + b * u` is not monotone.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

from lehr.words import nearest, read_number, write_number

Curve = Callable[[Any], Any]
Shape = Callable[..., Curve]

RESERVED = ("hold", "at", "from", "to", "rest", "sampled")  # words of the text form


def linear(a: float, b: float, m: Any) -> Curve:
    """A straight line: a + (b - a) u."""
    low, height = min(a, b), abs(b - a)
    if b < a:
        return lambda u: low + height * (1 - u)
    return lambda u: low + height * u


def cosine(a: float, b: float, m: Any) -> Curve:
    """Half a cosine wave: b + (a - b) (1 + cos(pi u)) / 2 (Loshchilov & Hutter 2017, arXiv 1608.03983).

    Written with sin**2 of the half angle, which keeps its digits where 1 + cos(pi u) cancels.
    """
    low, height, quarter = min(a, b), abs(b - a), math.pi / 2
    sin = m.sin

    def falling(u: Any) -> Any:
        s = sin(quarter * (1 - u))
        return low + height * (s * s)

    def rising(u: Any) -> Any:
        s = sin(quarter * u)
        return low + height * (s * s)

    return falling if b < a else rising


def sqrt(a: float, b: float, m: Any) -> Curve:
    """The "1-sqrt" cooldown: b + (a - b) (1 - sqrt(u)) (Hägele et al. 2024, arXiv 2405.18392)."""
    low, height = min(a, b), abs(b - a)
    root = m.sqrt
    if b < a:
        return lambda u: low + height * ((1 - u) / (1 + root(u)))
    return lambda u: low + height * root(u)


def poly(a: float, b: float, m: Any, power: float) -> Curve:
    """Polynomial decay: b + (a - b) (1 - u)**power; `poly:2` and so on, power > 0."""
    if not power > 0:
        raise ValueError(f"poly:{write_number(power)} needs a power above 0; write poly:2")
    low, height = min(a, b), abs(b - a)
    expm1, log1p = m.expm1, m.log1p
    if b < a:
        return lambda u: low + height * (1 - u) ** power
    return lambda u: low - height * expm1(power * log1p(-u))


def power(a: float, b: float, m: Any, p: float) -> Curve:
    """The power mean: value**p runs linearly. p = 1 is linear, 0 exponential, -1 inverse, -2 inverse square root.

    For p <= 0 neither end may be 0.
    """
    if p == 0:
        return exponential(a, b, m)
    low, high = min(a, b), max(a, b)
    if p < 0:
        _refuse_zero(low)
    ratio, inverse = (low / high) ** p, 1 / p
    if p > 0:  # linear in value**p from the low end: no cancellation near 0
        if b < a:
            return lambda u: high * (ratio + (1 - ratio) * (1 - u)) ** inverse
        return lambda u: high * (ratio + (1 - ratio) * u) ** inverse
    if b < a:
        return lambda u: high * (1 + (ratio - 1) * u) ** inverse
    return lambda u: high * (1 + (ratio - 1) * (1 - u)) ** inverse


def exponential(a: float, b: float, m: Any) -> Curve:
    """Geometric: a (b / a)**u. Neither end may be 0."""
    low, high = min(a, b), max(a, b)
    _refuse_zero(low)
    ratio = low / high
    if b < a:
        return lambda u: high * ratio**u
    return lambda u: high * ratio ** (1 - u)


def inverse(a: float, b: float, m: Any) -> Curve:
    """1 / value runs linearly, as 1 / t does. Neither end may be 0."""
    return power(a, b, m, -1)


def inverse_sqrt(a: float, b: float, m: Any) -> Curve:
    """1 / value**2 runs linearly, as 1 / sqrt(t) does (Vaswani et al. 2017, arXiv 1706.03762). No end may be 0."""
    return power(a, b, m, -2)


def _refuse_zero(low: float) -> None:
    if low == 0:
        raise ValueError("this curve never reaches 0; write 0.001, say, or another shape")


TABLE: dict[str, Shape] = {
    f.__name__: f for f in (linear, cosine, sqrt, poly, power, exponential, inverse, inverse_sqrt)
}
_OURS = frozenset(TABLE)


def register(name: str, shape: Shape) -> None:
    """Add a shape of your own under a name that the text form then knows.

    `shape(a, b, m)` returns `g(u)`, the curve for 0 < u < 1; further arguments of `shape` are numbers written after
    colons (`name:2:0.5`). Raises ValueError for a name that is taken by lehr or cannot be written in the text form.

    >>> register("smoothstep", lambda a, b, m: lambda u: a + (b - a) * u * u * (3 - 2 * u))
    >>> import lehr
    >>> round(lehr.parse("linear 10 to 1, smoothstep 90 to 0")(54), 3)
    0.5
    """
    if not name.isidentifier() or not name.isascii():
        raise ValueError(f"a shape's name is one word of letters, digits and _, not {name!r}")
    if name in RESERVED or name in _OURS:
        raise ValueError(f"the name {name!r} is taken; register the shape under another name")
    TABLE[name] = shape


def resolve(text: str) -> tuple[str, Shape]:
    """Return the canonical text of a shape such as `poly:2` and the function with its parameters filled in.

    Raises ValueError for an unknown name (with the nearest one), or for the wrong number of parameters.
    """
    name, *rest = text.split(":")
    if name not in TABLE:
        raise ValueError(f"unknown shape {name!r}{nearest(name, TABLE) or '; known are ' + ', '.join(TABLE)}")
    shape = TABLE[name]
    names = list(inspect.signature(shape).parameters)[3:]
    if len(rest) != len(names):
        takes = f"write {name}:" + ":".join(f"<{n}>" for n in names) if names else f"write {name!r} alone"
        raise ValueError(f"shape {text!r} has {len(rest)} parameters; {takes}")
    parameters = [_parameter(word, text) for word in rest]
    canonical = ":".join([name, *map(write_number, parameters)])
    return canonical, (lambda a, b, m: shape(a, b, m, *parameters)) if parameters else shape


def _parameter(word: str, text: str) -> float:
    try:
        value = float(read_number(word.removeprefix("-")))
    except (ValueError, OverflowError):
        raise ValueError(f"shape {text!r} has the parameter {word!r}, which is not a number") from None
    return -value if word.startswith("-") else value
