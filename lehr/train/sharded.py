"""A model on several processes: its loss, and its state gathered into one and spread out again.

Data-parallel (DDP: each process has the whole model, gradients are averaged) or fully sharded (FSDP2: each has a part
of every parameter, gradient and moment; Zhao et al. 2023, arXiv 2304.11277; Rajbhandari et al. 2020, arXiv 1910.02054).

A checkpoint is the one file set that a process alone writes. Tensors are gathered to process 0 one at a time; nobody
holds a second whole model but the copy in process 0's memory that is being written. torch.distributed.checkpoint would
write from every process at once, but puts a pickle beside (which executes code when it is read), needs a file system
that all see, and leaves files that `lehr sample`, `export` and others' safetensors readers cannot open.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lehr.nn import TransformerLM
from lehr.optimizer import AdamW
from lehr.sharding import is_split
from lehr.train import snapshot
from lehr.train.parallel import World

Loss = Callable[[Tensor, Tensor], Tensor]


class Replica(nn.Module):
    """A model whose forward pass is its loss, as DDP wants it."""

    def __init__(self, model: TransformerLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        return self.model.loss(ids, targets)


def wrapped(model: TransformerLM, world: World) -> nn.Module:
    """The model as the processes of `world` train it, each of which holds the same weights: its parameters change to
    DTensors under FSDP, so that the optimizer is made after this.
    """
    if world.mode == "ddp":
        # buckets instead of copies: gradients are there once, not twice
        return nn.parallel.DistributedDataParallel(Replica(model), gradient_as_bucket_view=True)
    if world.mode == "fsdp":
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        device = next(model.parameters()).device.type
        mesh = dist.device_mesh.init_device_mesh(device, (world.size,))
        for layer in model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        register_fsdp_forward_method(model, "loss")
    return model


def loss_of(model: nn.Module) -> Loss:
    """The training loss of what `wrapped` returned."""
    loss: Any = model if isinstance(model, nn.parallel.DistributedDataParallel) else model.loss
    found: Loss = loss
    return found


def accumulating(model: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """The context of a micro-batch, forward and backward: gradients are exchanged once an update, in the last."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return nullcontext() if last else model.no_sync()
    if (choose := getattr(model, "set_requires_gradient_sync", None)) is not None:  # FSDP's
        choose(last)
    return nullcontext()


# ---------------------------------------------------------------------------------------------------------------------
# gathered and spread


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; of a split one, which all processes have to ask for, put together."""
    gathered: Tensor = tensor.full_tensor() if is_split(tensor) else tensor  # type: ignore[attr-defined]
    return gathered


def take(
    model: nn.Module, optimizer: torch.optim.Optimizer, step: int, facts: dict[str, Any], world: World
) -> snapshot.Snapshot | None:
    """`snapshot.take`, on process 0, of what all hold and of all random states; elsewhere None."""
    randoms = world.gather(snapshot.random_states())
    if not world.rank:
        return snapshot.take(model, optimizer, step, facts, whole, randoms)
    for tensor in snapshot.tensors(model, optimizer):  # in the same order
        whole(tensor)
    return None


def load(model: nn.Module, optimizer: AdamW, state: dict[str, Any] | None, world: World) -> dict[str, Any]:
    """Spread what process 0 read from a checkpoint, `state`; return the facts of it that are no tensors.

    The random states are those saved for the same rank; a process that the run did not have then keeps its own.
    """
    here = model.state_dict()
    tensors, facts = {}, None
    if state is not None:
        moments = state["optimizer"]["state"]
        tensors = dict(state["model"])
        tensors |= {f"{i}.{key}": value for i, s in moments.items() for key, value in s.items() if key != "step"}
        steps = {i: float(s["step"]) for i, s in moments.items()}
        facts = {"step": state["step"], "data": state["data"], "steps": steps, "processes": len(state["random"])}
    known: dict[str, Any] = world.tell(facts)
    for name, tensor in here.items():
        spread(tensors.get(name), tensor)
    parameters = [(p, group) for group in optimizer.param_groups for p in group["params"]]
    optimizer.state.clear()
    for index, count in known["steps"].items():
        own = optimizer.state_of(*parameters[index])
        own["step"].fill_(count)
        for key in sorted(own.keys() - {"step"}):
            spread(tensors.get(f"{index}.{key}"), own[key])
    randoms = [] if state is None else [*state["random"], *[None] * world.size][: world.size]
    if (mine := world.hand_out(randoms)) is not None:
        snapshot.restore_random(mine)
    return known


@torch.no_grad()
def spread(source: Tensor | None, target: Tensor) -> None:
    """Copy process 0's `source` (the others have None) into `target` on all, each its part where that is split."""
    if not is_split(target):
        if source is not None:
            target.copy_(source)
        dist.broadcast(target, src=0)
        return
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(target, DTensor)
    full = torch.empty(target.shape, dtype=target.dtype, device=target.device) if source is None else source
    split = distribute_tensor(full.to(target.device, target.dtype), target.device_mesh, target.placements)
    target.to_local().copy_(split.to_local())


def alone(model: TransformerLM, make: Callable[[], TransformerLM], world: World) -> TransformerLM:
    """A model that process 0 can use without the others, made by `make` where theirs is split. All have to call it."""
    if world.mode != "fsdp":
        return model
    gathered = {}
    for name, tensor in model.state_dict().items():
        full = whole(tensor)
        if not world.rank:
            gathered[name] = full
    if world.rank:
        return model
    single = make()
    single.load_state_dict(gathered)
    return single
