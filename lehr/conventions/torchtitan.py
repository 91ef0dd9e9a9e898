"""torchtitan's LRSchedulersContainer (read at b5bcd76c): warmup, stable, decay.

The warmup counts s + 1, and a virtual update after the last one keeps the LR of the last from being the floor: the
curve is as if the run had one more update. Past that torchtitan goes on below the floor, or asserts; here it is held.
"""

from collections.abc import Callable

from lehr.conventions import _rows as rows
from lehr.conventions._rows import Phase, laid
from lehr.schedule import Schedule

REFUSED: dict[str, str] = {}


@laid("end")
def LRSchedulersContainer(
    lr: float,
    training_steps: int,
    warmup_steps: int = 200,
    total_steps: int | None = None,
    decay_ratio: float | None = None,
    decay_type: str = "linear",
    min_lr_factor: float = 0.0,
) -> list[Phase]:
    """Straight up over `warmup_steps`, stable, then down to min_lr_factor times the LR over a share of `total_steps`.

    Without `decay_ratio` all that follows the warmup is decay. As in torchtitan, a warmup longer than the run is cut to
    it, and a decay to what the warmup leaves. `decay_type` is linear, sqrt (1 - sqrt) or cosine.

    >>> print(LRSchedulersContainer(lr=1, training_steps=30, warmup_steps=5))
    linear 5 to 1, hold 1, linear 25 to 0
    >>> print(LRSchedulersContainer(lr=1, training_steps=40, warmup_steps=5, decay_ratio=0.25, decay_type="sqrt"))
    linear 5 to 1, hold 26, sqrt 10 to 0
    """
    rows.not_negative(lr=lr, min_lr_factor=min_lr_factor)
    rows.count(training_steps=training_steps, warmup_steps=warmup_steps)
    rows.one_of(("linear", "sqrt", "cosine"), decay_type=decay_type)
    end = training_steps if total_steps is None else total_steps
    rows.count(total_steps=end)
    warmup = min(warmup_steps, end)
    decay = end - warmup
    if decay_ratio is not None:
        rows.share(decay_ratio=decay_ratio)
        decay = min(round(end * decay_ratio), decay)
    begin = end + 1 - decay
    row = [Phase(0, warmup, 0, lr), Phase(warmup, begin - warmup, lr, lr)]
    return [*row, Phase(begin, decay, lr, lr * min_lr_factor, decay_type)] if decay else row


SCHEDULERS: dict[str, Callable[..., Schedule]] = {"LRSchedulersContainer": LRSchedulersContainer}
