"""How deep in a model a parameter lies: its place in the stack of layers, which is found, or named."""

from fnmatch import fnmatchcase

from torch import nn


def places(model: nn.Module, layers: str | None = None) -> tuple[dict[str, int], int]:
    """Return each parameter's layer, -1 for what comes before the stack and the count for what comes after; the count.

    `layers` is the stack's name, or a pattern, such as "stages.*.blocks": the stacks that fit follow on each other, and
    what lies between two goes with the layer before it. Children without parameters (an activation, say) are no layers.
    Raises ValueError where there is no such stack, or several of which none is the obvious one.

    >>> mlp = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> places(mlp)
    ({'0.weight': 0, '0.bias': 0, '2.weight': 1, '2.bias': 1, '4.weight': 2, '4.bias': 2}, 3)
    """
    sizes = _stacks(model)
    stacks = [_obvious(model, sizes)] if layers is None else [name for name in sizes if _fits(name, layers)]
    if not stacks:
        raise _none(model, layers, sizes)
    order = [(stack, child) for stack in stacks for child in sizes[stack]]
    found: dict[str, int | None] = {name: _layer(name, stacks, order) for name, _ in model.named_parameters()}
    inside = dict.fromkeys(name for name in found if any(name.startswith(_prefix(stack)) for stack in stacks))
    last = next(reversed(inside), None)
    placed: dict[str, int] = {}
    place, over = -1, False
    for name, layer in found.items():
        place = len(order) if over and name not in inside else place if layer is None else layer
        placed[name] = place
        over = over or name == last
    return placed, len(order)


def _prefix(stack: str) -> str:
    return f"{stack}." if stack else ""


def _layer(name: str, stacks: list[str], order: list[tuple[str, str]]) -> int | None:
    """The layer whose parameter it is; None outside, and for a parameter of the stack's own."""
    for stack in stacks:
        if name.startswith(_prefix(stack)):
            own = (stack, name.removeprefix(_prefix(stack)).partition(".")[0])
            return order.index(own) if own in order else None
    return None


def _fits(name: str, pattern: str) -> bool:
    """Part by part, so that a * stands for a part of the name and not for a path."""
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _stacks(model: nn.Module) -> dict[str, list[str]]:
    """The names of all stacks, and of their layers: the children that have parameters."""
    stacks = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            children = [child for child, m in module.named_children() if next(m.parameters(), None) is not None]
            if children:
                stacks[name] = children
    return stacks


def _obvious(model: nn.Module, sizes: dict[str, list[str]]) -> str:
    """The longest ModuleList (without one, Sequential) that is no part of a layer, if none comes near to it."""
    lists = [name for name in sizes if isinstance(model.get_submodule(name), nn.ModuleList)]
    others = [name for name in sizes if name not in lists]
    wrapped = any(len(sizes[name]) > 1 for name in lists) or not any(len(sizes[name]) > 1 for name in others)
    candidates = _outer_lists(lists, sizes) if lists and wrapped else _outer_sequentials(others, sizes)
    if not candidates:
        raise _none(model, None, sizes)
    best = max(candidates, key=lambda name: len(sizes[name]))
    rivals = [name for name in candidates if 2 * len(sizes[name]) >= len(sizes[best])]
    rivals += [name for name in others if name not in candidates and len(sizes[name]) > len(sizes[best])]
    rivals = [name for name in rivals if not _within(name, best) and not _within(best, name) and name != best]
    if rivals:
        told = ", ".join(f"{name!r} ({len(sizes[name])} layers)" for name in (best, *rivals[:9]))
        raise ValueError(
            f"{type(model).__name__} has several stacks of layers, {told}; write layers={best!r}, say, for the one "
            "that the LR falls along, or a pattern (* for a part of the name) for several, one after the other"
        )
    return best


def _within(name: str, other: str) -> bool:
    return name != other and name.startswith(_prefix(other))


def _outer_lists(names: list[str], sizes: dict[str, list[str]]) -> list[str]:
    """Those in no other: a list in a layer holds a part of it, experts, say. One that wraps a single thing is none."""
    names = [n for n in names if len(sizes[n]) > 1 or not any(_within(other, n) for other in names)]
    return [n for n in names if not any(_within(n, other) for other in names)]


def _outer_sequentials(names: list[str], sizes: dict[str, list[str]]) -> list[str]:
    """Those in no layer of a row of such layers: where one child alone holds a stack, that may be the model's body."""

    def holding(outer: str) -> int:
        return sum(any(_within(n, outer) and _first(n, outer) == child for n in names) for child in sizes[outer])

    return [n for n in names if not any(_within(n, outer) and holding(outer) > 1 for outer in names)]


def _first(name: str, outer: str) -> str:
    return name.removeprefix(_prefix(outer)).partition(".")[0]


def _none(model: nn.Module, layers: str | None, sizes: dict[str, list[str]]) -> ValueError:
    have = ", ".join(map(repr, list(sizes)[:12])) + (", ..." if len(sizes) > 12 else "")
    have = have or "none: for such a model write the groups by hand"
    called = "" if layers is None else f" {layers!r}"
    return ValueError(f"no stack of layers{called} in {type(model).__name__}; its stacks are {have}")
