"""Recipes of several cycles or stairs: restarts, one-cycle, repeated cooldowns, steps.

As in `lehr.recipes`: peak 1, whole updates, warmup included in `total`, and by default no update at 0.
"""

from collections.abc import Sequence
from itertools import pairwise

from lehr.recipes import count, ratio
from lehr.schedule import Ramp, Sample, Schedule
from lehr.words import is_number

MOST = 10_000  # cycles or levels in one schedule: beyond that it is a table and no schedule


def one_cycle(
    total: int,
    warmup: int,
    start: float = 0.04,
    final: float = 4e-6,
    shape: str = "cosine",
    sample: Sample = "end",
) -> Schedule:
    """Up from `start` to the peak over `warmup` updates, then down to `final`, both along `shape`.

    Smith & Topin 2018 (arXiv 1708.07120); the defaults are fastai's and torch's (1/25, and 1e-4 of that); `shape` is
    "cosine" or "linear". Raises ValueError for a warmup that does not fit.

    >>> schedule = one_cycle(total=100, warmup=30)
    >>> schedule(29), schedule(99)
    (1.0, 4e-06)
    """
    total, warmup = count("total", total), count("warmup", warmup, total)
    if not 0 < warmup < total:
        raise ValueError(f"warmup={warmup} leaves no rise or no fall in total={total}; write warmup={total * 3 // 10}")
    return Schedule((Ramp(0, warmup, start, 1, shape), Ramp(warmup, total - warmup, 1, final, shape)), sample)


def sgdr(
    cycle: int,
    cycles: int,
    growth: float = 1.0,
    peak_ratio: float = 1.0,
    warmup: int = 0,
    final: float = 0.0,
    sample: Sample = "end",
) -> Schedule:
    """Cosine restarts: cycle i lasts `cycle * growth**i` updates and falls from `peak_ratio**i` to `final`.

    Loshchilov & Hutter 2017 (arXiv 1608.03983); growth is their T_mult. Lengths are rounded to whole updates. With
    `sample="end"` every cycle begins with one update at its peak, so that peak and final value are both used. A warmup
    comes before the first cycle. Raises ValueError for lengths below 2.

    >>> print(sgdr(cycle=10, cycles=3, growth=2, sample="start"))
    cosine 10 from 1 to 0, cosine 20 from 1 to 0, cosine 40 from 1 to 0, sampled at start
    >>> print(sgdr(cycle=10, cycles=2))
    hold 1, cosine 9 to 0, hold 1 from 1, cosine 9 to 0
    """
    warmup, cycle, cycles = count("warmup", warmup), count("cycle", cycle), _few("cycles", cycles)
    if not (is_number(growth) and growth > 0 and is_number(peak_ratio) and 0 < peak_ratio <= 1):
        raise ValueError(f"growth is above 0 and peak_ratio above 0 and at most 1, not {growth!r} and {peak_ratio!r}")
    ramps = [Ramp(0, warmup, 0, 1)] if warmup else []
    begin = warmup
    for index in range(cycles):
        try:
            length, peak = count("cycle", round(cycle * growth**index)), peak_ratio**index
        except (OverflowError, ValueError):
            raise ValueError(f"cycle {index} would last longer than a run can; write a smaller growth") from None
        if length < 2:
            raise ValueError(f"cycle {index} would last {length} updates, and takes 2; write a longer cycle")
        # right after the warmup the peak has had its update already
        at_peak = 1 if sample == "end" and (index or not warmup) else 0
        if at_peak:
            ramps.append(Ramp(begin, 1, peak, peak))
        ramps.append(Ramp(begin + at_peak, length - at_peak, peak, final, "cosine"))
        begin += length
    return Schedule(tuple(ramps), sample)


def wsd_s(
    total: int,
    warmup: int,
    decay: int,
    cycles: int,
    final: float = 0.1,
    shape: str = "inverse",
    sample: Sample = "end",
) -> Schedule:
    """WSD-S: `cycles` equal parts, each the peak and then a cooldown over its last `decay` updates, back up at once.

    Wen et al. 2024 (arXiv 2410.05192), who cool down with 1 / LR running linearly ("inverse"); every cooled-down
    checkpoint is a finished model, and training goes on from it. Raises ValueError where a part has no room.

    >>> print(wsd_s(total=1000, warmup=20, decay=50, cycles=2))
    linear 20 to 1, hold 430, inverse 50 to 0.1, hold 450 from 1, inverse 50 to 0.1
    """
    total = count("total", total)
    warmup, decay, cycles = count("warmup", warmup, total), count("decay", decay, total), _few("cycles", cycles)
    ends = [round(total * index / cycles) for index in range(cycles + 1)]
    ramps = [Ramp(0, warmup, 0, 1)] if warmup else []
    for begin, end in pairwise(ends):
        stable = max(begin, warmup)
        if not decay or end - decay <= stable:
            raise ValueError(
                f"cycle {begin}..{end} has no room for {decay} updates of cooldown after {stable - begin} of warmup; "
                f"write a smaller decay or fewer cycles"
            )
        ramps += [Ramp(stable, end - decay - stable, 1, 1), Ramp(end - decay, decay, 1, final, shape)]
    return Schedule(tuple(ramps), sample)


def step(total: int, every: int, factor: float = 0.1, warmup: int = 0, sample: Sample = "end") -> Schedule:
    """The peak, times `factor` after every `every` updates (torch's StepLR), after a linear warmup.

    >>> [step(total=30, every=10, factor=0.5)(s) for s in (9, 10, 20, 99)]
    [1.0, 0.5, 0.25, 0.25]
    """
    every = count("every", every, total)
    if every < 1:
        raise ValueError(f"every is a count of updates >= 1, not {every}")
    _few("the number of levels", max(count("total", total) // every, 1))
    return multistep(total, range(every, total, every), factor, warmup, sample)


def multistep(
    total: int, milestones: Sequence[int], factor: float = 0.1, warmup: int = 0, sample: Sample = "end"
) -> Schedule:
    """The peak, times `factor` once `milestones` updates are done (torch's MultiStepLR), after a linear warmup.

    The schedule of He et al. 2015 (ResNet, arXiv 1512.03385). Update number `milestone` is the first with the lower
    value. Raises ValueError for milestones that do not rise from above the warmup to below `total`.

    >>> print(multistep(total=90, milestones=(30, 60)))
    hold 30, hold 30 from 0.1, hold 30 from 0.01
    """
    total, warmup = count("total", total), count("warmup", warmup, total)
    factor = ratio("factor", factor)
    joints = [warmup, *(count("milestone", milestone, total) for milestone in milestones), total]
    for before, after in pairwise(joints):
        if after <= before:
            raise ValueError(
                f"milestones rise from above warmup={warmup} to below total={total}, not {list(milestones)}"
            )
    ramps = [Ramp(0, warmup, 0, 1)] if warmup else []
    value = 1.0
    for begin, end in pairwise(joints):
        ramps.append(Ramp(begin, end - begin, value, value))
        value = float(f"{value * factor:.15g}")  # 0.01, not 0.010000000000000002
    return Schedule(tuple(ramps), sample)


def _few(name: str, number: int) -> int:
    """A count from 1 to as many ramps as a schedule may have and still be read."""
    number = count(name, number)
    if not 1 <= number <= MOST:
        raise ValueError(f"{name} is a count from 1 to {MOST}, not {number}")
    return number
