"""Memory pages of a training process on Linux: large ones; kept by small models, given back by large ones.

Training on a CPU allocates and frees the same arrays of megabytes at every update. By default glibc hands some of these
back to the system each time, and takes them again page by page of 4 KiB, each zeroed when it is first written: a tenth
of an update's time at 10M parameters. Others it keeps in a heap full of holes, which at 124M parameters is half a GiB
more than is ever in use. (Both in benchmarks/RESULTS.md.) So here is asked for large pages, through torch's own switch,
and then, by the model's size, for keeping what is freed or for giving it back at once.
"""

import ctypes
import os
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # glibc's names for the settings, malloc.h
LARGE = 2**30  # bytes of weights, gradients and moments, from which on memory is worth more than the time it takes

_ours = False  # this process is for training alone


def ask_for_large() -> None:
    """For a process that does nothing but train, before torch is loaded. Elsewhere than on Linux, nothing.

    What the environment says already stays as it is.
    """
    global _ours
    _ours = True
    if sys.platform == "linux":
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch: madvise(MADV_HUGEPAGE) for arrays of 2 MiB and more


def keep_or_return(state: int) -> None:
    """Before the model is made, whose weights, gradients and moments take `state` bytes.

    Nothing is done without `ask_for_large` before, where the environment sets glibc's allocator, or where it is none.
    """
    own = not _ours or any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    mallopt = None if own or sys.platform != "linux" else getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    if state < LARGE:
        mallopt(MMAP_THRESHOLD, 2**25)  # the most that glibc takes: larger arrays are given back all the same
        mallopt(TRIM_THRESHOLD, 2**30)
    else:
        mallopt(MMAP_THRESHOLD, 2**20)
