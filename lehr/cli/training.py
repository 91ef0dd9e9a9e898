"""The commands about runs: train."""

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from lehr.cli.options import Commands, Parser

if TYPE_CHECKING:
    from lehr.train.config import Config


def add(commands: Commands) -> dict[str, Parser]:
    """Add the commands; return their parsers by name."""
    return {"train": _add_train(commands)}


def _add_train(commands: Commands) -> Parser:
    command = commands.add_parser("train", help="train a transformer under a schedule", allow_abbrev=False)
    command.add_argument("config", metavar="RUN.toml", nargs="?", type=Path, help="sections and keys as in config.json")
    command.add_argument(
        "--data",
        nargs="+",
        metavar="PATH",
        help="text, JSON lines, tokens: files, folders, patterns (default: Python's own source)",
    )
    command.add_argument("--preset", metavar="NAME", help="debug, shakespeare-char, tinystories or gpt2-124m")
    command.add_argument("--schedule", metavar="SPEC", help='such as "linear 5%% to 1, cosine rest to 0.1"')
    command.add_argument("--lr", metavar="LR", help="the peak learning rate")
    command.add_argument("--steps", metavar="N", help="the number of updates")
    command.add_argument("--out", type=Path, metavar="DIR", help="the run's folder (default runs/<time>)")
    command.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out")
    command.add_argument("--resume-or-start", action="store_true", help="the same, or start if there is none")
    command.add_argument("--allow-other-data", action="store_true", help="resume with another text than before")
    command.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="any other setting")
    command.add_argument(
        "--on-mismatch",
        choices=("error", "saved", "new", "extend"),
        help="on --resume under another schedule, peak or number of steps: the saved schedule goes on, or the new "
        "one, or the saved one goes over into the new (default error: show both)",
    )
    command.add_argument(
        "--on-nonfinite",
        choices=("stop", "skip", "rollback"),
        help="after a loss or gradient that is not finite, which never reaches the weights: end the run (default), "
        "pass over the batch, or go back to the newest checkpoint and leave the batch out",
    )
    command.add_argument(
        "--cooldown-from",
        metavar="RUN[@STEP]",
        help="a new run: the decay of another from a checkpoint of its stable phase",
    )
    command.add_argument(
        "--over", metavar="DURATION", help='its length: updates, 10%% of those so far, or such as "linear 10%% to 0.1"'
    )
    command.add_argument("--dry-run", action="store_true", help="print what the run would be, and write config.json")
    command.set_defaults(run=_train)
    return command


def _train(options: argparse.Namespace) -> None:
    from lehr.train.config import has_checkpoint, holds_run
    from lehr.train.pages import ask_for_large

    resume = options.resume or options.resume_or_start
    if resume and options.out is None:
        raise ValueError("--resume needs the run's folder; write --out DIR")
    folder: Path | None = options.out
    holds = folder is not None and holds_run(folder)
    if holds and not resume:
        raise ValueError(f"{folder} holds a run; write --resume to go on with it, or another --out")
    if options.resume and not holds:
        raise ValueError(f"{folder} holds no run to resume; write --resume-or-start to start one there")
    if options.on_mismatch and not resume:
        raise ValueError("--on-mismatch says which plan goes on when a run is resumed; write --resume as well")
    parent = _parent(options, folder if holds else None)
    if parent is not None and options.resume_or_start and folder is not None and not has_checkpoint(folder):
        holds = False  # a cooldown begins with a checkpoint: one that was ended before it is begun once more
    config = _config(options, folder if holds else parent)

    ask_for_large()
    # torch is loaded only now, when the request makes sense; a Ctrl-C in the middle of its imports would leave them
    # half done, so it waits
    posix = hasattr(signal, "pthread_sigmask")
    if posix:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    from lehr.train.lead import train
    from lehr.train.resume import read_branch

    if posix:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    branch = read_branch(options.cooldown_from, options.over) if parent is not None and not holds else None
    other = options.allow_other_data
    train(
        config, folder, holds, options.resume_or_start, options.dry_run, options.on_mismatch or "error", branch, other
    )


def _parent(options: argparse.Namespace, resumed: Path | None) -> Path | None:
    """The run that is cooled down, if one is."""
    if options.cooldown_from is None:
        if options.over is not None:
            raise ValueError("--over is how long a cooldown lasts; write --cooldown-from RUN@STEP as well")
        return None
    if options.over is None:
        raise ValueError("--cooldown-from needs the cooldown's length; write --over 10%, say")
    given = {"--schedule": options.schedule, "--lr": options.lr, "--steps": options.steps, "RUN.toml": options.config}
    given["--preset"] = options.preset
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"--cooldown-from takes its plan from the other run; leave out {name} {value}")
    for text in options.set:
        name = text.partition("=")[0].strip()
        if name in ("schedule.lr", "train.steps", "optimizer.lr"):
            raise ValueError(f"--cooldown-from takes its plan from the other run; leave out --set {name}")
    from lehr.train.config import read

    parent, at = Path(options.cooldown_from), ""
    if "@" in parent.name and not parent.is_dir():
        run, _, at = options.cooldown_from.rpartition("@")
        parent = Path(run)
    read(parent)
    if resumed is not None:
        _check_same_cooldown(resumed, parent, at, options.over)
    return parent


def _check_same_cooldown(resumed: Path, parent: Path, at: str, over: str) -> None:
    """Refuse to resume a cooldown under the name of another. Without a step it is the one that was taken."""
    from lehr.train.config import read

    saved = read(resumed).get("parent")
    if saved is None or Path(saved["run"]) != parent.resolve():
        raise ValueError(f"{resumed} holds a run that is no cooldown of {parent}; write another --out")
    if at and not (at.isdecimal() and int(at) == saved["step"]):
        raise ValueError(
            f"{resumed} is the cooldown from step {saved['step']} of {parent}, not from {at}; write "
            f"--cooldown-from {parent}@{saved['step']} to go on with it, or another --out"
        )
    before = saved.get("over", over)  # a run of before it was recorded
    if over.split() != before.split():
        raise ValueError(
            f"{resumed} is a cooldown over {before!r}, not {over!r}; write --over {before!r} to go on with it, or "
            "another --out"
        )


def _config(options: argparse.Namespace, resumed: Path | None) -> "Config":
    """The defaults, or those of the run that is resumed, then the preset, the file, and the options."""
    from lehr.train import config as configs

    config = configs.Config() if resumed is None else configs.of_run(resumed)
    named = {
        "schedule.lr": options.schedule, "optimizer.lr": options.lr, "train.steps": options.steps,
        "train.on_nonfinite": options.on_nonfinite,
    }  # fmt: skip
    given = [*(f"{name}={value}" for name, value in named.items() if value is not None), *options.set]
    if options.preset is not None:
        config = configs.preset(options.preset, config)
    if options.config is not None:
        config = configs.from_toml(options.config, config, given)
    if options.data is not None:
        config = configs.from_dict({"data": {"path": options.data}}, config)
    return configs.assign(config, *given)
