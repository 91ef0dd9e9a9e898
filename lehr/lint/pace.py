"""Rules about pace: how long the warmup lasts, and how low the decay runs."""

from collections.abc import Iterator, Sequence
from math import ceil, floor

from lehr.lint.run import ROUNDING, Finding, Run, Severity, count
from lehr.lint.stretches import Stretch, first_where
from lehr.schedule import Schedule


def endless_warmup(run: Run) -> Iterator[Finding]:
    """The run ends in the midst of its warmup."""
    reached = run.schedule(run.total - 1)
    message = f"the warmup lasts {count(run.warmup)} updates, the run {run.total:,}: the LR only gets to {reached:.4g}"
    instead = f"write a warmup of {max(1, run.total // 20):,}, say (are its updates counted as the run's are?)"
    yield Finding("warmup-longer-than-run", "error", run.total - 1, message, instead)


def warmup(run: Run) -> Iterator[Finding]:
    """Longer than 10 % of the run; shorter than Adam's second moment takes to settle."""
    if run.warmup > run.total / 10:
        share = 100 * run.warmup / run.total
        message = f"the warmup takes {count(run.warmup)} of {run.total:,} updates, {share:.3g} %"
        instead = f"10 % or less is usual: write {max(1, run.total // 10):,} or fewer, or let the run last longer"
        yield Finding("long-warmup", "info", max(0, ceil(run.warmup) - 1), message, instead)
    if run.beta2 is None:
        return
    need = ceil(round(2 / (1 - run.beta2), 6))
    if run.warmup >= need:
        return
    message = f"the warmup takes {count(run.warmup)} updates, and 2/(1-beta2) with beta2={run.beta2:g} is {need:,}"
    instead = f"write 'linear {need} to 1'"
    if need > run.total / 10:  # it would be a long warmup
        instead += ", or take a smaller beta2 (0.95 asks for 40)" if need > 40 else ", or let the run last longer"
    severity: Severity = "info" if run.warmup >= need / 2 else "warning"
    yield Finding("short-warmup", severity, 0, message, instead)


def low_decay(run: Run) -> Iterator[Finding]:
    """A fall that spends more than half of its time below a tenth of where it began."""
    for fall in _falls(run):
        top, begin, end = fall[0].start, fall[0].begin, fall[-1].end
        if fall[-1].stop >= top / 10 * (1 - ROUNDING):
            continue
        crossed = _crossing(fall, top / 10 * (1 - ROUNDING))
        share = (end - crossed) / (end - begin)
        if share > 0.5 + ROUNDING and crossed < run.total:
            message = f"the decay runs below a tenth of its start for {100 * share:.3g} % of its {count(end - begin)}"
            severity: Severity = "warning"
            instead = "write 'cosine' or 'linear', which run there for 20 % and 10 %, or end higher"
            if all(part.ramp and _has_no_end(part.ramp.shape) for part in fall):
                severity = "info"
                instead = "right as it is for a curve without an end; a longer warmup, its timescale, keeps it higher"
            yield Finding("low-decay", severity, floor(crossed), f"{message} updates", instead)
            return


def _falls(run: Run) -> Iterator[list[Stretch]]:
    """Each unbroken row of falling stretches that the run uses."""
    row: list[Stretch] = []
    for part in run.used:
        if row and not (part.falls and part.start == row[-1].stop):
            yield row
            row = []
        if part.falls:
            row.append(part)
    if row:
        yield row


def _crossing(fall: Sequence[Stretch], value: float) -> float:
    """The time at which a fall goes below the value, to a share of 2**-40 of its stretch."""
    part = next(part for part in fall if part.stop < value)
    assert part.ramp is not None  # what falls is a ramp
    curve, pieces = Schedule((part.ramp,), sample="start"), 2**40  # by time, not by update

    def time(piece: int) -> float:
        return part.begin + (part.end - part.begin) * (piece / pieces)

    return time(first_where(0, pieces, lambda piece: curve(time(piece)) < value))


def _has_no_end(shape: str) -> bool:
    """Whether a shape is a power of time that falls for ever: 1/t, 1/sqrt(t) and their like."""
    return shape in ("inverse", "inverse_sqrt") or shape.startswith("power:-")
