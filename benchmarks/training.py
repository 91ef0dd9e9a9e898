"""`lehr train` against nanoGPT's train.py and against transformers' Llama, in turns, on this machine.

    python benchmarks/training.py --nanogpt PATH      # PATH: a clone of karpathy/nanoGPT
    python benchmarks/training.py                     # against transformers alone

The shape is that of a small GPT on a CPU: 6 layers, 6 heads, width 384, context 256, batches of 16, 10.6M parameters,
on characters. Each side runs as its own process, in turns; printed are the medians of the rounds, the middle half of
their ratios, and the losses after equal tokens. nanoGPT runs as it does on a CPU (float32, no compile), Llama in
bfloat16 autocast with torch's fused AdamW and its clip.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SHAPE = {"context": 256, "width": 384, "layers": 6, "heads": 6, "batch": 16}
TOKENS = SHAPE["context"] * SHAPE["batch"]
D_FF = 1024  # 8/3 of the width: the parameters of three matrices equal those of nanoGPT's two


def text_of(path: Path | None) -> str:
    """The text to train on: a file, or Python's own source."""
    if path is not None:
        return path.read_text()
    home = Path(json.__file__).parent.parent
    return "".join(file.read_text(errors="ignore") for file in sorted(home.glob("*.py")))[:2_000_000]


def run(words: list[object], cwd: Path) -> str:
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return done.stdout


# ---------------------------------------------------------------------------------------------------------------------
# the sides: each returns (tokens a second, the losses of its steps)

Outcome = tuple[float, list[float]]


def lehr(folder: Path, steps: int, number: int) -> Outcome:
    out = folder / f"lehr-{number}"
    settings = {
        "model.context_length": SHAPE["context"],
        "model.d_model": SHAPE["width"],
        "model.num_layers": SHAPE["layers"],
        "model.num_heads": SHAPE["heads"],
        "model.d_ff": D_FF,
        "data.tokenizer": "char",
        "train.batch_size": SHAPE["batch"],
        "train.eval_every": 0,
        "train.checkpoint_every": 0,
    }
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    schedule = "linear 2 to 1, hold rest"
    words = ["train", "--data", folder / "input.txt", "--steps", steps, "--lr", 1e-3, "--schedule", schedule]
    run([sys.executable, "-m", "lehr", *words, "--out", out, *sets], folder)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(row["tokens_per_s"] for row in rows[2:]), [row["loss"] for row in rows]


def nanogpt(folder: Path, steps: int, number: int) -> Outcome:
    words = [
        *("--dataset=text", f"--out_dir=out-{number}", "--device=cpu", "--dtype=float32", "--compile=False"),
        *("--eval_iters=1", "--eval_interval=1000000", "--log_interval=1", "--gradient_accumulation_steps=1"),
        *(f"--batch_size={SHAPE['batch']}", f"--block_size={SHAPE['context']}", f"--n_layer={SHAPE['layers']}"),
        *(f"--n_head={SHAPE['heads']}", f"--n_embd={SHAPE['width']}", "--dropout=0.0", "--learning_rate=1e-3"),
        *(f"--max_iters={steps}", "--lr_decay_iters=1000000000", "--warmup_iters=2", "--min_lr=1e-3"),
    ]
    out = run([sys.executable, "train.py", *words], folder / "nanogpt")
    found = re.findall(r"iter (\d+): loss ([\d.]+), time ([\d.]+)ms", out)
    # the first steps' times hold the evaluation before the run
    return 1000 * TOKENS / statistics.median(float(ms) for _, _, ms in found[2:]), [float(loss) for _, loss, _ in found]


LLAMA = """
import json, sys, time, torch
from transformers import LlamaConfig, LlamaForCausalLM
from lehr.train.data import get_batch
shape, d_ff, steps, path = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
text = open(path).read()
ids = {c: i for i, c in enumerate(sorted(set(text)))}
tokens = torch.tensor([ids[c] for c in text])
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=len(ids), hidden_size=shape["width"], intermediate_size=d_ff,
    num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"], max_position_embeddings=shape["context"],
    tie_word_embeddings=False))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
for step in range(steps):
    began = time.perf_counter()
    x, y = get_batch(tokens.numpy(), shape["batch"], shape["context"], "cpu")
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=x).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), y.flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    print(json.dumps([time.perf_counter() - began, loss.item()]), flush=True)
"""


def llama(folder: Path, steps: int, number: int) -> Outcome:
    out = run([sys.executable, "-c", LLAMA, json.dumps(SHAPE), D_FF, steps, folder / "input.txt"], folder)
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("[")]
    return TOKENS / statistics.median(seconds for seconds, _ in rows[2:]), [loss for _, loss in rows]


# ---------------------------------------------------------------------------------------------------------------------


def prepare(folder: Path, text: str, clone: Path | None) -> None:
    """The text for each side; nanoGPT's files and data set in a copy of their own."""
    import numpy as np

    (folder / "input.txt").write_text(text)
    if clone is None:
        return
    data = folder / "nanogpt" / "data" / "text"
    data.mkdir(parents=True)
    for name in ("train.py", "model.py", "configurator.py"):
        shutil.copy(clone / name, folder / "nanogpt" / name)
    ids = {c: i for i, c in enumerate(sorted(set(text)))}
    tokens = np.array([ids[c] for c in text], dtype=np.uint16)
    cut = int(len(tokens) * 0.9)
    tokens[:cut].tofile(data / "train.bin")
    tokens[cut:].tofile(data / "val.bin")
    import pickle

    (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": len(ids)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nanogpt", type=Path, help="a clone of karpathy/nanoGPT")
    parser.add_argument("--text", type=Path, help="a text file (default: Python's own source)")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sides = {"lehr": lehr, **({"nanoGPT": nanogpt} if options.nanogpt else {}), "transformers Llama": llama}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, text_of(options.text), options.nanogpt)
        speeds: dict[str, list[float]] = {side: [] for side in sides}
        losses: dict[str, list[float]] = {}
        for number in range(options.rounds):
            for side, work in sides.items():
                speed, losses[side] = work(folder, options.steps, number)
                speeds[side].append(speed)
    tail = max(1, options.steps // 10)
    for side, values in speeds.items():
        ratios = sorted(a / b for a, b in zip(speeds["lehr"], values, strict=True))
        low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        loss = statistics.mean(losses[side][options.steps - tail : options.steps])
        print(
            f"{side:20}{statistics.median(values):8,.0f} tokens/s   lehr is {statistics.median(ratios):.2f}x as fast "
            f"({low:.2f}-{high:.2f})   loss after {options.steps * TOKENS:,} tokens {loss:.3f}"
        )


if __name__ == "__main__":
    main()
