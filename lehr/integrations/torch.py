"""Schedules for any PyTorch optimizer.

optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)          # the peak
scheduler = Scheduler(optimizer, lehr.cosine(total=10_000, warmup=200))
for batch in data:
    loss(model, batch).backward()
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
"""

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lehr.functional import get_lr
from lehr.integrations.from_torch import from_torch
from lehr.schedule import Ramp, Schedule
from lehr.spec import parse

__all__ = ["CosineSchedulerWithWarmup", "Scheduler", "WarmupCosineScheduler", "from_torch"]

MISMATCH = ("error", "saved", "new")


class Scheduler(LRScheduler):
    """A `torch.optim.lr_scheduler.LRScheduler` over any schedule: each group's LR is its initial LR times `lr(step)`.

    `lr` is a `lehr.Schedule` or any function from the number of completed updates to a multiplier. Call `step()` after
    each `optimizer.step()`; the LR of the first update is set at construction. A group's initial LR is what it had when
    it was first seen, kept in `group["initial_lr"]` and saved with the optimizer; the current LR is never read, so the
    order of building and loading does not matter. An LR held in a tensor is filled in place.

    The state is the step and the schedule's text, plain data that `torch.load(weights_only=True)` reads. Loading a
    state whose schedule differs from this one's raises ValueError, which shows both; `on_mismatch="new"` keeps this
    one, `"saved"` takes the saved one over.

    >>> import torch, lehr
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> scheduler = Scheduler(optimizer, lehr.cosine(total=10, warmup=2))
    >>> optimizer.param_groups[0]["lr"]
    0.05
    >>> optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr()
    [0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr: Schedule | Callable[[int], float],
        *,
        last_epoch: int = -1,
        on_mismatch: str = "error",
    ) -> None:
        if not callable(lr):
            raise TypeError(
                f"lr is a schedule or a function of the step, not {lr!r}; write lehr.parse('...') for a text"
            )
        if on_mismatch not in MISMATCH:
            raise ValueError(f"on_mismatch is one of {', '.join(MISMATCH)}, not {on_mismatch!r}")
        self.lr = lr
        self.on_mismatch = on_mismatch
        self._groups: list[dict[str, Any]] = []
        self._peaks: list[tuple[dict[str, Any], float]] = []
        super().__init__(optimizer, last_epoch)  # records initial_lr, and takes the first step()

    def step(self, epoch: int | None = None) -> None:
        """Set the LRs of the next update; call it after `optimizer.step()`. `epoch` sets the step itself."""
        if self._step_count == 1 and not getattr(self.optimizer, "_opt_called", True):
            warnings.warn(
                "scheduler.step() was called before the first optimizer.step(), which so misses the first LR; "
                "write optimizer.step() before scheduler.step()",
                stacklevel=2,
            )
        self._step_count += 1
        step = self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._set(step)

    def _set(self, step: int) -> None:
        # The peaks are kept at hand: a step costs one product a group. A new list means that a state was loaded.
        if self.optimizer.param_groups is not self._groups or len(self._groups) != len(self._peaks):
            self._groups = self.optimizer.param_groups
            self._peaks = [(group, _initial(group)) for group in self._groups]
            self._in_tensors = any(isinstance(group["lr"], Tensor) for group in self._groups)
        factor = self.lr(step)
        if self._in_tensors:
            for group, peak in self._peaks:
                _put(group, peak * factor)
        else:
            for group, peak in self._peaks:
                group["lr"] = peak * factor

    def get_lr(self) -> list[float | Tensor]:
        """The LR of each group at the present step."""
        factor = self.lr(self.last_epoch)
        return [_initial(group) * factor for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float | Tensor]:
        """The LR of each group as it was set last; tensors are copies."""
        lrs = [group["lr"] for group in self.optimizer.param_groups]
        return [lr.clone() if isinstance(lr, Tensor) else lr for lr in lrs]

    @property
    def _last_lr(self) -> list[float | Tensor]:  # torch's SequentialLR reads and sets it
        return self.get_last_lr()

    @_last_lr.setter
    def _last_lr(self, value: list[float | Tensor]) -> None:
        """Nothing to keep: the groups have it."""

    def state_dict(self) -> dict[str, Any]:
        """The completed updates, and the schedule's text and fingerprint (None for another function)."""
        schedule = self.lr if isinstance(self.lr, Schedule) else None
        return {
            "last_epoch": self.last_epoch,
            "schedule": schedule and str(schedule),
            "fingerprint": schedule and schedule.fingerprint,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the saved step: the groups get the LR of that step at once.

        Raises ValueError if the saved schedule is another one, unless `on_mismatch` says which one to take.
        """
        if not {"last_epoch", "schedule", "fingerprint"} <= set(state_dict):
            raise ValueError(f"this is not the state of a lehr Scheduler: its keys are {', '.join(state_dict)}")
        step, text = state_dict["last_epoch"], state_dict["schedule"]
        if isinstance(self.lr, Schedule) and text is None and self.on_mismatch != "new":
            raise ValueError(
                f"the saved state is that of a plain function, here it is {str(self.lr)!r}; "
                'write on_mismatch="new" if this schedule is to go on from there'
            )
        if isinstance(self.lr, Schedule) and text is not None and state_dict["fingerprint"] != self.lr.fingerprint:
            saved = parse(text)
            if self.on_mismatch == "error":
                raise ValueError(
                    f"the saved schedule differs: saved {text!r} ({saved(step):.6g} at step {step}), "
                    f"here {str(self.lr)!r} ({self.lr(step):.6g}); "
                    'write on_mismatch="saved" or on_mismatch="new" to say which one goes on'
                )
            if self.on_mismatch == "saved":
                self.lr = saved
        self.last_epoch = step
        self._step_count = step + 1
        self._set(step)


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
            _put(group, lr)
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


def _initial(group: dict[str, Any]) -> float:
    """The group's own peak; a group added later is first seen here."""
    initial = group.setdefault("initial_lr", group["lr"])
    if isinstance(initial, Tensor):
        initial = group["initial_lr"] = initial.item()
    return float(initial)


def _put(group: dict[str, Any], lr: float | Tensor) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(lr)  # in place: a compiled optimizer.step keeps its graph
    else:
        group["lr"] = lr
