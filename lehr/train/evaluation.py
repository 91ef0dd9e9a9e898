"""The loss on text that is not trained on."""

import itertools
import math
from typing import Any

import torch

from lehr.train.data import held_out
from lehr.train.setup import Parts
from lehr.train.signals import Asked


@torch.no_grad()
def validation(parts: Parts, asked: Asked | None = None) -> dict[str, Any] | None:
    """The mean loss over held-out windows: val_loss (nats per token), val_bpb (bits per byte, None where the bytes of
    the tokens are not known), val_tokens.

    Processes take turns at the batches, and all return the whole. None if `asked.stop` came on one of them in the
    middle: a run that is to end does not first finish a long evaluation.
    """
    settings, world = parts.config.train, parts.world
    asked = asked or Asked()
    sizes = torch.from_numpy(parts.corpus.tokenizer.token_bytes)
    batches = held_out(
        parts.corpus.val, parts.config.model.context_length, settings.micro_batch_size, settings.eval_batches
    )
    stopped, total, tokens, size = False, 0.0, 0, 0
    parts.model.eval()
    while round_ := list(itertools.islice(batches, world.size)):
        if stopped := bool(sum(world.sums(asked.stop))):
            break
        # in the last round some have nothing to do; under FSDP they still have to lend their part of the weights
        x, y = round_[min(world.rank, len(round_) - 1)]
        with parts.autocast():
            loss = parts.model.loss(x.to(parts.device), y.to(parts.device))
        if world.rank < len(round_):
            total += loss.item() * y.numel()
            tokens += y.numel()
            size += int(sizes[y].sum())
    parts.model.train()
    if stopped:
        return None
    loss_sum, token_count, byte_count = world.sums(total, tokens, size)
    bits = loss_sum / math.log(2)
    return {
        "val_loss": loss_sum / token_count,
        "val_bpb": bits / byte_count if byte_count else None,
        "val_tokens": int(token_count),
    }
