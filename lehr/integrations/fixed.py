"""Two schedulers whose arguments are fixed by those who wrote them first: warmup and a cosine, in absolute LRs."""

from typing import Any

from torch.optim import Optimizer

from lehr.functional import get_lr
from lehr.integrations.hyperparameters import put
from lehr.integrations.scheduler import Scheduler
from lehr.schedule import Ramp, Schedule


class WarmupCosineScheduler:
    """`lehr.functional.get_lr` for an optimizer: `step()` sets every group to the next LR and returns it.

    Call it *before* each `optimizer.step()`: the first call sets the LR of update 0, max_lr / warmup_steps. (The
    optimizer has that LR from construction on, too.) All groups get the same, absolute LR.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> scheduler = WarmupCosineScheduler(optimizer, warmup_steps=2, max_steps=10, max_lr=0.1)
    >>> scheduler.step(), scheduler.step(), scheduler.get_last_lr()
    (0.05, 0.1, [0.1])
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, max_steps: int, max_lr: float, min_lr: float = 0
    ) -> None:
        self.optimizer = optimizer
        self.settings: dict[str, Any] = {
            "warmup_steps": warmup_steps,
            "max_steps": max_steps,
            "max_lr": max_lr,
            "min_lr": min_lr,
        }
        self.steps = 0  # calls of step()
        self._set(0)

    def _set(self, step: int) -> float:
        lr = get_lr(step, **self.settings)
        for group in self.optimizer.param_groups:
            put(group, "lr", lr)
        self._last_lr = lr
        return lr

    def step(self) -> float:
        """Set the LR of the next update and return it."""
        self.steps += 1
        return self._set(self.steps - 1)

    def get_last_lr(self) -> list[float]:
        """The LR set last, once for each group."""
        return [self._last_lr] * len(self.optimizer.param_groups)

    def state_dict(self) -> dict[str, Any]:
        """The number of steps taken and the settings."""
        return {"steps": self.steps, **self.settings}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the saved step. Raises ValueError if it was saved under other settings."""
        for name, here in self.settings.items():
            if state_dict[name] != here:
                raise ValueError(f"the state was saved with {name}={state_dict[name]!r}, but here {name} is {here!r}")
        self.steps = state_dict["steps"]
        self._set(max(self.steps - 1, 0))


class CosineSchedulerWithWarmup(Scheduler):
    """`lehr.functional.get_lr_cosine_schedule` as a multiplier of each group's own initial LR.

    A group whose LR is `max_lr` follows that function exactly; one with a tenth of it follows a tenth of the curve.
    Call `step()` after each `optimizer.step()`. Raises ValueError unless max_lr is above 0.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> scheduler = CosineSchedulerWithWarmup(optimizer, max_lr=0.1, min_lr=0.01, warmup_iters=2, total_iters=10)
    >>> scheduler.get_last_lr()
    [0.0]
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.05]
    """

    def __init__(self, optimizer: Optimizer, max_lr: float, min_lr: float, warmup_iters: int, total_iters: int) -> None:
        if not max_lr > 0:
            raise ValueError(f"max_lr is above 0, not {max_lr!r}")
        if not 0 <= warmup_iters <= total_iters:
            raise ValueError(f"warmup_iters={warmup_iters} does not fit into total_iters={total_iters}")
        rise = [Ramp(0, warmup_iters, 0, 1)] if warmup_iters else []
        fall = Ramp(warmup_iters, total_iters - warmup_iters, 1, min_lr / max_lr, "cosine")
        super().__init__(optimizer, Schedule((*rise, fall), sample="start"))
