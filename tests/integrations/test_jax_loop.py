"""A Schedule in optax and Flax NNX as it is: jitted loops, the LR in the state, and the figures of docs/jax.md."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import lehr

PEAK = 3e-3
SCHEDULES = {
    "cosine": lehr.cosine(total=60, warmup=6, final=0),
    "wsd": lehr.wsd(total=60, warmup=5, decay=20),
    "start": lehr.parse("linear 10 to 1, exponential 50 to 0.01, sampled at start"),
    "restarts": lehr.parse("cosine 20 from 1 to 0, cosine 40 from 1 to 0.1"),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_lr_of_a_jitted_flax_loop_is_pythons_within_float32_at_every_step(schedule):
    model = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
    tx = optax.inject_hyperparams(optax.adamw)(learning_rate=PEAK * schedule, weight_decay=0.1)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    x = jax.random.normal(jax.random.key(0), (8, 3))

    @nnx.jit
    def train_step(model, optimizer):
        gradients = nnx.grad(lambda m: jnp.mean(m(x) ** 2))(model)
        optimizer.update(model, gradients)

    used = []
    for _ in range(70):  # beyond the end, too
        train_step(model, optimizer)
        used.append(float(optimizer.opt_state.hyperparams["learning_rate"][...]))
    assert np.abs(np.array(used) - PEAK * schedule(np.arange(70))).max() <= 3e-7 * PEAK
    assert optimizer.opt_state.count[...].dtype == jnp.int32


def test_a_loop_that_is_one_compiled_scan_is_no_different():
    schedule = SCHEDULES["cosine"]
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=PEAK * schedule)

    def body(carry, _):
        w, state = carry
        updates, state = tx.update(2 * w, state, w)
        return (optax.apply_updates(w, updates), state), state.hyperparams["learning_rate"]

    w = jnp.ones(2)
    _, used = jax.jit(lambda w: jax.lax.scan(body, (w, tx.init(w)), length=60))(w)
    assert np.abs(np.asarray(used, np.float64) - PEAK * schedule(np.arange(60))).max() <= 3e-7 * PEAK


@pytest.mark.parametrize("total", [1_000, 100_000, 10_000_000])
@pytest.mark.parametrize(
    "spec", ["cosine rest to 0", "linear rest to 0", "hold 80%, sqrt rest to 0", "exponential rest to 0.01"]
)
def test_a_long_decay_is_within_3e_7_of_the_peak_in_float32_and_exact_with_x64(spec, total):
    schedule = lehr.parse(f"linear 2% to 1, {spec}", total=total)
    steps = np.unique(np.linspace(0, total, 20_001).astype(int))
    values = jax.jit(schedule)(jnp.asarray(steps))
    assert values.dtype == jnp.float32
    assert np.abs(np.asarray(values, np.float64) - schedule(steps)).max() <= 3e-7
    with jax.enable_x64(True):
        wide = jax.jit(schedule)(jnp.asarray(steps))
        assert wide.dtype == jnp.float64 and np.abs(np.asarray(wide) - schedule(steps)).max() <= 1e-14


def test_clocks_of_whole_numbers_and_of_floats():
    schedule = lehr.parse("linear 100 to 1, linear 2B from 1 to 0")
    late = 2_000_000_000
    whole, real = schedule(jnp.int32(late)), schedule(jnp.float32(late))
    assert float(whole) == pytest.approx(schedule(late), abs=1e-7)
    assert jnp.float32(2**24 + 1) == 2**24, "a float32 clock stands still here, a whole one does not"
    assert schedule(jnp.bfloat16(10)).dtype == jnp.bfloat16 and real.dtype == jnp.float32


def test_vmap_over_schedules_steps_and_a_schedule_for_each_label():
    schedule = SCHEDULES["cosine"]
    steps = jnp.arange(60)
    assert jnp.array_equal(jax.vmap(schedule)(steps), schedule(steps))
    parameters = {"body": jnp.ones(2), "head": jnp.ones(2)}
    rates = {"body": 1e-3 * schedule, "head": 2e-3 * SCHEDULES["wsd"]}
    tx = optax.multi_transform({k: optax.sgd(v) for k, v in rates.items()}, {"body": "body", "head": "head"})
    state = tx.init(parameters)
    for step in range(12):
        updates, state = tx.update({"body": jnp.ones(2), "head": jnp.ones(2)}, state)
        for name, rate in rates.items():
            assert float(updates[name][0]) == pytest.approx(-rate(step), rel=1e-5)
