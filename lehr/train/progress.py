"""How far something is: on a terminal a bar, elsewhere a plain line every tenth."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from lehr.train.report import size


class Bar:
    """A context that shows progress on stderr; stdout is for results."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._what, self._tenth = "", 0
        if self._console.is_terminal:
            columns = (TextColumn("{task.description:10}"), BarColumn(bar_width=None), DownloadColumn())
            self._bar = Progress(*columns, TimeRemainingColumn(compact=True), console=self._console, transient=True)
            self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "Bar":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def watch(self, what: str, done: int, total: int) -> None:
        """`done` of `total` bytes, in the course of `what`."""
        if what != self._what:
            self._what, self._tenth = what, 0
            if self._bar:
                self._bar.reset(self._task, description=what, total=total)
        if self._bar:
            self._bar.update(self._task, completed=done)
        elif 10 * done >= (self._tenth + 1) * total:
            self._tenth = 10 * done // total
            self.say(f"{what}: {size(done)} of {size(total)}")

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(text, markup=False)
