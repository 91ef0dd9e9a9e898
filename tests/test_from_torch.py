"""lehr.integrations.from_torch: a schedule read off a live scheduler is what its optimizer then gets."""

import random

import pytest
import torch
from torch.optim import SGD, lr_scheduler

import lehr
from lehr.integrations.from_torch import from_torch

# torch warns about its own doings: a nested SequentialLR steps the one in it before the optimizer has stepped
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LR = 0.1


def optimizer(*rates: float) -> SGD:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in rates or (LR,)]
    return SGD(groups, lr=LR, momentum=0.9)


def build(spec, on):
    """A scheduler, nested ones included, from [name, arguments]."""
    name, args = spec
    args = dict(args)
    if "schedulers" in args:
        args["schedulers"] = [build(child, on) for child in args["schedulers"]]
    if name == "ChainedScheduler":
        return lr_scheduler.ChainedScheduler(**args)
    return getattr(lr_scheduler, name)(on, **args)


def followed(scheduler, on, updates, group=0):
    """The LRs that the optimizer really gets, until the scheduler raises."""
    rates = []
    for _ in range(updates):
        rates.append(float(on.param_groups[group]["lr"]))
        on.step()
        try:
            scheduler.step()
        except ValueError:
            break
    return rates


SPECS = {
    "ConstantLR": ["ConstantLR", {"factor": 0.5, "total_iters": 6}],
    "LinearLR": ["LinearLR", {"start_factor": 0.2, "total_iters": 8}],
    "PolynomialLR": ["PolynomialLR", {"total_iters": 20, "power": 0.9}],
    "CosineAnnealingLR": ["CosineAnnealingLR", {"T_max": 30, "eta_min": 0.01}],
    "CosineAnnealingWarmRestarts": ["CosineAnnealingWarmRestarts", {"T_0": 4, "T_mult": 2, "eta_min": 0.01}],
    "ExponentialLR": ["ExponentialLR", {"gamma": 0.9}],
    "StepLR": ["StepLR", {"step_size": 7, "gamma": 0.5}],
    "MultiStepLR": ["MultiStepLR", {"milestones": [5, 12, 12, 20], "gamma": 0.3}],
    "OneCycleLR": ["OneCycleLR", {"max_lr": 0.3, "total_steps": 30, "pct_start": 0.25, "div_factor": 7.0}],
    "OneCycleLR, three phases": [
        "OneCycleLR",
        {"max_lr": 0.3, "total_steps": 30, "three_phase": True, "anneal_strategy": "linear"},
    ],
    "CyclicLR": ["CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "step_size_down": 3}],
    "CyclicLR, halving": ["CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "mode": "triangular2"}],
    "SequentialLR": [
        "SequentialLR",
        {"schedulers": [["LinearLR", {"total_iters": 5}], ["CosineAnnealingLR", {"T_max": 25}]], "milestones": [5]},
    ],
    "SequentialLR of three": [
        "SequentialLR",
        {
            "schedulers": [
                ["LinearLR", {"start_factor": 0.05, "total_iters": 8}],
                ["ConstantLR", {"factor": 1.0, "total_iters": 9}],
                ["ExponentialLR", {"gamma": 0.8}],
            ],
            "milestones": [8, 17],
        },
    ],
    "SequentialLR, nested": [
        "SequentialLR",
        {
            "schedulers": [
                [
                    "SequentialLR",
                    {
                        "schedulers": [["LinearLR", {"total_iters": 5}], ["CosineAnnealingLR", {"T_max": 20}]],
                        "milestones": [5],
                    },
                ],
                ["StepLR", {"step_size": 4}],
            ],
            "milestones": [15],
        },
    ],
    "ChainedScheduler": [
        "ChainedScheduler",
        {"schedulers": [["ConstantLR", {"factor": 0.1, "total_iters": 9}], ["ExponentialLR", {"gamma": 0.9}]]},
    ],
    "ChainedScheduler in a SequentialLR": [
        "SequentialLR",
        {
            "schedulers": [
                [
                    "ChainedScheduler",
                    {"schedulers": [["LinearLR", {"total_iters": 5}], ["MultiStepLR", {"milestones": [9]}]]},
                ],
                ["PolynomialLR", {"total_iters": 9, "power": 2.0}],
            ],
            "milestones": [12],
        },
    ],
}


@pytest.mark.parametrize("name", SPECS)
def test_a_live_scheduler_is_followed_to_the_end(name):
    on = optimizer()
    scheduler = build(SPECS[name], on)
    schedule = from_torch(scheduler, total=40)
    rates = followed(scheduler, on, 30)
    assert [schedule(step) for step in range(30)] == pytest.approx(rates, rel=0, abs=1e-12 * max(rates))
    assert from_torch(scheduler, total=40) == schedule  # wherever it stands by now
    assert lehr.parse(str(schedule)) == schedule


def test_random_schedulers_are_followed_nested_ones_too():
    draw = random.Random(0)
    refused, seen = [], 0
    for _ in range(120):
        updates = draw.randint(5, 50)
        spec = composite(draw, updates)
        on = optimizer()
        scheduler = build(spec, on)
        try:
            schedule = from_torch(scheduler, total=updates)
        except ValueError as error:
            refused.append(str(error))
            continue
        rates = followed(scheduler, on, updates)
        got = [schedule(step) for step in range(len(rates))]
        assert got == pytest.approx(rates, rel=0, abs=1e-11 * max(rates)), spec
        seen += 1
    assert seen > 80
    assert all("running curves" in text or "sets the learning rate" in text for text in refused)


def composite(draw, updates):
    kind = draw.choice(["leaf", "row", "row", "nested", "chain"])
    if kind == "leaf":
        return leaf(draw, updates)
    if kind == "chain":
        return ["ChainedScheduler", {"schedulers": [leaf(draw, updates), leaf(draw, updates)]}]
    milestones = sorted(draw.sample(range(1, updates), draw.randint(1, 2)))
    row = ["SequentialLR", {"schedulers": [leaf(draw, updates) for _ in range(len(milestones) + 1)]}]
    row[1]["milestones"] = milestones
    if kind == "row":
        return row
    return ["SequentialLR", {"schedulers": [row, leaf(draw, updates)], "milestones": [updates // 2 + 1]}]


def leaf(draw, n):
    """A scheduler that does not rise again within n updates."""
    part, power = draw.uniform(0.05, 0.95), draw.choice([1.0, 2.0, 0.5])
    return draw.choice(
        [
            ["ConstantLR", {"factor": part, "total_iters": draw.randint(1, n)}],
            ["LinearLR", {"start_factor": part, "end_factor": draw.random(), "total_iters": draw.randint(1, n)}],
            ["PolynomialLR", {"total_iters": draw.randint(1, n), "power": power}],
            ["CosineAnnealingLR", {"T_max": draw.randint(n, 2 * n), "eta_min": draw.choice([0.0, 0.05])}],
            ["CosineAnnealingWarmRestarts", {"T_0": draw.randint(1, 8), "T_mult": draw.randint(1, 3)}],
            ["ExponentialLR", {"gamma": 0.5 + part / 2}],
            ["StepLR", {"step_size": draw.randint(1, 7), "gamma": part}],
            ["MultiStepLR", {"milestones": sorted(draw.choices(range(1, n + 1), k=3)), "gamma": part}],
        ]
    )


def test_each_group_has_its_own_schedule():
    on = optimizer(0.1, 0.02)
    scheduler = lr_scheduler.CosineAnnealingLR(on, T_max=20, eta_min=0.01)
    schedules = [from_torch(scheduler, group=group) for group in (0, 1)]
    assert [schedule(0) for schedule in schedules] == [0.1, 0.02]
    rates = followed(scheduler, on, 20, group=1)
    assert [schedules[1](step) for step in range(20)] == pytest.approx(rates, rel=0, abs=1e-13)
    with pytest.raises(ValueError, match="group=2 is not one of the optimizer's 2 parameter groups"):
        from_torch(scheduler, group=2)


def test_an_lr_held_in_a_tensor_is_read_as_a_number():
    on = SGD([torch.nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.5))
    assert from_torch(lr_scheduler.LinearLR(on, start_factor=0.5, total_iters=4))(0) == 0.25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda on: lr_scheduler.LambdaLR(on, lambda s: 0.95**s), "torch.LambdaLR: an arbitrary function"),
        (lambda on: lr_scheduler.MultiplicativeLR(on, lambda s: 0.95), "torch.MultiplicativeLR: an arbitrary function"),
        (lambda on: lr_scheduler.ReduceLROnPlateau(on), "torch.ReduceLROnPlateau: it follows a measured loss"),
        (lambda on: lr_scheduler.ExponentialLR(on, 0.9), "say how long the run is: total=10000"),
        (
            lambda on: lr_scheduler.CyclicLR(on, 0.1, 1, mode="exp_range", gamma=0.99),
            "mode='exp_range' is the product of two running curves",
        ),
        (lambda on: lr_scheduler.CyclicLR(on, 0.1, 1, scale_fn=abs), "scale_fn is an arbitrary function"),
        (
            lambda on: lr_scheduler.ChainedScheduler(
                [lr_scheduler.LinearLR(on), lr_scheduler.PolynomialLR(on, total_iters=9)]
            ),
            "torch.ChainedScheduler: it is the product of two running curves (linear and linear at update 0)",
        ),
        (
            lambda on: lr_scheduler.SequentialLR(
                on, [lr_scheduler.LinearLR(on), lr_scheduler.LambdaLR(on, lambda s: 1)], milestones=[5]
            ),
            "torch.SequentialLR: LambdaLR: an arbitrary function",
        ),
    ],
)
def test_what_has_no_formula_is_refused_with_the_reason(make, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        from_torch(make(optimizer()))
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_class_of_one_s_own_is_refused():
    class Own(lr_scheduler.StepLR):
        def get_lr(self):
            return [7.0]

    with pytest.raises(ValueError, match=r"Own is not one of torch.optim.lr_scheduler's own classes"):
        from_torch(Own(optimizer(), step_size=3))


def test_the_functions_that_transformers_puts_into_a_lambdalr_are_known():
    transformers = pytest.importorskip("transformers")
    for name, args in (
        ("get_constant_schedule", {}),
        ("get_constant_schedule_with_warmup", {"num_warmup_steps": 5}),
        ("get_linear_schedule_with_warmup", {"num_warmup_steps": 5, "num_training_steps": 20}),
        ("get_cosine_schedule_with_warmup", {"num_warmup_steps": 5, "num_training_steps": 25}),
        ("get_cosine_with_hard_restarts_schedule_with_warmup", {"num_warmup_steps": 3, "num_training_steps": 20}),
        ("get_polynomial_decay_schedule_with_warmup", {"num_warmup_steps": 3, "num_training_steps": 20}),
        ("get_inverse_sqrt_schedule", {"num_warmup_steps": 5}),
        ("get_wsd_schedule", {"num_warmup_steps": 10, "num_decay_steps": 15, "num_training_steps": 20}),
    ):
        on = optimizer(0.1, 0.02)
        scheduler = getattr(transformers, name)(on, **args)
        schedules = [from_torch(scheduler, group=group, total=20) for group in (0, 1)]
        for _ in range(20):
            step = scheduler.last_epoch
            rates = [group["lr"] for group in on.param_groups]
            assert [schedule(step) for schedule in schedules] == pytest.approx(rates, rel=0, abs=1e-13), (name, step)
            on.step()
            scheduler.step()
