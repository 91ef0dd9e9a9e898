"""Meta Lingua's `build_optimizer` (read at 437d680), from its OptimArgs and `n_steps`.

The curves are taken at s. At s = n_steps, which the training loop does not use, lingua's cosine flips its sign and is
at the peak; one update later its WSD is back at the peak: here both hold the floor.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from functools import wraps
from typing import Any

from lehr.conventions import _rows as rows
from lehr.conventions._rows import Phase, laid, needed
from lehr.schedule import Schedule

REFUSED: dict[str, str] = {}

STYLES = ("constant", "linear", "inv_sqrt", "cosine", "wsd")


@laid("start")
def build_optimizer(
    n_steps: int,
    scheduler: str = "cosine",
    lr: float = 3e-4,
    warmup: int = 2000,
    lr_min_ratio: float = 0.1,
    cycle_length: float = 1.0,
    cosine_theta: float = 1.0,
    annealing_step: int = 1000,
    decay_fraction: float = 0.1,
    exp_factor: float = 0.5,
    total: int | None = None,
) -> list[Phase]:
    """s / warmup, then the scheduler's curve down to lr_min_ratio times the LR.

    * constant: the LR, without a warmup.
    * linear: a straight line to `n_steps`.
    * inv_sqrt: (warmup / s)**exp_factor, and no less than the ratio. Without a ratio it never ends, and `total` is
      needed. A warmup of 0, by which lingua divides, counts as one update.
    * cosine: half a wave, (1 + cos(pi x**cosine_theta)) / 2. With `cycle_length` below 1 that is the share of the run
      in which the wave falls; the wave counts from the warmup, and what makes it fall again instead of rising from the
      start, so that it jumps in between: so in lingua, so here.
    * wsd: stable, then 1 / (x / ratio + 1 - x) over the last `decay_fraction`, of what has run so far in each of the
      cycles of `cycle_length` (Wen et al. 2024, arXiv 2410.05192). It never reaches 0: a ratio of 0 is refused.

    A warmup as long as the run, on which lingua divides by 0, is followed by the floor. `annealing_step` has no part in
    any of them.

    >>> print(build_optimizer(n_steps=50, lr=1, warmup=10))
    linear 10 to 1, cosine 40 to 0.1, sampled at start
    >>> print(build_optimizer(n_steps=40, lr=1, warmup=4, scheduler="wsd", decay_fraction=0.2, cycle_length=0.5))
    linear 4 to 1, hold 12, inverse 4 to 0.1, hold 12 from 1, inverse 8 to 0.1, sampled at start
    """
    rows.one_of(STYLES, scheduler=scheduler)
    rows.not_negative(lr=lr, lr_min_ratio=lr_min_ratio)
    rows.count(n_steps=n_steps, warmup=warmup)
    rows.above_0(n_steps=n_steps)
    if scheduler == "constant":
        return [Phase(0, n_steps, lr, lr)]
    floor = lr * lr_min_ratio
    if scheduler == "inv_sqrt":
        begin = max(warmup, 1)
        return [Phase(0, begin, 0 if warmup else lr, lr), _inverse(lr, floor, begin, exp_factor, total, n_steps)]
    rows.fits("warmup", warmup, "n_steps", n_steps)
    rest = n_steps - warmup
    if scheduler == "linear" or not rest:
        fall = [Phase(warmup, rest, lr, floor)]
    elif scheduler == "cosine":
        fall = _cosine(lr, floor, warmup, n_steps, cycle_length, cosine_theta)
    else:
        fall = _wsd(lr, floor, n_steps, cycle_length, decay_fraction)
    return [Phase(0, warmup, 0, lr), *rows.from_then_on(fall, warmup)]


def _inverse(lr: float, floor: float, begin: float, exponent: float, total: int | None, n_steps: int) -> Phase:
    """lr (begin / t)**exponent, down to the floor, or up to `total`."""
    rows.above_0(exp_factor=exponent)
    end = begin * (lr / floor) ** (1 / exponent) if floor else math.inf
    if end > rows.FOREVER:
        end = max(needed(total, such_as=n_steps), begin)
        floor = lr * (begin / end) ** exponent
    shape = {0.5: "inverse_sqrt", 1.0: "inverse"}.get(exponent, f"power:{-1 / exponent!r}")
    return Phase(begin, end - begin, lr, floor, shape)


def _cosine(lr: float, floor: float, warmup: int, n_steps: int, cycle_length: float, theta: float) -> list[Phase]:
    """Half waves of a share of what follows the warmup, upside down in every other such share of the run."""
    rows.above_0(cycle_length=cycle_length, cosine_theta=theta)
    rest = n_steps - warmup
    if theta != 1 or cycle_length >= 1:
        if cycle_length < 1:
            raise ValueError("with cosine_theta and more than one cycle no shape is the curve; give one of them")
        shape = "cosine" if theta == 1 else f"cosine:0:{float(theta)!r}"
        fall = Phase(warmup, rest * cycle_length ** (1 / theta), lr, floor, shape)
        return [fall, Phase(n_steps + (cycle_length > 1), 0, floor, floor)]
    wave, flip = cycle_length * rest, cycle_length * n_steps
    count = rows.few(1 / cycle_length)
    waves, flips = [warmup + j * wave for j in range(count)], [k * flip for k in range(count + 1)]
    row = []
    for begin in sorted({*waves, *flips}):
        if warmup <= begin < n_steps:
            j, k = bisect_right(waves, begin) - 1, bisect_right(flips, begin) - 1
            ends = (floor, lr) if (j + k) % 2 else (lr, floor)
            row.append(Phase(warmup + j * wave, wave, *ends, "cosine").entered(begin))
    at_the_end = n_steps // flip * flip == n_steps  # the sign flips at n_steps itself, which is held off here
    return [*row, Phase(n_steps + (not at_the_end), 0, floor, floor)]


def _wsd(lr: float, floor: float, n_steps: int, cycle_length: float, decay_fraction: float) -> list[Phase]:
    """Cycles of int(n_steps cycle_length) updates, each with a decay over a share of all updates so far."""
    rows.above_0(cycle_length=cycle_length)
    rows.share(decay_fraction=decay_fraction)
    if not decay_fraction < cycle_length:
        raise ValueError(f"decay_fraction={decay_fraction!r} is not below cycle_length={cycle_length!r}")
    length = int(n_steps * cycle_length)
    if length < 1:
        raise ValueError(f"cycle_length={cycle_length!r} of n_steps={n_steps} is less than one update")
    rows.few(n_steps / length)
    row: list[Phase] = []
    decay = 0
    for number in range(1, n_steps // length + 2):
        begin, end = (number - 1) * length, number * length
        decay = int(end * decay_fraction)
        if decay and not floor:
            raise ValueError("the decay 1 / (x / lr_min_ratio + 1 - x) never reaches 0; give lr_min_ratio above 0")
        fall = Phase(end - decay, decay, lr, floor, "inverse")
        if begin < n_steps:
            row += [Phase(begin, end - decay - begin, lr, lr)] if end - decay > begin else []
            row += [fall.entered(begin)] if decay else []
    last = floor if decay else lr
    return [*rows.until(row, n_steps), Phase(n_steps, 0, last, last)]


def _named(style: str) -> Callable[..., Schedule]:
    """`build_optimizer` with its scheduler in its name."""

    @wraps(build_optimizer)
    def build(**args: Any) -> Schedule:
        if args.setdefault("scheduler", style) != style:
            raise ValueError(f"scheduler={args['scheduler']!r} is not build_optimizer[{style}]; leave it out")
        return build_optimizer(**args)

    return build


SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    "build_optimizer": build_optimizer,
    **{f"build_optimizer[{style}]": _named(style) for style in STYLES},
}
