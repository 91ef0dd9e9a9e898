"""A schedule in optax and Flax NNX: `peak * schedule` is an optax schedule as it is, inside jit too.

    python examples/optax_loop.py [updates]

`inject_hyperparams` keeps the LR that each update used in the optimizer's state, for the log.
"""

import sys

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import lehr

updates = int(sys.argv[1]) if len(sys.argv) > 1 else 200


class Surface(nnx.Module):
    def __init__(self, rngs):
        self.inner, self.outer = nnx.Linear(2, 64, rngs=rngs), nnx.Linear(64, 1, rngs=rngs)

    def __call__(self, x):
        return self.outer(jnp.tanh(self.inner(x)))


@nnx.jit
def train_step(model, optimizer, inputs, targets):
    loss, gradients = nnx.value_and_grad(lambda m: jnp.mean((m(inputs) - targets) ** 2))(model)
    optimizer.update(model, gradients)
    return loss, optax.global_norm(gradients)


peak, schedule = 3e-2, lehr.parse("linear 5% to 1, cosine rest to 0", total=updates)
model = Surface(nnx.Rngs(0))
optimizer = nnx.Optimizer(
    model,
    optax.chain(optax.clip_by_global_norm(1.0), optax.inject_hyperparams(optax.adamw)(learning_rate=peak * schedule)),
    wrt=nnx.Param,
)
x = jax.random.uniform(jax.random.key(0), (1024, 2), minval=-3, maxval=3)
y = jnp.sin(x[:, :1]) * jnp.cos(x[:, 1:])

worst = 0.0
for step in range(updates):
    rows = slice(step % 16 * 64, (step % 16 + 1) * 64)
    loss, norm = train_step(model, optimizer, x[rows], y[rows])
    used = float(optimizer.opt_state[1].hyperparams["learning_rate"][...])  # what this update used
    worst = max(worst, abs(used - peak * schedule(step)) / peak)
    if step % (updates // 10) == 0 or step == updates - 1:
        print(f"update {step:3}  lr {used:.3e}  {schedule.phase(step):6}  loss {loss:.4f}  norm {norm:.3f}")
print(f"LR of the jitted loop and of Python: at most {worst:.1e} of the peak apart")
