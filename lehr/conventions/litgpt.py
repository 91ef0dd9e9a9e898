"""LitGPT's schedules (read at 26857050): `get_lr` of litgpt/pretrain.py, `get_lr_scheduler` of litgpt/finetune.

Pretraining counts micro-batches and sets the LR for each; the last micro-batch of an update has the LR that counts.
With accumulation over n the curve is therefore taken at s + 1 - 1/n, without at s.
"""

from collections.abc import Callable

from lehr.conventions import _rows as rows
from lehr.conventions._rows import Phase, laid, lay
from lehr.schedule import Schedule

REFUSED: dict[str, str] = {}


def pretrain(
    learning_rate: float,
    max_steps: int,
    lr_warmup_steps: int = 100,
    min_lr: float = 6e-5,
    gradient_accumulation_iters: int = 1,
) -> Schedule:
    """Straight up from 0 over `lr_warmup_steps` updates, half a cosine wave down to `min_lr` at `max_steps`.

    A warmup longer than the run is cut to it, as LitGPT does, and one as long, on which it divides by 0, is followed by
    `min_lr`.

    >>> print(pretrain(learning_rate=1, max_steps=40, lr_warmup_steps=5, min_lr=0.1))
    linear 5 to 1, cosine 35 to 0.1, sampled at start
    >>> print(pretrain(learning_rate=1, max_steps=40, lr_warmup_steps=5, min_lr=0.1, gradient_accumulation_iters=4))
    at 0.25 linear 5 to 1, cosine 35 to 0.1
    """
    rows.not_negative(learning_rate=learning_rate, min_lr=min_lr)
    rows.count(
        max_steps=max_steps, lr_warmup_steps=lr_warmup_steps, gradient_accumulation_iters=gradient_accumulation_iters
    )
    rows.above_0(max_steps=max_steps, gradient_accumulation_iters=gradient_accumulation_iters)
    warmup = min(lr_warmup_steps, max_steps)
    row = [
        Phase(0, warmup, 0, learning_rate),
        Phase(warmup, max_steps - warmup, learning_rate, min_lr, "cosine"),
    ]
    if gradient_accumulation_iters == 1:
        return lay(row)
    return lay([phase.moved(1 / gradient_accumulation_iters) for phase in row], "end")


@laid("start")
def finetune(lr: float, warmup_steps: int, max_steps: int) -> list[Phase]:
    """s / warmup_steps, then half a cosine wave down to 0 at `max_steps`, where torch climbs again; here 0 is held.

    A warmup of 0, or as long as the run, on which LitGPT divides by 0, vanishes, or is followed by 0.

    >>> print(finetune(lr=1, warmup_steps=5, max_steps=30))
    linear 5 to 1, cosine 25 to 0, sampled at start
    """
    rows.not_negative(lr=lr)
    rows.count(warmup_steps=warmup_steps, max_steps=max_steps)
    rows.fits("warmup_steps", warmup_steps, "max_steps", max_steps)
    return [Phase(0, warmup_steps, 0, lr), Phase(warmup_steps, max_steps - warmup_steps, lr, 0, "cosine")]


SCHEDULERS: dict[str, Callable[..., Schedule]] = {"finetune.get_lr_scheduler": finetune, "pretrain.get_lr": pretrain}
