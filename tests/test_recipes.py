"""lehr.recipes: against recorded values of other systems, the live libraries, and the published formulas."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lehr
from lehr import Schedule, parse

GOLDEN = Path(__file__).parent / "golden"


# --- other systems' schedules are a recipe with the right `sample`, or a text; each by the arguments that system takes.
# None: a case of that system which no recipe covers (`lehr.convert` is for those).


def transformers(function, peak, a, length):
    warmup, total = a.get("num_warmup_steps", 0), a.get("num_training_steps", length)
    if function.startswith("get_constant"):
        return lehr.constant(length, warmup, sample="start")
    if function.startswith("get_linear"):
        return lehr.linear(total, warmup, sample="start")
    if function.startswith("get_inverse"):
        return lehr.inverse_sqrt(10**6, warmup, a.get("timescale") or warmup or 10_000, sample="start")
    if function == "get_wsd_schedule" and not {"min_lr_ratio", "warmup_type"} & a.keys():
        decay = a["num_decay_steps"]
        total = a.get("num_training_steps") or warmup + a["num_stable_steps"] + decay
        return lehr.wsd(total, warmup, decay, 0, a.get("decay_type", "cosine"), sample="start") if fits(a) else None
    if function in ("get_cosine_schedule_with_warmup", "get_cosine_with_min_lr_schedule_with_warmup"):
        final = a.get("min_lr", 0) / peak or a.get("min_lr_rate", 0)
        return None if "num_cycles" in a else lehr.cosine(total, warmup, final, sample="start")
    return None


def fits(a):
    return a["num_warmup_steps"] + a["num_decay_steps"] <= a.get("num_training_steps", math.inf)


def optax(function, peak, a, length):
    if a.get("init_value") not in (0, 1, peak) or "exponent" in a:
        return None
    if function == "warmup_constant_schedule":
        return lehr.constant(length, a["warmup_steps"], sample="start")
    if function == "linear_schedule" and a["init_value"] == peak:
        return lehr.linear(a["transition_steps"], final=a["end_value"] / peak, sample="start")
    if function in ("cosine_decay_schedule", "warmup_cosine_decay_schedule"):
        final = a["alpha"] if "alpha" in a else a.get("end_value", 0) / peak
        return lehr.cosine(a["decay_steps"], a.get("warmup_steps", 0), final, sample="start")
    return None


def megatron(function, peak, a, length):
    if {"lr_warmup_fraction", "lr_warmup_init", "lr_decay_iters"} & a.keys():
        return None
    total, warmup, final = a["train_iters"], a["lr_warmup_iters"], a.get("min_lr", 0) / peak
    if a["lr_decay_style"] == "WSD":
        style, decay = a["lr_wsd_decay_style"].replace("minus_sqrt", "sqrt"), a["lr_wsd_decay_iters"]
        known = style != "exponential" and warmup + decay <= total
        return lehr.wsd(total, warmup, decay, final, style, sample="start") if known else None
    if a["lr_decay_style"] == "constant":
        return lehr.constant(total, warmup, sample="start")
    recipe = {"linear": lehr.linear, "cosine": lehr.cosine}.get(a["lr_decay_style"])
    return recipe and recipe(total, warmup, final, sample="start")


def litgpt(function, peak, a, length):
    if function != "pretrain.get_lr" or a["gradient_accumulation_iters"] > 1:
        return None
    return lehr.cosine(a["max_steps"], a["lr_warmup_steps"], a["min_lr"] / peak, sample="start")


def olmo_core(function, peak, a, length):  # counts a step before it asks: the end of each update
    warmup, final, total = a.get("warmup", 0), a.get("alpha_f", 0.1), a.get("t_max", length - 6)
    if "warmup_min_lr" in a:
        return None
    if function.startswith("Constant"):
        return lehr.constant(total, warmup)
    if not 0 < warmup < total:
        return None
    if function == "WSD" and "decay_fraction" in a and a["decay_fraction"]:
        return lehr.wsd(total, warmup, round(total * a["decay_fraction"]), shape="linear")
    recipe = {"LinearWithWarmup": lehr.linear, "CosWithWarmup": lehr.cosine}.get(function)
    return recipe and recipe(total, warmup, final)


def nanogpt(function, peak, a, length):
    warmup, total = a["warmup_iters"], a["lr_decay_iters"]
    return parse(f"linear {warmup + 1} to 1, cosine {total - warmup} to {a['min_lr'] / peak!r}")


def held(warmup, decay, total, final, shape):
    """(s+1)/W, then the peak, then a decay whose time is s: one update more at the peak."""
    if warmup + decay > total:
        return None
    return parse(f"linear {warmup} to 1, hold {total - warmup - decay + 1}, {shape} {decay} to {final}")


def nanochat(function, peak, a, length):
    if function != "base_train.get_lr_multiplier":
        return None
    decay = round(a["warmdown_ratio"] * a["num_iterations"])
    return held(a["warmup_steps"], decay, a["num_iterations"], a["final_lr_frac"], "linear")


def torchtitan(function, peak, a, length):
    total, warmup, share = a.get("total_steps", a["training_steps"]), a["warmup_steps"], a.get("decay_ratio")
    decay = total - warmup if share is None else min(round(total * share), total - warmup)
    if decay < 0:
        return None
    return held(warmup, decay, total, a.get("min_lr_factor", 0), a.get("decay_type", "linear"))


SYSTEMS = {transformers: 20, optax: 6, megatron: 9, litgpt: 4, olmo_core: 7, nanogpt: 5, nanochat: 4, torchtitan: 12}


def recorded():
    """Each recorded case that a recipe or a text covers, with the schedule."""
    for system, least in SYSTEMS.items():
        cases = json.loads((GOLDEN / f"{system.__name__}.json").read_text())["cases"]
        covered = 0
        for case in cases:
            valid = case["values"][: case.get("valid_until")]
            schedule = valid and system(case["function"], case["peak"], case["args"], len(case["values"]))
            if schedule:
                covered += 1
                yield pytest.param(case["peak"] * schedule, valid, id=f"{system.__name__}: {case['name']}")
        assert covered >= least, f"{system.__name__}: the recorded cases have gone"


@pytest.mark.parametrize(("schedule", "values"), list(recorded()))
def test_recorded_values_of_other_systems_are_met(schedule, values):
    ours = [schedule(step) for step in range(len(values))]
    assert ours == pytest.approx(values, rel=0, abs=1e-12 * schedule.peak)


# --- the live libraries, at settings no one chose


def random_settings(count):
    draw = random.Random(0)
    for _ in range(count):
        total = draw.randint(2, 200)
        yield total, draw.choice([0, 1, draw.randint(0, total - 1)]), draw.random()


@pytest.mark.parametrize("name", ["cosine", "linear", "constant", "inverse_sqrt"])
def test_the_installed_transformers_uses_the_same_rates(name):
    import torch
    from transformers import optimization as theirs

    for total, warmup, _ in random_settings(4):
        if name == "constant":
            make, ours = theirs.get_constant_schedule_with_warmup, lehr.constant(total, warmup, sample="start")
            extra = ()
        elif name == "inverse_sqrt":
            make, extra = theirs.get_inverse_sqrt_schedule, (warmup or 30,)
            ours = lehr.inverse_sqrt(10**6, warmup, timescale=warmup or 30, sample="start")
        else:
            make = getattr(theirs, f"get_{name}_schedule_with_warmup")
            ours, extra = getattr(lehr, name)(total, warmup, final=0, sample="start"), (total,)
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        scheduler = make(optimizer, warmup, *extra)
        for step in range(total + 1):
            assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=0, abs=1e-12), (total, warmup, step)
            optimizer.step()
            scheduler.step()


def test_the_installed_optax_uses_the_same_rates():
    import jax
    import optax

    steps = np.arange(256.0)  # one length, so that JAX compiles each operation once
    for total, warmup, final in random_settings(8):
        ours = 0.01 * lehr.cosine(total, warmup, final, sample="start")
        theirs = optax.warmup_cosine_decay_schedule(0.0, 0.01, warmup, total, end_value=0.01 * final)
        with jax.enable_x64(True):
            np.testing.assert_allclose(ours(steps), theirs(jax.numpy.asarray(steps)), rtol=0, atol=1e-12 * 0.01)


# --- the published formulas, typed a second time


@st.composite
def runs(draw):
    total = draw(st.integers(1, 10**6))
    warmup = draw(st.one_of(st.sampled_from([0, 1, total - 1, total]), st.integers(0, total)))
    step = draw(
        st.sampled_from([0, max(warmup - 1, 0), warmup, total - 1, total, 3 * total]) | st.integers(0, 2 * total)
    )
    return total, warmup, step, draw(st.sampled_from([0.0, 0.1, 1.0]) | st.floats(0, 1))


FORMULAS = {
    "cosine": lambda u, final: final + (1 - final) * (1 + math.cos(math.pi * u)) / 2,
    "linear": lambda u, final: 1 - (1 - final) * u,
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("sample", ["end", "start"])
@given(run=runs())
def test_decays_follow_their_published_formula(name, sample, run):
    total, warmup, step, final = run
    time = step + (sample == "end")
    head = warmup or (sample == "end")  # without warmup the update at the peak stands in its place
    if time < warmup:
        expected = time / warmup
    elif time <= head and sample == "end":
        expected = 1.0
    elif time >= total:
        expected = final
    else:
        expected = FORMULAS[name]((time - head) / (total - head), final)
    value = getattr(lehr, name)(total, warmup, final, sample)(step)
    assert value == pytest.approx(expected, rel=0, abs=1e-12) and 0 <= value <= 1


@given(runs(), st.none() | st.integers(1, 10**5))
def test_inverse_sqrt_follows_its_published_formula(run, timescale):
    total, warmup, step, _ = run
    schedule = lehr.inverse_sqrt(total, warmup, timescale)
    head, scale = warmup or 1, timescale or warmup or 1
    time = min(step + 1, total)
    expected = time / warmup if time < warmup else math.sqrt(scale / (max(time, head) - head + scale))
    assert schedule(step) == pytest.approx(expected, rel=0, abs=1e-12)


@given(runs(), st.floats(0, 1), st.sampled_from(["end", "start"]))
def test_wsd_is_warmup_then_the_peak_then_a_cooldown_over_the_last_updates(run, share, sample):
    total, warmup, step, final = run
    decay = int(share * (total - warmup))
    schedule = lehr.wsd(total, warmup, decay, final, sample=sample)
    time = step + (sample == "end")
    past = time >= total if sample == "start" or decay else time > total
    if time < warmup:
        expected = time / warmup
    elif past:
        expected = final
    else:
        expected = 1 - (1 - final) * math.sqrt(max(time - (total - decay), 0) / max(decay, 1))
    assert schedule(step) == pytest.approx(expected, rel=0, abs=1e-12)


# --- edges


ALL = [
    lehr.cosine,
    lehr.linear,
    lehr.constant,
    lehr.inverse_sqrt,
    lambda total, warmup=0, sample="end": lehr.wsd(total, warmup, (total - warmup) // 2, sample=sample),
]
BY_NAME = pytest.mark.parametrize("recipe", ALL, ids=["cosine", "linear", "constant", "inverse_sqrt", "wsd"])


@BY_NAME
@given(run=runs(), sample=st.sampled_from(["end", "start"]))
def test_every_recipe_has_its_length_its_peak_and_no_value_below_zero(recipe, run, sample):
    total, warmup, step, _ = run
    schedule = recipe(total, warmup, sample=sample)
    assert isinstance(schedule, Schedule) and schedule.total == total and schedule.peak == 1
    assert schedule(step) >= 0 and schedule(total) == schedule(10 * total)


@BY_NAME
def test_no_update_is_wasted_at_zero_and_the_peak_is_used(recipe):
    for total, warmup in ((10, 3), (10, 1), (10, 0), (3, 3), (1, 0), (1, 1)):
        values = [recipe(total, warmup)(step) for step in range(total)]
        assert values[0] == 1 / (warmup or 1) and max(values) == 1 and 0 not in values[:-1]


def test_the_last_update_stands_exactly_on_the_final_value():
    for total, warmup in ((10, 3), (10, 0), (2, 0), (2, 1), (1000, 1)):
        for final in (0.0, 0.1, 0.3):
            assert lehr.cosine(total, warmup, final)(total - 1) == final
            assert lehr.linear(total, warmup, final)(total - 1) == final
            assert lehr.wsd(total, warmup, 1, final)(total - 1) == final


def test_a_warmup_as_long_as_the_run_ends_in_a_jump_after_the_last_update():
    schedule = lehr.cosine(total=4, warmup=4, final=0.1)
    assert [schedule(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 0.1, 0.1]


def test_a_run_of_one_update_uses_the_peak():
    assert [lehr.cosine(1)(0), lehr.linear(1)(0), lehr.constant(1)(0), lehr.inverse_sqrt(1)(0)] == [1, 1, 1, 1]
    assert lehr.cosine(1, sample="start")(0) == 1 and lehr.cosine(1, 1, sample="start")(0) == 0


def test_a_final_value_of_one_is_a_constant():
    assert lehr.cosine(10, 2, final=1)(9) == lehr.linear(10, 2, final=1)(5) == 1
    assert lehr.cosine(10, 10, final=1) == lehr.constant(10, 10)


def test_numpy_counts_are_counts():
    assert lehr.cosine(np.int64(100), np.float64(10)) == lehr.cosine(100, 10) == lehr.cosine(100.0, 10.0)


# --- what is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lehr.cosine(10_000, warmup=0.02), "not 0.02; for 2 % of the run write warmup=200"),
        (
            lambda: lehr.wsd(1000, 20, 0.2),
            "decay is a whole number of updates, not 0.2; for 20 % of the run write decay=200",
        ),
        (lambda: lehr.inverse_sqrt(1000, 20, 0.5), "timescale is a whole number of updates, not 0.5"),
        (lambda: lehr.cosine(100.5), "total is a whole number of updates, not 100.5"),
        (lambda: lehr.cosine(math.nan), "total is a whole number of updates, at most 2**62, not nan"),
        (lambda: lehr.cosine(0), "total is a count of updates >= 1, not 0"),
        (lambda: lehr.wsd(0, 0, 0), "total is a count of updates >= 1, not 0"),
        (lambda: lehr.cosine(-5), "total is a count of updates >= 0, not -5"),
        (lambda: lehr.cosine(10, -1), "warmup is a count of updates >= 0, not -1"),
        (lambda: lehr.cosine(10, 11), "warmup=11 is longer than total=10; write warmup=10 or less"),
        (lambda: lehr.wsd(10, 11, 0), "warmup=11 is longer than total=10; write warmup=10 or less"),
        (lambda: lehr.wsd(10, 5, 6), "warmup=5 and decay=6 do not fit into total=10; write decay=5"),
        (lambda: lehr.inverse_sqrt(10, 2, 0), "timescale is a count of updates >= 1, not 0"),
        (lambda: lehr.cosine(10, final=-0.1), "final is a ratio of the peak, a number >= 0, not -0.1"),
        (lambda: lehr.cosine(10, sample="middle"), "sample is 'end' or 'start', not 'middle'"),
        (lambda: lehr.wsd(10, 1, 5, shape="cosin"), "unknown shape 'cosin'; did you mean 'cosine'?"),
        (lambda: lehr.wsd(10, 1, 5, shape="exponential"), "exponential 5 from 1 to 0: this curve never reaches 0"),
    ],
)
def test_an_argument_that_cannot_be_is_an_error_that_says_what_to_write(call, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        call()
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("call", [lambda: lehr.cosine("10"), lambda: lehr.cosine(10, None), lambda: lehr.cosine(True)])
def test_what_is_no_count_is_a_type_error(call):
    with pytest.raises(TypeError, match="is a whole number of updates, not"):
        call()
