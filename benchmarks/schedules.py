"""How fast schedules are, as ratios measured side by side in one run.

    python benchmarks/schedules.py

Each pair is timed in turns (A B A B ...); printed are the medians and the middle half of the rounds' ratios.
"""

import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, OneCycleLR, SequentialLR

import lehr
from lehr.integrations.torch import Scheduler

ROUNDS = 15
TOTAL, WARMUP = 1_000_000, 10_000


def seconds(work: Callable[[], object], calls: int) -> float:
    """Seconds a call, over `calls` calls."""
    began = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - began) / calls


def compare(name: str, ours: Callable[[], object], others: dict[str, Callable[[], object]], calls: int) -> None:
    """Print our time, each other's, and the ratio ours / other."""
    times: dict[str, list[float]] = {"lehr": [], **{other: [] for other in others}}
    for _ in range(ROUNDS):
        for key, work in {"lehr": ours, **others}.items():
            times[key].append(seconds(work, calls))
    print(f"\n{name}: lehr {statistics.median(times['lehr']) * 1e6:.3g} us")
    for other in others:
        ratios = sorted(a / b for a, b in zip(times["lehr"], times[other], strict=True))
        low, middle, high = ratios[len(ratios) // 4], statistics.median(ratios), ratios[-len(ratios) // 4]
        theirs = f"{statistics.median(times[other]) * 1e6:10.3g} us"
        print(f"  {other:36}{theirs}   lehr/other {middle:.3f} ({low:.3f}-{high:.3f})")


def optimizer(groups: int) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(groups)], lr=1e-3)


def scheduler_step(groups: int) -> None:
    """One `step()` of a warmup + cosine scheduler."""
    from transformers import get_cosine_with_min_lr_schedule_with_warmup

    def by_hand(step: int) -> float:
        if step < WARMUP:
            return (step + 1) / WARMUP
        return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - WARMUP) / (TOTAL - WARMUP)))

    a, b, c, d, e = (optimizer(groups) for _ in range(5))
    halves = [LinearLR(b, 1e-3, total_iters=WARMUP), CosineAnnealingLR(b, TOTAL - WARMUP, 1e-4)]
    others = {
        "torch LambdaLR": LambdaLR(a, by_hand),
        "torch SequentialLR(Linear, Cosine)": SequentialLR(b, halves, [WARMUP]),
        "torch OneCycleLR": OneCycleLR(c, 1e-3, total_steps=TOTAL, cycle_momentum=False),
        "transformers cosine with min lr": get_cosine_with_min_lr_schedule_with_warmup(
            d, WARMUP, TOTAL, min_lr_rate=0.1
        ),
    }
    ours = Scheduler(e, lehr.cosine(TOTAL, WARMUP))
    for each in (a, b, c, d, e):
        each.step()
    calls = 2000 if groups == 1 else 200
    compare(f"Scheduler.step(), {groups} groups", ours.step, {k: v.step for k, v in others.items()}, calls)


def one_number() -> None:
    """`schedule(int)` against the dozen lines that everybody copies."""

    def by_hand(it: int) -> float:
        if it < WARMUP:
            return 1.0 * (it + 1) / (WARMUP + 1)
        if it > TOTAL:
            return 0.1
        decay_ratio = (it - WARMUP) / (TOTAL - WARMUP)
        coeff = 0.5 * (1.0 + math.cos(math.pi * decay_ratio))
        return 0.1 + coeff * (1.0 - 0.1)

    schedule = lehr.cosine(TOTAL, WARMUP)
    for step in (500, 500_000):
        compare(
            f"schedule({step})", lambda s=step: schedule(s), {"math.cos by hand": lambda s=step: by_hand(s)}, 20_000
        )


def many_numbers() -> None:
    """`schedule(np.arange(10_000_000))` against an np.where expression, and the memory it takes."""
    steps, total, warmup = np.arange(10_000_000), 10_000_000, 100_000
    schedule = lehr.cosine(total, warmup)

    def by_hand() -> np.ndarray:
        return np.where(
            steps < warmup,
            (steps + 1) / warmup,
            0.1 + 0.45 * (1 + np.cos(np.pi * np.minimum((steps - warmup) / (total - warmup), 1))),
        )

    compare("schedule(np.arange(10_000_000))", lambda: schedule(steps), {"np.where by hand": by_hand}, 1)
    import tracemalloc

    tracemalloc.start()
    out = schedule(steps)
    print(f"  peak memory {tracemalloc.get_traced_memory()[1] / out.nbytes:.2f}x the output")
    tracemalloc.stop()


def start_up() -> None:
    """Importing lehr and evaluating a schedule once, against bare Python."""

    def process(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    ours, bare = process("import lehr; lehr.cosine(100, 10)(5)"), process("pass")
    differences = sorted(1000 * (seconds(ours, 1) - seconds(bare, 1)) for _ in range(2 * ROUNDS))
    print(f"\nimport lehr and one evaluation: {statistics.median(differences):.1f} ms more than bare Python")


if __name__ == "__main__":
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    )
    for groups in (1, 100):
        scheduler_step(groups)
    one_number()
    many_numbers()
    start_up()
