"""The rows of a run's log, handed on to the trackers of `track.*`.

`metrics.jsonl`, cut back on resume, says what belongs to the run: a tracker that does not have just that is given it
anew, so that its points go on without holes or duplicates.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lehr.integrations import trackers
from lehr.train import config as configs
from lehr.train.metrics import Log, Row, is_evaluation
from lehr.train.report import Report
from lehr.train.setup import Parts

UPDATE = ("phase", "lr", "loss", "grad_norm", "tokens", "tokens_per_s", "skipped")
EVALUATION = ("val_loss", "val_bpb")


@contextmanager
def follow(log: Log, parts: Parts, folder: Path, report: Report) -> Iterator[None]:
    """Within it, each row that the log writes goes to the trackers that the configuration asks for.

    Raises ValueError for a tracker that does not start.
    """
    asked = asdict(parts.config.track)
    if not any(asked.values()):
        yield
        return
    config = {key: value for key, value in configs.to_dict(parts.config).items() if key != "track"}
    history = [_told(row, parts) for row in log.rows]
    tracker = trackers.open(folder, history=history, config=config, warn=report.warn, **asked)
    told = len(history)
    for kind, where in tracker.where.items():
        report.say(f"track    {kind}: {where}")

    def hand_on(row: Row) -> None:
        nonlocal told
        if len(log.rows) != told + 1:  # the log was cut back on the way
            tracker.restart([_told(row, parts) for row in log.rows[:-1]])
        told = len(log.rows)
        values = _told(row, parts)
        if not is_evaluation(row):  # what the groups were really set to
            values |= {f"lr/{group['name']}": float(group["lr"]) for group in parts.optimizer.param_groups}
        tracker.log(row["step"], values)

    log.follower = hand_on
    try:
        yield
    finally:
        log.follower = None
        tracker.close()


def _told(row: Row, parts: Parts) -> dict[str, Any]:
    """A row of the log as the trackers have it: with the LR of each group, and the planned one."""
    if is_evaluation(row):
        return {"step": row["step"], **{key: row[key] for key in EVALUATION if row[key] is not None}}
    lr = row["lr"]
    planned = parts.config.optimizer.lr * parts.schedule(row["step"])
    rates = {f"lr/{group['name']}": lr for group in parts.optimizer.param_groups}
    return {"step": row["step"], **{key: row[key] for key in UPDATE if key in row}, **rates, "lr_planned": planned}
