"""A text, or token arrays, as ids with a training and a held-out split."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lehr.train import sources, tokens
from lehr.train.sources import Chunk, Source
from lehr.train.tokenizer import Bytes, Characters, Numbers, Subwords, Tokenizer, load
from lehr.train.tokens import Tokens

PROBE = 2000  # characters at the beginning of each source that are turned into ids and back
AT_ONCE = 16  # chunks encoded side by side: an encoding takes more than a hundred bytes a token


@dataclass(frozen=True)
class Corpus:
    """A text as ids, cut into a training and a held-out split.

    `train` and `val` are 1-d arrays of ids (uint8, uint16 or uint32), in memory or on the disk; `source` says in words
    where they came from; `tokenizer_name` is what `data.tokenizer` names, or what token arrays name instead.
    """

    tokenizer: Tokenizer
    train: NDArray[Any] | Tokens
    val: NDArray[Any] | Tokens
    source: str
    fingerprint: str  # the first 12 hex digits of the sha256 of the text; of the ids, where a file made them
    tokenizer_name: str = field(default="bytes", compare=False)
    note: str = field(default="", compare=False)  # what the tokenizer has lost of the text, in words


@dataclass
class Losses:
    """What a tokenizers file loses of a text, counted as the text is encoded."""

    table: Subwords
    bytes: int = 0  # of the text
    lost: int = 0  # of them, those that no id stands for
    unknown: int = 0  # tokens
    changed: str = ""  # a text that does not come back as it was

    def see(self, chunk: Chunk, ids: NDArray[Any], begins: bool) -> None:
        """Count a chunk; where a source `begins`, see whether its beginning comes back."""
        size = len(chunk.text.encode())
        self.bytes += size
        self.lost += max(size - int(self.table.token_bytes[ids].sum()), 0)
        if self.table.unknown is not None:
            self.unknown += int((ids == self.table.unknown).sum())
        if begins and not self.changed:
            probe = chunk.text[:PROBE]
            back = self.table.decode(self.table.encode(probe).tolist())
            if back != probe:
                at = next((i for i, (a, b) in enumerate(zip(probe, back, strict=False)) if a != b), len(back))
                self.changed = f"{probe[at : at + 20]!r} comes back as {back[at : at + 20]!r}"

    def note(self) -> str:
        """In words; empty if nothing is lost."""
        if not (self.lost or self.unknown or self.changed):
            return ""
        facts = [self.changed] if self.changed else []
        if self.lost:
            facts.append(f"{100 * self.lost / self.bytes:.2g} % of its bytes are in no token")
        if self.unknown:
            facts.append(f"{self.unknown:,} tokens are unknown ones, and val_bpb counts no bytes for them")
        return f"the tokenizer does not give the text back as it was: {'; '.join(facts)}"


def load_corpus(
    paths: Sequence[str], tokenizer: str, val_fraction: float, field: str = "text", dtype: str = "uint16"
) -> Corpus:
    """Read what paths, folders and globs name, in a fixed order; without any the source of Python's standard library.

    `tokenizer`: bytes, char, a file, none for ids alone, or empty: bytes, or what a folder of ids has of its own;
    `field`: that of JSON lines and datasets; `dtype`: that of `.bin` arrays. The held-out split is the last
    `val_fraction` of the ids. Raises FileNotFoundError for a path that is not there,
    ValueError for what is empty, no text, of mixed kinds, or does not fit the tokenizer.
    """
    found = sources.find(paths) if paths else [Source(path) for path in sources.standard_library()]
    where = ", ".join([paths] if isinstance(paths, str) else map(str, paths)) or "Python's standard library"
    kinds = sorted({source.kind for source in found})
    if "tokens" in kinds:
        if len(kinds) > 1:
            ids_, text = (next(s.path for s in found if (s.kind == "tokens") == wanted) for wanted in (True, False))
            raise ValueError(f"{ids_} holds token ids and {text} text; give one or the other")
        return _of_arrays(found, where, tokenizer, val_fraction, dtype)
    tokenizer = tokenizer or "bytes"
    ids: NDArray[Any]
    table: Tokenizer
    note = ""
    if tokenizer in ("bytes", "char"):
        raw = b"".join(sources.read_bytes(source, field) for source in found)
        if not raw:
            raise ValueError(f"{where} has no text in it")
        table, ids = (Bytes(), np.frombuffer(raw, dtype=np.uint8)) if tokenizer == "bytes" else _characters(raw, where)
        digest = hashlib.sha256(raw)
    else:
        table = load(tokenizer)
        assert isinstance(table, Subwords)
        dtype = "uint16" if table.vocab_size <= 2**16 else "uint32"
        losses, begins, pieces = Losses(table), set[int](), []
        for number, (chunk, part) in enumerate(encode(_all_chunks(found, field, table, begins), table, dtype)):
            losses.see(chunk, part, number in begins)
            pieces.append(part)
        note = losses.note()
        ids = np.concatenate([np.zeros(0, dtype), *pieces])
        if not len(ids):
            raise ValueError(f"{where} has no text in it")
        digest = hashlib.sha256(ids.data)
    cut = int(len(ids) * (1 - val_fraction))
    count = f"{len(found):,} file{'s' * (len(found) != 1)}"
    return Corpus(table, ids[:cut], ids[cut:], f"{where}, {count}", digest.hexdigest()[:12], tokenizer, note)


def _characters(raw: bytes, where: str) -> tuple[Tokenizer, NDArray[Any]]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} is not UTF-8 text (byte {error.start}: {error.reason}); write --set data.tokenizer=bytes"
        ) from None
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    alphabet, ids = np.unique(points, return_inverse=True)
    return Characters("".join(map(chr, alphabet))), ids.astype(np.uint16 if len(alphabet) <= 2**16 else np.uint32)


def _all_chunks(found: Sequence[Source], field: str, table: Subwords, begins: set[int]) -> Iterator[Chunk]:
    """The chunks of all sources; `begins` gets the numbers of those that a source begins with."""
    number = 0
    for source in found:
        begins.add(number)
        for chunk in sources.chunks(source, field, table.separator):
            yield chunk
            number += 1


def encode(chunks: Iterator[Chunk], table: Subwords, dtype: str) -> Iterator[tuple[Chunk, NDArray[Any]]]:
    """Each chunk with its ids, `table`'s end of text after a document; a few chunks at a time, on all cores."""
    while group := list(_group(chunks)):
        for chunk, ids in zip(group, table.encode_batch([chunk.text for chunk in group]), strict=True):
            if chunk.ends and table.end_of_text is not None:
                ids.append(table.end_of_text)
            yield chunk, np.array(ids, dtype=dtype)


def _group(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The next chunks, of no more than some megabytes together, nor than some thousand."""
    size = 0
    for chunk in islice(chunks, 4096):
        yield chunk
        size += len(chunk.text)
        if size >= AT_ONCE * sources.CHUNK:
            return


def _of_arrays(found: Sequence[Source], where: str, tokenizer: str, val_fraction: float, dtype: str) -> Corpus:
    read = tokens.read(found, dtype)
    own = str(read.tokenizer) if read.tokenizer else ""
    if tokenizer == "char":
        instead = f"leave data.tokenizer out, or write ={own}" if own else "name their tokenizer: =FILE"
        raise ValueError(f"{where} holds token ids, no characters, which data.tokenizer=char is for; {instead}")
    name = tokenizer or own or "bytes"
    table = Numbers(read.highest + 1) if name == "none" else load(name)
    if own and name != "none" and table.fingerprint != read.made_by:
        if name == own:
            raise ValueError(f"{where} is damaged: its tokenizer.json is not what was written; tokenize the text again")
        raise ValueError(
            f"data.tokenizer={name} is not what made {where}, which holds ids of its own tokenizer.json; leave it out, "
            "or write =none for the ids alone"
        )
    if read.highest >= table.vocab_size:
        raise ValueError(
            f"{where} holds the id {read.highest}, but the tokenizer {name} has {table.vocab_size:,}; "
            "name the one that made the ids: --set data.tokenizer=FILE, or train on the numbers alone: =none"
        )
    cut = int(len(read.tokens) * (1 - val_fraction))
    count = f"{len(read.tokens.parts):,} file{'s' * (len(read.tokens.parts) != 1)} of ids"
    train, val = read.tokens.between(0, cut), read.tokens.between(cut, len(read.tokens))
    note = ""
    if isinstance(table, Subwords) and table.unknown is not None and (unknown := _count(read.tokens, table.unknown)):
        share = 100 * unknown / len(read.tokens)
        note = f"{unknown:,} of the tokens are unknown ones ({share:.2g} %), and val_bpb counts no bytes for them"
    return Corpus(table, train, val, f"{where}, {count}", read.fingerprint, name, note)


def _count(ids: Tokens, index: int) -> int:
    return sum(int((ids[at : at + tokens.BLOCK] == index).sum()) for at in range(0, len(ids), tokens.BLOCK))
