"""Memory that is full: torch's many lines about it, told in one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lehr.train import RunFailed
from lehr.train.config import Config


@contextmanager
def told(config: Config, processes: int = 1) -> Iterator[None]:
    """Raise RunFailed where torch finds no memory, on a GPU or on the host, saying what needs less of it."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if isinstance(error, torch.OutOfMemoryError):
            full = "the GPU's memory is full"
        elif "DefaultCPUAllocator" in str(error):
            full = "the memory of this machine does not suffice"
        else:
            raise
        ways = " or with ".join(_ways(config, processes))
        raise RunFailed(f"{full}; less is needed with {ways}; a run that has begun goes on with --resume") from error


def _ways(config: Config, processes: int) -> Iterator[str]:
    """What needs less memory and is not yet so; only sizes of a micro-batch that a process's share divides by."""
    share = config.train.batch_size // processes
    micro = min(config.train.micro_batch_size or share, share)
    if micro > 1:
        fewer = max(size for size in range(1, micro // 2 + 1) if share % size == 0)
        with_dropout = " (in a new run: it changes what dropout draws)" if config.model.dropout else ""
        yield f"--set train.micro_batch_size={fewer}{with_dropout}"
    if not config.model.checkpoint_activations:
        yield "--set model.checkpoint_activations=true"
    yield "a smaller model"
