"""What two processes cost beside one: DDP and FSDP over gloo, with the same work in each process, on this machine.

    python benchmarks/scaling.py [--rounds 5] [--steps 20]

Four sides in turns, each process with one thread and the same batch of its own: one process; two that have nothing to
do with each other (what the machine itself loses when both cores work); two as one run under DDP; two under FSDP.
Printed are the medians of the seconds an update takes, the ratios with the middle half of the rounds in brackets, and
the share of an update that is communication and not hidden: what it takes longer than beside a stranger. Below that,
the gradients' all-reduce alone.

Processor seconds are printed as well: those of a run of all the steps less those of a run of a quarter of them, for
each update and process. They stay meaningful where other work shares the cores; the seconds on the wall do not.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHAPES = {
    "1.9M": {"model.d_model": 192, "model.num_layers": 4, "model.num_heads": 6, "model.d_ff": 512},
    "10.8M": {"model.d_model": 384, "model.num_layers": 6, "model.num_heads": 6, "model.d_ff": 1024},
}
COMMON = {
    "model.context_length": 128,
    "train.device": "cpu",
    "train.eval_every": 0,
    "train.checkpoint_every": 0,
}
ALL_REDUCE = """
import sys, time, statistics, torch, torch.distributed as dist
dist.init_process_group("gloo")
flat, times = torch.zeros(int(sys.argv[1])), []
for _ in range(12):
    dist.barrier()
    began = time.perf_counter()
    dist.all_reduce(flat)
    times.append(time.perf_counter() - began)
if not dist.get_rank():
    print(statistics.median(times[2:]))
dist.destroy_process_group()
"""


def words(shape: str, out: Path, batch: int, **settings: object) -> list[str]:
    chosen = {**COMMON, **SHAPES[shape], **settings, "train.batch_size": batch}
    sets = [word for key, value in chosen.items() for word in ("--set", f"{key}={value}")]
    return ["-m", "lehr", "train", "--out", str(out), *sets]


def start(command: list[str]) -> subprocess.Popen[bytes]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        _, said = process.communicate()
        if process.returncode:
            sys.exit(said.decode()[-3000:])


def seconds(out: Path) -> float:
    """The median seconds of an update, from the tokens a second that were logged; the first updates are left out."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "tokens_per_s" in row]
    tokens = rows[0]["tokens"]
    return statistics.median(tokens / row["tokens_per_s"] for row in rows[3:])


def torchrun(rest: list[str]) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *rest]


def processor() -> float:
    """Processor seconds of all processes that were begun here and have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(side: str, shape: str, batch: int, folder: Path, steps: int) -> tuple[float, float]:
    """Seconds of an update on the wall, and processor seconds of the whole run."""
    before, settings = processor(), {"train.steps": steps}
    outs = [folder / f"{steps}-{number}" for number in range(2 if side == "two strangers" else 1)]
    if side in ("one", "two strangers"):
        finish(*[start([sys.executable, *words(shape, out, batch, **settings)]) for out in outs])
    else:
        finish(start(torchrun(words(shape, outs[0], 2 * batch, **settings, **{"train.parallel": side}))))
    return statistics.mean(map(seconds, outs)), processor() - before


def measure(side: str, shape: str, batch: int, steps: int) -> tuple[float, float]:
    """Seconds of an update, on the wall and of the processor in each process."""
    with tempfile.TemporaryDirectory() as folder:
        _, short = run(side, shape, batch, Path(folder), steps // 4)
        wall, long = run(side, shape, batch, Path(folder), steps)
    return wall, (long - short) / (steps - steps // 4) / (1 if side == "one" else 2)


def all_reduce(numbers: int, folder: Path) -> float:
    (folder / "reduce.py").write_text(ALL_REDUCE)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = torchrun([str(folder / "reduce.py"), str(numbers)])
    return float(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)


def spread(values: list[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.2f} ({low:.2f}-{high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8, help="sequences of 128 tokens in each process")
    options = parser.parse_args()
    if options.steps < 16:
        parser.error("--steps is 16 or more: a quarter of them, less the first three, is measured by itself")
    sides = ("one", "two strangers", "ddp", "fsdp")
    print(f"{options.rounds} rounds, {options.steps} updates, {options.batch} x 128 tokens a process, one thread each")
    for shape, numbers in (("1.9M", 1_870_000), ("10.8M", 10_800_000)):
        taken: dict[str, list[float]] = {side: [] for side in sides}
        worked: dict[str, list[float]] = {side: [] for side in sides}
        reduced = []
        for _ in range(options.rounds):
            for side in sides:
                wall, work = measure(side, shape, options.batch, options.steps)
                taken[side].append(wall)
                worked[side].append(work)
            with tempfile.TemporaryDirectory() as folder:
                reduced.append(all_reduce(numbers, Path(folder)))
        print(f"\n{shape} parameters ({time.strftime('%Y-%m-%d')})")
        for side in sides:
            ratios = [a / b for a, b in zip(taken[side], taken["one"], strict=True)]
            line = (
                f"  {side:14} {1000 * statistics.median(taken[side]):7.1f} ms an update, {spread(ratios)} of one alone"
            )
            if side in ("ddp", "fsdp"):
                shares = [1 - b / a for a, b in zip(taken[side], taken["two strangers"], strict=True)]
                line += f"; communication {spread(shares)} of it"
            print(line)
            ratios = [a / b for a, b in zip(worked[side], worked["one"], strict=True)]
            print(f"  {'':14} {1000 * statistics.median(worked[side]):7.1f} ms of the processor, {spread(ratios)}")
        print(f"  the gradients' all-reduce alone: {1000 * statistics.median(reduced):.1f} ms")


if __name__ == "__main__":
    main()
