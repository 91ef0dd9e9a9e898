"""lehr.evaluate: NumPy, torch and JAX arrays are evaluated as single steps are."""

import decimal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import schedules, steps_of, whole_steps_of

import lehr
from lehr import Ramp, Schedule, parse
from lehr.evaluate import BLOCK
from lehr.shapes import TABLE, register

COSINE = lehr.cosine(total=1000, warmup=100, final=0.1)
LATE = Schedule((Ramp(0, 10, 0, 1), Ramp(2**30, 2**20, 1, 0)))  # needs more than the 24 bits of a float32 clock


def scalars(schedule, steps):
    return np.array([schedule(step) for step in steps])


def padded(steps, length=64):
    """So many steps, whatever there were: JAX compiles each operation once a length."""
    return (list(steps) * length)[:: max(1, len(steps) // length)][:length]


# --- all evaluators agree


def a_few_roundings(schedule):
    """What float64 evaluators may differ by: 8 units in the last place of the greatest value.

    The arithmetic is the same; sin, pow, expm1 and log1p are not. Vectorised ones may be off by an ulp or two, a curve
    calls up to three, and a root doubles what it is given. 5 is the most that half a million tries have shown.
    """
    return 8 * np.spacing(max(max(ramp.start_value, ramp.end_value) for ramp in schedule.ramps))


@given(schedules())
@settings(max_examples=80)
def test_numpy_agrees_with_single_steps(schedule):
    steps = steps_of(schedule)
    expected = scalars(schedule, steps)
    np.testing.assert_allclose(schedule(np.array(steps)), expected, rtol=0, atol=a_few_roundings(schedule))


@given(schedules())
@settings(max_examples=40)
def test_torch_agrees_with_single_steps(schedule):
    steps = steps_of(schedule)
    expected = scalars(schedule, steps)
    values = schedule(torch.tensor(steps, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(values, expected, rtol=0, atol=a_few_roundings(schedule))


@given(schedules(whole=True, longest=50, most=5))
@settings(max_examples=15)
def test_jax_in_float64_agrees_with_single_steps_to_twelve_digits(schedule):
    # whole steps: XLA's quotients may be an ulp off, which next to the end of a root is far more than an ulp; and its
    # log1p is good to 14 digits only
    steps = padded(whole_steps_of(schedule))
    with jax.enable_x64(True):
        values = np.asarray(schedule(jnp.array(steps, dtype=jnp.float64)))
    np.testing.assert_allclose(values, scalars(schedule, steps), rtol=0, atol=1e-12 * (schedule.peak or 1))


@given(schedules(whole=True, longest=50, most=5))
@settings(max_examples=25)
def test_jax_in_float32_agrees_to_five_digits(schedule):
    # whole steps, and short ramps: what is left of 24 bits near a ramp's end, 1 - u, loses as many as the ramp is long
    steps = padded(whole_steps_of(schedule))
    values = schedule(jnp.array(steps, dtype=jnp.int32))
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, scalars(schedule, steps), rtol=0, atol=1e-5 * (schedule.peak or 1))


@given(schedules(whole=True), st.sampled_from([np.int64, np.float64, np.int32, np.uint16]))
@settings(max_examples=40)
def test_the_order_and_the_type_of_the_steps_do_not_matter(schedule, dtype):
    steps = [step for step in whole_steps_of(schedule) if step < 2**16]
    shuffled = np.random.default_rng(0).permutation(np.array(steps, dtype=dtype))
    assert (schedule(shuffled) == schedule(np.sort(shuffled))[np.argsort(np.argsort(shuffled))]).all()


def test_a_wild_registered_shape_is_clipped_on_every_array():
    before = dict(TABLE)
    try:
        register("wild", lambda a, b, m, height: lambda u: height + u)
        schedule = parse("hold 1, wild:7 5 to 0.5, wild:-7 5 to 1")
        expected = [schedule(step) for step in range(12)]
        assert expected == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1]
        for steps in (np.arange(12), torch.arange(12), jnp.arange(12)):
            assert schedule(steps).tolist() == expected
    finally:
        TABLE.clear()
        TABLE.update(before)


# --- NumPy


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_whole_numpy_steps_of_any_width_give_float64(dtype):
    steps = np.array([0, 5, 99, 100, 127], dtype=dtype)
    values = COSINE(steps)
    assert values.dtype == np.float64 and (values == COSINE(steps.astype(np.int64))).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_floating_numpy_steps_give_float64_too(dtype):
    values = COSINE(np.array([0.5, 100, 512], dtype=dtype))
    assert values.dtype == np.float64 and (values == scalars(COSINE, [0.5, 100, 512])).all()


def test_a_numpy_scalar_and_a_0d_array_give_a_numpy_scalar():
    for step in (np.int64(7), np.float32(7), np.array(7), np.array(7.0)):
        assert type(COSINE(step)) is np.float64 and COSINE(step) == COSINE(7)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,), (2, 3, 4)])
def test_the_shape_of_the_steps_is_the_shape_of_the_values(shape):
    steps = np.arange(np.prod(shape)).reshape(shape)
    assert COSINE(steps).shape == shape and (COSINE(steps).ravel() == scalars(COSINE, steps.ravel())).all()


def test_steps_need_not_lie_side_by_side():
    steps = np.arange(600).reshape(20, 30)
    for view in (steps.T, steps[::3, ::-2], np.broadcast_to(steps[:, :1], (20, 5)), np.asfortranarray(steps)):
        assert (COSINE(view) == COSINE(view.copy())).all() and COSINE(view).shape == view.shape


def test_a_block_of_numpy_steps_ends_without_a_seam():
    schedule = lehr.cosine(total=3 * BLOCK, warmup=BLOCK - 1, final=0.1)
    steps = np.arange(2 * BLOCK + 5)
    values = schedule(steps)
    edges = [0, BLOCK - 2, BLOCK - 1, BLOCK, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 4]
    np.testing.assert_allclose(values[edges], scalars(schedule, edges), rtol=1e-15)
    assert (values == np.concatenate([schedule(steps[:1000]), schedule(steps[1000:])])).all()


def test_the_steps_given_are_left_as_they_are():
    steps = np.array([5.0, 0.0, 2000.0])
    COSINE(steps)
    assert steps.tolist() == [5, 0, 2000]


@pytest.mark.parametrize("bad", [-1, -1e-9, np.nan, -np.inf])
def test_a_numpy_step_that_is_negative_or_nan_is_an_error(bad):
    with pytest.raises(ValueError, match="a step is a number >= 0, not"):
        COSINE(np.array([3, bad, 5]))


def test_numpy_steps_beyond_any_run_hold_the_last_value():
    assert COSINE(np.array([2**64 - 1, 2**63], dtype=np.uint64)).tolist() == [0.1, 0.1]
    assert COSINE(np.array([np.inf, 1e300])).tolist() == [0.1, 0.1]


# --- torch


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_floating_torch_clock_keeps_its_dtype(dtype):
    steps = torch.tensor([0, 50, 128, 1024], dtype=dtype)
    values = COSINE(steps)
    assert values.dtype == dtype and values.device == steps.device
    # computed in float64 and rounded once
    assert torch.equal(values, torch.tensor(scalars(COSINE, [0, 50, 128, 1024])).to(dtype))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_whole_torch_steps_give_the_default_dtype(dtype):
    steps = torch.tensor([[0, 50], [100, 127]], dtype=dtype)
    assert COSINE(steps).dtype == torch.float32 and COSINE(steps).shape == (2, 2)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        assert COSINE(steps).dtype == torch.float64
        assert COSINE(steps).ravel().tolist() == pytest.approx(scalars(COSINE, [0, 50, 100, 127]).tolist(), rel=1e-15)
    finally:
        torch.set_default_dtype(before)


def test_the_device_of_a_torch_clock_is_kept():
    # the meta device has shapes and dtypes but no values: whoever waited for one would fail here
    assert COSINE(torch.zeros(3, dtype=torch.int64, device="meta")).device.type == "meta"
    assert COSINE(torch.empty(0)).shape == (0,) and COSINE(torch.tensor(7)).shape == ()


def test_where_no_one_waits_for_the_device_a_negative_step_has_the_first_value_and_nan_stays_nan():
    for sample in ("end", "start"):
        schedule = lehr.cosine(10, 4, sample=sample)
        assert schedule(torch.tensor([-5, -1])).tolist() == [0, 0] and schedule(jnp.array([-5, -1])).tolist() == [0, 0]
        assert schedule(torch.tensor(torch.nan)).isnan() and jnp.isnan(schedule(jnp.array(jnp.nan)))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
def test_torch_compiles_a_schedule_without_a_break_and_once_for_all_steps():
    schedule = parse(
        "linear 10 to 1, poly:2 20 to 0.5, at 25 sqrt 10 to 0.1, inverse_sqrt 50 to 0.01, exponential 9 to 0.001"
    )
    compiled_graphs = []

    def backend(graph, inputs):
        compiled_graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(lambda step: 3e-4 * schedule(step), fullgraph=True, backend=backend)
    for step in (0, 5, 9, 10, 24, 25, 60, 1000):
        assert compiled(torch.tensor(step)).item() == pytest.approx(3e-4 * schedule(step), rel=1e-6)
    assert len(compiled_graphs) == 1


# --- JAX


def test_a_schedule_can_be_jitted_and_mapped_as_it_is():
    steps = jnp.arange(0, 1100, 50)
    expected = scalars(COSINE, np.asarray(steps).tolist())
    for evaluate in (COSINE, jax.jit(COSINE), jax.vmap(COSINE), jax.jit(jax.vmap(3e-4 * COSINE * (1 / 3e-4)))):
        np.testing.assert_allclose(evaluate(steps), expected, rtol=1e-5, atol=1e-7)


def test_under_jit_the_last_update_stands_exactly_on_the_final_value():
    # XLA makes x / 41 of x * (1 / 41), and 41 * (1 / 41) is not 1 in float32; at the end of a root that is far from 0
    for total in (3, 41, 47, 49, 55, 61, 82, 98):
        for shape in ("linear", "poly:0.5"):
            schedule = Schedule((Ramp(0, total, 1, 0, shape),))
            last = jnp.full(16, total - 1)
            assert not schedule(last).any() and not jax.jit(schedule)(last).any()


def test_jit_compiles_once_for_all_steps():
    traces = []

    @jax.jit
    def rate(step):
        traces.append(step)
        return COSINE(step)

    assert [float(rate(jnp.int32(step))) for step in (0, 99, 100, 5000)] == pytest.approx([0.01, 1, 1, 0.1], rel=1e-5)
    assert len(traces) == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_floating_jax_clock_keeps_its_dtype(dtype):
    assert COSINE(jnp.array([0, 128], dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32"])
def test_whole_jax_steps_give_the_default_dtype(dtype):
    steps = jnp.array([0, 50, 127], dtype=dtype)
    assert COSINE(steps).dtype == jnp.float32
    np.testing.assert_allclose(COSINE(steps), scalars(COSINE, [0, 50, 127]), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint32", "int64", "uint64"])
def test_with_64_bits_jax_computes_in_them(dtype):
    with jax.enable_x64(True):
        values = COSINE(jnp.array([0, 50, 127], dtype=dtype))
        assert values.dtype == jnp.float64
        np.testing.assert_allclose(np.asarray(values), scalars(COSINE, [0, 50, 127]), rtol=1e-14)


def test_ramps_beyond_a_32_bit_clock_are_never_reached_by_it():
    schedule = Schedule((Ramp(0, 10, 0, 1), Ramp(2**40, 2**41, 1, 0)))
    assert schedule(jnp.array([0, 9, 2**31 - 2])).tolist() == pytest.approx([0.1, 1, 1])
    assert schedule(jnp.array([0.0, 9.0, 2.0**41])).tolist() == pytest.approx([0.1, 1, 0.5])
    assert lehr.functional.get_lr_inverse_sqrt(jnp.array([1, 8]), 2, 1.0).tolist() == pytest.approx([1, 0.5])


@pytest.mark.parametrize("optimizer", [optax.sgd, optax.adamw])
def test_optax_takes_a_schedule_as_it_is(optimizer):
    schedule = 3e-4 * lehr.cosine(total=10, warmup=2, final=0)
    scheduled, weights = optimizer(schedule), jnp.array(1.0)
    state = scheduled.init(weights)
    for step in range(4):
        updates, state_after = scheduled.update(jnp.array(0.5), state, weights)
        alone = optimizer(schedule(step))
        # the same optimizer at that one LR, given the same moments; only its clock of LRs is missing in the state
        expected, _ = alone.update(jnp.array(0.5), (*state[:-1], optax.EmptyState()), weights)
        np.testing.assert_allclose(updates, expected, rtol=1e-5)
        weights, state = weights + updates, state_after


# --- whole-number clocks are exact where float32 is not


def test_whole_steps_are_exact_beyond_what_a_float32_counts():
    steps = [2**30 + d for d in (0, 1, 3, 1001, 2**20 - 2, 2**20 - 1)]
    expected = scalars(LATE, steps)
    assert (LATE(np.array(steps)) == expected).all()
    np.testing.assert_allclose(LATE(torch.tensor(steps)), expected, rtol=1e-7)
    np.testing.assert_allclose(LATE(jnp.array(steps, dtype=jnp.int32)), expected, rtol=1e-6, atol=1e-7)
    far = Schedule((Ramp(2**60, 8, 0, 1),))
    for step in (2**60 - 1, 2**60, 2**60 + 2, 2**60 + 7):
        assert far(np.array(step)) == far(step) == far(torch.tensor(step)).item() == max(0, step + 1 - 2**60) / 8


def test_in_float32_a_long_ramp_is_within_its_rounding_of_the_peak_and_ends_where_it_should():
    schedule = lehr.cosine(1_000_000, 10_000, final=0)
    steps = np.r_[0:1_000_000:997, 999_000:1_000_000]
    values = np.asarray(jax.jit(schedule)(jnp.array(steps, dtype=jnp.int32)))
    np.testing.assert_allclose(values, schedule(steps), rtol=0, atol=3e-7)
    assert values[-1] == 0 and (np.diff(values[-1000:]) <= 0).all()


# --- what is no number and no array


@pytest.mark.parametrize("step", [[1, 2], (1,), "3", None, 1j, {}, decimal.Decimal(3), range(3)])
def test_what_is_no_number_and_no_array_is_refused_with_what_to_write(step):
    with pytest.raises(TypeError, match=r"takes a number or a NumPy, torch or JAX array .* write schedule\(np.asarray"):
        COSINE(step)


@pytest.mark.parametrize(
    "steps",
    [
        np.array([True]),
        np.array(["a"]),
        np.array([1j]),
        np.array([None]),
        torch.tensor([True]),
        torch.tensor([1j]),
        jnp.array([True]),
        jnp.array([1j]),
    ],
    ids=lambda steps: f"{type(steps).__module__} {steps.dtype}",
)
def test_an_array_of_anything_but_numbers_is_refused(steps):
    with pytest.raises(TypeError, match="steps are whole or floating-point numbers, not "):
        COSINE(steps)
