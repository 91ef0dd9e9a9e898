"""lehr.areas: the integral of every shape against a fine quadrature of NumPy's, and sums over updates."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SHAPES, ends, fitting, ramp_over, schedules

import lehr
from lehr import Ramp, Schedule, parse
from lehr.areas import EDGE, LONG

NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)


def fine(schedule: Schedule, a: float, b: float) -> float:
    """The integral of a smooth curve with 40 nodes in each of 200 pieces, crowded towards both ends."""
    half = 0.5 ** np.arange(1, 101)
    joints = a + (b - a) * np.concatenate(([0], half[::-1], 1 - half[1:], [1]))
    middle, width = (joints[1:] + joints[:-1]) / 2, (joints[1:] - joints[:-1]) / 2
    values = schedule((middle[:, None] + width[:, None] * NODES).clip(0))
    return math.fsum((width[:, None] * WEIGHTS * values).ravel())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("a", "b"), [(1, 0), (0, 1), (1, 0.1), (0.1, 1), (3e-4, 1e-6), (1.0, 0.999)])
def test_the_area_of_every_shape_is_that_of_a_fine_quadrature(shape, a, b):
    shape = fitting(shape, a, b)
    curve = ramp_over(shape, a, b)
    assert curve.area() == pytest.approx(fine(curve, 0, 1), rel=1e-12)
    assert curve.area(0.2, 0.7) == pytest.approx(fine(curve, 0.2, 0.7), rel=1e-12)


@given(ends(), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=150)
def test_areas_add_up(ramp, x, y):
    shape, start, end = ramp
    curve = ramp_over(shape, start, end)
    x, y = min(x, y), max(x, y)
    assert curve.area(0, x) + curve.area(x, y) + curve.area(y, 1) == pytest.approx(curve.area(), rel=1e-12)
    low, high = sorted((start, end))
    slack = 1e-12 * high
    assert low * (y - x) - slack <= curve.area(x, y) <= high * (y - x) + slack


@pytest.mark.parametrize(
    ("shape", "start", "end", "expected"),
    [  # worked out by hand
        ("linear", 1, 0, 1 / 2),
        ("cosine", 1, 0, 1 / 2),
        ("sqrt", 1, 0, 1 / 3),
        ("sqrt", 0, 1, 2 / 3),
        ("poly:2", 1, 0, 1 / 3),
        ("poly:3", 0, 1, 3 / 4),
        ("rex", 1, 0, 2 - 2 * math.log(2)),
        ("half_cosine", 1, 0, 1 - 2 / math.pi),
        ("exponential", math.e, 1, math.e - 1),
        ("inverse", 2, 1, 2 * math.log(2)),
        ("inverse_sqrt", 1, 0.5, 2 / 3),
        ("power:2", 1, 0, 2 / 3),
        ("k_decay:2", 1, 0, 2 / 3),
        ("cosine_power:2", 1, 0, 3 / 8),
        ("exponential:0.5", 1, 0, 1 / math.log(2) - 1),
        ("tanh:-7:3", 1, 0, None),
    ],
)
def test_the_area_under_each_curve_is_what_its_formula_gives(shape, start, end, expected):
    if expected is None:
        whole = math.tanh(3) - math.tanh(-7)
        expected = (math.tanh(3) - (math.log(math.cosh(3)) - math.log(math.cosh(7))) / 10) / whole
    assert ramp_over(shape, start, end, 1000).area() == pytest.approx(1000 * expected, rel=1e-14)


@given(schedules(), st.floats(0, 4000), st.floats(0, 4000), st.floats(0, 4000))
@settings(max_examples=100)
def test_the_area_of_a_schedule_is_additive_and_counts_gaps_and_what_is_held(schedule, x, y, z):
    x, y, z = sorted((x, y, z))
    assert schedule.area(x, z) == pytest.approx(schedule.area(x, y) + schedule.area(y, z), rel=1e-9, abs=1e-9)
    total, last = schedule.total, schedule.ramps[-1].end_value
    assert schedule.area(total, total + 10) == pytest.approx(10 * last, rel=1e-12)
    assert schedule.area(0, total + 10) == pytest.approx(schedule.area() + 10 * last, rel=1e-12)


def test_the_area_is_scaled_with_the_values_and_does_not_ask_how_updates_are_sampled():
    schedule = parse("at 10 linear 10 from 0.5 to 1, at 50 cosine 100 to 0, at 100 linear 0 to 0.25")
    by_hand = 10 * 0.5 + 10 * 0.75 + 30 + 50 * (0.5 + 1 / math.pi)
    assert schedule.area() == pytest.approx(by_hand, rel=1e-14)
    assert (2 * schedule).area() == 2 * schedule.area()
    assert Schedule(schedule.ramps, "start").area() == schedule.area() and schedule.area(7, 7) == 0


def test_a_registered_shape_with_a_kink_is_integrated_too(monkeypatch):
    monkeypatch.setattr("lehr.shapes.TABLE", dict(lehr.shapes.TABLE))  # registered for this test alone
    lehr.register("tent", lambda a, b, m: lambda u: a + (b - a) * 3 * u if u < 1 / 3 else b)
    assert ramp_over("tent", 0, 1, 6).area() == pytest.approx(6 * (1 / 6 + 2 / 3), rel=1e-14)


# --- sums over updates


@given(schedules(), st.integers(0, 200), st.integers(0, 4000))
@settings(max_examples=150, deadline=None)
def test_the_sum_over_updates_is_that_of_the_values(schedule, start, count):
    by_hand = math.fsum(schedule(step) for step in range(start, start + count))
    assert schedule.update_sum(start, start + count) == pytest.approx(by_hand, rel=1e-13, abs=1e-300)


@pytest.mark.parametrize("sample", ["end", "start"])
@pytest.mark.parametrize(
    "item", ["cosine 300k from 1 to 0", "sqrt 300k from 1 to 0.1", "inverse_sqrt 300k from 1 to 1e-3"]
)
def test_a_long_curve_is_summed_by_its_area(sample, item):
    schedule = Schedule((Ramp(0, 500.5, 0, 1), *Schedule(parse(f"at 500.5 {item}").ramps).ramps), sample)
    steps = np.arange(math.ceil(schedule.total) + 5)
    assert schedule.total > LONG > 2 * EDGE
    assert schedule.update_sum(0, len(steps)) == pytest.approx(math.fsum(schedule(steps)), rel=1e-13)


def test_a_sum_over_a_million_million_updates_does_not_count_them():
    schedule = parse("linear 100B to 1, cosine 900B to 0")
    assert schedule.update_sum() == pytest.approx(500e9, rel=1e-11) and schedule.area() == 500e9
