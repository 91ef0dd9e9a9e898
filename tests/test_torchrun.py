"""With torchrun itself: a process that is killed and begun anew, a signal to the launcher, two launchers."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist
from processes import Forks, steps, train, updates
from test_parallel import same_curve

HERE = Path(__file__).parent
LAUNCHED = str(HERE / "launched.py")


@contextmanager
def torchrun(*words):
    """A launcher in the background, in a session of its own, so that nothing of it is left."""
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # it ends its processes
            process.communicate(timeout=60)


def test_a_process_that_is_killed_is_begun_anew_from_the_checkpoint(forks, text, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert forks.run(*train(text, whole), plain=True).status == 0
    words = train(text, out, "--resume-or-start")
    with torchrun("--standalone", "--nproc-per-node", 2, "--max-restarts", 1, LAUNCHED, 1, 7, *words) as launcher:
        said, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, errors
    assert "resumed from" in said and "step-00000004" in said
    assert same_curve(out, whole)


def test_a_signal_to_the_launcher_saves_once_and_ends_all(text, tmp_path):
    out = tmp_path / "run"
    words = train(text, out, train__steps=10**6, train__checkpoint_every=10**6, train__eval_every=0)
    with torchrun("--standalone", "--nproc-per-node", 2, "-m", "lehr", *words) as launcher:
        Forks.until(lambda: launcher.poll() is not None or (out.exists() and len(updates(out)) >= 3), 120)
        launcher.send_signal(signal.SIGTERM)
        said, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == 1, errors  # torchrun's own; its processes exit with 143
    assert said.count("stopped by SIGTERM") == 1 and "the checkpoint is written" in said, (said, errors)
    assert len(steps(out)) == 1


def test_two_launchers_of_one_process_each_are_one_run(forks, text, tmp_path):
    """Two machines, as far as torchrun can tell."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert forks.run(*train(text, whole), plain=True).status == 0
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # where the launchers meet
    meet = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{store.port}", "--rdzv-id", "lehr")
    conf = ("--rdzv-conf", "is_host=false", "--local-addr", "127.0.0.1", "--nnodes", 2, "--nproc-per-node", 1)
    words = train(text, out, train__parallel="fsdp")
    with torchrun(*meet, *conf, "-m", "lehr", *words) as one, torchrun(*meet, *conf, "-m", "lehr", *words) as other:
        said = [launcher.communicate(timeout=120) for launcher in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], said
    assert sorted("training complete" in out for out, _ in said) == [False, True], "process 0 alone has a say"
    assert "2 processes (fsdp)" in "".join(out for out, _ in said)
    assert same_curve(out, whole)
