"""A parameter group's hyperparameters: their initial values, and setting them to a multiple of those.

A target is "lr", "weight_decay", "momentum", "betas.0" or "betas.1". Its initial value is what the group had when it
was first seen, kept as a plain number in `group["initial_lr"]`, `group["initial_weight_decay"]`, ... and saved with the
optimizer. Tensors are filled in place: a compiled optimizer.step keeps its graph.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from lehr.integrations.couplings import breaks_product, schedule_of
from lehr.integrations.groups import Checked, Curve, Group, Rules, check_rules, choose, describe, fits, read_rules
from lehr.schedule import Schedule

Given = Schedule | Callable[[int], float] | Mapping[str, Schedule | Callable[[int], float]]
Targets = dict[str, Rules]
Binding = tuple[Curve, str, list[tuple[Group, float]]]  # a curve, what it sets, and where


def read_targets(lr: Any, weight_decay: Any, momentum: Any, betas: Any) -> Targets:
    """The arguments of `Scheduler` and `apply` as rules for each target; TypeError or ValueError for what is none."""
    targets = {"lr": read_rules("lr", lr)}
    for target, given in (("weight_decay", weight_decay), ("momentum", momentum)):
        if given is not None:
            targets[target] = read_rules(target, given)
    if betas is not None:
        if isinstance(betas, (Schedule, Mapping)) or not isinstance(betas, Sequence) or len(betas) != 2:
            raise TypeError(f"betas is a pair of schedules, not {betas!r}; write (schedule, None) for the first alone")
        for index, given in enumerate(betas):
            if given is not None:
                targets[f"betas.{index}"] = read_rules(f"betas[{index}]", given)
    return targets


def resolve(target: str, index: int, group: Group) -> str:
    """What a target is called in this group: the momentum of the Adam family is its first beta."""
    if target == "momentum" and "momentum" not in group and "betas" in group:
        return "betas.0"
    key = target.partition(".")[0]
    if key not in group:
        has = ", ".join(k for k in ("lr", "weight_decay", "momentum", "betas") if k in group)
        raise ValueError(f"{describe(index, group)} has no {key} to schedule; this optimizer has {has}")
    return target


def initial(group: Group, target: str) -> float:
    """The group's initial value of a target: the one that was kept, or else what it has. Nothing is written."""
    key, _, index = target.partition(".")
    value = group.get(f"initial_{key}")
    value = group[key] if value is None else value
    return _plain(value[int(index)] if index else value)


def keep_initial(targets: Targets, groups: Sequence[Group]) -> None:
    """Record the groups' initial values, where none are, as plain numbers: from now on the present ones may change."""
    for target in targets:
        for index, group in enumerate(groups):
            key = resolve(target, index, group).partition(".")[0]
            value = group.get(f"initial_{key}")
            value = group[key] if value is None else value
            group[f"initial_{key}"] = as_numbers(value)


def as_numbers(value: Any) -> Any:
    """A hyperparameter as a plain number, betas as a pair of them, whatever tensors held them."""
    return tuple(map(_plain, value)) if isinstance(value, (tuple, list)) else _plain(value)


def _plain(value: Any) -> float:
    return float(value.item() if isinstance(value, Tensor) else value)


def put(group: Group, target: str, value: float) -> None:
    """Set a hyperparameter, in place where a tensor holds it. Raises ValueError for a momentum or beta of 1 or more."""
    key, _, index = target.partition(".")
    if key in ("momentum", "betas") and not value < 1:
        raise ValueError(
            f"{target} of {describe(None, group)} would be {value!r}; it is below 1: write a lower multiplier"
        )
    if key == "betas":
        betas = group["betas"]
        if isinstance(betas[int(index)], Tensor):
            betas[int(index)].fill_(value)
        else:
            group["betas"] = (value, betas[1]) if index == "0" else (betas[0], value)
    elif isinstance(group[key], Tensor):
        group[key].fill_(value)
    else:
        group[key] = value


def is_plain(binding: Binding) -> bool:
    """Whether setting the value needs no look at it: a plain number, known to be in its range."""
    curve, target, pairs = binding
    known = target in ("lr", "weight_decay") or (target == "momentum" and isinstance(curve, Schedule))
    return known and not any(isinstance(group[target], Tensor) for group, _ in pairs)


def current(group: Group, target: str) -> float:
    """A hyperparameter's present value as a plain number."""
    key, _, index = target.partition(".")
    return _plain(group[key][int(index)] if index else group[key])


def bind(targets: Targets, groups: Sequence[Group]) -> list[Binding]:
    """Each curve with the groups it drives and their initial values. Raises ValueError naming a group at fault."""
    bindings: list[Binding] = []
    _check_products(targets, groups)
    for target, rules in targets.items():
        _part(target, groups)
        driven: dict[tuple[int, str], Binding] = {}
        for index, (group, curve) in enumerate(zip(groups, choose(target, rules, groups), strict=True)):
            own = resolve(target, index, group)
            if own != target and own in targets:
                raise ValueError(
                    f"the momentum of {describe(index, group)} is its betas[0]; write one of them, not both"
                )
            value = initial(group, own)
            if own not in ("lr", "weight_decay") and isinstance(curve, Schedule) and not value * curve.peak < 1:
                raise ValueError(
                    f"{own} of {describe(index, group)} would be {value * curve.peak:.6g}: it starts at {value:.6g} "
                    f"and the schedule multiplies it by up to {curve.peak:.6g}; it is below 1: write a lower multiplier"
                )
            driven.setdefault((id(curve), own), (curve, own, []))[2].append((group, value))
        bindings += driven.values()
    return bindings


def _check_products(targets: Targets, groups: Sequence[Group]) -> None:
    """Raise ValueError naming a group whose weight decay would hold the product with an LR that is not its own."""
    decays, lrs = targets.get("weight_decay", {}), targets["lr"]
    for index, group in enumerate(groups):
        decay, lr = (next((p for p in rules if fits(p, group)), None) for rules in (decays, lrs))
        if decay is None or lr is None or not breaks_product(decays[decay], lrs[lr]):
            continue
        if initial(group, "weight_decay"):  # else it holds at 0
            own = lrs[lr]
            way = f"weight_decay={{{lr!r}: constant_product(its own schedule), ...}}, with the patterns of lr,"
            if not isinstance(own, Schedule):
                way = "a function of the step, 1 / lr(step),"
            elif list(lrs) == ["*"]:
                way = "constant_product(the schedule of lr)"
            raise ValueError(
                f"the weight decay of {describe(index, group)} is {decays[decay]}, and its LR follows "
                f"{repr(str(own)) if isinstance(own, Schedule) else own}, so LR * weight_decay would not hold; "
                f"write {way} or weight_decay=0 in that group"
            )


def _part(target: str, groups: Sequence[Group]) -> None:
    """Groups that share one tensor, the optimizer's default, get one each: they may have to differ from now on."""
    key, _, index = target.partition(".")
    seen: set[int] = set()
    for group in groups:
        value = group.get(key)
        if index and value is not None:
            if id(value[int(index)]) in seen and isinstance(value[int(index)], Tensor):
                group[key] = tuple(v.clone() if isinstance(v, Tensor) else v for v in value)
            seen.add(id(group[key][int(index)]))
        elif isinstance(value, Tensor):
            if id(value) in seen:
                group[key] = value.clone()
            seen.add(id(group[key]))


def check(targets: Targets, groups: Sequence[Group]) -> None:
    """Raise ValueError for rules that do nothing: a pattern that fits no group, a multiple of what is 0 everywhere."""
    for target, rules in targets.items():
        check_rules(target, rules, groups)
    for target in targets:
        owns = [resolve(target, index, group) for index, group in enumerate(groups)]
        if target in ("weight_decay", "momentum") and not any(map(initial, groups, owns)):
            raise ValueError(
                f"the {target} of every parameter group is 0, and a schedule multiplies it; "
                f"write {target}={'0.1' if target == 'weight_decay' else '0.9'}, say, in the optimizer"
            )


def check_kept(targets: Targets, groups: Sequence[Group], last_epoch: int) -> None:
    """Raise KeyError, as torch does, for a group without the initial values that starting at `last_epoch` needs."""
    for target in targets:
        for index, group in enumerate(groups):
            name = "initial_" + resolve(target, index, group).partition(".")[0]
            if name not in group:
                raise KeyError(
                    f"param {name!r} is not specified in {describe(index, group)}, which last_epoch={last_epoch} "
                    "needs; load the optimizer's state first, or leave it out and call scheduler.load_state_dict"
                )


def show(groups: Sequence[Group], target: str, rules: Rules, pattern: str, value: float) -> str:
    """A multiplier as the value that the first group of its pattern would have."""
    for index, group in enumerate(groups):
        if next((p for p in rules if fits(p, group)), None) == pattern:
            name = "LR" if target == "lr" else target
            return f"{name} {initial(group, resolve(target, index, group)) * value:.6g}"
    return f"{value:.6g} times the initial value"


def record(targets: Targets, groups: Sequence[Group], step: int) -> dict[str, Any]:
    """What is set for update `step`: the phase and values of the first group, and of each group its name and values."""
    rows: list[dict[str, Any]] = [{"name": group.get("name", str(i))} for i, group in enumerate(groups)]
    for target, rules in targets.items():
        for index, (row, group, curve) in enumerate(zip(rows, groups, choose(target, rules, groups), strict=True)):
            if target == "lr":
                schedule = schedule_of(curve.function if isinstance(curve, Checked) else curve)
                row["phase"] = None if schedule is None else schedule.phase(step)
            own = resolve(target, index, group)
            row[own.partition(".")[0]] = (
                tuple(map(_plain, group["betas"])) if own.startswith("betas") else current(group, own)
            )
    first = rows[0] if rows else {"phase": None, "lr": None}
    return {"step": step, "phase": first["phase"], "lr": first["lr"], "groups": rows}
