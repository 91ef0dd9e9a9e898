"""Schedules for Lightning: what `configure_optimizers` returns, in one call.

def configure_optimizers(self):
    optimizer = torch.optim.AdamW(self.parameters(), lr=3e-4)
    return schedule_optimizer(optimizer, "linear 5% to 1, cosine rest to 0.1", self.trainer)

Nothing here imports Lightning, so it is the same for `lightning` and `pytorch_lightning`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch.optim import Optimizer

from lehr.clock import Clock
from lehr.integrations.scheduler import Scheduler
from lehr.integrations.texts import read_texts

__all__ = ["schedule_optimizer"]


def schedule_optimizer(
    optimizer: Optimizer, lr: Any, trainer: Any = None, *, clock: Clock | None = None, **options: Any
) -> dict[str, Any]:
    """Return the optimizer with its scheduler as Lightning wants them, one step of the schedule an optimizer update.

    `lr` is a text, a Schedule, a function of the update, or a dict of them by the groups' names, see `Scheduler`;
    `options` are its own: weight_decay, momentum, betas (texts too), on_mismatch, on_skip. A text with `%` or `rest`
    needs the run's length: the `trainer`, whose `estimated_stepping_batches` counts optimizer updates, or a `clock`;
    other units need a `clock` that has them.
    For several optimizers return a list of these.

    Lightning calls the scheduler after each optimizer update, so gradient accumulation changes nothing, and keeps its
    state in the checkpoint: a fit that goes on from there goes on exactly, and one under another schedule is refused
    (ValueError, see `on_mismatch`). Raises ValueError for a text that is none, and for a trainer without an end.

    >>> import torch, lehr
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> configured = schedule_optimizer(optimizer, lehr.cosine(total=100, warmup=10))
    >>> configured["lr_scheduler"]["interval"], configured["lr_scheduler"]["frequency"]
    ('step', 1)
    """
    given = {"lr": lr}
    for name in ("weight_decay", "momentum", "betas"):
        if name in options:
            given[name] = options.pop(name)
    scheduler = Scheduler(optimizer, **_read(given, trainer, clock or Clock()), **options)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "frequency": 1}}


def _read(given: dict[str, Any], trainer: Any, clock: Clock) -> dict[str, Any]:
    """The texts read by the clock, and by the number of optimizer updates that the fit will make."""
    endless = False
    if trainer is not None and clock.total_steps is None and _has_text(given):
        updates = trainer.estimated_stepping_batches
        endless = updates == float("inf")
        clock = clock if endless else replace(clock, total_steps=int(updates))
    try:
        read: dict[str, Any] = read_texts(given, clock)
    except ValueError as error:
        if not endless:
            raise
        raise ValueError(f"{error} (the Trainer has no end; Trainer(max_steps=10_000) gives it one)") from None
    return read


def _has_text(given: Any) -> bool:
    if isinstance(given, Mapping):
        given = tuple(given.values())
    return isinstance(given, str) or (isinstance(given, Sequence) and any(map(_has_text, given)))
