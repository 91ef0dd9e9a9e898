"""What is asked of a run from outside: SIGINT and SIGTERM to save and stop, SIGUSR1 to save and go on."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lehr.train import Stopped


@dataclass
class Asked:
    """The requests that have come in; the loop looks at them between two updates."""

    stop: int = 0  # the signal's number, 0 for none
    save: bool = False


@contextmanager
def listening() -> Iterator[Asked]:
    """Collect signals instead of dying of them. A second SIGINT or SIGTERM stops at once, with nothing saved.

    Under torchrun it does not: torchrun hands on what it gets, a cluster's manager signals both, and the two would be
    taken for impatience. torchrun itself loses patience after 30 seconds (`--shutdown-timeout`).
    """
    asked, launched = Asked(), "TORCHELASTIC_RUN_ID" in os.environ

    def stop(signum: int, frame: Any) -> None:
        if asked.stop and not launched:
            raise Stopped(signum, at_once=True)
        asked.stop = signum

    def save(signum: int, frame: Any) -> None:
        asked.save = True

    handlers: dict[int, Any] = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if hasattr(signal, "SIGUSR1"):
        handlers[signal.SIGUSR1] = save
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
