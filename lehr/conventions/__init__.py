"""Schedules from other systems' names and arguments: `convert`, and one module a system.

Every module holds a plain function for each scheduler of its system, with that system's argument names and defaults.
`schedule(step)` is the very number that the system uses at update `step`, whatever its conventions about update 0 and
the last one. Past the end, where a system rises again, goes negative or crashes, lehr holds the last value.
"""

from importlib import import_module
from typing import Any

from lehr.conventions._calls import check_arguments, look_up, takes
from lehr.conventions._rows import count, not_negative
from lehr.schedule import Schedule
from lehr.words import nearest

SYSTEMS = (
    "composer",
    "cs336",
    "fvcore",
    "lingua",
    "litgpt",
    "megatron",
    "nanochat",
    "nanogpt",
    "olmo_core",
    "optax",
    "pytorch_warmup",
    "timm",
    "torch",
    "torchtitan",
    "transformers",
    "user_functions",
)


def convert(name: str, /, *, lr: float | None = None, total: int | None = None, **args: Any) -> Schedule:
    """Return the schedule that another system follows, from that system's own name and arguments.

    `name` is "system.function", such as "torch.OneCycleLR" or "transformers.get_cosine_schedule_with_warmup"; `names()`
    lists them all. `lr` is the optimizer's base LR, for the systems that read it from there; `total` is the run's
    length in updates, for curves that never end: from there on the value is held. (A curve that has an end of its own
    does not need it, and runs to that end.) The values are LRs where the system computes LRs, and multipliers where it
    computes multipliers; those few systems (composer, nanochat) give LRs if `lr` is there.

    Raises ValueError, one line, for a name or argument that the system does not have (with the nearest one that it
    has), for values that make no sense, and for what no row of ramps can be: a product of two running curves, a
    function of the user's, a schedule that follows the loss.

    >>> schedule = convert(
    ...     "transformers.get_cosine_schedule_with_warmup", lr=3e-4, num_warmup_steps=100, num_training_steps=1000
    ... )
    >>> print(schedule)
    linear 100 from 0 to 0.0003, cosine 900 to 0, sampled at start
    >>> convert("torch.CosineAnealingLR", lr=0.1, T_max=10)
    Traceback (most recent call last):
    ...
    ValueError: torch.CosineAnealingLR: unknown scheduler 'CosineAnealingLR'; did you mean 'CosineAnnealingLR'?
    """
    if not isinstance(name, str):
        raise ValueError(f"name is a text such as 'torch.OneCycleLR', not {name!r}")
    system, _, function = name.partition(".")
    if system not in SYSTEMS:
        known = nearest(system, SYSTEMS) or "; known are " + ", ".join(SYSTEMS)
        raise ValueError(
            f"unknown system {system!r} in {name!r}{known}; write system.function, as in 'torch.OneCycleLR'"
        )
    module = import_module(f"lehr.conventions.{system}")
    try:
        call = look_up(function, module.SCHEDULERS, module.REFUSED)
        if total is not None:
            count(total=total)
            if total < 1:
                raise ValueError(f"total is a count of updates >= 1, not {total!r}")
        if lr is not None:
            not_negative(lr=lr)
        given = {**args, **({} if lr is None else {"lr": lr})}
        check_arguments(call, given)
        schedule: Schedule = call(**given, **({"total": total} if total and takes(call, "total") else {}))
        return schedule
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from None
    except ArithmeticError:
        raise ValueError(f"{name}: some of these numbers are too large or too small to count with") from None


def names() -> list[str]:
    """Return every name that `convert` knows.

    >>> "torch.OneCycleLR" in names()
    True
    """
    return [f"{system}.{name}" for system in SYSTEMS for name in import_module(f"lehr.conventions.{system}").SCHEDULERS]
