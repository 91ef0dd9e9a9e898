"""Optimizers to schedule, and a training loop that only notes what each update used."""

import io

import torch


def optimizer_with(*lrs, **settings):
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs], **settings)


def lrs_used(optimizer, scheduler, updates):
    """The LR of each group at each update, in PyTorch's order of calls."""
    used = []
    for _ in range(updates):
        used.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return used


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def named(**lrs):
    """SGD with a group for each name."""
    return torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], "name": name, "lr": lr} for name, lr in lrs.items()]
    )


def values(optimizer, key, index=None):
    """A hyperparameter of each group, as plain numbers."""
    return [float(group[key] if index is None else group[key][index]) for group in optimizer.param_groups]
