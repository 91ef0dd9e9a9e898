"""Rules about the course of the curve: updates at 0, jumps, and rises after a fall."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil, floor

from lehr.lint.run import ROUNDING, SMALL, Finding, Run, Severity
from lehr.lint.stretches import first_where


def zeros(run: Run) -> Iterator[Finding]:
    """Updates at LR 0, up to the schedule's end. What is held after it is told by `ends.length`."""
    end = max(1, ceil(run.schedule.total))
    spans = _zero_spans(run)
    if run.peak == 0 or spans == [(0, run.total - 1)]:
        message = "every update is at LR 0: nothing is trained"
        yield Finding("zero-update", "error", 0, message, "write a value above 0, such as 'hold 1000 from 1'")
        return
    spans = [(first, min(last, end - 1)) for first, last in spans if first < end]
    closed = run.schedule.sample == "start"
    # sampled at the start, the one update from which a warmup sets out
    firsts = {part.first for part in run.used if part.rises and closed}
    rises = [span for span in spans if span[0] == span[1] and span[0] in firsts]
    # sampled at the end, the one update that stands on the floor of a decay
    lasts = {part.last for part in run.used if part.falls and not closed}
    falls = [span for span in spans if span[0] == span[1] and span[0] in lasts]
    others = [span for span in spans if span not in rises and span not in falls]
    if rises:
        message = f"{_updates(rises)} is at LR 0 and changes no weight: the warmup is sampled at its start"
        instead = "leave out 'sampled at start' to begin at 1/W of the peak"
        yield Finding("zero-update", "info", rises[0][0], message, instead)
    if falls and not (run.total > end and falls[-1][1] == end - 1):  # a whole tail at 0 is told once
        message = f"{_updates(falls)} stands on the decay's end, LR 0, and changes no weight"
        yield Finding("zero-update", "info", falls[0][0], message, "to use it end a little above 0, such as 'to 0.01'")
    if others:
        message = f"LR 0 at {_updates(others)}: nothing is trained there"
        instead = "leave that part out or begin above 0, such as 'from 0.1' (unless weights are frozen on purpose)"
        yield Finding("zero-update", "warning", others[0][0], message, instead)


def _zero_spans(run: Run) -> list[tuple[int, int]]:
    """First and last update of each unbroken row of updates at 0."""
    spans: list[tuple[int, int]] = []
    for part in run.used:
        low, high = part.first, part.last
        if min(part.start, part.stop) > 0:
            continue
        if part.rises:
            high = first_where(low, high, lambda step: run.schedule(step) > 0) - 1
        elif part.falls:
            low = first_where(low, high, lambda step: run.schedule(step) == 0)
        if low <= high:
            if spans and spans[-1][1] == low - 1:
                low = spans.pop()[0]
            spans.append((low, high))
    return spans


def _updates(spans: Sequence[tuple[int, int]]) -> str:
    """Some spans of updates in words."""
    (first, last), more = spans[0], len(spans) - 1
    text = f"update {first:,}" if first == last else f"updates {first:,} to {last:,}"
    return f"{text} (and {more:,} more)" if more else text


def jumps(run: Run) -> Iterator[Finding]:
    """Where the curve is not continuous: on purpose or small (info), or not (warning)."""
    groups: dict[tuple[Severity, str], list[tuple[int, str]]] = {}
    for index, (before, after) in enumerate(pairwise(run.stretches), 1):
        size = after.start - before.stop
        step = floor(after.begin) if run.schedule.sample == "end" else ceil(after.begin)
        if abs(size) <= ROUNDING * run.peak or not 0 < step < run.total:
            continue
        what = _purpose(run, index) or ("a small jump" if abs(size) < SMALL * run.peak else "")
        text = f"{before.stop:.4g} {'up' if size > 0 else 'down'} to {after.start:.4g}"
        if size > 0 and run.fell_before(index) and not run.falls_from(index):
            text += ", and never comes down again"
        groups.setdefault(("info" if what else "warning", what or "a jump"), []).append((step, text))
    for (severity, what), found in groups.items():
        (step, text), more = found[0], len(found) - 1
        message = f"{what}: the LR goes from {text}{f' (and {more:,} more)' if more else ''}"
        instead = {
            "a stair": "right as it is if the stairs are meant",
            "a restart": "right as it is if the restart is meant; a 'linear 10 to 1', say, leads up more gently",
        }.get(what, "leave out 'from' to go on from where the curve is, or go there by a ramp")
        yield Finding("jump", severity, step, message, instead)


def _purpose(run: Run, index: int) -> str:
    """What a jump into stretch number `index` is for, if the schedule's form says so: a stair or a restart."""
    before, after = run.stretches[index - 1], run.stretches[index]
    up, fell, falls = after.start > before.stop, run.fell_before(index), run.falls_from(index)
    if before.level and after.level and (falls or not (up and fell)):
        return "a stair"
    if before.level and up and not fell and not after.rises:
        return "a stair"  # a constant warmup
    # a cycle that was whole gives way to one that falls in its turn; down, it does so by a new warmup
    whole = before.level or (before.falls and not before.cut)
    if whole and fell and falls and after.rises is not up:
        return "a restart"
    return ""


def rises(run: Run) -> Iterator[Finding]:
    """The LR goes up again after it has come down: cycles, if it falls once more (info), else a warning."""
    found = [i for i, part in enumerate(run.stretches) if part.rises and part.used and run.fell_before(i)]
    if not found:
        return
    part, more = run.stretches[found[0]], len(found) - 1
    message = f"the LR rises again from {part.start:.4g} to {part.stop:.4g} after it had come down"
    message += f" (and {more:,} times more)" if more else ""
    if run.falls_from(found[-1]):
        yield Finding("rises-after-peak", "info", part.first, message, "right as it is if cycles are meant")
    else:
        instead = "end the schedule where its decay ends, or let a decay follow"
        yield Finding("rises-after-peak", "warning", part.first, f"{message}, and the run ends on the rise", instead)
