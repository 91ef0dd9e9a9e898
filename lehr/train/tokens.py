"""Token ids on the disk: `.npy` and `.bin` arrays, and the shards of `lehr tokenize`, read as one array."""

import bisect
import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lehr.train import RunFailed
from lehr.train.sources import MANIFEST, Source

DTYPES = ("uint8", "uint16", "uint32")
BLOCK = 2**24  # ids read at once where a whole file is gone through


@dataclass(frozen=True)
class Part:
    """A file of ids, mapped into memory, and what it was when it was opened."""

    path: Path
    ids: NDArray[Any]
    stamp: tuple[int, int]  # size in bytes, time of the last change in ns

    def check(self) -> None:
        """Raise RunFailed if the file is not what it was: a mapped file that shrinks would kill the process."""
        try:
            stamp = _stamp(self.path)
        except OSError:
            raise RunFailed(f"{self.path} vanished while it was read; put it back, and go on with --resume") from None
        if stamp != self.stamp:
            raise RunFailed(f"{self.path} was changed while it was read; put the old one back, and go on with --resume")


@dataclass(frozen=True)
class Tokens:
    """Ids `begin` to `end` of several files, one after the other: `len` and slices; nothing is read before it is asked
    for. A slice is an array of its own. Raises RunFailed if a file vanished or was changed.
    """

    parts: tuple[Part, ...]
    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin

    def __getitem__(self, key: slice) -> NDArray[Any]:
        start, stop, step = key.indices(len(self))
        if step != 1:
            raise ValueError(f"ids are read one after the other, not every {step}th")
        start, stop = self.begin + start, self.begin + max(start, stop)
        found: list[NDArray[Any]] = []
        first = max(bisect.bisect_right(self._starts, start) - 1, 0)
        for part, offset in zip(self.parts[first:], self._starts[first:], strict=True):
            if offset >= stop and found:
                break
            part.check()
            found.append(part.ids[max(start - offset, 0) : max(stop - offset, 0)])
        return np.concatenate(found)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *itertools.accumulate(len(part.ids) for part in self.parts)][:-1]

    def between(self, begin: int, end: int) -> "Tokens":
        """A part of it, not read yet."""
        return Tokens(self.parts, self.begin + begin, self.begin + end)


@dataclass(frozen=True)
class Read:
    """Arrays that were opened and gone through once.

    `tokenizer`: the file that made them, and `made_by` its fingerprint, where they are known.
    """

    tokens: Tokens
    fingerprint: str
    highest: int
    tokenizer: Path | None = None
    made_by: str = ""


def read(sources: Sequence[Source], dtype: str) -> Read:
    """Open arrays and check every id. `dtype` is that of `.bin` files, which do not say.

    Raises ValueError for a file that is damaged, no array of whole numbers, or not finished.
    """
    folders = [source.path for source in sources if source.path.is_dir()]
    if folders and len(sources) > 1:
        raise ValueError(f"{folders[0]} holds the tokens of a whole text; train on it alone")
    if folders:
        return _read_folder(folders[0])
    parts = tuple(_open(source.path, dtype) for source in sources)
    digest, highest = hashlib.sha256(), 0
    for part in parts:
        highest = max(highest, _go_through(part, digest))
    return Read(_joined(parts), digest.hexdigest()[:12], highest)


def _joined(parts: tuple[Part, ...]) -> Tokens:
    return Tokens(parts, 0, sum(len(part.ids) for part in parts))


def _read_folder(folder: Path) -> Read:
    facts = read_manifest(folder)
    if not facts["complete"]:
        raise ValueError(f"{folder} is not finished; go on with the same `lehr tokenize` command")
    parts, highest = [], 0
    for shard in facts["shards"]:
        path = folder / shard["name"]
        if not path.is_file():
            raise ValueError(f"{folder} is damaged: {shard['name']} is missing; tokenize the text again")
        part, digest = _open(path, ""), hashlib.sha256()
        highest = max(highest, _go_through(part, digest))
        if digest.hexdigest() != shard["sha256"]:
            raise ValueError(f"{folder} is damaged: {shard['name']} is not what was written; tokenize the text again")
        parts.append(part)
    made_by = facts.get("tokenizer_fingerprint", "")
    return Read(_joined(tuple(parts)), facts["fingerprint"], highest, folder / "tokenizer.json", made_by)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `lehr tokenize` wrote about a folder. Raises ValueError if it is damaged."""
    try:
        facts: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        complete = {"complete", "shards", "sources", "tokenizer"} <= set(facts)
    except (OSError, ValueError, TypeError):
        complete = False
    if not complete:
        raise ValueError(f"{folder} is damaged: its {MANIFEST} cannot be read; tokenize the text again")
    return facts


def _open(path: Path, dtype: str) -> Part:
    stamp = _stamp(path)
    if not stamp[0]:
        raise ValueError(f"{path} is empty")
    if path.suffix.lower() == ".bin":
        width = np.dtype(dtype).itemsize
        if stamp[0] % width:
            raise ValueError(
                f"{path} has {stamp[0]:,} bytes, no whole number of {dtype}; name its type: --set data.dtype=..."
            )
        ids: NDArray[Any] = np.memmap(path, dtype=np.dtype(dtype).newbyteorder("<"), mode="r")
        probe = ids[:BLOCK]
        if width == 2 and len(ids) % 2 == 0 and len(ids) > 64 and not probe[1::2].any() and probe.any():
            raise ValueError(
                f"{path} looks like uint32, not {dtype}: every second id is 0; write --set data.dtype=uint32"
            )
    else:
        try:
            ids = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{path} cannot be read as a .npy array: {error}") from None
    if ids.ndim != 1 or ids.dtype.kind not in "ui" or not len(ids):
        raise ValueError(f"{path} is no row of token ids: its type is {ids.dtype}, its shape {list(ids.shape)}")
    return Part(path, ids, stamp)


def _go_through(part: Part, digest: Any) -> int:
    """Feed every id to the digest; return the highest. Raises ValueError for one below 0."""
    highest = 0
    for start in range(0, len(part.ids), BLOCK):
        block = np.ascontiguousarray(part.ids[start : start + BLOCK])
        digest.update(block.data)
        highest = max(highest, int(block.max()))
        if block.dtype.kind == "i" and block.min() < 0:
            raise ValueError(f"{part.path} holds {block.min()}, which is no token id")
    return highest


def _stamp(path: Path) -> tuple[int, int]:
    facts = os.stat(path)
    return facts.st_size, facts.st_mtime_ns
