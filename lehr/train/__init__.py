"""The trainer: `lehr train`, and its parts for a loop of your own."""

import signal
import time

BEGAN = time.perf_counter()  # when the process turned to training, before torch is loaded


class RunFailed(Exception):
    """The run cannot go on; the message is one line for the person at the terminal."""


class ToldElsewhere(RunFailed):
    """The run cannot go on, and another of its processes has said why."""


class Stopped(BaseException):
    """SIGINT or SIGTERM (`signum`) ended the run. Like KeyboardInterrupt, no `except Exception` swallows it.

    `at_once`: in the middle of something, with nothing saved.
    """

    def __init__(self, signum: int, at_once: bool = False) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.at_once = signum, at_once
