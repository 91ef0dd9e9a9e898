"""What a command about schedules is asked about: a schedule's text, or the folder of a run of `lehr train`."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lehr.cli.options import clock
from lehr.schedule import Schedule


@dataclass(frozen=True)
class Subject:
    """A schedule, and what its run says about it: `None` where nobody has said."""

    label: str
    schedule: Schedule
    total: int | None
    lr: float | None
    beta2: float | None = None
    run: Path | None = None

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


def subject(word: str, options: argparse.Namespace) -> Subject:
    """Read a text with the clock and peak of the command line, or a run's folder with its own.

    Raises ValueError for a folder that holds no run, and for an option that a run answers itself.
    """
    from lehr.spec import parse

    if not is_run(word):
        beta2 = getattr(options, "beta2", None)
        return Subject(word, parse(word, clock(options)), options.total, options.lr, beta2)
    from lehr.train.config import read

    folder = Path(word)
    facts = read(folder)
    for name in ("lr", "total", "beta2", "tokens_per_step", "samples_per_step", "steps_per_epoch"):
        if getattr(options, name, None) is not None:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{word} is a run, whose config.json has its own; leave out {option}")
    try:
        optimizer, steps, text = facts["optimizer"], facts["train"]["steps"], facts["schedule"]["lr"]
        return Subject(word, parse(text), steps, optimizer["lr"], optimizer["betas"][1], folder)
    except (KeyError, TypeError, IndexError):
        raise ValueError(f"{word} holds no run: its config.json is not one of lehr train") from None


def is_run(word: str) -> bool:
    """Whether the word is a folder. Raises ValueError for a path to nothing, which no schedule looks like."""
    if "/" in word and not any(c.isspace() for c in word) and not Path(word).exists():
        raise ValueError(f"no such folder: {word}")
    return Path(word).is_dir()


def print_json(data: Any) -> None:
    """Print an object as JSON that can be read."""
    print(json.dumps(data, indent=2, default=str))
