"""Hyperparameters that go together: schedules for one derived from the schedule of another."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lehr.schedule import Ramp, Schedule


class Coupling(ABC):
    """A function of the step that follows a schedule: when another schedule goes on, it is built around that one.

    `kind` and `settings` say which function it is, in plain data for a scheduler's state.
    """

    schedule: Schedule
    kind: ClassVar[str]

    @property
    @abstractmethod
    def settings(self) -> dict[str, float]:
        """Its numbers, as `rebuild` takes them."""

    @abstractmethod
    def of(self, value: float, step: int) -> float:
        """What goes with the schedule's value at this step."""

    @abstractmethod
    def around(self, schedule: Schedule) -> "Coupling":
        """The same coupling to another schedule. Raises ValueError where it cannot go with that one."""

    def __call__(self, step: int) -> float:
        return self.of(self.schedule(step), step)

    def __str__(self) -> str:
        return describe(self.kind, self.settings, str(self.schedule))


def describe(kind: str, settings: dict[str, float], text: str) -> str:
    """A coupling as an error shows it."""
    return f"{kind}({text!r}{''.join(f', {name}={value:g}' for name, value in settings.items())})"


def schedule_of(curve: Any) -> Schedule | None:
    """The schedule that a curve is, or goes with; None for any other function."""
    if isinstance(curve, Coupling):
        return curve.schedule
    return curve if isinstance(curve, Schedule) else None


def rebuild(kind: str, settings: dict[str, float], schedule: Schedule, here: Any) -> Coupling | None:
    """A saved coupling; `here` is the code's, whose batch sizes it takes: None where that has none to take."""
    if kind == "constant_product":
        return constant_product(schedule, **settings)
    if kind == "scale_by_batch" and isinstance(here, _Batch):
        return replace(here, schedule=schedule, reference=settings["reference"])
    return None


def opposite(schedule: Schedule, low: float) -> Schedule:
    """Return the mirrored schedule: it falls from 1 to `low` while the LR rises, and comes back to 1 while it falls.

    For `momentum`, as in the one-cycle policy (Smith 2018, arXiv 1803.09820; `cycle_momentum` in torch's OneCycleLR):
    with a momentum of 0.95 that goes down to 0.85, `low` is 0.85 / 0.95. Raises ValueError unless 0 <= low <= 1.

    >>> import lehr
    >>> print(opposite(lehr.parse("cosine 30 from 0.04 to 1, cosine 70 to 0"), low=0.5))
    cosine 30 from 1 to 0.5, cosine 70 to 1
    """
    if not 0 <= low <= 1:
        raise ValueError(f"low is the least multiplier, from 0 to 1, not {low!r}; from 0.95 to 0.85 it is 0.85 / 0.95")
    first = schedule.ramps[0]
    falls = first.end_value < first.start_value or (first.end_value == first.start_value == schedule.peak)
    ramps: list[Ramp] = []
    for ramp in schedule.ramps:
        here = ramps[-1].at(ramp.begin) if ramps else low if falls else 1.0
        # a jump in the LR is a jump here: where a ramp does not go on from where the curve was
        if ramps and (before := schedule.ramps[len(ramps) - 1].at(ramp.begin)) != ramp.start_value:
            here = low if ramp.start_value > before else 1.0
        to = here if ramp.end_value == ramp.start_value else low if ramp.end_value > ramp.start_value else 1.0
        ramps.append(Ramp(ramp.begin, ramp.duration, here, to, ramp.shape))
    return Schedule(tuple(ramps), schedule.sample)


@dataclass(frozen=True)
class _Product(Coupling):
    schedule: Schedule
    most: float
    kind: ClassVar[str] = "constant_product"

    @property
    def settings(self) -> dict[str, float]:
        return {"most": self.most} if self.most < math.inf else {}

    def of(self, value: float, step: int) -> float:
        return min(1 / value, self.most) if value else self.most

    def around(self, schedule: Schedule) -> Coupling:
        return constant_product(schedule, self.most)


def constant_product(schedule: Schedule, most: float = math.inf) -> Coupling:
    """Return 1 / schedule(step) and at most `most`: for `weight_decay`, so that LR times weight decay stays what it is.

    Decoupled weight decay shrinks the weights by LR * weight_decay an update (Loshchilov & Hutter 2019,
    arXiv 1711.05101), so a falling LR takes the decay with it; this holds it. Raises ValueError for a schedule that
    uses an LR of 0, where no weight decay can, unless `most` is given.

    Give it the schedule that `lr` has, of each group its own: a group whose LR follows another one is refused by name,
    unless its weight decay is 0 (a multiple of the same one holds the product, too; a plain function is not looked
    into). Where a run goes on along another schedule (`on_mismatch`), it goes with that one.

    >>> import lehr
    >>> schedule = lehr.cosine(total=10, final=0.1)
    >>> keep = constant_product(schedule)
    >>> [round(schedule(step) * keep(step), 12) for step in (0, 5, 9)]
    [1.0, 1.0, 1.0]
    """
    if not most > 0:
        raise ValueError(f"most is the greatest multiplier of the weight decay, above 0, not {most!r}")
    # a curve touches 0 at its joints alone; which of the updates beside one stands on it is a matter of `sample`
    beside = {max(round(joint) + d, 0) for joint in schedule.joints for d in (-1, 0, 1)}
    if most == math.inf and not all(map(schedule, beside)):
        raise ValueError(
            f"{str(schedule)!r} goes to an LR of 0, where no weight decay holds LR * weight_decay; "
            "write most=100, say, for the greatest multiplier, or a floor above 0"
        )
    return _Product(schedule, most)


def breaks_product(decay: Any, lr: Any) -> bool:
    """Whether a weight decay is to hold its product with an LR that follows other values than these."""
    if not isinstance(decay, _Product) or schedule_of(lr) is None:
        return False
    if isinstance(lr, Coupling):
        return True
    mine, own = decay.schedule, schedule_of(lr)
    if own is None or own == mine or not own.peak:  # a product of 0 holds
        return False
    return not mine.peak or mine.normalized()[1].fingerprint != own.normalized()[1].fingerprint


@dataclass(frozen=True)
class _Batch(Coupling):
    schedule: Schedule
    batch: Callable[[int], float]
    reference: float
    kind: ClassVar[str] = "scale_by_batch"

    @property
    def settings(self) -> dict[str, float]:
        return {"reference": self.reference}

    def of(self, value: float, step: int) -> float:
        return value * math.sqrt(self.batch(step) / self.reference)

    def around(self, schedule: Schedule) -> Coupling:
        return replace(self, schedule=schedule)


def scale_by_batch(schedule: Schedule, batch: float | Callable[[int], float], reference: float) -> Schedule | Coupling:
    """Return the schedule times sqrt(batch / reference): `reference` is the batch size that the peak LR was tuned at.

    The square root is the rule for Adam (Malladi et al. 2022, arXiv 2205.10287). `batch` is a number, and what is
    returned a schedule; or the batch size of each update as a function of the step, for one that is raised on the way.
    That function is the code's own: a state holds the schedule and the reference.

    >>> import lehr
    >>> print(scale_by_batch(lehr.linear(total=100, warmup=10), batch=1024, reference=256))
    linear 10 from 0 to 2, linear 90 to 0
    """
    if not reference > 0:
        raise ValueError(f"reference is a batch size above 0, not {reference!r}")
    if callable(batch):
        return _Batch(schedule, batch, reference)
    if not batch > 0:
        raise ValueError(f"batch is a batch size above 0, not {batch!r}")
    return math.sqrt(batch / reference) * schedule
