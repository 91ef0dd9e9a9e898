"""Before and after the loop: what the run will be, and what it has become (curves.png, sample.txt, a table)."""

from pathlib import Path

import torch
from rich.table import Table

from lehr import plot
from lehr.lint import check
from lehr.spec import parse
from lehr.train import retention
from lehr.train.config import read
from lehr.train.durable import replace_text
from lehr.train.estimate import machine_memory, memory
from lehr.train.metrics import Row, is_evaluation, read_rows
from lehr.train.report import Report, count, duration, key_point_table, size
from lehr.train.sample import sample
from lehr.train.setup import Parts, clock_of
from lehr.train.utilization import utilization
from lehr.words import printable

SAMPLE_TOKENS = 500


def announce(report: Report, parts: Parts, folder: Path) -> None:
    """Say what will be trained on what, what it costs, and which learning rates it will use."""
    config, steps = parts.config, parts.config.train.steps
    parameters = sum(p.numel() for p in parts.model.parameters())
    tokens = steps * parts.tokens_per_step
    text = len(parts.corpus.train)
    report.say(f"run      {folder}")
    report.say(f"text     {parts.corpus.source}: {count(text)} tokens, {count(len(parts.corpus.val))} held out")
    if parts.corpus.note:
        report.warn(f"note     {parts.corpus.note}")
    report.say(
        f"model    {count(parameters)} parameters: {config.model.num_layers} layers, width {config.model.d_model}, "
        f"context {config.model.context_length}"
    )
    report.say(
        f"cost     {steps:,} steps of {parts.tokens_per_step:,} tokens = {count(tokens)} tokens, "
        f"{tokens / text:.2g} passes over the text"
    )
    step = memory(config, parameters, parts.world.size, parts.world.mode == "fsdp")
    report.say(
        f"memory   about {size(step.state)} for weights, gradients and moments, "
        f"{size(step.activations)} for the activations of {parts.micro_batch} sequences, "
        f"{size(step.snapshot)} while a checkpoint is written"
        + (", the first two in each process" if parts.world.size > 1 else "")
    )
    there = machine_memory() if config.train.device == "cpu" else None
    if there is not None and step.state > there:
        report.warn(f"note     this machine has {size(there)} of memory: the run would be refused here")
    several = f", {parts.world.size} processes ({parts.world.mode})" if parts.world.size > 1 else ""
    report.say(f"machine  {config.train.device}, {config.train.precision}{several}")
    at_once = retention.most_at_once(config.train.keep, steps, config.train.checkpoint_every)
    if at_once:
        need, free = at_once * parts.checkpoint_bytes, retention.free_bytes(folder)
        report.say(
            f"disk     up to {at_once} checkpoints of {size(parts.checkpoint_bytes)} = {size(need)}; {size(free)} free"
        )
        if config.train.keep < retention.FEWEST:
            report.say(f"note     train.keep={config.train.keep} keeps two: one alone could turn out damaged")
        if need > free:
            report.warn(
                f"{folder} has room for {free // parts.checkpoint_bytes} of the {at_once} checkpoints that the run may "
                "keep; free some, or write --set train.keep=2"
            )
    report.say(f"schedule {config.optimizer.lr:g} * ({config.schedule.lr})")
    for found in check(parts.given, steps, lr=config.optimizer.lr, clock=clock_of(config, parts.corpus)):
        if found.severity != "info":
            report.say(f"{found.severity:8} {found.code}: {found.message}; {found.instead}")
    report.show(key_point_table(parts.schedule, config.optimizer.lr, steps))


def draw_curves(report: Report, parts: Parts, folder: Path, rows: list[Row]) -> None:
    """Draw curves.png."""
    draw(folder, folder / "curves.png")
    report.say(f"curves   {folder / 'curves.png'}")


def show_sample(report: Report, parts: Parts, folder: Path, rows: list[Row]) -> None:
    """Write sample.txt, and show how it begins."""
    text = write_sample(parts, folder)
    report.say("sample:\n" + "\n".join(f"  | {line}" for line in printable(text).split("\n")[:12]))
    report.say(f"sample   {folder / 'sample.txt'}")


def show_reached(report: Report, parts: Parts, folder: Path, rows: list[Row]) -> None:
    """Show what was reached."""
    report.show(reached(parts, rows))


def draw(folder: Path, out: Path, log: bool = False) -> None:
    """Draw the curves of a run's folder, finished or not; `log`: the LR on a logarithmic axis.

    Raises ValueError if it holds no run.
    """
    facts = read(folder)
    title = f"{folder.name}: peak {facts['optimizer']['lr']:g}, {facts['schedule']['lr']}"
    plot.save_run(read_rows(folder / "metrics.jsonl"), parse(facts["schedule"]["lr"]), out, title, log)


def write_sample(parts: Parts, folder: Path) -> str:
    """Let the model go on from the beginning of the held-out text; sample.txt gets that beginning and what it says."""
    tokenizer, context = parts.corpus.tokenizer, parts.config.model.context_length
    prompt = [int(i) for i in parts.corpus.val[: max(context // 2, 1)]]
    said = sample(parts.model, prompt, SAMPLE_TOKENS, seed=parts.config.train.seed, vocab_size=tokenizer.vocab_size)
    replace_text(folder / "sample.txt", tokenizer.decode(prompt + said))
    return tokenizer.decode(said)


def reached(parts: Parts, rows: list[Row]) -> Table:
    """The first and last losses, and what they took."""
    updates = [row for row in rows if not is_evaluation(row) and not row.get("skipped")]
    evaluations = [row for row in rows if is_evaluation(row)]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("")
    table.add_column("")
    if evaluations:
        first, last = evaluations[0]["val_loss"], evaluations[-1]["val_loss"]
        table.add_row("validation loss", f"{first:.3f} -> {last:.3f} ({100 * (last / first - 1):+.0f} %)")
        if None not in (evaluations[0]["val_bpb"], evaluations[-1]["val_bpb"]):
            table.add_row("bits per byte", f"{evaluations[0]['val_bpb']:.3f} -> {evaluations[-1]['val_bpb']:.3f}")
    if updates:
        table.add_row("training loss", f"{updates[0]['loss']:.3f} -> {updates[-1]['loss']:.3f}")
        speed = sorted(row["tokens_per_s"] for row in updates)[len(updates) // 2]
        table.add_row("tokens", f"{count(updates[-1]['tokens'])} at {speed:,.0f} a second (median)")
        if parts.device.type == "cuda":
            parameters = sum(p.numel() for p in parts.model.parameters())
            a_device = speed / parts.world.size
            name = torch.cuda.get_device_name(parts.device)
            if said := utilization(parts.config.model, parameters, a_device, name):
                table.add_row("utilization", said)
    if rows:
        table.add_row("time", duration(rows[-1]["time"]))
    return table
