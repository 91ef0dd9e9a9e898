"""lehr.integrations.accelerate: one step an optimizer update, on two real processes and on one."""

import copy
import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from worker import CURVE, parts, used_by

import lehr
from lehr.integrations.accelerate import PreparedScheduler, prepare
from lehr.integrations.torch import Scheduler

HERE = Path(__file__).parent


def on_two_processes(*words, cwd):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_accelerate_1398_one_step_an_update_on_two_processes_and_with_accumulation(tmp_path):
    """accelerate's own wrapper steps a scheduler once for each process; accelerate#2142 and #2926 are the same."""
    told = json.loads(on_two_processes(HERE / "worker.py", tmp_path, cwd=tmp_path).splitlines()[-1])
    assert told.pop("processes") == 2 and told.pop("same"), "every process uses the same LR"
    assert told.pop("resumed") == [0.1 * CURVE(step) for step in range(5, 10)]
    assert told.pop("copies") == [3, 3, 5, 5, 5]
    for said, used in told.pop("begun"):  # by torch's scheduler: 10 steps in 5 updates
        assert len(said) == 1 and "is at step 10, and the optimizer has counted 5 updates" in said[0]
        assert used == [0.1 * CURVE(step) for step in range(5, 10)]
    assert len(told) == 4 and all(used == [0.1 * CURVE(step) for step in range(10)] for used in told.values())


def test_transformers_24088_the_trainer_on_two_processes_steps_once_an_update(tmp_path):
    """With epochs, samples and accumulation counted over both; stopped and resumed, it uses the same LRs."""
    told = json.loads(on_two_processes(HERE / "trainer_worker.py", tmp_path, cwd=tmp_path).splitlines()[-1])
    assert told["processes"] == 2 and told["same"] and told["alike"]
    assert told["schedule"] == "linear 4 to 1, hold 4, cosine 4 to 0" and told["updates"] == told["counted"] == 12
    planned = [0.1 * lehr.parse(told["schedule"])(step) for step in range(12)]
    assert told["used"] == told["logged"] == told["stopped and resumed"] == planned


@pytest.mark.parametrize("ours", [True, False])
def test_one_process_is_no_different(ours):
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    assert used_by(accelerator, *parts(accelerator, ours), 10) == [0.1 * CURVE(step) for step in range(10)]


@pytest.mark.parametrize(("on_skip", "clock"), [("advance", [0, 1, 2, 3, 4]), ("hold", [0, 1, 1, 2, 2])])
def test_a_real_overflow_is_told_to_the_prepared_scheduler(on_skip, clock):
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)  # accelerate makes one for fp16, on a GPU alone
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = accelerator.prepare(torch.optim.SGD([parameter], lr=0.1))
    scheduler = prepare(accelerator, Scheduler(optimizer, CURVE, on_skip=on_skip))
    used = []
    for factor in (1.0, math.inf, 1.0, math.inf):
        used.append(scheduler.record()["lr"])
        accelerator.backward((parameter * factor).sum())
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    assert [*used, scheduler.get_last_lr()[0]] == [0.1 * CURVE(step) for step in clock]
    assert scheduler.record()["skipped"] == scheduler.state_dict()["skipped"] == 2


def test_a_scheduler_built_on_the_bare_optimizer_is_known_by_it():
    accelerator = Accelerator(cpu=True)
    bare = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    scheduler = Scheduler(bare, CURVE)
    with pytest.raises(ValueError, match="optimizer is not prepared; write optimizer = accelerator"):
        prepare(accelerator, scheduler)
    accelerator.prepare(bare)
    prepared = prepare(accelerator, scheduler)
    assert isinstance(prepared, PreparedScheduler) and accelerator.prepare(prepared) is prepared
    assert accelerator._schedulers == [prepared], "saved once"
    with pytest.raises(TypeError, match="prepare takes a lehr Scheduler"):
        prepare(accelerator, torch.optim.lr_scheduler.ConstantLR(bare))


@pytest.mark.parametrize("ours", [True, False])
def test_a_run_that_another_scheduler_began_goes_on_from_what_accelerate_saved(tmp_path, ours):
    """Under `prepare` and under accelerate's own wrapper, whose state is that of the scheduler in it."""

    def prepared(make, wrap):
        accelerator = Accelerator(cpu=True)
        parameter = torch.nn.Parameter(torch.ones(1))
        optimizer = accelerator.prepare(torch.optim.AdamW([parameter], lr=0.1))
        return accelerator, parameter, optimizer, wrap(accelerator, make(optimizer))

    def wrapped(accelerator, scheduler):
        return accelerator.prepare(scheduler)

    def updates(count, accelerator, parameter, optimizer, scheduler):
        used = []
        for _ in range(count):
            used.append(optimizer.param_groups[0]["lr"])
            accelerator.backward(parameter.sum())
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        return used

    before = prepared(lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10), wrapped)
    updates(4, *before)
    before[0].save_state(str(tmp_path))
    after = prepared(lambda optimizer: Scheduler(optimizer, CURVE, on_mismatch="new"), prepare if ours else wrapped)
    after[0].load_state(str(tmp_path))
    assert updates(6, *after) == [0.1 * CURVE(step) for step in range(4, 10)]


@pytest.mark.parametrize("own", [True, False])
def test_a_copy_and_a_scheduler_out_of_a_pickle_count_on_their_own(own):
    accelerator = Accelerator(cpu=True)
    bare = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)  # accelerate's own cannot be pickled
    optimizer, scheduler = accelerator.prepare(bare), Scheduler(bare, CURVE)
    prepared = prepare(accelerator, scheduler) if own else accelerator.prepare(scheduler)
    optimizer.step()
    prepared.step()
    before = set(vars(scheduler))
    for clone in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler)), copy.deepcopy(prepared).scheduler):
        for _ in range(2):  # nobody's repetitions: they are steps, with or without an update before
            clone.step()
        assert clone.last_epoch == 3 and clone.get_last_lr() == [0.1 * CURVE(3)]
    assert scheduler.last_epoch == 1 and set(vars(scheduler)) == before, "the looks of accelerate change nothing"


def test_accelerate_sees_whether_a_scheduler_is_prepared_without_changing_it():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    scheduler = Scheduler(optimizer, CURVE)
    before = dict(vars(scheduler))
    Accelerator(cpu=True).prepare(optimizer, scheduler)
    assert all(vars(scheduler)[name] is value for name, value in before.items())
    assert not getattr(scheduler, "_is_accelerate_prepared", False)


def test_a_scheduler_that_does_not_step_with_the_optimizer_steps_when_told():
    accelerator = Accelerator(cpu=True, step_scheduler_with_optimizer=False)
    optimizer = accelerator.prepare(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1))
    scheduler = prepare(accelerator, Scheduler(optimizer, CURVE))
    optimizer.step()
    scheduler.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.1 * CURVE(2)]


def test_a_group_added_under_accelerate_is_refused_before_its_first_update():
    accelerator = Accelerator(cpu=True)
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "name": "head"}]
    optimizer = accelerator.prepare(torch.optim.SGD(groups, lr=0.1))
    scheduler = prepare(accelerator, Scheduler(optimizer, {"head": CURVE}))
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "name": "body"})
    with pytest.raises(ValueError, match="fits parameter group 'body'"):
        optimizer.step()
    assert scheduler.scheduler.last_epoch == 0
