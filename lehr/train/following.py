"""The processes from rank 1 on: what they hear from process 0, and what they have in place of terminal and folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from lehr.train.config import Config
from lehr.train.metrics import Log, Row
from lehr.train.report import Report
from lehr.train.setup import Parts
from lehr.train.snapshot import Snapshot
from lehr.train.writer import Writer


@dataclass(frozen=True)
class Order:
    """What process 0 tells the others, once it knows what is trained."""

    config: Config
    folder: Path
    resumed: bool
    branched: bool

    @classmethod
    def of(cls, parts: Parts, folder: Path, resumed: bool, branched: bool) -> "Order":
        """The order to train these parts."""
        return cls(parts.config, folder, resumed, branched)


class Silence(Report):
    """A report that nobody reads."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def say(self, text: str) -> None:
        """Nothing; and so below."""

    def warn(self, text: str) -> None: ...

    def show(self, table: Table) -> None: ...

    def begin(self, step: int) -> None: ...

    def update(self, row: dict[str, Any], seconds_left: float) -> None: ...

    def close(self) -> None: ...


class Unwritten(Log):
    """A log without a file or rows."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.losses: dict[int, float] = {}

    def cut(self, step: int) -> None:
        """Nothing; and so below."""

    def write(self, row: Row) -> None: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...


class Contributor(Writer):
    """Gives its part of a snapshot to process 0, which writes."""

    def __init__(self) -> None:
        self.saved: int | None = None

    def save(self, take: Callable[[], Snapshot | None]) -> None:
        """Take part."""
        take()

    def wait(self) -> None:
        """Nothing; and so below."""

    def check(self) -> None: ...

    def news(self) -> list[str]:
        return []

    @property
    def due(self) -> bool:
        return False
