"""Text out of a model: one token at a time from its distribution."""

import torch

from lehr.nn import TransformerLM, softmax


@torch.no_grad()
def sample(
    model: TransformerLM,
    prompt: list[int],
    count: int,
    temperature: float = 0.8,
    seed: int = 0,
    vocab_size: int | None = None,
) -> list[int]:
    """Return `count` ids that follow `prompt`, drawn from softmax(logits / temperature).

    Only ids below `vocab_size` are drawn (the tokenizer's may be smaller than the model's). The model sees the last
    `context_length` ids. Equal seeds give equal text on one device. Raises ValueError for an empty prompt or a
    temperature that is not above 0.
    """
    if not prompt:
        raise ValueError("the prompt is empty; give at least one token")
    if not temperature > 0:
        raise ValueError(f"temperature is above 0, not {temperature!r}")
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device draws alike
    ids, most = list(prompt), model.context_length
    was_training = model.training
    model.eval()
    for _ in range(count):
        context = torch.tensor([ids[-most:]], device=device)
        logits = model(context)[0, -1, :vocab_size].float().cpu()
        ids.append(int(torch.multinomial(softmax(logits / temperature, dim=-1), 1, generator=generator)))
    model.train(was_training)
    return ids[len(prompt) :]
