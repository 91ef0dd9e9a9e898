"""Updates whose loss or gradients are not finite. None reaches the weights; `train.on_nonfinite` says what follows.

* `stop` (default): the run fails, and saves first what it was before the update.
* `skip`: the batch is passed over and the run goes on with the next; after 10 in a row it fails all the same.
* `rollback`: the run goes back to its newest checkpoint and on from there with the batches after the bad one, as
  Chowdhery et al. 2022 (PaLM, arXiv 2204.02311, section 5.1) did by hand for spikes of the loss; the fourth time from
  the same checkpoint it fails. Where there is none yet, what the run was before the update is saved as the first.

Each is recorded in the run's `nonfinite.jsonl`, with the windows of the batch, so that they can be looked at. The
limits are counted in that file and in the log, so that they hold over resumes.
"""

import json
import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lehr.train import RunFailed
from lehr.train.durable import FULL
from lehr.train.metrics import Row
from lehr.train.report import Report
from lehr.train.setup import Parts
from lehr.train.snapshot import draws, set_draws

IN_A_ROW = 10
ROLLBACKS = 3
NAME = "nonfinite.jsonl"


class Failed(RunFailed):
    """The run does not go on. What it is after `at` updates is whole, and worth a checkpoint."""

    def __init__(self, what: str, advice: str, at: int) -> None:
        super().__init__(f"{what}: {advice}")
        self.what, self.advice, self.at = what, advice, at


class RollBack(Exception):
    """Go back to the newest checkpoint, and on from there with the batch after `batch`."""

    def __init__(self, step: int, batch: int) -> None:
        super().__init__(f"update {step} is not finite")
        self.step, self.batch = step, batch


@dataclass
class _Update:
    step: int
    lr: float
    loss: Tensor
    norm: Tensor
    bad: Tensor
    drawn: Tensor | None  # the generator before its first draw


class Guard:
    """Judges each update on the device, and acts once the host has heard of it.

    On the CPU that is at once. On an accelerator it is when the host looks at the device anyway (to evaluate or save),
    and at the latest before the next update. A host that is ahead waits there for the verdict of the update before,
    while a CUDA device has the next one's passes still to do and so never waits itself: verdict, loss and norm are
    copied to pinned memory, and an event says that they have come. (Elsewhere the host waits for those passes, too.)

    `skipped` is how many updates in a row were passed over just before the first one.
    """

    def __init__(self, parts: Parts, folder: Path, report: Report, shift: int, skipped: int = 0) -> None:
        self._parts, self._path, self._report, self._shift = parts, folder / NAME, report, shift
        self._pending: _Update | None = None
        self._skipped = skipped
        self._failed: Failed | None = None
        self._drawn: Tensor | None = None
        self._heard: Any = None
        if parts.device.type == "cuda":  # one of each is enough: an update is judged once the one before is settled
            self._verdict = torch.empty(3, pin_memory=True)
            self._heard = torch.cuda.Event()

    def begin(self) -> None:
        """An update begins: remember where the generator of dropout stands."""
        if self._parts.config.model.dropout:
            self._drawn = draws(self._parts.device)

    def judge(self, step: int, lr: float, loss: Tensor, norm: Tensor) -> Tensor:
        """Whether update `step` must be skipped, as a 0-d boolean tensor on the device.

        `loss` and `norm` are those of all processes, so that all come to the same verdict.
        """
        bad = ~(torch.isfinite(loss) & torch.isfinite(norm))
        self._pending = _Update(step, lr, loss, norm, bad, self._drawn)
        if self._heard is not None:
            self._verdict.copy_(torch.stack([bad.float(), loss.float(), norm.float()]), non_blocking=True)
            # in the stream of that copy: where the device is cuda:1, say, it is not the current one
            self._heard.record(torch.cuda.current_stream(bad.device))
        return bad

    def settle(self) -> dict[str, Any] | None:
        """Act on the update judged last, and return what its log row says beside the usual; None where it is settled.

        Raises Failed or RollBack where the run does not go on with the next update; `check` does once the row is
        written.
        """
        update, self._pending = self._pending, None
        if update is None:
            return None
        if self._heard is not None:
            self._heard.synchronize()
            bad, loss, norm = self._verdict.tolist()
        else:
            bad, loss, norm = update.bad.item(), update.loss.item(), update.norm.item()
        if not bad:
            self._skipped = 0
            return {"step": update.step, "lr": update.lr, "loss": loss, "grad_norm": norm}
        self._parts.optimizer.uncount()
        self._skipped += 1
        what = f"step {update.step} has the loss {loss:.4g} and the gradient norm {norm:.4g} (LR {update.lr:.3g})"
        then = self._parts.config.train.on_nonfinite
        self._record(update, loss, norm, then)
        if then != "skip" and update.drawn is not None:  # what is saved now has this update before it
            set_draws(self._parts.device, update.drawn)
        if then == "stop":
            raise Failed(
                f"{what}, its batch is in {self._path}",
                "--resume with --on-nonfinite skip or rollback, or try a lower --lr or a longer warmup in a new run",
                update.step,
            )
        if then == "rollback":
            self._report.warn(f"{what}; going back to the newest checkpoint, to go on with the batches after this one")
            raise RollBack(update.step, update.step + self._shift)
        if self._skipped >= IN_A_ROW:
            if self._drawn is not None and self._drawn is not update.drawn:  # the next one drew, and is not made
                set_draws(self._parts.device, self._drawn)
            advice = "try a lower --lr or a longer warmup"
            self._failed = Failed(
                f"{what}, nor was any of the {self._skipped - 1} updates before it finite", advice, update.step + 1
            )
        else:
            self._report.warn(f"{what}: skipped; its batch is in {self._path}")
        return {"step": update.step, "lr": update.lr, "loss": None, "grad_norm": None, "skipped": True}

    def check(self) -> None:
        """Raise Failed where too many updates in a row were passed over."""
        if self._failed is not None:
            raise self._failed

    def _record(self, update: _Update, loss: float, norm: float, then: str) -> None:
        if self._parts.world.rank:
            return  # process 0 writes it
        batch = update.step + self._shift
        row = {
            "step": update.step, "lr": update.lr, "loss": _number(loss), "grad_norm": _number(norm), "then": then,
            "batch": batch, "windows": self._parts.windows.of_batch(batch),
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        }  # fmt: skip
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            if error.errno not in FULL:
                raise RunFailed(f"{self._path} cannot be written: {os.strerror(error.errno or 0)}") from error


def in_a_row(rows: list[Row], start: int) -> int:
    """How many updates just before `start` were passed over, by the log's rows.

    >>> in_a_row([{"step": step, "skipped": True} for step in (0, 2, 3)], start=4)
    2
    """
    skipped, count = {row["step"] for row in rows if row.get("skipped")}, 0
    while start - 1 - count in skipped:
        count += 1
    return count


def rolled_back(folder: Path) -> set[int]:
    """The batches that a run has gone back for so far."""
    batches: set[int] = set()
    with suppress(FileNotFoundError), open(folder / NAME, encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError, KeyError, TypeError):  # a line that a kill cut in half
                row = json.loads(line)
                if row["then"] == "rollback":
                    batches.add(int(row["batch"]))
    return batches


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no NaN
