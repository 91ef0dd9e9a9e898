"""`Scheduler`, a torch LRScheduler over any schedule.

Nothing is ever computed from the optimizer's current values, only from each group's initial ones, so the order of
building, loading and stepping does not matter, and a step taken twice is the step taken once.
"""

import math
import operator
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lehr.integrations import hyperparameters, resume
from lehr.integrations.calls import REPEATER, check_order, is_child, is_repetition
from lehr.integrations.foreign import is_foreign, take_step, warn_of_count
from lehr.integrations.groups import Curve, Group, Rules, choose
from lehr.integrations.hyperparameters import (
    Binding,
    Given,
    Targets,
    bind,
    initial,
    is_plain,
    keep_initial,
    put,
    read_targets,
)
from lehr.integrations.peaks import carry_over, warn_of_brought, warn_of_rates
from lehr.integrations.watch import watch

MODULES = sys.modules
ON_SKIP = ("hold", "advance")


class Scheduler(LRScheduler):
    """A `torch.optim.lr_scheduler.LRScheduler` over any schedule: each group's LR is its initial LR times `lr(step)`.

    `lr` is a `lehr.Schedule`, any function from the number of completed updates to a multiplier >= 0, or a dict of them
    by the groups' names or patterns, such as {"*.bias": s1, "head": s2, "*": s3}: the first that fits wins. A group
    that none fits, and a pattern that fits none, are errors naming it. `weight_decay` and `momentum` likewise multiply
    the group's initial value, `betas` is a pair of such, None leaves alone. Where a group has betas and no momentum
    (Adam), `momentum` is betas[0].

    A schedule of learning rates (a peak of 3e-4, say) is warned of, unless the optimizer has lr=1; so are other initial
    values than the optimizer was made with, in one that was loaded before.

    Call `step()` after each `optimizer.step()`; what the first update uses is set at construction. A group's initial
    values are those it had when it was first seen, kept in `group["initial_lr"]`, `group["initial_weight_decay"]`, ...
    and saved with the optimizer; the current ones are never read. A group added later gets its values before its first
    update, or is refused there. Values held in tensors are filled in place.

    `step(skipped=True)` tells of an update that did not happen (AMP overflow, a gradient that is not finite): with
    `on_skip="advance"` the clock goes on, with "hold" it stays; either way it is counted in `skipped`.

    The state is the step, the count of skipped updates, and the schedules' texts and fingerprints: plain data that
    `torch.load(weights_only=True)` reads. Loading a state whose schedule differs from this one's raises ValueError,
    which shows both; `on_mismatch="saved"` keeps to the saved one, "new" takes this one, "extend" goes on from the
    saved one's value along this one (`Schedule.extend`). Two plain functions cannot be compared: this one is taken. Of
    a state that another library's scheduler wrote "new" takes the step alone; the other ways refuse it.

    `last_epoch=n` starts after n + 1 completed updates, as in torch, and needs the initial values of a loaded optimizer
    (KeyError without them).

    >>> import torch, lehr
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> scheduler = Scheduler(optimizer, lehr.cosine(total=10, warmup=2))
    >>> optimizer.param_groups[0]["lr"]
    0.05
    >>> optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr()
    [0.1]
    >>> scheduler.record()
    {'step': 1, 'phase': 'warmup', 'lr': 0.1, 'groups': [{'name': '0', 'phase': 'warmup', 'lr': 0.1}], 'skipped': 0}
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr: Given,
        *,
        weight_decay: Given | None = None,
        momentum: Given | None = None,
        betas: Sequence[Given | None] | None = None,
        last_epoch: int = -1,
        on_mismatch: str = "error",
        on_skip: str = "advance",
    ) -> None:
        self.targets: Targets = read_targets(lr, weight_decay, momentum, betas)
        resume.check_choice(on_mismatch)
        if on_skip not in ON_SKIP:
            raise ValueError(f"on_skip is one of {', '.join(ON_SKIP)}, not {on_skip!r}")
        self.on_mismatch, self.on_skip = on_mismatch, on_skip
        self.skipped = 0
        # what loading a state warned of, for those whose warnings are swallowed (the Trainer)
        self.told: list[str] = []
        self._dropped: set[str] = set()  # targets of a loaded state that are not scheduled any more
        self._asked: dict[str, dict[str, str]] = {}  # along which schedule of the code a saved one was extended
        self._groups: list[Group] = []  # the optimizer's own list
        self._known: list[Group] = []  # and what was in it
        self._count = 0
        self._bindings: list[Binding] = []
        self._plain: list[tuple[Curve, str, list[tuple[Group, float]]]] = []
        self._careful: list[Binding] = []
        self._updated = False  # since the last step(): the watch sets it
        self._child = False  # of a SequentialLR, which tells it when to set anything
        if isinstance(optimizer, Optimizer):  # torch refuses what is none
            if last_epoch != -1:
                hyperparameters.check_kept(self.targets, optimizer.param_groups, last_epoch)
            hyperparameters.check(self.targets, optimizer.param_groups)
            warn_of_rates(self.targets, optimizer.param_groups, stacklevel=3)
            warn_of_brought(self.targets, optimizer, stacklevel=3)
        super().__init__(optimizer, last_epoch)  # takes the first step()
        self._child = False
        watch(self)

    @property
    def lr(self) -> Curve | Rules:
        """The schedule of the LR, or of each pattern its own."""
        rules = self.targets["lr"]
        return rules["*"] if list(rules) == ["*"] else dict(rules)

    def step(self, epoch: int | None = None, *, skipped: bool = False) -> None:
        """Set the values of the next update; call it after `optimizer.step()`. `epoch` sets the step itself.

        `skipped=True` says that the update did not happen; then `on_skip` decides whether the clock goes on.
        """
        count = self._step_count
        if count == 1 and epoch is None and not skipped:
            check_order(self.optimizer)
        self._step_count = count + 1
        if skipped:
            self.skipped += 1
            if self.on_skip == "hold":
                return
        elif self._updated:
            self._updated = False
        elif epoch is None and REPEATER in MODULES and is_repetition(self, sys._getframe(1)):
            return
        step = self.last_epoch + 1 if epoch is None else epoch
        # What to set is kept at hand: a step costs one product a group. A new list means that a state was loaded.
        groups = self.optimizer.param_groups
        if groups is not self._groups or len(groups) != self._count:
            self._bind()
        for curve, key, pairs in self._plain:
            factor = curve(step)
            for group, value in pairs:
                if type(group[key]) is not float:
                    break
                group[key] = value * factor
            else:
                continue
            self._bind()  # somebody made a tensor of it: it is filled in place, and stays one
            self._set(step)
            break
        for curve, target, pairs in self._careful:
            factor = curve(step)
            for group, value in pairs:
                put(group, target, value * factor)
        self.last_epoch = step  # a step that was refused is none

    def _bind(self) -> None:
        """Look the groups up: which curve drives which, and from what initial value."""
        groups = self.optimizer.param_groups
        if groups is not self._groups:  # a state was loaded
            carry_over(self._known, groups, self.on_mismatch)
        keep_initial(self.targets, groups)
        self._bindings = bind(self.targets, groups)
        self._groups, self._known, self._count = groups, list(groups), len(groups)
        plain = [binding for binding in self._bindings if is_plain(binding)]
        # a bound method is called faster than the object it belongs to (mypy takes that of a Callable for no callable)
        self._plain = [(curve.__call__, key, pairs) for curve, key, pairs in plain]  # type: ignore[operator]
        self._careful = [binding for binding in self._bindings if not is_plain(binding)]

    def _look(self) -> None:
        """Before an update: groups that are not those of the last step get this step's values, or are refused."""
        groups = self.optimizer.param_groups
        if groups is self._groups and len(groups) == self._count and all(map(operator.is_, groups, self._known)):
            return
        loaded, known = groups is not self._groups, {id(group) for group in self._known}
        self._bind()
        # a state brings what its schedulers had set together: a child does not know its part in that
        if self.last_epoch >= 0 and not (loaded and self._child):
            self._set(self.last_epoch, [group for group in groups if loaded or id(group) not in known])

    def _set(self, step: int, only: list[Group] | None = None) -> None:
        chosen = None if only is None else {id(group) for group in only}
        for curve, target, pairs in self._bindings:
            factor = curve(step)
            for group, value in pairs:
                if chosen is None or id(group) in chosen:
                    put(group, target, value * factor)
        for target in self._dropped:
            for index, group in enumerate(self._known):
                if chosen is None or id(group) in chosen:
                    own = hyperparameters.resolve(target, index, group)
                    put(group, own, initial(group, own))

    def refresh(self) -> None:
        """Read the groups' initial values again and set this step's, after changing `group["initial_lr"]` by hand.

        A child whose turn it is not, and one whose LR another multiplies, leaves what is set: its next step counts.
        """
        mine = self.last_epoch >= 0 and (not self._child or self._is_set())
        self._groups = self.optimizer.param_groups
        self._bind()
        if mine:
            self._set(self.last_epoch)

    def _is_set(self) -> bool:
        """Whether the groups' LRs are those of this step, as set from the initial values that were read last."""
        driven = [each for each in self._bindings if each[1] == "lr"]
        return bool(driven) and all(
            math.isclose(group["lr"], value * curve(self.last_epoch), rel_tol=1e-6)
            for curve, _, pairs in driven
            for group, value in pairs
        )

    def record(self) -> dict[str, Any]:
        """What the next `optimizer.step()` will use, as plain data for a log.

        `step`, `phase` and `lr` of the first group, the count of `skipped` updates, and `groups`: each one's name (its
        number where it has none), phase, LR, and whatever else is scheduled. The phase of a plain function is None.
        """
        self._look()
        told = hyperparameters.record(self.targets, self.optimizer.param_groups, self.last_epoch)
        return {**told, "skipped": self.skipped}

    def get_lr(self) -> list[float | Tensor]:
        """The LR of each group at the present step, as the schedule has it; a tensor where the group has one."""
        self._look()
        lrs: list[float | Tensor] = []
        groups = self.optimizer.param_groups
        for group, curve in zip(groups, choose("lr", self.targets["lr"], groups), strict=True):
            value = initial(group, "lr") * curve(self.last_epoch)
            lrs.append(group["lr"].clone().fill_(value) if isinstance(group["lr"], Tensor) else value)
        return lrs

    def get_last_lr(self) -> list[float | Tensor]:
        """The LR of each group as it was set last; tensors are copies."""
        self._look()
        lrs = [group["lr"] for group in self.optimizer.param_groups]
        return [lr.clone() if isinstance(lr, Tensor) else lr for lr in lrs]

    # What torch's SequentialLR calls, reads and sets ------------------------------------------------------------------

    def _initial_step(self) -> None:
        self._child = True
        super()._initial_step()

    def _update_lr(self, epoch: int | None = None) -> None:
        self._child = True
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._bind()
        self._set(self.last_epoch)

    @property
    def _last_lr(self) -> list[float | Tensor]:
        return self.get_last_lr()

    @_last_lr.setter
    def _last_lr(self, value: list[float | Tensor]) -> None:
        """Nothing to keep: the groups have it."""

    @property
    def base_lrs(self) -> list[float | Tensor]:
        """The initial LR of each group."""
        self._look()
        return [initial(group, "lr") for group in self.optimizer.param_groups]

    @base_lrs.setter
    def base_lrs(self, value: list[float | Tensor]) -> None:
        """Nothing to keep: the groups have it."""

    # State ------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The completed and the skipped updates, and each schedule's text and fingerprint (None for a function)."""
        written = {t: resume.write_rules(rules, self._asked.get(t, {})) for t, rules in self.targets.items()}
        return {"last_epoch": self.last_epoch, "skipped": self.skipped, **written.pop("lr"), "others": written}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the saved step: the groups get the values of that step at once.

        Raises ValueError if a saved schedule is another one, unless `on_mismatch` says which one to take; then nothing
        was taken over. What it warns of is kept in `told`.
        """
        self._child |= is_child(self, sys._getframe(1))  # torch's composites do not show themselves before
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._load(state_dict)
        self.told = [str(each.message) for each in caught]
        for message in self.told:
            warnings.warn(message, stacklevel=2)

    def _load(self, state_dict: dict[str, Any]) -> None:
        foreign = is_foreign(state_dict)
        if foreign:
            state_dict = take_step(state_dict, self.on_mismatch, self._child)
        resume.check_counts(state_dict, self._child)
        step, groups = state_dict["last_epoch"], self.optimizer.param_groups
        saved = {"lr": state_dict, **state_dict.get("others", {})}
        targets: Targets = {}
        asked: dict[str, dict[str, str]] = {}
        for target in {**self.targets, **saved}:

            def show(pattern: str, value: float, target: str = target) -> str:
                return hyperparameters.show(groups, target, self.targets.get(target, {}), pattern, value)

            here, there = self.targets.get(target), saved.get(target)
            rules, kept = resume.settle_rules(target, there, here, max(step, 0), self.on_mismatch, show)
            if rules:
                targets[target] = rules
            if kept:
                asked[target] = kept
        if groups is not self._groups:
            carry_over(self._known, groups, self.on_mismatch)
            self._groups = groups
        bind(targets, groups)  # raises where the saved patterns do not fit these groups
        self.targets, self._asked, self._dropped = targets, asked, {*saved, *self.targets} - set(targets)
        self.last_epoch, self.skipped = step, state_dict.get("skipped", 0)
        self._step_count = max(step, 0) + 1
        self._bind()
        if not self._child:
            self._set(step)
        if foreign and not self._child:  # a child counts its own part
            warn_of_count(step, self.optimizer)

    def __setstate__(self, state: dict[str, Any]) -> None:  # of a copy, whose optimizer is a copy too
        self.__dict__.update(state)
        watch(self)
