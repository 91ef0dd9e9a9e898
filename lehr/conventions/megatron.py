"""Megatron-LM's OptimizerParamScheduler (read at d98e8a64), from the arguments of its command line.

Megatron counts samples: update s uses the curve at the samples consumed before it, s times the global batch size, or
the sum of the batch sizes so far where those grow. A batch size that changes makes the clock run faster: every phase
that is under way then goes on as one more ramp.
"""

import math
from collections.abc import Callable
from itertools import groupby
from typing import Any

from lehr.conventions import _rows as rows
from lehr.conventions._rows import Phase, laid
from lehr.schedule import Schedule

REFUSED: dict[str, str] = {}

STYLES = ("constant", "linear", "cosine", "inverse-square-root", "WSD")
COOLDOWNS = {"linear": "linear", "cosine": "cosine", "exponential": "exponential:0.5", "minus_sqrt": "sqrt"}


@laid("start")
def OptimizerParamScheduler(
    lr: float,
    global_batch_size: int | None = None,
    lr_decay_style: str = "linear",
    train_iters: int | None = None,
    lr_warmup_iters: int = 0,
    lr_decay_iters: int | None = None,
    lr_wsd_decay_iters: int | None = None,
    train_samples: int | None = None,
    lr_warmup_samples: int = 0,
    lr_decay_samples: int | None = None,
    lr_wsd_decay_samples: int | None = None,
    lr_warmup_fraction: float | None = None,
    lr_warmup_init: float = 0.0,
    lr_wsd_decay_style: str = "exponential",
    min_lr: float = 0.0,
    increments: Any = None,
) -> list[Phase]:
    """Up from `lr_warmup_init` to `lr`, then the decay of that style to `min_lr` at the decay horizon.

    Lengths are in iterations of `global_batch_size` samples (`train_iters` and so on) or in samples (`train_samples`
    and so on); `lr_warmup_fraction` is of the horizon and may end between two updates. `increments` lists the samples
    of each update where they are not all `global_batch_size`; the last one goes on.

    "inverse-square-root" is lr sqrt(warmup / n) at n samples, and no less than `min_lr`; past the horizon Megatron
    drops it to `min_lr`, here its last value is held. A WSD decay longer than what the warmup leaves begins in its
    midst, one update after the peak. A warmup as long as the horizon, which Megatron refuses, is followed by `min_lr`.

    >>> print(OptimizerParamScheduler(1, 16, "cosine", train_iters=50, lr_warmup_iters=10))
    linear 10 to 1, cosine 40 to 0, sampled at start
    >>> sizes = [2] * 10 + [4] * 10
    >>> print(OptimizerParamScheduler(1, 4, "linear", train_samples=60, increments=sizes))
    linear 30 from 1 to 0, at 10 linear 10 to 0, sampled at start
    """
    rows.not_negative(lr=lr, min_lr=min_lr, lr_warmup_init=lr_warmup_init)
    rows.one_of(STYLES, lr_decay_style=lr_decay_style)
    rows.one_of(list(COOLDOWNS), lr_wsd_decay_style=lr_wsd_decay_style)
    rows.fits("min_lr", min_lr, "lr", lr)
    rows.fits("lr_warmup_init", lr_warmup_init, "lr", lr)
    if train_iters is not None:
        batch = _batch(global_batch_size)
        lengths = (lr_warmup_iters, train_iters if lr_decay_iters is None else lr_decay_iters, lr_wsd_decay_iters)
    elif train_samples is not None:
        batch = 1
        lengths = (
            lr_warmup_samples,
            train_samples if lr_decay_samples is None else lr_decay_samples,
            lr_wsd_decay_samples,
        )
    else:
        raise ValueError("give train_iters (with lr_warmup_iters and so on) or train_samples")
    rows.count(warmup=lengths[0], decay=lengths[1], wsd_decay=lengths[2] or 0)
    warmup, horizon, cooldown = (float(batch * (length or 0)) for length in lengths)
    if lr_warmup_fraction is not None:
        rows.share(lr_warmup_fraction=lr_warmup_fraction)
        warmup = lr_warmup_fraction * horizon
    rows.fits("the warmup", warmup, "the decay", horizon)
    rows.above_0(lr_decay=horizon)
    if lr_decay_style == "WSD" and lengths[2] is None:
        raise ValueError("lr_decay_style='WSD' needs lr_wsd_decay_iters (or lr_wsd_decay_samples)")

    rise = Phase(0, warmup, lr_warmup_init, lr)
    rest = horizon - warmup
    if lr_decay_style == "constant":
        fall = [Phase(warmup, rest, lr, lr)]
    elif lr_decay_style == "inverse-square-root":
        fall = _inverse_sqrt(lr, min_lr, warmup, horizon)
    elif lr_decay_style == "WSD":
        begin = horizon - cooldown
        shape = COOLDOWNS[lr_wsd_decay_style]
        fall = [Phase(warmup, begin - warmup, lr, lr)] if begin > warmup else []
        decay = Phase(begin, cooldown, lr, min_lr, shape)
        # at the last sample of the warmup itself the warmup is in charge
        fall.append(decay if begin >= warmup else decay.entered(math.floor(warmup) + 0.5))
    else:
        fall = [Phase(warmup, rest, lr, min_lr, lr_decay_style)]

    sizes = [_batch(global_batch_size)] if increments is None else rows.sequence("increments", increments)
    return _in_updates([rise, *fall], _runs(sizes))


def _inverse_sqrt(lr: float, min_lr: float, warmup: float, horizon: float) -> list[Phase]:
    """lr sqrt(warmup / n) from the end of the warmup, or from the first sample, down to `min_lr` or the horizon."""
    start = max(warmup, 1)
    end = min(horizon, start * (lr / min_lr) ** 2) if min_lr else horizon
    if end <= start:
        return [Phase(warmup, 0, lr, lr)]
    return [Phase(start, end - start, lr, max(min_lr, lr * math.sqrt(start / end)), "inverse_sqrt")]


def _runs(sizes: list[Any]) -> list[tuple[int, int]]:
    """(updates, samples an update) for each stretch of equal batch sizes."""
    if not sizes:
        raise ValueError("increments is a list of at least one")
    for size in sizes:
        _batch(size)
    runs = [(len(list(group)), size) for size, group in groupby(sizes)]
    if len(runs) > max(1, len(sizes) // 2):
        raise ValueError(f"increments changes {len(runs) - 1} times in {len(sizes)} updates: that is a ramp an update")
    return runs


def _in_updates(phases: list[Phase], runs: list[tuple[int, int]]) -> list[Phase]:
    """Phases that count samples as phases that count updates. A jump between two updates is one at the next."""
    row: list[Phase] = []
    update = samples = 0
    for number, (updates, batch) in enumerate(runs, 1):
        following = math.inf if number == len(runs) else samples + updates * batch
        for phase in rows.from_then_on(phases, samples):
            if phase.begin < following:
                moved = Phase(update + (phase.begin - samples) / batch, phase.duration / batch, *phase[2:])
                if row and row[-1].at(moved.begin) != moved.start:
                    moved = moved.entered(math.ceil(moved.begin))
                row.append(moved)
        update, samples = update + updates, samples + updates * batch
    return row


def _batch(size: Any) -> int:
    if size is None:
        raise ValueError("the argument 'global_batch_size' is missing; write global_batch_size=...")
    rows.count(global_batch_size=size)
    rows.above_0(global_batch_size=size)
    return int(size)


SCHEDULERS: dict[str, Callable[..., Schedule]] = {"OptimizerParamScheduler": OptimizerParamScheduler}
