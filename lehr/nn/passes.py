"""The model's elementwise parts, each with a backward pass of its own.

Eager autograd keeps an array for every factor of a product, and reads and writes one for every operation; at the width
of a small model that takes longer than the matrix products. Here the backward pass is written by hand: it keeps the
inputs alone and works the rest out again. Each is made of operations that can be differentiated once more.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def autocast_dtype(x: Tensor) -> torch.dtype:
    """The dtype that a matrix product would take x in: autocast's where it is on, x's own elsewhere."""
    device = x.device.type
    if x.dtype != torch.float64 and torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def exact(device: str) -> AbstractContextManager[Any]:
    """Products in their operands' dtype: a compiled backward pass runs under the autocast of its forward pass."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def float32_at_least(x: Tensor) -> Tensor:
    """x, widened where it is narrower than float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Norm(torch.autograd.Function):
    """x / sqrt(mean(x**2) + eps) * weight over the last axis, of x in float32 or float64; the result in `dtype`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)  # one pass, and no array of squares
        rms = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()  # [..., 1]
        ctx.save_for_backward(x, weight, rms)
        ctx.eps = eps
        y: Tensor = (x * rms).mul_(weight).to(dtype)
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rms = ctx.saved_tensors
        with exact(x.device.type):
            return Norm._backward(ctx, d_y, x, weight, rms)

    @staticmethod
    def _backward(ctx: Any, d_y: Tensor, x: Tensor, weight: Tensor, rms: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # a second derivative follows, which passes through rms too, and nothing in place
            rms = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
            unit = x * rms
            d_unit = d_y.to(x.dtype) * weight
            d_x = (d_unit - unit * (d_unit * unit).mean(-1, keepdim=True)) * rms
            d_weight = (d_y.to(x.dtype) * unit).flatten(0, -2).sum(0) if x.ndim > 1 else d_y.to(x.dtype) * unit
            return d_x, d_weight.to(weight.dtype), None, None
        # The same with one new array instead of six: both sums are matrix-vector products of d_y * x.
        x = x.contiguous()  # as it mostly is; a transposed x or d_y has no rows of tokens to look at
        d_y = d_y.to(x.dtype, copy=True, memory_format=torch.contiguous_format)
        product = (d_y * x).view(-1, x.shape[-1])  # [tokens, d_model]
        d_weight = rms.reshape(1, -1) @ product  # [1, d_model]
        along = (product @ weight.to(x.dtype)).view(rms.shape).mul_(rms.pow(3)).div_(x.shape[-1])
        d_x = d_y.mul_(weight).mul_(rms).addcmul_(x, along, value=-1)
        return d_x, d_weight.view_as(weight).to(weight.dtype), None, None


class Turn(torch.autograd.Function):
    """Pairs (2i, 2i + 1) of x [..., seq, d_head] turned as complex numbers by `turn` [..., seq, d_head / 2]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, turn: Tensor) -> Tensor:
        ctx.save_for_backward(turn)
        return _turned(x, turn)

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        (turn,) = ctx.saved_tensors
        return _turned(d_y, turn.conj()), None  # the turn back


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    # one copy widens x, and brings heads that were cut out of a projection into a row; the turn is in place
    wide = x.to(turn.real.dtype, copy=True, memory_format=torch.contiguous_format)
    return torch.view_as_real(torch.view_as_complex(wide.unflatten(-1, (-1, 2))).mul_(turn)).flatten(-2).to(x.dtype)


class Gate(torch.autograd.Function):
    """silu(a) * b, elementwise."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return F.silu(a) * b

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        return torch.ops.aten.silu_backward(d_y * b, a), d_y * F.silu(a)
