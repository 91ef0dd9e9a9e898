"""Text out of a model: one token at a time from its distribution."""

import torch

from lehr.nn import TransformerLM


def sample(
    model: TransformerLM,
    prompt: list[int],
    count: int,
    temperature: float = 0.8,
    seed: int = 0,
    vocab_size: int | None = None,
) -> list[int]:
    """Return `count` ids that follow `prompt`: `model.generate` for a list.

    Only ids below `vocab_size` are drawn (the tokenizer's may be smaller than the model's). Equal seeds give equal text
    on one device. Raises ValueError for an empty prompt or a temperature below 0.
    """
    if not prompt:
        raise ValueError("the prompt is empty; give at least one token")
    ids = model.generate(torch.tensor(prompt), count, temperature, seed=seed, vocab_size=vocab_size)
    found: list[int] = ids[len(prompt) :].tolist()
    return found
