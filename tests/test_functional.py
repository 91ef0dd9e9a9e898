"""lehr.functional: the plain functions, against recorded values and against their published formulas."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lehr
from lehr import functional
from lehr.functional import (
    get_lr,
    get_lr_constant_with_warmup,
    get_lr_cosine_schedule,
    get_lr_inverse_sqrt,
    get_lr_linear_decay,
)

GOLDEN = Path(__file__).parent / "golden"


def recorded(system, least):
    cases = json.loads((GOLDEN / f"{system}.json").read_text())["cases"]
    assert len(cases) >= least
    return [pytest.param(case, id=case["name"]) for case in cases if case["values"]]


@pytest.mark.parametrize("case", recorded("cs336", 6) + recorded("user_functions", 12))
def test_recorded_values_are_met_at_every_step(case):
    function = getattr(functional, case["function"].removeprefix("run_"))
    values = case["values"][: case.get("valid_until")]
    ours = [function(step, **case["args"]) for step in range(len(values))]
    assert ours == pytest.approx(values, rel=0, abs=1e-12 * case["peak"])


# The formulas as they are published, typed a second time.


def published_cosine(s, w, t, peak, floor):
    if s < w:
        return peak * (s + 1) / w
    if s >= t:
        return floor
    return floor + 0.5 * (1 + math.cos(math.pi * (s - w) / (t - w))) * (peak - floor)


def published_linear(s, w, t, peak, floor):
    if s < w:
        return peak * (s + 1) / w
    if s >= t:
        return floor
    return peak - (peak - floor) * (s - w) / (t - w)


def published_cs336(s, w, t, peak, floor):
    if s < w:
        return s / w * peak
    if s > t or w == t:  # the assignment divides by zero where the warmup is the whole cycle
        return floor
    return floor + 0.5 * (1 + math.cos((s - w) / (t - w) * math.pi)) * (peak - floor)


PAIRS = [
    (published_cosine, lambda s, w, t, peak, floor: get_lr(s, w, t, peak, floor)),
    (published_linear, lambda s, w, t, peak, floor: get_lr_linear_decay(s, w, t, peak, floor)),
    (published_cs336, lambda s, w, t, peak, floor: get_lr_cosine_schedule(s, peak, floor, w, t)),
]


@st.composite
def settings_and_step(draw):
    total = draw(st.integers(1, 10**6))
    warmup = draw(st.one_of(st.sampled_from([0, 1, total - 1, total]), st.integers(0, total)))
    peak, ratio = draw(st.floats(1e-6, 10)), draw(st.sampled_from([0, 0.1, 1]) | st.floats(0, 1))
    near = st.sampled_from([0, warmup - 1, warmup, warmup + 1, total - 1, total, total + 1, 10 * total])
    step = draw(near.filter(lambda s: s >= 0) | st.integers(0, 2 * total))
    return step, warmup, total, peak, ratio * peak


@pytest.mark.parametrize(("published", "ours"), PAIRS, ids=["get_lr", "get_lr_linear_decay", "get_lr_cosine_schedule"])
@given(case=settings_and_step())
def test_decays_agree_with_their_published_formula(published, ours, case):
    peak, floor = case[3:]
    value = ours(*case)
    assert value == pytest.approx(published(*case), rel=0, abs=1e-12 * peak)
    assert 0 <= value <= peak and (value >= floor or case[0] < case[1])


@given(settings_and_step())
def test_constant_and_inverse_sqrt_agree_with_their_published_formula(case):
    step, warmup, _, peak, _ = case
    rise = peak * (step + 1) / warmup if step < warmup else None
    constant = get_lr_constant_with_warmup(step, warmup, peak)
    assert constant == pytest.approx(peak if rise is None else rise, rel=0, abs=1e-12 * peak)
    if warmup:
        value = get_lr_inverse_sqrt(step, warmup, peak)
        fall = peak * math.sqrt(warmup / max(step, 1))
        assert value == pytest.approx(fall if rise is None else rise, rel=0, abs=1e-12 * peak)


@pytest.mark.parametrize("step", [0, 1, 10**6, 10**12, 2**52])
def test_curves_without_an_end_go_on_as_long_as_any_run(step):
    assert get_lr_constant_with_warmup(step, 0, 3e-4) == 3e-4
    assert get_lr_inverse_sqrt(step, 1, 1.0) == pytest.approx(1 / math.sqrt(max(step, 1)), rel=1e-12)
    # no warmup counts as a timescale of one update
    assert get_lr_inverse_sqrt(step, 0, 1.0) == get_lr_inverse_sqrt(step, 1, 1.0)


@pytest.mark.parametrize("function", [get_lr, get_lr_linear_decay])
def test_a_warmup_of_nothing_or_of_everything_and_a_run_of_one_step_are_legal(function):
    assert [function(s, 0, 4, 1.0, 0.1) for s in (0, 4, 5)] == [1, 0.1, 0.1]
    assert [function(s, 4, 4, 1.0, 0.1) for s in range(6)] == [0.25, 0.5, 0.75, 1, 0.1, 0.1]
    assert [function(s, 0, 1, 1.0) for s in range(3)] == [1, 0, 0]
    assert [function(s, 1, 1, 1.0) for s in range(3)] == [1, 0, 0]
    assert function(0, 0, 0, 1.0, 0.1) == 0.1


def test_cs336_holds_the_floor_where_the_warmup_is_the_whole_cycle():
    assert [get_lr_cosine_schedule(s, 1.0, 0.1, 4, 4) for s in range(6)] == [0, 0.25, 0.5, 0.75, 0.1, 0.1]
    assert [get_lr_cosine_schedule(s, 1.0, 0.1, 0, 1) for s in range(3)] == [1, 0.1, 0.1]


def test_a_floor_above_the_peak_is_taken_as_it_is():
    assert [get_lr(s, 0, 2, 0.5, 1.0) for s in range(3)] == [0.5, 0.75, 1]


def test_an_array_of_steps_is_taken_as_one_step_is():
    values = get_lr(np.arange(30), 5, 20, 1e-3, 1e-5)
    assert values.tolist() == pytest.approx([get_lr(s, 5, 20, 1e-3, 1e-5) for s in range(30)], rel=1e-15)


@pytest.mark.parametrize(
    "call",
    [
        lambda: get_lr(0, 30, 20, 1.0),
        lambda: get_lr_linear_decay(0, -1, 20, 1.0),
        lambda: get_lr_cosine_schedule(0, 1.0, 0.1, 30, 20),
        lambda: get_lr_inverse_sqrt(0, -1, 1.0),
        lambda: get_lr_constant_with_warmup(0, -1, 1.0),
        lambda: get_lr(0, math.nan, 20, 1.0),
    ],
)
def test_a_warmup_that_does_not_fit_is_an_error_that_says_what_fits(call):
    with pytest.raises(
        ValueError, match=r"^the warmup of \S+ steps does not fit into the \d+ of the schedule; write 0 to"
    ):
        call()


@pytest.mark.parametrize("call", [lambda: get_lr(-1, 5, 20, 1.0), lambda: get_lr(math.nan, 5, 20, 1.0)])
def test_a_step_before_the_first_is_an_error(call):
    with pytest.raises(ValueError, match="a step is a number >= 0"):
        call()


@pytest.mark.parametrize("rates", [(-1.0, 0.0), (1.0, -0.1), (math.nan, 0.0), (1.0, math.inf)])
def test_a_rate_that_is_none_is_an_error(rates):
    with pytest.raises(ValueError, match="is a finite number >= 0"):
        get_lr(0, 5, 20, *rates)


def test_the_recipe_and_the_function_differ_by_the_one_update_at_the_peak():
    # lehr.cosine samples each update at its end; get_lr stays at the peak for one update and then samples at the start
    recipe, total, warmup = lehr.cosine(100, 10, final=0.1), 100, 10
    assert [get_lr(s, warmup, total, 1.0, 0.1) for s in range(10)] == [recipe(s) for s in range(10)]
    assert get_lr(50, warmup, total, 1.0, 0.1) == recipe(49) and get_lr(99, warmup, total, 1.0, 0.1) > recipe(99) == 0.1
