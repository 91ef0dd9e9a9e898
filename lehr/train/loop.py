"""The training loop, from top to bottom.

The step is the only clock: the LR is `peak * schedule(step)`, the batch a function of (seed, step), and log rows and
checkpoints are named by step. Nothing else has to be advanced, saved or restored in the right order.
"""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from lehr.nn import gradient_clipping
from lehr.plot import warmup_end
from lehr.train import RunFailed, Stopped, checkpoint, finish, setup, tracking
from lehr.train import config as configs
from lehr.train.config import Config
from lehr.train.data import held_out
from lehr.train.metrics import Log
from lehr.train.report import Report
from lehr.train.setup import Parts


def train(
    config: Config, folder: Path | None, resume: bool = False, or_start: bool = False, dry_run: bool = False
) -> None:
    """Train as `config` says, into `folder` (None: a new one, runs/<time>).

    `resume` goes on from the folder's newest whole checkpoint; `or_start` starts over where a run was ended before its
    first one; `dry_run` writes config.json and says what the run would be.

    Raises ValueError or OSError for a request that makes no sense, before anything is trained; RunFailed when the run
    cannot go on; Stopped after SIGINT or SIGTERM.
    """
    parts = setup.build(config)
    if folder is None:
        folder = setup.new_folder()
    elif resume:
        if not or_start and not checkpoint.all_folders(folder / "checkpoints"):
            raise ValueError(
                f"{folder} was ended before its first checkpoint; write --resume-or-start to start it over"
            )
        setup.check_same(folder, parts)
    folder.mkdir(parents=True, exist_ok=True)
    setup.write_config(folder, parts)
    with closing(Report(folder / "log.txt", parts.config.train.steps)) as report:
        finish.announce(report, parts, folder)
        if dry_run:
            report.say("dry run: config.json is written, nothing is trained")
            return
        start = restore(folder, parts, report) if resume else 0
        with closing(Log(folder / "metrics.jsonl", start)) as log, tracking.follow(log, parts, folder, report):
            loop(parts, folder, start, log, report)
        report.say("training complete")
        finish.finish(report, parts, folder, log.rows)


def loop(parts: Parts, folder: Path, start: int, log: Log, report: Report) -> None:
    """The updates from `start` to the last, with their log rows, evaluations and checkpoints."""
    settings, schedule, peak = parts.config.train, parts.schedule, parts.config.optimizer.lr
    model, optimizer, device = parts.model, parts.optimizer, parts.device
    parameters = list(model.parameters())
    loss_of = torch.compile(model.loss) if settings.compile else model.loss
    warmup = warmup_end(schedule)

    def evaluate(step: int) -> None:
        if not log.evaluated(step):  # a resumed run may stand where it was evaluated already
            log.write({"step": step, **validation(parts)})
            report.say(f"validation loss {log.rows[-1]['val_loss']:.4f} after {step:,} updates")

    with stop_signals() as received:
        report.begin(start)
        if settings.eval_every and start % settings.eval_every == 0:
            evaluate(start)
        logged_at, logged = time.perf_counter(), start
        for step in range(start, settings.steps):
            # 1) the learning rate of this update
            lr = peak * schedule(step)
            for group in optimizer.param_groups:
                group["lr"] = lr

            # 2) its batch, forward and backward, a micro-batch at a time; the parts add up to the batch's mean
            loss = torch.zeros((), device=device)
            inputs, targets = (half.split(settings.micro_batch_size) for half in parts.windows.batch(step))
            for x, y in zip(inputs, targets, strict=True):
                with parts.autocast():
                    share = loss_of(x.to(device), y.to(device)) / len(inputs)
                share.backward()
                loss += share.detach()

            # 3) clip, then update; an update that is not finite never touches the weights
            norm = gradient_clipping(parameters, parts.config.optimizer.max_grad_norm)
            if not math.isfinite(loss.item() + norm.item()):
                raise RunFailed(
                    f"step {step} has the loss {loss.item():.4g} and the gradient norm {norm.item():.4g}; "
                    f"the weights are still those before it (LR {lr:.3g}): try a lower --lr or a longer warmup"
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

            # 4) log, evaluate, checkpoint, in this order
            done = step + 1
            last = done == settings.steps
            if step % settings.log_every == 0 or last:
                now = time.perf_counter()
                per_step = (now - logged_at) / (done - logged)
                logged_at, logged = now, done
                row = {"step": step, "lr": lr, "phase": schedule.phase(step), "loss": loss.item()}
                row |= {"grad_norm": norm.item(), "tokens": done * parts.tokens_per_step}
                row |= {"tokens_per_s": round(parts.tokens_per_step / per_step, 1)}
                log.write(row)
                report.update(row, seconds_left=(settings.steps - done) * per_step)
            if done == warmup:
                report.say(f"warmup complete at step {done}")
            pause = time.perf_counter()
            if settings.eval_every and (last or (done % settings.eval_every == 0 and not received)):
                evaluate(done)
            if received or (settings.checkpoint_every and (last or done % settings.checkpoint_every == 0)):
                log.sync()  # no checkpoint outlives its rows
                save(folder, parts, done)
            logged_at += time.perf_counter() - pause  # speed is that of updates alone
            if received and not last:
                name = signal.Signals(received[0]).name
                report.say(f"stopped by {name} after {done:,} updates; the checkpoint is written, go on with --resume")
                raise Stopped(received[0])


@torch.no_grad()
def validation(parts: Parts) -> dict[str, Any]:
    """The mean loss over held-out windows: val_loss (nats per token), val_bpb (bits per byte), val_tokens."""
    settings, context = parts.config.train, parts.config.model.context_length
    sizes = torch.from_numpy(parts.corpus.tokenizer.token_bytes)
    total, tokens, size = 0.0, 0, 0
    parts.model.eval()
    for x, y in held_out(parts.corpus.val, context, settings.micro_batch_size, settings.eval_batches):
        with parts.autocast():
            total += parts.model.loss(x.to(parts.device), y.to(parts.device)).item() * y.numel()
        tokens += y.numel()
        size += int(sizes[y].sum())
    parts.model.train()
    mean = total / tokens
    return {"val_loss": mean, "val_bpb": total / math.log(2) / size, "val_tokens": tokens}


def save(folder: Path, parts: Parts, step: int) -> None:
    """Write the checkpoint after `step` completed updates, then remove what is older than the newest `keep`."""
    facts = {
        "schedule": str(parts.schedule),
        "fingerprint": parts.schedule.fingerprint,
        "config": configs.to_dict(parts.config),
        "versions": setup.versions(),
    }
    checkpoint.write_folder(folder / "checkpoints", step, parts.model, parts.optimizer, facts)
    checkpoint.prune(folder / "checkpoints", parts.config.train.keep, step)


def restore(folder: Path, parts: Parts, report: Report) -> int:
    """Load the newest whole checkpoint and return its step; 0 where none was ever written.

    Raises ValueError if all are damaged.
    """
    for path, found in checkpoint.newest(folder / "checkpoints"):
        if isinstance(found, ValueError):
            report.warn(f"{found}; it is left as it is, and the one before it is tried")
            continue
        parts.model.load_state_dict(found["model"])
        parts.optimizer.load_state_dict(found["optimizer"])
        checkpoint.restore_rng(found["rng"])
        step: int = found["step"]
        lr = parts.config.optimizer.lr * parts.schedule(step)
        report.say(f"resumed from {path}: weights, optimizer and random state after {step:,} updates; next LR {lr:.4g}")
        return step
    if checkpoint.all_folders(folder / "checkpoints"):
        raise ValueError(f"{folder} has no whole checkpoint to resume from; train into another --out")
    report.say(f"no checkpoint in {folder} yet: starting from step 0")
    return 0


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying, so that the step can be finished and saved; a second one kills."""
    received: list[int] = []

    def receive(signum: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signum)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
