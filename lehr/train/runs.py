"""Runs as they lie on the disk: opened for sampling and export, and listed."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from lehr.nn import TransformerLM
from lehr.train import config as configs
from lehr.train import folders, lock
from lehr.train.metrics import Row, is_evaluation, read_rows
from lehr.train.tokenizer import Characters, Numbers, Subwords, Tokenizer, load

FRESH = 60  # seconds since the last line of the log within which a run counts as running, where there are no locks


@dataclass(frozen=True)
class Run:
    """A run's folder, with the weights of one checkpoint. `facts` is its config.json."""

    folder: Path
    facts: dict[str, Any]
    model: TransformerLM
    tokenizer: Tokenizer
    step: int  # completed updates


def open_run(text: str, device: str = "", tokenizer: str = "") -> Run:
    """Open `RUN` at its newest whole checkpoint, or `RUN@STEP`, for inference.

    `tokenizer` names a file to use instead of the run's own, for one that was trained on ids alone. Raises ValueError
    if there is no run, no such checkpoint, or it is damaged.
    """
    name, at, step = text.rpartition("@")
    if not at or Path(text).is_dir() or not step.isdecimal():
        name, step = text, ""
    folder = Path(name)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such run: {name}")
    facts = configs.read(folder)
    path, found = _checkpoint(folder, int(step) if step else None)
    try:
        weights = load_file(path / "model.safetensors")
        model = TransformerLM(**configs.to_dict(configs.config_of(facts))["model"])
        model.load_state_dict(weights)
    except Exception as error:  # torch's and safetensors' own
        raise ValueError(f"the weights in {path} are not those of {folder}'s config.json: {error}") from None
    try:
        model = model.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except torch.OutOfMemoryError:
        raise ValueError(f"{folder} does not fit in the GPU's free memory; write --device cpu") from None
    except (RuntimeError, AssertionError):  # torch's many ways to say so
        raise ValueError(f"no such device: {device}; write --device cpu") from None
    table = tokenizer_of(folder, facts)
    if tokenizer:
        if not isinstance(table, Numbers):
            raise ValueError(f"{folder} has its own tokenizer, {facts['data']['tokenizer']}; leave --tokenizer out")
        if not Path(tokenizer).exists():
            raise FileNotFoundError(f"no such tokenizers file: {tokenizer}")
        table = load(tokenizer)
    return Run(folder, facts, model, table, found)


def _checkpoint(folder: Path, step: int | None) -> tuple[Path, int]:
    """The newest whole checkpoint, or the one after `step` updates."""
    there = folders.all_folders(folder / "checkpoints")
    if step is not None:
        known = ", ".join(str(number) for number, _ in there) or "none"
        there = [(number, path) for number, path in there if number == step]
        if not there:
            raise ValueError(f"{folder} has no checkpoint after {step} updates; it has {known}")
    damage = None
    for number, path in reversed(there):
        try:
            folders.verify(path)
        except folders.Damaged as error:
            damage = damage or error
            continue
        return path, number
    raise damage or ValueError(f"{folder} has no checkpoint yet")


def tokenizer_of(folder: Path, facts: dict[str, Any]) -> Tokenizer:
    """The tokenizer that a run was trained with, from the run's folder alone."""
    name, text = facts["data"]["tokenizer"], facts["text"]
    if name == "bytes":
        return load("bytes")
    if name == "none":
        return Numbers(facts["model"]["vocab_size"])
    if name == "char":
        if "alphabet" not in text:
            raise ValueError(f"{folder} does not know its characters: it was made by an older lehr")
        return Characters(text["alphabet"])
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"{folder} lacks its tokenizer.json")
    tokenizer = load(str(path))
    assert isinstance(tokenizer, Subwords)
    if tokenizer.fingerprint != text.get("tokenizer"):
        raise ValueError(f"{path} is not the one that the run was trained with")
    return tokenizer


# ---------------------------------------------------------------------------------------------------------------------
# a list of runs


@dataclass(frozen=True)
class Summary:
    """A run in a list. `state`: done, running (a process holds the folder), stopped, planned, damaged."""

    folder: Path
    state: str
    step: int  # completed updates
    steps: int
    best: float | None  # the lowest val_loss, or loss where nothing was evaluated
    schedule: str
    parameters: int
    size: int  # bytes on the disk
    changed: float  # time of the last change


def list_runs(folder: Path) -> list[Summary]:
    """The run that a folder is, or those in it, the newest last."""
    there = [folder, *(path.parent for path in folder.glob("*/config.json"))]
    return sorted((summary(path) for path in there if _is_run(path)), key=lambda s: s.changed)


def _is_run(folder: Path) -> bool:
    """Whether a folder's config.json is a run's, damaged or not, and not another program's (an export's, say)."""
    if not (folder / "config.json").is_file():
        return False
    try:
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError:
        return True
    known = isinstance(facts, dict) and "train" in facts
    return known or (folder / "metrics.jsonl").exists() or (folder / "checkpoints").exists()


def summary(folder: Path) -> Summary:
    """Look at a run's folder without loading a model."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    size, log = 0, folder / "metrics.jsonl"
    changed = (log if log.exists() else folder / "config.json").stat().st_mtime
    for path in files:
        try:
            size += path.stat().st_size
        except FileNotFoundError:  # a running run removes old checkpoints
            continue
    try:
        facts = configs.read(folder)
        rows = read_rows(log)
        steps = facts["train"]["steps"]
        schedule = f"{facts['optimizer']['lr']:g} * ({facts['schedule']['lr']})"
        parameters = count_parameters(facts["model"])
    except (ValueError, KeyError, TypeError):
        return Summary(folder, "damaged", 0, 0, None, "", 0, size, changed)
    updates = [row["step"] + 1 for row in rows if not is_evaluation(row)]
    step = max(updates, default=0)
    if not rows:
        state = "planned"
    elif step >= steps:
        state = "done"
    else:
        held = lock.in_use(folder)
        state = "running" if held or (held is None and time.time() - changed < FRESH) else "stopped"
    return Summary(folder, state, step, steps, best(rows), schedule, parameters, size, changed)


def best(rows: list[Row]) -> float | None:
    """The lowest validation loss of a log; of the training loss where nothing was evaluated."""
    evaluated = [row["val_loss"] for row in rows if is_evaluation(row)]
    losses = evaluated or [row["loss"] for row in rows if not is_evaluation(row)]
    return min((loss for loss in losses if loss is not None and math.isfinite(loss)), default=None)


def count_parameters(model: dict[str, Any]) -> int:
    """The parameters of a model of these sizes.

    >>> sizes = {"vocab_size": 50, "context_length": 16, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 96}
    >>> count_parameters(sizes) == sum(p.numel() for p in TransformerLM(**sizes).parameters())
    True
    """
    width = model["d_model"]
    layer = 4 * width**2 + 3 * width * model["d_ff"] + 2 * width
    parameters: int = 2 * model["vocab_size"] * width + model["num_layers"] * layer + width
    return parameters
