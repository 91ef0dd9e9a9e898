"""The training loop written out by hand on lehr's parts: the LR of every update is set from a plain function.

    python examples/train_transformer.py [steps]

It trains a small transformer on Python's own source as bytes, and prints step, LR and loss.
"""

import sys

import torch

from lehr.nn import TransformerLM, gradient_clipping
from lehr.optimizer import AdamW, get_lr_cosine_schedule
from lehr.train.data import get_batch, load_corpus
from lehr.train.sample import sample

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
peak, floor, warmup = 3e-3, 3e-4, steps // 10
batch_size, context_length = 16, 128
device = "cuda" if torch.cuda.is_available() else "cpu"

torch.manual_seed(0)
text = load_corpus(paths=[], tokenizer="bytes", val_fraction=0.1)
model = TransformerLM(
    vocab_size=256, context_length=context_length, d_model=128, num_layers=2, num_heads=4, d_ff=344
).to(device)
optimizer = AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.1)
generator = torch.Generator().manual_seed(0)

for step in range(steps):
    lr = get_lr_cosine_schedule(step, peak, floor, warmup, steps)  # step / warmup: the first update has LR 0
    for group in optimizer.param_groups:
        group["lr"] = lr

    x, y = get_batch(text.train, batch_size, context_length, device, generator)
    loss = model.loss(x, y)
    loss.backward()
    norm = gradient_clipping(model.parameters(), max_l2_norm=1.0)  # before the step, or it clips nothing
    optimizer.step()
    optimizer.zero_grad()

    if step % max(steps // 10, 1) == 0 or step == steps - 1:
        print(f"step {step:4}  lr {lr:.2e}  loss {loss.item():.3f}  gradient norm {norm.item():.2f}")

with torch.no_grad():
    x, y = get_batch(text.val, 64, context_length, device, generator)
    print(f"validation loss {model.loss(x, y).item():.3f}")
print(text.tokenizer.decode(sample(model, prompt=list(b"def "), count=200)))
