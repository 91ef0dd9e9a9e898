"""The model's elementwise parts, each with a backward pass of its own.

Eager autograd keeps an array for every factor of a product, and reads and writes one for every operation; at the width
of a small model that takes longer than the matrix products. Here the backward pass is written by hand: it keeps the
inputs alone and works the rest out again. Each is made of operations that can be differentiated once more.
"""

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


class Norm(torch.autograd.Function):
    """x / sqrt(mean(x**2) + eps) * weight over the last axis, of x in float32 or float64; the result in `dtype`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        rms = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)  # [..., 1]
        ctx.save_for_backward(x, weight, rms)
        ctx.eps = eps
        return (x * rms * weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rms = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative follows, which passes through rms too
            rms = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        d_y, unit = d_y.to(x.dtype), x * rms
        d_unit = d_y * weight
        d_x = (d_unit - unit * (d_unit * unit).mean(-1, keepdim=True)) * rms if ctx.needs_input_grad[0] else None
        d_weight = (d_y * unit).flatten(0, -2).sum(0) if x.ndim > 1 else d_y * unit
        return d_x, d_weight.to(weight.dtype), None, None


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
    wide = x.to(turn.real.dtype).contiguous()
    return torch.view_as_real(torch.view_as_complex(wide.unflatten(-1, (-1, 2))) * turn).flatten(-2).to(x.dtype)


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
