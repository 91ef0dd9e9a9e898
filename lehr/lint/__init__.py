"""The schedule linter: what is probably not meant, found by exact analysis of the ramps.

`docs/check.md` has a paragraph for each code, with the real incident behind it. Nothing is sampled: a rule looks at the
ends of the curve's stretches, and where it needs the step at which a curve crosses a value it bisects, so that a run of
10**12 updates takes no longer than one of 100. (A registered shape that turns back on its way is taken at its ends.)

Two principles keep false alarms away. An end value missed by a single update at an edge of the run is the sampling
convention, and so an info, as is whatever a schedule must have written down on purpose: a stair from level to level, a
restart that falls again. And of findings with one cause only the one that names the cause is given.
"""

from collections.abc import Callable, Iterator
from math import ceil, isfinite

from lehr.clock import Clock
from lehr.lint.course import jumps, rises, zeros
from lehr.lint.ends import floor_unreached, length, peak_unused, phases, upside_down
from lehr.lint.pace import endless_warmup, low_decay, warmup
from lehr.lint.run import CODES, SEVERITIES, Finding, Run, Severity, of
from lehr.lint.scale import scale
from lehr.lint.text import phases_vanished
from lehr.schedule import Schedule
from lehr.spec import parse
from lehr.words import is_number

__all__ = ["CODES", "SEVERITIES", "Finding", "Severity", "check"]


def check(
    schedule: Schedule | str,
    total: int | None = None,
    beta2: float | None = None,
    lr: float | None = None,
    clock: Clock | None = None,
) -> list[Finding]:
    """Return what is probably not meant in a schedule, the worst first; an empty list if nothing is.

    `total` is the run's length in updates (the schedule's own if left out), `beta2` Adam's, for the length of the
    warmup, and `lr` the peak that the schedule will be multiplied by. A text is read as by `lehr.parse`, with `total`
    and `clock`, and shows besides which of its shares round to no update. Raises TypeError or ValueError for arguments
    that are none of this.

    >>> import lehr
    >>> for finding in check(lehr.cosine(total=1000, warmup=50), total=2000):
    ...     print(finding.severity, finding.code, finding.step)
    ...     print(finding.message)
    warning shorter-than-run 1000
    the schedule ends after 1,000 updates, the run after 2,000: the last 1,000 have 0.1
    >>> check(lehr.cosine(total=1000, warmup=50))
    []
    >>> [finding.code for finding in check("linear 1% to 1, cosine rest to 0.1", total=40)]
    ['phase-vanished']
    """
    if not isinstance(schedule, Schedule | str):
        raise TypeError(f"check takes a Schedule or a text, not {schedule!r}; write lehr.check(lehr.cosine(10_000))")
    if clock is not None and not isinstance(schedule, str):
        raise ValueError("clock turns a text's durations into steps; leave it out, a Schedule's are in steps already")
    if total is not None and not (is_number(total) and 1 <= total < float("inf") and total == int(total)):
        raise ValueError(f"total is a whole number of updates >= 1, not {total!r}")
    if beta2 is not None and not (is_number(beta2) and 0 <= beta2 < 1):
        raise ValueError(f"beta2 is a number from 0 to below 1, such as 0.999, not {beta2!r}")
    if lr is not None and not (is_number(lr) and isfinite(lr) and lr > 0):
        raise ValueError(f"lr is the peak learning rate, a number above 0, not {lr!r}")
    gone: list[Finding] = []
    if isinstance(schedule, str):
        text, schedule = schedule, parse(schedule, clock, total)
        if total is None and clock is not None and clock.total_steps is not None:
            total = int(clock.total_steps)
        gone = list(phases_vanished(text, clock, total))
    updates = int(total) if total is not None else max(1, ceil(schedule.total))
    run = of(schedule, updates, beta2, lr)
    # what follows from a phase that is not there is left out
    effects = ("peak-unused", "floor-unreached") if gone else ()
    found = gone + [f for rule in _rules(run) for f in rule(run) if not (f.severity == "info" and f.code in effects)]
    return sorted(found, key=lambda finding: (SEVERITIES.index(finding.severity), finding.step))


def _rules(run: Run) -> tuple[Callable[[Run], Iterator[Finding]], ...]:
    """The rules that say something of their own about this run."""
    if run.peak == 0:
        return (zeros,)
    if run.warmup > run.total:
        return endless_warmup, zeros, jumps, scale
    if any(upside_down(run)):
        return upside_down, zeros, jumps, phases, length, scale
    return zeros, jumps, rises, peak_unused, floor_unreached, phases, length, warmup, low_decay, scale
