"""A rule about what a text says and the schedule that was read from it no longer shows."""

from collections.abc import Iterator

from lehr.clock import Clock
from lehr.lint.run import Finding, Severity
from lehr.spec import vanished


def phases_vanished(text: str, clock: Clock | None, total: int | None) -> Iterator[Finding]:
    """A share of the run, or a length in tokens, samples or epochs, that rounds to no update."""
    gone = vanished(text, clock, total)
    if not gone:
        return
    # a level stretch that is missing changes little: those at which the rate moves come first
    item, length, begin, updates = min(gone, key=lambda one: " to " not in one[0])
    severity: Severity = "warning" if " to " in item else "info"
    more = f" ({len(gone)} of the items do)" if len(gone) > 1 else ""
    message = f"'{item}' is {updates:.3g} of an update and rounds to none{more}: the run goes without it"
    instead = f"write 1 for '{length}' to give it an update, or leave it out"
    last = (total or int(begin) + 1) - 1
    yield Finding("phase-vanished", severity, min(int(begin), last), message, instead)
