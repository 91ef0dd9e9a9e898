"""lehr.integrations.torch: schedules as PyTorch schedulers."""

import copy
import pickle

import pytest
import torch
from stepping import lrs_used, optimizer_with, through_a_file
from torch.optim.lr_scheduler import LRScheduler

import lehr
from lehr.functional import get_lr, get_lr_cosine_schedule
from lehr.integrations.torch import CosineSchedulerWithWarmup, Scheduler, WarmupCosineScheduler, apply


def test_every_update_uses_initial_lr_times_the_schedule():
    schedule = lehr.cosine(total=20, warmup=5)
    optimizer = optimizer_with(0.1, 0.003)
    scheduler = Scheduler(optimizer, schedule)
    assert isinstance(scheduler, LRScheduler)
    expected = [[0.1 * schedule(step), 0.003 * schedule(step)] for step in range(30)]
    assert lrs_used(optimizer, scheduler, 30) == expected
    assert scheduler.get_last_lr() == [0.1 * schedule(30), 0.003 * schedule(30)] and scheduler.step() is None


def test_any_function_of_the_step_will_do():
    optimizer = optimizer_with(1.0)
    scheduler = Scheduler(optimizer, lambda step: 1 / (1 + step))
    assert lrs_used(optimizer, scheduler, 3) == [[1.0], [0.5], [1 / 3]]
    assert through_a_file(scheduler.state_dict())["schedule"] is None


def test_an_lr_in_a_tensor_is_filled_in_place():
    lr = torch.tensor(0.1)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr, foreach=False)
    scheduler = Scheduler(optimizer, lehr.linear(total=10, warmup=2))
    held = optimizer.param_groups[0]["lr"]
    used = lrs_used(optimizer, scheduler, 5)
    assert optimizer.param_groups[0]["lr"] is held
    assert used == [[pytest.approx(0.1 * lehr.linear(total=10, warmup=2)(step), rel=1e-6)] for step in range(5)]


def test_resuming_goes_on_at_the_exact_step_whatever_the_order_of_loading():
    schedule = lehr.wsd(total=30, warmup=3, decay=10)
    optimizer = optimizer_with(0.1)
    expected = lrs_used(optimizer, Scheduler(optimizer, schedule), 30)
    for optimizer_first in (True, False):
        first = optimizer_with(0.1)
        scheduler = Scheduler(first, schedule)
        lrs_used(first, scheduler, 12)
        saved = through_a_file({"optimizer": first.state_dict(), "scheduler": scheduler.state_dict()})
        second = optimizer_with(0.1)
        if optimizer_first:  # even before the scheduler is built
            second.load_state_dict(saved["optimizer"])
        resumed = Scheduler(second, schedule)
        resumed.load_state_dict(saved["scheduler"])
        if not optimizer_first:
            second.load_state_dict(saved["optimizer"])
        assert lrs_used(second, resumed, 18) == expected[12:]


def test_loading_another_schedules_state_is_refused_with_both_texts_and_lrs():
    optimizer = optimizer_with(0.1)
    scheduler = Scheduler(optimizer, lehr.cosine(total=100))
    lrs_used(optimizer, scheduler, 50)
    state = scheduler.state_dict()
    other = Scheduler(optimizer_with(0.1), lehr.cosine(total=200))
    with pytest.raises(ValueError, match="the saved schedule differs") as error:
        other.load_state_dict(state)
    for part in (str(lehr.cosine(total=100)), str(lehr.cosine(total=200)), "at step 50", 'on_mismatch="new"'):
        assert part in str(error.value)
    assert other.last_epoch == 0  # nothing was taken over
    new = Scheduler(optimizer_with(0.1), lehr.cosine(total=200), on_mismatch="new")
    new.load_state_dict(state)
    assert new.get_last_lr() == [0.1 * lehr.cosine(total=200)(50)]
    saved = Scheduler(optimizer_with(0.1), lehr.cosine(total=200), on_mismatch="saved")
    saved.load_state_dict(state)
    assert saved.get_last_lr() == [0.1 * lehr.cosine(total=100)(50)]


def test_it_survives_pickle_and_deepcopy():
    optimizer = optimizer_with(0.1)
    scheduler = Scheduler(optimizer, lehr.cosine(total=20, warmup=5))
    lrs_used(optimizer, scheduler, 7)
    for clone in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
        assert clone.last_epoch == 7 and clone.optimizer is not optimizer
        clone.optimizer.step()
        clone.step()
        assert clone.get_last_lr() == [0.1 * lehr.cosine(total=20, warmup=5)(8)]
    assert scheduler.last_epoch == 7, "a copy's steps are its own"


def test_it_is_a_child_of_sequential_lr():
    optimizer = optimizer_with(0.1)
    scheduler = Scheduler(optimizer, lehr.cosine(total=10, warmup=2))
    constant = torch.optim.lr_scheduler.ConstantLR(optimizer, 0.5, total_iters=3)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [constant, scheduler], [3])
    used = [lr for (lr,) in lrs_used(optimizer, both, 8)]
    assert used[:3] == [0.05, 0.05, 0.05]
    assert used[3:] == [0.1 * lehr.cosine(total=10, warmup=2)(step) for step in range(5)]
    assert both.get_last_lr() == [0.1 * lehr.cosine(total=10, warmup=2)(5)]


def test_the_state_of_a_plain_function_is_no_schedules():
    function = Scheduler(optimizer_with(0.1), lambda step: 1.0).state_dict()
    with pytest.raises(ValueError, match="that of a plain function"):
        Scheduler(optimizer_with(0.1), lehr.cosine(10)).load_state_dict(function)


def test_a_run_that_another_scheduler_began_goes_on_from_last_epoch_too():
    """Without its state: docs/torch.md has `on_mismatch="new"`, which tests/test_torch_foreign.py is about."""
    curve = lehr.cosine(30, warmup=5)
    first = optimizer_with(0.1)
    theirs = torch.optim.lr_scheduler.LambdaLR(first, lambda step: curve(step))
    lrs_used(first, theirs, 12)
    second = optimizer_with(0.1)
    second.load_state_dict(first.state_dict())
    assert lrs_used(second, Scheduler(second, curve, last_epoch=11), 18) == [[0.1 * curve(t)] for t in range(12, 30)]


def test_what_is_no_schedule_is_refused():
    with pytest.raises(TypeError, match=r"lehr\.parse"):
        Scheduler(optimizer_with(0.1), "linear 10 to 1")
    with pytest.raises(ValueError, match="on_mismatch is one of"):
        Scheduler(optimizer_with(0.1), lehr.cosine(10), on_mismatch="old")
    with pytest.raises(TypeError, match="is not an Optimizer"):
        Scheduler(torch.nn.Linear(1, 1), lehr.cosine(10))


@pytest.mark.parametrize(
    ("lr", "schedule", "result"),
    [
        (3e-4, 3e-4 * lehr.cosine(100, 10), "9e-08"),
        (0.5, 0.5 * lehr.linear(100), "0.25"),
        (0.1, {"head": 1e-3 * lehr.linear(100), "*": 3e-4 * lehr.linear(100)}, "0.0001"),
    ],
    ids=["3e-4 twice", "the same number", "of each group"],
)
def test_a_schedule_of_learning_rates_is_told_once_at_construction(lr, schedule, result):
    optimizer = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "name": "head"}], lr=lr)
    with pytest.warns(UserWarning, match=rf"looks like a learning rate; .* becomes {result}: write multipl") as told:
        scheduler = Scheduler(optimizer, schedule)
    assert len(told) == 1 and told[0].filename == __file__
    lrs_used(optimizer, scheduler, 3)  # a warning would be an error
    other = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "name": "head"}], lr=lr)
    with pytest.warns(UserWarning, match=rf"becomes {result}") as told:
        apply(other, 0, schedule)
    assert len(told) == 1 and told[0].filename == __file__
    apply(other, 1, schedule)


def test_multipliers_and_learning_rates_under_an_lr_of_1_are_not_told():
    """Warnings are errors here."""
    for lr, schedule in ((1.0, 3e-4 * lehr.cosine(100)), (0.1, 0.5 * lehr.cosine(100)), (0.1, lambda step: 1e-3)):
        Scheduler(optimizer_with(lr), schedule)
    optimizer = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "name": n} for n in "ab"], lr=0.1)
    Scheduler(optimizer, {"a": 0.1 * lehr.cosine(100), "*": lehr.cosine(100)})  # a tenth for one group
    Scheduler(optimizer_with(0.0, 0.0), 3e-4 * lehr.cosine(100))


def test_warmup_cosine_scheduler_sets_every_group_and_returns_the_lr():
    optimizer = optimizer_with(1.0, 5.0)
    scheduler = WarmupCosineScheduler(optimizer, warmup_steps=5, max_steps=30, max_lr=1e-3, min_lr=1e-5)
    for step in range(40):
        lr = scheduler.step()
        assert lr == get_lr(step, 5, 30, 1e-3, 1e-5)
        assert [group["lr"] for group in optimizer.param_groups] == [lr, lr] == scheduler.get_last_lr()
        optimizer.step()
    other = WarmupCosineScheduler(optimizer_with(1.0), 5, 30, 1e-3, 1e-5)
    other.load_state_dict(through_a_file(scheduler.state_dict()))
    assert other.get_last_lr() == [lr] and other.step() == get_lr(40, 5, 30, 1e-3, 1e-5)
    with pytest.raises(ValueError, match="saved with max_steps=30, but here max_steps is 31"):
        WarmupCosineScheduler(optimizer_with(1.0), 5, 31, 1e-3, 1e-5).load_state_dict(scheduler.state_dict())


def test_cosine_scheduler_with_warmup_respects_each_groups_peak():
    optimizer = optimizer_with(1e-3, 1e-4)
    scheduler = CosineSchedulerWithWarmup(optimizer, max_lr=1e-3, min_lr=1e-4, warmup_iters=7, total_iters=21)
    for step, (whole, tenth) in enumerate(lrs_used(optimizer, scheduler, 30)):
        assert whole == pytest.approx(get_lr_cosine_schedule(step, 1e-3, 1e-4, 7, 21), abs=1e-15)
        assert tenth == pytest.approx(whole / 10, rel=1e-12)
    assert through_a_file(scheduler.state_dict()) == scheduler.state_dict()
    with pytest.raises(ValueError, match="warmup_iters=8 does not fit into total_iters=7"):
        CosineSchedulerWithWarmup(optimizer_with(1.0), 1e-3, 0, 8, 7)


def test_a_group_added_later_is_scheduled_from_its_own_peak():
    optimizer = optimizer_with(0.1)
    scheduler = Scheduler(optimizer, lehr.cosine(total=20))
    lrs_used(optimizer, scheduler, 4)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.5})
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.1 * lehr.cosine(20)(5), 0.5 * lehr.cosine(20)(5)]
