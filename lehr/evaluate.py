"""A schedule's rows evaluated on arrays: NumPy, torch and JAX. (Python numbers: `Schedule.__call__`.)

The library is found in `sys.modules` by the type of the array that came in, never imported: whoever holds a torch
tensor has torch. A step's row is the newest that has begun (`schedule.Row`); whole-number clocks subtract the row's
origin in their own integers before they turn to floats.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lehr.shapes import Curve

BLOCK = 32_768  # steps a NumPy pass: its temporaries stay in a core's cache


class Row(NamedTuple):
    """A ramp prepared for look-up by step: `u = (step - origin) / span`."""

    origin: float  # the step at which u is 0: begin, or begin - 1 when the end of an update's span is sampled
    span: float  # the duration, 1 for a jump
    a: float  # value at u = 0 (a jump: its end value)
    b: float  # value from u = 1 on
    low: float
    high: float
    g: Curve  # the curve on Python floats
    make: Callable[[Any], Curve]  # the same curve for the module of another array


def on_array(rows: Sequence[Row], before: float, closed: bool, step: Any) -> Any:
    """Evaluate `rows` (oldest first) on the array `step`.

    `before`: the value where none has begun; `closed`: a ramp is in charge at its own begin already.
    """
    library = type(step).__module__.partition(".")[0]
    if library == "numpy":
        return _on_numpy(rows, before, closed, step, sys.modules["numpy"])
    if library == "torch":
        return _on_torch(rows, before, closed, step, sys.modules["torch"])
    if library in ("jax", "jaxlib"):
        return _on_jax(rows, before, closed, step, sys.modules["jax.numpy"])
    raise TypeError(
        f"a schedule takes a number or a NumPy, torch or JAX array of steps, not {type(step).__name__}; "
        "write schedule(np.asarray(steps))"
    )


def _bad_dtype(step: Any) -> TypeError:
    return TypeError(f"steps are whole or floating-point numbers, not {step.dtype}")


def _on_numpy(rows: Sequence[Row], before: float, closed: bool, step: Any, np: Any) -> Any:
    steps = np.asarray(step)
    if steps.dtype.kind not in "iuf":
        raise _bad_dtype(steps)
    out = np.empty(steps.shape)
    flat, result = steps.reshape(-1), out.reshape(-1)
    with np.errstate(all="ignore"):  # a row is also evaluated where another is in charge
        for start in range(0, flat.size, BLOCK):
            block = flat[start : start + BLOCK]
            if block.dtype.kind == "u" and block.dtype.itemsize == 8:
                block = np.minimum(block, 2**63 - 1)  # past every end, and no negative number once it is signed
            block = block.astype(np.float64 if block.dtype.kind == "f" else np.int64, copy=False)
            least, most = block.min().item(), block.max().item()
            if not least >= 0:
                raise ValueError(f"a step is a number >= 0, not {least}")
            result[start : start + BLOCK] = _numpy_block(rows, before, closed, block, least, most, np)
    return out[()] if out.ndim == 0 else out


def _numpy_block(
    rows: Sequence[Row], before: float, closed: bool, steps: Any, least: float, most: float, np: Any
) -> Any:
    """Evaluate only the rows in charge somewhere between the least and the greatest step of the block."""
    # rows begin in order
    last = sum(row.origin < most or (closed and row.origin == most) for row in rows)
    first = sum(row.origin < least or (closed and row.origin == least) for row in rows)
    value: Any = before
    for row in rows[max(first - 1, 0) : last]:
        u = (steps - row.origin) / row.span
        over = (most - row.origin) / row.span >= 1
        under = (least - row.origin) / row.span <= 0
        # the ends are put in below; there the curve is asked at a harmless point instead
        inside = np.where((u > 0) & (u < 1), u, 0.5) if over or under else u
        curve = row.make(np)(inside)
        curve = np.minimum(np.maximum(curve, row.low), row.high)
        if over:
            curve = np.where(u >= 1, row.b, curve)
        if under:
            curve = np.where(u <= 0, row.a, curve)
            curve = np.where(steps < row.origin if closed else steps <= row.origin, value, curve)
        value = curve
    return value


def _on_torch(rows: Sequence[Row], before: float, closed: bool, step: Any, torch: Any) -> Any:
    # MPS has no float64; everywhere else the sum is done in it, whatever the clock's own dtype
    wide = torch.float32 if step.device.type == "mps" else torch.float64
    if step.dtype == torch.bool or step.is_complex():
        raise _bad_dtype(step)
    if step.is_floating_point():
        clock, dtype, most = step.to(wide), step.dtype, None
    else:
        clock, dtype, most = step.to(torch.int64), torch.get_default_dtype(), 2**63
    return _where_chain(rows, before, closed, clock, lambda x: x.to(wide), most, torch).to(dtype)


def _on_jax(rows: Sequence[Row], before: float, closed: bool, step: Any, jnp: Any) -> Any:
    wide = jnp.result_type(float)  # float64 where jax_enable_x64 is on, else float32
    if jnp.issubdtype(step.dtype, jnp.floating):
        clock, dtype, most = step.astype(wide), step.dtype, None
    elif not jnp.issubdtype(step.dtype, jnp.integer):
        raise _bad_dtype(step)
    else:
        clock = step.astype(jnp.result_type(int))  # signed, or a step before a ramp would count as long past it
        dtype, most = wide, jnp.iinfo(clock.dtype).max
    return _where_chain(rows, before, closed, clock, lambda x: x.astype(wide), most, jnp).astype(dtype)


def _where_chain(
    rows: Sequence[Row], before: float, closed: bool, clock: Any, cast: Curve, most: int | None, m: Any
) -> Any:
    """One `where` a row, oldest first: no branch on a value, so it compiles and never waits for the device.

    `most`: the greatest whole number the clock can hold, None for a clock of floats.
    """
    zero = m.zeros_like(cast(clock))
    value = zero + before
    for row in rows:
        if most is not None and row.origin > most:
            break  # beyond what this clock's integers can count
        # float(): a whole number beyond 2**31 is no scalar to JAX's 32-bit arrays
        whole = most is not None and isinstance(row.origin, int)
        since = cast(clock - row.origin) if whole else cast(clock) - float(row.origin)
        u = since / float(row.span)
        # XLA divides by a number as it multiplies by its inverse: at the end itself u may miss 1
        over = (u >= 1) | (since >= float(row.span))
        # the ends are put in by `where`, so that the curve may be asked at a harmless point instead
        curve = row.make(m)(m.where((u <= 0) | over, zero + 0.5, u))
        curve = m.clip(curve, row.low, row.high)
        curve = m.where(over, zero + row.b, m.where(u <= 0, zero + row.a, curve))
        value = m.where(u < 0 if closed else u <= 0, value, curve)  # asked this way, NaN stays NaN
    return value
