"""Checkpoints: one file for anybody's model, and the folder of a run. Nothing in either can execute when loaded.

A file or folder becomes visible only when it is whole: it is written beside under another name, flushed to the disk,
and renamed. A folder's `manifest.json`, written last, has the size and sha256 of every other file.
"""

import hashlib
import io
import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{8,})")

# ---------------------------------------------------------------------------------------------------------------------
# one file


def save_checkpoint(
    model: nn.Module, optimizer: torch.optim.Optimizer | None, iteration: int, out: str | os.PathLike[str] | BinaryIO
) -> None:
    """Write model, optimizer and iteration to a path or a binary file object.

    A path is written beside and renamed, so that it never holds half a checkpoint. The format is torch's own zip;
    `torch.load(weights_only=True)` reads it too.
    """
    state = {
        "lehr": "checkpoint",
        "model": model.state_dict(),
        "optimizer": None if optimizer is None else optimizer.state_dict(),
        "iteration": iteration,
    }
    if not isinstance(out, (str, os.PathLike)):
        torch.save(state, out)
        return
    path = Path(out)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    _sync_folder(path.parent)


def load_checkpoint(
    src: str | os.PathLike[str] | BinaryIO, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> int:
    """Load a file of `save_checkpoint`'s, or a run's checkpoint folder, and return its iteration.

    The whole source is verified before anything is changed. Raises FileNotFoundError for a path that is not there, and
    ValueError for a damaged or foreign source (none of whose code runs), or one that does not fit the model.
    """
    name = str(src) if isinstance(src, (str, os.PathLike)) else "the file"
    state: dict[str, Any]
    if isinstance(src, (str, os.PathLike)) and Path(src).is_dir():
        state = read_folder(Path(src))
        state = {"model": state["model"], "optimizer": state["optimizer"], "iteration": state["step"]}
    else:
        state = _read_file(src)
    if optimizer is not None and state["optimizer"] is None:
        raise ValueError(f"{name} was saved without an optimizer; write optimizer=None to load the model alone")
    _check_fit(name, state, model, optimizer)
    model.load_state_dict(state["model"])
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer"])
    return int(state["iteration"])


def _check_fit(name: str, state: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    """Refuse a checkpoint of another model or optimizer before anything of it is copied."""
    saved = {key: list(value.shape) if torch.is_tensor(value) else [] for key, value in state["model"].items()}
    here = {key: list(value.shape) if torch.is_tensor(value) else [] for key, value in model.state_dict().items()}
    for key in [*here, *saved]:
        if saved.get(key) != here.get(key):
            raise ValueError(
                f"{name} does not fit the model: {key} is {saved.get(key, 'missing')} in the checkpoint "
                f"and {here.get(key, 'missing')} in the model"
            )
    if optimizer is not None:
        groups = [len(group["params"]) for group in state["optimizer"]["param_groups"]]
        mine = [len(group["params"]) for group in optimizer.param_groups]
        if groups != mine:
            raise ValueError(f"{name} does not fit the optimizer: parameters per group are {groups} there, {mine} here")


def _read_file(src: str | os.PathLike[str] | BinaryIO, name: str = "the file") -> dict[str, Any]:
    if isinstance(src, (str, os.PathLike)):
        with open(src, "rb") as opened:
            return _read_file(opened, str(src))
    file = src if src.seekable() else io.BytesIO(src.read())
    try:
        start = file.tell()
        with zipfile.ZipFile(file) as archive:
            if (bad := archive.testzip()) is not None:  # reads every byte against its CRC
                raise ValueError(f"{name} is damaged: {bad} does not have the checksum it was written with")
        file.seek(start)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, NotImplementedError, KeyError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"{name} is no checkpoint of lehr's, or a damaged one: {reason}") from None
    keys = {"lehr", "model", "optimizer", "iteration"}
    if not (isinstance(state, dict) and keys <= set(state) and isinstance(state["model"], dict)):
        raise ValueError(f"{name} is no checkpoint of lehr's: it was written by something else")
    return state


# ---------------------------------------------------------------------------------------------------------------------
# a run's folders


def write_folder(
    checkpoints: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, Any]
) -> Path:
    """Write `checkpoints/step-00000500`: model.safetensors, optimizer.safetensors, state.json, manifest.json.

    `facts` is plain data kept in state.json (schedule, configuration, versions). Returns the folder.
    """
    folder = checkpoints / f"step-{step:08d}"
    beside = checkpoints / f".{folder.name}.{os.getpid()}.tmp"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        packed = optimizer.state_dict()
        tensors, plain = _split(packed["state"])
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, beside / "model.safetensors")
        save_file(tensors | {f"rng.{k}": v for k, v in _rng_states().items()}, beside / "optimizer.safetensors")
        state = {"step": step, "optimizer": {"state": plain, "param_groups": packed["param_groups"]}, **facts}
        (beside / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        files = {f.name: {"size": f.stat().st_size, "sha256": _sha256(f)} for f in sorted(beside.iterdir())}
        (beside / MANIFEST).write_text(json.dumps({"files": files}, indent=1) + "\n", encoding="utf-8")
        for file in beside.iterdir():
            _sync_file(file)
        _sync_folder(beside)
        if folder.exists():  # left by a run that was cut back to an earlier step
            shutil.rmtree(folder)
        os.rename(beside, folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    _sync_folder(checkpoints)
    return folder


def read_folder(folder: Path) -> dict[str, Any]:
    """Verify a checkpoint folder and return step, model, optimizer, rng and the facts. ValueError if it is damaged."""
    verify(folder)
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "optimizer.safetensors")
        state["model"] = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"the checkpoint {folder} cannot be read: {error}") from None
    state["rng"] = {name.removeprefix("rng."): value for name, value in tensors.items() if name.startswith("rng.")}
    state["optimizer"]["state"] = _join(tensors, state["optimizer"]["state"])
    return state


def verify(folder: Path) -> None:
    """Check every file against the manifest. Raises ValueError naming the first that differs."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"the checkpoint {folder} is not whole: its {MANIFEST} is missing or damaged") from None
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        if name not in files:
            raise ValueError(f"the checkpoint {folder} is not whole: {MANIFEST} does not list {name}")
    for name, fact in files.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != fact["size"] or _sha256(file) != fact["sha256"]:
            raise ValueError(f"the checkpoint {folder} is damaged: {name} is not what was written")


def all_folders(checkpoints: Path) -> list[tuple[int, Path]]:
    """Every checkpoint that became visible, as (step, folder), the oldest first."""
    if not checkpoints.is_dir():
        return []
    found = ((_NAME.fullmatch(path.name), path) for path in checkpoints.iterdir() if path.is_dir())
    return sorted((int(match[1]), path) for match, path in found if match)


def newest(checkpoints: Path) -> Iterator[tuple[Path, dict[str, Any] | ValueError]]:
    """The checkpoints, newest first: each folder with what it holds, or with the error that says why it is damaged."""
    for _, folder in reversed(all_folders(checkpoints)):
        try:
            yield folder, read_folder(folder)
        except ValueError as error:
            yield folder, error


def prune(checkpoints: Path, keep: int, step: int) -> None:
    """Remove all but the newest `keep` checkpoints up to `step`, and what a killed save has left half-written.

    A later one can only be one that a resumed run found damaged: it is left for inspection, and counts for nothing.
    """
    written = [folder for number, folder in all_folders(checkpoints) if number <= step]
    for folder in written[: -max(keep, 1)]:
        shutil.rmtree(folder)
    for left in checkpoints.glob(".step-*.tmp"):
        shutil.rmtree(left, ignore_errors=True)


def _split(state: dict[int, dict[str, Any]]) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, Any]]]:
    """Tensors of an optimizer's state under "index.key", the rest as plain data."""
    tensors = {f"{i}.{k}": v.contiguous() for i, s in state.items() for k, v in s.items() if torch.is_tensor(v)}
    plain = {str(i): {k: v for k, v in s.items() if not torch.is_tensor(v)} for i, s in state.items()}
    return tensors, plain


def _join(tensors: dict[str, torch.Tensor], plain: dict[str, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in plain.items()}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        if index != "rng":
            state[int(index)][key] = value
    return state


def _rng_states() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_rng(states: dict[str, torch.Tensor]) -> None:
    """Set torch's generators to the states of a checkpoint."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_file(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "nt":
        return  # Windows has no fsync for folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
