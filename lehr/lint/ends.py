"""Rules about the ends: peak and floor, phases that no update uses, the schedule's length and the run's."""

from collections.abc import Iterator
from math import ceil, floor

from lehr.lint.run import ROUNDING, SMALL, Finding, Run, Severity, count
from lehr.lint.stretches import has_no_end
from lehr.words import write_number


def peak_unused(run: Run) -> Iterator[Finding]:
    """No update has the greatest value of the curve."""
    reached = max(run.schedule(step) for part in run.used for step in (part.first, part.last))
    if reached >= run.peak * (1 - ROUNDING):
        return
    ends = [end for part in run.stretches for end in ((part.begin, part.start), (part.end, part.stop))]
    times = [time for time, value in ends if value == run.peak and time <= run.total]
    if not times:
        return  # it lies beyond the run, which `length` and `phases` tell
    step = min(run.total - 1, floor(times[0]))
    message = f"no update has the peak {run.peak:.4g}, the greatest LR is {reached:.6g}"
    if times[0] == 0 or times[-1] == run.total or reached >= run.peak * (1 - SMALL):
        instead = "to give it an update write 'hold 1' where it stands"
        yield Finding("peak-unused", "info", step, f"{message}, one update beside it", instead)
    else:
        instead = "let the decay go on from the peak (leave out its 'from'), or write 'hold 1' between"
        yield Finding("peak-unused", "warning", step, message, instead)


def floor_unreached(run: Run) -> Iterator[Finding]:
    """The floor would be the value of the update after the last."""
    target, last = run.schedule.ramps[-1].end_value, run.total - 1
    reached = run.schedule(last)
    if abs(run.schedule.total - run.total) <= 1 and target < reached * (1 - ROUNDING):
        message = f"the last update has {reached:.4g}, and the one after it would have the floor, {target:.4g}"
        instead = "leave out 'sampled at start' to end on the floor"
        if run.schedule.sample == "end":
            instead = f"to end on the floor let the last item end after {run.total:,} updates, by a ramp"
        yield Finding("floor-unreached", "info", last, message, instead)


def upside_down(run: Run) -> Iterator[Finding]:
    """The last ramp goes up where a decay was to be expected: its floor is above its start."""
    parts = run.stretches
    index = max(0, len(parts) - 2)  # the last but the held end value
    part, ramp = parts[index], parts[index].ramp
    if ramp is None or not (part.rises and part.start > 0 and part.used) or run.fell_before(index):
        return
    if ramp.shape.startswith("exponential") or (index == 0 and ramp.shape == "linear"):
        return  # a learning-rate range test, or a warmup alone
    if part.start <= 0.05 and part.stop >= max(0.01, 3 * part.start):
        message = f"the floor {part.stop:.4g} is {part.stop / part.start:.4g} times the LR that the decay starts from"
        instead = f"for that share of it write 'to {part.start * part.stop:.4g}'"
        yield Finding("looks-like-ratio", "warning", part.first, message, instead)
    elif index and parts[index - 1].rises and part.start == 1 < part.stop:
        message = f"after the warmup to 1 the LR goes on to {part.stop:.4g} times the peak"
        instead = f"for a floor of {part.stop:.4g} % write 'to {part.stop / 100:.4g}'"
        yield Finding("floor-above-peak", "warning", part.first, message, instead)
    elif ramp.shape != "linear" and not (index and parts[index - 1].rises):
        message = f"the last ramp rises from {part.start:.4g} to {part.stop:.4g}: its floor is above its start"
        instead = f"write 'to' a value below {part.start:.4g}, or nothing if the LR is to grow to the end"
        yield Finding("floor-above-peak", "warning", part.first, message, instead)


def phases(run: Run) -> Iterator[Finding]:
    """Ramps that no update uses: begun after the run (warning), or shorter than an update (info)."""
    idle = [index for index, part in enumerate(run.stretches) if not (part.used or part.level)]
    late = [index for index in idle if run.stretches[index].begin >= run.total]
    short = [run.stretches[index] for index in idle if run.stretches[index].begin < run.total]
    if late:
        part, before = run.stretches[late[0]], run.stretches[late[0] - 1]
        phase = "rise" if part.rises else "cooldown" if before.level else "decay"
        message = f"the {phase} '{part.ramp}' begins after {count(part.begin)} updates, the run ends before it"
        instead = "size the phases by the run, with 'rest' and shares such as '20%', or let the run last longer"
        yield Finding("phase-unentered", "warning", run.total - 1, message, instead)
    if short:
        message = f"'{short[0].ramp}' lies between two updates, and none uses it"
        instead = "give it a whole update, or leave it out"
        yield Finding("phase-unentered", "info", floor(short[0].begin), message, instead)


def length(run: Run) -> Iterator[Finding]:
    """The schedule ends before the run does, or after it."""
    own, total, ramp = run.schedule.total, run.total, run.schedule.ramps[-1]
    held = ramp.end_value
    says = f"the schedule ends after {count(own)} updates, the run after {total:,}"
    if total > own + 1:
        step = ceil(own)
        if held >= run.peak * (1 - ROUNDING) or run.stretches[-2:][0].level:
            message = f"{says}: its last level, {held:.4g}, is held to the end"
            yield Finding("shorter-than-run", "info", step, message, "right as it is; to say it write 'hold rest'")
            return
        message = f"{says}: the last {total - step:,} have {held:.4g}{'' if held else ' and change no weight'}"
        rest = f"{ramp.shape} rest to {write_number(held)}"
        instead = f"write 'rest' for its last duration ('{rest}') and give the run's length, or a shorter run"
        yield Finding("shorter-than-run", "warning", step, message, instead)
    elif own > total + 1:
        yield _cut_off(run, says)


def _cut_off(run: Run, says: str) -> Finding:
    """What a run misses that stops before its schedule does."""
    held, here = run.schedule.ramps[-1].end_value, run.schedule(run.total - 1)
    beyond = [part for part in run.stretches if part.end > run.total]
    values = [part.stop for part in beyond] + [part.start for part in beyond if part.begin >= run.total]
    missed = max(abs(value - here) for value in values)
    message = f"{says}: it stops at {here:.4g}"
    severity: Severity = "info"
    if missed <= ROUNDING * run.peak:
        message, instead = f"{says}, at a level LR", "right as it is if the cooldown is decided later"
    elif all(part.level or has_no_end(part) for part in beyond):
        instead = "right as it is for a curve without an end"
    elif missed < SMALL * run.peak:
        instead = "what is missing is less than 1 % of the peak; to end exactly write durations for the run's length"
    else:
        message += f" and never reaches {'the floor ' if held < here else ''}{held:.4g}"
        severity, instead = "warning", f"write durations for {run.total:,} updates, or 'rest' and shares such as '20%'"
    return Finding("longer-than-run", severity, run.total - 1, message, instead)
