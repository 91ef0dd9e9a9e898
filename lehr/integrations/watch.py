"""A hook of the optimizer's own, before each `optimizer.step()`: the scheduler looks at the groups, and knows of it.

Groups that are not those it knows (they were added, replaced, or a state was loaded) are so scheduled, or refused,
before their first update. The hook holds the scheduler weakly, and goes with it.
"""

import weakref
from typing import Any

from torch.optim import Optimizer


class Watch:
    """Runs before each optimizer.step()."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = weakref.ref(scheduler)

    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        scheduler = self.scheduler()
        if scheduler is not None:
            scheduler._look()
            scheduler._updated = True


def watch(scheduler: Any) -> None:
    """Have the scheduler's optimizer call its `_look` before each update, for as long as the scheduler lives."""
    optimizer: Any = scheduler.optimizer
    while not hasattr(optimizer, "_optimizer_step_pre_hooks"):  # accelerate's optimizer holds another in it
        if not isinstance(getattr(optimizer, "optimizer", None), Optimizer):
            return
        optimizer = optimizer.optimizer
    handle = optimizer.register_step_pre_hook(Watch(scheduler))
    weakref.finalize(scheduler, handle.remove).atexit = False
