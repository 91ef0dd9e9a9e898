"""The loss of a head over a vocabulary, with the logits of a part of the tokens at a time."""

import math
from typing import Any

import torch
from torch import Tensor

from lehr.nn.passes import autocast_dtype, float32_at_least

AT_ONCE = 4096  # ids of the vocabulary, in the sum of the head's gradient


def head_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """cross_entropy(hidden weight^T, targets); hidden [tokens, d_model], weight [vocab, d_model], targets [tokens]."""
    # 4M logits (16 MB) stay in a CPU's cache and are enough work for one matrix product; an accelerator wants more.
    at_once = 2**22 if hidden.device.type == "cpu" else 2**26
    rows = max(1, min(at_once // weight.shape[0], math.ceil(hidden.shape[0] / 4)))
    with_grad = torch.is_grad_enabled()  # always off inside the function
    loss: Tensor = _HeadLoss.apply(hidden, weight, targets, rows, autocast_dtype(hidden), with_grad)
    return loss


class _HeadLoss(torch.autograd.Function):
    """The gradient is worked out in the forward pass, while a part's logits are at hand, and scaled in the backward.

    torch 2.13 has the same idea in `F.linear_cross_entropy`, but it does not follow autocast (off by 2e-5 there, and at
    half the speed), drops targets of -100 in silence, and by default holds all logits of a small vocabulary.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int, dtype: torch.dtype, with_grad: bool
    ) -> Tensor:
        wanted = (with_grad and ctx.needs_input_grad[0], with_grad and ctx.needs_input_grad[1])
        losses, *ctx.grads = _head_losses(hidden, weight, targets, rows, dtype, wanted)
        ctx.save_for_backward(hidden, weight, targets)
        ctx.settings = rows, dtype, wanted
        return losses.mean()

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True, to which these gradients would be constants
            raise RuntimeError("loss() can be differentiated once; use cross_entropy(model(ids), targets) for more")
        # They are scaled in place and handed on, as the head's is as large as the head; a second pass through a graph
        # that was kept works them out again.
        grads, ctx.grads = ctx.grads or _head_losses(*ctx.saved_tensors, *ctx.settings)[1:], None
        scale = d_loss / len(ctx.saved_tensors[2])
        d_hidden, d_weight = (None if grad is None else grad.mul_(scale) for grad in grads)
        return d_hidden, d_weight, None, None, None, None


def _head_losses(
    hidden: Tensor, weight: Tensor, targets: Tensor, rows: int, dtype: torch.dtype, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The loss of each token, and the gradients of their sum with respect to hidden and weight, where `wanted`."""
    head = weight.to(dtype)
    losses = []
    d_hidden = torch.empty_like(hidden) if wanted[0] else None
    d_weight = torch.zeros_like(float32_at_least(weight)) if wanted[1] else None
    for start in range(0, len(targets), rows):
        part = slice(start, start + rows)
        x, target = hidden[part].to(dtype), targets[part].unsqueeze(-1)
        logits = float32_at_least(x @ head.T)  # [rows, vocab], rounded to dtype as the whole logits would be
        log_sum = logits.logsumexp(-1, keepdim=True)
        losses.append(log_sum - logits.gather(-1, target))
        # The gradient of a token's loss with respect to its logits is softmax - onehot(target).
        softmax_ = logits.sub_(log_sum).exp_()  # in place: the logits are not needed any more
        d_logits = softmax_.scatter_add_(-1, target, torch.full_like(log_sum, -1.0)).to(dtype)
        if d_hidden is not None:
            d_hidden[part] = d_logits @ head
        if d_weight is not None:
            if dtype == d_weight.dtype:
                d_weight.addmm_(d_logits.T, x)  # saves a [vocab, d_model] array for each part
            else:  # on a CPU a few rows at a time: the sum of two dtypes first makes a wide copy of one there
                few_ids = AT_ONCE if weight.device.type == "cpu" else len(weight)
                for few, ids in zip(d_weight.split(few_ids), d_logits.T.split(few_ids), strict=True):
                    few += ids @ x
    return torch.cat(losses), d_hidden, d_weight
