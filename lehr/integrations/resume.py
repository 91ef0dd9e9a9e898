"""The contract of resuming: a saved schedule that is not the one here is refused, unless it is said which one goes on.

Whatever keeps a `Scheduler`'s state comes through here, torch, Lightning, the Trainer or accelerate, so that the
refusal and the four ways on are the same; `lehr train --on-mismatch` has them in `lehr.train.resume`, with the run's
length.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lehr.integrations.couplings import Coupling, describe, rebuild, schedule_of
from lehr.integrations.groups import Curve, Rules
from lehr.schedule import Schedule
from lehr.spec import parse
from lehr.words import is_number

MISMATCH = ("error", "saved", "new", "extend")


def check_choice(on_mismatch: str) -> None:
    """Raise ValueError for what is none of the four ways on."""
    if on_mismatch not in MISMATCH:
        raise ValueError(f"on_mismatch is one of {', '.join(MISMATCH)}, not {on_mismatch!r}")


def settle(
    saved: Schedule,
    here: Schedule,
    step: int,
    on_mismatch: str = "error",
    show: Callable[[float], str] = "{:.6g} times the peak".format,
    what: str = "schedule",
) -> Schedule:
    """Return the schedule that goes on after `step` updates along `saved`, where the code has `here`.

    "saved" and "new" take one of them; "extend" is `saved.extend(here, at=step)`: from the saved one's value along the
    tail of the one here, with a warning where that stays at 0. "error" raises ValueError, which shows both, what each
    is at this step (through `show`), and the ways on. Two equal schedules need no decision.

    >>> import lehr
    >>> print(settle(lehr.linear(100, warmup=10), lehr.linear(200, warmup=10), step=50, on_mismatch="saved"))
    linear 10 to 1, linear 90 to 0
    """
    check_choice(on_mismatch)
    if saved.fingerprint == here.fingerprint:
        return here
    if on_mismatch == "error":
        raise ValueError(
            f"the saved {what} differs: saved {str(saved)!r} ({show(saved(step))} at step {step}), here {str(here)!r} "
            f'({show(here(step))} at step {step}); say how to go on: on_mismatch="saved" keeps to the saved one, '
            'on_mismatch="new" takes the one here from this step on, on_mismatch="extend" goes from the saved one\'s '
            'value along the one here; on_mismatch="error", the default, refuses'
        )
    if on_mismatch == "extend":
        extended = saved.extend(here, at=step) if step else here
        beside = {t for joint in extended.joints for t in (joint - 1, joint) if t > step}
        if not any(map(extended, {step, *beside})):
            warnings.warn(
                f"the saved {what} {str(saved)!r} is at 0 at step {step}, and extended along the one here it stays "
                'there: nothing more would be learned; on_mismatch="new" takes the one here as it is',
                stacklevel=2,
            )
        return extended
    return saved if on_mismatch == "saved" else here


# ---------------------------------------------------------------------------------------------------------------------
# rules as plain data


def write_rules(rules: Rules, asked: dict[str, str]) -> dict[str, Any]:
    """The texts and fingerprints of rules: of one alone, or by pattern; None for a function that is no schedule.

    `coupled` names, by pattern, the coupling that is around the schedule; `asked` the schedule of the code along which
    a saved one was extended.
    """
    inner = {pattern: schedule_of(curve) for pattern, curve in rules.items()}
    texts = {pattern: None if schedule is None else str(schedule) for pattern, schedule in inner.items()}
    prints = {pattern: None if schedule is None else schedule.fingerprint for pattern, schedule in inner.items()}
    state: dict[str, Any] = {"schedule": texts, "fingerprint": prints}
    if list(rules) == ["*"]:
        state = {key: value["*"] for key, value in state.items()}
    coupled = {p: {"kind": c.kind, **c.settings} for p, c in rules.items() if isinstance(c, Coupling)}
    return state | ({"coupled": coupled} if coupled else {}) | ({"asked": dict(asked)} if asked else {})


@dataclass(frozen=True)
class Saved:
    """What a state holds of one rule: the schedule's text, and the coupling around it. A function leaves no text."""

    text: str | None
    kind: str | None = None
    settings: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.text is None:
            return "a plain function"
        return repr(self.text) if self.kind is None else describe(self.kind, self.settings, self.text)

    def is_like(self, curve: Curve) -> bool:
        """Whether the two differ in the schedule at most."""
        if isinstance(curve, Coupling):
            return (self.kind, self.settings) == (curve.kind, curve.settings)
        return self.kind is None and (self.text is None) == (not isinstance(curve, Schedule))

    def curve(self, what: str, here: Curve | None) -> Curve:
        """It goes on: ValueError for a function, which no state can hold (`here` lends the batch sizes it has)."""
        if self.text is not None:
            schedule = parse(self.text)
            curve = schedule if self.kind is None else rebuild(self.kind, self.settings, schedule, here)
            if curve is not None:
                return curve
        raise ValueError(
            f"the saved {what} was {self}, {'which' if self.text is None else 'whose batch sizes'} no state can hold; "
            'give it again, or write on_mismatch="new" if the one here is to go on'
        )


def read_rules(state: dict[str, Any] | None) -> dict[str, Saved]:
    """Pattern to what was saved of it, from what `write_rules` wrote; None where nothing was scheduled."""
    if state is None:
        return {}
    texts, coupled = state["schedule"], state.get("coupled", {})
    rules: dict[str, Saved] = {}
    for pattern, text in (texts if isinstance(texts, dict) else {"*": texts}).items():
        settings = dict(coupled.get(pattern, {}))
        rules[pattern] = Saved(text, settings.pop("kind", None), settings)
    return rules


def check_counts(state: dict[str, Any], child: bool = False) -> None:
    """Raise ValueError where the saved step, or the count of skipped updates, is no such thing.

    `child`: of a SequentialLR, whose step is -1 until its turn comes.
    """
    for name, least in (("last_epoch", -child), ("skipped", 0)):
        count = state.get(name, 0)
        if not is_number(count) or not least <= count < math.inf:
            raise ValueError(
                f"the saved {name} is {count!r}, which is no number of updates; load the state as it was saved"
            )


def _verify(what: str, state: dict[str, Any]) -> None:
    """Raise ValueError for a text that cannot be read, or whose fingerprint is not the one that was saved with it."""
    texts, prints = state["schedule"], state["fingerprint"]
    if not isinstance(texts, dict):
        texts, prints = {"*": texts}, {"*": prints}
    for pattern, text in texts.items():
        kept = prints.get(pattern) if isinstance(prints, dict) else prints
        name = what if list(texts) == ["*"] else f"{what}[{pattern!r}]"
        try:
            own = None if text is None else parse(text).fingerprint
        except (ValueError, TypeError) as error:  # a shape, say, that is not registered here
            raise ValueError(f"the saved text of {name} cannot be read: {error}") from error
        if own != kept:
            raise ValueError(
                f"the saved text of {name}, {text!r}, has the fingerprint {own}, and the state has {kept}: one of them "
                "was changed after it was saved, so neither can be relied on; load the state as it was saved, or write "
                'on_mismatch="new" to take its step and go on along the schedule here'
            )


def settle_rules(
    what: str,
    state: dict[str, Any] | None,
    here: Rules | None,
    step: int,
    on_mismatch: str,
    show: Callable[[str, float], str],
) -> tuple[Rules | None, dict[str, str]]:
    """Settle a target's rules: those that go on (None: none), and by pattern what an extended one was asked to follow.

    `state` is what `write_rules` wrote, None where nothing was scheduled; `show` writes the value of a pattern's
    groups. A coupling is built around the schedule that goes on. A text that was changed after it was saved is a
    ValueError, where it counts.
    """
    saved = read_rules(state)
    asked: dict[str, str] = {} if state is None else dict(state.get("asked", {}))
    ours: Rules = here or {}
    if on_mismatch == "new":
        return here, {}
    if state is not None:
        _verify(what, state)
    if list(saved) != list(ours):
        if on_mismatch == "saved":
            rules = {p: each.curve(f"{what}[{p!r}]", ours.get(p)) for p, each in saved.items()}
            return rules or None, {}
        raise ValueError(
            f"the saved schedule differs: {what} was {_listed(saved)}, here it is {_listed(ours)}; "
            'write on_mismatch="saved" or on_mismatch="new" to say which one goes on'
            + (' ("extend" needs the same patterns on both sides)' if on_mismatch == "extend" else "")
        )
    settled: Rules = {}
    kept: dict[str, str] = {}
    for pattern, curve in ours.items():
        there, ahead = saved[pattern], schedule_of(curve)
        further = on_mismatch == "extend" and isinstance(curve, Coupling) and there.kind == curve.kind
        if not there.is_like(curve) and not further:  # extending goes on under the settings that the code has
            if on_mismatch != "saved" or there.text is None:
                raise _of_another_kind(what, there, curve, on_mismatch)
            settled[pattern] = there.curve(f"{what}[{pattern!r}]", curve)
        elif there.text is None or ahead is None:  # two functions: nobody can tell whether they are the same
            settled[pattern] = curve
        else:
            before = parse(there.text)
            if asked.get(pattern) == ahead.fingerprint:  # it was extended along this very one
                chosen, kept[pattern] = before, ahead.fingerprint
            else:
                name = "schedule" if what == "lr" else f"schedule of {what}"
                name += "" if list(ours) == ["*"] else f" for {pattern!r}"
                of = curve.of if isinstance(curve, Coupling) else _itself

                def shown(value: float, pattern: str = pattern, of: Callable[[float, int], float] = of) -> str:
                    return show(pattern, of(value, step))

                chosen = settle(before, ahead, step, on_mismatch, shown, name)
                if on_mismatch == "extend" and before.fingerprint != ahead.fingerprint:
                    kept[pattern] = ahead.fingerprint
            settled[pattern] = curve.around(chosen) if isinstance(curve, Coupling) else chosen
    return settled, kept


def _itself(value: float, step: int) -> float:
    return value


def _of_another_kind(what: str, saved: Saved, curve: Curve, on_mismatch: str) -> ValueError:
    ways = 'on_mismatch="new" if the one here is to go on from there'
    if saved.text is not None:
        ways = 'on_mismatch="saved" or on_mismatch="new" to say which one goes on'
    if on_mismatch == "extend":
        ways += ' ("extend" goes from one schedule to another of the same kind)'
    return ValueError(
        f"the saved schedule differs: the saved state of {what} is that of {saved}, here it is {_named(curve)}; "
        f"write {ways}"
    )


def _named(curve: Any) -> str:
    if isinstance(curve, (Coupling, Saved)):
        return str(curve)
    return repr(str(curve)) if isinstance(curve, Schedule) else "a plain function"


def _listed(rules: Any) -> str:
    if not rules:
        return "not scheduled"
    return "scheduled by " + ", ".join(f"{p!r}: {_named(curve)}" for p, curve in rules.items())
