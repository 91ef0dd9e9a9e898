"""A Llama-style language model, and the parts it is made of.

Pre-norm RMSNorm, rotary positions on interleaved pairs, SwiGLU, no biases, an untied head (Touvron et al. 2023,
arXiv 2302.13971): the model of Stanford CS336, assignment 1. Shapes are in the comments: [batch, seq, d_model] runs
through the layers, [batch, heads, seq, d_head] through attention; "..." is any leading axes, none included.
"""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lehr.nn import passes
from lehr.nn.head import head_loss
from lehr.nn.passes import float32_at_least
from lehr.sharding import global_norm, local

__all__ = [
    "Block",
    "RMSNorm",
    "SwiGLU",
    "TransformerLM",
    "cross_entropy",
    "gradient_clipping",
    "rope",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
]


Rotation = tuple[Tensor, Tensor]  # cos and sin of the angle of every position and pair, float32 [..., seq, d_head / 2]


# ---------------------------------------------------------------------------------------------------------------------
# functions


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x), elementwise, in one kernel that keeps nothing but x for the backward pass.

    >>> silu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2689,  0.0000,  0.7311])
    """
    return F.silu(x)


def softmax(x: Tensor, dim: int) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`, computed in float32 at least; the shape and dtype of `x`.

    The maximum is subtracted first, so large values do not overflow. A row that is -inf throughout (or holds +inf or
    NaN) has no softmax and comes out as NaN, as from `torch.softmax`: it shows, instead of passing for zeros.

    >>> softmax(torch.tensor([[1e4, 1e4], [0.0, float("-inf")]]), dim=-1)
    tensor([[0.5000, 0.5000],
            [1.0000, 0.0000]])
    """
    wide = float32_at_least(x)
    weights = torch.exp(wide - wide.amax(dim, keepdim=True).detach())  # the result does not depend on the shift
    return (weights / weights.sum(dim, keepdim=True)).to(x.dtype)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over all positions of -log softmax(logits)[target]: a 0-d tensor, float32 at least.

    logits [..., vocab] and int64 targets [...]. Value and gradient are finite for every finite logit. Targets of
    another shape raise ValueError; a target outside 0 .. vocab - 1 is torch's own error (there is no ignored index).

    >>> cross_entropy(torch.zeros(2, 3, 10), torch.zeros(2, 3, dtype=torch.int64))  # log(10)
    tensor(2.3026)
    """
    if targets.shape != logits.shape[:-1]:  # gather would take a smaller one in silence
        raise ValueError(f"targets {list(targets.shape)} do not fit logits {list(logits.shape)}: all but the last axis")
    wide = float32_at_least(logits)
    return (wide.logsumexp(-1) - wide.gather(-1, targets.unsqueeze(-1)).squeeze(-1)).mean()


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d_head)) v (Vaswani et al. 2017, arXiv 1706.03762), as it is written.

    q [..., queries, d_head], k [..., keys, d_head], v [..., keys, d_value], and a boolean mask that broadcasts to
    [..., queries, keys], True where a query attends a key: -> [..., queries, d_value]. A query that may attend no key
    gets zeros, and passes no gradient on. A mask of another dtype raises TypeError: 0 and -inf mean the opposite.

    >>> q = k = v = torch.eye(2)
    >>> scaled_dot_product_attention(q, k, v, torch.tensor([[True, False], [True, True]]))
    tensor([[1.0000, 0.0000],
            [0.3302, 0.6698]])
    """
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask must be boolean, True where a query attends a key, got {mask.dtype}")
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [..., queries, keys]
    if mask is None:
        return softmax(scores, dim=-1) @ v
    # The least float, not -inf: a row without any key stays finite until its weights are taken away below.
    weights = softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=-1)
    return weights.masked_fill(~mask, 0) @ v


def rope(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864): the shape and dtype of `x`.

    x [..., seq, d_head]; whole positions [seq], or [..., seq] that broadcast against x's leading axes ([batch, 1, seq]
    for heads). Pair (2i, 2i + 1) turns by position * theta**(-2i / d_head), computed in float32 whatever the dtype of
    `x`: bfloat16 would round position 1001 to 1000. An odd d_head raises ValueError.

    >>> rope(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]), 10000.0)  # cos and sin of 0 and 1
    tensor([[1.0000, 0.0000],
            [0.5403, 0.8415]])
    """
    return _rotate(x, *_rotation(positions, x.shape[-1], theta))


def _rotation(positions: Tensor, d_head: int, theta: float) -> Rotation:
    if d_head % 2:
        raise ValueError(f"rotary positions turn pairs, so d_head must be even, got {d_head}")
    pairs = torch.arange(0, d_head, 2, dtype=torch.float32, device=positions.device)
    angles = positions.unsqueeze(-1).float() * theta ** (-pairs / d_head)
    return angles.cos(), angles.sin()


def _rotation_of_all(seq: int, context_length: int, d_head: int, theta: float, device: torch.device) -> Rotation:
    """The rotation of positions 0 .. seq - 1.

    Worked out anew for each forward pass, which costs microseconds: a table kept as a buffer would be rounded by
    `.bfloat16()`, would have to follow the model from device to device, and would be empty after `.to_empty()`.
    """
    if seq > context_length:
        raise ValueError(f"the sequence is {seq} long, but the model was made for a context_length of {context_length}")
    return _rotation(torch.arange(seq, device=device), d_head, theta)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    if x.device.type == "cpu" and not torch.compiler.is_compiling():  # the compiler has no complex numbers
        turned: Tensor = passes.Turn.apply(x, torch.complex(cos, sin).to(_complex_of(x)))
        return turned
    wide = float32_at_least(x)
    even, odd = wide[..., 0::2], wide[..., 1::2]  # [..., seq, d_head / 2] each
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)


def gradient_clipping(
    parameters: Tensor | Iterable[Tensor],
    max_l2_norm: float | None = None,
    eps: float = 1e-6,
    *,
    max_norm: float | None = None,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients in place so that their L2 norm, taken together, is at most `max_l2_norm`.

    Returns the norm before clipping, a 0-d tensor on the first gradient's device, without waiting for it: gradients
    above the maximum are multiplied by maximum / (norm + eps), the others by 1 (Pascanu et al. 2013, arXiv 1211.5063).
    Parameters without a gradient are passed over; without any gradient the norm is 0. If a gradient is NaN or inf so
    is the norm, and the clipped gradients are not to be used; `error_if_nonfinite=True` raises RuntimeError instead and
    leaves them alone (and must wait for the device to know). Of gradients that are split over processes (DTensor) it is
    the norm of all. `max_norm` is torch's name for `max_l2_norm`: both, or neither, raise TypeError; a negative or NaN
    maximum raises ValueError.

    >>> weight = nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> gradient_clipping([weight], 1.0), weight.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    if (max_l2_norm is None) == (max_norm is None):
        given = "neither" if max_norm is None else "both"
        raise TypeError(f"gradient_clipping takes one maximum, max_l2_norm or its alias max_norm; {given} given")
    maximum = max_norm if max_l2_norm is None else max_l2_norm
    if maximum is None or not maximum >= 0:  # NaN included
        raise ValueError(f"the maximum norm must be 0 or more, got {maximum!r}")

    tensors = [parameters] if isinstance(parameters, Tensor) else parameters
    grads = [tensor.grad.detach() for tensor in tensors if tensor.grad is not None]
    norm = global_norm(grads)
    if error_if_nonfinite and not norm.isfinite():
        raise RuntimeError(f"the norm of the gradients is {norm.item()}; they have not been clipped")
    # Multiplying by 1 costs less than asking the device whether to. A NaN norm is not <= maximum: it spreads.
    factor = torch.where(norm <= maximum, 1.0, maximum / (norm + eps))
    for device in {grad.device for grad in grads}:
        torch._foreach_mul_([local(grad) for grad in grads if grad.device == device], factor.to(device))
    return norm


def _complex_of(x: Tensor) -> torch.dtype:
    return torch.complex128 if x.dtype == torch.float64 else torch.complex64


# ---------------------------------------------------------------------------------------------------------------------
# modules


class Linear(nn.Linear):
    """x [..., d_in] -> x W^T [..., d_out], without bias; W [d_out, d_in] starts as CS336 has it."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__(d_in, d_out, bias=False)

    def reset_parameters(self) -> None:  # nn.Linear calls it
        _truncated_normal(self.weight, math.sqrt(2 / (self.in_features + self.out_features)))


class RMSNorm(nn.Module):
    """x / sqrt(mean(x**2) + eps) * weight over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467).

    x [..., d_model] -> the same shape and dtype; computed in float32 at least. Under autocast the result is in its
    dtype, once for all the matrix products that read it. A d_model below 1 raises ValueError.

    >>> RMSNorm(2)(torch.tensor([3.0, 4.0])).detach() * 12.5**0.5
    tensor([3.0000, 4.0000])
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        _check_sizes(d_model=d_model)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = passes.Norm.apply(float32_at_least(x), self.weight, self.eps, passes.autocast_dtype(x))
        return y

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


class SwiGLU(nn.Module):
    """w2(silu(w1 x) * w3 x), a gated feed-forward layer (Shazeer 2020, arXiv 2002.05202).

    x [..., d_model] -> [..., d_model], through d_ff. Sizes below 1 raise ValueError.

    >>> SwiGLU(d_model=8, d_ff=24)(torch.zeros(2, 5, 8)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        _check_sizes(d_model=d_model, d_ff=d_ff)
        self.w1 = Linear(d_model, d_ff)
        self.w2 = Linear(d_ff, d_model)
        self.w3 = Linear(d_model, d_ff)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.w2(passes.Gate.apply(self.w1(x), self.w3(x)))
        return y


class Attention(nn.Module):
    """Causal self-attention with rotary positions; x [..., seq, d_model] -> the same shape."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = Linear(d_model, d_model)
        self.k_proj = Linear(d_model, d_model)
        self.v_proj = Linear(d_model, d_model)
        self.output_proj = Linear(d_model, d_model)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)  # [..., heads, seq, d_head]
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = _causal_attention(_rotate(q, *rotation), _rotate(k, *rotation), v)
        y: Tensor = self.output_proj(attended.transpose(-3, -2).flatten(-2))
        return y


def _causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What `scaled_dot_product_attention` gives for a lower triangular mask, the fastest way on q's device."""
    seq = q.shape[-2]
    if q.device.type != "cpu" or seq > 512:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    # On a CPU with bfloat16 instructions this is three times as fast, forward and backward, as torch's fused kernel up
    # to 512 positions, and in float32 no slower; beyond, the [seq, seq] scores fall out of the cache. The product adds
    # the mask, and so saves a pass over the scores.
    future = torch.full((seq, seq), -math.inf, dtype=q.dtype, device=q.device).triu(1)
    q, k = (x.reshape(-1, *x.shape[-2:]) for x in (q, k))  # [batch * heads, seq, d_head]
    scores = torch.baddbmm(future, q, k.transpose(-2, -1), alpha=1 / math.sqrt(q.shape[-1]))
    attended = torch.softmax(scores, dim=-1) @ v.reshape(-1, *v.shape[-2:])
    return attended.view(v.shape)


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + SwiGLU(norm(x)); x [batch, seq, d_model] -> the same shape.

    `TransformerLM` hands one `rotation`, the cosines and sines of the positions, to all its blocks; a block alone works
    it out. While training, `dropout` zeroes that share of what each branch adds (and scales up the rest), drawn from
    torch's global generator. ValueError: a size below 1, a d_model that does not split into heads of an even size, a
    theta that is not positive, a dropout outside [0, 1); when called, a sequence longer than context_length.

    >>> Block(d_model=16, num_heads=2, d_ff=48, context_length=32, rope_theta=10000.0)(torch.zeros(2, 5, 16)).shape
    torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        context_length: int,
        rope_theta: float,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_sizes(d_model=d_model, num_heads=num_heads, d_ff=d_ff, context_length=context_length)
        _check_dropout(dropout)
        if d_model % num_heads:
            raise ValueError(f"d_model {d_model} does not divide into {num_heads} heads")
        if (d_model // num_heads) % 2:
            raise ValueError(
                f"d_model {d_model} in {num_heads} heads gives each an odd size, {d_model // num_heads}; "
                "rotary positions turn pairs, so it must be even"
            )
        if not rope_theta > 0:
            raise ValueError(f"rope_theta must be positive, got {rope_theta!r}")
        self.context_length = context_length
        self.d_head = d_model // num_heads
        self.rope_theta = rope_theta
        self.dropout = dropout
        self.ln1 = RMSNorm(d_model)
        self.attn = Attention(d_model, num_heads)
        self.ln2 = RMSNorm(d_model)
        self.ffn = SwiGLU(d_model, d_ff)

    def forward(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        if rotation is None:
            rotation = _rotation_of_all(x.shape[-2], self.context_length, self.d_head, self.rope_theta, x.device)
        x = x + _drop(self.attn(self.ln1(x), rotation), self.dropout, self.training)
        x = x + _drop(self.ffn(self.ln2(x)), self.dropout, self.training)
        return x


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
        _check_sizes(vocab_size=vocab_size, num_layers=num_layers, d_model=d_model)
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
        _truncated_normal(self.token_embeddings.weight, 1.0)
        _truncated_normal(self.lm_head.weight, min(math.sqrt(2 / (d_model + vocab_size)), math.sqrt(0.5 / d_model)))

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
        rotation = _rotation_of_all(ids.shape[-1], self.context_length, self.d_head, self.rope_theta, ids.device)
        x: Tensor = _drop(self.token_embeddings(ids), self.dropout, self.training)
        for layer in self.layers:
            if self.checkpoint_activations and torch.is_grad_enabled():
                x = checkpoint(layer, x, rotation, use_reentrant=False)
            else:
                x = layer(x, rotation)
        x = self.ln_final(x)
        return x


def _drop(x: Tensor, share: float, training: bool) -> Tensor:
    """Dropout; at 0 not even a call, and nothing drawn."""
    return F.dropout(x, share) if share and training else x


# ---------------------------------------------------------------------------------------------------------------------
# construction


def _truncated_normal(weight: Tensor, sigma: float) -> None:
    nn.init.trunc_normal_(weight, 0.0, sigma, -3 * sigma, 3 * sigma)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"{name} must be a whole number above 0, got {size!r}")


def _check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is a share in [0, 1), got {dropout!r}")
