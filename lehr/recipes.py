"""The schedules people ask for by name: a warmup and one curve. (Restarts, cycles and steps are in `lehr.cycles`.)

Each returns a `Schedule` with peak 1: multiply it by the peak LR.

`total` counts all updates, the warmup's included. With `sample="end"` (default) the first update has LR peak/warmup,
update `warmup - 1` has the peak, and the last, `total - 1`, the final value; a recipe without warmup holds the peak for
update 0, so that peak and final value are both used. With `sample="start"` the first update of a warmup has LR 0 and
the final value is reached one update after the last. From `total` on every schedule holds its last value.
"""

import math
from typing import Any

from lehr.schedule import LATEST, Ramp, Sample, Schedule
from lehr.words import is_number


def cosine(total: int, warmup: int = 0, final: float = 0.1, sample: Sample = "end") -> Schedule:
    """Linear warmup, then half a cosine wave down to `final` (a ratio of the peak).

    final + (1 - final) (1 + cos(pi (t - W) / (T - W))) / 2 at time t, with W = warmup and T = total (Loshchilov &
    Hutter 2017, arXiv 1608.03983; without restarts as in Radford et al. 2018, GPT). `warmup == total` is legal: the
    decay is a jump after the last update. Raises ValueError for counts that do not fit; a share such as 0.02 is
    answered with the count to write.

    >>> schedule = cosine(total=10, warmup=2, final=0)
    >>> [round(schedule(step), 3) for step in (0, 1, 2, 9, 10)]
    [0.5, 1.0, 0.962, 0.0, 0.0]
    >>> print(cosine(total=100_000, warmup=2_000))
    linear 2000 to 1, cosine 98000 to 0.1
    """
    return warmed(total, warmup, sample, final, "cosine")


def linear(total: int, warmup: int = 0, final: float = 0.0, sample: Sample = "end") -> Schedule:
    """Linear warmup, then a straight line down to `final`, by default 0.

    1 - (1 - final) (t - W) / (T - W) at time t. Decay to zero is what Defazio et al. 2023 (arXiv 2310.07831) and
    Bergsma et al. 2025 (arXiv 2502.15938) recommend. Edge cases and errors as for `cosine`.

    >>> schedule = linear(total=10, warmup=2)
    >>> [schedule(step) for step in (0, 1, 5, 9)]
    [0.5, 1.0, 0.5, 0.0]
    """
    return warmed(total, warmup, sample, final, "linear")


def constant(total: int, warmup: int = 0, sample: Sample = "end") -> Schedule:
    """Linear warmup, t / W at time t, then the peak (the gradual warmup of Goyal et al. 2017, arXiv 1706.02677).

    Edge cases and errors as for `cosine`.

    >>> [constant(total=10, warmup=2)(step) for step in (0, 1, 9, 99)]
    [0.5, 1.0, 1.0, 1.0]
    """
    return warmed(total, warmup, sample, 1.0, "linear")


def inverse_sqrt(
    total: int,
    warmup: int = 0,
    timescale: int | None = None,
    sample: Sample = "end",
    *,
    cooldown: int = 0,
    final: float = 0.0,
    shape: str = "linear",
) -> Schedule:
    """Linear warmup, then 1 / sqrt(t): sqrt(s / (t - W + s)) at time t, where s is `timescale`; then a cooldown.

    With s = W, the default, this is sqrt(W / t), the schedule of Vaswani et al. 2017 (arXiv 1706.03762) scaled to peak
    1; with no warmup s defaults to 1. The last `cooldown` updates leave the curve where it stands and go to `final`
    along `shape` (Zhai et al. 2022, arXiv 2106.04560, who cool down linearly to 0, so that one long run can end at any
    time); without them `total` is where the curve stops falling, which is never at 0. Raises ValueError when warmup and
    cooldown do not fit into `total`, and for a `final` or `shape` without a cooldown; otherwise as for `cosine`.

    >>> schedule = inverse_sqrt(total=400, warmup=100)
    >>> schedule(99), schedule(399)
    (1.0, 0.5)
    >>> schedule = inverse_sqrt(total=500, warmup=100, cooldown=100)
    >>> schedule(399), schedule(449), schedule(499)
    (0.5, 0.25, 0.0)
    """
    rest = decay_steps(total, warmup, sample)
    total, cooldown = int(total), count("cooldown", cooldown, total)
    if cooldown > rest:
        raise ValueError(
            f"warmup={warmup} and cooldown={cooldown} do not fit into total={total}; write cooldown={rest} or less"
        )
    if not cooldown and (final, shape) != (0, "linear"):
        raise ValueError(f"final and shape are those of the cooldown; write cooldown={max(rest // 5, 1)}, say")
    scale = max(warmup, 1) if timescale is None else count("timescale", timescale, total)
    if scale < 1:
        raise ValueError(f"timescale is a count of updates >= 1, not {timescale!r}")
    rest, at = rest - cooldown, total - cooldown
    if not at:  # sampled at the start, without warmup, all of it a cooldown
        return Schedule((Ramp(0, cooldown, 1, final, shape),), sample)
    schedule = warmed(at, warmup, sample, (scale / (rest + scale)) ** 0.5, "inverse_sqrt")
    return schedule.cooldown(at, cooldown, final, shape) if cooldown else schedule


def wsd(
    total: int, warmup: int, decay: int, final: float = 0.0, shape: str = "sqrt", sample: Sample = "end"
) -> Schedule:
    """Warmup, stable, decay: linear warmup, the peak, and a cooldown over the last `decay` updates to `final`.

    Hu et al. 2024, MiniCPM (arXiv 2404.06395); the default cooldown is the 1-sqrt of Hägele et al. 2024 (arXiv
    2405.18392), who recommend 20 % of the run. Raises ValueError when warmup and decay do not fit into `total`.

    >>> print(wsd(total=1000, warmup=20, decay=200))
    linear 20 to 1, hold 780, sqrt 200 to 0
    """
    decay_steps(total, warmup, sample)
    total, warmup = int(total), int(warmup)
    decay = count("decay", decay, total)
    if warmup + decay > total:
        raise ValueError(
            f"warmup={warmup} and decay={decay} do not fit into total={total}; write decay={total - warmup}"
        )
    ramps = [Ramp(0, warmup, 0, 1)] if warmup else []
    if total - warmup - decay:
        ramps.append(Ramp(warmup, total - warmup - decay, 1, 1))
    return Schedule((*ramps, Ramp(total - decay, decay, 1, final, shape)), sample)


def trapezoid(total: int, warmup: int, decay: int, final: float = 0.0, sample: Sample = "end") -> Schedule:
    """Linear up, level, linear down over the last `decay` updates: `wsd` with a linear cooldown.

    Xing et al. 2018 (arXiv 1802.08770) name the shape; Hägele et al. 2024 (arXiv 2405.18392) use it as a cooldown.

    >>> print(trapezoid(total=1000, warmup=20, decay=200))
    linear 20 to 1, hold 780, linear 200 to 0
    """
    return wsd(total, warmup, decay, final, "linear", sample)


def polynomial(total: int, warmup: int = 0, power: float = 2.0, final: float = 0.0, sample: Sample = "end") -> Schedule:
    """Linear warmup, then final + (1 - final) (1 - u)**power with u = (t - W) / (T - W).

    The "poly" policy of DeepLab (Chen et al. 2017, arXiv 1606.00915, with power 0.9); power = 1 is `linear`. Raises
    ValueError for a power that is not above 0; otherwise as `cosine`.

    >>> print(polynomial(total=100, warmup=10))
    linear 10 to 1, poly:2 90 to 0
    """
    return warmed(total, warmup, sample, final, f"poly:{power!r}")


def exponential(total: int, warmup: int = 0, final: float = 0.1, sample: Sample = "end") -> Schedule:
    """Linear warmup, then final**u with u = (t - W) / (T - W): the same factor every update.

    Li & Arora 2019 (arXiv 1910.07454) study it. `final` is above 0, which an exponential never reaches (ValueError).

    >>> exponential(total=101, warmup=1, final=0.01)(50)
    0.1
    """
    return warmed(total, warmup, sample, final, "exponential")


def half_cosine(total: int, warmup: int = 0, final: float = 0.0, sample: Sample = "end") -> Schedule:
    """Linear warmup, then final + (1 - final) (1 - sin(pi u / 2)): a cosine's second half, steep at once.

    OLMo-core's HalfCosWithWarmup (read there in 2026). Edge cases and errors as for `cosine`.

    >>> print(half_cosine(total=100, warmup=10))
    linear 10 to 1, half_cosine 90 to 0
    """
    return warmed(total, warmup, sample, final, "half_cosine")


def rex(total: int, warmup: int = 0, final: float = 0.0, sample: Sample = "end") -> Schedule:
    """Linear warmup, then a reflected exponential: final + (1 - final) (1 - u) / (1/2 + (1 - u) / 2).

    Above a straight line, and steepest at the end (Chen et al. 2021, arXiv 2107.04197).

    >>> round(rex(total=101, warmup=1)(50), 3)
    0.667
    """
    return warmed(total, warmup, sample, final, "rex")


def noam(total: int, warmup: int, sample: Sample = "end") -> Schedule:
    """The schedule of the Transformer: min(t**-0.5, t W**-1.5), scaled to peak 1 (Vaswani et al. 2017, 1706.03762).

    Multiply by (d_model W)**-0.5 for the paper's learning rates; its step_num is lehr's step + 1.

    >>> lrs = (512 * 4000) ** -0.5 * noam(total=100_000, warmup=4000)
    >>> math.isclose(lrs(0), 512**-0.5 * 4000**-1.5), math.isclose(lrs(15_999), 512**-0.5 * 16_000**-0.5)
    (True, True)
    """
    return inverse_sqrt(total, warmup, None, sample)


def power(total: int, warmup: int = 0, exponent: float = -0.51, sample: Sample = "end") -> Schedule:
    """Linear warmup, then a power of time: ((t - W + s) / s)**exponent with s = max(W, 1).

    The power scheduler (Shen et al. 2024, arXiv 2408.13359) as in OLMo-core, scaled to peak 1; `exponent` is below 0
    (ValueError). -0.5 is `inverse_sqrt`.

    >>> round(power(total=400, warmup=100, exponent=-1)(199), 3)
    0.5
    """
    if not (is_number(exponent) and exponent < 0):
        raise ValueError(f"exponent is a number below 0, such as -0.51, not {exponent!r}")
    rest, scale = decay_steps(total, warmup, sample), max(warmup, 1)
    return warmed(total, warmup, sample, ((rest + scale) / scale) ** exponent, f"power:{1 / exponent!r}")


def untuned_linear(total: int, beta2: float = 0.999, sample: Sample = "end") -> Schedule:
    """A linear warmup over 2 / (1 - beta2) updates, then the peak: nothing to tune (Ma & Yarats 2019, 1910.04209).

    Raises ValueError unless 0 <= beta2 < 1, and for a warmup longer than `total`.

    >>> print(untuned_linear(total=1000, beta2=0.95))
    linear 40 to 1, hold 960
    """
    return constant(total, round(2 * _timescale(beta2)), sample)


def untuned_exponential(total: int, beta2: float = 0.999, sample: Sample = "end") -> Schedule:
    """An exponential approach to the peak, 1 - exp(-(1 - beta2) t) at time t (Ma & Yarats 2019, arXiv 1910.04209).

    The peak is reached, to the last bit, after 40 / (1 - beta2) updates. ValueError unless 0 <= beta2 < 1.

    >>> round(untuned_exponential(total=1000, beta2=0.95)(19), 4)
    0.6321
    """
    total, scale = count("total", total), _timescale(beta2)
    if total > 40 * scale:  # exp(-40) is nothing beside 1
        rise = Ramp(0, 40 * scale, 0, 1, "approach:40")
        return Schedule((rise, Ramp(rise.end, total - rise.end, 1, 1)), sample)
    share = total / scale
    return Schedule((Ramp(0, total, 0, -math.expm1(-share), f"approach:{share!r}"),), sample)


def _timescale(beta2: float) -> float:
    """1 / (1 - beta2), whole where beta2 is a decimal such as 0.95, whose difference from 1 no float has."""
    if not (is_number(beta2) and 0 <= beta2 < 1):
        raise ValueError(f"beta2 is a number from 0 to below 1, such as 0.999, not {beta2!r}")
    return round(1 / (1 - beta2), 6)


def warmed(total: int, warmup: int, sample: Sample, final: float, shape: str) -> Schedule:
    """Linear warmup to 1, then `shape` to `final` at `total`."""
    final = ratio("final", final)
    rest = decay_steps(total, warmup, sample)
    head = total - rest
    if final == 1 and not warmup:
        return Schedule((Ramp(0, total, 1, 1),), sample)
    ramps = [Ramp(0, head, 0 if warmup else 1, 1)] if head else []
    if rest or final != 1:
        ramps.append(Ramp(head, rest, 1, final, shape))
    return Schedule(tuple(ramps), sample)


def decay_steps(total: int, warmup: int, sample: Sample) -> int:
    """How many updates follow the warmup, or the one update at the peak that stands in for it (`sample="end"`)."""
    total = count("total", total)
    warmup = count("warmup", warmup, total)
    if total < 1:
        raise ValueError(f"total is a count of updates >= 1, not {total}")
    if warmup > total:
        raise ValueError(f"warmup={warmup} is longer than total={total}; write warmup={total} or less")
    return total - (warmup or (1 if sample == "end" else 0))


def ratio(name: str, value: float) -> float:
    """Return a ratio of the peak as a float."""
    try:
        number = float(value) if is_number(value) else math.nan
    except OverflowError:
        number = math.inf
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} is a ratio of the peak, a number >= 0, not {value!r}")
    return number


def count(name: str, value: Any, total: int = 0) -> int:
    """Return a count of updates as an int; a share of `total` is refused with the count to write."""
    if not is_number(value):
        raise TypeError(f"{name} is a whole number of updates, not {value!r}")
    if not abs(value) <= LATEST:  # nor NaN
        raise ValueError(f"{name} is a whole number of updates, at most 2**62, not {value!r}")
    if value != int(value):
        whole = total if is_number(total) and 0 < total <= LATEST else 10_000
        share = f"; for {100 * value:.3g} % of the run write {name}={round(value * whole)}"
        hint = share if 0 < value < 1 else ""
        raise ValueError(f"{name} is a whole number of updates, not {value!r}{hint}")
    if value < 0:
        raise ValueError(f"{name} is a count of updates >= 0, not {value!r}")
    return int(value)
