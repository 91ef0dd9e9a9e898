"""Files that are whole or not there, whatever stops the process or the machine: written beside, flushed, renamed."""

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the errors of a write that more room would mend
# Bytes a write: hashing, writing and comparing take turns while the data is in the cache. (With 8 MB a save takes
# a tenth more processor time, and comparing holds Python's lock, which the training thread wants, for milliseconds.)
AT_ONCE = 2**18
SMALL = 2**16  # bytes below which parts are copied together

# the names of the safetensors format (https://github.com/huggingface/safetensors#format)
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def write_file(path: Path, parts: Iterable[Any]) -> dict[str, Any]:
    """Write buffers to a new file, wait until they are on the disk, and return what a manifest says of it.

    The size (bytes) and the sha256 are those of the data that was meant, not of what the disk made of it.
    """
    digest, size = hashlib.sha256(), 0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        for part in _gathered(parts):
            digest.update(part)
            size += len(part)
            while part:  # a write may take less than it is given
                part = part[os.write(handle, part) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    return {"size": size, "sha256": digest.hexdigest()}


def _gathered(parts: Iterable[Any]) -> Iterator[memoryview]:
    """The same bytes in pieces of at most AT_ONCE, small parts put together."""
    small = bytearray()
    for part in parts:
        data = memoryview(part).cast("B")
        if len(small) + len(data) < SMALL:
            small += data
            continue
        if small:
            yield memoryview(bytes(small))
            small.clear()
        yield from (data[start : start + AT_ONCE] for start in range(0, len(data), AT_ONCE))
    if small:
        yield memoryview(bytes(small))


def holds(path: Path, parts: Iterable[Any]) -> bool:
    """Whether a file, read from the disk where the system can be asked to, is just these buffers.

    Comparing with what is still in memory takes a fraction of a sum's processor time, which training would miss.
    """
    with open(path, "rb", buffering=0) as file:
        _forget(file.fileno())
        got = bytearray(max(AT_ONCE, SMALL))
        for part in _gathered(parts):
            left = memoryview(got)[: len(part)]
            while left and (count := file.readinto(left)):
                left = left[count:]
            if left or not got.startswith(part):  # (comparing memoryviews is slow: it goes by elements)
                return False
        return not file.read(1)


def as_safetensors(tensors: Mapping[str, torch.Tensor]) -> Iterable[Any]:
    """The buffers of a safetensors file of contiguous CPU tensors.

    `safetensors.torch.save` would hold a second copy of them all, and `save_file` says neither the sum of what it
    wrote nor where the disk ran full. Raises ValueError for a dtype that the format lacks.
    """
    # wide dtypes first, so that every tensor is aligned
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, end = {}, 0
    for name in names:
        tensor = tensors[name]
        if tensor.dtype not in _DTYPES:
            raise ValueError(f"{name} is {tensor.dtype}, which safetensors does not know")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        if tensors[name].numel():
            yield tensors[name].reshape(-1).view(torch.uint8).numpy()


def sha256(path: Path) -> str:
    """The sha256 of a file, read from the disk and not from the system's memory of it where it can be asked to."""
    with open(path, "rb") as file:
        _forget(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _forget(handle: int) -> None:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def replace_text(path: Path, text: str) -> None:
    """Write a text file beside and rename it, so that it is the old or the new one, and never half of either."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.unlink(missing_ok=True)
    try:
        write_file(beside, [text.encode()])
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def make_folder(path: Path, new: bool = False) -> None:
    """Make a folder, and those above it, and wait until their names are on the disk: what is flushed in a folder is
    lost with its name. `new`: FileExistsError where it is there already.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    path.mkdir(parents=True, exist_ok=not new)
    for folder in (path, *made):  # also one that was there: whoever made it may not have waited
        with suppress(OSError):  # it may be one to write to and not to read, or on a disk that flushes no folders
            sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name == "nt":
        return  # Windows has no fsync for folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
