"""lehr.integrations.keras on both backends, each in a process of its own: Keras reads its backend once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lehr

HERE = Path(__file__).parent
CURVE = lehr.parse("linear 20% to 1, cosine rest to 0.1", total=40)


def keras(backend, *words, cwd, code=2):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, HERE / "keras_worker.py", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_model_is_trained_saved_loaded_and_trained_on_as_without_the_break(backend, tmp_path):
    whole = keras(backend, "whole", cwd=tmp_path)
    first = keras(backend, "first", cwd=tmp_path)
    rest = keras(backend, "rest", cwd=tmp_path)  # another process, which has the model.keras alone
    assert [step for step, _ in whole["used"]] == list(range(40))
    for step, lr in whole["used"]:
        assert lr == pytest.approx(0.03 * CURVE(step), abs=3e-7 * 0.03)
    assert first["used"] + rest["used"] == whole["used"]
    assert rest["loss"] == pytest.approx(whole["loss"], rel=1e-4)
    assert rest["config"] == {"peak": 0.03, "schedule": str(CURVE), "name": "LehrSchedule"}
    assert rest["registered"] == "lehr>LehrSchedule" and rest["text"] == str(CURVE)


def test_what_cannot_be_is_told(tmp_path):
    told = keras("jax", "errors", cwd=tmp_path)
    assert "needs the run's length" in told["total"] or "total" in told["total"]
    assert told["kind"] == "schedule is a lehr Schedule or its text, not 3"
    assert told["backend"].startswith(
        "LehrSchedule takes the arrays of JAX and torch, not of 'tensorflow'; set KERAS_B"
    )
