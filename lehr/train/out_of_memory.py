"""Memory that is full: torch's many lines about it, told in one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lehr.train import RunFailed
from lehr.train.config import Config


@contextmanager
def told(config: Config) -> Iterator[None]:
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
        fewer = max((config.train.micro_batch_size or config.train.batch_size) // 2, 1)
        raise RunFailed(
            f"{full}; less is needed with --set train.micro_batch_size={fewer}, with --set "
            "model.checkpoint_activations=true, and with a smaller model; a run that has begun goes on with --resume"
        ) from error
