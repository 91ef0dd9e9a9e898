"""A schedule read off a live `torch.optim.lr_scheduler`, so that it can be written down, compared, drawn and resumed.

Nothing is sampled: the scheduler's own figures are handed to `lehr.conventions`, and what has no formula is refused.
"""

from collections.abc import Callable
from typing import Any

from lehr.conventions import convert, transformers
from lehr.schedule import Schedule

__all__ = ["from_torch"]

HOME = "torch.optim.lr_scheduler"


def from_torch(scheduler: Any, *, group: int = 0, total: int | None = None) -> Schedule:
    """Return the schedule that a torch scheduler follows: `schedule(step)` is the LR of update `step` of that group.

    Its values are learning rates: for a `Scheduler`, which multiplies, take `from_torch(...).normalized()`, the peak
    and the multipliers. The steps count from the beginning, wherever the scheduler stands now (its `last_epoch`).
    `group` is the index of the parameter group. `total` is the run's length, needed where the curve never ends
    (ExponentialLR, StepLR, restarts, CyclicLR): from there on the value is held. SequentialLR and ChainedScheduler are
    read with all that is in them; of LambdaLRs those that `transformers.get_*` makes are known by the function in
    them.

    Raises ValueError, one line with the reason, for a LambdaLR with any other function, for a scheduler that follows
    the loss, for a class of one's own, and for a product of two running curves.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> print(from_torch(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30, eta_min=0.01)))
    cosine 30 from 0.1 to 0.01, sampled at start
    """
    name = type(scheduler).__name__
    if type(scheduler).__module__ != HOME:
        raise ValueError(f"{name} is not one of {HOME}'s own classes; convert its arguments with lehr.convert")
    groups = scheduler.optimizer.param_groups
    if not 0 <= group < len(groups):
        raise ValueError(f"group={group} is not one of the optimizer's {len(groups)} parameter groups")
    if name == "LambdaLR":
        return _of_transformers(scheduler, group, total)
    name, args = _spec(scheduler, group)
    lr = args.pop("lr", None)
    return convert(f"torch.{name}", lr=lr, total=total, **args)


def _spec(scheduler: Any, group: int) -> tuple[str, dict[str, Any]]:
    """The name and the arguments that `lehr.conventions.torch` takes, `lr` among them."""
    name = type(scheduler).__name__
    if name in ("SequentialLR", "ChainedScheduler"):
        children = [_spec(child, group) for child in scheduler._schedulers]
        args: dict[str, Any] = {
            "schedulers": [[child, {k: v for k, v in a.items() if k != "lr"}] for child, a in children]
        }
        rates = [a["lr"] for _, a in children if "lr" in a]
        if len(set(rates)) > 1:
            raise ValueError(f"the schedulers of this {name} start from different learning rates, {rates}")
        args |= {"lr": rates[0]} if rates else {}
        return name, args | ({"milestones": list(scheduler._milestones)} if name == "SequentialLR" else {})
    if type(scheduler).__module__ != HOME or name not in READERS:
        return name, {}  # convert says why not
    return name, READERS[name](scheduler, group)


def _plain(*names: str) -> Callable[[Any, int], dict[str, Any]]:
    """Reads the arguments kept under their own names, and the LR."""

    def read(scheduler: Any, group: int) -> dict[str, Any]:
        return {"lr": float(scheduler.base_lrs[group])} | {name: _number(getattr(scheduler, name)) for name in names}

    return read


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _multi_step(scheduler: Any, group: int) -> dict[str, Any]:
    milestones = sorted(scheduler.milestones.elements())
    return {"lr": float(scheduler.base_lrs[group]), "milestones": milestones, "gamma": scheduler.gamma}


def _one_cycle(scheduler: Any, group: int) -> dict[str, Any]:
    levels = scheduler.optimizer.param_groups[group]
    phases, total = scheduler._schedule_phases, scheduler.total_steps
    return {
        "max_lr": float(levels["max_lr"]),
        "total_steps": total,
        "pct_start": min(max((phases[0]["end_step"] + 1) / total, 0.0), 1.0),
        "anneal_strategy": scheduler._anneal_func_type,
        "div_factor": float(levels["max_lr"]) / float(levels["initial_lr"]),
        "final_div_factor": float(levels["initial_lr"]) / float(levels["min_lr"]),
        "three_phase": len(phases) == 3,
    }


def _cyclic(scheduler: Any, group: int) -> dict[str, Any]:
    up = scheduler.step_ratio * scheduler.total_size
    return {
        "base_lr": float(scheduler.base_lrs[group]),
        "max_lr": float(scheduler.max_lrs[group]),
        "step_size_up": up,
        "step_size_down": scheduler.total_size - up,
        "mode": scheduler.mode,
        "gamma": scheduler.gamma,
        "scale_fn": scheduler._scale_fn_custom,
    }


READERS: dict[str, Callable[[Any, int], dict[str, Any]]] = {
    "ConstantLR": _plain("factor", "total_iters"),
    "CosineAnnealingLR": _plain("T_max", "eta_min"),
    "CosineAnnealingWarmRestarts": _plain("T_0", "T_mult", "eta_min"),
    "CyclicLR": _cyclic,
    "ExponentialLR": _plain("gamma"),
    "LinearLR": _plain("start_factor", "end_factor", "total_iters"),
    "MultiStepLR": _multi_step,
    "OneCycleLR": _one_cycle,
    "PolynomialLR": _plain("total_iters", "power"),
    "StepLR": _plain("step_size", "gamma"),
}


# ---------------------------------------------------------------------------------------------------------------------
# the functions that transformers puts into a LambdaLR

# where its name is not that of the public function around it
AROUND = {
    "get_constant": "get_constant_schedule",
    "get_cosine_schedule_with_warmup": "get_cosine_with_min_lr_schedule_with_warmup",
    "get_wsd_scheduler": "get_wsd_schedule",
}


def _of_transformers(scheduler: Any, group: int, total: int | None) -> Schedule:
    """The schedule of a LambdaLR, if its function is one of transformers' own."""
    function = scheduler.lr_lambdas[group]
    inner, args = getattr(function, "func", function), dict(getattr(function, "keywords", {}))
    positional: Any = getattr(function, "args", ())
    own = getattr(inner, "__module__", None) == "transformers.optimization" and not positional
    stem = getattr(inner, "__name__", "").removeprefix("_").removesuffix("_lambda").removesuffix("_lr")
    name = AROUND.get(stem, stem)
    if not own or name not in transformers.SCHEDULERS:
        return convert("torch.LambdaLR")  # says why not
    if name.startswith("get_cosine_with_min_lr"):
        args.setdefault("min_lr_rate", 0.0)
    if name == "get_wsd_schedule":  # a stable phase may be negative here, where the two others overlap
        args["num_training_steps"] = sum(args[f"num_{phase}_steps"] for phase in ("warmup", "stable", "decay"))
        del args["num_stable_steps"]
    lr = float(scheduler.base_lrs[group])
    base = args.pop("lr_init", lr)  # the polynomial counts from the optimizer's default LR, whatever the group's is
    schedule = convert(f"transformers.{name}", lr=base, total=total, **args)
    return schedule if base == lr else lr / base * schedule
