"""A run from its beginning to its end: process 0 leads, with terminal and folder, and the others follow."""

import os
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lehr.spec import parse
from lehr.train import (
    RunFailed,
    Stopped,
    finish,
    folders,
    lock,
    nonfinite,
    out_of_memory,
    parallel,
    retention,
    setup,
    sharded,
    tracking,
)
from lehr.train import config as configs
from lehr.train import resume as resuming
from lehr.train.config import Config
from lehr.train.durable import make_folder
from lehr.train.following import Order, Silence, Unwritten
from lehr.train.loop import loop, roll_back, take
from lehr.train.metrics import Log
from lehr.train.report import Report
from lehr.train.resume import Branch
from lehr.train.setup import Parts
from lehr.train.signals import Asked, listening


def train(
    config: Config,
    folder: Path | None,
    resume: bool = False,
    or_start: bool = False,
    dry_run: bool = False,
    on_mismatch: str = "error",
    branch: Branch | None = None,
    other_data: bool = False,
) -> None:
    """Train as `config` says, into `folder` (None: a new one, runs/<time>).

    `resume` goes on from the folder's newest whole checkpoint, under the plan that `on_mismatch` names where it is not
    the saved one; `or_start` starts over where a run was ended before its first checkpoint; `branch` cools another run
    down from one of its checkpoints; `other_data` allows both to go on with another text; `dry_run` writes config.json
    and says what the run would be.

    Raises ValueError or OSError for a request that makes no sense, before anything is trained; RunFailed when the run
    cannot go on; Stopped after SIGINT or SIGTERM. Of several processes (torchrun) each calls it; the first does what is
    said here, and the others follow.
    """
    with parallel.joined(config.train, setup.choose_device) as world, out_of_memory.told(config, world.size):
        parts = setup.build(config, world, plan_only=dry_run)
        if world.rank:
            follow(parts)
        else:
            lead(parts, folder, resume, or_start, dry_run, on_mismatch, branch, other_data)


def lead(
    parts: Parts,
    folder: Path | None,
    resume: bool,
    or_start: bool,
    dry_run: bool,
    on_mismatch: str,
    branch: Branch | None,
    other_data: bool,
) -> None:
    """`train` on process 0."""
    world = parts.world
    history: dict[str, Any] = {}
    opened = None
    if branch is not None:
        opened = resuming.open_branch(branch)
        parts, history = resuming.cool_down(parts, branch, opened[1], other_data)
    if folder is None:
        folder = setup.new_folder()
    look = dry_run and resume  # nothing on the disk is changed
    with ExitStack() as stack:
        if look:
            lock.refuse(folder)
        else:
            _enter(folder, stack)
        if resume:
            if not or_start and not configs.has_checkpoint(folder):
                raise ValueError(
                    f"{folder} was ended before its first checkpoint; write --resume-or-start to start it over"
                )
            setup.check_same(folder, parts, other_data)
        elif configs.holds_run(folder) and not (branch and or_start and not configs.has_checkpoint(folder)):
            # it has begun since the command line was read
            raise ValueError(f"{folder} holds a run; write --resume to go on with it, or another --out")
        told = Path(os.devnull) if look else folder / "log.txt"
        report = stack.enter_context(closing(Report(told, parts.config.train.steps)))
        asked = stack.enter_context(listening())
        for name in [] if look else retention.sweep(folder):
            report.say(f"a save was cut short ({name}): its half-written files are removed")
        if resume and (opened := resuming.find(folder, report, look)) is None:
            if parent := configs.read(folder).get("parent"):  # from step 0 it would be another run
                raise ValueError(
                    f"{folder} is a cooldown that was ended before its first checkpoint; to begin it once more, write "
                    f"--resume-or-start --cooldown-from {parent['run']}@{parent['step']} --over ... with it"
                )
            report.say(f"no checkpoint in {folder} yet: starting from step 0")
        if resume:
            parts, history = resuming.choose_plan(folder, parts, opened[1]["step"] if opened else 0, on_mismatch)
        report.steps = parts.config.train.steps
        finish.announce(report, parts, folder)
        world.tell(
            None if dry_run else Order.of(parts, folder, resumed=opened is not None, branched=branch is not None)
        )
        if look:
            report.say("dry run: config.json is left as it is, nothing is trained")
            return
        setup.write_config(folder, parts, history)
        if dry_run:
            report.say("dry run: config.json is written, nothing is trained")
            return
        start, shift = 0, 0
        if opened is not None:
            start, shift = resuming.load(parts, opened[1])
            what = "cooling down from" if branch else "resumed from"
            report.say(resuming.restored(parts, opened[0], start, shift, what))
            opened = None  # it holds a second copy of everything
        log = stack.enter_context(closing(Log(folder / "metrics.jsonl", start)))
        stack.enter_context(tracking.follow(log, parts, folder, report))
        if branch is not None:  # its own from the beginning: it can be resumed without its parent
            (folder / "checkpoints").mkdir(exist_ok=True)
            taken = take(parts, start, shift, log)
            assert taken is not None
            folders.write(folder / "checkpoints", taken)
        parts = run(parts, folder, start, log, report, shift, asked)
        try:
            log.sync()
            report.say("training complete")
            for part in (finish.draw_curves, finish.show_sample, finish.show_reached):
                if asked.stop:
                    raise Stopped(asked.stop)
                part(report, parts, folder, log.rows)
        except BrokenPipeError:
            raise  # the reader of our output has seen enough; that is no fault of the folder's
        except OSError as error:
            raise RunFailed(
                f"all updates are done, but {folder} could not be finished: {error}; write --resume"
            ) from error


def follow(parts: Parts) -> None:
    """`train` on the other processes: the same updates, and nothing written."""
    with listening() as asked:
        order: Order | None = parts.world.tell()
        if order is not None:  # none comes of a dry run
            _obey(order, parts, asked)


def _obey(order: Order, parts: Parts, asked: Asked) -> None:
    parts = replace(parts, config=order.config, schedule=parse(order.config.schedule.lr))
    report, log, start, shift = Silence(order.config.train.steps), Unwritten(), 0, 0
    if order.resumed:
        start, shift = resuming.load(parts, None)
    if order.branched:
        take(parts, start, shift, log)
    run(parts, order.folder, start, log, report, shift, asked)


def run(parts: Parts, folder: Path, start: int, log: Log, report: Report, shift: int, asked: Asked) -> Parts:
    """The updates from `start` to the last, rolled back where `train.on_nonfinite` says so.

    Returns the parts with a model that process 0 can use without the others.
    """
    bad = parts.world.tell(None if parts.world.rank else nonfinite.rolled_back(folder))
    while True:
        try:
            loop(parts, folder, start, log, report, shift, asked)
            break
        except nonfinite.RollBack as back:
            start, shift = roll_back(folder, parts, log, report, back, bad)
    return replace(parts, model=sharded.alone(parts.model, partial(setup.make_model, parts.config), parts.world))


def _enter(folder: Path, stack: ExitStack) -> None:
    """Make the folder and lock it. Raises ValueError, saying what to write, where that cannot be."""
    try:
        make_folder(folder)
        stack.enter_context(lock.held(folder))
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror}); write another --out") from None
