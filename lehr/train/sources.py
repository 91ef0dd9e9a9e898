"""Where text comes from: files, folders, globs, JSON lines, datasets on disk; one after the other, in a fixed order."""

import codecs
import glob
import json
import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lehr.words import nearest

MANIFEST = "tokens.json"  # what makes a folder one of `lehr tokenize`'s
KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".bin": "tokens", ".npy": "tokens"}
CHUNK = 2**18  # characters handed to a tokenizer at once


@dataclass(frozen=True)
class Source:
    """One input: `kind` is text, jsonl, dataset (a folder of Hugging Face's), or tokens (an array, or a folder)."""

    path: Path
    kind: str = "text"


class Chunk(NamedTuple):
    """A part of a document, or all of it.

    `ends`: a document ends here. `position`: where to go on in the source afterwards (a byte, or a dataset's row), None
    in the midst of what can only be read from its beginning.
    """

    text: str
    ends: bool
    position: int | None


def find(paths: Sequence[str]) -> list[Source]:
    """The inputs that paths, folders and globs name; of a folder every visible file, in the order of their names.

    Raises FileNotFoundError for what is not there, ValueError for what is named twice: text that is read twice would
    be held out and trained on at once.
    """
    if isinstance(paths, str):  # its letters would be taken for paths
        paths = [paths]
    found = []
    for text in paths:
        path = Path(text)
        if path.exists():
            found += _at(path)
        elif glob.has_magic(text):
            names = sorted(name for name in glob.glob(text, recursive=True) if Path(name).is_file())
            if not names:
                raise FileNotFoundError(f"no file fits the pattern {text!r}")
            found += [_file(Path(name)) for name in names]
        else:
            raise FileNotFoundError(f"no such file or folder: {path}")
    seen: set[Path] = set()
    for source in found:
        if (place := source.path.resolve()) in seen:
            raise ValueError(f"{source.path} is named twice in {' '.join(map(str, paths))}; name it once")
        seen.add(place)
    return found


def _at(path: Path) -> list[Source]:
    if not path.is_dir():
        return [_file(path)]
    if (path / MANIFEST).is_file():
        return [Source(path, "tokens")]
    if (path / "dataset_dict.json").is_file() or {"dataset_info.json", "state.json"} <= set(os.listdir(path)):
        return [Source(path, "dataset")]
    visible: list[Path] = []
    for folder, below, names in os.walk(path):
        below[:] = [name for name in below if not name.startswith(".") and not _is_ours(Path(folder, name))]
        visible += [p for name in names if not name.startswith(".") and (p := Path(folder, name)).is_file()]
    return [_file(p) for p in sorted(visible, key=lambda p: p.relative_to(path).as_posix())]


def _is_ours(folder: Path) -> bool:
    """Whether a folder within the data is what lehr has written there: a run, or token ids."""
    run = (folder / "config.json").is_file() and (folder / "log.txt").is_file()
    return run or (folder / MANIFEST).is_file()


def _file(path: Path) -> Source:
    return Source(path, KINDS.get(path.suffix.lower(), "text"))


def standard_library() -> Iterator[Path]:
    """The .py files of Python's standard library, in the order of their names, without its tests and other packages."""
    root = Path(sysconfig.get_path("stdlib"))
    skip = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in skip]  # pruned: other packages may be many
        found += [Path(folder, name) for name in files if name.endswith(".py") and Path(folder, name).is_file()]
    yield from sorted(found, key=lambda path: path.relative_to(root).as_posix())


# ---------------------------------------------------------------------------------------------------------------------
# documents whole, as bytes


def read_bytes(source: Source, field: str) -> bytes:
    """All of a source, as bytes. Rows of JSON lines and of datasets end with a newline each.

    Raises ValueError for what is no text (it holds zero bytes), a line that is not JSON or lacks the field; OSError
    for what cannot be read.
    """
    if source.kind == "text":
        with _open(source.path) as file:
            raw: bytes = file.read()
        _check_text(source.path, raw)
        return raw
    return "".join(text if text.endswith("\n") else text + "\n" for text, _ in _rows(source, field, 0)).encode()


def _open(path: Path) -> Any:
    try:
        return open(path, "rb")
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}") from None


def _check_text(path: Path, raw: bytes, first: bool = True) -> None:
    if first and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{path} is UTF-16; write it as UTF-8 first: iconv -f UTF-16 -t UTF-8 {path}")
    if b"\0" in raw:
        raise ValueError(
            f"{path} is not text: it holds zero bytes; leave it out, such as by a pattern: --data 'folder/**/*.txt'"
        )


# ---------------------------------------------------------------------------------------------------------------------
# documents in chunks, as text


def chunks(
    source: Source, field: str, separator: str | None = None, start: int = 0, size: int = CHUNK
) -> Iterator[Chunk]:
    """A source's documents from `start` on, in chunks of about `size` characters; never more than a few in memory.

    A text file is a document, a row of the others is one; `separator`, where the text has it written out, ends one too.
    A document is cut where a tokenizer cuts it anyhow: before white space after a letter, at a line's end if there is
    one. Raises ValueError for what is not UTF-8 text.
    """
    if source.kind == "text":
        yield from _of_text(source.path, separator, start, size)
        return
    for text, position in _rows(source, field, start):
        parts = [text] if separator is None else text.split(separator)
        if len(parts) > 1 and not parts[-1]:
            parts.pop()
        for number, part in enumerate(parts, 1):
            begin = 0
            while len(part) - begin > size:
                cut = _cut(part, begin, size)
                yield Chunk(part[begin:cut], False, None)
                begin = cut
            yield Chunk(part[begin:], True, position if number == len(parts) else None)


def _of_text(path: Path, separator: str | None, start: int, size: int) -> Iterator[Chunk]:
    # a chunk depends on where it begins alone, so that the chunks from any of their ends on are the same again
    decoder = codecs.getincrementaldecoder("utf-8")()
    separator_length = len(separator or "")
    window = size + separator_length + 1
    text, at, read, position, more = "", 0, start, start, True
    with _open(path) as file:
        file.seek(start)
        while True:
            if more and len(text) - at <= window:
                text, at = text[at:], 0
                while more and len(text) <= 4 * window:
                    block = file.read(window)
                    more = bool(block)
                    _check_text(path, block, first=read == 0)
                    try:
                        text += decoder.decode(block, final=not more)
                    except UnicodeDecodeError as error:
                        byte = read - (len(error.object) - len(block)) + error.start
                        raise ValueError(
                            f"{path} is not UTF-8 text (byte {byte}: {error.reason}); convert it, such as by "
                            "iconv -f LATIN1 -t UTF-8, or train on its bytes with --set data.tokenizer=bytes"
                        ) from None
                    read += len(block)
            if at == len(text):
                return
            end = text.find(separator, at, at + window) if separator else -1
            if end >= 0:
                part, ends, at = text[at:end], True, end + separator_length
                position += len(part.encode()) + len((separator or "").encode())
            else:
                ends = len(text) - at <= window
                cut = len(text) if ends else _cut(text, at, size)
                part, at = text[at:cut], cut
                position += len(part.encode())
            yield Chunk(part, ends, position)


def _cut(text: str, begin: int, size: int) -> int:
    """Where to cut after `begin`: before a newline after a letter, else before such a space, else after `size`."""
    for space in ("\n", " "):
        at = text.rfind(space, begin + 1, begin + size)
        while at > 0 and text[at - 1].isspace():
            at = text.rfind(space, begin + 1, at)
        if at > 0:
            return at
    return begin + size


def _rows(source: Source, field: str, start: int) -> Iterator[tuple[str, int]]:
    """The texts of a file of JSON lines or a dataset, each with the position after it."""
    rows = _json_lines(source.path, start) if source.kind == "jsonl" else _dataset(source.path, field, start)
    for where, row, position in rows:
        if not isinstance(row, dict) or field not in row:
            has = f"it has {', '.join(map(repr, row))}" if isinstance(row, dict) and row else f"it is {row!r:.40}"
            other = next((key for key in row if isinstance(row[key], str)), None) if isinstance(row, dict) else None
            fix = f"; write --set data.field={other}" if other else ""
            raise ValueError(f"{where} has no field {field!r}{nearest(field, row) if fix else ''}; {has}{fix}")
        text = row[field]
        if not isinstance(text, str):
            raise ValueError(f"{where}: the field {field!r} is not text but {text!r:.40}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{where}: the text holds half a surrogate pair, {text[error.start]!r}") from None
        yield text, position


def _json_lines(path: Path, start: int) -> Iterator[tuple[str, Any, int]]:
    with _open(path) as file:
        before = 0
        while file.tell() < start:  # lines are counted for the errors
            file.readline()
            before += 1
        for number, line in enumerate(iter(file.readline, b""), before + 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number} is not JSON: {error}") from None
            yield f"{path}, line {number}", row, file.tell()


def _dataset(path: Path, field: str, start: int) -> Iterator[tuple[str, Any, int]]:
    try:
        import datasets
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{path} is a dataset of Hugging Face's; to read it write pip install 'lehr[datasets]'"
        ) from None
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # it raises what the formats underneath raise
        raise ValueError(f"{path} cannot be read as a dataset: {error}") from None
    if isinstance(loaded, datasets.DatasetDict):
        if "train" not in loaded:
            first = next(iter(loaded), "")
            raise ValueError(f"{path} has no split 'train'; write --data {path / first} for its split {first!r}")
        loaded = loaded["train"]
    if field in loaded.column_names:
        loaded = loaded.select_columns([field])  # the others need not be decoded
    for index in range(start, len(loaded)):
        yield f"{path}, row {index}", loaded[index], index + 1
