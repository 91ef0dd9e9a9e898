"""One of two processes of test_sharding.py: a model split over both and a whole one are updated alike.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=... MASTER_PORT=... python tests/split_worker.py
"""

import os
import sys

import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard

from lehr import sharding
from lehr.nn import TransformerLM, gradient_clipping
from lehr.optimizer import AdamW, param_groups
from lehr.sharding import global_norm, is_split, local


def grads(model):
    return [p.grad for p in model.parameters()]


def pair():
    """The same model, split and whole, each with its optimizer; one row of the token embeddings for a process alone."""
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(TransformerLM(vocab_size=1, context_length=8, d_model=6, num_layers=1, num_heads=1, d_ff=5))
    fully_shard(models[0])
    return models


def backward(split, whole):
    torch.manual_seed(1)
    for parameter in whole.parameters():
        parameter.grad = torch.randn(parameter.shape)
    for parameter, like in zip(split.parameters(), whole.parameters(), strict=True):
        from torch.distributed.tensor import distribute_tensor

        parameter.grad = distribute_tensor(like.grad.clone(), parameter.device_mesh, parameter.placements)


def same(split, whole):
    for (name, part), tensor in zip(split.state_dict().items(), whole.state_dict().values(), strict=True):
        torch.testing.assert_close(part.full_tensor(), tensor, rtol=1e-6, atol=1e-7, msg=name)


if __name__ == "__main__":  # pytest looks for doctests in it
    dist.init_process_group("gloo")
    monkeypatch = pytest.MonkeyPatch()
    for folded in (False, True):  # the clip inside the update, and before it
        split, whole = pair()
        optimizers = [
            AdamW(param_groups(model, 0.1), lr=0.1, max_grad_norm=0.5 if folded else None) for model in (split, whole)
        ]
        for step in range(4):
            backward(split, whole)
            assert is_split(grads(split)[0]) and local(grads(split)[0]).shape[0] == 1 - dist.get_rank()
            with monkeypatch.context() as patch:  # 0, of none, would be a number from the host that a GPU waits for
                patch.setattr(
                    sharding, "_norm", lambda tensors, norm=sharding._norm: norm(tensors) if tensors else 1 / 0
                )
                torch.testing.assert_close(global_norm(grads(split)), global_norm(grads(whole)))
            mixed = [grads(split)[0], *grads(whole)[1:]]
            torch.testing.assert_close(global_norm(mixed), global_norm(grads(whole)))
            if not folded:
                norms = [gradient_clipping(model.parameters(), 0.5) for model in (split, whole)]
                torch.testing.assert_close(*norms)
            skip = torch.tensor(step == 2)
            for optimizer in optimizers:
                optimizer.step(skip=skip)
            if folded and step != 2:
                torch.testing.assert_close(optimizers[0].last_grad_norm, optimizers[1].last_grad_norm)
            same(split, whole)
        assert is_split(optimizers[0].state[next(split.parameters())]["exp_avg"])
    print("same")
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)
