"""`metrics.jsonl`: one JSON object a line, written at once, each step once and in order.

Update rows have `step` (the 0-based update), lr, phase, loss, grad_norm, tokens, tokens_per_s and time; an update that
was not finite and so was skipped has `skipped` and no loss (null). Evaluation rows have `step` (completed updates),
val_loss, val_bpb (null for ids without a tokenizer), val_tokens and time (seconds, cumulative over resumes).
"""

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from lehr.train import BEGAN, RunFailed
from lehr.train.durable import FULL, replace_text

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a log; a last line that a kill cut in half is left out.

    Raises ValueError naming the line for damage anywhere else.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not (isinstance(row, dict) and "step" in row):
                raise ValueError
            rows.append(row)
        except ValueError:
            if number < len(lines):  # what follows the last newline is empty or half-written
                raise ValueError(
                    f"{path}: line {number} is no row of a log: {line[:60]!r}; remove the line, and go on"
                ) from None
    return rows


def is_evaluation(row: Row) -> bool:
    """Whether the row is an evaluation, not an update."""
    return "val_loss" in row


class Log:
    """The log of a run, cut back to `step` completed updates when it is opened.

    Kept are the updates below `step` and the evaluations up to it; a shortened log is written beside and renamed.
    `rows` holds what is in the file, `losses` the validation losses that are finite, by completed updates.

    Where the disk is full, rows wait in memory, and are written in order once there is room. `sync` may be called from
    another thread than the rest.
    `follower` is told of each row that is written.
    """

    follower: Callable[[Row], None] | None = None

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.rows: list[Row] = read_rows(path)
        self.losses: dict[int, float] = {}
        self._handle = -1
        self._waiting = bytearray()  # what the disk has not taken yet
        self._flushing = Lock()
        self._before = 0.0
        self.cut(step)
        self._before = self.rows[-1]["time"] if self.rows else 0.0

    def cut(self, step: int) -> None:
        """Cut the log back to `step` completed updates."""
        self.close()
        self._waiting.clear()
        self.rows[:] = [r for r in self.rows if r["step"] < step or (is_evaluation(r) and r["step"] == step)]
        self.losses.clear()
        for row in self.rows:
            self._note(row)
        replace_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    def write(self, row: Row) -> None:
        """Append one row, with the time. Raises RunFailed if the file is gone or cannot be written."""
        row["time"] = round(self._before + time.perf_counter() - BEGAN, 3)
        self.rows.append(row)
        self._note(row)
        try:
            self._flush(json.dumps(row).encode() + b"\n")
        except OSError as error:
            if error.errno not in FULL:
                raise RunFailed(f"{self.path} cannot be written: {error.strerror}") from error
        if not os.fstat(self._handle).st_nlink:  # the system would go on writing into nothing
            raise RunFailed(
                f"{self.path} has vanished while the run was writing it: was {self.path.parent} moved or removed?"
            )
        if self.follower:
            self.follower(row)

    def evaluated(self, step: int) -> bool:
        """Whether the evaluation after `step` completed updates is in the log."""
        return any(is_evaluation(row) and row["step"] == step for row in reversed(self.rows))

    def sync(self) -> None:
        """Wait until the rows are on the disk; OSError if it has no room for them."""
        self._flush()
        os.fsync(self._handle)

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _note(self, row: Row) -> None:
        if is_evaluation(row) and math.isfinite(row["val_loss"]):
            self.losses[row["step"]] = row["val_loss"]

    def _flush(self, more: bytes = b"") -> None:
        with self._flushing:
            self._waiting += more
            while self._waiting:
                del self._waiting[: os.write(self._handle, bytes(self._waiting))]
