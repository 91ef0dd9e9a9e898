"""The groups' initial values, the peaks that a schedule multiplies: carried over when a state is loaded."""

import warnings
from typing import Any

from lehr.integrations.groups import Group, describe


def carry_over(before: list[Group], groups: list[Group], on_mismatch: str) -> None:
    """Initial values from the groups that were there before a state was loaded to those that it brought."""
    for index, (old, group) in enumerate(zip(before, groups, strict=False)):
        for name in [name for name in old if name.startswith("initial_")]:
            # one that was saved without a scheduler has no initial values: what it has may be anything
            if group.setdefault(name, old[name]) == old[name]:
                continue
            if on_mismatch == "new":
                group[name] = old[name]
                continue
            warnings.warn(
                f"the loaded optimizer brings {name}={_short(group[name])} for {describe(index, group)}, "
                f"which had {_short(old[name])} here; the loaded one goes on: to change it, write "
                f"on_mismatch=\"new\", or set group['{name}'] and call scheduler.refresh()",
                stacklevel=5,
            )


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (int, float)) else str(value)
