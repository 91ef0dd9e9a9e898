"""nanochat's `get_lr_multiplier` (read at 92d63d4): the script's options that it reads are the arguments.

The schedules are multipliers, and learning rates where `lr` (a group's `initial_lr`) is given. Past the end the lines
go on below their floor, where the script's loop has stopped; here they hold.
"""

from collections.abc import Callable

from lehr.conventions import _rows as rows
from lehr.conventions._rows import Phase, laid
from lehr.schedule import Schedule

REFUSED = {
    "chat_sft.get_lr_multiplier": "its clock is how much of the data has been read, which depends on how it is packed"
}


@laid("end")
def base_train(
    num_iterations: int,
    warmup_steps: int = 40,
    warmdown_ratio: float = 0.65,
    final_lr_frac: float = 0.05,
    lr: float = 1.0,
) -> list[Phase]:
    """base_train's: (s + 1) / warmup_steps, then 1, then straight down to `final_lr_frac` at s = num_iterations.

    The last warmdown_ratio of the run goes down. A warmup that reaches into it ends with a jump onto the line. A ratio
    of 0 is no warmdown.

    >>> print(base_train(num_iterations=30, warmup_steps=5, warmdown_ratio=0.5, final_lr_frac=0))
    linear 5 to 1, hold 11, linear 15 to 0
    """
    rows.not_negative(final_lr_frac=final_lr_frac, lr=lr)
    rows.count(num_iterations=num_iterations, warmup_steps=warmup_steps)
    rows.share(warmdown_ratio=warmdown_ratio)
    rows.fits("warmup_steps", warmup_steps, "num_iterations", num_iterations)
    warmdown = round(warmdown_ratio * num_iterations)
    begin = num_iterations - warmdown + 1
    row = [Phase(warmup_steps, max(begin - warmup_steps, 0), 1, 1)]
    if warmdown:
        row.append(Phase(begin, warmdown, 1, final_lr_frac))
    return [phase.times(lr) for phase in (Phase(0, warmup_steps, 0, 1), *rows.from_then_on(row, warmup_steps))]


@laid("start")
def chat_rl(num_steps: int, lr: float = 1.0) -> list[Phase]:
    """chat_rl's: 1 - s / num_steps.

    >>> print(chat_rl(num_steps=20))
    linear 20 from 1 to 0, sampled at start
    """
    rows.count(num_steps=num_steps)
    rows.above_0(num_steps=num_steps)
    rows.not_negative(lr=lr)
    return [Phase(0, num_steps, lr, 0)]


SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    "base_train.get_lr_multiplier": base_train,
    "chat_rl.get_lr_multiplier": chat_rl,
}
