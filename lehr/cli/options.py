"""What the commands share: numbers on the command line, and the clock that turns units into steps."""

import argparse
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from lehr.words import read_number

if TYPE_CHECKING:
    from lehr.clock import Clock


class Parser(argparse.ArgumentParser):
    """argparse whose errors are exceptions of one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see {self.prog} --help")


UNITS = {
    "tokens-per-step": "tokens in one update, over all processes: for '1B tokens'",
    "samples-per-step": "samples in one update, over all processes: for '1M samples'",
    "steps-per-epoch": "updates in one pass over the data: for '3 epochs'",
}

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # argparse gives it no public name


def number(text: str) -> float:
    """A number as people write it: 3e-4, 10k, 1.5M."""
    try:
        return float(read_number(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text!r} is beyond what it can be") from None


def count(text: str) -> int:
    """A whole number of updates."""
    value = number(text)
    if value != int(value) or value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of updates from 1 on; write 10000 or 10k")
    return int(value)


def add_clock(command: Parser) -> None:
    """The options that `clock` reads."""
    command.add_argument("--total", type=count, metavar="N", help="the run's length in updates, such as 10k")
    for unit, what in UNITS.items():
        command.add_argument(f"--{unit}", type=number, metavar="N", help=what)


def clock(options: argparse.Namespace) -> "Clock":
    """The clock of the command line."""
    from lehr.clock import Clock

    return Clock(options.total, options.tokens_per_step, options.samples_per_step, options.steps_per_epoch)
