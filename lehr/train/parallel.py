"""Several processes, one run: who is who, what they decide together, and what is said when one of them fails.

The processes are those of `torchrun`, and talk through torch.distributed: gloo on CPUs, NCCL on CUDA. Process 0 alone
prints, and touches the run's folder; the others (`lehr.train.following`) hear from it what they need to know.

Whatever is decided on the host (a signal, a save) goes over gloo, also beside NCCL, once an update: a process that
hangs is found there after `train.timeout` seconds, and named.
"""

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from lehr.train import RunFailed, Stopped, ToldElsewhere
from lehr.train.config import Train
from lehr.train.signals import Asked

T = TypeVar("T")

BEGINNING = 600.0  # seconds, at least, until all have come, read the text and a checkpoint, and made the first update
PATIENCE = 3.0  # seconds that a process whose peer is gone waits to hear why, and who else is left
FIRST = 10.0  # seconds that a process which fails waits for process 0 to say the same


@dataclass(frozen=True)
class World:
    """The processes of a run; without arguments, the one that is alone.

    `mode` is ddp or fsdp, or none for one process; `local_rank` counts the processes of a machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    mode: str = "none"
    host: Any = None  # the group for what is on the host

    def rows(self, batch_size: int) -> range:
        """The rows of a batch that are this process's."""
        share = batch_size // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def tell(self, value: Any = None) -> Any:
        """What process 0 says, on all; the others' `value` is not looked at."""
        if self.size == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, src=0, group=self.host)
        return said[0]

    def gather(self, value: Any) -> list[Any]:
        """What each says, by rank, on process 0; elsewhere nothing."""
        if self.size == 1:
            return [value]
        said: list[Any] = [None] * self.size if not self.rank else []
        dist.gather_object(value, said if not self.rank else None, dst=0, group=self.host)
        return said

    def hand_out(self, values: list[Any]) -> Any:
        """The one of process 0's `values` that is this process's."""
        if self.size == 1:
            return values[0]
        mine = [None]
        dist.scatter_object_list(mine, values if not self.rank else None, src=0, group=self.host)
        return mine[0]

    def together(self, work: Callable[[], T]) -> T:
        """What `work` returns here, once it has succeeded on all; where it has not, process 0 raises why."""
        if self.size == 1:
            return work()
        try:
            value, error = work(), None
        except (ValueError, OSError, ModuleNotFoundError) as raised:
            error = raised
        said: list[Any] = [None] * self.size
        dist.all_gather_object(said, None if error is None else str(error), group=self.host)
        failed = [(rank, text) for rank, text in enumerate(said) if text is not None]
        if not failed:
            return value
        if self.rank:
            raise ToldElsewhere
        if error is not None:
            raise error
        rank, text = failed[0]
        raise ValueError(f"rank {rank}: {text}")

    def agree(self, asked: Asked, due: bool = False) -> "Agreed":
        """What any of the processes was asked for, taken: the same on all, in the same step."""
        save, asked.save = asked.save, False
        flags = [asked.stop, int(save), int(due)]
        if self.size > 1:
            together = torch.tensor(flags)
            dist.all_reduce(together, op=dist.ReduceOp.MAX, group=self.host)
            flags = together.tolist()
        return Agreed(flags[0], bool(flags[1]), bool(flags[2]))

    def sums(self, *values: float) -> list[float]:
        """The sum of each over all processes."""
        if self.size == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(together, group=self.host)
        summed: list[float] = together.tolist()
        return summed

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes, on the device: nothing waits for it there."""
        if self.size > 1:
            dist.all_reduce(value)
            value /= self.size
        return value

    def hurry(self, seconds: float) -> None:
        """From now on wait so long for the others, and no longer."""
        if self.size > 1:
            from torch.distributed.distributed_c10d import _set_pg_timeout

            _set_pg_timeout(timedelta(seconds=seconds), self.host)
            if self.host is not dist.group.WORLD:  # what hangs is to be found by the host, so NCCL waits longer
                _set_pg_timeout(timedelta(seconds=2 * seconds), dist.group.WORLD)

    def meet(self) -> None:
        """Wait until all are here."""
        self.sums(0.0)


@dataclass(frozen=True)
class Agreed:
    """What the processes were asked for, and whether a save is due on the one that writes."""

    stop: int = 0  # the signal's number, 0 for none
    save: bool = False
    due: bool = False

    def __or__(self, later: "Agreed") -> "Agreed":
        return Agreed(self.stop or later.stop, self.save or later.save, self.due or later.due)


@contextmanager
def joined(settings: Train, choose_device: Callable[[], str]) -> Iterator[World]:
    """Find the other processes that torchrun began, and take leave of them at the end.

    Raises ValueError for settings that several processes cannot have, RunFailed for one that hangs or is gone, and
    ToldElsewhere where another process has said what is wrong.
    """
    size = int(os.environ.get("WORLD_SIZE") or 1)
    if size == 1:
        yield World()
        return
    # here, since there are builds of torch without them, which train in one process
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    mode, device = settings.parallel or "ddp", settings.device or choose_device()
    _check(settings, mode, size, device)
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", 0))
    limit = timedelta(seconds=max(settings.timeout, BEGINNING))
    try:
        store, *_ = next(rendezvous("env://", rank, size, timeout=limit))
        store = PrefixStore(_met(store, rank, size, limit), store)
        if device == "cuda":
            torch.cuda.set_device(local_rank)
            dist.init_process_group("nccl", store=store, rank=rank, world_size=size, timeout=2 * limit)
            host = dist.new_group(backend="gloo", timeout=limit)
        else:
            dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=limit)
            host = dist.group.WORLD
    except (RuntimeError, dist.DistError) as error:
        raise RunFailed(f"process {rank} of {size} did not find the others: {_first_line(error)}") from error
    told = _Told(PrefixStore("lehr", store), rank, size)
    try:
        yield World(rank, size, local_rank, mode, host)
    except Stopped:
        dist.destroy_process_group()
        raise
    except Exception as error:  # the group is left as it is: taking leave could wait for the one that is gone
        raised = told.explained(error, settings.timeout) if _lost(error) else told.failed(error)
        if raised is error:
            raise
        raise raised from error
    else:
        # left to the interpreter's end it aborts that, in gloo's threads ("terminate called without an active
        # exception"), in 2 of 3 runs of torch 2.13 without this line, and none of 28 with it; see also lehr/__main__.py
        dist.destroy_process_group()


def _met(store: Any, rank: int, size: int, limit: timedelta) -> str:
    """Wait for the others, and return a name that only those have who began together.

    torchrun keeps its store when it begins its processes anew (`--max-restarts`), and torch 2.13 then finds the
    addresses of those that are dead, so that no restart succeeds over gloo. So process 0 answers each greeting that it
    finds with a name that is new each time, until all have heard it.
    """
    mine = uuid.uuid4().hex
    if rank:
        store.set(f"lehr greeting {rank}", mine)
        store.wait([f"lehr answer {mine}"], limit)
        name: str = store.get(f"lehr answer {mine}").decode()
        store.set(f"lehr heard {name} {rank}", "")
        return name
    answered: set[str] = set()
    missing = set(range(1, size))
    deadline = time.monotonic() + limit.total_seconds()
    while missing:
        for other in sorted(missing):
            if store.check([f"lehr greeting {other}"]):
                greeting = store.get(f"lehr greeting {other}").decode()
                if greeting not in answered:
                    store.set(f"lehr answer {greeting}", mine)
                    answered.add(greeting)
        missing = {other for other in missing if not store.check([f"lehr heard {mine} {other}"])}
        if time.monotonic() > deadline:
            raise dist.DistError(
                f"no sign of rank {', '.join(map(str, sorted(missing)))} in {limit.total_seconds():g} s"
            )
        time.sleep(0.01)
    return mine


def _check(settings: Train, mode: str, size: int, device: str) -> None:
    """Raise ValueError, naming the figures, for what several processes cannot do."""
    if "RANK" not in os.environ:
        raise ValueError(
            f"WORLD_SIZE is {size}, but RANK is not set: begin the processes with torchrun, or unset WORLD_SIZE"
        )
    if mode == "none":
        raise ValueError(
            f"torchrun has begun {size} processes, and train.parallel is none; write --set train.parallel=ddp or fsdp, "
            "or leave torchrun out"
        )
    if device not in ("cpu", "cuda"):
        raise ValueError(
            f"{size} processes cannot share train.device={device}; write --set train.device=cpu, or cuda, where each "
            "takes the GPU of its number"
        )
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or int(os.environ.get("LOCAL_RANK", 0)) + 1)
    if device == "cuda" and here > (gpus := torch.cuda.device_count()):
        fewer = f"begin {gpus} processes on it (torchrun --nproc-per-node {gpus}), or " if gpus else ""
        raise ValueError(
            f"{here} processes of this machine would take a GPU each, and it has {gpus or 'none that torch can use'}; "
            f"{fewer}write --set train.device=cpu"
        )
    batch, micro = settings.batch_size, settings.micro_batch_size
    if batch % size:
        near = max(round(batch / size), 1) * size
        raise ValueError(
            f"train.batch_size={batch} sequences, which all processes share, do not divide by {size}; "
            f"write --set train.batch_size={near}, say, or begin another number of processes"
        )
    share = batch // size
    if 0 < micro < share and share % micro:
        fits = max(number for number in range(1, micro + 1) if share % number == 0)
        raise ValueError(
            f"train.batch_size={batch} over {size} processes is {share} sequences each, which "
            f"train.micro_batch_size={micro} does not divide; write --set train.micro_batch_size={fits}, say"
        )


# ---------------------------------------------------------------------------------------------------------------------
# when one fails


_BROKEN = ("gloo", "nccl", "pair closure", "connection closed", "connection reset", "broken pipe", "timed out waiting")


def _lost(error: Exception) -> bool:
    """Whether it is the other side's doing: torch has no exception for that on the CPU."""
    if isinstance(error, dist.DistError):
        return True
    return type(error) is RuntimeError and any(word in str(error).lower() for word in _BROKEN)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]


class _Told:
    """What the processes leave for each other in the launcher's store, where one that fails can still read it."""

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self._store, self._rank, self._size = store, rank, size
        store.set(f"who {rank}", f"process {os.getpid()} on {socket.gethostname()}")

    def failed(self, error: Exception) -> Exception:
        """`error`, which is this process's own, as it is to be raised here.

        What is wrong with an update is so on every process: process 0 says it.
        """
        if isinstance(error, ToldElsewhere):
            return error
        expected = isinstance(error, (RunFailed, ValueError, OSError, ModuleNotFoundError))
        with suppress(RuntimeError, dist.DistError):
            self._store.set(f"cause {self._rank}", _first_line(error))
            if self._rank and expected:
                self._wait(lambda: self._has("cause 0"), FIRST)
                if self._has("cause 0"):
                    return ToldElsewhere()
        if not self._rank or not expected:
            return error
        return RunFailed(f"{self._whose(self._rank)}: {error}")

    def explained(self, error: Exception, timeout: float) -> Exception:
        """Why this process cannot go on, after torch said that another one is gone, or too late."""
        late = any(word in str(error).lower() for word in ("timed out", "timeout"))
        line = _first_line(error)
        try:
            self._store.set(f"here {self._rank}", "")
            self._wait(lambda: self._any("cause") or not self._missing(), PATIENCE)
            if self._any("cause"):
                return ToldElsewhere()
            missing = self._missing()
            if any(rank not in missing for rank in range(self._rank)):
                return ToldElsewhere()  # the first of those that are left says it
            who = ", ".join(map(self._whose, missing))
        except (RuntimeError, dist.DistError):  # it is gone, and with it the process that keeps it
            return RunFailed(f"the launcher, or process 0, cannot be reached any more ({line}); go on with --resume")
        if not missing:
            return RunFailed(f"the connection between the processes broke ({line}); go on with --resume")
        if late:
            return RunFailed(
                f"{who} did not answer for {timeout:g} seconds (train.timeout) and hangs, it seems; "
                "the run goes on from its newest checkpoint with --resume"
            )
        return RunFailed(
            f"{who} ended without saying why (killed, or out of memory?); "
            "the run goes on from its newest checkpoint with --resume"
        )

    def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _has(self, key: str) -> bool:
        there: bool = self._store.check([key])
        return there

    def _any(self, key: str) -> bool:
        return any(self._has(f"{key} {rank}") for rank in range(self._size))

    def _missing(self) -> list[int]:
        return [rank for rank in range(self._size) if not self._has(f"here {rank}")]

    def _whose(self, rank: int) -> str:
        who = self._store.get(f"who {rank}").decode() if self._has(f"who {rank}") else "never heard of"
        return f"rank {rank} ({who})"
