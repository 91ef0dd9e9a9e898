"""Numbers near to an estimate: the least squares, and the whole times and short decimals about what they give."""

from collections.abc import Callable

GRIDS = (10_000, 5000, 1000, 500, 100, 50, 10, 5, 1)
USUAL = (0.0, 0.1, 0.01, 0.05, 0.2, 0.001)  # floors, for a log that ends before its schedule

Fit = tuple[float, float, float]  # v = c + m w: c, m, and the sum of the squares that are left


def weight_at(g: Callable[[float], float], s: float, begin: float, end: float) -> float:
    """The value of a curve that falls from 1 at the time `begin` to 0 at `end`, and is level before and after."""
    u = (s - begin) / (end - begin)
    return 1.0 if u <= 0 else 0.0 if u >= 1 else g(u)


def line(pairs: list[tuple[float, float]]) -> Fit | None:
    """v = c + m w by least squares: (c, m, the sum of the squares that are left)."""
    n = len(pairs)
    w0, v0 = sum(w for w, _ in pairs) / n, sum(v for _, v in pairs) / n
    ww = sum((w - w0) ** 2 for w, _ in pairs)
    if ww < 1e-18:
        return None
    m = sum((w - w0) * (v - v0) for w, v in pairs) / ww
    if m <= 0:
        return None
    return v0 - m * w0, m, sum((v - v0 - m * (w - w0)) ** 2 for w, v in pairs)


def least(
    off: Callable[[float, float], float], at: tuple[float, float], size: tuple[float, float]
) -> tuple[float, float]:
    """The pair with the least of a function (Nelder & Mead 1965, Computer Journal 7, for two numbers)."""
    corners = [at, (at[0] + size[0], at[1]), (at[0] - size[0], at[1] + size[1])]
    simplex = sorted((off(*corner), corner) for corner in corners)
    for _ in range(160):
        (_, a), (fb, b), (fc, c) = simplex
        if abs(a[0] - c[0]) + abs(a[1] - c[1]) < 0.02:
            break

        def on(
            x: float, a: tuple[float, float] = a, b: tuple[float, float] = b, c: tuple[float, float] = c
        ) -> tuple[float, tuple[float, float]]:
            """The point x times as far from the worst corner's mirror axis as that corner."""
            middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
            p = (middle[0] + x * (c[0] - middle[0]), middle[1] + x * (c[1] - middle[1]))
            return off(*p), p

        new = on(-1)
        if new[0] < simplex[0][0]:
            new = min(new, on(-2))
        elif new[0] >= fb:
            new = min(new, on(0.5), on(-0.5))
        if new[0] < fc:
            simplex[2] = new
        else:
            half = [((a[0] + p[0]) / 2, (a[1] + p[1]) / 2) for p in (b, c)]
            simplex[1:] = [(off(*p), p) for p in half]
        simplex.sort()
    return simplex[0][1]


def inverse(g: Callable[[float], float], weight: float) -> float:
    """Where a falling curve has the weight."""
    lo, hi = 0.0, 1.0
    for _ in range(50):
        middle = (lo + hi) / 2
        lo, hi = (middle, hi) if g(middle) > weight else (lo, middle)
    return hi


def digits(number: float) -> float:
    """How many digits it has without the zeros behind them."""
    return len(str(int(number)).strip("0"))


def roundness(pair: tuple[int, int]) -> float:
    """How many digits say the two times, counted from 0 or from 1."""
    return min(digits(pair[0] + a) + digits(pair[1] + b) for a in (0, 1) for b in (0, 1))


def near(time: float, reach: float) -> list[int]:
    """Whole times near to one, the roundest first: of the times themselves, and of those one later."""
    found = []
    for size in GRIDS:
        for shift in (0, 1):
            middle = round((time + shift) / size)
            for k in (middle, middle - 1, middle + 1) if size > 1 else range(middle - 2, middle + 3):
                if abs(k * size - shift - time) <= reach:
                    found.append(k * size - shift)
    return list(dict.fromkeys(found))


def short_within(lo: float, hi: float) -> list[float]:
    """The shortest decimals from lo to hi: at most three, with ever more digits."""
    if lo <= 0 <= hi:
        return [0.0]
    found: list[float] = []
    middle = (lo + hi) / 2
    for digits in range(1, 17):
        value = float(f"{middle:.{digits - 1}e}")
        if lo <= value <= hi:
            found.append(value)
    return list(dict.fromkeys(found))[:3] or [middle]
