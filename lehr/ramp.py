"""One ramp: from a value at a step to another some steps later, along a shape."""

import math
from dataclasses import dataclass
from typing import Any

from lehr import curves, shapes
from lehr.evaluate import Row
from lehr.words import is_number, write_number

LATEST = 2**62  # a step or a duration beyond it would not fit a clock of 64 bits


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Ramp:
    """From `start_value` at step `begin` to `end_value`, `duration` steps later, along `shape`.

    `begin` and `duration` are in optimizer updates (fractions are allowed); the values are multipliers or learning
    rates, finite and >= 0; `shape` is a name of `lehr.shapes`, with its parameters after colons ("poly:2").
    A ramp of duration 0 is a jump to `end_value`.

    Raises ValueError for anything that is not such a ramp, TypeError for what is not a number.

    >>> Ramp(0, 2000, 0, 1)
    Ramp(begin=0, duration=2000, start_value=0.0, end_value=1.0, shape='linear')
    >>> Ramp(0, 100, 1, 0, "exponential")
    Traceback (most recent call last):
    ...
    ValueError: exponential 100 from 1 to 0: this curve never reaches 0; write 0.001, say, or another shape
    """

    begin: float
    duration: float
    start_value: float
    end_value: float
    shape: str = "linear"

    def __post_init__(self) -> None:
        for name in ("begin", "duration"):
            object.__setattr__(self, name, _steps(name, getattr(self, name)))
        for name in ("start_value", "end_value"):
            object.__setattr__(self, name, _value(name, getattr(self, name)))
        if not isinstance(self.shape, str):
            raise TypeError(f"shape is a name such as 'cosine', not {self.shape!r}; see lehr.shapes.register")
        canonical, shape = shapes.resolve(self.shape)
        object.__setattr__(self, "shape", canonical)
        if self.start_value != self.end_value:
            try:
                middle = shape(self.start_value, self.end_value, math)(0.5)
            except ValueError as error:
                raise ValueError(f"{self}: {error}") from None
            except (OverflowError, ZeroDivisionError):
                middle = math.nan
            if not math.isfinite(middle):
                raise ValueError(f"{self}: the ends are too far apart for this shape; write ends that are closer")

    @property
    def end(self) -> float:
        """The step at which the ramp has reached `end_value`, unless a newer one takes over before."""
        return self.begin + self.duration

    def at(self, time: float) -> float:
        """The ramp's own value at a time, holding its ends before and after.

        >>> Ramp(10, 10, 1, 0).at(15)
        0.5
        """
        if not time >= self.begin:
            if time != time:
                raise ValueError(f"a time is a number, not {time!r}")
            return self.start_value
        row = prepare(self)
        u = (time - row.origin) / row.span
        if 0.0 < u < 1.0:
            return float(min(max(row.g(u), row.low), row.high))
        return row.b if u else row.a

    def __str__(self) -> str:
        return self._text(implied=False)

    def _text(self, implied: bool) -> str:
        """The item of the text form; `implied`: the start value follows from what stands before."""
        start = "" if implied else f" from {write_number(self.start_value)}"
        if self.start_value == self.end_value and self.shape == "linear":
            return f"hold {write_number(self.duration)}{start}"
        return f"{self.shape} {write_number(self.duration)}{start} to {write_number(self.end_value)}"


def _steps(name: str, value: Any) -> float:
    if not is_number(value):
        raise TypeError(f"{name} is a number of steps, not {value!r}")
    if not 0 <= value <= LATEST:
        raise ValueError(f"{name} is a number of steps >= 0 (and at most 2**62), not {value!r}")
    return int(value) if value == int(value) else float(value)


def _value(name: str, value: Any) -> float:
    if not is_number(value):
        raise TypeError(f"{name} is a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"{name} is a finite number >= 0, not {value!r}")
    return number + 0.0  # -0.0 becomes 0.0


def prepare(ramp: Ramp, offset: int = 0) -> Row:
    """The ramp as a row to look up: `offset` is 1 where the end of an update's span is sampled, at step + 1."""
    _, shape = shapes.resolve(ramp.shape)
    a, b = ramp.start_value, ramp.end_value
    if not ramp.duration:
        a = b
    if a == b:
        shape = curves.linear  # level, at 0 too, whatever the curve would be

    def make(m: Any) -> shapes.Curve:
        return shape(a, b, m)

    origin = ramp.begin - offset
    # where begin + duration rounds down, the span does too: at the ramp's end u is 1 and the value is b itself
    span = min(ramp.duration, ramp.end - offset - origin) or ramp.duration or 1
    return Row(origin, span, a, b, min(a, b), max(a, b), make(math), make)
