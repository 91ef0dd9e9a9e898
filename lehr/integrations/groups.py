"""Which schedule a parameter group follows: patterns on its name, the first that fits wins.

{"*.bias": s1, "head": s2, "*": s3}. A group's name is `group["name"]`; a group without one, made of named parameters
(torch >= 2.6), is known by their names, all of which a pattern has to fit.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from lehr.schedule import Schedule
from lehr.words import nearest

Curve = Callable[[int], float]
Rules = dict[str, Curve]  # pattern to schedule, or to any function of the step
Group = dict[str, Any]


class Checked:
    """A function of the step whose value is looked at: a number that is finite and >= 0, or a ValueError."""

    def __init__(self, what: str, function: Curve) -> None:
        self.what, self.function = what, function

    def __call__(self, step: int) -> float:
        value = self.function(step)
        if not 0 <= value < math.inf:
            raise ValueError(f"{self.what} is {value!r} at step {step}; return a finite number >= 0")
        return float(value)


def read_rules(what: str, given: Any) -> Rules:
    """Rules from one schedule, one function, or a dict of them by pattern; `what` is the argument's name for errors."""
    if isinstance(given, Mapping):
        if not given:
            raise ValueError(f'{what} is an empty dict; write {{"*": schedule}}')
        for pattern, curve in given.items():
            if not isinstance(pattern, str):
                raise TypeError(f"the keys of {what} are names or patterns of parameter groups, not {pattern!r}")
            _check_curve(f"{what}[{pattern!r}]", curve)
        return dict(given)
    _check_curve(what, given)
    return {"*": given}


def _check_curve(what: str, curve: Any) -> None:
    if not callable(curve):
        raise TypeError(
            f"{what} is a schedule or a function of the step, not {curve!r}; write lehr.parse('...') for a text"
        )


def describe(index: int | None, group: Group) -> str:
    """The group as an error names it."""
    if "name" in group:
        return f"parameter group {group['name']!r}"
    if index is None:
        return "a parameter group without a name"
    names = group.get("param_names")
    return f"parameter group {index}" + (f" ({names[0]}{', ...' if len(names) > 1 else ''})" if names else "")


def fits(pattern: str, group: Group) -> bool:
    """Whether a pattern fits a group. Raises ValueError if it fits some of its named parameters and not the others."""
    if pattern == "*":
        return True
    if "name" in group:
        return _matches(str(group["name"]), pattern)
    names = group.get("param_names") or []
    hits = [name for name in names if _matches(name, pattern)]
    if hits and len(hits) < len(names):
        other = next(name for name in names if name not in hits)
        raise ValueError(
            f"the pattern {pattern!r} fits {hits[0]} but not {other} of the same parameter group; "
            "put them into two groups, or give the group a 'name'"
        )
    return bool(hits)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def choose(what: str, rules: Rules, groups: Sequence[Group]) -> list[Curve]:
    """The curve of each group. Raises ValueError naming a group that no pattern fits."""
    checked: Rules = {p: curve if isinstance(curve, Schedule) else Checked(what, curve) for p, curve in rules.items()}
    return [_choose(what, checked, index, group) for index, group in enumerate(groups)]


def _choose(what: str, rules: Rules, index: int, group: Group) -> Curve:
    for pattern, curve in rules.items():
        if fits(pattern, group):
            return curve
    patterns = ", ".join(map(repr, rules))
    if "name" in group or group.get("param_names"):
        raise ValueError(
            f'no pattern of {what} ({patterns}) fits {describe(index, group)}; add one, or "*" for the rest'
        )
    raise ValueError(
        f"{describe(index, group)} has no name for the patterns of {what} ({patterns}) to fit; "
        'write {"params": ..., "name": "head"} in the optimizer, or add "*" for the rest'
    )


def check_rules(what: str, rules: Rules, groups: Sequence[Group]) -> None:
    """Raise ValueError naming a pattern that fits no group, or that never gets a word in. A last "*" may wait."""
    for place, pattern in enumerate(rules):
        if pattern == "*" and place == len(rules) - 1:
            continue
        mine = [group for group in groups if fits(pattern, group)]
        if not mine:
            names = [str(group["name"]) for group in groups if "name" in group]
            names += [name for group in groups if "name" not in group for name in group.get("param_names") or []]
            hint = nearest(pattern, names) or (f"; they are {', '.join(map(repr, names[:20]))}" if names else "")
            hint = hint or '; none has a name: write {"params": ..., "name": "head"} in the optimizer'
            raise ValueError(f"the pattern {pattern!r} of {what} fits no parameter group{hint}")
        earlier = list(rules)[:place]
        if all(any(fits(before, group) for before in earlier) for group in mine):
            raise ValueError(
                f"the pattern {pattern!r} of {what} is never reached: of {', '.join(map(repr, earlier))} before it one "
                "fits each of its groups, and the first that fits wins; write it first"
            )
