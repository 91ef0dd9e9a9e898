"""Schedules under Hugging Face accelerate: one step an optimizer update, whatever the number of processes.

model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
scheduler = prepare(accelerator, Scheduler(optimizer, schedule))

accelerate's own wrapper calls a scheduler's step() once for each process. `lehr`'s Scheduler knows the repetitions for
what they are, so `accelerator.prepare(scheduler)` counts updates, too; `prepare` here also tells it of skipped updates.
"""

from typing import Any

from accelerate import Accelerator
from accelerate.scheduler import AcceleratedScheduler

from lehr.integrations.scheduler import Scheduler

__all__ = ["PreparedScheduler", "prepare"]


class PreparedScheduler(AcceleratedScheduler):  # type: ignore[misc]
    """A scheduler that steps once after each optimizer update and is told of those that were skipped."""

    _is_accelerate_prepared = True  # `accelerator.prepare` leaves it as it is

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Call it after each `optimizer.step()`; while gradients accumulate it does nothing."""
        if not self.step_with_optimizer:
            self.scheduler.step(*args, **kwargs)
        elif self.gradient_state.sync_gradients:
            kwargs.setdefault("skipped", any(optimizer.step_was_skipped for optimizer in self.optimizers))
            self.scheduler.step(*args, **kwargs)

    def record(self) -> dict[str, Any]:
        """What the next update will use, see `Scheduler.record`."""
        record: dict[str, Any] = self.scheduler.record()
        return record


def prepare(accelerator: Accelerator, scheduler: Scheduler) -> PreparedScheduler:
    """Return the scheduler as this accelerator's: `accelerator.save_state` and `load_state` include it.

    The optimizer is prepared before. Raises TypeError for another library's scheduler, which would not know what a
    skipped update is, and ValueError for one whose optimizer this accelerator did not prepare.
    """
    if not isinstance(scheduler, Scheduler):
        raise TypeError(f"prepare takes a lehr Scheduler, not {scheduler!r}; accelerator.prepare takes the others")
    optimizers = [o for o in accelerator._optimizers if scheduler.optimizer in (o, o.optimizer)]
    if not optimizers:
        raise ValueError("the scheduler's optimizer is not prepared; write optimizer = accelerator.prepare(optimizer)")
    step_with_optimizer = accelerator.step_scheduler_with_optimizer
    mine = PreparedScheduler(scheduler, optimizers, step_with_optimizer, split_batches=True)
    accelerator.prepare_scheduler(mine)
    return mine
