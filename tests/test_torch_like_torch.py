"""What torch's own tests ask of any LRScheduler (test/optim/test_lrscheduler.py), asked of lehr's."""

import copy
import pickle
import warnings

import pytest
import torch
import torch._dynamo.testing
from stepping import lrs_used, optimizer_with, through_a_file, values
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    ReduceLROnPlateau,
    SequentialLR,
)

import lehr
from lehr.integrations.torch import Scheduler

CURVE = lehr.cosine(total=12, warmup=3)
HOW_TO = "how-to-adjust-learning-rate"  # what torch's tests look for


def test_construction_sets_the_first_lr_and_keeps_the_initial_one():
    optimizer = optimizer_with(0.1, 0.5)
    scheduler = Scheduler(optimizer, CURVE)
    assert values(optimizer, "lr") == [0.1 * CURVE(0), 0.5 * CURVE(0)] == scheduler.get_last_lr()
    assert values(optimizer, "initial_lr") == [0.1, 0.5] == scheduler.base_lrs and scheduler.last_epoch == 0


def test_a_second_scheduler_starts_from_the_same_initial_lr():
    optimizer = optimizer_with(0.1)
    lrs_used(optimizer, Scheduler(optimizer, CURVE), 5)
    Scheduler(optimizer, CURVE)
    assert values(optimizer, "lr") == [0.1 * CURVE(0)] and values(optimizer, "initial_lr") == [0.1]


def test_an_initial_lr_that_is_there_counts_and_not_the_current_one():
    optimizer = optimizer_with(123.0)
    optimizer.param_groups[0]["initial_lr"] = 0.1
    Scheduler(optimizer, CURVE)
    assert values(optimizer, "lr") == [0.1 * CURVE(0)]


def test_last_epoch_goes_on_after_that_many_updates_as_torchs_lambda_lr():
    ours, theirs = optimizer_with(0.1), optimizer_with(0.1)
    for optimizer in (ours, theirs):
        optimizer.param_groups[0]["initial_lr"] = 0.1
    mine, its = Scheduler(ours, CURVE, last_epoch=4), LambdaLR(theirs, CURVE, last_epoch=4)
    assert lrs_used(ours, mine, 6) == lrs_used(theirs, its, 6) == [[0.1 * CURVE(step)] for step in range(5, 11)]
    assert mine.last_epoch == its.last_epoch == 11


@pytest.mark.parametrize("name", ["initial_lr", "initial_weight_decay"])
def test_last_epoch_without_initial_values_is_torchs_key_error(name):
    optimizer = optimizer_with(0.1, weight_decay=0.1)
    if name != "initial_lr":
        optimizer.param_groups[0]["initial_lr"] = 0.1
    with pytest.raises(KeyError, match=f"param '{name}' is not specified in parameter group 0, which last_epoch=4"):
        Scheduler(optimizer, CURVE, weight_decay=CURVE, last_epoch=4)


def test_the_lrs_told_are_copies_of_the_optimizers():
    optimizer = optimizer_with(torch.tensor(0.1), 0.5)
    scheduler = Scheduler(optimizer, CURVE)
    for told in (scheduler.get_last_lr(), scheduler.get_lr()):
        assert [type(lr) for lr in told] == [torch.Tensor, float]
        told[0].fill_(7)
        assert values(optimizer, "lr") == pytest.approx([0.1 * CURVE(0), 0.5 * CURVE(0)])


def test_tensors_keep_their_identity_over_a_whole_schedule():
    settings = {"lr": torch.tensor(0.1), "weight_decay": 0.1, "betas": (torch.tensor(0.9), torch.tensor(0.99))}
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], **settings, foreach=False)
    group = optimizer.param_groups[0]
    group["weight_decay"] = torch.tensor(0.1)  # filled in place as well, for optimizers that take it
    held = [group["lr"], group["weight_decay"], *group["betas"]]
    scheduler = Scheduler(optimizer, CURVE, weight_decay=CURVE, betas=(CURVE, None))
    for step in range(15):
        now = [group["lr"], group["weight_decay"], *group["betas"]]
        assert all(a is b for a, b in zip(now, held, strict=True))
        expected = [0.1 * CURVE(step), 0.1 * CURVE(step), 0.9 * CURVE(step), 0.99]
        assert [x.item() for x in now] == pytest.approx(expected, rel=1e-6, abs=1e-9)
        optimizer._opt_called = True
        scheduler.step()


def test_groups_that_share_one_tensor_get_their_own():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "name": name} for name in ("a", "b")]
    optimizer = torch.optim.SGD(groups, lr=torch.tensor(0.1))
    assert optimizer.param_groups[0]["lr"] is optimizer.param_groups[1]["lr"]  # torch shares its default
    Scheduler(optimizer, {"a": CURVE, "b": lehr.constant(12)})
    assert values(optimizer, "lr") == pytest.approx([0.1 * CURVE(0), 0.1])


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch's own, as it loads its compiler
def test_a_compiled_step_does_not_recompile_over_a_whole_schedule():
    parameter = torch.nn.Parameter(torch.ones(4))
    settings = {"lr": torch.tensor(0.1), "betas": (torch.tensor(0.9), torch.tensor(0.99)), "foreach": False}
    optimizer = torch.optim.AdamW([parameter], capturable=False, **settings)
    scheduler = Scheduler(optimizer, CURVE, betas=(lehr.constant(12), None))
    counter = torch._dynamo.testing.CompileCounter()
    torch._dynamo.reset()
    compiled = torch.compile(optimizer.step, backend=counter)
    frames = []
    for _ in range(20):
        parameter.grad = torch.ones(4)
        compiled()
        scheduler.step()
        frames.append(counter.frame_count)
    assert frames[0] > 0 and len(set(frames[2:])) == 1, "compiled at the first updates, and never again"


def test_scheduler_step_before_optimizer_step_warns():
    for last_epoch in (-1, 3):
        optimizer = optimizer_with(0.1)
        optimizer.param_groups[0]["initial_lr"] = 0.1
        scheduler = Scheduler(optimizer, CURVE, last_epoch=last_epoch)
        with pytest.warns(UserWarning, match=HOW_TO):
            scheduler.step()
        scheduler.step()  # once


def test_an_optimizer_step_that_was_replaced_warns():
    optimizer = optimizer_with(0.1)
    scheduler = Scheduler(optimizer, CURVE)
    original = optimizer.step
    optimizer.step = lambda: original()
    optimizer.step()
    with pytest.warns(UserWarning, match=HOW_TO):
        scheduler.step()


def test_the_right_order_does_not_warn_whoever_wraps_the_step():
    optimizer = optimizer_with(0.1)
    original = optimizer.step
    optimizer.step = original.__func__.__get__(optimizer, type(optimizer))
    scheduler = Scheduler(optimizer, CURVE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lrs_used(optimizer, scheduler, 3)


def test_the_state_is_plain_data_through_a_file_and_the_same_after_loading():
    for lr in (CURVE, {"*": CURVE}, lambda step: 0.5):
        optimizer = optimizer_with(0.1, weight_decay=0.1)
        scheduler = Scheduler(optimizer, lr, weight_decay=CURVE)
        lrs_used(optimizer, scheduler, 7)
        state = through_a_file(scheduler.state_dict())
        other = Scheduler(optimizer_with(0.1, weight_decay=0.1), lr, weight_decay=CURVE)
        other.load_state_dict(state)
        assert other.state_dict() == state == scheduler.state_dict()
        assert values(other.optimizer, "lr") == values(optimizer, "lr")
        assert values(other.optimizer, "weight_decay") == values(optimizer, "weight_decay")


def test_copies_by_deepcopy_and_pickle_go_their_own_way_with_all_they_have():
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.1), foreach=False)
    scheduler = Scheduler(optimizer, CURVE, weight_decay=CURVE, on_skip="hold")
    lrs_used(optimizer, scheduler, 4)
    for clone in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
        assert clone.optimizer is not optimizer and clone.state_dict() == scheduler.state_dict()
        clone.optimizer.step()
        clone.step()
        clone.step(skipped=True)
        assert (clone.last_epoch, clone.skipped) == (5, 1) and clone.get_last_lr() == pytest.approx([0.1 * CURVE(5)])
    assert (scheduler.last_epoch, scheduler.skipped) == (4, 0)


# --- beside and inside torch's other schedulers: as torch's own LambdaLR of the same function ---

CHILDREN = {"constant": lambda o: ConstantLR(o, 0.5, 3), "linear": lambda o: LinearLR(o, 0.2, total_iters=4)}
CHILDREN["annealing"] = lambda o: CosineAnnealingLR(o, 6)


def sequence(kind, order, optimizer):
    makers = {"curve": lambda o: kind(o, CURVE), **CHILDREN}
    return SequentialLR(optimizer, [makers[name](optimizer) for name in order], [4, 8, 13][: len(order) - 1])


ORDERS = [("curve", "constant"), ("constant", "curve"), ("linear", "curve", "annealing"), ("curve", "curve", "curve")]
ORDERS += [("constant", "annealing", "curve", "linear")]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_a_child_of_sequential_lr_is_what_lambda_lr_is(order):
    ours, theirs = optimizer_with(0.1, 0.5), optimizer_with(0.1, 0.5)
    mine, its = sequence(Scheduler, order, ours), sequence(LambdaLR, order, theirs)
    for _ in range(20):
        assert values(ours, "lr") == values(theirs, "lr")
        assert mine.get_last_lr() == its.get_last_lr()
        for optimizer, scheduler in ((ours, mine), (theirs, its)):
            optimizer.step()
            scheduler.step()


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("updates", [2, 4, 6, 11, 15])
def test_a_sequential_lr_with_it_resumes_exactly_whatever_is_loaded_first(order, updates):
    whole = optimizer_with(0.1)
    expected = lrs_used(whole, sequence(Scheduler, order, whole), 20)
    first = optimizer_with(0.1)
    scheduler = sequence(Scheduler, order, first)
    lrs_used(first, scheduler, updates)
    saved = through_a_file([first.state_dict(), scheduler.state_dict()])
    for optimizer_first in (True, False):
        second = optimizer_with(0.1)
        resumed = sequence(Scheduler, order, second)
        if optimizer_first:
            second.load_state_dict(saved[0])
        resumed.load_state_dict(saved[1])
        if not optimizer_first:
            second.load_state_dict(saved[0])
        assert lrs_used(second, resumed, 20 - updates) == expected[updates:]


def test_a_sequential_lr_with_it_goes_back_to_an_earlier_state():
    optimizer = optimizer_with(0.1)
    scheduler = sequence(Scheduler, ("constant", "curve", "annealing"), optimizer)
    lrs_used(optimizer, scheduler, 2)
    saved = through_a_file([optimizer.state_dict(), scheduler.state_dict()])
    expected = lrs_used(optimizer, scheduler, 10)
    optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    assert lrs_used(optimizer, scheduler, 10) == expected


def test_a_group_that_comes_later_follows_the_child_whose_turn_it_is():
    optimizer = optimizer_with(0.1)
    children = [Scheduler(optimizer, lehr.constant(9)), Scheduler(optimizer, CURVE), Scheduler(optimizer, CURVE)]
    both = SequentialLR(optimizer, children, [2, 10])
    lrs_used(optimizer, both, 4)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.5})
    optimizer.step()
    assert values(optimizer, "lr") == [0.1 * CURVE(2), 0.5 * CURVE(2)]


@pytest.mark.parametrize("first", [True, False])
def test_a_child_of_chained_scheduler_is_what_lambda_lr_is(first):
    ours, theirs = optimizer_with(0.1), optimizer_with(0.1)
    used = []
    for kind, optimizer in ((Scheduler, ours), (LambdaLR, theirs)):
        children = [kind(optimizer, CURVE), ConstantLR(optimizer, 0.5, 4)]
        used.append(lrs_used(optimizer, ChainedScheduler(children if first else children[::-1]), 12))
    assert used[0] == used[1]


@pytest.mark.parametrize("optimizer_first", [True, False])
def test_a_child_of_chained_scheduler_resumes_as_lambda_lr_does(optimizer_first):
    def chain():
        optimizer = optimizer_with(0.1)
        return optimizer, ChainedScheduler([Scheduler(optimizer, CURVE), ExponentialLR(optimizer, 0.5)])

    first, scheduler = chain()
    lrs_used(first, scheduler, 5)
    saved = through_a_file([first.state_dict(), scheduler.state_dict()])
    second, resumed = chain()
    for load in (second, resumed) if optimizer_first else (resumed, second):
        load.load_state_dict(saved[load is resumed])
    assert lrs_used(second, resumed, 5) == lrs_used(first, scheduler, 5)


def test_a_sequential_lr_loaded_twice_is_loaded_once():
    first = optimizer_with(0.1)
    scheduler = sequence(Scheduler, ("curve", "curve", "linear"), first)
    lrs_used(first, scheduler, 11)
    saved = through_a_file([first.state_dict(), scheduler.state_dict()])
    second = optimizer_with(0.1)
    resumed = sequence(Scheduler, ("curve", "curve", "linear"), second)
    for _ in range(2):
        second.load_state_dict(saved[0])
        resumed.load_state_dict(saved[1])
        assert values(second, "lr") == values(first, "lr")
    assert lrs_used(second, resumed, 3) == lrs_used(first, scheduler, 3)


def test_refreshing_a_child_whose_turn_it_is_not_sets_nothing():
    optimizer = optimizer_with(0.1)
    children = [Scheduler(optimizer, curve) for curve in (0.7 * lehr.constant(9), CURVE, CURVE)]
    both = SequentialLR(optimizer, children, [2, 10])
    lrs_used(optimizer, both, 4)
    optimizer.param_groups[0]["initial_lr"] = 0.2
    for child, expected in zip(children, (0.1 * CURVE(2), 0.2 * CURVE(2), 0.2 * CURVE(2)), strict=True):
        child.refresh()
        assert values(optimizer, "lr") == [expected]


def test_reduce_lr_on_plateau_beside_it_acts_on_the_peak():
    """The next step() sets the LR from the initial one: that is what a plateau has to lower, as docs/torch.md says."""
    optimizer = optimizer_with(0.1)
    scheduler = Scheduler(optimizer, CURVE)
    plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    plateau.step(1.0)
    lrs_used(optimizer, scheduler, 3)
    assert values(optimizer, "lr") == [0.1 * CURVE(3)]
    optimizer.param_groups[0]["initial_lr"] *= 0.5
    scheduler.refresh()
    assert values(optimizer, "lr") == [0.05 * CURVE(3)]
    assert lrs_used(optimizer, scheduler, 3) == [[0.05 * CURVE(step)] for step in (3, 4, 5)]


def test_a_resumed_scheduler_is_past_its_first_step_as_torchs_is():
    optimizer = optimizer_with(0.1)
    scheduler = Scheduler(optimizer, CURVE)
    lrs_used(optimizer, scheduler, 7)
    resumed = Scheduler(optimizer_with(0.1), CURVE)
    resumed.load_state_dict(scheduler.state_dict())
    resumed.step()  # no warning about the first one
    assert resumed.last_epoch == 8
