"""Rules about pace: how long the warmup lasts, and how low the decay runs."""

from collections.abc import Iterator
from math import ceil, floor

from lehr.lint.run import ROUNDING, Finding, Run, Severity, count
from lehr.lint.stretches import has_no_end


def endless_warmup(run: Run) -> Iterator[Finding]:
    """The run ends in the midst of its warmup."""
    reached = run.schedule(run.total - 1)
    message = f"the warmup lasts {count(run.warmup)} updates, the run {run.total:,}: the LR only gets to {reached:.4g}"
    instead = f"write a warmup of {max(1, run.total // 20):,}, say (are its updates counted as the run's are?)"
    yield Finding("warmup-longer-than-run", "error", run.total - 1, message, instead)


def warmup(run: Run) -> Iterator[Finding]:
    """Longer than 10 % of the run; shorter than the 2/(1-beta2) of Ma & Yarats 2019 (arXiv 1910.04209)."""
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
    """A falling ramp that spends more than half of its time below a tenth of where it began."""
    for part in run.used:
        if not part.falls or part.stop >= part.start / 10 * (1 - ROUNDING):
            continue
        crossed = part.crossing(part.start / 10 * (1 - ROUNDING))
        length = part.end - part.begin
        share = (part.end - crossed) / length
        if share > 0.5 + ROUNDING and crossed < run.total:
            message = (
                f"the decay runs below a tenth of its start for {100 * share:.3g} % of its {count(length)} updates"
            )
            severity: Severity = "warning"
            instead = "write 'cosine' or 'linear', which run there for 20 % and 10 %, or end higher"
            if has_no_end(part):
                severity = "info"
                instead = "right as it is for a curve without an end; a longer warmup, its timescale, keeps it higher"
            yield Finding("low-decay", severity, floor(crossed), message, instead)
            return
