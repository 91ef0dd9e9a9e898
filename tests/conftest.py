"""Settings of the whole suite."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: tests run side by side, a core each

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; what is started here is interrupted
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: on a machine shared with others the time of one example says nothing about the code. In CI the examples
# are the same each time, so that a red build is the doing of the change under test and not of the draw; at home they
# are new each time, so that they go on looking.
settings.register_profile("lehr", deadline=None)
settings.register_profile("lehr-ci", settings.get_profile("lehr"), derandomize=True, print_blob=True)
settings.load_profile("lehr-ci" if os.environ.get("CI") else "lehr")


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """Starts processes of `lehr` that have imported torch already (tests/forks.py)."""
    from processes import Forks  # which imports torch

    if not hasattr(os, "fork"):
        pytest.skip("the processes are forked")
    server = Forks(tmp_path_factory.mktemp("forks"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """A small text to train on."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"{i}. Tiger Tiger, burning bright, in the forests of the night;\n" for i in range(100)))
    return path
