"""A run's checkpoint folders, `checkpoints/step-00000500/`: whole, or not there.

A folder is written under another name, file by file, each flushed to the disk; `manifest.json` comes last, with the
size and sha256 of every other file; then all is read back and compared with memory, and only then renamed. Nothing in
a folder can execute when it is loaded: tensors are safetensors, the rest is JSON.
"""

import errno
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from lehr.train.durable import as_safetensors, holds, sha256, sync_folder, write_file
from lehr.train.snapshot import Snapshot, optimizer_state

MANIFEST = "manifest.json"
FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")
_NEEDED = ("model.safetensors", "optimizer.safetensors", "state.json", "random-00000.json")


class Damaged(ValueError):
    """A checkpoint that is not what was written."""


class Newer(ValueError):
    """A checkpoint that is whole, but in a format that this lehr does not know."""


def write(checkpoints: Path, snapshot: Snapshot, before: Callable[[], None] | None = None) -> Path:
    """Write `checkpoints/step-00000500` and return it. `before` is called just before it becomes visible.

    Files: model.safetensors, optimizer.safetensors, state.json, random-00000.json (one a process, by rank) and
    manifest.json. `checkpoints` has to be there. What stands under the folder's name already is set aside.
    """
    folder = checkpoints / f"step-{snapshot.step:08d}"
    beside = checkpoints / f".{folder.name}.{os.getpid()}.tmp"
    shutil.rmtree(beside, ignore_errors=True)
    os.mkdir(beside)
    try:
        files = {name: write_file(beside / name, data) for name, data in _files(snapshot).items()}
        manifest = [_json({"format": FORMAT, "files": files})]
        write_file(beside / MANIFEST, manifest)
        sync_folder(beside)
        for name, data in {**_files(snapshot), MANIFEST: manifest}.items():
            if not holds(beside / name, data):
                raise OSError(errno.EIO, f"what the disk gives back is not what was written to it, in {name}")
        if before is not None:
            before()
        if folder.exists():
            set_aside(folder)
        os.rename(beside, folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    for above in (checkpoints, checkpoints.parent):  # the first save made `checkpoints` itself
        sync_folder(above)
    return folder


def _files(snapshot: Snapshot) -> dict[str, Iterable[Any]]:
    """The contents of each file but the manifest."""
    return {
        "model.safetensors": as_safetensors(snapshot.model),
        "optimizer.safetensors": as_safetensors(snapshot.optimizer),
        "state.json": [_json({"format": FORMAT, **snapshot.state})],
        **{_random(rank): [_json(states, indent=None)] for rank, states in enumerate(snapshot.random)},
    }


def _random(rank: int) -> str:
    return f"random-{rank:05d}.json"


def _json(data: Any, indent: int | None = 1) -> bytes:
    return (json.dumps(data, indent=indent) + "\n").encode()


def read(folder: Path) -> dict[str, Any]:
    """Verify a folder and return step, model, optimizer, random and the facts.

    Raises Damaged (a ValueError) if it is not what was written, Newer (a ValueError) if a newer lehr wrote it, OSError
    if it cannot be read at all.
    """
    verify(folder)
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        _check_format(folder, state)
        state["optimizer"] = optimizer_state(state, load_file(folder / "optimizer.safetensors"))
        state["model"] = load_file(folder / "model.safetensors")
        names = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        randoms = itertools.takewhile(names.__contains__, map(_random, itertools.count()))
        state["random"] = [json.loads((folder / name).read_text(encoding="utf-8")) for name in randoms]
        state["step"] = int(state["step"])
    except Newer:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise Damaged(f"the checkpoint {folder} cannot be read: {' '.join(str(error).split())}") from None
    return state


def verify(folder: Path) -> None:
    """Check every file against the manifest. Raises Damaged naming the first that differs, Newer as `read` does."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        _check_format(folder, manifest)  # first of all: what else is there may be named otherwise
        files = manifest["files"]
        facts = [(str(name), int(fact["size"]), str(fact["sha256"])) for name, fact in files.items()]
    except Newer:
        raise
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        raise Damaged(f"the checkpoint {folder} is not whole: its {MANIFEST} is missing or damaged") from None
    for name in _NEEDED:
        if name not in files:
            raise Damaged(f"the checkpoint {folder} is not whole: {MANIFEST} does not list {name}")
    for name, size, digest in facts:
        file = folder / name
        if Path(name).name != name or not file.is_file() or file.stat().st_size != size or sha256(file) != digest:
            raise Damaged(f"the checkpoint {folder} is damaged: {name} is not what was written")


def _check_format(folder: Path, facts: dict[str, Any]) -> None:
    if (found := facts.get("format", FORMAT)) != FORMAT:
        raise Newer(
            f"the checkpoint {folder} was written by a newer lehr, in format {found}; this one reads format {FORMAT}: "
            "install the newer one to go on with it"
        )


def step_of(folder: Path) -> int:
    """The step in a folder's name; ValueError if it is not a checkpoint's."""
    if (match := _NAME.fullmatch(folder.name)) is None:
        raise ValueError(f"{folder} is not named as a checkpoint is, such as step-00000500")
    return int(match[1])


def all_folders(checkpoints: Path) -> list[tuple[int, Path]]:
    """Every checkpoint that became visible and was not found damaged, as (step, folder), the oldest first."""
    if not checkpoints.is_dir():
        return []
    found = [path for path in checkpoints.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted((step_of(path), path) for path in found)


def newest(checkpoints: Path) -> Iterator[tuple[Path, dict[str, Any] | Exception]]:
    """The checkpoints, newest first: each folder with what it holds, or with the error that says why it cannot be."""
    for _, folder in reversed(all_folders(checkpoints)):
        try:
            yield folder, read(folder)
        except (Damaged, OSError) as error:
            yield folder, error


def set_aside(folder: Path) -> Path:
    """Rename a checkpoint to `step-00000500.damaged`: left for inspection, taken for none any more, never removed."""
    for number in range(1, 1000):
        aside = folder.with_name(f"{folder.name}.damaged" + (f"-{number}" if number > 1 else ""))
        if not aside.exists():
            os.rename(folder, aside)
            return aside
    raise OSError(f"{folder.parent} is full of damaged checkpoints; look at them and remove them")
