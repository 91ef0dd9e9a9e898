"""A scheduler's state that another library wrote: its step is all that a schedule can go on from.

torch's own schedulers, those of the Hugging Face Trainer (torch's LambdaLR) and of accelerate save `last_epoch`, which
is the number of completed updates where they stepped once an update.
"""

import warnings
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def is_foreign(state: dict[str, Any]) -> bool:
    """Whether no `Scheduler` of lehr wrote the state."""
    return not {"last_epoch", "schedule", "fingerprint"} <= set(state)


def take_step(state: dict[str, Any], on_mismatch: str, child: bool = False) -> dict[str, Any]:
    """The state as one of lehr's that holds its step and no schedule.

    `child`: of a SequentialLR, whose step is -1 until its turn comes. Raises ValueError unless `on_mismatch` is "new",
    as the other ways need the saved schedule, and for a state without a step.

    >>> take_step({"last_epoch": 12, "base_lrs": [0.1]}, "new")
    {'last_epoch': 12, 'schedule': {}, 'fingerprint': {}}
    """
    step = state.get("last_epoch")
    told = f"this is not the state of a lehr Scheduler: its keys are {', '.join(map(str, state)) or 'none'}"
    if not isinstance(step, int) or isinstance(step, bool) or step < -child:
        raise ValueError(
            f"{told}; it has no step (last_epoch) to go on from: after n updates write "
            "Scheduler(..., last_epoch=n - 1), built after the optimizer's state was loaded, and load no state into it"
        )
    if on_mismatch != "new":
        lacks = "" if on_mismatch == "error" else f"on_mismatch={on_mismatch!r} needs the text of the saved schedule; "
        raise ValueError(
            f'{told}; {lacks}on_mismatch="new" takes its step, {step}, and goes on from there along the schedule here'
        )
    return {"last_epoch": step, "schedule": {}, "fingerprint": {}}


def warn_of_count(step: int, optimizer: Optimizer) -> None:
    """Warn where the step is plainly not the number of updates, as far as the optimizer counts them (SGD does not).

    A scheduler may be ahead by the updates that AMP skipped, but neither behind nor at twice the count.
    """
    counts: list[Any] = [state.get("step") for state in optimizer.state.values() if isinstance(state, dict)]
    numbers = [int(each) for each in counts if isinstance(each, (int, float)) or _is_number(each)]
    made = max(numbers, default=0)
    if made and not made <= step < 2 * made:
        warnings.warn(
            f"the other scheduler's state is at step {step:,}, and the optimizer has counted {made:,} updates: "
            "that scheduler may have stepped once an epoch, or under accelerate once for each process; the schedule "
            f"goes on at step {step:,}: to go on at the optimizer's count, call scheduler.step({made}) now",
            stacklevel=4,
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1
