"""What the rules look at, and what they give."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from lehr.lint.stretches import Stretch, stretches, warmup_end
from lehr.schedule import Schedule

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
CODES = (
    "zero-update",
    "jump",
    "rises-after-peak",
    "peak-unused",
    "floor-unreached",
    "floor-above-peak",
    "phase-unentered",
    "phase-vanished",
    "shorter-than-run",
    "longer-than-run",
    "warmup-longer-than-run",
    "long-warmup",
    "short-warmup",
    "low-decay",
    "looks-like-lr",
    "looks-like-ratio",
)

ROUNDING = 1e-9  # of the peak: a difference that arithmetic made
SMALL = 0.01  # of the peak: a difference that no loss curve would show


@dataclass(frozen=True, slots=True)
class Finding:
    """What the linter found: `code` is stable, `step` the first update concerned, `instead` what to write.

    `severity` is "error" (the run cannot do what the schedule says), "warning" (probably not meant) or "info" (meant by
    some, and worth knowing).
    """

    code: str
    severity: Severity
    step: int
    message: str
    instead: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.code} at step {self.step}: {self.message}; {self.instead}"


@dataclass(frozen=True, slots=True)
class Run:
    """A schedule over a run of `total` updates; `of` makes one."""

    schedule: Schedule
    total: int
    beta2: float | None
    lr: float | None
    stretches: Sequence[Stretch]
    peak: float
    warmup: float  # the time at which the first rise is over, 0 if there is none
    first_fall: int  # the first stretch in which updates are on the way down, or into which the LR jumps down
    last_fall: int  # the last falling stretch
    last_drop: int  # the last one into which the LR jumps down

    @property
    def used(self) -> list[Stretch]:
        """The stretches that updates of this run use."""
        return [part for part in self.stretches if part.used]

    def fell_before(self, index: int) -> bool:
        """Whether updates came down before stretch number `index`."""
        return self.first_fall < index

    def falls_from(self, index: int) -> bool:
        """Whether the curve comes down in stretch number `index`, or later."""
        return self.last_fall >= index or self.last_drop > index


def of(schedule: Schedule, total: int, beta2: float | None, lr: float | None) -> Run:
    """What the rules look at, worked out once: it takes as long as the schedule has ramps."""
    parts = stretches(schedule, total)
    peak = max(value for part in parts for value in (part.start, part.stop))
    falls = [i for i, part in enumerate(parts) if part.falls]
    drops = [i for i, (a, b) in enumerate(pairwise(parts), 1) if a.stop - b.start > ROUNDING * peak]
    on_the_way = [i for i in falls if parts[i].used] + [i for i in drops if parts[i - 1].used and parts[i].used]
    return Run(
        *(schedule, total, beta2, lr, parts, peak, warmup_end(parts)),
        first_fall=min(on_the_way, default=len(parts)),
        last_fall=max(falls, default=-1),
        last_drop=max(drops, default=-1),
    )


def count(number: float) -> str:
    """A number of updates as people read it: 12,000 or 2.5."""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.10g}"
