"""What the person at the terminal sees: on a terminal a progress bar, elsewhere one plain line every so many steps.

Everything but the bar goes to the run's `log.txt` too.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lehr.plot import key_points
from lehr.schedule import Schedule
from lehr.train.durable import FULL
from lehr.words import write_number

PLAIN_LINES = 20  # a run without a terminal prints about so many


class Report:
    """Prints a run's story to the terminal and to `log`."""

    def __init__(self, log: Path, steps: int) -> None:
        self._log = open(log, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the run
        self._console = Console(highlight=False, soft_wrap=True)
        self.steps = steps
        self._next_line = 1
        self._bar: Progress | None = None
        if self._console.is_terminal:
            columns = (BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"))
            self._bar = Progress(*columns, TimeRemainingColumn(compact=True), console=self._console, transient=True)
            self._task = self._bar.add_task("", total=None, facts="")

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        with _full_disk_ignored():
            self._console.print(text, markup=False)
        self._write(text)

    def warn(self, text: str) -> None:
        """Print a line on stderr."""
        with _full_disk_ignored():
            Console(file=sys.stderr, highlight=False, soft_wrap=True).print(text, markup=False)
        self._write(text)

    def show(self, table: Table) -> None:
        """Print a table."""
        with _full_disk_ignored():
            self._console.print(table)
        with _full_disk_ignored():
            Console(file=self._log, width=80).print(table)
            self._log.flush()

    def begin(self, step: int) -> None:
        """Training starts at `step`, to end after `self.steps`."""
        self._next_line = 1
        if self._bar:
            self._bar.update(self._task, completed=step, total=self.steps)
            self._bar.start()

    def update(self, row: dict[str, Any], seconds_left: float) -> None:
        """Update `row["step"]` is done; `row` is as in metrics.jsonl."""
        done = row["step"] + 1
        if self._bar:
            facts = f"{row['phase']}  lr {row['lr']:.2e}  loss {row['loss']:.3f}  {row['tokens_per_s']:,.0f} tok/s"
            self._bar.update(self._task, completed=done, facts=facts)
        if done >= self._next_line or done == self.steps:
            every = max(1, self.steps // PLAIN_LINES)
            self._next_line = (done // every + 1) * every
            line = (
                f"step {row['step']:>{len(str(self.steps))}}/{self.steps}  {row['phase']:8}  lr {row['lr']:.3e}  "
                f"loss {row['loss']:.4f}  {row['tokens_per_s']:,.0f} tok/s  {duration(seconds_left)} left"
            )
            if not self._bar:
                with _full_disk_ignored():
                    self._console.print(line, markup=False)
            self._write(line)

    def close(self) -> None:
        """The run is over, one way or the other."""
        if self._bar:
            self._bar.stop()
        with _full_disk_ignored():
            self._log.close()

    def _write(self, text: str) -> None:
        with _full_disk_ignored():
            self._log.write(text + "\n")
            self._log.flush()


@contextmanager
def _full_disk_ignored() -> Iterator[None]:
    """Training goes on without its story where the disk has no room for it; the terminal may be a file, too."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise


def key_point_table(schedule: Schedule, lr: float, total: int) -> Table:
    """The schedule's key points as a table: step, learning rate, phase."""
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("")
    table.add_column("step", justify="right")
    table.add_column("lr", justify="right")
    table.add_column("phase")
    for point in key_points(schedule, total):
        table.add_row(point.name, f"{point.step:,}", f"{lr * point.value:.4g}", point.phase)
    return table


def duration(seconds: float) -> str:
    """Write seconds as a person would: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def count(number: float) -> str:
    """Write a large count short: 1.73M, 42.1k."""
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{suffix}"
    return write_number(number)


def size(number: float) -> str:
    """Write a number of bytes short: 1.73 GB, 42 kB.

    >>> size(2_590_000_000)
    '2.59 GB'
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:.0f} bytes"
