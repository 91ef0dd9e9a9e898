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
    from lehr.clock import Clock
    from lehr.compare import diff
    from lehr.conventions import convert
    from lehr.cycles import multistep, one_cycle, sgdr, step, wsd_s
    from lehr.fit import identify
    from lehr.lint import check
    from lehr.recipes import (
        constant,
        cosine,
        exponential,
        half_cosine,
        inverse_sqrt,
        linear,
        noam,
        polynomial,
        power,
        rex,
        trapezoid,
        untuned_exponential,
        untuned_linear,
        wsd,
    )
    from lehr.schedule import Ramp, Schedule, from_dict, to_dict
    from lehr.shapes import register
    from lehr.spec import parse

__version__ = "0.1.0"

_HOME = {
    "Clock": "clock",
    "Ramp": "schedule",
    "Schedule": "schedule",
    "check": "lint",
    "constant": "recipes",
    "convert": "conventions",
    "cosine": "recipes",
    "diff": "compare",
    "exponential": "recipes",
    "from_dict": "schedule",
    "half_cosine": "recipes",
    "identify": "fit",
    "inverse_sqrt": "recipes",
    "linear": "recipes",
    "multistep": "cycles",
    "noam": "recipes",
    "one_cycle": "cycles",
    "parse": "spec",
    "polynomial": "recipes",
    "power": "recipes",
    "register": "shapes",
    "rex": "recipes",
    "sgdr": "cycles",
    "step": "cycles",
    "to_dict": "schedule",
    "trapezoid": "recipes",
    "untuned_exponential": "recipes",
    "untuned_linear": "recipes",
    "wsd": "recipes",
    "wsd_s": "cycles",
}
_ROOMS = ("functional",)

__all__ = [
    "Clock",
    "Ramp",
    "Schedule",
    "check",
    "constant",
    "convert",
    "cosine",
    "diff",
    "exponential",
    "from_dict",
    "functional",
    "half_cosine",
    "identify",
    "inverse_sqrt",
    "linear",
    "multistep",
    "noam",
    "one_cycle",
    "parse",
    "polynomial",
    "power",
    "register",
    "rex",
    "sgdr",
    "step",
    "to_dict",
    "trapezoid",
    "untuned_exponential",
    "untuned_linear",
    "wsd",
    "wsd_s",
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
