"""lehr.integrations.groups and watch: schedules by the group's name or pattern, and groups that come later."""

import copy
import gc
import weakref

import pytest
import torch
from stepping import lrs_used, named, optimizer_with, values

import lehr
from lehr.integrations.torch import Scheduler, apply

ONE, TWO, THREE = lehr.linear(10, warmup=2), lehr.cosine(20, warmup=4), lehr.constant(10, warmup=5)


def test_the_first_pattern_that_fits_a_groups_name_wins():
    optimizer = named(**{"head": 1.0, "body.0.bias": 1.0, "body.1.bias": 1.0, "body.0.weight": 1.0})
    Scheduler(optimizer, {"*.bias": ONE, "head": TWO, "*": THREE})
    assert values(optimizer, "lr") == [TWO(0), ONE(0), ONE(0), THREE(0)]


def test_each_group_has_its_own_peak_and_its_own_curve():
    optimizer = named(head=0.1, body=0.003)
    used = lrs_used(optimizer, Scheduler(optimizer, {"head": ONE, "body": TWO}), 25)
    assert used == [[0.1 * ONE(step), 0.003 * TWO(step)] for step in range(25)]


def test_a_group_that_no_pattern_fits_is_named():
    with pytest.raises(
        ValueError, match=r"no pattern of lr \('head'\) fits parameter group 'body'; add one, or \"\*\""
    ):
        Scheduler(named(head=1.0, body=1.0), {"head": ONE})


def test_a_pattern_that_fits_no_group_is_named_with_the_nearest_name():
    with pytest.raises(ValueError, match="the pattern 'haed' of lr fits no parameter group; did you mean 'head'"):
        Scheduler(named(head=1.0, body=1.0), {"haed": ONE, "*": TWO})
    with pytest.raises(ValueError, match="'zzz' of lr fits no parameter group; they are 'head', 'body'"):
        Scheduler(named(head=1.0, body=1.0), {"zzz": ONE, "*": TWO})


def test_a_pattern_that_is_never_reached_is_refused_but_a_last_star_may_wait():
    with pytest.raises(ValueError, match=r"'head' of lr is never reached: of '\*' before it .* write it first"):
        Scheduler(named(head=1.0, body=1.0), {"*": ONE, "head": TWO})
    Scheduler(named(head=1.0), {"head": ONE, "*": TWO})  # for groups that come later


def test_groups_without_names_are_told_what_to_write():
    with pytest.raises(ValueError, match=r'none has a name: write {"params": ..., "name": "head"} in the optimizer'):
        Scheduler(optimizer_with(1.0, 1.0), {"head": ONE, "*": TWO})
    mixed = named(head=1.0)
    mixed.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})
    with pytest.raises(ValueError, match="parameter group 1 has no name for the patterns of lr"):
        Scheduler(mixed, {"head": ONE})


def test_named_parameters_are_known_by_their_names():
    model = torch.nn.ModuleDict({"body": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 2)})
    split = [
        {"params": [(n, p) for n, p in model.named_parameters() if n.endswith("bias")]},
        {"params": [(n, p) for n, p in model.named_parameters() if n.endswith("weight")]},
    ]
    optimizer = torch.optim.SGD(split, lr=1.0)
    Scheduler(optimizer, {"*.bias": ONE, "*": TWO})
    assert values(optimizer, "lr") == [ONE(0), TWO(0)]
    with pytest.raises(ValueError, match=r"'head\.\*' fits head.bias but not body.bias of the same parameter group"):
        Scheduler(torch.optim.SGD(split, lr=1.0), {"head.*": ONE, "*": TWO})


def test_what_is_no_dict_of_schedules_is_refused():
    with pytest.raises(ValueError, match="lr is an empty dict"):
        Scheduler(named(head=1.0), {})
    with pytest.raises(TypeError, match=r"lr\['head'\] is a schedule or a function of the step, not 'cosine'"):
        Scheduler(named(head=1.0), {"head": "cosine"})
    with pytest.raises(TypeError, match="keys of lr are names or patterns of parameter groups, not 0"):
        Scheduler(named(head=1.0), {0: ONE})


def test_a_function_that_returns_what_no_multiplier_is_stops_the_run():
    optimizer = named(head=1.0)
    scheduler = Scheduler(optimizer, lambda step: float("nan") if step == 3 else 1.0)
    lrs_used(optimizer, scheduler, 2)
    with pytest.raises(ValueError, match="lr is nan at step 3; return a finite number >= 0"):
        scheduler.step()


def new_group(name, lr):
    return {"params": [torch.nn.Parameter(torch.zeros(1))], "name": name, "lr": lr}


def test_a_group_added_later_has_its_scheduled_lr_at_its_very_first_update():
    optimizer = named(head=0.1)
    scheduler = Scheduler(optimizer, {"head": ONE, "*": TWO})
    lrs_used(optimizer, scheduler, 6)
    seen = []
    optimizer.add_param_group(new_group("body", 0.5))
    optimizer.register_step_post_hook(lambda optimizer, *_: seen.append(values(optimizer, "lr")))
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert seen == [[0.1 * ONE(step), 0.5 * TWO(step)] for step in (6, 7, 8)]


def test_a_group_added_later_that_no_pattern_fits_is_refused_before_its_first_update():
    optimizer = named(head=0.1)
    scheduler = Scheduler(optimizer, {"head": ONE})
    lrs_used(optimizer, scheduler, 3)
    optimizer.add_param_group(new_group("body", 0.5))
    for act in (optimizer.step, scheduler.step, optimizer.step):  # again and again, never silently continued
        with pytest.raises(ValueError, match="fits parameter group 'body'"):
            act()


@pytest.mark.parametrize("covered", [True, False])
def test_a_group_in_anothers_place_is_scheduled_or_refused(covered):
    """As many groups as before, but not the same ones."""
    optimizer, used = named(head=0.1, a=0.1), []
    scheduler = Scheduler(optimizer, {"head": ONE, "*" if covered else "a": TWO})
    lrs_used(optimizer, scheduler, 5)
    del optimizer.param_groups[1]
    optimizer.add_param_group(new_group("b", 0.5))
    optimizer.register_step_post_hook(lambda optimizer, *_: used.append(values(optimizer, "lr")))
    if covered:
        lrs_used(optimizer, scheduler, 2)
        assert used == [[0.1 * ONE(step), 0.5 * TWO(step)] for step in (5, 6)]
    else:
        with pytest.raises(ValueError, match="fits parameter group 'b'"):
            optimizer.step()


def test_what_is_told_of_a_late_group_is_what_its_first_update_uses():
    for tell in (lambda s: s.record()["groups"][1]["lr"], lambda s: s.get_last_lr()[1], lambda s: s.get_lr()[1]):
        optimizer = named(head=0.1)
        scheduler = Scheduler(optimizer, {"head": ONE, "*": TWO})
        lrs_used(optimizer, scheduler, 5)
        optimizer.add_param_group(new_group("b", 0.5))
        assert tell(scheduler) == 0.5 * TWO(5)


def test_a_step_that_is_refused_does_not_advance_the_clock():
    optimizer = named(head=0.1)
    scheduler = Scheduler(optimizer, {"head": ONE})
    lrs_used(optimizer, scheduler, 5)
    optimizer.add_param_group(new_group("b", 0.5))
    for _ in range(3):
        with pytest.raises(ValueError, match="fits parameter group 'b'"):
            scheduler.step()
    assert scheduler.last_epoch == 5


def test_a_copy_watches_its_own_optimizer():
    optimizer = named(head=0.1)
    clone = copy.deepcopy(Scheduler(optimizer, {"head": ONE}))
    clone.optimizer.add_param_group(new_group("body", 0.5))
    with pytest.raises(ValueError, match="fits parameter group 'body'"):
        clone.optimizer.step()
    optimizer.step()


def test_scheduler_and_optimizer_go_when_they_are_let_go_of():
    """torch's own test: no reference cycle keeps an optimizer, and all its memory, alive."""
    gc.disable()
    try:
        optimizer = named(head=0.1)
        scheduler = Scheduler(optimizer, ONE)
        gone, hooks = weakref.ref(scheduler), optimizer._optimizer_step_pre_hooks
        assert len(hooks) == 1
        del scheduler
        assert gone() is None and not hooks, "a scheduler that is gone leaves no hook behind"
        kept = Scheduler(optimizer, ONE)
        gone = weakref.ref(optimizer)
        del optimizer, kept
        assert gone() is None
    finally:
        gc.enable()


def test_apply_knows_groups_too():
    optimizer = named(head=0.1, body=0.2)
    record = apply(optimizer, 3, {"head": ONE, "*": TWO})
    assert values(optimizer, "lr") == [0.1 * ONE(3), 0.2 * TWO(3)]
    assert record == {
        "step": 3,
        "phase": "decay",
        "lr": 0.1 * ONE(3),
        "groups": [
            {"name": "head", "phase": "decay", "lr": 0.1 * ONE(3)},
            {"name": "body", "phase": "warmup", "lr": 0.2 * TWO(3)},
        ],
    }
    with pytest.raises(ValueError, match="fits no parameter group"):
        apply(optimizer, 3, {"tail": ONE, "*": TWO})
