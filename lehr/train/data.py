"""Ids to batches. A batch is a pure function of (seed, step): no iterator to save or to lose."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lehr.train.corpus import Corpus, load_corpus
from lehr.train.sources import standard_library
from lehr.train.tokens import Tokens

__all__ = ["Corpus", "Windows", "get_batch", "held_out", "load_corpus", "shuffled", "standard_library"]

Ids = NDArray[Any] | Tokens


@dataclass(frozen=True)
class Windows:
    """The training text as windows of `context_length` tokens in a shuffled order that is a function of the seed.

    Every epoch visits each window once, in an order and from an offset of its own. Nothing is kept between batches:
    `batch(step)` costs the same for step 0 and step 10**9. `rows` are those of each batch that are read: on several
    processes each reads its own. Raises ValueError if the text is shorter than one window.
    """

    tokens: Ids
    context_length: int
    batch_size: int
    seed: int
    rows: range | None = None

    def __post_init__(self) -> None:
        need = self.context_length + 1
        if len(self.tokens) < need:
            raise ValueError(
                f"the training text has {len(self.tokens):,} tokens, but one window takes {need:,}; "
                f"give more text or a smaller model.context_length"
            )

    @property
    def count(self) -> int:
        """Windows in an epoch: one fewer than fit, so that each epoch can begin at an offset of its own."""
        return max((len(self.tokens) - 1) // self.context_length - 1, 1)

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and next-token targets of update `step`, int64 [batch, context] each."""
        starts = self.of_batch(step)
        if self.rows is not None:
            starts = starts[self.rows.start : self.rows.stop]
        windows = np.stack([self.tokens[start : start + self.context_length + 1] for start in starts])
        ids = torch.from_numpy(windows.astype(np.int64))
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def of_batch(self, step: int) -> list[int]:
        """The first token of each window of update `step`'s batch."""
        return self.starts(range(step * self.batch_size, (step + 1) * self.batch_size))

    def starts(self, indices: Sequence[int]) -> list[int]:
        """The first token of the windows with these global indices (update * batch_size + row)."""
        slack = len(self.tokens) - 1 - self.count * self.context_length
        starts = []
        for index in indices:
            epoch, position = divmod(index, self.count)
            offset = _hash(self.seed, epoch, 0) % (min(slack, self.context_length - 1) + 1)
            starts.append(offset + shuffled(position, self.count, self.seed, epoch) * self.context_length)
        return starts


def shuffled(position: int, count: int, seed: int, epoch: int) -> int:
    """The element at `position` of a permutation of range(count) keyed by (seed, epoch), in constant time and memory.

    A Feistel network over the next power of four, walked until it lands inside (Black & Rogaway 2002, "Ciphers with
    arbitrary finite domains"; Levanter shuffles its data the same way).

    >>> sorted(shuffled(i, 10, seed=0, epoch=3) for i in range(10))
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    half = max((count - 1).bit_length() + 1, 2) // 2
    mask = (1 << half) - 1
    while True:
        left, right = position >> half, position & mask
        for round_ in range(4):
            left, right = right, left ^ (_hash(seed, epoch, (round_ + 1) << 40 | right) & mask)
        position = left << half | right
        if position < count:
            return position


def _hash(seed: int, epoch: int, value: int) -> int:
    """Mix three numbers into 64 bits."""
    digest = hashlib.blake2b(f"{seed} {epoch} {value}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def held_out(
    tokens: Ids, context_length: int, batch_size: int, batches: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of the held-out split: `batches` of them spread evenly over it, or all of it for 0.

    All of it ends with a shorter window, so that every token but the first is predicted once.
    """
    whole = (len(tokens) - 1) // context_length
    picked = np.arange(whole)
    if batches and batches * batch_size < whole:
        picked = np.linspace(0, whole - 1, batches * batch_size).astype(np.int64)
    for first in range(0, len(picked), batch_size):
        starts = [int(i) * context_length for i in picked[first : first + batch_size]]
        rows = [tokens[start : start + context_length + 1] for start in starts]
        ids = torch.from_numpy(np.stack(rows).astype(np.int64))
        yield ids[:, :-1], ids[:, 1:]
    tail = tokens[whole * context_length :]
    if len(picked) == whole and len(tail) > 1:
        ids = torch.from_numpy(tail.astype(np.int64))[None]
        yield ids[:, :-1], ids[:, 1:]


def get_batch(
    tokens: Ids | torch.Tensor,
    batch_size: int,
    context_length: int,
    device: torch.device | str,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random windows of a 1-d array of ids: (x, y), int64 [batch, context] each, y one token further than x.

    Every start from 0 to len(tokens) - context_length - 1 is equally likely. Raises ValueError if no window fits.

    >>> x, y = get_batch(np.arange(10), batch_size=2, context_length=4, device="cpu")
    >>> x.shape, bool((y == x + 1).all())
    (torch.Size([2, 4]), True)
    """
    possible = len(tokens) - context_length
    if possible < 1:
        raise ValueError(f"{len(tokens)} tokens are too few for a window of {context_length} + 1")
    starts = torch.randint(possible, (batch_size,), generator=generator).tolist()
    rows = [torch.as_tensor(np.asarray(tokens[i : i + context_length + 1]).astype(np.int64)) for i in starts]
    ids = torch.stack(rows)
    return ids[:, :-1].contiguous().to(device), ids[:, 1:].contiguous().to(device)
