"""`lehr tokenize`: text of any size to memory-mapped shards of ids, in bounded memory.

The folder has `tokenizer.json`, `tokens-00000.npy` and so on, and `tokens.json`, which says after each shard where in
the text to go on: after an interruption the same command goes on there, and ends with the same files.
"""

import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lehr.train import Stopped, sources
from lehr.train.bpe import SEPARATOR, check_size, learn
from lehr.train.corpus import Losses, encode
from lehr.train.signals import Asked, listening
from lehr.train.sources import MANIFEST, Chunk, Source
from lehr.train.tokenizer import Subwords, load
from lehr.train.tokens import read_manifest

TOKENIZER = "tokenizer.json"


class Watcher(Protocol):
    """Who is told how far it is: `done` of `total` bytes of the text, in the course of `what`."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


def tokenize(
    paths: Sequence[str],
    out: Path,
    vocab_size: int = 8192,
    tokenizer: str | None = None,
    field: str = "text",
    shard_tokens: int = 2**24,
    learn_from: int = 2**28,
    watch: Watcher = lambda what, done, total: None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write `out`, and return what its tokens.json says.

    A BPE of `vocab_size` is learnt from at most `learn_from` bytes of text, spread evenly over it, unless `tokenizer`
    names a file. Every document ends with the end-of-text token, where the tokenizer has one. Raises ValueError or
    OSError for what cannot be, also where `out` holds something else; Stopped after SIGINT or SIGTERM.
    """
    given = load(tokenizer) if tokenizer else None
    if given is None:
        check_size(vocab_size)
    elif not isinstance(given, Subwords):
        raise ValueError(f"--tokenizer is a file of the tokenizers library, not {tokenizer!r}")
    if shard_tokens < 1 or learn_from < 1:
        raise ValueError("a shard has 1 token or more, and there is 1 byte or more to learn from")
    found = sources.find(paths)
    if any(source.kind == "tokens" for source in found):
        raise ValueError(f"{next(s.path for s in found if s.kind == 'tokens')} holds token ids already; give text")
    if not sum(map(_size, found)):
        raise ValueError(f"{', '.join(paths)} has no text in it")
    request: dict[str, Any] = {
        "sources": [_stamp(source) for source in found],
        "field": field,
        "tokenizer": {"given": given.fingerprint} if given else {"bpe": vocab_size, "from": learn_from},
        "shard_tokens": shard_tokens,
    }
    facts = _begin(out, request)
    if facts["complete"]:
        say(f"{out} is complete already")
        return facts
    # Python lets the main thread alone have handlers
    main = threading.current_thread() is threading.main_thread()
    with listening() if main else nullcontext(Asked()) as asked:

        def look(what: str, done: int) -> None:
            watch(what, done, total)
            if asked.stop:
                say(f"stopped by {signal.Signals(asked.stop).name}; the same command goes on from here")
                raise Stopped(asked.stop)

        total = sum(map(_size, found))
        table = _tokenizer(out, found, request, given, vocab_size, learn_from, look, say)
        if facts["shards"]:
            say(f"going on after {sum(shard['tokens'] for shard in facts['shards']):,} tokens in {out}")
        for shard, ids in _shards(found, field, table, facts["shards"], shard_tokens, look, say):
            _write_array(out / shard["name"], ids)
            facts["shards"].append(shard)
            _write_json(out / MANIFEST, facts)
    changed = [source.path for source, stamp in zip(found, request["sources"], strict=True) if _stamp(source) != stamp]
    if changed:
        raise ValueError(f"{changed[0]} was changed while it was read; tokenize into another --out")
    if not facts["shards"]:
        raise ValueError(f"{', '.join(paths)} has no text in it")
    lost, unknown = (sum(shard.get(name, 0) for shard in facts["shards"]) for name in ("lost", "unknown"))
    size = sum(shard["bytes"] for shard in facts["shards"])
    if note := Losses(table, size, lost, unknown, facts["shards"][-1].get("changed", "")).note():
        say(f"note: {note}")
    digest = hashlib.sha256(json.dumps([table.fingerprint, *(shard["sha256"] for shard in facts["shards"])]).encode())
    facts |= {"complete": True, "vocab_size": table.vocab_size, "fingerprint": digest.hexdigest()[:12]}
    facts["tokenizer_fingerprint"] = table.fingerprint
    facts |= {name: sum(shard[name] for shard in facts["shards"]) for name in ("tokens", "documents", "bytes")}
    _write_json(out / MANIFEST, facts)
    return facts


def _begin(out: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The state to go on from: what `out` holds, if it is the same request's; else nothing yet."""
    if (out / MANIFEST).is_file():
        facts = read_manifest(out)
        # where nothing was learnt and written yet, such as after an input that could not be read, it begins anew
        anew = not facts.get("shards") and not facts.get("complete") and not (out / "tokenizer.json").exists()
        for name, value in request.items():
            if anew:
                facts[name] = value
            elif facts.get(name) != value:
                what = {"sources": "from another text, or one that was changed since"}
                what["tokenizer"] = "with another tokenizer or --vocab-size"
                raise ValueError(
                    f"{out} was made {what.get(name, 'with another --' + name.replace('_', '-'))}; write another --out"
                )
        if anew:
            _write_json(out / MANIFEST, facts)
        return facts
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not an empty folder; write another --out")
    out.mkdir(parents=True, exist_ok=True)
    facts = {"lehr": "tokens", "complete": False, **request, "shards": []}
    _write_json(out / MANIFEST, facts)
    return facts


def _tokenizer(
    out: Path,
    found: list[Source],
    request: dict[str, Any],
    given: Subwords | None,
    vocab_size: int,
    learn_from: int,
    look: Callable[[str, int], None],
    say: Callable[[str], None],
) -> Subwords:
    """That of the folder; made first, if it is not there."""
    path = out / TOKENIZER
    if not path.is_file():
        if given:
            text = given.text
        else:  # in a thread of its own: Python's signal handlers run in this one, which the library would hold
            with ThreadPoolExecutor(1) as pool:
                text = pool.submit(learn, _spread(found, request["field"], learn_from, look), vocab_size).result()
        _write(path, text.encode())
    table = load(str(path))
    assert isinstance(table, Subwords)
    if given is not None and table.fingerprint != given.fingerprint:
        raise ValueError(f"{path} is not the file that {out} was begun with; write another --out")
    if given is None and table.vocab_size < vocab_size:
        say(f"the text has pairs for a vocabulary of {table.vocab_size:,} only")
    return table


def _spread(found: list[Source], field: str, most: int, look: Callable[[str, int], None]) -> Iterator[str]:
    """At most about `most` bytes of text, spread evenly over all of it."""
    share = min(1.0, most / max(sum(map(_size, found)), 1))
    before, number = 0, 0
    for source in found:
        for chunk in sources.chunks(source, field, SEPARATOR):
            look("learning", before + (chunk.position or 0))
            if int((number + 1) * share) > int(number * share):
                yield chunk.text
            number += 1
        before += _size(source)


def _shards(
    found: list[Source],
    field: str,
    table: Subwords,
    written: list[dict[str, Any]],
    shard_tokens: int,
    look: Callable[[str, int], None],
    say: Callable[[str], None],
) -> Iterator[tuple[dict[str, Any], NDArray[Any]]]:
    """The shards that are not written yet, with their facts; `next` is the source and position to go on from."""
    first, position = written[-1]["next"] if written else (0, 0)
    number, losses = len(written), Losses(table, changed=written[-1].get("changed", "") if written else "")
    dtype = "uint16" if table.vocab_size <= 2**16 else "uint32"
    pending: list[NDArray[Any]] = []
    count = documents = 0

    def shard(then: tuple[int, int]) -> tuple[dict[str, Any], NDArray[Any]]:
        ids = np.concatenate(pending)
        facts = {"name": f"tokens-{number:05d}.npy", "tokens": len(ids), "documents": documents, "bytes": losses.bytes}
        facts |= {"lost": losses.lost, "unknown": losses.unknown, "changed": losses.changed}
        return facts | {"sha256": hashlib.sha256(ids.data).hexdigest(), "next": list(then)}, ids

    before = sum(map(_size, found[:first]))
    for index in range(first, len(found)):
        chunks: Iterator[Chunk] = sources.chunks(found[index], field, table.separator, position)
        begins = position == 0
        for chunk, ids in encode(chunks, table, dtype):
            losses.see(chunk, ids, begins)
            begins = False
            pending.append(ids)
            count += len(ids)
            documents += chunk.ends
            look("tokenizing", before + min(chunk.position or 0, _size(found[index])))
            if count >= shard_tokens and chunk.position is not None:
                yield shard((index, chunk.position))
                pending.clear()
                number += 1
                count = documents = 0
                losses = Losses(table, changed=losses.changed)
        before += _size(found[index])
        position = 0
    if count:
        yield shard((len(found), 0))


# ---------------------------------------------------------------------------------------------------------------------
# files


def _files(source: Source) -> list[Path]:
    return sorted(p for p in source.path.rglob("*") if p.is_file()) if source.path.is_dir() else [source.path]


def _size(source: Source) -> int:
    return sum(path.stat().st_size for path in _files(source))


def _stamp(source: Source) -> list[Any]:
    """Path, size and time of the last change: what tells that a text is the same without reading it."""
    return [str(source.path.resolve()), _size(source), max(path.stat().st_mtime_ns for path in _files(source))]


def _write_array(path: Path, ids: NDArray[Any]) -> None:
    beside = path.with_name(f".{path.name}.tmp")
    with open(beside, "wb") as file:
        np.save(file, ids)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _write_json(path: Path, facts: dict[str, Any]) -> None:
    _write(path, (json.dumps(facts, indent=1) + "\n").encode())


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.tmp")
    with open(beside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
