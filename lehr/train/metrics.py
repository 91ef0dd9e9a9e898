"""`metrics.jsonl`: one JSON object a line, flushed at once, each step once and in order.

Update rows have `step` (the 0-based update), lr, phase, loss, grad_norm, tokens, tokens_per_s and time; evaluation rows
have `step` (completed updates), val_loss, val_bpb, val_tokens and time (seconds, cumulative over resumes).
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lehr.train import BEGAN

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
            rows.append(json.loads(line))
        except ValueError:
            if number < len(lines):  # what follows the last newline is empty or half-written
                raise ValueError(f"{path}: line {number} is not JSON: {line[:60]!r}") from None
    return rows


def is_evaluation(row: Row) -> bool:
    """Whether the row is an evaluation, not an update."""
    return "val_loss" in row


class Log:
    """The log of a run, cut back to `step` completed updates when it is opened.

    Kept are the updates below `step` and the evaluations up to it; a shortened log is written beside and renamed.
    `rows` holds what is in the file. `follower` is told of each row that is written.
    """

    follower: Callable[[Row], None] | None = None

    def __init__(self, path: Path, step: int) -> None:
        self.rows = [r for r in read_rows(path) if r["step"] < step or (is_evaluation(r) and r["step"] == step)]
        self._before = self.rows[-1]["time"] if self.rows else 0.0
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with open(beside, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in self.rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the run

    def write(self, row: Row) -> None:
        """Append one row, with the time."""
        row["time"] = round(self._before + time.perf_counter() - BEGAN, 3)
        self.rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self.follower:
            self.follower(row)

    def evaluated(self, step: int) -> bool:
        """Whether the evaluation after `step` completed updates is in the log."""
        return any(is_evaluation(row) and row["step"] == step for row in self.rows)

    def sync(self) -> None:
        """Wait until the rows are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
