"""Checkpoints for anybody's model: one file, whole or not there, which cannot execute anything when it is loaded.

(The folders of a run, with their manifest: `lehr.train.folders`. `load_checkpoint` reads both.)
"""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from lehr.train import folders
from lehr.train.durable import sync_folder


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
    sync_folder(path.parent)


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
        state = folders.read(Path(src))
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
