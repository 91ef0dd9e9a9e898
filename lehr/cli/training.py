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
    command.add_argument("--dry-run", action="store_true", help="print what the run would be, and write config.json")
    command.set_defaults(run=_train)
    return command


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
    train(
        config,
        folder,
        resume=resume and holds,
        or_start=options.resume_or_start,
        dry_run=options.dry_run,
        other_data=options.allow_other_data,
    )


def _holds_run(folder: Path) -> bool:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; --out is the run's folder")
    log = folder / "metrics.jsonl"
    return (folder / "checkpoints").exists() or (log.exists() and log.stat().st_size > 0)


def _config(options: argparse.Namespace, resumed: Path | None) -> "Config":
    """The defaults, or those of the run that is resumed, then the preset, the file, and the options."""
    from lehr.train import config as configs

    config = configs.Config() if resumed is None else configs.config_of(configs.read(resumed))
    if options.preset is not None:
        config = configs.preset(options.preset, config)
    if options.config is not None:
        config = configs.from_toml(options.config, config)
    if options.data is not None:
        config = configs.from_dict({"data": {"path": options.data}}, config)
    named = {"schedule.lr": options.schedule, "optimizer.lr": options.lr, "train.steps": options.steps}
    given = [f"{name}={value}" for name, value in named.items() if value is not None]
    return configs.assign(config, *given, *options.set)
