"""Where people watch a run: TensorBoard, W&B, MLflow, trackio, CSV and JSONL behind one call, in anybody's loop.

with trackers.open("runs/first", tensorboard=True, wandb="my-project", start=done) as tracker:
    ...
    tracker.log(step, {**rates(scheduler), "loss": loss.item(), "grad_norm": norm.item()})
    scheduler.step()

A run goes on after a stop without holes or duplicates, whatever the service can forget: a log in the run's folder says
what belongs to the run, is cut back to `start`, and a service that has exactly that goes on, else it is given it anew.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from lehr.integrations.stores import PACKAGES, STORES, Jsonl, Run, Store, flatten

__all__ = ["Tracker", "check_installed", "flatten", "open", "rates"]

Row = Mapping[str, Any]
Choice = bool | str  # off, on, or on with a name: a project or a place, see `open`

OWN_LOG = "tracked.jsonl"
STATE = "trackers.json"


def open(
    folder: str | os.PathLike[str],
    *,
    start: int = 0,
    history: Iterable[Row] | None = None,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    warn: Callable[[str], None] | None = None,
    csv: Choice = False,
    tensorboard: Choice = False,
    wandb: Choice = False,
    mlflow: Choice = False,
    trackio: Choice = False,
) -> "Tracker":
    """Open the trackers asked for, for the run in `folder` after `start` completed updates; close it at the end.

    Each is off (False), on (True), or on with a name: the log folder of several runs for `tensorboard`, a file for
    `csv`, a project for `wandb` and `trackio`, for `mlflow` an experiment, or a store if there is a "/" in it. With
    True TensorBoard and CSV write into the run's folder, the project or experiment is "lehr", and MLflow's store is
    that of MLFLOW_TRACKING_URI, else `mlflow.db` beside the run's folder. W&B is offline unless WANDB_MODE says
    otherwise. Nothing needs a network, and nothing is on because it is installed.

    `history` is what was logged before `start`: rows with a "step". Left out, it is read from `tracked.jsonl` in the
    folder, which is cut back and written on. `warn` is told of a tracker that fails on the way (by default a Python
    warning); the loop goes on without it. `name` (default: the folder's) and `config` are shown with the run.

    Raises ModuleNotFoundError, saying what to install, and ValueError for a tracker that does not start.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(folder, csv=True) as tracker:
    ...         tracker.log(0, {"lr": 0.1, "loss": 2.5})
    ...     print(Path(folder, "metrics.csv").read_text())
    step,lr,loss
    0,0.1,2.5
    <BLANKLINE>
    """
    asked = {"csv": csv, "tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow, "trackio": trackio}
    check_installed(asked)
    run = Run(Path(folder), name or Path(folder).resolve().name, flatten(config or {}, "."))
    run.folder.mkdir(parents=True, exist_ok=True)
    log = None
    if history is None:
        log = Jsonl(run.folder / OWN_LOG, start)
        history = log.rows
    return Tracker(run, {kind: choice for kind, choice in asked.items() if choice}, list(history), log, warn)


def check_installed(asked: Mapping[str, Choice], prefix: str = "") -> None:
    """Raise ModuleNotFoundError, with the extra to install, for a tracker asked for whose package is not there.

    >>> check_installed({"csv": True, "wandb": False})
    """
    for kind, choice in asked.items():
        missing = [package for package in PACKAGES[kind] if choice and find_spec(package) is None]
        if missing:
            raise ModuleNotFoundError(
                f"{prefix}{kind} needs {' and '.join(missing)}, which is not installed; pip install 'lehr[{kind}]'"
            )


def rates(scheduler: Any) -> dict[str, Any]:
    """What a `lehr` Scheduler's optimizer uses in this update and what was planned; call it before `scheduler.step()`.

    `phase`, `lr` and `lr_planned` of the first group; where there are several or they have names, also `lr/NAME` and
    `lr_planned/NAME` of each, and whatever else is scheduled. `lr` is read from the optimizer, `lr_planned` computed
    from the schedule: they differ where something else has set the group.

    >>> import torch, lehr
    >>> from lehr.integrations.torch import Scheduler
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> rates(Scheduler(optimizer, lehr.cosine(total=10, warmup=2)))
    {'phase': 'warmup', 'lr': 0.05, 'lr_planned': 0.05}
    """
    scheduler = getattr(scheduler, "scheduler", scheduler)  # accelerate's holds another in it
    record, planned = scheduler.record(), [float(lr) for lr in scheduler.get_lr()]
    groups = record["groups"]
    named = len(groups) > 1 or "name" in scheduler.optimizer.param_groups[0]
    values: dict[str, Any] = {"phase": record["phase"], "lr": record["lr"], "lr_planned": planned[0]}
    for group, lr in zip(groups, planned, strict=True):
        each = {**group, "lr_planned": lr}
        name = each.pop("name")
        values |= flatten({key: {name: value} for key, value in each.items()} if named else each)
    if record["skipped"]:
        values["skipped"] = record["skipped"]
    return values


class Tracker:
    """The trackers of a run, see `open`. `where` says of each where to look: a link, a folder, or a command."""

    def __init__(
        self,
        run: Run,
        asked: Mapping[str, Choice],
        history: list[Row],
        log: Jsonl | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.run, self._asked, self._log = run, asked, log
        self._warn = warn or _python_warning
        self._count = 0
        self._stores: dict[str, Store] = {}
        self._open(history)

    @property
    def where(self) -> dict[str, str]:
        """Each tracker's name and where to look."""
        return {kind: store.where for kind, store in self._stores.items()}

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Log the values of update `step`; dicts in them become names such as `lr/head`, None is left out."""
        row = {"step": step, **_plain(values)}
        self._count += 1
        for kind, store in ([("jsonl", self._log)] if self._log else []) + list(self._stores.items()):
            try:
                store.log(row)
            except Exception as error:  # theirs is not worth a run
                if store is self._log:
                    raise
                self._drop(kind, error)

    def restart(self, history: Iterable[Row]) -> None:
        """The run was set back: from here on it is what `history` says, with other rows to come."""
        self._finish(None)
        self._open([*history])

    def close(self) -> None:
        """Write what is waiting, and note how far each tracker is."""
        self._finish(self._count)
        if self._log:
            self._log.close()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _open(self, history: list[Row]) -> None:
        state = _read(self.run.folder / STATE)
        self._count = len(history)
        for kind, choice in self._asked.items():
            before = state.get(kind, {})
            if before.get("choice") != choice:
                before = {}  # another place: what is in the old one stays there
            # a session that was cut off, or the run set back: what is there is not what belongs there
            complete = before.get("rows") == len(history)
            try:
                try:
                    store = STORES[kind](self.run, choice, before.get("id"), history if complete else None)
                except Exception:
                    if not complete:
                        raise
                    complete = False  # somebody has deleted it there
                    store = STORES[kind](self.run, choice, None, None)
                self._stores[kind] = store
                state[kind] = {"id": store.id, "choice": choice, "rows": None}  # None: not closed
                self._note(state)
                for row in [] if complete else history:
                    store.log(row)
            except Exception as error:
                self._finish(None)
                if self._log:
                    self._log.close()
                raise ValueError(f"the tracker {kind} does not start: {_line(error)}") from error

    def _finish(self, count: int | None) -> None:
        state = _read(self.run.folder / STATE)
        for kind, store in list(self._stores.items()):
            try:
                store.close()
                state[kind]["rows"] = count
            except Exception as error:
                self._drop(kind, error)
        self._stores.clear()
        self._note(state)

    def _drop(self, kind: str, error: Exception) -> None:
        del self._stores[kind]
        self._warn(f"the tracker {kind} failed and is left out from here on; it is filled on resume: {_line(error)}")

    def _note(self, state: dict[str, Any]) -> None:
        beside = self.run.folder / f".{STATE}.{os.getpid()}.tmp"
        beside.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        os.replace(beside, self.run.folder / STATE)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flat names to numbers and texts: what JSON has, with arrays of one number as that number."""
    flat = {name: value for name, value in flatten(values).items() if value is not None and name != "step"}
    return {name: value.item() if hasattr(value, "item") else value for name, value in flat.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # then everything is filled anew
    return state if isinstance(state, dict) else {}


def _line(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())


def _python_warning(text: str) -> None:
    import warnings

    warnings.warn(text, stacklevel=4)
