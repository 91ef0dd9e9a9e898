"""Runs `lehr` in real processes, forked from one that has imported torch, so that each takes its own time alone.

    python tests/forks.py

Reads one request a line on stdin and answers on stdout. A request is JSON: `words` (the command line), `out` (a path:
`.out` and `.err` are appended for its output), and faults to inject into that process, none of which the product knows:

* `kill_at`: SIGKILL itself just before the n-th call of os.write, os.fsync, os.replace, os.rename, os.unlink, os.rmdir
  or os.mkdir (counted from the first, in all threads); `count`: a path for the number of such calls in a whole run;
* `file_limit`: RLIMIT_FSIZE in bytes; a write beyond it fails with "file too large", as on a full disk;
* `nonfinite`: {"calls": [...], "value": "nan"}: the n-th losses that are asked for are that;
* `env`: environment variables of that process;
* `stop_at`: SIGSTOP itself at the n-th loss that is asked for, as if it hung; `die_at`: SIGKILL; `term_at`: SIGTERM;
* `beat`: a path, to which a byte is added at every loss that is asked for, so that others see it work;
* `plain`: without curves.png and sample.txt at the end, which take longer than a run of a dozen updates;
* `no_capabilities`: root may no longer write where the permissions say it may not.

The answer is {"pid": ..., "status": null} at once, and once more with its status when it has ended, negative for a
signal.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import threading
from contextlib import suppress

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
CALLS = ("write", "fsync", "replace", "rename", "unlink", "rmdir", "mkdir")


def count_calls(kill_at=0):
    """Count the calls, and SIGKILL at the n-th; those before it are the real ones. Returns the count, in a list."""
    count, lock = [0], threading.Lock()

    def wrap(real):
        def counted(*args, **kwargs):
            with lock:
                count[0] += 1
                if count[0] == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return counted

    for name in CALLS:
        setattr(os, name, wrap(getattr(os, name)))
    return count


def spoil_losses(calls, value):
    from lehr.nn import TransformerLM

    real, count = TransformerLM.loss, 0

    def loss(self, ids, targets):
        nonlocal count
        result = real(self, ids, targets)
        if self.training:
            count += 1
            if count in calls:
                return result * float(value)
        return result

    TransformerLM.loss = loss


def hurt_at(call, signum=None):
    """At that loss a signal; without one, more memory is asked for than any machine has."""
    from lehr.nn import TransformerLM

    real, count = TransformerLM.loss, 0

    def loss(self, ids, targets):
        nonlocal count
        count += self.training
        if self.training and count == call:
            if signum is None:
                return ids.new_empty(2**50)
            os.kill(os.getpid(), signum)
        return real(self, ids, targets)

    TransformerLM.loss = loss


def beat(path):
    from lehr.nn import TransformerLM

    real = TransformerLM.loss

    def loss(self, ids, targets):
        with open(path, "ab") as file:
            file.write(b".")
        return real(self, ids, targets)

    TransformerLM.loss = loss


def leave_out_pictures():
    from lehr.train import finish

    finish.draw_curves = finish.show_sample = lambda *args: None


def drop_capabilities():
    """Without them root may no longer write where the permissions say it may not."""
    if os.geteuid():
        return  # as it is
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        os._exit(77)


def child(request):
    for stream, ending in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{request['out']}.{ending}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    os.environ.update(request.get("env", {}))
    for fault in ("stop", "die", "term"):
        if f"{fault}_at" in request:
            signum = {"stop": signal.SIGSTOP, "die": signal.SIGKILL, "term": signal.SIGTERM}[fault]
            hurt_at(request[f"{fault}_at"], signum)
    if request.get("late"):  # as of an accelerator
        from lehr.train import loop

        loop.heard_at_once = lambda device: False
    if "crowd_at" in request:
        hurt_at(request["crowd_at"])
    if "file_limit" in request:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], resource.RLIM_INFINITY))
    if "nonfinite" in request:
        spoil_losses(request["nonfinite"]["calls"], request["nonfinite"].get("value", "nan"))
    if "beat" in request:
        beat(request["beat"])
    if request.get("plain"):
        leave_out_pictures()
    if request.get("no_capabilities"):
        drop_capabilities()
    counts = count_calls(request.get("kill_at", 0)) if {"kill_at", "count"} & set(request) else None
    status = 1
    try:
        from lehr.cli import main

        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)
        status = main(request["words"])
    except KeyboardInterrupt:  # at that very moment
        status = 130
    except SystemExit as stop:
        status = stop.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if "count" in request:
            with open(request["count"], "w") as file:
                file.write(str(counts[0]))
        os._exit(status)


def serve():
    """Load everything, then fork as asked. One thread, so that a child is a whole copy."""
    import matplotlib.figure
    import rich.progress
    import torch._dynamo  # the first optimizer would load it

    import lehr.train.lead

    assert rich and matplotlib.figure and torch._dynamo and lehr.train.lead  # loaded before the first fork
    answers = os.fdopen(os.dup(1), "w")

    def answer(**fields):
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    unread = b""
    while True:
        if select.select([0], [], [], 0.01)[0]:
            if not (more := os.read(0, 2**16)):
                return
            unread += more
            while b"\n" in unread:
                line, _, unread = unread.partition(b"\n")
                request = json.loads(line)
                # Python would swallow a KeyboardInterrupt in what it does after a fork
                signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
                if not (pid := os.fork()):
                    child(request)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)
                answer(pid=pid, status=None)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                answer(pid=ended[0], status=os.waitstatus_to_exitcode(ended[1]))


if __name__ == "__main__":
    serve()
