"""Text to tokens to batches. A batch is a pure function of (seed, step): no iterator to save or to lose."""

import hashlib
import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

TOKENIZERS = ("bytes", "char")


@dataclass(frozen=True)
class Tokenizer:
    """Ids to text and back; `alphabet` is None for bytes (an id is a byte), else the sorted distinct characters."""

    alphabet: str | None = None

    @property
    def vocab_size(self) -> int:
        return 256 if self.alphabet is None else len(self.alphabet)

    @property
    def token_bytes(self) -> NDArray[np.int64]:
        """UTF-8 bytes of each token [vocab_size], for bits per byte."""
        if self.alphabet is None:
            return np.ones(256, dtype=np.int64)
        return np.array([len(character.encode()) for character in self.alphabet], dtype=np.int64)

    def encode(self, text: str) -> NDArray[Any]:
        """Return the ids of a text, int64 [tokens]. Raises ValueError naming a character the alphabet lacks."""
        if self.alphabet is None:
            return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)
        position = {character: index for index, character in enumerate(self.alphabet)}
        try:
            return np.array([position[character] for character in text], dtype=np.int64)
        except KeyError as error:
            raise ValueError(f"the character {error.args[0]!r} does not occur in the training text") from None

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; bytes that are not valid UTF-8 show as the replacement character."""
        if self.alphabet is None:
            return bytes(ids).decode("utf-8", errors="replace")
        return "".join(self.alphabet[index] for index in ids)


@dataclass(frozen=True)
class Corpus:
    """A text as ids, cut into a training and a held-out split.

    `train` and `val` are 1-d arrays of ids (uint8, uint16 or uint32); `source` says in words where the text came from.
    """

    tokenizer: Tokenizer
    train: NDArray[Any]
    val: NDArray[Any]
    source: str
    fingerprint: str  # of the whole text: the first 12 hex digits of its sha256


def load_corpus(paths: Sequence[str], tokenizer: str, val_fraction: float) -> Corpus:
    """Read files, or all files in folders, in a fixed order; without paths the source of Python's standard library.

    The held-out split is the last `val_fraction` of the tokens. Raises FileNotFoundError for a path that is not there,
    ValueError for an empty text, an unknown tokenizer, or `char` on a text that is not UTF-8.
    """
    if isinstance(paths, str):  # its letters would be taken for paths
        paths = [paths]
    files = [file for path in paths for file in _files(Path(path))] if paths else list(standard_library())
    raw = b"".join(file.read_bytes() for file in files)
    where = ", ".join(map(str, paths)) or "Python's standard library"
    if not raw:
        raise ValueError(f"{where} has no text in it")
    if tokenizer == "bytes":
        table, ids = Tokenizer(), np.frombuffer(raw, dtype=np.uint8)
    elif tokenizer == "char":
        table, ids = _characters(raw, where)
    else:
        raise ValueError(f"data.tokenizer is one of {', '.join(TOKENIZERS)}, not {tokenizer!r}")
    cut = int(len(ids) * (1 - val_fraction))
    count = f"{len(files):,} file{'s' * (len(files) != 1)}"
    return Corpus(table, ids[:cut], ids[cut:], f"{where}, {count}", hashlib.sha256(raw).hexdigest()[:12])


def standard_library() -> Iterator[Path]:
    """The .py files of Python's standard library, in the order of their names, without its tests and other packages."""
    root = Path(sysconfig.get_path("stdlib"))
    skip = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in skip]  # pruned: other packages may be many
        found += [Path(folder, name) for name in files if name.endswith(".py") and Path(folder, name).is_file()]
    yield from sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        visible = (
            p
            for p in path.rglob("*")
            if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)
        )
        return sorted(visible, key=lambda p: p.relative_to(path).as_posix())
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    return [path]


def _characters(raw: bytes, where: str) -> tuple[Tokenizer, NDArray[Any]]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} is not UTF-8 text (byte {error.start}: {error.reason}); write --set data.tokenizer=bytes"
        ) from None
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    alphabet, ids = np.unique(points, return_inverse=True)
    return Tokenizer("".join(map(chr, alphabet))), ids.astype(np.uint16 if len(alphabet) <= 2**16 else np.uint32)


# ---------------------------------------------------------------------------------------------------------------------
# batches


@dataclass(frozen=True)
class Windows:
    """The training text as windows of `context_length` tokens in a shuffled order that is a function of the seed.

    Every epoch visits each window once, in an order and from an offset of its own. Nothing is kept between batches:
    `batch(step)` costs the same for step 0 and step 10**9. Raises ValueError if the text is shorter than one window.
    """

    tokens: NDArray[Any]
    context_length: int
    batch_size: int
    seed: int

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
    tokens: NDArray[Any], context_length: int, batch_size: int, batches: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of the held-out split: `batches` of them spread evenly over it, or all of it for 0.

    All of it ends with a shorter window, so that every token but the first is predicted once.
    """
    whole = (len(tokens) - 1) // context_length
    picked = np.arange(whole)
    if batches and batches * batch_size < whole:
        picked = np.linspace(0, whole - 1, batches * batch_size).astype(np.int64)
    for first in range(0, len(picked), batch_size):
        rows = [tokens[i * context_length :][: context_length + 1] for i in picked[first : first + batch_size]]
        ids = torch.from_numpy(np.stack(rows).astype(np.int64))
        yield ids[:, :-1], ids[:, 1:]
    tail = tokens[whole * context_length :]
    if len(picked) == whole and len(tail) > 1:
        ids = torch.from_numpy(tail.astype(np.int64))[None]
        yield ids[:, :-1], ids[:, 1:]


def get_batch(
    tokens: NDArray[Any] | torch.Tensor,
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
