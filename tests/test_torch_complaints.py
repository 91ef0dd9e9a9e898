"""What people wrote to other systems about, each complaint a test under its thread: it cannot happen here.

The threads are on GitHub, `pytorch_107076` is pytorch/pytorch#107076. What concerns the Trainer and accelerate is in
tests/integrations.
"""

import io
import json
import math
import pickle
from itertools import pairwise

import pytest
import torch
import torch._dynamo.testing
from stepping import lrs_used, named, optimizer_with, through_a_file, values

import lehr
from lehr.integrations.torch import Scheduler, apply, constant_product, opposite

CURVE = lehr.cosine(total=30, warmup=5)


def run(updates, lr=CURVE, optimizer=None, **options):
    optimizer = optimizer or optimizer_with(0.1)
    scheduler = Scheduler(optimizer, lr, **options)
    lrs_used(optimizer, scheduler, updates)
    return optimizer, scheduler


def test_vortex_70_a_changed_argument_is_not_ignored_on_resume():
    _, scheduler = run(10, lehr.step(total=30, every=10, factor=0.5))
    changed = Scheduler(optimizer_with(0.1), lehr.step(total=30, every=5, factor=0.5))
    with pytest.raises(ValueError, match="the saved schedule differs"):
        changed.load_state_dict(through_a_file(scheduler.state_dict()))


def test_transformers_18070_a_finished_run_made_longer_does_not_go_on_at_0_without_a_word():
    _, scheduler = run(9, lehr.linear(total=9))
    longer = Scheduler(optimizer_with(0.1), lehr.linear(total=15))
    with pytest.raises(ValueError, match=r"LR 0 at step 9\), here .*LR 0\.0\d+ at step 9"):
        longer.load_state_dict(scheduler.state_dict())


def test_open_clip_413_a_longer_run_does_not_jump():
    old, new = lehr.cosine(total=100, final=0), lehr.cosine(total=200, final=0)
    _, scheduler = run(50, old)
    longer = Scheduler(optimizer_with(0.1), new, on_mismatch="extend")
    longer.load_state_dict(scheduler.state_dict())
    used = [0.1 * old(49), *(lr for (lr,) in lrs_used(longer.optimizer, longer, 150))]
    assert max(abs(b - a) for a, b in pairwise(used)) < 0.002 < 0.03 < 0.1 * abs(new(50) - old(49))
    assert used[-1] == 0


def test_sd_scripts_141_a_finished_run_made_longer_trains_again_when_told_to():
    """500 steps done, 2000 asked for: the LR stayed at 0. Here the choice has a name."""
    _, scheduler = run(500, lehr.linear(total=500))
    longer = Scheduler(optimizer_with(0.1), lehr.linear(total=2000), on_mismatch="new")
    longer.load_state_dict(scheduler.state_dict())
    assert longer.get_last_lr()[0] == 0.1 * lehr.linear(total=2000)(500) > 0.07


@pytest.mark.parametrize("order", ["build load optimizer scheduler", "load optimizer build scheduler"])
def test_pytorch_119168_the_order_of_building_and_loading_changes_nothing(order):
    first, scheduler = run(12)
    saved = through_a_file([first.state_dict(), scheduler.state_dict()])
    second = optimizer_with(0.1)
    resumed = Scheduler(second, CURVE) if order.startswith("build") else None
    second.load_state_dict(saved[0])
    resumed = resumed or Scheduler(second, CURVE)
    resumed.load_state_dict(saved[1])
    assert values(second, "lr") == values(first, "lr") == [0.1 * CURVE(12)]


def test_pytorch_65342_loading_the_scheduler_alone_sets_the_lr():
    first, scheduler = run(12)
    second = optimizer_with(0.1)
    Scheduler(second, CURVE).load_state_dict(scheduler.state_dict())
    assert values(second, "lr") == values(first, "lr")


def test_pytorch_72874_joined_schedules_are_right_at_the_joint_and_on_resume():
    joined = lehr.parse("linear 10 from 1 to 0.2, hold 5 from 1, cosine 20 from 0.8 to 0")
    expected = [[0.1 * joined(step)] for step in range(40)]
    optimizer = optimizer_with(0.1)
    assert lrs_used(optimizer, Scheduler(optimizer, joined), 40) == expected
    for at in (9, 10, 11, 14, 15, 16):
        _, scheduler = run(at, joined)
        second = optimizer_with(0.1)
        resumed = Scheduler(second, joined)
        resumed.load_state_dict(scheduler.state_dict())
        assert lrs_used(second, resumed, 40 - at) == expected[at:]


def test_pytorch_67586_a_second_scheduler_is_not_called_with_another_epoch():
    """As children of SequentialLR, too, each counts from its own beginning; an exponential jumped there."""
    warm, falls = lehr.parse("linear 5 from 0.2 to 1"), lehr.exponential(total=20, final=0.1)
    optimizer = optimizer_with(0.1)
    children = [Scheduler(optimizer, warm), Scheduler(optimizer, falls)]
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, children, [5])
    expected = [[0.1 * warm(step)] for step in range(5)] + [[0.1 * falls(step)] for step in range(20)]
    assert lrs_used(optimizer, both, 25) == expected


@pytest.mark.parametrize(
    "text", ["linear 0 to 1, cosine 10 to 0", "cosine 10 from 1 to 0", "linear 0% to 1, cosine 10 to 0"]
)
def test_pytorch_185872_no_warmup_is_a_warmup_of_0_updates(text):
    optimizer = optimizer_with(0.1)
    used = lrs_used(optimizer, Scheduler(optimizer, lehr.parse(text, total=10)), 10)
    assert used == [[0.1 * lehr.parse("cosine 10 from 1 to 0")(step)] for step in range(10)]


@pytest.mark.parametrize("done", [1, 2, 3, 4, 5, 9])
def test_pytorch_162591_joined_schedules_start_at_any_last_epoch(done):
    """And pytorch#60265: what a scheduler built with last_epoch sets is no step ahead of the run's."""
    joined = lehr.parse("hold 3 from 0.1, linear 2 to 1, cosine 10 to 0")
    first = optimizer_with(0.1)
    whole = lrs_used(first, Scheduler(first, joined), done)
    second = optimizer_with(0.1)
    second.load_state_dict(first.state_dict())
    resumed = Scheduler(second, joined, last_epoch=done - 1)
    assert [*whole, *lrs_used(second, resumed, 15 - done)] == [[0.1 * joined(step)] for step in range(15)]


def test_pytorch_60265_a_cosine_goes_on_at_epoch_45_without_a_jump():
    curve = lehr.cosine(total=100, final=0)
    first = optimizer_with(1e-3)
    used = lrs_used(first, Scheduler(first, curve), 45)
    second = optimizer_with(1e-3)
    second.load_state_dict(first.state_dict())
    before = values(second, "lr")
    resumed = Scheduler(second, curve, last_epoch=44)
    assert values(second, "lr") == before == [1e-3 * curve(45)], "building one changes nothing"
    assert used + lrs_used(second, resumed, 55) == [[1e-3 * curve(step)] for step in range(100)]


def test_pytorch_29697_the_lr_is_right_though_the_optimizers_state_was_not_loaded():
    drops = lehr.multistep(total=15, milestones=[5], factor=0.1)
    _, scheduler = run(10, drops, optimizer_with(1.0))
    second = optimizer_with(1.0)
    resumed = Scheduler(second, drops)
    resumed.load_state_dict(scheduler.state_dict())
    assert lrs_used(second, resumed, 5) == [[0.1]] * 5


def test_pytorch_156846_building_a_scheduler_anew_on_a_running_optimizer_does_not_compound():
    optimizer, scheduler = run(12)
    for _ in range(3):
        again = Scheduler(optimizer, CURVE)
        again.load_state_dict(scheduler.state_dict())
        assert values(optimizer, "lr") == [0.1 * CURVE(12)] and again.base_lrs == [0.1]


def test_deepspec_32_the_hand_off_from_warmup_to_cosine_does_not_overshoot_the_peak():
    """There by 2 / (1 + cos(pi / T)): a child computed its first value from the other's last."""
    for total in (10, 11, 100):
        optimizer = optimizer_with(0.1)
        used = [lr for (lr,) in lrs_used(optimizer, Scheduler(optimizer, lehr.cosine(total, warmup=3)), total)]
        assert max(used) == 0.1 and used == sorted(used[:3]) + sorted(used[3:], reverse=True)


def test_pytorch_68332_the_closed_form_is_the_public_call():
    optimizer = optimizer_with(0.1)
    scheduler = Scheduler(optimizer, CURVE)
    assert lrs_used(optimizer, scheduler, 30) == [[0.1 * scheduler.lr(step)] for step in range(30)]


@pytest.mark.parametrize("order", ["optimizer scheduler", "scheduler optimizer"])
def test_megatron_1138_the_peak_that_the_code_says_overrides_the_one_the_optimizer_carried(order):
    """There the old peak came back out of the optimizer's groups, --override-opt_param-scheduler or not."""
    first, scheduler = run(12)
    second = optimizer_with(0.03)
    changed = Scheduler(second, CURVE, on_mismatch="new")
    for which in order.split():
        if which == "optimizer":
            second.load_state_dict(first.state_dict())
        else:
            changed.load_state_dict(scheduler.state_dict())
    used = []
    second.register_step_post_hook(lambda optimizer, *_: used.append(*values(optimizer, "lr")))
    lrs_used(second, changed, 18)
    assert used == [0.03 * CURVE(step) for step in range(12, 30)] and changed.base_lrs == [0.03]


def test_miles_1627_restoring_twice_does_not_count_twice():
    _, scheduler = run(12)
    resumed = Scheduler(optimizer_with(0.1), CURVE)
    for _ in range(3):
        resumed.load_state_dict(scheduler.state_dict())
    assert resumed.last_epoch == 12 and resumed.get_last_lr() == [0.1 * CURVE(12)]


def test_verl_7953_a_restored_scheduler_does_not_start_over():
    _, scheduler = run(12)
    resumed = Scheduler(optimizer_with(0.1), CURVE)
    resumed.load_state_dict(scheduler.state_dict())
    assert resumed.record()["step"] == 12 and resumed.get_last_lr() != [0.1 * CURVE(0)]


def test_transformers_11106_an_update_skipped_by_amp_neither_warns_nor_goes_unnoticed():
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scheduler = Scheduler(optimizer, CURVE, on_skip="hold")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale((parameter * math.inf).sum()).backward()
    scale = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    scheduler.step(skipped=scaler.get_scale() < scale)  # a warning would be an error here
    assert scheduler.record()["skipped"] == 1 and scheduler.last_epoch == 0


def test_pytorch_22107_the_lr_that_is_told_is_the_lr_that_is_used():
    """get_lr() was one decay ahead; here all ways to ask agree with the group, before each update."""
    optimizer = optimizer_with(0.1)
    scheduler = Scheduler(optimizer, CURVE)
    for step in range(10):
        used = values(optimizer, "lr")
        assert (
            used == scheduler.get_lr() == scheduler.get_last_lr() == [scheduler.record()["lr"]] == [0.1 * CURVE(step)]
        )
        optimizer.step()
        scheduler.step()


def test_pytorch_67761_each_group_has_a_curve_of_its_own():
    optimizer = named(head=0.1, body=0.01)
    scheduler = Scheduler(optimizer, {"head": CURVE, "body": lehr.constant(30, warmup=10)})
    for step, (head, body) in enumerate(lrs_used(optimizer, scheduler, 40)):
        assert head == 0.1 * CURVE(step) and body == 0.01 * lehr.constant(30, warmup=10)(step)


def test_deepspeed_7969_groups_are_not_collapsed_to_the_first_ones_lr():
    optimizer = optimizer_with(0.1, 0.02, 0.003)
    for step, used in enumerate(lrs_used(optimizer, Scheduler(optimizer, CURVE), 40)):
        assert used == [0.1 * CURVE(step), 0.02 * CURVE(step), 0.003 * CURVE(step)]


def test_deepspeed_8171_each_group_warms_up_to_its_own_lr():
    optimizer = optimizer_with(0.1, 0.2)
    used = lrs_used(optimizer, Scheduler(optimizer, lehr.constant(30, warmup=10)), 12)
    assert used[0] == [pytest.approx(0.01), pytest.approx(0.02)] and used[9] == used[11] == [0.1, 0.2]


@pytest.mark.parametrize("covered", [True, False])
def test_transformers_20029_unfrozen_layers_are_scheduled_or_refused(covered):
    optimizer, _scheduler = run(10, {"head": CURVE, **({"*": CURVE} if covered else {})}, named(head=0.1))
    late = torch.nn.Parameter(torch.zeros(1))
    late.grad = torch.ones(1)
    optimizer.add_param_group({"params": [late], "name": "unfrozen", "lr": 0.5})
    if covered:
        optimizer.step()
        assert late.item() == pytest.approx(-0.5 * CURVE(10))
    else:
        with pytest.raises(ValueError, match="fits parameter group 'unfrozen'"):
            optimizer.step()
        assert late.item() == 0


def test_pytorch_83159_any_hyperparameter_can_be_scheduled():
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1, weight_decay=0.1)
    floored = lehr.cosine(total=30, warmup=5, final=0.1)
    options = {"weight_decay": constant_product(floored), "betas": (opposite(floored, 0.9), lehr.constant(30))}
    scheduler = Scheduler(optimizer, floored, **options)
    for _ in range(30):
        group = optimizer.param_groups[0]
        assert group["lr"] * group["weight_decay"] == pytest.approx(0.01, rel=1e-12)
        assert 0.81 - 1e-12 <= group["betas"][0] <= 0.9
        optimizer.step()
        scheduler.step()


def test_pytorch_94450_the_state_is_small_plain_data_without_the_optimizer():
    _optimizer, scheduler = run(10, optimizer=torch.optim.SGD([torch.nn.Parameter(torch.zeros(10_000))], lr=0.1))
    assert json.loads(json.dumps(scheduler.state_dict())) == scheduler.state_dict()
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    assert file.tell() < 2000


def test_pytorch_98921_every_recipes_state_is_read_with_weights_only():
    for schedule in (lehr.multistep(total=30, milestones=[10, 20], factor=0.1), lehr.sgdr(10, 3), CURVE):
        optimizer, scheduler = run(12, schedule)
        resumed = Scheduler(optimizer, schedule)
        resumed.load_state_dict(through_a_file(scheduler.state_dict()))  # weights_only=True
        assert resumed.get_last_lr() == [0.1 * schedule(12)]


def test_transformers_21689_schedulers_can_be_pickled():
    _, scheduler = run(10)
    assert pickle.loads(pickle.dumps(scheduler)).state_dict() == scheduler.state_dict()


def compiled_again(optimizer, parameter, scheduler):
    """How often a compiled optimizer.step was compiled once it was warm, over a whole schedule."""
    counter = torch._dynamo.testing.CompileCounter()
    torch._dynamo.reset()
    compiled = torch.compile(lambda: optimizer.step(), backend=counter)
    for step in range(30):
        parameter.grad = torch.ones(2)
        compiled()
        scheduler.step()
        if step == 1:
            warm = counter.frame_count
    assert warm, "it was compiled"
    return counter.frame_count - warm


QUIET = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated"
)  # torch's own, as it loads inductor


@QUIET
def test_pytorch_107076_an_lr_in_a_tensor_does_not_make_a_compiled_step_compile_again():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter], lr=torch.tensor(0.1), foreach=False)
    assert compiled_again(optimizer, parameter, Scheduler(optimizer, CURVE)) == 0


@QUIET
def test_pytorch_133898_scheduled_betas_in_tensors_do_not_either():
    parameter = torch.nn.Parameter(torch.ones(2))
    betas = (torch.tensor(0.9), torch.tensor(0.999))
    optimizer = torch.optim.Adam([parameter], lr=torch.tensor(0.1), betas=betas, foreach=False)
    assert compiled_again(optimizer, parameter, Scheduler(optimizer, CURVE, momentum=opposite(CURVE, 0.9))) == 0
    assert optimizer.param_groups[0]["betas"][0] is betas[0]


@QUIET
def test_a_scheduled_weight_decay_in_a_tensor_does_not_either():
    parameter, decay = torch.nn.Parameter(torch.ones(2)), torch.tensor(0.1)
    optimizer = torch.optim.AdamW([parameter], lr=torch.tensor(0.1), weight_decay=decay, foreach=False)
    floored = lehr.cosine(total=30, warmup=5, final=0.1)
    scheduler = Scheduler(optimizer, floored, weight_decay=constant_product(floored))
    assert compiled_again(optimizer, parameter, scheduler) == 0
    assert optimizer.param_groups[0]["weight_decay"] is decay
    assert decay.item() == pytest.approx(0.1 / floored(30))


@QUIET
def test_pytorch_120934_steps_settle_with_a_function_of_the_step_too():
    """A LambdaLR there, whose every new number was another compilation."""
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter], lr=torch.tensor(0.1), foreach=False)
    assert compiled_again(optimizer, parameter, Scheduler(optimizer, lambda step: 1 / (1 + step))) == 0


class WithPlateau:
    """A warmup, and a plateau that lowers the peak: the recipe of docs/torch.md."""

    def __init__(self, optimizer, schedule):
        self.optimizer, self.scheduler = optimizer, Scheduler(optimizer, schedule)
        peak = torch.optim.SGD([torch.zeros(1)], lr=self.scheduler.base_lrs[0])
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(peak, factor=0.5, patience=2)

    def step(self, loss=1.0):
        self.scheduler.step()
        self.plateau.step(loss)
        for group in self.optimizer.param_groups:
            group["initial_lr"] = self.plateau.get_last_lr()[0]
        self.scheduler.refresh()


def test_pytorch_68978_a_plateau_goes_with_a_warmup():
    optimizer = optimizer_with(0.1)
    both, warm = WithPlateau(optimizer, lehr.constant(30, warmup=3)), lehr.constant(30, warmup=3)
    for step in range(12):
        peak = 0.1 * 0.5 ** max((step - 1) // 3, 0)
        assert values(optimizer, "lr") == [pytest.approx(peak * warm(step))]
        optimizer.step()
        both.step()


@QUIET
def test_pytorch_163093_a_plateau_does_not_make_a_float_of_the_tensor():
    parameter, lr = torch.nn.Parameter(torch.ones(2)), torch.tensor(0.1)
    optimizer = torch.optim.Adam([parameter], lr=lr, foreach=False)
    again = compiled_again(optimizer, parameter, WithPlateau(optimizer, lehr.constant(30)))
    assert again <= 2, "when torch finds that initial_lr is a variable in either frame, and not at each of 9 reductions"
    assert optimizer.param_groups[0]["lr"] is lr and lr.item() == pytest.approx(0.1 / 2**9)


def test_timm_2125_the_lr_can_be_set_before_each_update():
    optimizer = optimizer_with(0.1)
    for step in (0, 1, 7, 3):
        record = apply(optimizer, step, CURVE)
        assert values(optimizer, "lr") == [record["lr"]] == [0.1 * CURVE(step)]


def test_olmo_core_a_frozen_group_with_an_lr_of_0_is_no_error():
    optimizer = optimizer_with(0.1, 0.0)
    assert all(frozen == 0 for _, frozen in lrs_used(optimizer, Scheduler(optimizer, CURVE), 30))
