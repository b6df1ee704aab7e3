"""What a step costs: ``Stream.push`` beside Keras and PyTorch, one stream of an LSTM and a Dense layer; equal first.

    python benchmarks/stream.py [--units 128] [--features 16] [--steps 200] [--seconds 2] [--backend jax]

The peers are what people do today: ``model.predict`` of one step with a stateful LSTM, a call of the same model, and
PyTorch's nn.LSTM with its state passed on, without gradients and on one thread. All have the same weights. First their
answers to each step are compared with the model's answer to the whole sequence. Then they are timed in turn, in rounds,
a step at a time. Medians in microseconds over all steps timed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--units", type=int, default=128)
parser.add_argument("--features", type=int, default=16)
parser.add_argument(
    "--steps", type=int, default=200, help="of the sequence that is compared and pushed again and again"
)
parser.add_argument("--seconds", type=float, default=2.0, help="for each of them")
parser.add_argument("--backend", choices=("jax", "torch", "tensorflow"), default="jax", help="of Keras")
given = parser.parse_args()
os.environ["KERAS_BACKEND"] = given.backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if given.backend != "tensorflow":
    sys.modules["tensorflow"] = None  # type: ignore[assignment]

import keras  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

import throughtime as tt  # noqa: E402
from machine import machine_line  # noqa: E402

TOLERANCE = 1e-5
ROUNDS = 5


def network(*, stateful: bool) -> keras.Model:
    inputs = keras.Input(batch_shape=(1, 1 if stateful else None, given.features))
    hidden = keras.layers.LSTM(given.units, return_sequences=True, stateful=stateful)(inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(hidden))


def ours(*, stateful: bool) -> keras.Model:
    """The same with tt.LSTM, which carries its state in predict on every backend; Keras's own does not on JAX."""
    return tt.accelerate(network(stateful=stateful))


class Torch:
    """nn.LSTM and nn.Linear with the weights of the model."""

    def __init__(self, weights: list[np.ndarray]) -> None:
        kernel, recurrent_kernel, bias, dense, dense_bias = (torch.from_numpy(weight.T.copy()) for weight in weights)
        self.lstm, self.linear = torch.nn.LSTM(given.features, given.units), torch.nn.Linear(given.units, 1)
        with torch.no_grad():  # both have the gates i, f, g, o
            self.lstm.weight_ih_l0.copy_(kernel)
            self.lstm.weight_hh_l0.copy_(recurrent_kernel)
            self.lstm.bias_ih_l0.copy_(bias)
            self.lstm.bias_hh_l0.zero_()
            self.linear.weight.copy_(dense)
            self.linear.bias.copy_(dense_bias)
        self.state: Any = None

    def push(self, step: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            hidden, self.state = self.lstm(torch.from_numpy(step)[None, None], self.state)
            return self.linear(hidden).numpy()


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    model = network(stateful=False)
    weights = [rng.normal(0, 0.1, weight.shape).astype(np.float32) for weight in model.get_weights()]
    model.set_weights(weights)
    x = rng.normal(size=(given.steps, given.features)).astype(np.float32)
    whole = model.predict(x[None], verbose=0)[0]

    carried = [ours(stateful=True), ours(stateful=True)]
    for one in carried:
        one.set_weights(weights)
    peer = Torch(weights)
    stream = tt.Stream(model)
    ways: dict[str, Callable[[np.ndarray], Any]] = {
        "Stream.push": stream.push,
        "nn.LSTM + nn.Linear, a step": peer.push,
        f"model(x), stateful, a step ({given.backend})": lambda step: keras.ops.convert_to_numpy(
            carried[0](step[None, None], training=False)
        ),
        f"model.predict, stateful, a step ({given.backend})": lambda step: carried[1].predict(
            step[None, None], verbose=0
        ),
    }
    for name, way in ways.items():
        answers = np.stack([np.reshape(way(step), -1) for step in x])
        difference = float(np.abs(answers - whole).max())
        if not difference <= TOLERANCE:
            sys.exit(f"{name} differs from model.predict of the whole sequence by {difference:.3g}")
        print(f"equal to the whole sequence within {difference:.1e}: {name}")

    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            end = time.perf_counter() + given.seconds / ROUNDS
            place = 0
            while (start := time.perf_counter()) < end:
                way(x[place % given.steps])
                times[name].append(time.perf_counter() - start)
                place += 1
    print(f"{machine_line()}, torch {torch.__version__}; load", *(f"{load:.2f}" for load in os.getloadavg()))
    print(f"one stream, LSTM({given.units}) on {given.features} features, Dense(1); microseconds a step")
    least = statistics.median(times["Stream.push"])
    for name, found in times.items():
        middle = statistics.median(found)
        late = float(np.quantile(found, 0.99))
        print(
            f"{name:44} median {middle * 1e6:9.1f}  p99 {late * 1e6:9.1f}  {middle / least:7.1f} times  n {len(found)}"
        )


if __name__ == "__main__":
    main()
