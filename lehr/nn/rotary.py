"""Rotary positions: the angles of every position, and vectors turned by them."""

import torch
from torch import Tensor

from lehr.nn import passes
from lehr.nn.passes import float32_at_least

Rotation = tuple[Tensor, Tensor]  # cos and sin of the angle of every position and pair, float32 [..., seq, d_head / 2]


def rope(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864): the shape and dtype of `x`.

    x [..., seq, d_head]; whole positions [seq], or [..., seq] that broadcast against x's leading axes ([batch, 1, seq]
    for heads). Pair (2i, 2i + 1) turns by position * theta**(-2i / d_head), computed in float32 whatever the dtype of
    `x`: bfloat16 would round position 1001 to 1000. An odd d_head raises ValueError.

    >>> rope(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]), 10000.0)  # cos and sin of 0 and 1
    tensor([[1.0000, 0.0000],
            [0.5403, 0.8415]])
    """
    return rotate(x, *rotation_at(positions, x.shape[-1], theta))


def rotation_at(positions: Tensor, d_head: int, theta: float) -> Rotation:
    """The rotation of these positions; an odd d_head raises ValueError."""
    if d_head % 2:
        raise ValueError(f"rotary positions turn pairs, so d_head must be even, got {d_head}")
    pairs = torch.arange(0, d_head, 2, dtype=torch.float32, device=positions.device)
    angles = positions.unsqueeze(-1).float() * theta ** (-pairs / d_head)
    return angles.cos(), angles.sin()


def rotation_of_all(seq: int, context_length: int, d_head: int, theta: float, device: torch.device) -> Rotation:
    """The rotation of positions 0 .. seq - 1.

    Worked out anew for each forward pass, which costs microseconds: a table kept as a buffer would be rounded by
    `.bfloat16()`, would have to follow the model from device to device, and would be empty after `.to_empty()`.
    """
    if seq > context_length:
        raise ValueError(f"the sequence is {seq} long, but the model was made for a context_length of {context_length}")
    return rotation_at(torch.arange(seq, device=device), d_head, theta)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [..., seq, d_head] turned by a rotation."""
    if x.device.type in ("cpu", "cuda") and not torch.compiler.is_compiling():  # it has no complex numbers
        wide_turn = torch.complex128 if x.dtype == torch.float64 else torch.complex64
        turned: Tensor = passes.Turn.apply(x, torch.complex(cos, sin).to(wide_turn))
        return turned
    wide = float32_at_least(x)
    even, odd = wide[..., 0::2], wide[..., 1::2]  # [..., seq, d_head / 2] each
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)
