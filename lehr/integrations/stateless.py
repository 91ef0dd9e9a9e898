"""`apply`: what an update uses, set without a scheduler and without state."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

from lehr.integrations.hyperparameters import Given, bind, check, keep_initial, put, read_targets, record
from lehr.integrations.peaks import warn_of_rates


def apply(
    optimizer: Optimizer,
    step: int,
    lr: Given,
    *,
    weight_decay: Given | None = None,
    momentum: Given | None = None,
    betas: Sequence[Given | None] | None = None,
) -> dict[str, Any]:
    """Set what update `step` uses, and return the record of it; the arguments are those of `Scheduler`.

    Stateless: call it before each `optimizer.step()`, in any order of steps. group["lr"] becomes
    group["initial_lr"] * lr(step), and the initial LR is what the group had when it was first seen.

    >>> import torch, lehr
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> apply(optimizer, 0, lehr.cosine(total=10, warmup=2))
    {'step': 0, 'phase': 'warmup', 'lr': 0.05, 'groups': [{'name': '0', 'phase': 'warmup', 'lr': 0.05}]}
    """
    targets, groups = read_targets(lr, weight_decay, momentum, betas), optimizer.param_groups
    check(targets, groups)
    if not all("initial_lr" in group for group in groups):  # the first time
        warn_of_rates(targets, groups, stacklevel=3)
    keep_initial(targets, groups)
    for curve, target, pairs in bind(targets, groups):
        factor = curve(step)
        for group, value in pairs:
            put(group, target, value * factor)
    return record(targets, groups, step)
