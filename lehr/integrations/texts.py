"""Schedules given as texts become schedules, wherever an integration knows the run's length."""

from collections.abc import Mapping, Sequence
from typing import Any

from lehr.clock import Clock
from lehr.spec import parse


def read_texts(given: Any, clock: Clock | None) -> Any:
    """Texts become schedules, in dicts and pairs too; anything else stays what it is.

    >>> print(read_texts({"head": "linear 10% to 1, hold rest"}, Clock(total_steps=50))["head"])
    linear 5 to 1, hold 45
    """
    if isinstance(given, str):
        return parse(given, clock)
    if isinstance(given, Mapping):
        return {pattern: read_texts(each, clock) for pattern, each in given.items()}
    if isinstance(given, Sequence):
        return tuple(read_texts(each, clock) for each in given)
    return given
