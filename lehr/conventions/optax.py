"""optax.schedules (read at 0.2.8): functions of the update count, with LRs of their own.

Every curve is taken at the number of completed updates s, so a schedule's `init_value` is the LR of update 0 and its
end is reached one update after the last. (Under jit optax counts in int32 and computes partly in float32; the values
here are the formula's, in float64.) optax logs and stays at `init_value` for ever where `transition_steps` is 0; here a
phase of length 0 vanishes, as it does everywhere in lehr.
"""

from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from math import ceil, log
from operator import mul
from typing import Any

from lehr.conventions import _rows as rows
from lehr.conventions._calls import in_sequence, nested
from lehr.conventions._rows import Phase, laid, needed
from lehr.schedule import Schedule

REFUSED = {"reduce_on_plateau": "it follows a measured loss, which no schedule can know"}


@laid("start")
def constant_schedule(value: float, total: int | None = None) -> list[Phase]:
    """`value`. `total` gives it a length.

    >>> print(constant_schedule(3e-4, total=1000))
    hold 1000 from 0.0003, sampled at start
    """
    return [Phase(0, needed(total), value, value)]


@laid("start")
def linear_schedule(
    init_value: float, end_value: float, transition_steps: int, transition_begin: int = 0
) -> list[Phase]:
    """`init_value` for `transition_begin` updates, then straight to `end_value` over `transition_steps`.

    >>> print(linear_schedule(0, 0.5, transition_steps=10, transition_begin=4))
    hold 4 from 0, linear 10 to 0.5, sampled at start
    """
    return _polynomial(init_value, end_value, 1, transition_steps, transition_begin)


@laid("start")
def polynomial_schedule(
    init_value: float, end_value: float, power: float, transition_steps: int, transition_begin: int = 0
) -> list[Phase]:
    """(init_value - end_value) (1 - t / transition_steps)**power + end_value, t counted from `transition_begin`.

    >>> print(polynomial_schedule(1, 0.01, power=2, transition_steps=20, transition_begin=5))
    hold 5, poly:2 20 to 0.01, sampled at start
    """
    return _polynomial(init_value, end_value, power, transition_steps, transition_begin)


@laid("start")
def cosine_decay_schedule(
    init_value: float, decay_steps: int, alpha: float = 0.0, exponent: float = 1.0
) -> list[Phase]:
    """init_value ((1 - alpha) ((1 + cos(pi s / decay_steps)) / 2)**exponent + alpha).

    >>> print(cosine_decay_schedule(1, 24, alpha=0.05, exponent=0.5))
    cosine_power:0.5 24 from 1 to 0.05, sampled at start
    """
    rows.not_negative(init_value=init_value, alpha=alpha)
    return [_cosine(0, init_value, decay_steps, init_value * alpha, exponent)]


@laid("start")
def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
    total: int | None = None,
) -> list[Phase]:
    """init_value decay_rate**(t / transition_steps), t counted from `transition_begin`, but not beyond `end_value`.

    `staircase` takes the whole part of t / transition_steps. `total` is needed unless the curve reaches `end_value`.

    >>> print(exponential_decay(1, 10, 0.5, end_value=0.25))
    exponential 20 from 1 to 0.25, sampled at start
    >>> print(exponential_decay(1, 10, 0.5, staircase=True, total=30))
    hold 10, hold 10 from 0.5, hold 10 from 0.25, sampled at start
    """
    rows.not_negative(init_value=init_value)
    rows.above_0(transition_steps=transition_steps, decay_rate=decay_rate)
    rows.count(transition_begin=transition_begin)
    begin, limit = transition_begin, end_value
    if limit is not None:
        rows.not_negative(end_value=limit)
        low, high = (limit, float("inf")) if decay_rate < 1 else (0.0, limit)
        init_value = min(max(init_value, low), high)
    if limit is not None and limit == init_value:
        return [Phase(0, 0, init_value, init_value)]
    if limit is not None and decay_rate != 1 and limit > 0 and init_value > 0:
        periods = log(limit / init_value) / log(decay_rate)
        end = begin + transition_steps * (ceil(periods) if staircase else periods)
    else:
        end = max(needed(total), begin)
    row = [Phase(0, begin, init_value, init_value)]
    if not staircase:
        fall = rows.decay(begin, init_value, decay_rate, transition_steps, end)
        if fall and limit and fall[-1].stop == end:  # the limit itself, not what rounding made of it
            fall[-1] = fall[-1]._replace(end=limit)
        return row + fall
    row += rows.stairs(begin, init_value, decay_rate, transition_steps, end)
    return row if limit is None else [*row, Phase(row[-1].stop, 0, limit, limit)]


@laid("start")
def warmup_constant_schedule(
    init_value: float, peak_value: float, warmup_steps: int, total: int | None = None
) -> list[Phase]:
    """Straight from `init_value` to `peak_value`, and on. (With `warmup_steps=0` optax stays at `init_value`.)

    >>> print(warmup_constant_schedule(0, 1, warmup_steps=6, total=20))
    linear 6 to 1, hold 14, sampled at start
    """
    row = _polynomial(init_value, peak_value, 1, warmup_steps, 0)
    return [*row, Phase(warmup_steps, max((total or 0) - warmup_steps, 0), peak_value, peak_value)]


@laid("start")
def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> list[Phase]:
    """Straight to `peak_value`, then a cosine to `end_value`; `decay_steps` is the whole length, warmup included.

    optax refuses a warmup as long as that; here the decay is then a jump at the end.

    >>> print(warmup_cosine_decay_schedule(0, 1, warmup_steps=10, decay_steps=50, end_value=0.1))
    linear 10 to 1, cosine 40 to 0.1, sampled at start
    """
    rows.count(warmup_steps=warmup_steps, decay_steps=decay_steps)
    rows.fits("warmup_steps", warmup_steps, "decay_steps", decay_steps)
    row = _polynomial(init_value, peak_value, 1, warmup_steps, 0)
    return [*row, _cosine(warmup_steps, peak_value, decay_steps - warmup_steps, end_value, exponent)]


@laid("start")
def warmup_exponential_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
    total: int | None = None,
) -> list[Phase]:
    """Straight to `peak_value`, then `exponential_decay` from there, its `transition_begin` counted from then.

    >>> print(warmup_exponential_decay_schedule(0, 1, 5, 8, 0.5, end_value=0.25))
    linear 5 to 1, exponential 16 to 0.25, sampled at start
    """
    row = _polynomial(init_value, peak_value, 1, warmup_steps, 0)
    args = {
        "init_value": peak_value,
        "transition_steps": transition_steps,
        "decay_rate": decay_rate,
        "transition_begin": transition_begin,
        "staircase": staircase,
        "end_value": end_value,
    }
    rest = None if total is None else max(total - warmup_steps, 0)
    return row + [p.moved(warmup_steps) for p in nested(["exponential_decay", args], SCHEDULERS, REFUSED, total=rest)]


@laid("start")
def piecewise_constant_schedule(
    init_value: float, boundaries_and_scales: Any = None, total: int | None = None
) -> list[Phase]:
    """`init_value`, multiplied by each scale from its boundary on: {boundary: scale}, or [boundary, scale] pairs.

    >>> print(piecewise_constant_schedule(1, {10: 0.1, 20: 0.5}))
    hold 10, hold 10 from 0.1, hold 0 from 0.05, sampled at start
    """
    rows.not_negative(init_value=init_value)
    begins, scales = _boundaries(boundaries_and_scales)
    return rows.levels([0, *begins], list(accumulate([init_value, *scales], mul)), total)


@laid("start")
def piecewise_interpolate_schedule(
    interpolate_type: str, init_value: float, boundaries_and_scales: Any = None
) -> list[Phase]:
    """Through the values that `piecewise_constant_schedule` jumps to, reached at their boundaries, linear or cosine.

    >>> print(piecewise_interpolate_schedule("cosine", 0.25, {5: 4, 25: 0.125}))
    cosine 5 from 0.25 to 1, cosine 20 to 0.125, sampled at start
    """
    rows.one_of(("linear", "cosine"), interpolate_type=interpolate_type)
    rows.not_negative(init_value=init_value)
    begins, scales = _boundaries(boundaries_and_scales)
    values = accumulate([init_value, *scales], mul)
    row = [
        Phase(begin, end - begin, a, b, interpolate_type)
        for (begin, end), (a, b) in zip(pairwise([0, *begins]), pairwise(values), strict=True)
    ]
    return row or [Phase(0, 0, init_value, init_value)]


@laid("start")
def linear_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> list[Phase]:
    """peak / div_factor, straight up to the peak, down to peak / div_factor, and down to a final_div_factor-th of it.

    >>> print(linear_onecycle_schedule(40, 1, div_factor=4, final_div_factor=8))
    linear 12 from 0.25 to 1, linear 22 to 0.25, linear 6 to 0.03125, sampled at start
    """
    rows.above_0(div_factor=div_factor, final_div_factor=final_div_factor)
    scales = {
        _joint(pct_start, transition_steps, "pct_start"): div_factor,
        _joint(pct_final, transition_steps, "pct_final"): 1 / div_factor,
        transition_steps: 1 / final_div_factor,
    }
    return _one_cycle("linear", peak_value, div_factor, scales)


@laid("start")
def cosine_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> list[Phase]:
    """peak / div_factor, up to the peak, and down to peak / (div_factor final_div_factor), both along cosines.

    >>> print(cosine_onecycle_schedule(40, 1))
    cosine 12 from 0.04 to 1, cosine 28 to 4e-06, sampled at start
    """
    rows.above_0(div_factor=div_factor, final_div_factor=final_div_factor)
    scales = {
        _joint(pct_start, transition_steps, "pct_start"): div_factor,
        transition_steps: 1 / (div_factor * final_div_factor),
    }
    return _one_cycle("cosine", peak_value, div_factor, scales)


@laid("start")
def sgdr_schedule(cosine_kwargs: Any) -> list[Phase]:
    """`warmup_cosine_decay_schedule` again and again, one for each entry of `cosine_kwargs`.

    >>> print(sgdr_schedule([{"init_value": 0, "peak_value": 1, "warmup_steps": 3, "decay_steps": 15}]))
    linear 3 to 1, cosine 12 to 0, sampled at start
    """
    row: list[Phase] = []
    begin = 0
    for kwargs in rows.sequence("cosine_kwargs", cosine_kwargs):
        spec = ["warmup_cosine_decay_schedule", kwargs]
        row += [phase.moved(begin) for phase in nested(spec, SCHEDULERS, REFUSED)]
        begin += kwargs["decay_steps"]
    if not row:
        raise ValueError("cosine_kwargs is a list of at least one")
    return row


@laid("start")
def join_schedules(schedules: Any, boundaries: Any, total: int | None = None) -> list[Phase]:
    """One schedule after another, each starting anew at its boundary; `schedules` are written [name, arguments].

    `total` is needed where the last one never ends.

    >>> warmup = ["linear_schedule", {"init_value": 0, "end_value": 1, "transition_steps": 5}]
    >>> print(join_schedules([warmup, ["cosine_decay_schedule", {"init_value": 1, "decay_steps": 9}]], [5]))
    linear 5 to 1, cosine 9 to 0, sampled at start
    """

    def phases_of(number: int, spec: Any, length: float | None) -> list[Phase]:
        return nested(spec, SCHEDULERS, REFUSED, total=length)

    return in_sequence({"schedules": schedules, "boundaries": boundaries}, phases_of, total)


# ---------------------------------------------------------------------------------------------------------------------


def _polynomial(
    init_value: float, end_value: float, power: float, transition_steps: int, transition_begin: int
) -> list[Phase]:
    rows.count(transition_steps=transition_steps, transition_begin=transition_begin)
    row = [Phase(0, transition_begin, init_value, init_value)] if transition_begin else []
    return [*row, Phase(transition_begin, transition_steps, init_value, end_value, rows.poly(power))]


def _cosine(begin: float, start: float, duration: int, end: float, exponent: float) -> Phase:
    rows.count(decay_steps=duration)
    rows.above_0(exponent=exponent)
    return Phase(begin, duration, start, end, "cosine" if exponent == 1 else f"cosine_power:{exponent!r}")


def _boundaries(boundaries_and_scales: Any) -> tuple[list[float], list[float]]:
    pairs = boundaries_and_scales.items() if isinstance(boundaries_and_scales, Mapping) else boundaries_and_scales or []
    found: dict[float, float] = {}
    for pair in rows.sequence("boundaries_and_scales", pairs):
        if not (isinstance(pair, (list, tuple)) and len(pair) == 2):
            raise ValueError(
                f"boundaries_and_scales is {{boundary: scale}} or a list of [boundary, scale], not {pair!r}"
            )
        boundary, scale = pair
        rows.count(boundary=boundary)
        rows.not_negative(scale=scale)
        found[boundary] = scale
    return sorted(found), [found[boundary] for boundary in sorted(found)]


def _joint(pct: float, transition_steps: int, name: str) -> int:
    rows.count(transition_steps=transition_steps)
    rows.above_0(transition_steps=transition_steps)
    rows.share(**{name: pct})
    return int(pct * transition_steps)


def _one_cycle(shape: str, peak: float, div_factor: float, scales: dict[int, float]) -> list[Phase]:
    rows.not_negative(peak_value=peak)
    args = {"interpolate_type": shape, "init_value": peak / div_factor, "boundaries_and_scales": scales}
    return nested(["piecewise_interpolate_schedule", args], SCHEDULERS, REFUSED)


SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    f.__name__: f
    for f in (
        constant_schedule,
        cosine_decay_schedule,
        cosine_onecycle_schedule,
        exponential_decay,
        join_schedules,
        linear_onecycle_schedule,
        linear_schedule,
        piecewise_constant_schedule,
        piecewise_interpolate_schedule,
        polynomial_schedule,
        sgdr_schedule,
        warmup_constant_schedule,
        warmup_cosine_decay_schedule,
        warmup_exponential_decay_schedule,
    )
}
