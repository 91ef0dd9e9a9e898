"""The command `lehr`. A refusal is one line on stderr that says what to write instead.

Exit status: 0 done; 1 the run failed; 2 the request was wrong; 130 and 143 after SIGINT and SIGTERM.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from lehr import __version__
from lehr.cli import comparing, schedules, tools, training
from lehr.cli.options import Parser
from lehr.train import RunFailed, Stopped, ToldElsewhere
from lehr.words import nearest


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        options = _parse([word for word in words if word != "--debug"])
        status: int = options.run(options) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `lehr show ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Stopped as stop:
        if stop.at_once:
            print(f"lehr: stopped at once by {stop}, without a last save", file=sys.stderr)
        return 128 + stop.signum
    except KeyboardInterrupt:
        return 130
    except ToldElsewhere:
        return 1
    except (RunFailed, ValueError, OSError, ModuleNotFoundError) as error:
        if debug:
            raise
        # of several processes that torchrun began, each finds the same wrong with the request
        if isinstance(error, RunFailed) or os.environ.get("LOCAL_RANK", "0") == "0":
            print("lehr: " + " ".join(str(error).split()), file=sys.stderr)
        return 1 if isinstance(error, RunFailed) else 2


def _parse(words: list[str]) -> argparse.Namespace:
    parser = Parser("lehr", description="Learning-rate schedules as values, and a transformer trainer.")
    parser.add_argument("--version", action="version", version=f"lehr {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    by_name = {**schedules.add(commands), **comparing.add(commands), **training.add(commands), **tools.add(commands)}
    for listed in commands._choices_actions:  # what `lehr --help` says of a command, its own --help says too
        by_name[listed.dest].description = listed.help
    for command in by_name.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if not words:
        parser.print_help()
        sys.exit(0)
    known = f"; known are {', '.join(by_name)}"
    if not words[0].startswith("-") and words[0] not in by_name:
        raise ValueError(f"unknown command {words[0]!r}{nearest(words[0], by_name) or known}")
    options, unknown = parser.parse_known_args(words)
    if unknown:
        command = by_name.get(words[0], parser)
        flags = [flag for flag in command._option_string_actions if flag.startswith("--")]
        kind = "option" if unknown[0].startswith("-") else "word"
        raise ValueError(f"unknown {kind} {unknown[0]!r}{nearest(unknown[0], flags)}; see {command.prog} --help")
    return options
