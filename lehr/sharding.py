"""Tensors of which each process holds a part (torch's DTensor, as FSDP makes them): the part here, the norm of all."""

import functools
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def is_split(tensor: Any) -> bool:
    """Whether it is a DTensor; torch's module for them is not loaded to find out."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Any) -> Any:
    """What this process holds of a tensor, sharing its memory: of a plain one, and of what is no tensor, itself."""
    return tensor.to_local() if is_split(tensor) else tensor


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The L2 norm of all of them taken together, a 0-d tensor, float32 at least; 0 of none.

    Of tensors that are split it is the norm over all processes, the same on each; all have to ask for it. ValueError if
    they are split in different ways.

    >>> global_norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
    tensor(5.)
    """
    whole = [tensor for tensor in tensors if not is_split(tensor)]
    split: list[Any] = [tensor for tensor in tensors if is_split(tensor)]
    if not split:
        return _norm(whole)
    ways = {(part.device_mesh, tuple(part.placements)) for part in split}
    if len(ways) > 1 or any(placement.is_partial() for part in split for placement in part.placements):
        raise ValueError(
            f"the norm is taken of tensors that are split in one way, not in {len(ways)}, nor of partial ones"
        )
    mesh, placements = next(iter(ways))
    norm = _norm([local(part) for part in split])
    squares = norm.double().square()
    for axis, placement in enumerate(placements):
        if placement.is_shard():
            torch.distributed.all_reduce(squares, group=mesh.get_group(axis))
    if whole:  # not a 0 from the host otherwise, which the device would have to be waited for
        rest = _norm(whole)
        squares, norm = squares + rest.to(squares).square(), norm.to(torch.promote_types(norm.dtype, rest.dtype))
    return squares.sqrt().to(norm.dtype)


def _norm(tensors: list[Tensor]) -> Tensor:
    if not tensors:
        return torch.tensor(0.0)
    wide = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    norms = torch._foreach_norm(tensors, 2, wide)
    norm: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))
    return norm
