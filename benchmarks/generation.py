"""How much faster generation is with the cache of keys and values than without, as ratios measured in one run.

    python benchmarks/generation.py

The same ids are generated with and without the cache in turns (A B A B ...), for the default model with a context of
512 and one twice as wide; printed are the medians of the rates and the middle half of the rounds' ratios.
"""

import platform
import statistics
import time

import torch

from lehr.nn import TransformerLM

CONTEXT = 512
SIZES = {
    "width 192, 4 layers": {"d_model": 192, "num_layers": 4, "num_heads": 6, "d_ff": 512},
    "width 384, 6 layers": {"d_model": 384, "num_layers": 6, "num_heads": 6, "d_ff": 1024},
}
# prompt, new tokens: the last of a full context, which "at 512 tokens of context" means, and all of it from one token
SPANS = {"the last 24 of 512": (CONTEXT - 24, 24), "all 511 after the first": (1, CONTEXT - 1)}
ROUNDS = {"the last 24 of 512": 9, "all 511 after the first": 3}


def rate(model: TransformerLM, prompt: torch.Tensor, count: int, cache: bool) -> float:
    """Tokens a second, the reading of the prompt included."""
    began = time.perf_counter()
    model.generate(prompt, count, temperature=0.8, seed=0, cache=cache)
    return count / (time.perf_counter() - began)


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, sizes in SIZES.items():
        torch.manual_seed(0)
        model = TransformerLM(vocab_size=256, context_length=CONTEXT, **sizes)
        for span, (prompt_length, count) in SPANS.items():
            prompt = torch.randint(256, (1, prompt_length))
            assert torch.equal(model.generate(prompt, 4, seed=0), model.generate(prompt, 4, seed=0, cache=False))
            rates = {cache: [] for cache in (True, False)}
            for _ in range(ROUNDS[span]):
                for cache in rates:
                    rates[cache].append(rate(model, prompt, count, cache))
            ratios = sorted(a / b for a, b in zip(rates[True], rates[False], strict=True))
            low, middle, high = ratios[len(ratios) // 4], statistics.median(ratios), ratios[-1 - len(ratios) // 4]
            with_, without = (statistics.median(rates[cache]) for cache in (True, False))
            speeds = f"{with_:,.0f} tokens/s with, {without:,.0f} without"
            print(f"{name}, {span}: {speeds}: {middle:.1f}x ({low:.1f}-{high:.1f})")


if __name__ == "__main__":
    main()
