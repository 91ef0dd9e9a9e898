"""The training loop, from top to bottom.

The step is the only clock: the LR is `peak * schedule(step)`, the batch a function of (seed, step), and log rows and
checkpoints are named by step. Nothing else has to be advanced, saved or restored in the right order. (One number more
where a run was rolled back: `shift`, the batches it has left out since.)
"""

import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch

from lehr.nn import gradient_clipping
from lehr.plot import warmup_end
from lehr.train import RunFailed, Stopped, folders, nonfinite, setup, sharded, snapshot
from lehr.train import config as configs
from lehr.train import resume as resuming
from lehr.train.evaluation import validation
from lehr.train.following import Contributor
from lehr.train.metrics import Log
from lehr.train.parallel import Agreed, World
from lehr.train.report import Report
from lehr.train.setup import Parts
from lehr.train.signals import Asked
from lehr.train.writer import Writer


def loop(
    parts: Parts, folder: Path, start: int, log: Log, report: Report, shift: int = 0, asked: Asked | None = None
) -> None:
    """The updates from `start` to the last, with their log rows, evaluations and checkpoints.

    Update `step` takes the batch `step + shift`. `asked` says what signals ask for.
    """
    asked = asked or Asked()
    world = parts.world
    settings, schedule, peak = parts.config.train, parts.schedule, parts.config.optimizer.lr
    optimizer, device = parts.optimizer, parts.device
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    loss_of = torch.compile(sharded.loss_of(parts.trained)) if settings.compile else sharded.loss_of(parts.trained)
    warmup = warmup_end(schedule)
    skipped = world.tell(nonfinite.in_a_row(log.rows, start))
    guard = nonfinite.Guard(parts, folder, report, shift, skipped)
    writer: Writer = Contributor()
    if not world.rank:
        writer = Writer(folder / "checkpoints", settings.keep, log.losses, before=log.sync)

    logged_at, logged, pace = 0.0, start, 0.0

    def evaluate(step: int) -> None:
        if (row := validation(parts, asked)) is not None:
            log.write({"step": step, **row})
            report.say(f"validation loss {row['val_loss']:.4f} after {step:,} updates")

    def settle() -> None:
        """Hear of the update judged last, if that is still open, and write its row."""
        nonlocal logged_at, logged, pace
        if (row := guard.settle()) is None:
            return
        done = row["step"] + 1
        row |= {"phase": schedule.phase(row["step"]), "tokens": done * parts.tokens_per_step}
        if row.get("skipped"):
            log.write(row)
            guard.check()
        elif row["step"] % settings.log_every == 0 or done == settings.steps:
            now = time.perf_counter()
            per_step = (now - logged_at) / (done - logged)
            logged_at, logged = now, done
            pace += (per_step - pace) * (0.1 if pace else 1)  # what is left is told by more than the last update
            row["tokens_per_s"] = round(parts.tokens_per_step / per_step, 1)
            log.write(row)
            report.update(row, seconds_left=(settings.steps - done) * pace)

    def keep(step: int) -> None:
        """Have a checkpoint of what there is, after `step` updates."""
        writer.wait()
        if step == start and step in dict(folders.all_folders(folder / "checkpoints")):
            writer.saved = step
        if world.tell(step != writer.saved):
            writer.save(partial(take, parts, step, shift, log))
            writer.wait()

    try:
        report.begin(start)
        due = settings.eval_every and (start % settings.eval_every == 0 or not log.rows or start == settings.steps)
        if world.tell(due and not log.evaluated(start)):  # a resumed run may stand where it was evaluated already
            evaluate(start)
        wanted = world.agree(asked)
        if wanted.stop:  # before the first update; that evaluation may be half done, so the run resumes here
            keep(start)
            stop(report, writer, wanted.stop, start, world)
        logged_at = time.perf_counter()
        for step in range(start, settings.steps):
            guard.begin()
            # 1) the learning rate of this update
            lr = peak * schedule(step)
            for group in optimizer.param_groups:
                group["lr"] = lr * group.get("lr_ratio", 1.0)

            # 2) its batch, forward and backward, a micro-batch at a time; the parts add up to the batch's mean
            loss = torch.zeros((), device=device)
            inputs, targets = (half.split(parts.micro_batch) for half in parts.batch(step + shift))
            for number, (x, y) in enumerate(zip(inputs, targets, strict=True), 1):
                with sharded.accumulating(parts.trained, last=number == len(inputs)):
                    with parts.autocast():
                        share = loss_of(x, y) / len(inputs)
                    share.backward()
                loss += share.detach()
            loss = world.mean(loss)  # equal shares: the mean over all tokens

            # 3) clip, then update; an update that is not finite never touches the weights
            norm = gradient_clipping(parameters, parts.config.optimizer.max_grad_norm)
            settle()  # the update before, where it was left open: the device has this one's passes to do meanwhile
            optimizer.step(skip=guard.judge(step, lr, loss, norm))
            optimizer.zero_grad(set_to_none=True)
            if step == start:
                world.hurry(settings.timeout)

            # 4) log, evaluate, checkpoint, in this order
            done = step + 1
            last = done == settings.steps
            wanted |= world.agree(asked, writer.due)
            evaluates = settings.eval_every and (last or (done % settings.eval_every == 0 and not wanted.stop))
            saves = (settings.checkpoint_every and (last or done % settings.checkpoint_every == 0)) or wanted.due
            looks = heard_at_once(device) or last or evaluates or saves or wanted.save or wanted.stop
            if looks:
                settle()
            if done == warmup:
                report.say(f"warmup complete at step {done}")
            if looks and device.type != "cpu":  # what the device has still to do of this update is no part of the pause
                torch.accelerator.synchronize(device)
            pause = time.perf_counter()
            if evaluates:
                evaluate(done)
                wanted |= world.agree(asked)
            # What is asked from here on is done after the next update. (A stop in the middle of the evaluation is
            # obeyed here: the evaluation is made up for when the run resumes.)
            stopping, by_signal, wanted = wanted.stop, wanted.save, Agreed()
            if saves or by_signal or stopping:
                writer.save(partial(take, parts, done, shift, log))
                if by_signal or stopping or last:
                    writer.wait()
                if by_signal and writer.saved == done:
                    report.say(f"checkpoint after {done:,} updates written, as SIGUSR1 asked")
            writer.check()
            for line in writer.news():
                report.warn(line)
            logged_at += time.perf_counter() - pause  # speed is that of updates alone
            if stopping:
                stop(report, writer, stopping, done, world)
        if not world.rank and settings.checkpoint_every and start < settings.steps and writer.saved != settings.steps:
            raise RunFailed(
                f"all updates are done, but the checkpoint after the last one could not be written: "
                f"free some room for {folder}, and write --resume"
            )
    except nonfinite.Failed as failed:
        keep(failed.at)
        world.meet()  # all fail, and the first of them says so
        saved = "and they are saved" if writer.saved == failed.at else "but they could not be saved"
        raise RunFailed(f"{failed.what}; the weights are still those before it, {saved}: {failed.advice}") from None
    except nonfinite.RollBack as back:
        writer.wait()
        if world.tell(not folders.all_folders(folder / "checkpoints")):
            report.say("there is no checkpoint to go back to yet: the weights from before that update become one")
            keep(back.step)
        raise
    except Exception:
        with suppress(RunFailed):
            writer.wait()  # what is being written is worth having, whatever went wrong since
        raise


def heard_at_once(device: torch.device) -> bool:
    """Whether a number of the device's costs the host nothing; elsewhere it is heard of one update late."""
    return device.type == "cpu"


def stop(report: Report, writer: Writer, signum: int, done: int, world: World) -> None:
    """End a run that was asked to, on all processes at once."""
    name = signal.Signals(signum).name
    if writer.saved == done:
        report.say(f"stopped by {name} after {done:,} updates; the checkpoint is written, go on with --resume")
    else:
        report.warn(f"stopped by {name} after {done:,} updates, which could not be saved; --resume goes on before them")
    world.meet()  # the launcher would end those that are left as soon as the first is gone
    raise Stopped(signum)


def roll_back(
    folder: Path, parts: Parts, log: Log, report: Report, back: nonfinite.RollBack, bad: set[int]
) -> tuple[int, int]:
    """Load the newest checkpoint, cut the log back to it, and return its step and the shift that leaves the batch out.

    `bad` has the batches that were gone back for before. Raises RunFailed if there is no checkpoint, which `loop` had
    no room for, or it has been gone back to too often.
    """
    try:
        opened = None if parts.world.rank else resuming.find(folder, report)
    except ValueError as damaged:  # the run is what failed, not what was asked for
        raise RunFailed(f"step {back.step} is not finite, and {damaged}") from None
    if opened is None and not parts.world.rank:
        raise RunFailed(
            f"step {back.step} is not finite, there is no checkpoint to go back to, and what was before it could not "
            f"be saved: free some room for {folder}, and write --resume-or-start to start over"
        )
    step, shift = resuming.load(parts, opened[1] if opened else None)
    bad.add(back.batch)
    if sum(batch >= step + shift for batch in bad) > nonfinite.ROLLBACKS:
        raise RunFailed(
            f"step {back.step} is not finite, and so it was {nonfinite.ROLLBACKS} times before, on other batches, from "
            f"the checkpoint of step {step}: try a lower --lr or a longer warmup"
        )
    parts.optimizer.zero_grad(set_to_none=True)
    log.cut(step)
    shift = back.batch + 1 - step
    if opened:
        report.say(resuming.restored(parts, opened[0], step, shift, "rolled back to"))
    return step, shift


def take(parts: Parts, step: int, shift: int, log: Log) -> snapshot.Snapshot | None:
    """A copy of all that a checkpoint after `step` completed updates holds; the other processes give their part."""
    facts = {
        "schedule": str(parts.schedule),
        "fingerprint": parts.schedule.fingerprint,
        "peak": parts.config.optimizer.lr,
        # update s takes the batch s + shift, whose windows follow from the seed
        "data": {
            "seed": parts.config.train.seed,
            "shift": shift,
            "batch": step + shift,
            "text": parts.corpus.fingerprint,
        },
        "val_loss": log.losses.get(step),
        "config": configs.to_dict(parts.config),
        "text": setup.text_facts(parts.corpus),
        "versions": setup.versions(),
    }
    return sharded.take(parts.model, parts.optimizer, step, facts, parts.world)
