"""A Llama-style language model.

Pre-norm RMSNorm, rotary positions on interleaved pairs, SwiGLU, no biases, an untied head (Touvron et al. 2023,
arXiv 2302.13971): the model of Stanford CS336, assignment 1. Shapes are in the comments: [batch, seq, d_model] runs
through the layers, [batch, heads, seq, d_head] through attention; "..." is any leading axes, none included.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lehr.nn.head import head_loss
from lehr.nn.layers import Block, Linear, RMSNorm, check_sizes, drop, truncated_normal
from lehr.nn.rotary import rotation_of_all


class TransformerLM(nn.Module):
    """A causal language model: int64 ids [batch, seq] -> logits [batch, seq, vocab] for the id that follows each.

    The Llama block (Touvron et al. 2023, arXiv 2302.13971). The state dict holds parameters only, each a `.weight` of
    token_embeddings, layers.N.{ln1, attn.{q,k,v,output}_proj, ln2, ffn.{w1,w2,w3}}, ln_final or lm_head. `dropout`
    zeroes, while training, that share of the embeddings and of what each branch adds (Srivastava et al. 2014).
    `checkpoint_activations` keeps only what goes into a layer for the backward pass, and works the layer out once more
    there (Chen et al. 2016, arXiv 1604.06174): the same numbers, less memory, half as much time again.
    ValueError: a size below 1, a d_model that does not split into heads of an even size, a theta that is not positive,
    a dropout outside [0, 1); when called, a sequence longer than context_length. An id outside the vocabulary is
    torch's own error.

    >>> model = TransformerLM(vocab_size=50, context_length=16, d_model=32, num_layers=2, num_heads=4, d_ff=96)
    >>> ids = torch.randint(50, (2, 9))
    >>> model(ids[:, :-1]).shape
    torch.Size([2, 8, 50])
    >>> model.loss(ids[:, :-1], ids[:, 1:]).shape
    torch.Size([])
    """

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        d_model: int,
        num_layers: int,
        num_heads: int,
        d_ff: int,
        rope_theta: float = 10000.0,
        dropout: float = 0.0,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(vocab_size=vocab_size, num_layers=num_layers, d_model=d_model)
        self.token_embeddings = nn.Embedding(vocab_size, d_model)
        self.layers = nn.ModuleList(
            Block(d_model, num_heads, d_ff, context_length, rope_theta, dropout) for _ in range(num_layers)
        )
        self.ln_final = RMSNorm(d_model)
        self.lm_head = Linear(d_model, vocab_size)
        self.context_length = context_length
        self.d_head = d_model // num_heads
        self.rope_theta = rope_theta
        self.dropout = dropout
        self.checkpoint_activations = checkpoint_activations
        # As CS336 has it, but for the head over a narrow vocabulary. The head reads d_model entries of size 1, so its
        # logits have variance d_model sigma**2, and a fresh loss lies about half of that above log(vocab_size): 1/4, at
        # most, with this cap, and up to 1 without. Tried for 500 updates on bytes, 4 layers of width 128, validation
        # loss 1.66: embeddings of size 0.1 or 0.02 gave 1.73 to 1.75, a head near zero 1.86, residual projections
        # scaled down with the depth, as GPT-2's are, 1.68.
        truncated_normal(self.token_embeddings.weight, 1.0)
        truncated_normal(self.lm_head.weight, min(math.sqrt(2 / (d_model + vocab_size)), math.sqrt(0.5 / d_model)))

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.lm_head(self._hidden(ids))
        return logits

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """`cross_entropy(model(ids), targets)`, without ever holding the logits of more than a part of the tokens.

        ids and targets int64 [batch, seq] -> a 0-d tensor, float32 at least. The head's gradient is worked out along
        with the loss, a part at a time (the idea of Liger: Hsu et al. 2024, arXiv 2410.10989), so that the logits, by
        far the largest array of a small model, exist neither forward nor backward. Targets of another shape than ids
        raise ValueError; a second derivative (`create_graph=True`) raises RuntimeError.
        """
        if targets.shape != ids.shape:
            raise ValueError(f"targets {list(targets.shape)} and ids {list(ids.shape)} must have the same shape")
        hidden = self._hidden(ids).flatten(0, -2)  # [tokens, d_model]
        return head_loss(hidden, self.lm_head.weight, targets.flatten())

    def generate(
        self,
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
    ) -> Tensor:
        """Go on from ids [batch, seq] or [seq]: the same ids with up to `max_new_tokens` more.

        Each is drawn from softmax(logits / temperature), cut to the `top_k` most likely ids and to the fewest of these
        that hold a share of `top_p`; temperature 0 takes the most likely. A row ends with an id of `stop`, and is
        filled up with the first of them while others go on. `seed` makes it repeatable; without one, torch's global
        generator draws. Only ids below `vocab_size` are drawn (a tokenizer's may be smaller than the model's). When the
        context is full the older half is forgotten and the rest read again. `cache=False` works all positions out anew
        for each id: the same, slower. Raises ValueError for settings that make no sense, and for logits that are not
        finite.

        >>> model = TransformerLM(vocab_size=50, context_length=16, d_model=32, num_layers=2, num_heads=4, d_ff=96)
        >>> model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=5, top_k=10, seed=0).shape
        torch.Size([1, 8])
        """
        from lehr.nn.generation import stream

        rows = ids[None] if ids.ndim == 1 else ids
        new = stream(
            self,
            rows,
            max_new_tokens,
            temperature,
            top_k,
            top_p,
            stop=stop,
            seed=seed,
            vocab_size=vocab_size,
            cache=cache,
        )
        out = torch.cat([rows, *(column[:, None].to(rows) for column in new)], dim=1)
        return out[0] if ids.ndim == 1 else out

    def _hidden(self, ids: Tensor) -> Tensor:
        """ids [batch, seq] -> what the head reads, [batch, seq, d_model]."""
        rotation = rotation_of_all(ids.shape[-1], self.context_length, self.d_head, self.rope_theta, ids.device)
        x: Tensor = drop(self.token_embeddings(ids), self.dropout, self.training)
        for layer in self.layers:
            if self.checkpoint_activations and torch.is_grad_enabled():
                x = checkpoint(layer, x, rotation, use_reentrant=False, preserve_rng_state=self.dropout > 0)
            else:
                x = layer(x, rotation)
        x = self.ln_final(x)
        return x
