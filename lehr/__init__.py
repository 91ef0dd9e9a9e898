"""lehr: learning-rate schedules as values, and a transformer trainer that proves them.

    >>> schedule = cosine(total=10_000, warmup=200)
    >>> print(schedule)
    linear 200 to 1, cosine 9800 to 0.1
    >>> schedule(0), schedule(9_999)  # multipliers of the peak for the first and the last update
    (0.005, 0.1)
    >>> parse("linear 2% to 1, hold rest, sqrt 20% to 0", total=10_000).phase(9_000)
    'cooldown'

Names are loaded when first used: `import lehr` itself imports nothing but the standard library's smallest parts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lehr import functional as functional
    from lehr.conventions import convert
    from lehr.recipes import constant, cosine, inverse_sqrt, linear, wsd
    from lehr.schedule import Ramp, Schedule, from_dict, to_dict
    from lehr.shapes import register
    from lehr.spec import Clock, parse

__version__ = "0.1.0"

_HOME = {
    "Clock": "spec",
    "Ramp": "schedule",
    "Schedule": "schedule",
    "constant": "recipes",
    "convert": "conventions",
    "cosine": "recipes",
    "from_dict": "schedule",
    "inverse_sqrt": "recipes",
    "linear": "recipes",
    "parse": "spec",
    "register": "shapes",
    "to_dict": "schedule",
    "wsd": "recipes",
}
_ROOMS = ("functional",)

__all__ = [
    "Clock",
    "Ramp",
    "Schedule",
    "constant",
    "convert",
    "cosine",
    "from_dict",
    "functional",
    "inverse_sqrt",
    "linear",
    "parse",
    "register",
    "to_dict",
    "wsd",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"lehr.{_HOME[name]}"), name)
    elif name in _ROOMS:
        value = import_module(f"lehr.{name}")
    else:
        raise AttributeError(f"module 'lehr' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
