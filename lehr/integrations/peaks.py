"""The groups' initial values, the peaks that a schedule multiplies: carried over, and looked at for mistakes."""

import inspect
import math
import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lehr.integrations.couplings import schedule_of
from lehr.integrations.groups import Group, describe
from lehr.integrations.hyperparameters import Targets, as_numbers, initial

LOW = 0.1  # multipliers reach 1; what stays below this are learning rates (as in `lehr check`)


def carry_over(before: list[Group], groups: list[Group], on_mismatch: str) -> None:
    """Initial values from the groups that were there before a state was loaded to those that it brought."""
    for index, (old, group) in enumerate(zip(before, groups, strict=False)):
        for name in [name for name in old if name.startswith("initial_")]:
            # one that was saved without a scheduler has no initial values: what it has may be anything
            if _alike(group.setdefault(name, old[name]), old[name]):
                continue
            if on_mismatch == "new":
                group[name] = old[name]
                continue
            warnings.warn(
                f"the loaded optimizer brings {name}={_short(group[name])} for {describe(index, group)}, "
                f"which had {_short(old[name])} here; the loaded one goes on: to change it, write "
                f"on_mismatch=\"new\", or set group['{name}'] and call scheduler.refresh()",
                stacklevel=4,
            )


def warn_of_rates(targets: Targets, groups: Sequence[Group], stacklevel: int) -> None:
    """Warn of a schedule of learning rates, which the groups' own would multiply once more."""
    schedules = [schedule_of(curve) for curve in targets["lr"].values()]
    lr = max((initial(group, "lr") for group in groups), default=0.0)
    peaks = [schedule.peak for schedule in schedules if schedule is not None]
    if not peaks or len(peaks) < len(schedules) or not 0 < lr < 1:  # with lr=1 learning rates are what is wanted
        return
    peak = max(peaks)
    if 0 < peak < LOW or (peak < 1 and _close(peak, lr)):
        warnings.warn(
            f"the schedule's greatest value is {peak:.6g}, which looks like a learning rate; it multiplies the "
            f"optimizer's own, so that {lr:.6g} becomes {lr * peak:.3g}: write multipliers of it, with a peak of 1 "
            "(schedule.normalized()[1] has them), or lr=1 in the optimizer",
            stacklevel=stacklevel,
        )


def warn_of_brought(targets: Targets, optimizer: Optimizer, stacklevel: int) -> None:
    """Warn of an optimizer that was loaded before the scheduler was built, and brought what it was not made with.

    What it was made with is known by its defaults alone, which groups with values of their own do not go by: where one
    group agrees with them, or nobody gave any, nothing is said.
    """
    groups = optimizer.param_groups
    for key in dict.fromkeys(target.partition(".")[0] for target in targets):
        name, given = f"initial_{key}", optimizer.defaults.get(key)
        parameter = inspect.signature(type(optimizer)).parameters.get(key)
        held = any(isinstance(each, Tensor) for each in (given if isinstance(given, tuple) else (given,)))
        if given is None or parameter is None or held or given == parameter.default:
            continue  # a default in a tensor may be the group's own, and filled since
        # torch puts the parameters last in a group that it loads, first in one that it makes
        loaded = [group for group in groups if name in group and list(group).index(name) < list(group).index("params")]
        brought = list(dict.fromkeys(as_numbers(group[name]) for group in loaded))
        if brought and len(loaded) == len(groups) and not any(_alike(given, each) for each in brought):
            warnings.warn(
                f"the optimizer was made with {key}={_short(as_numbers(given))} and has loaded {name}="
                f"{', '.join(map(_short, brought))}, which goes on; to take the code's, build the scheduler before the "
                f"optimizer loads its state, or set group['{name}'] and call scheduler.refresh()",
                stacklevel=stacklevel,
            )


def _alike(value: Any, other: Any) -> bool:
    """Whether two values are the same number, or pair of numbers, as far as a tensor in float32 tells."""
    value, other = (x if isinstance(x, tuple) else (x,) for x in (as_numbers(value), as_numbers(other)))
    return len(value) == len(other) and all(map(_close, value, other))


def _close(value: float, other: float) -> bool:
    return math.isclose(value, other, rel_tol=1e-6)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (int, float)) else str(value)
