"""The shapes beyond the first eight: their formula, ends, bounds, direction, text, and every array the same."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lehr
from lehr import Ramp, Schedule, parse
from lehr.shapes import TABLE, resolve

SHAPES = (
    "approach:0.01",
    "approach:5",
    "approach:60",
    "approach:50000",
    "cosine:0.25",
    "cosine:0.9",
    "cosine:0:2",
    "cosine:0:0.5",
    "cosine:0.3:1.5",
    "cosine_power:2",
    "cosine_power:0.5",
    "exponential:0.5",
    "exponential:1e-9",
    "exponential:8",
    "half_cosine",
    "inverse_sqrt:0.1",
    "inverse_sqrt:0.0001",
    "inverse_sqrt:3",
    "k_decay:2",
    "k_decay:1.5:0.5",
    "k_decay:0.3:2",
    "rex",
    "sqrt:0.5",
    "sqrt:0.01",
    "tanh:-7:3",
    "tanh:-1:0.5",
    "tanh:-30:30",
)
# sin(A - B) sin(A + B) rises, but its second factor does not all the way: these may turn back by a rounding
ROUNDED = ("cosine:0.25", "cosine:0.9", "cosine:0.3:1.5")
ENDS = ((1.0, 0.1), (0.1, 1.0), (3e-4, 7e-5), (1.0, 0.0), (0.0, 1.0), (0.0, 0.3))

shapes, ends = st.sampled_from(SHAPES), st.sampled_from(ENDS)
inside = st.one_of(st.floats(0, 1), st.floats(0, 1e-6), st.floats(0, 1e-6).map(lambda x: 1 - x))


def over(shape, a, b, duration=1):
    """One ramp from time 0, asked by time."""
    return Schedule((Ramp(0, duration, a, b, shape),), sample="start")


def remaining(mp, shape, u):
    """What is left of the way from a to b at u, by the published formula, in as many digits as `mp` has."""
    name, *words = shape.split(":")
    p = [mp.mpf(float(word)) for word in words]
    if name == "cosine":
        u0, k = (*p, mp.mpf(1))[:2]
        return (1 + mp.cos(mp.pi * (u0 + (1 - u0) * u) ** k)) / (1 + mp.cos(mp.pi * u0**k))
    if name == "cosine_power":
        return ((1 + mp.cos(mp.pi * u)) / 2) ** p[0]
    if name == "half_cosine":
        return 1 - mp.sin(mp.pi * u / 2)
    if name == "tanh":
        low, high = map(mp.tanh, p)
        return (high - mp.tanh(p[0] + (p[1] - p[0]) * u)) / (high - low)
    if name == "sqrt":
        return (1 - mp.sqrt(p[0] + (1 - p[0]) * u)) / (1 - mp.sqrt(p[0]))
    if name == "k_decay":
        k, power = (*p, mp.mpf(1))[:2]
        return (1 - u**k) ** power
    if name == "rex":
        return (1 - u) / (mp.mpf(1) / 2 + (1 - u) / 2)
    if name == "approach":
        return 1 - (1 - mp.exp(-p[0] * u)) / (1 - mp.exp(-p[0]))
    if name == "exponential":
        return (p[0] ** u - p[0]) / (1 - p[0])
    assert name == "inverse_sqrt"
    return (1 / mp.sqrt(1 + (p[0] ** -2 - 1) * u) - p[0]) / (1 - p[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_its_formula_and_keeps_its_digits_near_0(shape):
    mp = pytest.importorskip("mpmath").mp
    draw = random.Random(shape)
    with mp.workdps(60):
        for a, b in ENDS:
            curve, low = over(shape, a, b), min(a, b)
            for _ in range(12):
                u = draw.choice([draw.random(), 10 ** draw.uniform(-9, 0), 1 - 10 ** draw.uniform(-9, 0)])
                exact = b + (mp.mpf(a) - b) * remaining(mp, shape, mp.mpf(u))
                error = abs(curve(u) - exact)
                assert error <= 1e-14 * max(a, b), (a, b, u)
                assert low or error <= 1e-13 * abs(exact) + 1e-300, (a, b, u)  # down to 0: relative to the value


@given(shapes, ends, st.one_of(st.integers(1, 10**6), st.floats(0.01, 1e6)), st.sampled_from(["end", "start"]))
def test_the_ends_are_exact_to_the_bit(shape, a_and_b, duration, sample):
    a, b = a_and_b
    schedule = Schedule((Ramp(1, duration, a, b, shape),), sample)
    first, last = (0, duration) if sample == "end" else (1, 1 + duration)
    assert schedule(first) == a and schedule(last) == b and schedule(last + 1) == b


@given(shapes, ends, inside)
def test_the_curve_stays_between_its_ends_and_never_turns_back(shape, a_and_b, u):
    a, b = a_and_b
    curve = over(shape, a, b)
    here, there = curve(u), curve(math.nextafter(u, 2))
    slack = 4e-16 * max(a, b) if shape in ROUNDED and a < b else 0
    assert min(a, b) <= here <= max(a, b)
    assert (there - here) * (1 if b > a else -1) >= -slack


@given(shapes, ends)
def test_the_curve_runs_one_way_from_step_to_step(shape, a_and_b):
    a, b = a_and_b
    values = over(shape, a, b, 10_000)(np.arange(10_001))
    steps = np.diff(values) * np.sign(b - a)
    assert steps.min() >= -4e-16 * max(a, b)


@given(shapes, ends, st.integers(1, 3000))
def test_the_four_array_libraries_agree(shape, a_and_b, duration):
    jax, torch = pytest.importorskip("jax"), pytest.importorskip("torch")
    schedule = over(shape, *a_and_b, duration)
    steps = [0, 1, duration // 3, duration // 2, duration - 1, duration, duration + 5]
    expected = [schedule(step) for step in steps]
    close = {"rel": 0, "abs": 1e-14 * max(a_and_b)}
    assert schedule(np.array(steps)) == pytest.approx(expected, **close)
    assert schedule(torch.tensor(steps, dtype=torch.float64)).tolist() == pytest.approx(expected, **close)
    single = jax.numpy.asarray(schedule(jax.numpy.asarray(steps)))  # 32 bits, as JAX is unless told otherwise
    assert np.asarray(single, dtype=float) == pytest.approx(expected, rel=0, abs=3e-6 * max(a_and_b))


@given(shapes, ends, st.integers(1, 10**6))
def test_text_and_json_round_trip(shape, a_and_b, duration):
    schedule = Schedule((Ramp(0, duration, *a_and_b, shape),))
    assert parse(str(schedule)) == schedule and lehr.from_dict(lehr.to_dict(schedule)) == schedule


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("cosine:0", "cosine"),
        ("cosine:0:1", "cosine"),
        ("cosine:-0.0:1.0", "cosine"),
        ("cosine:0.25:1", "cosine:0.25"),
        ("cosine:0:2.0", "cosine:0:2"),
        ("sqrt:0", "sqrt"),
        ("k_decay:2:1", "k_decay:2"),
        ("k_decay:2e0:0.5", "k_decay:2:0.5"),
        ("tanh:-7.0:3", "tanh:-7:3"),
        ("exponential:5e-1", "exponential:0.5"),
    ],
)
def test_one_curve_has_one_canonical_text(written, canonical):
    assert resolve(written)[0] == resolve(canonical)[0] == canonical
    assert Ramp(0, 10, 1, 0, written) == Ramp(0, 10, 1, 0, canonical)


def test_parameters_left_out_are_those_of_the_plain_curve():
    for shape in ("cosine:1e-9", "cosine:0:1.000000001", "sqrt:1e-18"):
        plain = over(shape.partition(":")[0], 1, 0)
        assert [over(shape, 1, 0)(u) for u in (0.1, 0.5, 0.9)] == pytest.approx([plain(u) for u in (0.1, 0.5, 0.9)])
    assert over("half_cosine", 1, 0.2)(0.3) == pytest.approx(over("cosine:0.5", 1, 0.2)(0.3), rel=1e-15)
    assert over("approach:2", 0, 1)(0.3) == pytest.approx(over(f"exponential:{math.exp(-2)!r}", 0, 1)(0.3), rel=1e-15)
    assert over("k_decay:1:2", 1, 0)(0.3) == pytest.approx(over("poly:2", 1, 0)(0.3), rel=1e-15)


def test_a_shape_with_parameters_may_touch_0_where_the_plain_one_may_not():
    for shape in ("exponential", "inverse_sqrt"):
        assert over(f"{shape}:0.5", 1, 0)(1) == 0
        with pytest.raises(ValueError, match="this curve never reaches 0"):
            Ramp(0, 1, 1, 0, shape)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("cosine:1", "cosine:1 is entered at a share of its time below 1; write cosine:0.5"),
        ("cosine:-0.5", "cosine:-0.5 is entered at a share"),
        ("cosine:0:0", "cosine:0:0 needs a power above 0; write cosine:0:2"),
        ("cosine:0:1:2", "has 3 parameters; write 'cosine' alone or cosine:<u0> or cosine:<u0>:<k>"),
        ("cosine_power", "shape 'cosine_power' has 0 parameters; write cosine_power:<k>"),
        ("cosine_power:0", "cosine_power:0 needs a power above 0; write cosine_power:2"),
        ("sqrt:1", "sqrt:1 is entered at a share"),
        ("k_decay:0", "k_decay:0:1 needs numbers above 0; write k_decay:2:0.5"),
        ("k_decay:2:-1", "k_decay:2:-1 needs numbers above 0"),
        ("tanh:-7", "shape 'tanh:-7' has 1 parameters; write tanh:<lb>:<ub>"),
        ("tanh:3:-7", "tanh:3:-7 needs a lower and a higher bound within 40; write tanh:-7:3"),
        ("tanh:-99:3", "tanh:-99:3 needs a lower and a higher bound within 40"),
        ("exponential:0", "exponential:0 needs a number above 0, not 1; write exponential:0.5"),
        ("exponential:1", "exponential:1 needs a number above 0, not 1"),
        ("inverse_sqrt:1", "inverse_sqrt:1 needs a number above 0, not 1; write inverse_sqrt:0.1"),
        ("inverse_sqrt:-1", "inverse_sqrt:-1 needs a number above 0"),
        ("approach:0", "approach:0 needs a number of time constants above 0; write approach:5"),
        ("rex:1", "shape 'rex:1' has 1 parameters; write 'rex' alone"),
        ("half_cosin", "unknown shape 'half_cosin'; did you mean 'half_cosine'?"),
    ],
)
def test_a_bad_shape_is_refused_by_name(shape, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared below
        Ramp(0, 10, 1, 0.5, shape)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_every_shape_of_the_table_is_tested():
    tested = {shape.partition(":")[0] for shape in SHAPES}
    assert set(TABLE) - tested <= {"linear", "poly", "power", "inverse"}


@pytest.mark.parametrize("p", ["1e-12", "-1e-12", "1e-9"])
def test_power_near_0_keeps_its_digits_and_becomes_exponential(p):
    for ends in ("from 1 to 0.01", "from 0.01 to 1"):
        near, limit = lehr.parse(f"power:{p} 10 {ends}"), lehr.parse(f"exponential 10 {ends}")
        for step in range(10):
            assert near(step) == pytest.approx(limit(step), rel=1e-7)
