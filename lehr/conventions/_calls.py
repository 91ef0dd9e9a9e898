"""How a conversion is called: names looked up, arguments checked against the function's own, refusals given.

A module of this package holds `SCHEDULERS`, its functions by the other system's names, and `REFUSED`, why the others
cannot be converted.
"""

from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, signature, unwrap
from typing import Any

from lehr.conventions import _rows as rows
from lehr.conventions._rows import Phase
from lehr.words import nearest

Table = Mapping[str, Callable[..., Any]]


def look_up(name: str, schedulers: Table, refused: Mapping[str, str]) -> Callable[..., Any]:
    """The function of that name. Raises ValueError with the reason, or with the nearest name."""
    if name in refused:
        raise ValueError(refused[name])
    if name not in schedulers:
        known = [*schedulers, *refused]
        raise ValueError(f"unknown scheduler {name!r}{nearest(name, known) or '; known are ' + ', '.join(schedulers)}")
    return schedulers[name]


def takes(function: Callable[..., Any], argument: str) -> bool:
    """Whether the function has an argument of that name."""
    return argument in signature(function).parameters


def check_arguments(function: Callable[..., Any], args: Mapping[str, Any]) -> None:
    """Raise ValueError for an argument that the function does not take (with the nearest), or one that is missing."""
    known = signature(function).parameters
    for name in args:
        if name == "lr" and "lr" not in known:
            rates = [known_name for known_name in known if known_name.endswith(("_lr", "lr_min", "value", "_rate"))]
            own = f" ({', '.join(rates)})" if rates else ""
            raise ValueError(
                f"it does not read the optimizer's learning rate; leave out lr=, give its own arguments{own}"
            )
        if name not in known:
            raise ValueError(f"unknown argument {name!r}{nearest(name, known) or '; known are ' + ', '.join(known)}")
    for name, parameter in known.items():
        if parameter.default is Parameter.empty and name not in args:
            if name == "lr":
                raise ValueError("it multiplies the optimizer's base learning rate; give it as lr=3e-4")
            raise ValueError(f"the argument {name!r} is missing; write {name}=...")


def nested(spec: Any, schedulers: Table, refused: Mapping[str, str], **context: Any) -> list[Phase]:
    """The phases of a scheduler written as [name, arguments], inside another one.

    `context` holds what the outer one hands on, such as `lr` and `total`: given to a function that takes it, if any.
    """
    if not (isinstance(spec, (list, tuple)) and len(spec) == 2 and isinstance(spec[0], str)):
        raise ValueError(f"a nested scheduler is written [name, {{argument: value}}], not {spec!r}")
    name, args = spec
    if not isinstance(args, Mapping):
        raise ValueError(f"the arguments of the nested {name} are {{argument: value}}, not {args!r}")
    try:
        function = look_up(name, schedulers, refused)
        known = signature(function).parameters
        given = {key: value for key, value in context.items() if key in known and value is not None} | dict(args)
        check_arguments(function, given)
        phases: Iterable[Phase] = unwrap(function)(**given)
        return list(phases)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def in_sequence(
    named: Mapping[str, Any],
    phases_of: Callable[[int, Any, float | None], list[Phase]],
    total: float | None,
    early: int = 0,
) -> list[Phase]:
    """The phases of nested schedulers one after another, each starting anew at its boundary.

    `named` holds the list of schedulers and that of the boundaries, by the names of the arguments; `phases_of` gives a
    scheduler's phases, from its place, itself and its share; `early` moves the boundaries. A curve that is longer than
    its share is cut short; one whose share is 0 is skipped; the last one runs to its end.
    """
    (what, children), (where, boundaries) = ((name, rows.sequence(name, value)) for name, value in named.items())
    if len(children) != len(boundaries) + 1:
        raise ValueError(
            f"{what} and {where} do not fit: {len(children)} take {len(children) - 1}, not {len(boundaries)}"
        )
    for boundary in boundaries:
        rows.count(**{where: boundary})
    if boundaries != sorted(boundaries):
        raise ValueError(f"{where} are in rising order, not {boundaries!r}")
    boundaries = [max(boundary - early, 0) for boundary in boundaries]
    row: list[Phase] = []
    for number, (child, begin, end) in enumerate(zip(children, [0, *boundaries], [*boundaries, None], strict=True)):
        if end == begin:
            continue
        stop = end if end is not None else total and max(total, begin + 1)
        phases = phases_of(number, child, stop and stop - begin)
        row += [phase.moved(begin) for phase in phases if end is None or begin + phase.begin < end]
    return row
