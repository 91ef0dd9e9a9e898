"""Schedules for Keras 3, on the JAX and torch backends: a LearningRateSchedule that is saved with the model.

optimizer = keras.optimizers.AdamW(LehrSchedule(3e-4, "linear 200 to 1, cosine 9800 to 0.1"))
model.compile(optimizer=optimizer, ...)
...
model = keras.saving.load_model("model.keras")    # with lehr.integrations.keras imported before
"""

from typing import Any

import keras

from lehr.clock import Clock
from lehr.schedule import Schedule
from lehr.spec import parse

__all__ = ["LehrSchedule"]

BACKENDS = ("jax", "torch", "numpy")  # the arrays that a schedule takes


@keras.saving.register_keras_serializable(package="lehr")
class LehrSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """`peak * schedule(step)` as Keras's optimizers ask for it; `step` is the optimizer's `iterations`.

    `schedule` is a Schedule or its text; one with `%` or `rest` needs `total`, the run's updates: epochs times batches
    an epoch. Its configuration is plain data: the peak and the schedule's canonical text. Keras computes in float32,
    and the LR is that of Python to within its precision.

    Raises ValueError for a text that is none, and under the TensorFlow backend, whose arrays a schedule does not take.
    """

    def __init__(
        self, peak: float, schedule: Schedule | str, total: int | None = None, name: str = "LehrSchedule"
    ) -> None:
        super().__init__()
        if keras.backend.backend() not in BACKENDS:
            raise ValueError(
                f"LehrSchedule takes the arrays of JAX and torch, not of {keras.backend.backend()!r}; "
                "set KERAS_BACKEND=jax or KERAS_BACKEND=torch before keras is imported"
            )
        if not 0 <= peak < float("inf"):
            raise ValueError(f"peak is the greatest learning rate, a finite number >= 0, not {peak!r}")
        self.peak, self.name = float(peak), name
        if isinstance(schedule, str):
            schedule = parse(schedule, Clock(total_steps=total))
        if not isinstance(schedule, Schedule):
            raise TypeError(f"schedule is a lehr Schedule or its text, not {schedule!r}")
        self.schedule = schedule

    def __call__(self, step: Any) -> Any:
        """The LR of update `step`: a float32 array of the backend; a Python number for a Python number."""
        if isinstance(step, (int, float)):
            return self.peak * self.schedule(step)
        return self.peak * keras.ops.cast(self.schedule(keras.ops.convert_to_tensor(step)), "float32")

    def get_config(self) -> dict[str, Any]:
        """Plain data that `from_config` takes."""
        return {"peak": self.peak, "schedule": str(self.schedule), "name": self.name}
