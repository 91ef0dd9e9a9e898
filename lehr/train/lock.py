"""One process a run's folder: an advisory lock that dies with its owner, so that none has to be cleared by hand."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no lock there
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold `folder/.lock` (flock); the file says who does. ValueError if another process holds it.

    The file goes when the run ends; one that a killed process left behind locks nothing.
    """
    if fcntl is None:
        yield
        return
    path = folder / NAME
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise _taken(folder) from None
        except OSError:
            os.close(handle)
            yield  # a file system without locks
            return
        if _is(handle, path):
            break
        os.close(handle)  # its owner removed it between our two calls: what we hold is nobody's lock
    try:
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.truncate(handle, 0)
        os.pwrite(handle, json.dumps(owner).encode() + b"\n", 0)
        yield
    finally:
        if _is(handle, path):
            path.unlink(missing_ok=True)
        os.close(handle)


def refuse(folder: Path) -> None:
    """Raise the ValueError of `held` where another process holds the folder, and leave no trace."""
    if in_use(folder):
        raise _taken(folder)


def in_use(folder: Path) -> bool | None:
    """Whether a process holds the folder; None where that cannot be told."""
    if fcntl is None:
        return None
    try:
        handle = os.open(folder / NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(handle)  # and with it the lock


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _taken(folder: Path) -> ValueError:
    who = _owner(folder / NAME)
    return ValueError(f"{folder} is in use by {who}; wait for it, stop it, or train into another --out")


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it is just writing its name
