"""What a command about schedules is asked about: a schedule's text, or the folder of a run of `lehr train`."""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lehr.cli.options import clock
from lehr.clock import Clock
from lehr.schedule import Schedule
from lehr.spec import parse


@dataclass(frozen=True)
class Subject:
    """A schedule, and what its run says about it: `None` where nobody has said.

    `text` is what it was read from, with `time`, where that says more than the schedule does.
    """

    label: str
    schedule: Schedule
    total: int | None
    lr: float | None
    beta2: float | None = None
    run: Path | None = None
    text: str | None = None
    time: Clock | None = None

    def facts(self) -> dict[str, Any]:
        """What every `--json` says of a schedule: its canonical text, fingerprint, sample, total and peak."""
        schedule = self.schedule
        facts: dict[str, Any] = {
            "schedule": str(schedule),
            "fingerprint": schedule.fingerprint,
            "sample": schedule.sample,
        }
        facts |= {"total": schedule.total, "peak": schedule.peak}
        return facts | ({"run": str(self.run)} if self.run else {})


def subject(word: str, options: argparse.Namespace, total: int | None = None, lr: float | None = None) -> Subject:
    """Read a text with the clock and peak of the command line, or a run's folder with its own.

    `total` and `lr` are taken for a text of which the command line says nothing else. Raises ValueError for a folder
    that holds no run, and for an option that a run answers itself.
    """
    if not is_run(word):
        time = clock(options)
        if time.total_steps is None and total is not None:
            time = replace(time, total_steps=total)
        peak = lr if options.lr is None else options.lr
        updates = total if options.total is None else options.total
        return Subject(word, parse(word, time), updates, peak, getattr(options, "beta2", None), None, word, time)
    from lehr.train.config import read

    folder = Path(word)
    facts = read(folder)
    for name in ("lr", "total", "beta2", "tokens_per_step", "samples_per_step", "steps_per_epoch"):
        if getattr(options, name, None) is not None:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{word} is a run, whose config.json has its own; leave out {option}")
    try:
        optimizer, steps, text = facts["optimizer"], facts["train"]["steps"], facts["schedule"]["lr"]
        given, known = _given(facts, Clock(total_steps=steps))
        return Subject(word, parse(text), steps, optimizer["lr"], optimizer["betas"][1], folder, given, known)
    except (KeyError, TypeError, IndexError):
        raise ValueError(f"{word} holds no run: its config.json is not one of lehr train") from None


def _given(facts: dict[str, Any], time: Clock) -> tuple[str, Clock] | tuple[None, None]:
    """The text as it was given to a run, where it is in steps and shares of the run."""
    try:
        text = facts["given"]["schedule"]["lr"]
        same = parse(text, time) == parse(facts["schedule"]["lr"])
    except (KeyError, TypeError, ValueError):
        return None, None
    return (text, time) if same else (None, None)


def is_run(word: str) -> bool:
    """Whether the word is a folder. Raises ValueError for a path to nothing, which no schedule looks like."""
    if "/" in word and not any(c.isspace() for c in word) and not Path(word).exists():
        raise ValueError(f"no such folder: {word}")
    return bool(word.strip()) and Path(word).is_dir()


def print_json(data: Any) -> None:
    """Print an object as JSON that can be read."""
    print(json.dumps(data, indent=2, default=str))
