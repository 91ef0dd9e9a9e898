"""nanoGPT's `get_lr` (read at 3adf61e1): the globals of train.py that it reads are the arguments.

The warmup climbs (s + 1) / (W + 1), so that it is neither at 0 at the first update nor at the peak at its last; the
cosine is taken at s. The floor is reached one update after the last, and held.
"""

from collections.abc import Callable

from lehr.conventions import _rows as rows
from lehr.conventions._rows import Phase, laid
from lehr.schedule import Schedule

REFUSED: dict[str, str] = {}


@laid("end")
def get_lr(
    learning_rate: float = 6e-4, warmup_iters: int = 2000, lr_decay_iters: int = 600_000, min_lr: float = 6e-5
) -> list[Phase]:
    """Straight up to `learning_rate`, half a cosine wave down to `min_lr` at `lr_decay_iters`.

    A warmup as long as that, on which nanoGPT divides by 0, is followed by `min_lr`.

    >>> print(get_lr(learning_rate=1, warmup_iters=10, lr_decay_iters=50, min_lr=0.1))
    linear 11 to 1, cosine 40 to 0.1
    """
    rows.not_negative(learning_rate=learning_rate, min_lr=min_lr)
    rows.count(warmup_iters=warmup_iters, lr_decay_iters=lr_decay_iters)
    rows.fits("warmup_iters", warmup_iters, "lr_decay_iters", lr_decay_iters)
    # without a warmup update 0 has the peak, at the end of a hold
    first = Phase(0, warmup_iters + 1, 0 if warmup_iters else learning_rate, learning_rate)
    if warmup_iters == lr_decay_iters:
        return [first, Phase(warmup_iters, 0, min_lr, min_lr)]
    return [first, Phase(warmup_iters + 1, lr_decay_iters - warmup_iters, learning_rate, min_lr, "cosine")]


SCHEDULERS: dict[str, Callable[..., Schedule]] = {"get_lr": get_lr}
