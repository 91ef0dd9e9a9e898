"""The rule about multipliers and learning rates mistaken for each other."""

from collections.abc import Iterator
from math import ceil

from lehr.lint.run import SMALL, Finding, Run, Severity

LOW = 0.1  # a schedule of multipliers reaches 1; what stays below this is one of learning rates


def scale(run: Run) -> Iterator[Finding]:
    """Values that look like learning rates where multipliers of `lr` belong, and the reverse."""
    peak, lr = run.peak, run.lr
    floor = run.schedule.ramps[-1].end_value
    if peak < LOW:
        yield from _small_peak(peak, lr)
    elif lr is not None and peak < 1 - SMALL:
        message = f"the greatest value is {peak:.4g}: the peak lr={lr:g} is never used, only {lr * peak:.4g}"
        severity: Severity = "info" if run.stretches[-2:][0].rises else "warning"  # still on its way up to 1
        yield Finding("peak-unused", severity, 0, message, f"write multipliers up to 1, with lr={lr * peak:.4g}")
    elif 0 < floor < 1e-3 * peak:
        last = min(run.total, max(1, ceil(run.schedule.total))) - 1
        message = f"the floor {floor:.4g} is a multiplier of the peak, and looks like a learning rate"
        if lr is not None and 0.0166 <= floor / lr < 1:  # down to a sixtieth of the peak
            instead = f"for a floor of {floor:.4g} write 'to {floor / lr:.4g}'"
            yield Finding(
                "looks-like-lr", "warning", last, f"{message}: lr={lr:g} makes {lr * floor:.4g} of it", instead
            )
        else:
            instead = "right as it is if it is a share; for a learning rate write it divided by the peak"
            yield Finding("looks-like-lr", "info", last, message, instead)
    if lr is not None and lr * peak >= 1:
        message = f"the peak learning rate is {lr * peak:.4g}, which looks like a multiplier"
        yield Finding("looks-like-ratio", "info", 0, message, "give the peak learning rate, such as lr=3e-4")


def _small_peak(peak: float, lr: float | None) -> Iterator[Finding]:
    message = f"the greatest value is {peak:.4g}, which looks like a learning rate"
    if lr is None:
        instead = "do not multiply it by a peak once more; schedule.normalized() gives peak and multipliers"
        yield Finding("looks-like-lr", "info", 0, message, instead)
    elif lr != 1:
        message += f": lr={lr:g} makes {lr * peak:.4g} of it"
        instead = "write multipliers, with a peak of 1 (schedule.normalized() gives them), or lr=1"
        yield Finding("looks-like-lr", "warning", 0, message, instead)
