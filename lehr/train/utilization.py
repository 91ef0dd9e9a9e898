"""How much of a device's arithmetic a run used: model FLOPs utilization, MFU."""

import re

from lehr.train.config import Model

# Dense products in bfloat16 with float32 sums, operations a second, as the makers publish them, by a part of the name
# that torch gives the device, in whole words; of two that fit, the first.
PEAKS = {
    "GB200": 2.5e15, "B200": 2.25e15, "GH200": 989e12, "H200 NVL": 835e12, "H200": 989e12, "H100 PCIe": 756e12,
    "H100 NVL": 835e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L40": 181e12, "A10G": 70e12, "A10": 125e12,
    "L4": 121e12, "RTX 4090": 165e12, "RTX 3090": 71e12,
}  # fmt: skip
LESS = re.compile(r"\b(MIG|Laptop|Max-Q|D|Ti)\b")  # a part of a card, or another that shares the name


def peak(name: str) -> float | None:
    """The published peak of a device in bfloat16, operations a second; None if it is not known here.

    >>> peak("NVIDIA H100 80GB HBM3"), peak("some other")
    (989000000000000.0, None)
    """
    if LESS.search(name):
        return None
    return next((value for part, value in PEAKS.items() if re.search(rf"\b{part}\b", name)), None)


def operations(model: Model, parameters: int) -> float:
    """Operations that training takes a token, forward and backward: 6 N + 12 L d T.

    N parameters without the embeddings, which are looked up and not multiplied; L layers of width d; a context of T,
    all of whose scores count though a causal mask needs half (Chowdhery et al. 2022, arXiv 2204.02311, appendix
    B). What is worked out again (`model.checkpoint_activations`) is not counted.

    >>> operations(Model(vocab_size=10, d_model=8, num_layers=2, context_length=4), parameters=1000) / 1000
    6.288
    """
    multiplied = parameters - model.vocab_size * model.d_model
    return 6 * multiplied + 12 * model.num_layers * model.d_model * model.context_length


def utilization(model: Model, parameters: int, tokens_per_s: float, device: str) -> str | None:
    """The share of a device's peak in bfloat16 that so many tokens a second on it are; None where none is known.

    >>> gpt2 = Model(vocab_size=50_257, context_length=1024, d_model=768, num_layers=12)
    >>> utilization(gpt2, 162_000_000, 500_000, "NVIDIA H100 80GB HBM3")
    '43.2% of the 989 TFLOP/s of NVIDIA H100 80GB HBM3 in bfloat16 (MFU)'
    """
    if (most := peak(device)) is None:
        return None
    share = tokens_per_s * operations(model, parameters) / most
    return f"{share:.1%} of the {most / 1e12:,.0f} TFLOP/s of {device} in bfloat16 (MFU)"
