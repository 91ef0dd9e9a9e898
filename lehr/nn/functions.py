"""The functions of a transformer, each as its formula reads."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lehr.nn.passes import float32_at_least


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
