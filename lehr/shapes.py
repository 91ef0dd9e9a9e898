"""The names of the curves that a ramp can follow, and `register` for curves of your own.

The functions themselves, and what a shape is, are in `lehr.curves`.
"""

import inspect

from lehr.curves import Curve as Curve
from lehr.curves import Shape as Shape
from lehr.curves import (
    approach,
    cosine,
    cosine_power,
    exponential,
    half_cosine,
    inverse,
    inverse_sqrt,
    k_decay,
    linear,
    poly,
    power,
    rex,
    sqrt,
    tanh,
)
from lehr.words import nearest, read_number, write_number

RESERVED = ("hold", "at", "from", "to", "rest", "sampled")  # words of the text form

TABLE: dict[str, Shape] = {
    f.__name__: f
    for f in (
        linear,
        cosine,
        sqrt,
        poly,
        power,
        exponential,
        inverse,
        inverse_sqrt,
        approach,
        cosine_power,
        half_cosine,
        k_decay,
        rex,
        tanh,
    )
}
_OURS = frozenset(TABLE)


def register(name: str, shape: Shape, replace: bool = False) -> None:
    """Add a shape of your own under a name that the text form then knows.

    `shape(a, b, m)` returns `g(u)`, the curve for 0 < u < 1; further arguments of `shape` are numbers written after
    colons (`name:2:0.5`). Raises ValueError for a name that cannot be written in the text form, is lehr's, or is
    registered already: another curve under the same name would change schedules under the same text and fingerprint.
    `replace=True` says that this is meant.

    >>> register("smoothstep", lambda a, b, m: lambda u: a + (b - a) * u * u * (3 - 2 * u))
    >>> import lehr
    >>> round(lehr.parse("linear 10 to 1, smoothstep 90 to 0")(54), 3)
    0.5
    """
    if not name.isidentifier() or not name.isascii():
        raise ValueError(f"a shape's name is one word of letters, digits and _, not {name!r}")
    if name in RESERVED or name in _OURS:
        raise ValueError(f"the name {name!r} is taken; register the shape under another name")
    if not callable(shape):
        raise TypeError(f"a shape is a function shape(a, b, m) that returns g(u), not {shape!r}")
    if len(inspect.signature(shape).parameters) < 3:
        raise TypeError(f"a shape is a function shape(a, b, m) that returns g(u); {name!r} takes too few arguments")
    if not replace and TABLE.get(name, shape) is not shape:
        raise ValueError(f"a shape {name!r} is registered already; write replace=True if this one is to take its place")
    TABLE[name] = shape


def resolve(text: str) -> tuple[str, Shape]:
    """Return the canonical text of a shape such as `poly:2` and the function with its parameters filled in.

    Parameters with a default may be left out from the right; the canonical text leaves out those that equal it.
    Raises ValueError for an unknown name (with the nearest one), or for the wrong number of parameters.

    >>> resolve("cosine:0")[0], resolve("cosine:0:2.0")[0]
    ('cosine', 'cosine:0:2')
    """
    name, *rest = text.split(":")
    if name not in TABLE:
        raise ValueError(f"unknown shape {name!r}{nearest(name, TABLE) or '; known are ' + ', '.join(TABLE)}")
    shape = TABLE[name]
    known = list(inspect.signature(shape).parameters.values())[3:]
    least = sum(p.default is p.empty for p in known)
    if not least <= len(rest) <= len(known):
        takes = " or ".join(_written(name, [p.name for p in known[:n]]) for n in range(least, len(known) + 1))
        raise ValueError(f"shape {text!r} has {len(rest)} parameters; write {takes}")
    parameters = [_parameter(word, text) for word in rest]
    while len(parameters) > least and parameters[-1] == known[len(parameters) - 1].default:
        parameters.pop()
    canonical = ":".join([name, *map(write_number, parameters)])
    return canonical, (lambda a, b, m: shape(a, b, m, *parameters)) if parameters else shape


def _written(name: str, parameters: list[str]) -> str:
    return ":".join([name, *(f"<{p}>" for p in parameters)]) if parameters else f"{name!r} alone"


def _parameter(word: str, text: str) -> float:
    try:
        value = float(read_number(word.removeprefix("-")))
    except (ValueError, OverflowError):
        raise ValueError(f"shape {text!r} has the parameter {word!r}, which is not a number") from None
    return -value if word.startswith("-") else value
