"""Weight decay, momentum and betas by schedule, with the couplings that people use; skipped updates."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stepping import lrs_used, optimizer_with, through_a_file, values
from strategies import schedules

import lehr
from lehr import Ramp, Schedule
from lehr.integrations.torch import Scheduler, apply, constant_product, opposite, scale_by_batch

CURVE = lehr.cosine(total=20, warmup=5)
HALF = lehr.parse("linear 10 from 0.5 to 1, hold 10")


def adamw(**settings):
    return torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], **{"lr": 0.1, "weight_decay": 0.1, **settings})


def test_each_hyperparameter_is_its_initial_value_times_its_schedule():
    optimizer = adamw(betas=(0.9, 0.99))
    scheduler = Scheduler(optimizer, CURVE, weight_decay=HALF, betas=(None, HALF))
    for step in range(25):
        assert values(optimizer, "lr") == [0.1 * CURVE(step)]
        assert values(optimizer, "weight_decay") == [0.1 * HALF(step)]
        assert optimizer.param_groups[0]["betas"] == (0.9, 0.99 * HALF(step))
        assert scheduler.record()["groups"][0] == {
            "name": "0",
            "phase": CURVE.phase(step),
            "lr": 0.1 * CURVE(step),
            "weight_decay": 0.1 * HALF(step),
            "betas": (0.9, 0.99 * HALF(step)),
        }
        optimizer.step()
        scheduler.step()


def test_apply_sets_the_same_in_any_order_of_steps():
    stepped, set_directly = adamw(), adamw()
    scheduler = Scheduler(stepped, CURVE, weight_decay=HALF, momentum=HALF)
    seen = {}
    for step in range(20):
        seen[step] = {key: stepped.param_groups[0][key] for key in ("lr", "weight_decay", "betas")}
        stepped.step()
        scheduler.step()
    for step in (7, 0, 19, 7, 3):
        record = apply(set_directly, step, CURVE, weight_decay=HALF, momentum=HALF)
        assert {key: set_directly.param_groups[0][key] for key in seen[step]} == seen[step]
        assert record["groups"][0] == {"name": "0", "phase": CURVE.phase(step), **seen[step]}


def test_momentum_is_sgds_momentum_and_adams_first_beta():
    sgd = optimizer_with(0.1, momentum=0.9)
    Scheduler(sgd, CURVE, momentum=HALF)
    assert values(sgd, "momentum") == [0.9 * HALF(0)]
    adam = adamw()
    Scheduler(adam, CURVE, momentum=HALF)
    assert adam.param_groups[0]["betas"] == (0.9 * HALF(0), 0.999)


def test_what_would_do_nothing_or_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"weight_decay of every parameter group is 0, .* write weight_decay=0.1"):
        Scheduler(optimizer_with(0.1), CURVE, weight_decay=HALF)
    with pytest.raises(ValueError, match=r"momentum of every parameter group is 0, .* write momentum=0.9"):
        Scheduler(optimizer_with(0.1), CURVE, momentum=HALF)
    with pytest.raises(
        ValueError, match="parameter group 0 has no momentum to schedule; this optimizer has lr, weight"
    ):
        Scheduler(torch.optim.Adadelta([torch.nn.Parameter(torch.zeros(1))]), CURVE, momentum=HALF)
    with pytest.raises(ValueError, match=r"momentum of parameter group 0 is its betas\[0\]; write one of them"):
        Scheduler(adamw(), CURVE, momentum=HALF, betas=(HALF, None))
    with pytest.raises(ValueError, match=r"betas\.1 of parameter group 0 would be 1\.998: it starts at 0\.999"):
        Scheduler(adamw(), CURVE, betas=(None, 2 * lehr.constant(10)))
    with pytest.raises(TypeError, match=r"betas is a pair of schedules, .*; write \(schedule, None\)"):
        Scheduler(adamw(), CURVE, betas=HALF)
    optimizer = adamw()
    scheduler = Scheduler(optimizer, CURVE, betas=(lambda step: 1 + step / 10, None))
    optimizer.step()
    with pytest.raises(
        ValueError, match=r"betas\.0 of a parameter group without a name would be 1\.\d+; it is below 1"
    ):
        scheduler.step(5)


def test_a_group_without_weight_decay_keeps_none():
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "weight_decay": decay} for decay in (0.1, 0.0)]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    Scheduler(optimizer, CURVE, weight_decay=HALF)
    assert values(optimizer, "weight_decay") == [0.1 * HALF(0), 0.0]


def test_each_hyperparameter_may_go_by_group():
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "name": name} for name in ("head", "body")]
    optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.1)
    Scheduler(optimizer, CURVE, weight_decay={"head": HALF, "*": CURVE}, betas=({"body": HALF, "*": CURVE}, None))
    assert values(optimizer, "weight_decay") == [0.1 * HALF(0), 0.1 * CURVE(0)]
    assert values(optimizer, "betas", 0) == [0.9 * CURVE(0), 0.9 * HALF(0)]


def test_initial_values_are_saved_with_the_optimizer_and_the_order_of_loading_does_not_matter():
    schedules_of = {"weight_decay": HALF, "betas": (HALF, None)}
    first = adamw()
    scheduler = Scheduler(first, CURVE, **schedules_of)
    for _ in range(7):
        first.step()
        scheduler.step()
    saved = through_a_file({"optimizer": first.state_dict(), "scheduler": scheduler.state_dict()})
    keys = ("lr", "weight_decay", "betas")
    for optimizer_first in (True, False):
        second = adamw()
        if optimizer_first:
            second.load_state_dict(saved["optimizer"])
        resumed = Scheduler(second, CURVE, **schedules_of)
        resumed.load_state_dict(saved["scheduler"])
        if not optimizer_first:
            second.load_state_dict(saved["optimizer"])
        assert [second.param_groups[0][key] for key in keys] == [first.param_groups[0][key] for key in keys]
        second.step()
        resumed.step()
        assert [second.param_groups[0][key] for key in keys] == [0.1 * CURVE(8), 0.1 * HALF(8), (0.9 * HALF(8), 0.999)]


@pytest.mark.parametrize("between", [True, False])
def test_tensors_put_in_after_construction_are_filled_in_place_and_stay(between):
    """Put in before an update, or between it and the scheduler's step; one tensor for two groups becomes two."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in (0.1, 0.2)]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1, foreach=False)
    scheduler = Scheduler(optimizer, CURVE, weight_decay=HALF)
    optimizer.step()
    scheduler.step()
    if between:
        optimizer.step()
    shared = torch.tensor(3.0)
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = shared, torch.tensor(0.5)
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    if not between:
        optimizer.step()
    scheduler.step()
    held = [group["lr"] for group in optimizer.param_groups]
    for step in (2, 3):
        assert values(optimizer, "lr") == pytest.approx([0.1 * CURVE(step), 0.2 * CURVE(step)])
        assert values(optimizer, "weight_decay") == pytest.approx([0.1 * HALF(step)] * 2)
        optimizer.step()
        scheduler.step()
    assert all(
        group["lr"] is lr and isinstance(lr, torch.Tensor)
        for group, lr in zip(optimizer.param_groups, held, strict=True)
    )
    assert all(group["weight_decay"] is one for group, one in zip(optimizer.param_groups, decays, strict=True))


@pytest.mark.parametrize("after", [False, True], ids=["before the update", "after the update"])
@pytest.mark.parametrize("key", ["lr", "weight_decay"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_tensor_in_one_group_alone_stays_one(which, key, after):
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "name": name} for name in "abc"]
    optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.1, foreach=False)
    scheduler = Scheduler(optimizer, {"b": HALF, "*": CURVE}, weight_decay=HALF)
    held = torch.tensor(0.1)
    if after:
        optimizer.step()
    optimizer.param_groups[which][key] = held
    if not after:
        optimizer.step()
    for step in (1, 2):
        scheduler.step()
        assert optimizer.param_groups[which][key] is held
        assert values(optimizer, "lr") == pytest.approx([0.1 * curve(step) for curve in (CURVE, HALF, CURVE)])
        assert values(optimizer, "weight_decay") == pytest.approx([0.1 * HALF(step)] * 3)
        assert sum(isinstance(group[k], float) for group in optimizer.param_groups for k in ("lr", "weight_decay")) == 5


# --- couplings ---


def test_weight_decay_held_constant_in_lr_times_wd():
    """Shown in the weights: without a gradient each update shrinks them by the same factor, whatever the LR."""
    schedule = lehr.cosine(total=20, warmup=5, final=0.1)
    parameter = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.5)
    scheduler = Scheduler(optimizer, schedule, weight_decay=constant_product(schedule))
    for _ in range(20):
        before = parameter.item()
        parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        assert parameter.item() / before == pytest.approx(1 - 0.1 * 0.5, rel=1e-12)
        scheduler.step()


WHOLE, OTHER = lehr.cosine(total=20, warmup=5, final=0.1), lehr.linear(20, final=0.5)


def decaying(**decays):
    """AdamW with a group of this weight decay for each name."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "name": n, "weight_decay": d} for n, d in decays.items()]
    return torch.optim.AdamW(groups, lr=0.1)


@pytest.mark.parametrize("set_up", [Scheduler, lambda optimizer, lr, **options: apply(optimizer, 0, lr, **options)])
def test_a_product_with_the_lr_of_others_is_refused_by_the_groups_name(set_up):
    lr, keep = {"head": OTHER, "*": WHOLE}, constant_product(WHOLE)
    with pytest.raises(
        ValueError, match=r"decay of parameter group 'head' is constant_product\(.* LR follows"
    ) as error:
        set_up(decaying(body=0.2, head=0.1), lr, weight_decay=keep)
    told = str(error.value)
    assert (
        f"constant_product({str(WHOLE)!r}), and its LR follows {str(OTHER)!r}, so LR * weight_decay would not" in told
    )
    assert "write weight_decay={'head': constant_product(its own schedule), ...}" in told
    with pytest.raises(ValueError, match=r"follows .*scale_by_batch\(.*; write a function of the step, 1 / lr\(step\)"):
        set_up(decaying(body=0.2), scale_by_batch(WHOLE, lambda step: 256 + step, 256), weight_decay=keep)


def test_the_product_holds_in_every_group_that_is_taken():
    """Each with its own schedule, one with a multiple of it, one without decay, one that does not learn."""
    optimizer = decaying(body=0.2, head=0.1, half=0.3, norm=0.0, frozen=0.4)
    lrs = {"head": OTHER, "half": 0.1 * WHOLE, "norm": lehr.linear(20), "frozen": 0 * WHOLE, "*": WHOLE}
    decays = {"head": constant_product(OTHER), "*": constant_product(WHOLE)}
    scheduler = Scheduler(optimizer, lrs, weight_decay=decays)
    for _ in range(20):
        products = [group["lr"] * group["weight_decay"] for group in optimizer.param_groups]
        assert products == pytest.approx([0.1 * 0.2, 0.1 * 0.1, 0.01 * 0.3, 0, 0], rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_a_group_that_is_added_with_another_lr_is_refused_before_its_first_update():
    optimizer = decaying(head=0.1)
    scheduler = Scheduler(optimizer, {"head": WHOLE, "*": OTHER}, weight_decay=constant_product(WHOLE))
    optimizer.step()
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "name": "body"})
    with pytest.raises(ValueError, match="the weight decay of parameter group 'body' is constant_product"):
        optimizer.step()
    assert scheduler.last_epoch == 0


def test_constant_product_needs_a_limit_where_the_lr_goes_to_0():
    for schedule in (lehr.linear(10, warmup=2), lehr.linear(10, warmup=2, final=0.1, sample="start")):
        with pytest.raises(ValueError, match=r"goes to an LR of 0, .* write most=100"):
            constant_product(schedule)
        keep = constant_product(schedule, most=20)
        assert max(map(keep, range(15))) == 20
    with pytest.raises(ValueError, match="most is the greatest multiplier"):
        constant_product(lehr.linear(10), most=0)


@given(schedules(whole=True, longest=40))
def test_constant_product_is_refused_exactly_where_an_update_has_an_lr_of_0(schedule):
    reaches = any(schedule(step) == 0 for step in range(math.ceil(schedule.total) + 2))
    try:
        keep = constant_product(schedule)
    except ValueError:
        refused = True
    else:
        refused = False
        step = int(schedule.total / 2)
        assert schedule(step) * keep(step) == pytest.approx(1, rel=1e-12)
    assert refused == reaches


def test_momentum_opposite_to_the_lr_is_torchs_one_cycle():
    for three_phase in (False, True):
        theirs = optimizer_with(0.1, momentum=0.5)
        settings = {"max_lr": 0.1, "total_steps": 40, "three_phase": three_phase}
        one_cycle = torch.optim.lr_scheduler.OneCycleLR(theirs, base_momentum=0.85, max_momentum=0.95, **settings)
        schedule = 10 * lehr.convert("torch.OneCycleLR", **settings)
        ours = optimizer_with(0.1, momentum=0.95)
        scheduler = Scheduler(ours, schedule, momentum=opposite(schedule, low=0.85 / 0.95))
        for _ in range(39):
            assert values(ours, "lr") == pytest.approx(values(theirs, "lr"), rel=1e-9, abs=1e-12)
            if not three_phase:
                assert values(ours, "momentum") == pytest.approx(values(theirs, "momentum"), rel=1e-12)
            for each in (ours, theirs):
                each.step()
            scheduler.step()
            one_cycle.step()


@given(schedules(whole=True, longest=60), st.floats(0.05, 1))
def test_the_opposite_falls_where_the_schedule_rises_and_stays_between_low_and_1(schedule, low):
    mirrored = opposite(schedule, low)
    assert mirrored.joints == schedule.joints and mirrored.sample == schedule.sample
    assert all(low <= mirrored(step) <= 1 for step in range(0, 200, 7))
    for ramp, other in zip(schedule.ramps, mirrored.ramps, strict=True):
        assert (other.end_value - other.start_value) * (ramp.end_value - ramp.start_value) <= 0
    assert lehr.parse(str(mirrored)) == mirrored


def test_the_opposite_of_one_that_starts_at_its_peak_starts_low():
    assert str(opposite(lehr.parse("cosine 10 from 1 to 0"), 0.5)) == "cosine 10 from 0.5 to 1"
    assert str(opposite(Schedule((Ramp(0, 5, 1, 1), Ramp(5, 5, 1, 0))), 0.5)) == "hold 5 from 0.5, linear 5 to 1"
    with pytest.raises(ValueError, match="low is the least multiplier"):
        opposite(CURVE, 1.5)


def test_lr_by_the_square_root_of_the_batch_size():
    assert scale_by_batch(CURVE, 1024, reference=256) == 2 * CURVE

    def batch(step):
        return 64 if step < 10 else 256

    raised = scale_by_batch(CURVE, batch, reference=64)
    optimizer = optimizer_with(0.1)
    used = lrs_used(optimizer, Scheduler(optimizer, raised), 20)
    assert used == [[0.1 * (CURVE(step) * (1 if step < 10 else 2))] for step in range(20)]
    for wrong in ({"batch": 0, "reference": 1}, {"batch": 1, "reference": 0}):
        with pytest.raises(ValueError, match="is a batch size above 0, not 0"):
            scale_by_batch(CURVE, **wrong)


# --- skipped updates ---


@pytest.mark.parametrize(("on_skip", "clock"), [("advance", [0, 1, 2, 3, 4]), ("hold", [0, 1, 1, 1, 2])])
def test_a_skipped_update_advances_the_clock_or_holds_it_and_is_counted(on_skip, clock):
    optimizer = optimizer_with(1.0)
    scheduler = Scheduler(optimizer, CURVE, on_skip=on_skip)
    seen = [values(optimizer, "lr")]
    for skipped in (False, True, True, False):
        if not skipped:
            optimizer.step()
        scheduler.step(skipped=skipped)
        seen.append(values(optimizer, "lr"))
    assert seen == [[CURVE(step)] for step in clock]
    assert scheduler.skipped == scheduler.record()["skipped"] == scheduler.state_dict()["skipped"] == 2
    other = Scheduler(optimizer_with(1.0), CURVE, on_skip=on_skip)
    other.load_state_dict(through_a_file(scheduler.state_dict()))
    assert other.skipped == 2 and other.last_epoch == clock[-1]


def test_a_first_update_that_is_skipped_is_no_wrong_order_of_calls():
    scheduler = Scheduler(optimizer_with(1.0), CURVE)
    scheduler.step(skipped=True)  # warnings are errors here
    assert scheduler.last_epoch == 1


@pytest.mark.parametrize("on_skip", ["advance", "hold"])
def test_a_real_overflow_of_the_grad_scaler(on_skip):
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scheduler = Scheduler(optimizer, CURVE, on_skip=on_skip)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1000)
    moved = []
    for factor in (1.0, math.inf, 1.0, math.inf, 1.0):
        before, scale = parameter.item(), scaler.get_scale()
        scaler.scale((parameter * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step(skipped=scaler.get_scale() < scale)
        optimizer.zero_grad()
        moved.append(before - parameter.item())
    clock = (0, 2, 4) if on_skip == "advance" else (0, 1, 2)
    assert moved[1] == moved[3] == 0 and scheduler.skipped == 2
    assert moved[::2] == pytest.approx([0.1 * CURVE(step) for step in clock], rel=1e-5)


def test_on_skip_is_one_of_two():
    with pytest.raises(ValueError, match="on_skip is one of hold, advance, not 'stay'"):
        Scheduler(optimizer_with(1.0), CURVE, on_skip="stay")
