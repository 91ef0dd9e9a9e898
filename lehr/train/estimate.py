"""What a run takes, before it is begun: the memory of a step."""

from typing import NamedTuple

from lehr.train.config import Config


class Memory(NamedTuple):
    """Bytes: what lasts from step to step, and what a micro-batch keeps between its forward and backward pass."""

    state: int
    activations: int


def memory(config: Config, parameters: int, processes: int = 1, sharded: bool = False) -> Memory:
    """Estimate the memory of a training step in each process, in bytes, over Python's and torch's own few hundred
    megabytes; `sharded` (FSDP) is the state divided among them.

    The state is four float32 numbers a parameter: weight, gradient and AdamW's two moments. The activations are those
    that autograd keeps in `lehr.nn`, counted there with `saved_tensors_hooks` (a test counts again): for each token and
    layer 8 d_model + 3 d_ff numbers in float32, 10 d_model + 3 d_ff in bfloat16, where the layer's weights are copied
    too, and the attention's scores, num_heads context_length, up to a context of 512 on a CPU. The head's logits are
    never held whole.

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
    copies = 4 * model.d_model**2 + 3 * model.d_model * model.d_ff if half else 0
    return Memory(
        16 * parameters // (processes if sharded else 1), model.num_layers * (2 if half else 4) * (numbers + copies)
    )
