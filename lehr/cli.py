"""The command `lehr`. A refusal is one line on stderr that says what to write instead.

Exit status: 0 done; 1 the run failed; 2 the request was wrong; 130 and 143 after SIGINT and SIGTERM.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lehr import __version__
from lehr.train import RunFailed, Stopped
from lehr.words import nearest, read_number

if TYPE_CHECKING:
    from lehr.schedule import Schedule
    from lehr.train.config import Config


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        options = _parse([word for word in words if word != "--debug"])
        options.run(options)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # `lehr show ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Stopped as stop:
        return 128 + stop.signum
    except KeyboardInterrupt:
        return 130
    except (RunFailed, ValueError, OSError, ModuleNotFoundError) as error:
        if debug:
            raise
        print("lehr: " + " ".join(str(error).split()), file=sys.stderr)
        return 1 if isinstance(error, RunFailed) else 2


# ---------------------------------------------------------------------------------------------------------------------
# the options


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are exceptions of one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see {self.prog} --help")


def _parse(words: list[str]) -> argparse.Namespace:
    parser = _Parser("lehr", description="Learning-rate schedules as values, and a transformer trainer.")
    parser.add_argument("--version", action="version", version=f"lehr {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    by_name = {
        "show": _add_show(commands),
        "plot": _add_plot(commands),
        "convert": _add_convert(commands),
        "train": _add_train(commands),
    }
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


def _add_show(commands: "argparse._SubParsersAction[_Parser]") -> _Parser:
    command = commands.add_parser("show", help="a schedule's curve and key points in the terminal", allow_abbrev=False)
    command.add_argument("spec", metavar="SPEC", help='such as "linear 2%% to 1, cosine rest to 0.1"')
    command.add_argument("--lr", type=_number, default=1.0, help="the peak learning rate (default 1)")
    _add_clock(command)
    command.set_defaults(run=_show)
    return command


def _add_plot(commands: "argparse._SubParsersAction[_Parser]") -> _Parser:
    command = commands.add_parser("plot", help="schedules over each other, or a run, as a picture", allow_abbrev=False)
    command.add_argument("what", metavar="SPEC|RUN", nargs="+", help="schedule texts, or the folder of one run")
    command.add_argument("--lr", type=_number, default=1.0, help="the peak learning rate (default 1)")
    command.add_argument("--log", action="store_true", help="a logarithmic LR axis")
    command.add_argument("--out", type=Path, default=Path("schedules.png"), help="the file (default schedules.png)")
    _add_clock(command)
    command.set_defaults(run=_plot)
    return command


def _add_convert(commands: "argparse._SubParsersAction[_Parser]") -> _Parser:
    command = commands.add_parser("convert", help="another system's schedule as a text of lehr's", allow_abbrev=False)
    command.add_argument("name", metavar="SYSTEM.FUNCTION", help="such as torch.OneCycleLR")
    command.add_argument("arguments", metavar="KEY=VALUE", nargs="*", help="its arguments, under that system's names")
    command.add_argument("--lr", type=_number, help="the optimizer's base LR, where that system reads it from there")
    command.add_argument("--total", type=_count, metavar="N", help="the run's length, where the curve never ends")
    command.add_argument("--output", choices=("text", "shell", "python"), default="text", help="what to print")
    command.set_defaults(run=_convert)
    return command


def _add_clock(command: _Parser) -> None:
    command.add_argument("--total", type=_count, metavar="N", help="the run's length in updates, such as 10k")
    for unit in ("tokens-per-step", "samples-per-step", "steps-per-epoch"):
        command.add_argument(f"--{unit}", type=_number, metavar="N", help="for durations in these units")


def _add_train(commands: "argparse._SubParsersAction[_Parser]") -> _Parser:
    command = commands.add_parser("train", help="train a transformer under a schedule", allow_abbrev=False)
    command.add_argument("config", metavar="RUN.toml", nargs="?", type=Path, help="sections and keys as in config.json")
    command.add_argument(
        "--data", nargs="+", metavar="PATH", help="text files or folders (default: Python's own source)"
    )
    command.add_argument("--schedule", metavar="SPEC", help='such as "linear 5%% to 1, cosine rest to 0.1"')
    command.add_argument("--lr", metavar="LR", help="the peak learning rate")
    command.add_argument("--steps", metavar="N", help="the number of updates")
    command.add_argument("--out", type=Path, metavar="DIR", help="the run's folder (default runs/<time>)")
    command.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out")
    command.add_argument("--resume-or-start", action="store_true", help="the same, or start if there is none")
    command.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="any other setting")
    command.add_argument("--dry-run", action="store_true", help="print what the run would be, and write config.json")
    command.set_defaults(run=_train)
    return command


def _number(text: str) -> float:
    try:
        return float(read_number(text))
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    number = _number(text)
    if number != int(number) or number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of updates; write 10000 or 10k")
    return int(number)


# ---------------------------------------------------------------------------------------------------------------------
# the commands


def _schedule(text: str, options: argparse.Namespace) -> "Schedule":
    from lehr.spec import Clock, parse

    clock = Clock(options.total, options.tokens_per_step, options.samples_per_step, options.steps_per_epoch)
    return parse(text, clock)


def _show(options: argparse.Namespace) -> None:
    from lehr import plot

    schedule = _schedule(options.spec, options)
    print(f"{schedule}  [{schedule.fingerprint}]")
    print()
    print(plot.terminal({options.spec: options.lr * schedule}, options.total))
    print()
    print(f"{'':15}{'step':>10}{'lr':>12}  phase")
    for point in plot.key_points(schedule, options.total):
        print(f"{point.name:15}{point.step:>10,}{options.lr * point.value:>12.4g}  {point.phase}")


def _plot(options: argparse.Namespace) -> None:
    from lehr import plot

    folders = [word for word in options.what if Path(word).is_dir()]
    if folders:
        if len(options.what) > 1:
            raise ValueError(f"{folders[0]} is a run's folder, which is drawn alone; give one run, or schedule texts")
        from lehr.train.finish import draw

        draw(Path(folders[0]), options.out)
    else:
        schedules = {text: options.lr * _schedule(text, options) for text in options.what}
        plot.save_schedules(schedules, options.out, options.total, options.log)
    print(options.out)


def _convert(options: argparse.Namespace) -> None:
    import ast
    import shlex

    from lehr.conventions import convert

    arguments = {}
    for word in options.arguments:
        key, equals, value = word.partition("=")
        if not (equals and key.isidentifier()):
            raise ValueError(f"{word!r} is no argument; write key=value, such as num_warmup_steps=100")
        try:
            arguments[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            arguments[key] = value  # a word, such as linear
    text = str(convert(options.name, lr=options.lr, total=options.total, **arguments))
    print({"text": text, "shell": f"lehr show {shlex.quote(text)}", "python": f"lehr.parse({text!r})"}[options.output])


def _train(options: argparse.Namespace) -> None:
    resume = options.resume or options.resume_or_start
    if resume and options.out is None:
        raise ValueError("--resume needs the run's folder; write --out DIR")
    folder: Path | None = options.out
    holds = folder is not None and _holds_run(folder)
    if holds and not resume:
        raise ValueError(f"{folder} holds a run; write --resume to go on with it, or another --out")
    if options.resume and not holds:
        raise ValueError(f"{folder} holds no run to resume; write --resume-or-start to start one there")
    config = _config(options, folder if resume and holds else None)

    # torch is loaded only now, when the request makes sense; a Ctrl-C in the middle of its imports would leave them
    # half done, so it waits
    posix = hasattr(signal, "pthread_sigmask")
    if posix:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    from lehr.train.loop import train

    if posix:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    train(config, folder, resume=resume and holds, or_start=options.resume_or_start, dry_run=options.dry_run)


def _holds_run(folder: Path) -> bool:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; --out is the run's folder")
    log = folder / "metrics.jsonl"
    return (folder / "checkpoints").exists() or (log.exists() and log.stat().st_size > 0)


def _config(options: argparse.Namespace, resumed: Path | None) -> "Config":
    """The defaults, or those of the run that is resumed, then the file, then the options."""
    from lehr.train import config as configs

    config = configs.Config() if resumed is None else configs.config_of(configs.read(resumed))
    if options.config is not None:
        config = configs.from_toml(options.config, config)
    if options.data is not None:
        config = configs.from_dict({"data": {"path": options.data}}, config)
    named = {"schedule.lr": options.schedule, "optimizer.lr": options.lr, "train.steps": options.steps}
    given = [f"{name}={value}" for name, value in named.items() if value is not None]
    return configs.assign(config, *given, *options.set)
