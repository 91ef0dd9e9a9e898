"""What a run takes, before it is begun: the memory of a step, and of a save beside it."""

import os
from typing import NamedTuple

from lehr.train.config import Config
from lehr.train.report import count, size


class Memory(NamedTuple):
    """Bytes: what lasts from step to step, what a micro-batch keeps between its forward and backward pass, and the copy
    that is held in the machine's memory while a checkpoint is written.
    """

    state: int
    activations: int
    snapshot: int


def memory(config: Config, parameters: int, processes: int = 1, sharded: bool = False) -> Memory:
    """Estimate the memory of a training step in each process, in bytes, over Python's and torch's own few hundred
    megabytes; `sharded` (FSDP) is the state divided among them.

    The state is four float32 numbers a parameter: weight, gradient and AdamW's two moments; three for the layers'
    matrices under Muon, which has one. The activations are those that autograd keeps in `lehr.nn`, counted there with
    `saved_tensors_hooks` (a test counts again): for each token and layer 8 d_model + 3 d_ff numbers in float32, 10
    d_model + 3 d_ff in bfloat16, where the layer's weights are copied too, and the attention's scores, num_heads
    context_length, up to a context of 512 on a CPU. The head's logits are never held whole. Dropout keeps its draws,
    which on a CPU are as wide as what they are drawn for: two a layer and one for the embeddings, d_model numbers a
    token each. A checkpoint is written from a copy of weights and moments: the state without the gradients. With
    `model.checkpoint_activations` only what goes into a layer is kept, and one layer at a time is whole.

    The peak of a process lies above the sum, by a sixth to a half where it was measured (docs/reliability.md): the
    gradients of a layer's activations are held for a moment, and what is freed is not always given back.

    >>> memory(Config(), parameters=1_870_000).state // 2**20
    28
    """
    model = config.model
    share = config.train.batch_size // processes
    tokens = min(config.train.micro_batch_size or share, share) * model.context_length
    held = config.train.device in ("", "cpu") and model.context_length <= 512
    scores = model.num_heads * model.context_length if held else model.d_model
    half = config.train.precision == "bfloat16"
    numbers = tokens * ((10 if half else 8) * model.d_model + 3 * model.d_ff + scores)
    matrices = 4 * model.d_model**2 + 3 * model.d_model * model.d_ff  # numbers in those of a layer
    copies = matrices if half else 0
    width = 2 if half else 4
    layer = width * (numbers + copies)
    drawn = 0  # for the embeddings
    if model.dropout:
        on_cpu = config.train.device in ("", "cpu")
        layer += 2 * tokens * model.d_model * (width if on_cpu else 1)
        drawn = tokens * model.d_model * (4 if on_cpu else 1)
    kept = model.num_layers * layer
    if model.checkpoint_activations:  # what goes into each layer, and all of one
        kept = model.num_layers * 4 * tokens * model.d_model + layer
    snapshot = 12 * parameters
    if config.optimizer.name == "muon":
        snapshot -= 4 * model.num_layers * matrices
    return Memory((snapshot + 4 * parameters) // (processes if sharded else 1), kept + drawn, snapshot)


def machine_memory() -> int | None:
    """The memory of this machine in bytes, as far as the system says."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows, say
        return None


def check_fits(need: Memory, parameters: int) -> None:
    """Raise ValueError where weights, gradients and moments alone, of all processes here, exceed this machine's memory.

    The system would end the process without a word, after minutes of filling it.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    if (there := machine_memory()) is not None and need.state * here > there:
        several = f" in each of {here} processes" if here > 1 else ""
        raise ValueError(
            f"weights, gradients and moments of {count(parameters)} parameters take {size(need.state)}{several}, and "
            f"this machine has {size(there)}; write a smaller --set model.d_model, model.num_layers or model.d_ff "
            "(--dry-run says what any size takes)"
        )
