"""What a run is at one step, copied off its device, so that it can be written while training goes on."""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Snapshot:
    """Copies on the CPU, contiguous: three times the parameters' memory under AdamW, for as long as it is written.

    `optimizer` is its state's tensors under "index.key"; `state` is plain data: step, the rest of the optimizer, and
    the facts of the run; `random` the generators of each process by rank, see `random_states`.
    """

    step: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    state: dict[str, Any]
    random: list[dict[str, Any]]


def take(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    facts: dict[str, Any],
    whole: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor,
    randoms: list[dict[str, Any]] | None = None,
) -> Snapshot:
    """Copy model, optimizer and random states after `step` completed updates; `facts` is plain data to keep beside.

    `whole` puts a tensor of several processes together, in the order of `tensors`; `randoms` are their random states.
    """
    packed = optimizer.state_dict()
    items = packed["state"].items()
    moments = {f"{index}.{key}": _copy(whole(v)) for index, s in items for key, v in s.items() if torch.is_tensor(v)}
    plain = {str(index): {key: v for key, v in s.items() if not torch.is_tensor(v)} for index, s in items}
    state = {"step": step, "optimizer": {"state": plain, "param_groups": packed["param_groups"]}, **facts}
    weights = {name: _copy(whole(value)) for name, value in model.state_dict().items()}
    return Snapshot(step, weights, moments, copy.deepcopy(state), randoms or [random_states()])


def tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
    """The tensors of a snapshot, in the order in which `take` copies them."""
    for state in optimizer.state_dict()["state"].values():
        yield from (value for value in state.values() if torch.is_tensor(value))
    yield from model.state_dict().values()


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())  # contiguous, whatever it was


def optimizer_state(snapshot_state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Put the two halves of an optimizer's state dict together again."""
    plain = snapshot_state["optimizer"]["state"]
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in plain.items()}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        state[int(index)][key] = value
    return {"state": state, "param_groups": snapshot_state["optimizer"]["param_groups"]}


# ---------------------------------------------------------------------------------------------------------------------
# random states


def seed_all(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch (every device of it)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """The generators of Python, NumPy and torch, on the CPU and on each device, as plain data."""
    kind, words, gauss = random.getstate()
    name, key, position, has_gauss, cached = np.random.get_state()
    states: dict[str, Any] = {
        "python": [kind, list(words), gauss],
        "numpy": [name, np.asarray(key).tolist(), position, has_gauss, cached],
        "torch": _hex(torch.get_rng_state()),
    }
    if torch.cuda.is_available():
        states["cuda"] = _hex(torch.cuda.get_rng_state())  # of this process's device, whatever its number
    if torch.backends.mps.is_available():
        states["mps"] = _hex(torch.mps.get_rng_state())
    return states


def restore_random(states: dict[str, Any]) -> None:
    """Set the generators to what `random_states` gave; those of devices that are not here are left out."""
    kind, words, gauss = states["python"]
    random.setstate((kind, tuple(words), gauss))
    name, key, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(key, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(_tensor(states["torch"]))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(_tensor(states["cuda"]))
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(_tensor(states["mps"]))


def draws(device: torch.device) -> torch.Tensor:
    """Where the generator of a device stands; nothing waits for the device."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.get_rng_state()


def set_draws(device: torch.device, state: torch.Tensor) -> None:
    """Put the generator of a device where `draws` found it."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        torch.set_rng_state(state)


def _hex(state: torch.Tensor) -> str:
    return bytes(state.cpu().numpy()).hex()


def _tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
