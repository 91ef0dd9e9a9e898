"""What a checkpoint costs the training loop, in updates: the stall of a save, as a ratio measured in one run.

    python benchmarks/checkpoints.py [--steps 60] [--every 10]

Trains a model of 10.8M parameters on the CPU with a save every so many updates. Three figures: how long the loop itself
is held (the copy into memory); how much longer the updates beside a save took than as many undisturbed ones, which a
busy machine blurs; and the processor time of a save, copy and writing together, as a share of an update's.
"""

import argparse
import itertools
import os
import platform
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import torch

from lehr.train import loop as trainer
from lehr.train import setup
from lehr.train.config import Config, assign
from lehr.train.metrics import Log
from lehr.train.report import Report
from lehr.train.writer import Writer

MODEL = ("model.d_model=384", "model.num_heads=6", "model.num_layers=6", "model.d_ff=1024", "model.context_length=128")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    texts = (
        f"train.steps={options.steps}",
        f"train.batch_size={options.batch}",
        "train.device=cpu",
        "train.eval_every=0",
    )
    parts = setup.build(assign(Config(), *MODEL, *texts, f"train.checkpoint_every={options.every}"))
    parameters = sum(p.numel() for p in parts.model.parameters())

    held: list[float] = []
    work: list[float] = []
    take, save = trainer.take, Writer.save

    def timed_take(*args):
        worked = time.thread_time()
        snapshot = take(*args)
        work.append(time.thread_time() - worked)
        return snapshot

    def timed_save(self, snapshot_of):
        began = time.perf_counter()
        save(self, snapshot_of)
        held.append(time.perf_counter() - began)  # waiting for the one before included

    trainer.take, Writer.save = timed_take, timed_save
    written: list[float] = []
    run = Writer._run

    def timed_run(self, snapshot):
        began, worked = time.perf_counter(), time.thread_time()
        run(self, snapshot)
        written.append(time.perf_counter() - began)
        work[-1] += time.thread_time() - worked

    Writer._run = timed_run
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            closing(Log(folder / "metrics.jsonl", 0)) as log,
            closing(Report(folder / "log.txt", options.steps)) as report,
        ):
            worked = time.process_time()
            trainer.loop(parts, folder, 0, log, report)
            worked = time.process_time() - worked
            times = [row["time"] for row in log.rows]
    # the update after row k runs from time k to time k + 1; a save after update k - 1 lies in it
    took = [after - before for before, after in itertools.pairwise(times)]
    saves = list(range(options.every, options.steps - options.every, options.every))
    half = options.every // 2
    calm = statistics.median(t for k in saves for t in took[k - 1 + half : k - 1 + options.every])
    extra = [sum(took[k - 1 : k - 1 + half]) / calm - half for k in saves]
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(
        f"{parameters:,} parameters, {options.batch} x 128 tokens, {parts.config.train.precision}, {len(saves)} saves"
    )
    print(
        f"an undisturbed update: {calm * 1000:.0f} ms; a save is written in {statistics.median(written) * 1000:.0f} ms"
    )
    low, middle, high = (sorted(held)[i] / calm for i in (0, len(held) // 2, -1))
    print(f"the loop is held for {middle:.3f} updates ({low:.3f} to {high:.3f})")
    low, middle, high = sorted(extra)[0], statistics.median(extra), sorted(extra)[-1]
    share = statistics.median(work) / ((worked - sum(work)) / options.steps)
    print(f"in processor time a save costs {share:.3f} updates")
    print(f"the updates beside it take {middle:.2f} updates longer ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
