"""The functions that people paste into a training loop, by their usual names; `lehr.functional` has them as functions.

The warmup climbs (s + 1) / W, the decay is taken at s: so the peak stands twice, and the floor is reached at max_steps.
"""

from collections.abc import Callable

from lehr.conventions import _rows as rows
from lehr.conventions._rows import Phase, laid, needed
from lehr.schedule import Schedule

REFUSED: dict[str, str] = {}


@laid("end")
def get_lr(warmup_steps: int, max_steps: int, max_lr: float, min_lr: float = 0.0) -> list[Phase]:
    """Straight up, half a cosine wave down to `min_lr` at `max_steps`.

    >>> print(get_lr(warmup_steps=5, max_steps=30, max_lr=1))
    linear 5 to 1, hold 1, cosine 25 to 0
    """
    return _decay(warmup_steps, max_steps, max_lr, min_lr, "cosine")


@laid("end")
def get_lr_linear_decay(warmup_steps: int, max_steps: int, max_lr: float, min_lr: float = 0.0) -> list[Phase]:
    """Straight up, straight down to `min_lr` at `max_steps`.

    >>> print(get_lr_linear_decay(warmup_steps=5, max_steps=30, max_lr=1))
    linear 5 to 1, hold 1, linear 25 to 0
    """
    return _decay(warmup_steps, max_steps, max_lr, min_lr, "linear")


@laid("end")
def get_lr_constant_with_warmup(warmup_steps: int, max_lr: float, total: int | None = None) -> list[Phase]:
    """Straight up, then the peak.

    >>> print(get_lr_constant_with_warmup(warmup_steps=6, max_lr=1, total=20))
    linear 6 to 1, hold 14
    """
    rows.not_negative(max_lr=max_lr)
    rows.count(warmup_steps=warmup_steps)
    return [
        Phase(0, warmup_steps, 0, max_lr),
        Phase(warmup_steps, max((total or 0) - warmup_steps, 0), max_lr, max_lr),
    ]


@laid("end")
def get_lr_inverse_sqrt(warmup_steps: int, max_lr: float, total: int | None = None) -> list[Phase]:
    """Straight up, then max_lr sqrt(warmup_steps / s).

    It never ends, so `total` is needed. A warmup of 0, by which the function divides, counts as one update.

    >>> print(get_lr_inverse_sqrt(warmup_steps=100, max_lr=1, total=400))
    linear 100 to 1, hold 1, inverse_sqrt 300 to 0.5
    """
    rows.not_negative(max_lr=max_lr)
    rows.count(warmup_steps=warmup_steps)
    warmup, end = max(warmup_steps, 1), needed(total)
    row = [Phase(0, warmup, 0, max_lr), Phase(warmup, 1, max_lr, max_lr)]
    if end <= warmup:
        return row
    return [*row, Phase(warmup + 1, end - warmup, max_lr, max_lr * (warmup / end) ** 0.5, "inverse_sqrt")]


def _decay(warmup: int, end: int, peak: float, floor: float, shape: str) -> list[Phase]:
    rows.not_negative(max_lr=peak, min_lr=floor)
    rows.count(warmup_steps=warmup, max_steps=end)
    rows.fits("warmup_steps", warmup, "max_steps", end)
    rise = Phase(0, warmup, 0, peak)
    if warmup == end:
        return [rise, Phase(end, 0, floor, floor)]
    return [rise, Phase(warmup, 1, peak, peak), Phase(warmup + 1, end - warmup, peak, floor, shape)]


SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    f.__name__: f for f in (get_lr, get_lr_constant_with_warmup, get_lr_inverse_sqrt, get_lr_linear_decay)
}
