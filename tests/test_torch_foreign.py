"""A run that another library's scheduler began: `on_mismatch="new"` takes its step, and the code's schedule goes on.

The real HF Trainer, accelerate and Lightning are in tests/integrations.
"""

import math

import pytest
import torch
from stepping import lrs_used, named, optimizer_with, through_a_file, values
from torch.optim import lr_scheduler as theirs

import lehr
from lehr.integrations.torch import Scheduler

NEW = lehr.cosine(total=40, warmup=5)
BEGUN = {
    "LambdaLR": lambda optimizer: theirs.LambdaLR(optimizer, lambda step: 0.9**step),
    "CosineAnnealingLR": lambda optimizer: theirs.CosineAnnealingLR(optimizer, 40),
    "LinearLR": lambda optimizer: theirs.LinearLR(optimizer),
    "OneCycleLR": lambda optimizer: theirs.OneCycleLR(optimizer, 0.7, 40),  # its initial_lr is no peak: 0.7 / 25
    "CosineAnnealingWarmRestarts": lambda optimizer: theirs.CosineAnnealingWarmRestarts(optimizer, 5),
    "SequentialLR": lambda optimizer: theirs.SequentialLR(
        optimizer, [theirs.ConstantLR(optimizer), theirs.ExponentialLR(optimizer, 0.9)], [6]
    ),
}


def adam(lr=0.1):
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def update(optimizer):
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def begun(kind, updates, optimizer=None):
    """The saved states of a run that torch's scheduler drove for so many updates."""
    optimizer = adam() if optimizer is None else optimizer
    scheduler = BEGUN[kind](optimizer)
    for _ in range(updates):
        update(optimizer)
        scheduler.step()
    return through_a_file([optimizer.state_dict(), scheduler.state_dict()])


@pytest.mark.parametrize("order", ["optimizer scheduler", "scheduler optimizer"])
@pytest.mark.parametrize("kind", BEGUN)
def test_new_goes_on_along_the_codes_schedule_from_the_codes_peak(kind, order):
    saved = dict(zip(("optimizer", "scheduler"), begun(kind, 12), strict=True))
    optimizer, used = adam(0.2), []
    scheduler = Scheduler(optimizer, NEW, on_mismatch="new")
    for which in order.split():
        (optimizer if which == "optimizer" else scheduler).load_state_dict(saved[which])
    optimizer.register_step_post_hook(lambda optimizer, *_: used.append(values(optimizer, "lr")))
    lrs_used(optimizer, scheduler, 28)
    assert used == [[0.2 * NEW(step)] for step in range(12, 40)]


def test_the_other_ways_refuse_it_and_name_the_one_that_there_is():
    _, state = begun("LambdaLR", 12)
    for way, reason in (("error", ""), ("saved", "needs the text"), ("extend", "needs the text")):
        scheduler = Scheduler(optimizer_with(0.1), NEW, on_mismatch=way)
        before = scheduler.state_dict()
        with pytest.raises(ValueError, match=r"not the state of a lehr Scheduler: its keys are .*lr_lambdas") as error:
            scheduler.load_state_dict(state)
        told = str(error.value)
        assert 'on_mismatch="new" takes its step, 12, and goes on' in told and reason in told and "\n" not in told
        assert scheduler.state_dict() == before and scheduler.get_last_lr() == [0.1 * NEW(0)]


@pytest.mark.parametrize(
    "state",
    [{}, {"last_batch_iteration": 3}, {"last_epoch": -1}, {"last_epoch": True}, {"last_epoch": 2.5}, {3: 4}],
    ids=str,
)
def test_a_state_without_a_step_is_refused_in_every_way(state):
    for way in ("error", "saved", "new", "extend"):
        scheduler = Scheduler(optimizer_with(0.1), NEW, on_mismatch=way)
        with pytest.raises(
            ValueError, match=r"has no step \(last_epoch\) to go on from: .* Scheduler\(\.\.\., last_ep"
        ):
            scheduler.load_state_dict(state)
        assert scheduler.last_epoch == 0


def test_a_state_of_lehrs_that_lost_its_fingerprint_is_good_for_its_step_alone():
    optimizer = optimizer_with(0.1)
    scheduler = Scheduler(optimizer, NEW)
    lrs_used(optimizer, scheduler, 7)
    state = {key: value for key, value in scheduler.state_dict().items() if key != "fingerprint"}
    with pytest.raises(ValueError, match="not the state of a lehr Scheduler"):
        Scheduler(optimizer_with(0.1), NEW).load_state_dict(state)
    taken = Scheduler(optimizer_with(0.1), NEW, on_mismatch="new")
    taken.load_state_dict(state)
    assert taken.get_last_lr() == [0.1 * NEW(7)]


def test_groups_and_other_hyperparameters_follow_their_own_and_the_next_state_is_lehrs():
    first = named(head=0.1, body=0.5)
    old = theirs.LambdaLR(first, lambda step: 0.5)
    lrs_used(first, old, 6)
    options = {"lr": {"head": NEW, "*": lehr.constant(40)}, "weight_decay": lehr.linear(40), "on_skip": "hold"}

    def built(**more):
        optimizer = named(head=0.1, body=0.5)
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.3
        return optimizer, Scheduler(optimizer, **options, **more)

    optimizer, scheduler = built(on_mismatch="new")
    scheduler.skipped = 3  # of a life before: the state that is loaded knows of none
    optimizer.load_state_dict(first.state_dict())
    scheduler.load_state_dict({**old.state_dict(), "skipped": "theirs"})
    decay = 0.3 * lehr.linear(40)(6)
    record = scheduler.record()
    assert (record["step"], record["phase"], record["skipped"]) == (6, "decay", 0)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in record["groups"]] == [
        ("head", 0.1 * NEW(6), decay),
        ("body", 0.5, decay),
    ]
    scheduler.step(skipped=True)
    assert scheduler.record()["skipped"] == 1 and scheduler.last_epoch == 6, "held"
    again, resumed = built()  # "error", the default: lehr's own state, of the same schedules
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(through_a_file(scheduler.state_dict()))
    assert resumed.record() == scheduler.record()


@pytest.mark.parametrize("done", [0, 2, 3, 8])
def test_children_of_a_sequence_take_the_steps_of_the_children_before(done):
    """Also before the turn of lehr's has come: torch has it at step -1 until then."""

    def sequence(make):
        optimizer = adam()
        parts = [theirs.ConstantLR(optimizer, 0.5, total_iters=3), make(optimizer)]
        return optimizer, theirs.SequentialLR(optimizer, parts, [3])

    def used(optimizer, scheduler, updates):
        lrs = []
        for _ in range(updates):
            lrs += values(optimizer, "lr")
            update(optimizer)
            scheduler.step()
        return lrs

    old, before = sequence(lambda optimizer: theirs.ExponentialLR(optimizer, 0.9))
    used(old, before, done)
    optimizer, after = sequence(lambda optimizer: Scheduler(optimizer, NEW, on_mismatch="new"))
    optimizer.load_state_dict(old.state_dict())
    after.load_state_dict(before.state_dict())  # no warning: an error would follow
    update(optimizer)  # at what the state brought: a child does not know its part in that
    after.step()
    assert used(optimizer, after, 10) == used(*sequence(lambda optimizer: Scheduler(optimizer, NEW)), done + 11)[-10:]


@pytest.mark.parametrize("steps", ["an epoch", "a process", "not yet an epoch"])
def test_a_step_that_does_not_count_updates_is_told_with_the_way_to_set_it(steps):
    """accelerate steps others' schedulers once for each process; many loops step them once an epoch."""
    old = adam()
    scheduler = theirs.LambdaLR(old, lambda step: 0.5)
    for step in range(12):
        update(old)
        for _ in range({"an epoch": step % 4 == 3, "a process": 2, "not yet an epoch": 0}[steps]):
            scheduler.step()
    at = {"an epoch": 3, "a process": 24, "not yet an epoch": 0}[steps]
    optimizer = adam()
    taken = Scheduler(optimizer, NEW, on_mismatch="new")
    optimizer.load_state_dict(old.state_dict())
    with pytest.warns(UserWarning, match=rf"is at step {at}, and .* has counted 12 updates: .* scheduler\.step\(12\)"):
        taken.load_state_dict(scheduler.state_dict())
    assert taken.get_last_lr() == [0.1 * NEW(at)]
    taken.step(12)
    assert lrs_used(optimizer, taken, 28) == [[0.1 * NEW(step)] for step in range(12, 40)]


def test_updates_that_amp_skipped_are_no_wonder():
    """Warnings are errors here: the scheduler stepped on, and the optimizer did not."""
    old = adam()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scheduler = theirs.LambdaLR(old, lambda step: 0.5)
    for step in range(8):
        (parameter,) = old.param_groups[0]["params"]
        scaler.scale(parameter.sum() * (math.inf if step == 1 else 1.0)).backward()
        scaler.step(old)
        scaler.update()
        scheduler.step()
        old.zero_grad()
    optimizer = adam()
    taken = Scheduler(optimizer, NEW, on_mismatch="new")
    optimizer.load_state_dict(old.state_dict())
    taken.load_state_dict(scheduler.state_dict())
    assert taken.get_last_lr() == [0.1 * NEW(8)] and optimizer.state_dict()["state"][0]["step"] == 7
