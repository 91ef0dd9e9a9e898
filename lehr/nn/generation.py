"""Ids out of a model, one after the other: sampling, and a cache of keys and values that makes each cost one position.

The cached pass stands here, beside the model's own: training has no cache to ask about. A test holds them together.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lehr.nn.functions import softmax
from lehr.nn.layers import Attention, causal_attention
from lehr.nn.model import TransformerLM
from lehr.nn.rotary import rotate, rotation_at


def stream(
    model: TransformerLM,
    ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    *,
    stop: int | Sequence[int] | None = None,
    seed: int | None = None,
    vocab_size: int | None = None,
    cache: bool = True,
) -> Iterator[Tensor]:
    """Yield the ids [batch] that follow ids [batch, seq], one step at a time; see `TransformerLM.generate`."""
    _check(ids, max_new_tokens, temperature, top_k, top_p, vocab_size)
    ends = torch.tensor([stop] if isinstance(stop, int) else list(stop or ()), dtype=torch.int64)
    # On the CPU, so that every device draws alike. None: torch's own, which `torch.manual_seed` sets.
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    device, context = model.lm_head.weight.device, model.context_length
    window = ids[:, -context:].to(device)
    done = torch.zeros(len(ids), dtype=torch.bool)
    keys = Cache(model, len(ids), min(context, window.shape[1] + max_new_tokens)) if cache else None
    was_training = model.training
    model.eval()
    try:
        for _ in range(max_new_tokens):
            with torch.no_grad():
                if keys is None:
                    logits = model.lm_head(model._hidden(window)[:, -1])
                else:
                    logits = keys.read(window[:, keys.length :])
            new = choose(logits[:, :vocab_size], temperature, top_k, top_p, generator)
            if len(ends):
                new = torch.where(done, ends[0], new)  # a row that has ended is filled up
                done |= torch.isin(new, ends)
            yield new
            if len(ends) and done.all():
                return
            window = torch.cat([window, new[:, None].to(device)], dim=1)
            if window.shape[1] > context:  # positions are counted from the first id that is remembered
                window = window[:, -max(context // 2, 1) :]
                if keys is not None:
                    keys.length = 0
    finally:
        model.train(was_training)


def choose(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw an id from each row of logits [batch, vocab]: int64 [batch], on the CPU.

    softmax(logits / temperature), cut to the `top_k` most likely ids, then to the fewest of them that hold a share of
    `top_p` or more (Holtzman et al. 2019, arXiv 1904.09751). Temperature 0 takes the most likely, the first of equals.
    Raises ValueError for logits that are not finite.

    >>> choose(torch.tensor([[0.0, 2.0, 1.0]]), temperature=0)
    tensor([1])
    """
    logits = logits.float().cpu()
    if not torch.isfinite(logits).all():
        raise ValueError("the model's logits are not finite: its weights are damaged, or its training diverged")
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = (logits - logits.amax(dim=-1, keepdim=True)).double() / temperature  # no temperature is too low
    if top_k is not None and top_k < logits.shape[-1]:
        kept = torch.full_like(logits, -math.inf)
        values, places = logits.topk(top_k, dim=-1)  # exactly so many, even among equals
        logits = kept.scatter(-1, places, values)
    weights = softmax(logits, dim=-1)
    if top_p is not None and top_p < 1:
        falling, order = weights.sort(dim=-1, descending=True, stable=True)
        falling = falling.masked_fill(falling.cumsum(-1) - falling >= top_p, 0)  # the first is never taken away
        weights = torch.zeros_like(weights).scatter(-1, order, falling)
    return torch.multinomial(weights, 1, generator=generator).squeeze(-1)


def _check(
    ids: Tensor,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    vocab_size: int | None,
) -> None:
    if ids.ndim != 2 or not ids.shape[0] or not ids.shape[1] or ids.is_floating_point():
        raise ValueError(f"ids are whole numbers [batch, seq], at least one of each, not {ids.dtype} {list(ids.shape)}")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens is 0 or more, not {max_new_tokens}")
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature is 0 (the most likely token) or above, not {temperature!r}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is 1 or more, not {top_k!r}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is above 0 and at most 1, not {top_p!r}")
    if vocab_size is not None and vocab_size < 1:
        raise ValueError(f"vocab_size is 1 or more, not {vocab_size!r}")


class Cache:
    """The keys and values of every layer for the first `length` positions of `batch` sequences."""

    def __init__(self, model: TransformerLM, batch: int, positions: int) -> None:
        self.model = model
        self.length = 0
        self._shape = (batch, -1, positions, model.d_head)
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def read(self, ids: Tensor) -> Tensor:
        """Read ids [batch, seq] that follow what was read before, and return the logits [batch, vocab] after the last.

        Many ids at once where nothing was read before, later one.
        """
        model = self.model
        begin, end = self.length, self.length + ids.shape[1]
        rotation = rotation_at(torch.arange(begin, end, device=ids.device), model.d_head, model.rope_theta)
        x: Tensor = model.token_embeddings(ids)
        layer: Any  # a Block, which ModuleList does not say
        for number, layer in enumerate(model.layers):
            x = x + self._attend(number, layer.attn, layer.ln1(x), rotation)
            x = x + layer.ffn(layer.ln2(x))
        self.length = end
        logits: Tensor = model.lm_head(model.ln_final(x[:, -1]))
        return logits

    def _attend(self, number: int, attention: Attention, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (attention.num_heads, -1)).transpose(-3, -2)  # [batch, heads, seq, d_head]
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        q, k = rotate(q, *rotation), rotate(k, *rotation)
        if number == len(self._keys):  # made here, where the dtype is known: autocast may have changed it
            shape = (self._shape[0], attention.num_heads, *self._shape[2:])
            self._keys.append(k.new_empty(shape))
            self._values.append(v.new_empty(shape))
        begin, end = self.length, self.length + q.shape[-2]
        keys, values = self._keys[number], self._values[number]
        keys[:, :, begin:end] = k
        values[:, :, begin:end] = v
        if begin == 0:
            attended = causal_attention(q, k, v)
        else:
            attended = F.scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end])
        y: Tensor = attention.output_proj(attended.transpose(-3, -2).flatten(-2))
        return y
