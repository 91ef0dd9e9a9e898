"""The peak resident memory of training at GPT-2's size (124M), `lehr train` against nanoGPT's train.py.

    python benchmarks/memory.py --nanogpt PATH      # PATH: a clone of karpathy/nanoGPT
    python benchmarks/memory.py                     # lehr alone

Vocabulary 50,257, context 1,024, width 768, 12 layers, 12 heads; lehr's d_ff is 2,048, and its head is not tied to its
embeddings as nanoGPT's is: 162M parameters to 124M. Micro-batches of 2, a few updates. Each side is a process of its
own, as it runs on a CPU by default (nanoGPT in float32 without compile); the figure is what the kernel counted as its
peak.
"""

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = 2


def peak(words: list[object], cwd: Path) -> float:
    """Run to its end; the peak resident memory in GiB."""
    with open(cwd / "out.txt", "w+") as out:
        process = subprocess.Popen([str(word) for word in words], cwd=cwd, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # it is waited for: Popen is not to do so again
        if process.returncode:
            out.seek(0)
            sys.exit(out.read()[-3000:])
    return usage.ru_maxrss / 2**20


def lehr(folder: Path, name: str, *settings: str) -> float:
    sets = [
        "train.batch_size=2",
        "train.micro_batch_size=2",
        "train.eval_every=0",
        "train.checkpoint_every=0",
        *settings,
    ]
    words = ["train", "--preset", "gpt2-124m", "--data", folder / "input.txt", "--steps", STEPS, "--out", folder / name]
    words += [
        "--schedule",
        "linear 1 to 1, hold rest",
        *(word for setting in [*sets, *settings] for word in ("--set", setting)),
    ]
    return peak([sys.executable, "-m", "lehr", *words], folder)


def nanogpt(folder: Path, clone: Path) -> float:
    import numpy as np

    data = clone / "data" / "lehr-benchmark"
    data.mkdir(exist_ok=True)
    tokens = np.frombuffer((folder / "input.txt").read_bytes(), dtype=np.uint8).astype(np.uint16)
    for split in ("train", "val"):
        tokens.tofile(data / f"{split}.bin")
    (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": 50_257}))
    words = [
        *("--dataset=lehr-benchmark", f"--out_dir={folder}", "--device=cpu", "--dtype=float32", "--compile=False"),
        *("--eval_iters=1", "--eval_interval=1000000", "--gradient_accumulation_steps=1", "--batch_size=2"),
        *("--block_size=1024", "--n_layer=12", "--n_head=12", "--n_embd=768", f"--max_iters={STEPS}"),
    ]
    return peak([sys.executable, "train.py", *words], clone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nanogpt", type=Path, help="a clone of karpathy/nanoGPT; a data set is written into it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "input.txt").write_text("Tiger Tiger, burning bright, in the forests of the night;\n" * 2000)
        sides = {
            "lehr": lehr(folder, "plain"),
            "lehr, model.checkpoint_activations": lehr(folder, "lean", "model.checkpoint_activations=true"),
            "lehr, float32": lehr(folder, "wide", "train.precision=float32"),
        }
        if options.nanogpt:
            sides["nanoGPT"] = nanogpt(folder, options.nanogpt.resolve())
    for side, gib in sides.items():
        against = f"{gib / sides['nanoGPT']:.2f} of nanoGPT's" if "nanoGPT" in sides else ""
        print(f"{side:36} {gib:5.2f} GiB   {against}")


if __name__ == "__main__":
    main()
