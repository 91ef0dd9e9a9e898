"""Who calls a scheduler, and after what: seen from the call itself, so that nothing has to be told or remembered."""

import warnings
from types import FrameType
from typing import Any

ORDER = "see https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"
REPEATER = "accelerate.scheduler"  # the module of accelerate's wrapper, whose step() calls ours once for each process


def check_order(optimizer: Any) -> None:
    """Warn, as torch does, where the first `scheduler.step()` comes before the first `optimizer.step()`."""
    if not hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        warnings.warn(
            "optimizer.step was replaced after the scheduler was built, so nobody can tell whether it is called "
            f"before scheduler.step(), as it should be; {ORDER}",
            stacklevel=3,
        )
    elif not getattr(optimizer, "_opt_called", False):
        warnings.warn(
            "scheduler.step() was called before the first optimizer.step(), which so misses the first LR; write "
            "optimizer.step() before scheduler.step(), or scheduler.step(skipped=True) after an update that was "
            f"skipped; {ORDER}",
            stacklevel=3,
        )


def is_repetition(scheduler: Any, caller: FrameType | None) -> bool:
    """Whether a `step()` without an update before it is one of those that accelerate makes for the other processes."""
    # A frame's locals are looked at in methods alone: what they hold in a function of the user's would be kept alive.
    while caller is not None and caller.f_globals.get("__name__") != REPEATER:
        if caller.f_code.co_name != "step" or caller.f_locals.get("self") is not scheduler:
            return False
        caller = caller.f_back  # that was the step() of a subclass, which called ours
    if caller is None:
        return False
    from accelerate.state import AcceleratorState  # it is there, since it calls

    wrapper = caller.f_locals["self"]
    repeats = wrapper.step_with_optimizer and not wrapper.split_batches
    return bool(repeats and AcceleratorState().num_processes > 1)


def is_child(scheduler: Any, caller: FrameType) -> bool:
    """Whether a state is loaded by a SequentialLR or ChainedScheduler that has this scheduler among its own."""
    if caller.f_code.co_name != "load_state_dict":
        return False
    return any(child is scheduler for child in getattr(caller.f_locals.get("self"), "_schedulers", ()))
