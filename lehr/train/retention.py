"""Which checkpoints a run keeps, and how much room they take.

Kept are the newest `train.keep`, never fewer than two (so `keep=1` keeps two: one alone could be the one that turns out
damaged), and the one with the least validation loss. Checkpoints found damaged (`*.damaged`) count for nothing and are
never removed.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lehr.train.folders import all_folders

FEWEST = 2


def prune(checkpoints: Path, keep: int, step: int, losses: Mapping[int, float] | None = None) -> list[int]:
    """Remove the checkpoints up to `step` that need not be kept, and return their steps.

    `losses` has the validation loss of the steps that were evaluated. A checkpoint later than `step` is none of this
    run's writing: it is left, and counts for nothing.
    """
    written = {number: folder for number, folder in all_folders(checkpoints) if number <= step}
    gone = sorted(set(written) - kept(list(written), keep, losses or {}))
    for number in gone:
        # first out of sight: a removal that is cut short must not leave a checkpoint that looks damaged
        hidden = checkpoints / f".{written[number].name}.{os.getpid()}.old"
        os.rename(written[number], hidden)
        shutil.rmtree(hidden)
    return gone


def kept(steps: list[int], keep: int, losses: Mapping[int, float]) -> set[int]:
    """Which of these steps' checkpoints are kept; `keep=0` keeps the two newest alone.

    >>> sorted(kept([10, 20, 30, 40], keep=2, losses={10: 1.5, 20: 1.3, 30: 1.4}))
    [20, 30, 40]
    """
    newest = sorted(steps)[-max(keep, FEWEST) :]
    judged = [step for step in sorted(steps) if step in losses]
    best = [min(judged, key=lambda step: losses[step])] if judged and keep else []
    return {*newest, *best}


def sweep(folder: Path) -> list[str]:
    """Remove what a process that was killed left half-written in a run's folder; return the checkpoints among it."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
    left = [path for ending in ("tmp", "old") for path in (folder / "checkpoints").glob(f".step-*.{ending}")]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in left]


def most_at_once(keep: int, steps: int, every: int) -> int:
    """How many checkpoints a run has on the disk at its fullest: those kept, the best one, and one being written."""
    if not every:
        return 0
    written = -(-steps // every)
    return min(written, max(keep, FEWEST) + 2)


def free_bytes(folder: Path) -> int:
    """The room on the disk of a folder that may not be there yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
