"""Checkpoints written off the training thread: what is waited for is a copy in memory, not the disk."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from lehr.train import RunFailed, folders, retention
from lehr.train.durable import FULL
from lehr.train.snapshot import Snapshot

RETRY_AFTER = 60.0  # seconds until a save that found no room is tried again, between the regular ones


class Writer:
    """Writes snapshots into `checkpoints` one at a time, and removes older ones once the new one is verified.

    A full disk does not end the run: what retention could do without is removed, the save is tried once more, and then
    given up until the next (`due` says when). `news` has what the person at the terminal should know. Any other failure
    is raised as RunFailed by the next call.

    `before` is called on the writing thread just before a checkpoint becomes visible; `losses` is read as a checkpoint
    is finished, and has the validation losses by step.
    """

    def __init__(self, checkpoints: Path, keep: int, losses: Mapping[int, float], before: Callable[[], None]) -> None:
        self.saved: int | None = None  # the step of the last checkpoint that this process wrote
        self._checkpoints, self._keep, self._losses, self._before = checkpoints, keep, losses, before
        self._news: SimpleQueue[str] = SimpleQueue()
        self._failure: BaseException | None = None
        self._missed = 0.0  # when a save found no room last, 0 once one succeeded
        self._thread: Thread | None = None

    def save(self, take: Callable[[], Snapshot | None]) -> None:
        """Take a snapshot and begin to write it. Waits for the one before: there is never more than one in memory."""
        self.wait()
        snapshot = take()
        assert snapshot is not None  # None is what the processes get that do not write
        # a daemon: a second Ctrl-C must not wait for the disk, and what is half-written is not visible
        self._thread = Thread(target=self._run, args=(snapshot,), name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is being written; raises RunFailed for a save that failed of more than a full disk."""
        if self._thread is not None:
            while self._thread.is_alive():
                self._thread.join(0.1)  # in short turns, so that signals are heard
            self._thread = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            if isinstance(failure, OSError):
                raise RunFailed(_explain(failure, self._checkpoints)) from failure
            raise failure

    def news(self) -> list[str]:
        """What has happened since the last call."""
        lines = []
        try:
            while True:
                lines.append(self._news.get_nowait())
        except Empty:
            return lines

    def check(self) -> None:
        """Raise what a finished save failed of, without waiting for one under way."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    @property
    def due(self) -> bool:
        """Whether a save that found no room should be tried again now."""
        return bool(self._missed) and time.monotonic() - self._missed > RETRY_AFTER

    def _run(self, snapshot: Snapshot) -> None:
        try:
            self._write(snapshot)
        except BaseException as error:  # nobody would hear of it on this thread
            self._failure = error

    def _write(self, snapshot: Snapshot) -> None:
        step = snapshot.step
        self._checkpoints.mkdir(exist_ok=True)  # not its parents: a run's folder that has vanished is not made anew
        try:
            folders.write(self._checkpoints, snapshot, self._before)
        except OSError as full:
            if full.errno not in FULL:
                raise
            gone = retention.prune(self._checkpoints, 0, step)
            if gone:
                self._news.put(
                    f"no room for the checkpoint of step {step:,} ({os.strerror(full.errno or 0)}): removed "
                    f"{', '.join(f'step {number:,}' for number in gone)} to make some"
                )
            try:
                folders.write(self._checkpoints, snapshot, self._before)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self._missed = time.monotonic()
                there = [number for number, _ in folders.all_folders(self._checkpoints) if number <= step]
                newest = f"the newest is that of step {there[-1]:,}" if there else "there is none yet"
                self._news.put(
                    f"the checkpoint of step {step:,} could not be written ({os.strerror(error.errno or 0)}): free "
                    f"some room in {self._checkpoints}; {newest}, training goes on, and the next save tries again"
                )
                return
        if self._missed:
            self._news.put(f"there is room again: the checkpoint of step {step:,} is written")
        self._missed, self.saved = 0.0, step
        retention.prune(self._checkpoints, self._keep, step, self._losses)


def _explain(error: OSError, checkpoints: Path) -> str:
    """What a failed save means, for the person at the terminal."""
    reason = error.strerror or str(error)
    if not checkpoints.is_dir():
        return (
            f"the run's folder {checkpoints.parent} has vanished: was it moved, removed or unmounted? "
            "Put it back and write --resume, or train into another --out"
        )
    return f"{checkpoints} cannot be written ({reason}); mend that and write --resume, or train into another --out"
