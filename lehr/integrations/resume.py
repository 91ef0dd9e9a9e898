"""The contract of resuming: a saved schedule that is not the one here is refused, unless it is said which one goes on.

Every integration asks `settle`, so that the refusal and the four ways on are the same everywhere.
"""

import warnings
from collections.abc import Callable
from typing import Any

from lehr.integrations.groups import Curve, Rules
from lehr.schedule import Schedule
from lehr.spec import parse

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

    `asked` names, by pattern, the schedule of the code along which a saved one was extended.
    """
    texts = {pattern: str(curve) if isinstance(curve, Schedule) else None for pattern, curve in rules.items()}
    prints = {pattern: curve.fingerprint if isinstance(curve, Schedule) else None for pattern, curve in rules.items()}
    alone = list(rules) == ["*"]
    state: dict[str, Any] = {"schedule": texts, "fingerprint": prints}
    if alone:
        state = {key: value["*"] for key, value in state.items()}
    return state | ({"asked": dict(asked)} if asked else {})


def read_texts(state: dict[str, Any]) -> dict[str, str | None]:
    """Pattern to text from what `write_rules` wrote."""
    texts = state["schedule"]
    return dict(texts) if isinstance(texts, dict) else {"*": texts}


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
    groups.
    """
    texts = {} if state is None else read_texts(state)
    asked: dict[str, str] = {} if state is None else dict(state.get("asked", {}))
    ours: Rules = here or {}
    if list(texts) != list(ours):
        if on_mismatch == "new":
            return here, {}
        if on_mismatch == "saved":
            if None in texts.values():
                raise _a_function(what, texts)
            return {p: parse(str(text)) for p, text in texts.items()} or None, {}
        raise ValueError(
            f"the saved schedule differs: {what} was {_listed(texts)}, here it is {_listed(ours)}; "
            'write on_mismatch="saved" or on_mismatch="new" to say which one goes on'
            + (' ("extend" needs the same patterns on both sides)' if on_mismatch == "extend" else "")
        )
    settled: Rules = {}
    kept: dict[str, str] = {}
    for pattern, curve in ours.items():
        text = texts[pattern]
        functions = text is None and not isinstance(curve, Schedule)  # nobody can tell whether they are the same
        if functions or on_mismatch == "new":
            settled[pattern] = curve
        elif text is None or not isinstance(curve, Schedule):
            settled[pattern] = _with_a_function(what, text, curve, on_mismatch)
        elif asked.get(pattern) == curve.fingerprint:  # it was extended along this very one
            settled[pattern], kept[pattern] = parse(text), curve.fingerprint
        else:
            saved = parse(text)
            name = "schedule" if what == "lr" else f"schedule of {what}"
            name += "" if list(ours) == ["*"] else f" for {pattern!r}"
            settled[pattern] = settle(saved, curve, step, on_mismatch, lambda v, p=pattern: show(p, v), name)  # type: ignore[misc]
            if on_mismatch == "extend" and saved.fingerprint != curve.fingerprint:
                kept[pattern] = curve.fingerprint
    return settled, kept


def _with_a_function(what: str, text: str | None, curve: Curve, on_mismatch: str) -> Curve:
    if text is not None and on_mismatch == "saved":
        return parse(text)
    saved = "that of a plain function" if text is None else f"that of {text!r}"
    here = f"it is {str(curve)!r}" if isinstance(curve, Schedule) else "it is a plain function"
    raise ValueError(
        f"the saved schedule differs: the saved state of {what} is {saved}, here {here}; "
        'write on_mismatch="new" if the one here is to go on from there'
    )


def _a_function(what: str, texts: dict[str, str | None]) -> ValueError:
    pattern = next(p for p, text in texts.items() if text is None)
    return ValueError(
        f"the saved {what}[{pattern!r}] was a plain function, which no state can hold; "
        'give it again, or write on_mismatch="new"'
    )


def _listed(rules: Any) -> str:
    if not rules:
        return "not scheduled"
    return "scheduled by " + ", ".join(
        f"{p!r}: {str(curve)!r}" if isinstance(curve, (Schedule, str)) else f"{p!r}: a function"
        for p, curve in rules.items()
    )
