"""The curves that a ramp can follow: the functions behind the names of `lehr.shapes`.

A shape is a function `shape(a, b, m, *parameters)` that returns `g(u)`: the curve from `a` (at u = 0) to `b`
(at u = 1). `m` is the module that owns the array (math, numpy, torch or jax.numpy), so one definition serves them
all. `g` is only asked for 0 < u < 1: the evaluator returns `a` and `b` themselves at the ends and clips between,
for registered shapes too, so that every schedule is exact at its joints and never leaves [low, high].

The formulas are written as low + (high - low) * weight, or high * ratio: `a + (b - a) * u` misses `b` in one pair of
floats out of six, and `a * (1 - u) + b * u` is not monotone. The weight counts from the low end and is a product of
factors that all rise, or all fall, none of them the difference of two numbers that are nearly equal: so a curve keeps
its digits all the way down to 0, and never turns back between two steps.
"""

import math
from collections.abc import Callable
from typing import Any

from lehr.words import write_number

Curve = Callable[[Any], Any]
Shape = Callable[..., Curve]

WIDEST = 40.0  # tanh is flat long before, and sinh of twice this is still within 32-bit floats


def linear(a: float, b: float, m: Any) -> Curve:
    """A straight line: a + (b - a) u."""
    low, height = min(a, b), abs(b - a)
    if b < a:
        return lambda u: low + height * (1 - u)
    return lambda u: low + height * u


# ---------------------------------------------------------------------------------------------------------------------
# waves


def cosine(a: float, b: float, m: Any, u0: float = 0.0, k: float = 1.0) -> Curve:
    """Half a cosine wave: b + (a - b) (1 + cos(pi u)) / 2 (Loshchilov & Hutter 2017, arXiv 1608.03983).

    `cosine:u0` is that wave entered late, its part from u0 on, stretched between a and b. `cosine:u0:k` runs over the
    k-th power of its time, (1 + cos(pi x**k)) / 2 with x = u0 + (1 - u0) u (k-decay: Zhang & Li 2020, arXiv 2004.05909;
    timm's `k_decay`, lingua's `cosine_theta`).

    Written with sin**2 of the half angle, which keeps its digits where 1 + cos(pi u) cancels.
    """
    low, height, quarter = min(a, b), abs(b - a), math.pi / 2
    sin = m.sin
    if u0 or k != 1:
        return _late_cosine(a, b, m, u0, k)

    def falling(u: Any) -> Any:
        s = sin(quarter * (1 - u))
        return low + height * (s * s)

    def rising(u: Any) -> Any:
        s = sin(quarter * u)
        return low + height * (s * s)

    return falling if b < a else rising


def _late_cosine(a: float, b: float, m: Any, u0: float, k: float) -> Curve:
    if not (u0 == 0 or 1e-12 <= u0 < 1):
        raise ValueError(f"cosine:{write_number(u0)} is entered at a share of its time below 1; write cosine:0.5")
    if not k > 0:
        raise ValueError(f"cosine:{write_number(u0)}:{write_number(k)} needs a power above 0; write cosine:0:2")
    low, height, quarter, rest = min(a, b), abs(b - a), math.pi / 2, 1 - u0
    sin, expm1, log, log1p = m.sin, m.expm1, m.log, m.log1p
    gone = u0**k
    whole = -math.expm1(k * math.log(u0)) if u0 else 1.0  # 1 - gone
    sin0, cot0 = math.sin(quarter * whole), math.sin(quarter * gone)
    norm, cot0 = sin0 * sin0, cot0 / sin0 if sin0 else math.inf
    one = 1 + cot0 * cot0

    def to_come(u: Any) -> Any:  # 1 - x**k
        if k == 1:
            return rest * (1 - u)
        return -expm1(k * (log1p(-rest * (1 - u)) if u0 else log(u)))

    def passed(u: Any) -> Any:  # x**k - gone
        if k == 1:
            return rest * u
        return gone * expm1(k * log1p(rest / u0 * u)) if u0 else u**k

    def falling(u: Any) -> Any:
        s = sin(quarter * to_come(u))
        return low + height * (s * s / norm)

    # 1 - sin(x)**2 / sin(x0)**2 = 1 / (1 + (1 + c0**2) / (d (d + 2 c0))) with c0 = cot(x0) and d = cot(x) - c0, which
    # is sin(x0 - x) / (sin(x) sin(x0)). 1e-300: where the time's power is too small for a float the weight is 0
    def rising(u: Any) -> Any:
        d = sin(quarter * passed(u)) / (sin(quarter * to_come(u)) * sin0)
        return low + height / (1 + one / (d * (d + 2 * cot0) + 1e-300))

    return falling if b < a else rising


def half_cosine(a: float, b: float, m: Any) -> Curve:
    """The second half of a cosine's fall: b + (a - b) (1 - sin(pi u / 2)), steep at once (OLMo-core)."""
    low, height, quarter = min(a, b), abs(b - a), math.pi / 2
    sin = m.sin

    def falling(u: Any) -> Any:
        s = sin(quarter / 2 * (1 - u))
        return low + height * (2 * (s * s))

    return falling if b < a else lambda u: low + height * sin(quarter * u)


def cosine_power(a: float, b: float, m: Any, k: float) -> Curve:
    """A power of the cosine: b + (a - b) ((1 + cos(pi u)) / 2)**k; `cosine_power:2`, k > 0 (optax's `exponent`)."""
    if not k > 0:
        raise ValueError(f"cosine_power:{write_number(k)} needs a power above 0; write cosine_power:2")
    low, height, quarter = min(a, b), abs(b - a), math.pi / 2
    sin, expm1, log1p = m.sin, m.expm1, m.log1p

    def falling(u: Any) -> Any:
        s = sin(quarter * (1 - u))
        return low + height * (s * s) ** k

    def rising(u: Any) -> Any:  # 1 - cos**(2 k), with cos**2 = 1 / (1 + tan**2)
        tangent = sin(quarter * u) / sin(quarter * (1 - u))
        return low - height * expm1(-k * log1p(tangent * tangent))

    return falling if b < a else rising


def tanh(a: float, b: float, m: Any, lb: float, ub: float) -> Curve:
    """The hyperbolic tangent from lb to ub, stretched between a and b; `tanh:-7:3`.

    b + (a - b) (tanh(ub) - tanh(x)) / (tanh(ub) - tanh(lb)) with x = lb + (ub - lb) u (Hsueh et al. 2018,
    arXiv 1806.01593; timm). Written with 1 - tanh(x) = 2 / (1 + exp(2 x)).
    """
    if not -WIDEST <= lb < ub <= WIDEST:
        raise ValueError(
            f"tanh:{write_number(lb)}:{write_number(ub)} needs a lower and a higher bound within 40; write tanh:-7:3"
        )
    low, height, width = min(a, b), abs(b - a), 2 * (ub - lb)
    exp, expm1 = m.exp, m.expm1
    if b < a:
        scale = (1 + math.exp(2 * lb)) / math.expm1(-width)
        return lambda u: low + height * (scale * (expm1(width * (u - 1)) / (1 + exp(2 * lb + width * u))))
    scale = (1 + math.exp(-2 * ub)) / math.expm1(-width)
    return lambda u: low + height * (scale * (expm1(-width * u) / (1 + exp(-2 * lb - width * u))))


# ---------------------------------------------------------------------------------------------------------------------
# powers of the time


def sqrt(a: float, b: float, m: Any, u0: float = 0.0) -> Curve:
    """The "1-sqrt" cooldown: b + (a - b) (1 - sqrt(u)) (Hägele et al. 2024, arXiv 2405.18392).

    `sqrt:u0` is that curve entered late: its part from u0 on, stretched between a and b.
    """
    low, height = min(a, b), abs(b - a)
    root = m.sqrt
    if not u0:
        if b < a:
            return lambda u: low + height * ((1 - u) / (1 + root(u)))
        return lambda u: low + height * root(u)
    if not 0 < u0 < 1:
        raise ValueError(f"sqrt:{write_number(u0)} is entered at a share of its time from 0 to below 1; write sqrt:0.5")
    rest, root0 = 1 - u0, math.sqrt(u0)
    if b < a:
        return lambda u: low + height * ((1 - u) * ((1 + root0) / (1 + root(u0 + rest * u))))
    expm1, log1p, growth = m.expm1, m.log1p, rest / u0
    norm = math.expm1(0.5 * math.log1p(growth))
    return lambda u: low + height * (expm1(0.5 * log1p(growth * u)) / norm)


def poly(a: float, b: float, m: Any, power: float) -> Curve:
    """Polynomial decay: b + (a - b) (1 - u)**power; `poly:2` and so on, power > 0."""
    if not power > 0:
        raise ValueError(f"poly:{write_number(power)} needs a power above 0; write poly:2")
    low, height = min(a, b), abs(b - a)
    expm1, log1p = m.expm1, m.log1p
    if b < a:
        return lambda u: low + height * (1 - u) ** power
    return lambda u: low - height * expm1(power * log1p(-u))


def k_decay(a: float, b: float, m: Any, k: float, power: float = 1.0) -> Curve:
    """Polynomial k-decay: b + (a - b) (1 - u**k)**power; `k_decay:2` (Zhang & Li 2020, arXiv 2004.05909; timm)."""
    if not (k > 0 and power > 0):
        raise ValueError(f"k_decay:{write_number(k)}:{write_number(power)} needs numbers above 0; write k_decay:2:0.5")
    low, height = min(a, b), abs(b - a)
    expm1, log, log1p = m.expm1, m.log, m.log1p
    if b < a:
        return lambda u: low + height * (-expm1(k * log(u))) ** power
    # 1 - u**k = 1 / (1 + odds)
    return lambda u: low - height * expm1(-power * log1p(u**k / -expm1(k * log(u))))


def rex(a: float, b: float, m: Any) -> Curve:
    """Reflected exponential (Chen et al. 2021, arXiv 2107.04197): b + (a - b) (1 - u) / (1/2 + (1 - u) / 2)."""
    low, height = min(a, b), abs(b - a)
    if b < a:
        return lambda u: low + height * (2 / (1 + 1 / (1 - u)))
    return lambda u: low + height * (u / (2 - u))


# ---------------------------------------------------------------------------------------------------------------------
# powers of the value


def power(a: float, b: float, m: Any, p: float) -> Curve:
    """The power mean: value**p runs linearly. p = 1 is linear, 0 exponential, -1 inverse, -2 inverse square root.

    For p <= 0 neither end may be 0.
    """
    if p == 0:
        return exponential(a, b, m)
    low, high = min(a, b), max(a, b)
    if p < 0:
        _refuse_zero(low)
    if low and abs(p) < 0.1:  # value**p is nearly 1 everywhere: work with its distance from 1
        exp, log1p, whole = m.exp, m.log1p, math.expm1(p * math.log(low / high))
        if b < a:
            return lambda u: high * exp(log1p(whole * u) / p)
        return lambda u: high * exp(log1p(whole * (1 - u)) / p)
    ratio, inverse = (low / high) ** p, 1 / p
    if p > 0:  # linear in value**p from the low end: no cancellation near 0
        if b < a:
            return lambda u: high * (ratio + (1 - ratio) * (1 - u)) ** inverse
        return lambda u: high * (ratio + (1 - ratio) * u) ** inverse
    if b < a:
        return lambda u: high * (1 + (ratio - 1) * u) ** inverse
    return lambda u: high * (1 + (ratio - 1) * (1 - u)) ** inverse


def exponential(a: float, b: float, m: Any, r: float | None = None) -> Curve:
    """Geometric: a (b / a)**u. Neither end may be 0.

    `exponential:r` is the curve r**u from 1 to r, stretched between a and b, so that it may touch 0:
    b + (a - b) (r**u - r) / (1 - r). `exponential:0.5` is Megatron-LM's exponential cooldown, 2 * 0.5**u - 1.
    """
    if r is not None:
        if not (r > 0 and r != 1):
            raise ValueError(f"exponential:{write_number(r)} needs a number above 0, not 1; write exponential:0.5")
        return _approaching(a, b, m, -math.log(r))
    low, high = min(a, b), max(a, b)
    _refuse_zero(low)
    ratio = low / high
    if b < a:
        return lambda u: high * ratio**u
    return lambda u: high * ratio ** (1 - u)


def approach(a: float, b: float, m: Any, k: float) -> Curve:
    """An exponential approach over k time constants: a + (b - a) (1 - exp(-k u)) / (1 - exp(-k)); `approach:5`, k > 0.

    The exponential warmup of Ma & Yarats 2019 (arXiv 1910.04209) and pytorch_warmup, 1 - exp(-t / tau), over k tau.
    The same family as `exponential:r`, with r = exp(-k), which from k = 746 on no float can hold.
    """
    if not k > 0:
        raise ValueError(f"approach:{write_number(k)} needs a number of time constants above 0; write approach:5")
    return _approaching(a, b, m, k)


def _approaching(a: float, b: float, m: Any, k: float) -> Curve:
    """a + (b - a) (1 - exp(-k u)) / (1 - exp(-k)) for any k but 0."""
    low, height = min(a, b), abs(b - a)
    exp, expm1, steep, whole = m.exp, m.expm1, abs(k), math.expm1(-abs(k))
    if (b < a) == (k > 0):  # flat towards the low end: v counts from it, w from the high end

        def weight(v: Any, w: Any) -> Any:
            return exp(-steep * w) * expm1(-steep * v) / whole

    else:

        def weight(v: Any, w: Any) -> Any:
            return expm1(-steep * v) / whole

    if b < a:
        return lambda u: low + height * weight(1 - u, u)
    return lambda u: low + height * weight(u, 1 - u)


def inverse(a: float, b: float, m: Any) -> Curve:
    """1 / value runs linearly, as 1 / t does. Neither end may be 0."""
    return power(a, b, m, -1)


def inverse_sqrt(a: float, b: float, m: Any, r: float | None = None) -> Curve:
    """1 / value**2 runs linearly, as 1 / sqrt(t) does (Vaswani et al. 2017, arXiv 1706.03762). No end may be 0.

    `inverse_sqrt:r` is the curve p(u) = 1 / sqrt(1 + (r**-2 - 1) u) from 1 to r, stretched between a and b, so that it
    may touch 0: b + (a - b) (p - r) / (1 - r) (OLMo-core's inverse square root above a floor).
    """
    if r is None:
        return power(a, b, m, -2)
    if not (r > 0 and r != 1):
        raise ValueError(f"inverse_sqrt:{write_number(r)} needs a number above 0, not 1; write inverse_sqrt:0.1")
    low, height, last = min(a, b), abs(b - a), max(r, 1 / r)
    root, expm1, log1p, growth = m.sqrt, m.expm1, m.log1p, math.expm1(2 * math.log(last))
    norm = math.expm1(-0.5 * math.log1p(growth))
    if (b < a) == (r < 1):  # flat towards the low end: v counts from it, w from the high end

        def weight(v: Any, w: Any) -> Any:  # 1/x - 1/last = (last**2 - x**2) / (x last (last + x))
            x = root(1 + growth * w)
            return v * ((1 + last) / (x * (x + last)))

    else:

        def weight(v: Any, w: Any) -> Any:
            return expm1(-0.5 * log1p(growth * v)) / norm

    if b < a:
        return lambda u: low + height * weight(1 - u, u)
    return lambda u: low + height * weight(u, 1 - u)


def _refuse_zero(low: float) -> None:
    if low == 0:
        raise ValueError("this curve never reaches 0; write 0.001, say, or another shape")
