"""What `trackers.open` writes to: one small class a service, each opened anew or to go on with what it has.

A store takes rows: flat dicts of a "step" and numbers or texts. `where` says where to look, `id` names what is written,
so that a later session can go on with it. Each library is imported when its store is opened.
"""

import contextlib
import csv
import io
import json
import logging
import math
import os
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

PROJECT = "lehr"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A run as the services know it: its folder, name, and configuration, flat."""

    folder: Path
    name: str
    config: Mapping[str, Any]


class Store(Protocol):
    """What a tracker is.

    It is made of (run, choice, id, before). `before` is None where a new one begins, which takes the place of `id` if
    there is one; otherwise the one named `id` goes on, which holds just these rows.
    """

    where: str
    id: str

    def log(self, row: Row) -> None:
        """Write a row."""

    def close(self) -> None:
        """Write what is waiting."""


Before = list[Row] | None


def flatten(values: Mapping[str, Any], by: str = "/") -> dict[str, Any]:
    """Names of nested dicts joined, lists numbered.

    >>> flatten({"lr": {"body": 0.1, "head": 0.2}, "betas": (0.9, 0.95)})
    {'lr/body': 0.1, 'lr/head': 0.2, 'betas/0': 0.9, 'betas/1': 0.95}
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, (list, tuple)):
            value = dict(enumerate(value))
        if isinstance(value, Mapping):
            flat |= {f"{name}{by}{key}": inner for key, inner in flatten(value, by).items()}
        else:
            flat[str(name)] = value
    return flat


def numbers(row: Row) -> dict[str, float]:
    """The numbers of a row, without its step."""
    return {k: float(v) for k, v in row.items() if k != "step" and isinstance(v, (int, float))}


def texts(row: Row) -> dict[str, str]:
    """The texts of a row."""
    return {k: v for k, v in row.items() if isinstance(v, str)}


class Jsonl:
    """A JSON object a line, written at once; cut back to the rows before `start` when it is opened.

    A number that is not finite is null, as JSON has none. A last line that a kill cut in half is dropped.
    """

    def __init__(self, path: Path, start: int) -> None:
        self.where, self.id = str(path), path.name
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.rows: list[Row] = []
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except ValueError:
                if number < len(lines):
                    raise ValueError(f"{path}: line {number} is not JSON: {line[:60]!r}") from None
                break
            if row["step"] < start:
                self.rows.append(row)
        _replace(path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self._file = path.open("a", encoding="utf-8")

    def log(self, row: Row) -> None:
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        self._file.write(json.dumps(plain) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class Csv:
    """A table with a column a name, in the order in which they came up; a new one is added to the rows before it."""

    def __init__(self, run: Run, choice: bool | str, id: str | None, before: Before) -> None:
        self._path = Path(choice) if isinstance(choice, str) else run.folder / "metrics.csv"
        self.where = self.id = str(self._path)
        if isinstance(choice, str) and id is None and before is None and self._path.exists():
            raise ValueError(f"{self._path} is there already, and not of this run; write another file for the table")
        self._rows: list[Row] = list(before or [])
        self._columns = ["step"]
        self._file = self._begin()

    def log(self, row: Row) -> None:
        self._rows.append(row)
        if set(row) <= set(self._columns):
            self._file.write(self._table([row]))
            self._file.flush()
        else:
            self._file.close()
            self._file = self._begin()

    def close(self) -> None:
        self._file.close()

    def _begin(self) -> io.TextIOBase:
        self._columns = list(dict.fromkeys(["step", *(key for row in self._rows for key in row)]))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _replace(self._path, self._table([dict(zip(self._columns, self._columns, strict=True)), *self._rows]))
        return self._path.open("a", newline="", encoding="utf-8")

    def _table(self, rows: list[Row]) -> str:
        out = io.StringIO()
        csv.DictWriter(out, self._columns, lineterminator="\n").writerows(rows)
        return out.getvalue()


class TensorBoard:
    """Event files, an event a row, flushed at once; a text such as the phase is written where it changes."""

    def __init__(self, run: Run, choice: bool | str, id: str | None, before: Before) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary, self._text, self._said = Event, Summary, text_pb, _Said(before)
        folder = Path(choice) / run.name if isinstance(choice, str) else run.folder / "tensorboard"
        if before is None and id:  # ours, and written anew
            for old in folder.glob(f"events.out.tfevents.*.{id}"):
                old.unlink()
        self.id = id if id and before is not None else _new_id()
        self._writer = EventFileWriter(str(folder), filename_suffix=f".{self.id}")
        self.where = f"tensorboard --logdir {folder if choice is True else folder.parent}"

    def log(self, row: Row) -> None:
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in numbers(row).items()]
        events = [self._summary(value=values)] if values else []
        events += [self._text(name, text) for name, text in self._said.new(row).items()]
        for summary in events:
            self._writer.add_event(self._event(wall_time=time.time(), step=row["step"], summary=summary))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """Weights & Biases; `step` is the axis of every chart. All sessions of a run are in the group of its name."""

    def __init__(self, run: Run, choice: bool | str, id: str | None, before: Before) -> None:
        import wandb

        place = Path(os.environ.get("WANDB_DIR", run.folder))
        if before is None and id:  # out of the way of `wandb sync`, which would add it to what takes its place
            for old in (place / "wandb").glob(f"offline-run-*-{id}"):
                old.rename(old.with_name(f"replaced-{old.name}"))
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        settings = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True)
        self._run: Any = wandb.init(
            project=_project(choice),
            dir=str(place),
            id=None if before is None else id,
            resume=None if before is None else "allow",
            name=run.name,
            group=run.name,
            config=dict(run.config),
            mode=mode,
            settings=settings,
        )
        self._run.define_metric("*", step_metric="step")
        # its own count of rows has to go up over the sessions, while an update and an evaluation may be of one step
        self._count = len(before or [])
        folder = Path(self._run.dir).parent
        self.id = self._run.id
        self.where = f"wandb sync {folder}" if mode == "offline" else str(self._run.url or f"WANDB_MODE={mode}")

    def log(self, row: Row) -> None:
        self._run.log(dict(row), step=self._count)
        self._count += 1

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """MLflow: an experiment's run, in a database; numbers are metrics, a text is a tag where it changes."""

    EVERY = 1.0  # seconds; a write takes longer than many an update

    def __init__(self, run: Run, choice: bool | str, id: str | None, before: Before) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        for name in ("mlflow.store.db.utils", "alembic"):  # they tell of every table that they make
            logging.getLogger(name).setLevel(logging.WARNING)
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag

        store = isinstance(choice, str) and "/" in choice
        beside = f"sqlite:///{run.folder.resolve().parent / 'mlflow.db'}"
        uri = str(choice) if store else os.environ.get("MLFLOW_TRACKING_URI", beside)
        if "://" not in uri:  # a folder
            Path(uri).mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{Path(uri).resolve() / 'mlflow.db'}"
        self._client, self._metric, self._tag = MlflowClient(tracking_uri=uri), Metric, RunTag
        experiment = PROJECT if store else _project(choice)
        found = self._client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else self._client.create_experiment(experiment)
        if before is not None and id:
            self.id = id
            self._client.update_run(id, "RUNNING")
        else:
            if id:  # `mlflow runs restore` brings it back
                with contextlib.suppress(Exception):
                    self._client.delete_run(id)
            self.id = self._client.create_run(place, run_name=run.name).info.run_id
            params = [Param(_mlflow_name(k), str(v)[:500]) for k, v in run.config.items()]
            for part in range(0, len(params), 100):
                self._client.log_batch(self.id, params=params[part : part + 100])
        self.where = f"mlflow ui --backend-store-uri {uri}" if uri.startswith("sqlite") else uri
        self.where += f" (experiment {experiment}, run {self.id})"
        self._said, self._waiting, self._written = _Said(before), [], time.monotonic()  # type: ignore[var-annotated]

    def log(self, row: Row) -> None:
        now = int(time.time() * 1000)
        self._waiting += [self._metric(_mlflow_name(k), v, now, row["step"]) for k, v in numbers(row).items()]
        tags = [self._tag(k, v) for k, v in self._said.new(row).items()]
        if tags or len(self._waiting) > 500 or time.monotonic() - self._written > self.EVERY:
            self._write(tags)

    def close(self) -> None:
        self._write([])
        self._client.set_terminated(self.id)

    def _write(self, tags: list[Any]) -> None:
        self._client.log_batch(self.id, metrics=self._waiting, tags=tags)
        self._waiting, self._written = [], time.monotonic()


class Trackio:
    """trackio: a project's run in its own folder (TRACKIO_DIR), or where the user's environment says."""

    def __init__(self, run: Run, choice: bool | str, id: str | None, before: Before) -> None:
        import trackio

        self._project = _project(choice)
        # a run is found again by its name, so no two of them share one
        self.id = id if id and before is not None else f"{run.name}-{_new_id()}"
        if before is None and id:
            with contextlib.suppress(Exception):  # it may be gone
                for old in trackio.Api().runs(self._project):
                    if old.name == id:
                        old.delete()
        with contextlib.redirect_stdout(io.StringIO()):  # it would say where it writes; we do
            self._run: Any = trackio.init(
                self._project,
                name=self.id,
                group=run.name,
                config=dict(run.config),
                resume="never" if before is None else "must",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self.where = f"trackio show --project {self._project} (run {self.id}, in {trackio.utils.TRACKIO_DIR})"

    def log(self, row: Row) -> None:
        self._run.log({k: v for k, v in row.items() if k != "step"}, step=row["step"])

    def close(self) -> None:
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()


STORES: dict[str, Any] = {
    "csv": Csv,
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "mlflow": MLflow,
    "trackio": Trackio,
}
PACKAGES = {"csv": (), "tensorboard": ("tensorboard",), "wandb": ("wandb",), "trackio": ("trackio",)}
PACKAGES["mlflow"] = ("mlflow", "sqlalchemy", "alembic")  # mlflow-skinny leaves the last two out


class _Said:
    """Texts are told where they change."""

    def __init__(self, before: Before) -> None:
        self._last: dict[str, str] = {}
        for row in before or []:
            self._last |= texts(row)

    def new(self, row: Row) -> dict[str, str]:
        new = {name: text for name, text in texts(row).items() if self._last.get(name) != text}
        self._last |= new
        return new


def _new_id() -> str:
    return uuid.uuid4().hex[:8]


def _project(choice: bool | str) -> str:
    return choice if isinstance(choice, str) else PROJECT


def _mlflow_name(name: str) -> str:
    """MLflow takes letters, digits and _-./ and blanks in a name."""
    return re.sub(r"[^\w\-./ ]", "_", name)


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
