"""The judge of updates that are not finite, where the host hears of them late, as it does of an accelerator's.

What becomes of whole runs is in test_faults.py and test_parallel.py.
"""

import json

import pytest
import torch
from processes import TINY, same_end, steps, timeless, train

from lehr.train import RunFailed
from lehr.train.config import Config, assign
from lehr.train.following import Silence, Unwritten
from lehr.train.loop import roll_back
from lehr.train.nonfinite import IN_A_ROW, Failed, Guard, RollBack
from lehr.train.setup import build
from lehr.train.snapshot import draws

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]


@pytest.fixture
def guard_of(text, tmp_path):
    """A judge of updates with dropout, which passes over what is not finite or does what else is said."""

    def make(device, then):
        settings = {**TINY, "train.device": device, "train.on_nonfinite": then, "model.dropout": 0.5}
        parts = build(assign(Config(), f"data.path={text}", *(f"{name}={value}" for name, value in settings.items())))
        return Guard(parts, tmp_path, Silence(10), shift=3)

    return make


def begin(guard, device):
    """Begin an update; return where the generator stood before it drew."""
    guard.begin()
    before = draws(torch.device(device))
    torch.rand(7, device=device)
    assert not torch.equal(draws(torch.device(device)), before)
    return before


def judge(guard, device, step, loss=float("nan")):
    loss = torch.tensor(loss, device=device)
    return bool(guard.judge(step, 1e-3, loss, torch.ones_like(loss)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("then", ["stop", "rollback"])
def test_what_is_heard_late_is_saved_as_it_was_before_that_update(guard_of, tmp_path, device, then):
    guard = guard_of(device, then)
    begin(guard, device)
    assert not judge(guard, device, 0, loss=1.0)
    assert guard.settle() == {"step": 0, "lr": 1e-3, "loss": 1.0, "grad_norm": 1.0} and guard.settle() is None
    before = begin(guard, device)
    assert judge(guard, device, 1)
    begin(guard, device)  # the next one has had its passes by the time
    with pytest.raises(Failed if then == "stop" else RollBack) as raised:
        guard.settle()
    assert (raised.value.at if then == "stop" else raised.value.step) == 1
    assert torch.equal(draws(torch.device(device)), before)
    [record] = map(json.loads, (tmp_path / "nonfinite.jsonl").read_text().splitlines())
    assert (record["step"], record["batch"], record["then"]) == (1, 4, then)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("late", [False, True])
def test_the_last_of_many_that_are_skipped_leaves_the_draws_to_the_update_after_it(guard_of, device, late):
    guard = guard_of(device, "skip")
    for step in range(IN_A_ROW):
        begin(guard, device)
        assert judge(guard, device, step)
        after = draws(torch.device(device))
        if late:
            begin(guard, device)
        assert guard.settle()["skipped"]
        if step < IN_A_ROW - 1:
            guard.check()
    with pytest.raises(Failed) as failed:
        guard.check()
    assert failed.value.at == IN_A_ROW and torch.equal(draws(torch.device(device)), after)


def test_a_rollback_to_checkpoints_that_are_all_damaged_is_a_run_that_failed(text, tmp_path):
    """And no wrong request: the exit status is 1."""
    settings = (f"{name}={value}" for name, value in TINY.items())
    parts = build(assign(Config(), f"data.path={text}", *settings))
    (tmp_path / "checkpoints" / "step-00000004").mkdir(parents=True)  # without a manifest
    with pytest.raises(RunFailed, match=r"^step 5 is not finite, and .* has no whole checkpoint"):
        roll_back(tmp_path, parts, Unwritten(), Silence(10), RollBack(5, 5), set())


@pytest.mark.parametrize("log_every", [1, 3])
@pytest.mark.parametrize("then", ["stop", "skip", "rollback"])
def test_a_run_that_hears_of_its_updates_late_has_the_same_rows_and_bits(forks, text, tmp_path, then, log_every):
    at_once, late = tmp_path / "at-once", tmp_path / "late"
    for out in (at_once, late):
        words = train(text, out, "--on-nonfinite", then, model__dropout=0.2, train__log_every=log_every)
        done = forks.run(*words, nonfinite={"calls": [7]}, plain=True, late=out is late)
        assert done.status == (1 if then == "stop" else 0), done.err
    assert timeless(late) == timeless(at_once) and steps(late) == steps(at_once)
    assert all(same_end(late, at_once, step) for step in steps(late))
