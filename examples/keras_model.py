"""A schedule in Keras 3, saved and loaded with the model half-way.

    python examples/keras_model.py [epochs]

It runs on JAX; KERAS_BACKEND=torch takes torch.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

from lehr.integrations.keras import LehrSchedule

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
keras.utils.set_random_seed(0)
x = np.random.uniform(-3, 3, (1024, 2)).astype("float32")
y = np.sin(x[:, :1]) * np.cos(x[:, 1:])
batches = len(x) // 64


class Log(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        self.step, self.lr = int(self.model.optimizer.iterations), float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch, logs=None):
        print(f"update {self.step:3}  lr {self.lr:.3e}  {schedule.phase(self.step):6}  loss {logs['loss']:.4f}")


lr = LehrSchedule(3e-2, "linear 10% to 1, cosine rest to 0", total=epochs * batches)
schedule = lr.schedule
layers = [keras.layers.Input((2,)), keras.layers.Dense(64, activation="tanh"), keras.layers.Dense(1)]
model = keras.Sequential(layers)
model.compile(optimizer=keras.optimizers.AdamW(lr), loss="mse")
model.fit(x, y, batch_size=64, epochs=epochs // 2, verbose=0, callbacks=[Log()])

with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder) / "half.keras")
    model = keras.saving.load_model(Path(folder) / "half.keras")  # with its optimizer, and so with the schedule
model.fit(x, y, batch_size=64, epochs=epochs - epochs // 2, verbose=0, callbacks=[Log()])
print(model.optimizer._learning_rate.schedule)
