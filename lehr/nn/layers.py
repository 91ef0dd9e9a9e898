"""The modules that a layer of the model is made of, and the layer."""

import math
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lehr.nn import passes
from lehr.nn.passes import float32_at_least
from lehr.nn.rotary import Rotation, rotate, rotation_of_all


class Linear(nn.Linear):
    """x [..., d_in] -> x W^T [..., d_out], without bias; W [d_out, d_in] starts as CS336 has it."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__(d_in, d_out, bias=False)

    def reset_parameters(self) -> None:  # nn.Linear calls it
        truncated_normal(self.weight, math.sqrt(2 / (self.in_features + self.out_features)))


class RMSNorm(nn.Module):
    """x / sqrt(mean(x**2) + eps) * weight over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467).

    x [..., d_model] -> the same shape and dtype; computed in float32 at least. Under autocast the result is in its
    dtype, once for all the matrix products that read it. A d_model below 1 raises ValueError.

    >>> RMSNorm(2)(torch.tensor([3.0, 4.0])).detach() * 12.5**0.5
    tensor([3.0000, 4.0000])
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_sizes(d_model=d_model)
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
        check_sizes(d_model=d_model, d_ff=d_ff)
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
        attended = causal_attention(rotate(q, *rotation), rotate(k, *rotation), v)
        y: Tensor = self.output_proj(attended.transpose(-3, -2).flatten(-2))
        return y


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
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
        check_sizes(d_model=d_model, num_heads=num_heads, d_ff=d_ff, context_length=context_length)
        check_dropout(dropout)
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
            rotation = rotation_of_all(x.shape[-2], self.context_length, self.d_head, self.rope_theta, x.device)
        x = x + drop(self.attn(self.ln1(x), rotation), self.dropout, self.training)
        x = x + drop(self.ffn(self.ln2(x)), self.dropout, self.training)
        return x


def drop(x: Tensor, share: float, training: bool) -> Tensor:
    """Dropout; at 0 not even a call, and nothing drawn."""
    return F.dropout(x, share) if share and training else x


# ---------------------------------------------------------------------------------------------------------------------
# construction


def truncated_normal(weight: Tensor, sigma: float) -> None:
    """Fill `weight` from a normal distribution, cut off at three sigma."""
    nn.init.trunc_normal_(weight, 0.0, sigma, -3 * sigma, 3 * sigma)


def check_sizes(**sizes: int) -> None:
    """Raise ValueError, with its name, for a size that is no whole number above 0."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"{name} must be a whole number above 0, got {size!r}")


def check_dropout(dropout: float) -> None:
    """Raise ValueError for what is no share below 1."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is a share in [0, 1), got {dropout!r}")
