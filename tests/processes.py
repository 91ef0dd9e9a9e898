"""What the fault tests share: a small run, and processes of it that are started, hurt and waited for."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lehr.train.metrics import is_evaluation, read_rows

TINY = {
    "model.d_model": 8, "model.num_heads": 1, "model.num_layers": 1, "model.d_ff": 16, "model.context_length": 16,
    "train.device": "cpu", "train.batch_size": 4, "train.eval_every": 4, "train.eval_batches": 2,
    "train.checkpoint_every": 4, "train.steps": 12, "optimizer.lr": "1e-2",
}  # fmt: skip


class Process:
    """A run of `lehr` forked by `Forks`."""

    def __init__(self, forks, pid, out):
        self.forks, self.pid, self._out = forks, pid, out

    def wait(self, seconds=60):
        """Its exit status; negative for the signal that killed it."""
        return self.forks.wait(self.pid, seconds)

    def send(self, signum):
        os.kill(self.pid, signum)

    @property
    def running(self):
        self.forks.read(0)
        return self.pid not in self.forks.ended

    @property
    def out(self):
        return self._said("out")

    @property
    def err(self):
        return self._said("err")

    def _said(self, ending):
        path = Path(f"{self._out}.{ending}")
        return path.read_text() if path.exists() else ""  # it has just been forked


class Forks:
    """The process that `forks.py` describes, and those it has forked."""

    def __init__(self, folder):
        self._folder, self._count, self.ended, self._unread = folder, 0, {}, b""
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
        )
        os.set_blocking(self._server.stdout.fileno(), False)
        self._started = []

    def start(self, *words, **faults):
        self._count += 1
        out = str(self._folder / str(self._count))
        request = {"words": [*map(str, words)], "out": out, **faults}
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        self._server.stdin.flush()
        self.until(lambda: self.read(0.01) or self._started)
        return Process(self, self._started.pop(), out)

    def run(self, *words, seconds=60, **faults):
        process = self.start(*words, **faults)
        process.status = process.wait(seconds)
        return process

    def wait(self, pid, seconds):
        self.until(lambda: self.read(0.01) or pid in self.ended, seconds)
        return self.ended[pid]

    def read(self, pause):
        time.sleep(pause)
        self._unread += self._server.stdout.read() or b""
        *lines, self._unread = self._unread.split(b"\n")
        for answer in map(json.loads, lines):
            if answer["status"] is None:
                self._started.append(answer["pid"])
            else:
                self.ended[answer["pid"]] = answer["status"]

    @staticmethod
    def until(condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"nothing came of it in {seconds} seconds")

    def close(self):
        self._server.stdin.close()
        self._server.wait(10)
        self._server.stdout.close()


def train(text, out, *words, **settings):
    """The command line of a tiny run."""
    chosen = {**TINY, **{name.replace("__", "."): value for name, value in settings.items()}}
    sets = [word for name, value in chosen.items() for word in ("--set", f"{name}={value}")]
    return ["train", "--data", str(text), "--out", str(out), *sets, *map(str, words)]


def resume(out, *words):
    """A run's own settings, without any other argument."""
    return ["train", "--out", str(out), "--resume", *map(str, words)]


def timeless(folder):
    """The rows of a run without what differs from run to run."""
    rows = read_rows(folder / "metrics.jsonl")
    return [{key: value for key, value in row.items() if key not in ("time", "tokens_per_s")} for row in rows]


def updates(folder):
    return [row for row in read_rows(folder / "metrics.jsonl") if not is_evaluation(row)]


def steps(folder):
    """The steps of a run's checkpoints."""
    return sorted(int(path.name[5:]) for path in (folder / "checkpoints").glob("step-????????"))


def same_end(one, two, step):
    """Whether two runs have the same weights and optimizer after `step` updates, to the last bit of the files."""
    files = ("model.safetensors", "optimizer.safetensors", "random-00000.json")
    folders = [folder / "checkpoints" / f"step-{step:08d}" for folder in (one, two)]
    return all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in files)


def wait_for_rows(process, folder, count, seconds=60):
    """Wait until a running process has logged so many rows."""

    def there():
        time.sleep(0.002)
        assert process.running, process.err
        return len(read_rows(folder / "metrics.jsonl")) >= count

    Forks.until(there, seconds)


KILLED = -signal.SIGKILL
