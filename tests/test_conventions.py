"""lehr.conventions: every value recorded from the real systems, and what is refused with which words.

tests/golden/conventions holds the recorded files whole, one a system, with their provenance (`system`, `version`,
`how_read`): made by running the other systems' own code, compared here at 1e-12 of the peak.
"""

import importlib.util
import json
import math
import random
import subprocess
import sys
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lehr
from lehr.conventions import SYSTEMS, convert, names
from lehr.conventions._rows import Phase, lay, product, until

GOLDEN = Path(__file__).parent / "golden" / "conventions"
FILES = {path.stem: json.loads(path.read_text()) for path in sorted(GOLDEN.glob("*.json"))}
CASES = {f"{system}: {case['name']}": (system, case) for system, file in FILES.items() for case in file["cases"]}

# What is not a row of ramps, or makes no sense, and what lehr says about it. Everything else is converted, the cases
# that make the other system crash half-way included.
REFUSED = {
    "composer: CosineAnnealingWithWarmupScheduler(t_warmup=5ba,t_max=20ba,run={max_duration=30ba,dataloader_len=40}) "
    "peak=1 total=30": "t_max='20ba' is shorter than the run's max_duration",
    "lingua: build_optimizer[wsd](scheduler=wsd,lr=1,warmup=5,decay_fraction=0.2,lr_min_ratio=0,n_steps=30) "
    "peak=1 total=30": "never reaches 0; give lr_min_ratio above 0",
    "pytorch_warmup: LinearWarmup(warmup_period=0) peak=1 total=20": "warmup_period is a number above 0",
    "pytorch_warmup: LinearWarmup(warmup_period=6,over=[CosineAnnealingLR,{T_max=30}]) peak=0.1 total=30": (
        "the product of two running curves"
    ),
    "pytorch_warmup: RAdamWarmup(betas=[0.9,0.999]) peak=0.001 total=50": "RAdam's rectification",
    "pytorch_warmup: RAdamWarmup(betas=[0.9,0.95]) peak=0.1 total=50": "RAdam's rectification",
    "pytorch_warmup: RAdamWarmup(betas=[0.9,0.6]) peak=0.1 total=20": "RAdam's rectification",
    "torch: LinearLR(start_factor=0,total_iters=5) peak=0.01 total=20": "start_factor is a number above 0",
    "torch: LambdaLR(lr_lambda=lambda s: 0.95 ** s) peak=0.1 total=30": "an arbitrary function is no row of ramps",
    "torch: LambdaLR(lr_lambda=lambda s: min(1.0, (s + 1) / 4)) peak=0.0003 total=20": "an arbitrary function",
    "torch: MultiplicativeLR(lr_lambda=lambda s: 0.93) peak=0.5 total=20": "an arbitrary function is no row of ramps",
    "torch: ChainedScheduler(schedulers=[[LinearLR,{start_factor=0.5,total_iters=6}],[ExponentialLR,{gamma=0.95}]]) "
    "peak=0.1 total=24": "the product of two running curves",
    "transformers: get_polynomial_decay_schedule_with_warmup(num_warmup_steps=5,num_training_steps=25,lr_end=0.2,"
    "power=1) peak=0.1 total=25": "lr_end=0.2 is not below the optimizer's lr=0.1",
}


def converted(system, case):
    """The schedule of a case; `lr` where the system reads the optimizer's, `total` where it is asked for."""
    name, args = f"{system}.{case['function']}", dict(case["args"])
    if "lr" not in args and case["kind"] == "lr":
        try:
            return with_total(name, system, case, args)
        except ValueError as error:
            if "lr=" not in str(error):
                raise
        args["lr"] = case["peak"]
    return with_total(name, system, case, args)


def with_total(name, system, case, args):
    try:
        return convert(name, **args)
    except ValueError as error:
        if "total=" not in str(error):
            raise
    # in OLMo-core and fvcore the run's length is the curve's; elsewhere it is only where a curve without an end holds
    length = system in ("olmo_core", "fvcore") and "InvSqrt" not in name
    return convert(name, total=case["total"] if length else max(len(case["values"]), case["total"]), **args)


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_every_recorded_value_is_the_schedule_s(name):
    system, case = CASES[name]
    schedule = converted(system, case)
    valid = case.get("valid_until", len(case["values"]))
    values = np.array(case["values"][:valid])
    tolerance = 1e-12 * case["peak"]
    assert np.array([schedule(step) for step in range(valid)]) == pytest.approx(values, rel=0, abs=tolerance)
    assert schedule(np.arange(valid)) == pytest.approx(values, rel=0, abs=tolerance)

    # past where the other system goes wrong lehr holds, and nothing is ever negative
    assert min(schedule(np.arange(3 * case["total"] + 9))) >= 0
    assert schedule(10**7) == schedule(10**9)
    if case["past_end_is_a_bug"] and not case["in_run_defect"]:
        assert len({schedule(step) for step in range(valid, 2 * valid + 9)}) == 1

    # a ramp for each phase or cycle: no more than the curve has turns, and it is plain data
    assert len(schedule.ramps) <= 3 + turns(case["values"])
    assert lehr.parse(str(schedule)) == schedule and lehr.from_dict(lehr.to_dict(schedule)) == schedule


def turns(values):
    """How often a list of values changes between rising, falling and level."""
    differences = np.diff(values)
    signs = np.sign(np.where(abs(differences) > 1e-12 * max(values, default=0), differences, 0))
    return int(np.count_nonzero(np.diff(signs)))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_row_of_ramps_is_refused_with_the_reason(name):
    system, case = CASES[name]
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        converted(system, case)
    text = str(refusal.value)
    assert text.startswith(f"{system}.{case['function']}: ") and REFUSED[name] in text and "\n" not in text


def test_every_recorded_function_is_there_and_every_system_has_a_file():
    assert set(FILES) == set(SYSTEMS)
    recorded = {f"{system}.{case['function']}" for system, case in CASES.values()}
    refused = {"torch.LambdaLR", "torch.MultiplicativeLR", "pytorch_warmup.RAdamWarmup"}
    assert recorded - refused <= set(names())
    assert len(CASES) == 282


def test_converting_imports_nothing_but_the_standard_library():
    script = (
        "import sys, lehr.conventions as c; c.names(); "
        "sys.exit(any(n.partition('.')[0] in ('numpy', 'torch', 'jax', 'optax', 'transformers') for n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_plain_function_takes_the_arguments_by_name():
    from importlib import import_module

    for system in SYSTEMS:
        for name, function in import_module(f"lehr.conventions.{system}").SCHEDULERS.items():
            kinds = {parameter.kind.name for parameter in signature(function).parameters.values()}
            assert kinds == {"POSITIONAL_OR_KEYWORD"}, name
            assert function.__doc__ and ">>>" in function.__doc__, name


# --- lr and total


def test_a_curve_that_never_ends_is_held_from_total_on():
    schedule = convert("torch.ExponentialLR", lr=0.1, gamma=0.5, total=10)
    assert schedule(10) == pytest.approx(0.1 * 0.5**10) and schedule(11) == schedule(10) == schedule(10**6)
    cut = convert("torch.CosineAnnealingWarmRestarts", lr=1, T_0=10, total=25)
    assert cut(24) == pytest.approx((1 + math.cos(0.4 * math.pi)) / 2) and cut(25) == pytest.approx(0.5) == cut(99)
    ended = convert("torch.CosineAnnealingWarmRestarts", lr=1, T_0=10, total=30)
    assert ended(29) > 0 and ended(30) == ended(99) == 0  # no restart after the end


def test_a_curve_with_an_end_of_its_own_does_not_read_total():
    args = {"lr": 1, "T_max": 20}
    assert convert("torch.CosineAnnealingLR", total=5, **args) == convert("torch.CosineAnnealingLR", **args)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("torch.ExponentialLR", {"lr": 1, "gamma": 0.9}),
        ("torch.StepLR", {"lr": 1, "step_size": 5}),
        ("torch.CyclicLR", {"base_lr": 0, "max_lr": 1}),
        ("torch.CosineAnnealingWarmRestarts", {"lr": 1, "T_0": 5}),
        ("torch.SequentialLR", {"lr": 1, "schedulers": [["ExponentialLR", {"gamma": 0.9}]], "milestones": []}),
        ("transformers.get_constant_schedule", {"lr": 1}),
        ("transformers.get_inverse_sqrt_schedule", {"lr": 1, "num_warmup_steps": 5}),
        ("optax.constant_schedule", {"value": 1}),
        ("optax.exponential_decay", {"init_value": 1, "transition_steps": 5, "decay_rate": 0.5}),
        ("timm.StepLRScheduler", {"lr": 1, "decay_t": 5, "decay_rate": 0.1}),
        ("fvcore.LinearParamScheduler", {"start_value": 1, "end_value": 0}),
        ("composer.ExponentialScheduler", {"run": {"max_duration": "9ba"}, "gamma": 0.5, "decay_period": "1ba"}),
        ("olmo_core.CosWithWarmup", {"lr": 1, "warmup": 5}),
        ("olmo_core.InvSqrtWithWarmup", {"lr": 1, "warmup": 5}),
        ("lingua.build_optimizer[inv_sqrt]", {"n_steps": 9, "warmup": 2, "lr_min_ratio": 0}),
        ("user_functions.get_lr_inverse_sqrt", {"warmup_steps": 5, "max_lr": 1}),
    ],
)
def test_a_missing_total_is_asked_for(name, args):
    with pytest.raises(ValueError, match=r"say how long the run is: total=\d+ \(from there on the value is held\)"):
        convert(name, **args)


def test_an_lr_that_torch_overwrites_changes_nothing():
    for name, args in (("OneCycleLR", {"total_steps": 9}), ("CyclicLR", {"base_lr": 0.1, "total": 4000})):
        args["max_lr"] = 0.5
        assert convert(f"torch.{name}", lr=3e-4, **args) == convert(f"torch.{name}", **args)


def test_multipliers_become_learning_rates_with_lr():
    for name, args in (
        ("composer.CosineAnnealingScheduler", {"run": {"max_duration": "20ba"}}),
        ("nanochat.base_train.get_lr_multiplier", {"num_iterations": 20, "warmup_steps": 5}),
    ):
        assert convert(name, lr=0.5, **args) == 0.5 * convert(name, **args)


# --- what is asked wrongly


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("torhc.StepLR", {}, "unknown system 'torhc' in 'torhc.StepLR'; did you mean 'torch'?"),
        ("StepLR", {}, "unknown system 'StepLR' in 'StepLR'; known are composer, cs336"),
        ("torch.StepLRs", {}, "torch.StepLRs: unknown scheduler 'StepLRs'; did you mean 'StepLR'?"),
        ("nanogpt.lr", {}, "nanogpt.lr: unknown scheduler 'lr'; known are get_lr"),
        ("torch.ReduceLROnPlateau", {"lr": 1}, "it follows a measured loss, which no schedule can know"),
        ("nanochat.chat_sft.get_lr_multiplier", {}, "its clock is how much of the data has been read"),
        ("torch.CosineAnnealingLR", {"lr": 1, "Tmax": 9}, "unknown argument 'Tmax'; did you mean 'T_max'?"),
        ("torch.CosineAnnealingLR", {"lr": 1}, "the argument 'T_max' is missing; write T_max=..."),
        ("torch.CosineAnnealingLR", {"T_max": 9}, "it multiplies the optimizer's base learning rate; give it as lr="),
        ("torch.CosineAnnealingLR", {"lr": 1, "T_max": "9"}, "T_max is a number, not '9'"),
        ("torch.CosineAnnealingLR", {"lr": 1, "T_max": -9}, "T_max is a whole number >= 0, not -9"),
        ("torch.CosineAnnealingLR", {"lr": 1, "T_max": 9.5}, "T_max is a whole number >= 0, not 9.5"),
        ("torch.CosineAnnealingLR", {"lr": math.nan, "T_max": 9}, "lr is a number >= 0, not nan"),
        ("torch.CosineAnnealingLR", {"lr": [1, 2], "T_max": 9}, "convert each parameter group on its own"),
        ("torch.CosineAnnealingLR", {"lr": 1, "T_max": 9, "total": 0}, "total is a count of updates >= 1, not 0"),
        ("torch.CosineAnnealingLR", {"lr": 1, "T_max": 9, "total": 9.5}, "total is a whole number >= 0, not 9.5"),
        ("nanogpt.get_lr", {"lr": 1}, "does not read the optimizer's learning rate; leave out lr="),
        ("torch.OneCycleLR", {"max_lr": 1}, "give total_steps, or epochs and steps_per_epoch"),
        ("torch.OneCycleLR", {"max_lr": 1, "total_steps": 9, "pct_start": 1.5}, "pct_start is a share from 0 to 1"),
        ("torch.CyclicLR", {"base_lr": 0, "max_lr": 1, "mode": "exp_range", "gamma": 0.9}, "two running curves"),
        ("torch.CyclicLR", {"base_lr": 0, "max_lr": 1, "scale_fn": abs}, "scale_fn is an arbitrary function"),
        ("torch.SequentialLR", {"lr": 1, "schedulers": [], "milestones": [3]}, "schedulers and milestones do not fit"),
        ("torch.SequentialLR", {"lr": 1, "schedulers": ["StepLR"], "milestones": []}, "is written [name, {argument:"),
        (
            "torch.SequentialLR",
            {"lr": 1, "schedulers": [["LinearLR", {"iters": 3}]], "milestones": []},
            "torch.SequentialLR: LinearLR: unknown argument 'iters'",
        ),
        ("torch.ChainedScheduler", {"lr": 1, "schedulers": [["OneCycleLR", {}]]}, "sets the learning rate"),
        ("torch.StepLR", {"lr": 1, "step_size": 2, "gamma": 0.999, "total": 10**6}, "more than 10000 ramps"),
        (
            "transformers.get_linear_schedule_with_warmup",
            {"lr": 1, "num_warmup_steps": 30, "num_training_steps": 20},
            "num_warmup_steps=30 is longer than num_training_steps=20; write num_warmup_steps=20 or less",
        ),
        (
            "transformers.get_wsd_schedule",
            {"lr": 1, "num_warmup_steps": 3, "num_decay_steps": 3, "num_training_steps": 9, "decay_type": "cos"},
            "decay_type is one of 'linear', 'cosine', '1-sqrt', not 'cos'; did you mean 'cosine'?",
        ),
        ("transformers.get_scheduler", {"lr": 1, "name": "cosin"}, "not 'cosin'; did you mean 'cosine'?"),
        ("transformers.get_scheduler", {"lr": 1, "name": "greedy"}, "it follows a measured loss"),
        ("timm.CosineLRScheduler", {"lr": 1, "t_initial": 9, "noise_range_t": 3}, "noise_range_t adds random noise"),
        ("timm.CosineLRScheduler", {"lr": 1, "t_initial": 9, "t_in_epochs": True}, "changes the LR once an epoch"),
        (
            "timm.PolyLRScheduler",
            {"lr": 1, "t_initial": 9, "k_decay": 2, "warmup_t": 3},
            "the curve 'k_decay:2:0.5' is entered late here, and no shape is the rest of it",
        ),
        (
            "optax.join_schedules",
            {"schedules": [["linear_sched", {}]], "boundaries": []},
            "did you mean 'linear_schedule'?",
        ),
        ("optax.linear_schedule", {"init_value": 1, "end_value": -1, "transition_steps": 5}, "end_value"),
        ("composer.LinearScheduler", {"run": {}}, 'run is {"max_duration": "20ba"} and so on'),
        ("composer.LinearScheduler", {"run": {"max_duration": "2ep"}}, "a time in 'ep' needs run['dataloader_len']"),
        ("composer.LinearScheduler", {"run": {"max_duration": "20s"}}, "not '20s'"),
        (
            "composer.LinearWithWarmupScheduler",
            {"run": {"max_duration": "20ba", "tokens_per_batch": 2}, "t_warmup": "8tok"},
            "count in different units",
        ),
        (
            "megatron.OptimizerParamScheduler",
            {"lr": 1, "global_batch_size": 4, "train_iters": 9, "increments": [1, 2, 3, 4]},
            "increments changes 3 times in 4 updates: that is a ramp an update",
        ),
        ("megatron.OptimizerParamScheduler", {"lr": 1, "global_batch_size": 4}, "give train_iters"),
        ("olmo_core.CosWithWarmup", {"lr": 1, "total": 9}, "give warmup or warmup_fraction, one of them"),
        ("lingua.build_optimizer[wsd]", {"n_steps": 9, "scheduler": "cosine"}, "is not build_optimizer[wsd]"),
        (
            "lingua.build_optimizer",
            {"n_steps": 90, "warmup": 9, "cycle_length": 0.5, "cosine_theta": 2},
            "no shape is the curve",
        ),
        ("fvcore.StepParamScheduler", {"num_updates": 9, "values": [], "total": 9}, "a list of at least one"),
        ("user_functions.get_lr", {"warmup_steps": 30, "max_steps": 20, "max_lr": 1}, "warmup_steps=30 is longer"),
    ],
)
def test_what_is_asked_wrongly_is_answered_in_one_line(name, args, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        convert(name, **args)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


odd = st.sampled_from([None, -1, 0, 1, 2, 0.5, 1.5, math.nan, math.inf, 1e308, 1e-308, 10**30, "x", "1ba", True, -0.0])
anything = odd | st.recursive(
    odd, lambda more: st.lists(more, max_size=3) | st.dictionaries(st.text(), more, max_size=2)
)


def spoiled(data, value):
    """A copy of the value with something odd in one place."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or data.draw(st.booleans()):
        return data.draw(anything)
    key = data.draw(st.sampled_from(keys))
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = spoiled(data, value[key])
    return copy


@settings(max_examples=300)
@given(st.data(), st.sampled_from(list(CASES)), anything)
def test_whatever_is_asked_nothing_but_a_valueerror_comes_back(data, name, total):
    system, case = CASES[name]
    args = {"lr": case["peak"], **case["args"]} if data.draw(st.booleans()) else dict(case["args"])
    args |= {
        key: spoiled(data, args[key]) for key in data.draw(st.sets(st.sampled_from(list(args) or ["x"]))) & set(args)
    }
    try:
        schedule = convert(f"{system}.{case['function']}", **{"total": total, **args})
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert all(0 <= schedule(step) < math.inf for step in (0, 1, 7, 30, 10**6))
    assert "\n" not in refusal


# --- the systems that are installed, at random


def test_random_transformers_schedules_are_followed():
    torch, optimization = pytest.importorskip("torch"), pytest.importorskip("transformers.optimization")
    draw = random.Random(0)
    for _ in range(150):
        steps = draw.randint(1, 60)
        warmup, lr = draw.randint(0, steps - 1), draw.choice([1.0, 3e-4])
        both = {"num_warmup_steps": warmup, "num_training_steps": steps}
        name, args = draw.choice(
            [
                ("get_linear_schedule_with_warmup", both),
                ("get_cosine_schedule_with_warmup", {**both, "num_cycles": draw.choice([0.5, 1, 0.25, 2.3])}),
                (
                    "get_cosine_with_hard_restarts_schedule_with_warmup",
                    {**both, "num_cycles": draw.choice([1, 7, 49, 2.5])},
                ),
                (
                    "get_polynomial_decay_schedule_with_warmup",
                    {**both, "lr_end": lr / 9, "power": draw.choice([1, 2.5])},
                ),
                ("get_inverse_sqrt_schedule", {"num_warmup_steps": warmup, "timescale": draw.choice([None, 9])}),
                (
                    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
                    {**both, "min_lr_rate": draw.random(), "warmup_lr_rate": draw.choice([None, 0.3])},
                ),
                (
                    "get_wsd_schedule",
                    {
                        **both,
                        "num_decay_steps": draw.randint(0, steps),
                        "warmup_type": draw.choice(["linear", "cosine", "1-sqrt"]),
                        "decay_type": draw.choice(["linear", "cosine", "1-sqrt"]),
                        "min_lr_ratio": draw.choice([0, 0.1]),
                    },
                ),
            ]
        )
        on = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
        scheduler = getattr(optimization, name)(on, **args)
        schedule = convert(f"transformers.{name}", lr=lr, total=steps, **args)
        for step in range(steps):
            assert schedule(step) == pytest.approx(on.param_groups[0]["lr"], rel=0, abs=1e-12 * lr), (name, args, step)
            on.step()
            scheduler.step()


def test_random_optax_schedules_are_followed():
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    draw = random.Random(0)
    counts = np.arange(40.0)
    for _ in range(40):
        r = draw.random
        boundaries = {draw.randint(1, 30): 2 * r() for _ in range(3)}
        name, args = draw.choice(
            [
                ("polynomial_schedule", {"init_value": r(), "end_value": r(), "power": 2.5, "transition_steps": 17}),
                ("cosine_decay_schedule", {"init_value": r(), "decay_steps": 23, "alpha": r(), "exponent": 0.5 + r()}),
                (
                    "exponential_decay",
                    {
                        "init_value": r(),
                        "transition_steps": draw.randint(2, 9),
                        "decay_rate": 0.2 + r(),
                        "transition_begin": draw.randint(0, 5),
                        "staircase": r() < 0.5,
                        "end_value": draw.choice([None, r()]),
                    },
                ),
                ("piecewise_constant_schedule", {"init_value": r(), "boundaries_and_scales": boundaries}),
                ("cosine_onecycle_schedule", {"transition_steps": 33, "peak_value": r(), "pct_start": r()}),
            ]
        )
        with jax.enable_x64(True):
            function = getattr(optax, name)(**args)
            values = [float(function(count)) for count in counts]
        schedule = convert(f"optax.{name}", total=40, **args)
        assert schedule(counts) == pytest.approx(values, rel=0, abs=1e-12 * max(values)), (name, args)


# --- the rows beneath


LATE = (
    "linear",
    "poly:2",
    "poly:0.5",
    "power:0.5",
    "exponential",
    "inverse",
    "inverse_sqrt",
    "cosine",
    "cosine:0.25",
    "cosine:0.3:2",
    "cosine:0:1.5",
    "sqrt",
    "sqrt:0.5",
    "exponential:0.5",
    "exponential:3",
    "approach:5",
    "tanh:-7:3",
)


@given(st.sampled_from(LATE), st.sampled_from([(1.0, 0.1), (0.2, 0.7)]), st.floats(0.01, 99), st.floats(0, 1))
def test_a_phase_entered_late_goes_on_as_the_same_curve(shape, ends, time, share):
    phase = Phase(0, 100, *ends, shape)
    rest = phase.entered(time)
    later = time + share * (100 - time)
    assert rest.at(later) == pytest.approx(phase.at(later), rel=1e-11)
    assert rest.entered(later).at(100) == ends[1]


@pytest.mark.parametrize("shape", ["rex", "half_cosine", "cosine_power:2", "k_decay:2", "inverse_sqrt:0.5"])
def test_a_curve_that_no_shape_continues_is_not_entered_late(shape):
    assert Phase(0, 10, 1, 0, shape).entered(0) == Phase(0, 10, 1, 0, shape)
    with pytest.raises(ValueError, match=f"'{shape}' is entered late here"):
        Phase(0, 10, 1, 0, shape).entered(5)


def test_a_product_of_rows_is_the_product_of_their_values():
    steps = [Phase(0, 7, 1, 1), Phase(7, 5, 0.5, 0.5), Phase(12, 0, 0.25, 0.25)]
    for curve in (
        [Phase(0, 20, 1, 0, "cosine")],
        [Phase(0, 3, 0, 1), Phase(3, 17, 1, 0.1, "exponential")],
        [Phase(5, 9, 1, 0, "sqrt")],
    ):
        left, right = lay(steps), lay(curve)
        both = lay(product(steps, curve))
        assert len(both.ramps) <= 6
        for step in range(30):
            assert both(step) == pytest.approx(left(step) * right(step), abs=1e-15)


def test_two_exponentials_multiply_to_one():
    row = product([Phase(0, 10, 1, 0.1, "exponential")], [Phase(0, 20, 1, 0.1, "exponential")])
    assert [ramp.shape for ramp in lay(row).ramps] == ["exponential", "exponential"]
    assert lay(row)(5) == pytest.approx(0.1**0.75)


def test_a_row_is_cut_at_its_end_and_holds():
    schedule = lay(until([Phase(0, 10, 1, 0, "cosine"), Phase(10, 10, 1, 0, "cosine")], 15))
    assert schedule.total == 15 and schedule(15) == schedule(99) == pytest.approx(0.5)
    assert until([Phase(0, 10, 1, 0)], 10) == [Phase(0, 10, 1, 0)]


def test_megatron_s_clock_runs_with_the_batch_size():
    sizes = [2] * 5 + [4] * 6 + [8] * 20
    args = {"lr": 1.0, "min_lr": 0.1, "global_batch_size": 8, "increments": sizes}
    schedule = convert(
        "megatron.OptimizerParamScheduler",
        lr_decay_style="cosine",
        train_samples=120,
        lr_warmup_samples=21,
        **args,
    )
    samples = np.concatenate([[0], np.cumsum(sizes)])
    for step, n in enumerate(samples):
        x = min((n - 21) / 99, 1)
        value = n / 21 if n <= 21 else 0.1 + 0.9 * (1 + math.cos(math.pi * x)) / 2
        assert schedule(step) == pytest.approx(value, abs=1e-14)
    assert len(schedule.ramps) == 4  # warmup and cosine, and one more of what runs at each change of the batch size


def test_the_page_says_what_the_code_does():
    path = Path(__file__).parents[1] / "docs" / "make_conventions.py"
    spec = importlib.util.spec_from_file_location("make_conventions", path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    page = program.PAGE.read_text(encoding="utf-8")
    assert program.filled(page) == page, "run python docs/make_conventions.py"
    for system in SYSTEMS:
        written = {"cs336": "CS336", "litgpt": "LitGPT", "megatron": "Megatron-LM", "composer": "Composer"}
        written |= {"nanogpt": "nanoGPT", "olmo_core": "OLMo-core"}
        assert f"\n**{written.get(system, system)}**" in page, system
