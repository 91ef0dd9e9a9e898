"""Clip and AdamW in one, against torch's `clip_grad_norm_` and fused AdamW, as ratios measured side by side in one run.

    python benchmarks/optimizer.py

The parameters are those of the model at three sizes; the gradients are the same on both sides. Each is timed over steps
that clip and over steps that do not, in turns; printed are medians, the middle half of the rounds' ratios, and the
geometric mean of the two.
"""

import math
import statistics
import time

import torch

from lehr.nn import TransformerLM
from lehr.optimizer import AdamW

SHAPES = {  # vocab_size, d_model, num_layers, num_heads, d_ff
    "1M": (256, 128, 4, 4, 384),
    "17M": (10_000, 512, 4, 8, 1344),
    "60M": (16_384, 768, 5, 12, 2048),
}
ROUNDS, CALLS = 21, {"1M": 30, "17M": 5, "60M": 2}


class Side:
    """One side's parameters and optimizer, with gradients of a given norm."""

    def __init__(self, shape: tuple[int, ...], ours: bool) -> None:
        torch.manual_seed(0)
        vocab, d_model, layers, heads, d_ff = shape
        self.parameters = list(TransformerLM(vocab, 64, d_model, layers, heads, d_ff).parameters())
        self.ours = ours
        settings = {"lr": 1e-4, "betas": (0.9, 0.95), "weight_decay": 0.1}
        self.optimizer = (
            AdamW(self.parameters, max_grad_norm=1.0, **settings)
            if ours
            else torch.optim.AdamW(self.parameters, fused=True, **settings)
        )
        self.count = sum(p.numel() for p in self.parameters)
        torch.manual_seed(1)
        self.gradients = [torch.randn_like(p) / math.sqrt(self.count) for p in self.parameters]  # a norm of 1
        for p in self.parameters:
            p.grad = torch.empty_like(p)

    def step(self, norm: float, calls: int) -> float:
        """Seconds a step, over gradients of that norm and of either sign; setting them is not timed."""
        total = 0.0
        for _ in range(calls):
            norm = -norm
            torch._foreach_copy_([p.grad for p in self.parameters], torch._foreach_mul(self.gradients, norm))
            began = time.perf_counter()
            if not self.ours:
                torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            total += time.perf_counter() - began
        return total / calls


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; ratios are lehr / torch")
    for name, shape in SHAPES.items():
        ours, theirs = Side(shape, True), Side(shape, False)
        means = []
        for norm in (0.5, 2.0):
            pairs = []
            for _ in range(ROUNDS):
                pairs.append((ours.step(norm, CALLS[name]), theirs.step(norm, CALLS[name])))
            ratios = sorted(a / b for a, b in pairs)
            middle = statistics.median(ratios)
            means.append(middle)
            a, b = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
            print(
                f"{name:>4} ({ours.count / 1e6:.1f}M) {'clips' if norm > 1 else 'no clip':8}"
                f"{a:9.3f} ms {b:9.3f} ms   {middle:.3f} ({ratios[ROUNDS // 4]:.3f}-{ratios[-ROUNDS // 4]:.3f})"
            )
        apart = max((x - y).abs().max().item() for x, y in zip(ours.parameters, theirs.parameters, strict=True))
        print(f"     geometric mean {math.prod(means) ** 0.5:.3f}; parameters apart by at most {apart:.1e}")


if __name__ == "__main__":
    main()
