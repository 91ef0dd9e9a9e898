"""`lehr train` against a bare loop over the same parts, in turns: what log, report, guard and signals cost.

    python benchmarks/trainer.py

About 1M parameters (4 layers, width 144, context 64, batches of 8), every step logged. Each side is a process of its
own; the figure is the median time of an update. The bare loop has the same model, optimizer, clipping and batches.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = [
    *("model.d_model=144", "model.num_layers=4", "model.num_heads=4", "model.d_ff=384", "model.context_length=64"),
    *("train.batch_size=8", "train.eval_every=0", "train.checkpoint_every=0", "schedule.lr=linear 5 to 1, hold rest"),
]

BARE = """
import json, sys, time
from lehr.train import pages
pages.ask_for_large()
import torch
from lehr.nn import gradient_clipping
from lehr.train import setup
from lehr.train.config import Config, assign
parts = setup.build(assign(Config(), *json.loads(sys.argv[1])))
parameters, times = list(parts.model.parameters()), []
for step in range(parts.config.train.steps):
    began = time.perf_counter()
    for group in parts.optimizer.param_groups:
        group["lr"] = parts.config.optimizer.lr * parts.schedule(step)
    x, y = parts.windows.batch(step)
    with parts.autocast():
        loss = parts.model.loss(x, y)
    loss.backward()
    gradient_clipping(parameters, 1.0)
    parts.optimizer.step()
    parts.optimizer.zero_grad(set_to_none=True)
    loss.item()
    times.append(time.perf_counter() - began)
print(json.dumps(times))
"""


def bare(folder: Path, settings: list[str], number: int) -> float:
    words = [sys.executable, "-c", BARE, json.dumps([*settings, f"data.path={folder / 'input.txt'}"])]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return statistics.median(json.loads(out.splitlines()[-1])[5:])


def lehr(folder: Path, settings: list[str], number: int) -> float:
    out = folder / f"run-{number}"
    sets = [word for setting in settings for word in ("--set", setting)]
    words = ["train", "--data", str(folder / "input.txt"), "--out", str(out), *sets]
    subprocess.run([sys.executable, "-m", "lehr", *words], capture_output=True, check=True)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return 8 * 64 / statistics.median(row["tokens_per_s"] for row in rows[5:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    settings = [*SETTINGS, f"train.steps={options.steps}"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "input.txt").write_text("".join(f"{i} tigers, burning bright\n" for i in range(20_000)))
        pairs = [(lehr(folder, settings, i), bare(folder, settings, i)) for i in range(options.rounds)]
    ratios = sorted(a / b for a, b in pairs)
    ours, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    print(f"lehr train {1000 * ours:.2f} ms an update, the bare loop {1000 * other:.2f} ms")
    print(f"lehr / bare: {statistics.median(ratios):.3f} ({low:.3f}-{high:.3f})")


if __name__ == "__main__":
    main()
