"""One Keras process, printing JSON: `whole` trains 5 epochs; `first` 3 and saves; `rest` loads that and trains 2."""

import json
import sys


def message(make):
    try:
        make()
    except (TypeError, ValueError) as error:
        return str(error)


def main(word):
    import keras  # here, for whoever imports this file has not chosen a backend
    import numpy as np

    from lehr.integrations.keras import LehrSchedule

    if word == "errors":
        told = {"total": message(lambda: LehrSchedule(1, "hold 50%")), "kind": message(lambda: LehrSchedule(1, 3))}
        keras.backend.backend = lambda: "tensorflow"  # not installed for the sake of one message
        return told | {"backend": message(lambda: LehrSchedule(1, "hold 5"))}

    used = []

    class Used(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            used.append((int(self.model.optimizer.iterations), float(self.model.optimizer.learning_rate)))

    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).random((64, 4), dtype="float32")
    y = x.sum(1, keepdims=True)
    if word == "rest":
        model = keras.saving.load_model("model.keras")
    else:
        layers = [keras.layers.Input((4,)), keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        lr = LehrSchedule(0.03, "linear 20% to 1, cosine rest to 0.1", total=40)
        model.compile(optimizer=keras.optimizers.AdamW(lr), loss="mse")
    epochs = {"whole": 5, "first": 3, "rest": 2}[word]
    model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=[Used()])
    if word == "first":
        model.save("model.keras")
    lr = model.optimizer._learning_rate
    told = {"used": used, "loss": float(model.evaluate(x, y, verbose=0)), "config": lr.get_config()}
    told |= {"registered": keras.saving.get_registered_name(type(lr))}
    return told | {"text": str(LehrSchedule.from_config(lr.get_config()).schedule)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
