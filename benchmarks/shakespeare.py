"""The time to a validation loss of 1.88 on tiny Shakespeare: `lehr train` against nanoGPT's recipe for a CPU.

    python benchmarks/shakespeare.py --text tinyshakespeare.txt --nanogpt PATH      # PATH: a clone of karpathy/nanoGPT

Both by characters, the last tenth held out. nanoGPT as its README has it for a CPU (4 layers, 4 heads, width 128,
context 64, batches of 12, 2,000 iterations), which ends at about 1.886, by its own estimate of 20 batches; lehr by
`--preset shakespeare-char`, evaluated on the whole tenth. The times are those of whole processes, start-up,
evaluations and, for lehr, checkpoints, curves and sample included; for lehr also the time at which the loss stood in
its log.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGET = 1.88


def timed(words: list[object], cwd: Path) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return time.perf_counter() - began, done.stdout


def lehr(folder: Path, number: int) -> tuple[float, float, float]:
    """The time of the whole run, the time at which the log had the loss, and the last loss."""
    out = folder / f"run-{number}"
    words = ["train", "--preset", "shakespeare-char", "--data", folder / "input.txt", "--out", out]
    seconds, _ = timed([sys.executable, "-m", "lehr", *words], folder)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    evaluated = [row for row in rows if "val_loss" in row]
    there = next((row["time"] for row in evaluated if row["val_loss"] <= TARGET), float("nan"))
    return seconds, there, evaluated[-1]["val_loss"]


def nanogpt(folder: Path) -> tuple[float, float]:
    """The time of the whole run, and the last loss."""
    words = [
        *("config/train_shakespeare_char.py", "--device=cpu", "--compile=False", "--eval_iters=20", "--log_interval=1"),
        *("--block_size=64", "--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128", "--max_iters=2000"),
        *("--lr_decay_iters=2000", "--dropout=0.0"),
    ]
    seconds, said = timed([sys.executable, "train.py", *words], folder / "nanogpt")
    return seconds, float(re.findall(r"val loss ([\d.]+)", said)[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="tiny Shakespeare, a text file")
    parser.add_argument("--nanogpt", type=Path, required=True, help="a clone of karpathy/nanoGPT")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(options.text, folder / "input.txt")
        shutil.copytree(options.nanogpt, folder / "nanogpt", ignore=shutil.ignore_patterns(".git", "out*"))
        data = folder / "nanogpt" / "data" / "shakespeare_char"
        shutil.copy(options.text, data / "input.txt")  # it would be downloaded
        timed([sys.executable, "prepare.py"], data)
        pairs = [(lehr(folder, i), nanogpt(folder)) for i in range(options.rounds)]
    for (whole, there, loss), (other, final) in pairs:
        print(
            f"lehr {whole:.1f} s, {TARGET} in the log after {there:.1f} s, at last {loss:.3f}; "
            f"nanoGPT {other:.1f} s, at last {final:.3f}"
        )
    print(f"lehr / nanoGPT, whole runs: {statistics.median(ours[0] / theirs[0] for ours, theirs in pairs):.3f}")
    print(f"lehr to {TARGET} / nanoGPT:  {statistics.median(ours[1] / theirs[0] for ours, theirs in pairs):.3f}")


if __name__ == "__main__":
    main()
