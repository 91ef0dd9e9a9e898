"""Gradient clipping by the norm of all gradients, without asking the device for it."""

from collections.abc import Iterable

import torch
from torch import Tensor

from lehr.sharding import global_norm, local


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

    >>> weight = torch.nn.Parameter(torch.zeros(2))
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
