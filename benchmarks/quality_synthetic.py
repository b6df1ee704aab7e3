"""The synthetic tasks of benchmarks/quality.py: the adding problem and copy memory of Bai, Kolter and Koltun 2018."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

import throughtime as tt

BATCH = 32
LEARNED = 0.1  # of the loss of guessing, from which on the length grows
Arrays = tuple[np.ndarray, np.ndarray]


def adding(count: int, steps: int, rng: np.random.Generator) -> Arrays:
    """Numbers in [0, 1) and two marks, one in each half; the target is the sum of the marked numbers."""
    x = np.zeros((count, steps, 2), np.float32)
    x[:, :, 0] = rng.random((count, steps))
    every = np.arange(count)
    marked = rng.integers(0, steps // 2, count), rng.integers(steps // 2, steps, count)
    for place in marked:
        x[every, place, 1] = 1
    return x, (x[every, marked[0], 0] + x[every, marked[1], 0])[:, None]


def copying(count: int, steps: int, rng: np.random.Generator) -> Arrays:
    """Ten digits of 1 to 8, blanks, eleven delimiters; the target is blank and, at the end, the digits."""
    x, y = np.zeros((count, steps + 20), np.int32), np.zeros((count, steps + 20, 1), np.int32)
    x[:, :10] = rng.integers(1, 9, (count, 10))
    x[:, steps + 9 :] = 9
    y[:, -10:, 0] = x[:, :10]
    return np.eye(10, dtype=np.float32)[x], y


@dataclass(frozen=True)
class Task:
    """A cell on a task.

    Args:
        published: its loss in Bai, Kolter and Koltun 2018.
        constant: the loss of the best prediction that does not look at the sequence.
        budget: of the comparison, training steps; for copy seconds.
        falling: the rate of what repair made falls to 0 along a cosine, epoch by epoch. At one that stays, the loss of
            a GRU that has learned to add is some 1e-4, by the noise of its last steps.
    """

    data: Callable[[int, int, np.random.Generator], Arrays]
    cell: str
    units: int
    length: int
    published: float | None
    constant: float
    budget: int
    falling: bool = False

    def model(self, bias: float | None = None, rate: float = 1e-3) -> keras.Model:
        """Keras's defaults, compiled; with chrono biases (Tallec and Ollivier 2018) for ``bias`` steps if asked for."""
        layer = getattr(keras.layers, self.cell)
        if self.data is adding:
            model = keras.Sequential([keras.Input((None, 2)), layer(self.units, name="cell"), keras.layers.Dense(1)])
            model.compile("adam", "mse")
            return model
        output = keras.layers.Dense(10, activation="softmax")
        model = keras.Sequential(
            [keras.Input((None, 10)), layer(self.units, return_sequences=True, name="cell"), output]
        )
        if bias is not None:
            cell = model.layers[0].cell
            long = np.log(np.random.default_rng(0).uniform(1, bias - 1, self.units))
            values = np.zeros(cell.bias.shape)
            if self.cell == "LSTM":
                values[: 2 * self.units] = np.concatenate([-long, long])
            else:
                values[0, : self.units] = long  # a GRU's update gate is the share that is kept
            cell.bias.assign(values)
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
        return model


TASKS = {
    "adding-lstm-600": Task(adding, "LSTM", 130, 600, 0.164, 1 / 6, 3000),
    "adding-gru-600": Task(adding, "GRU", 150, 600, 5.3e-5, 1 / 6, 6000, falling=True),
    "adding-rnn-600": Task(adding, "SimpleRNN", 262, 600, 0.177, 1 / 6, 3000),
    "adding-rnn-200": Task(adding, "SimpleRNN", 262, 200, None, 1 / 6, 6000),
    "copy-lstm-1000": Task(copying, "LSTM", 126, 1000, 0.0204, 10 * np.log(8) / 1020, 300),
    "copy-gru-1000": Task(copying, "GRU", 145, 1000, 0.0197, 10 * np.log(8) / 1020, 300),
    "copy-rnn-1000": Task(copying, "SimpleRNN", 254, 1000, 0.0202, 10 * np.log(8) / 1020, 300),
}
# What a SimpleRNN, which has no gates whose biases could be set, becomes, as where repair may change the cell.
INSTEAD = {"copy-rnn-1000": "copy-gru-1000"}


class Fresh(keras.utils.PyDataset):
    """Batches that are drawn anew each time, 100 an epoch."""

    def __init__(self, task: Task, length: int, seed: int) -> None:
        super().__init__()
        self.task, self.length, self.rng = task, length, np.random.default_rng(seed)

    def __len__(self) -> int:
        return 100

    def __getitem__(self, place: int) -> Arrays:
        return self.task.data(BATCH, self.length, self.rng)


def score(model: keras.Model, task: Task) -> float:
    """The loss on 1,000 sequences of another seed."""
    x, y = task.data(1000, task.length, np.random.default_rng(10_000))
    return float(model.evaluate(x, y, batch_size=100, verbose=0, return_dict=True)["loss"])


# Adding -------------------------------------------------------------------------------------------------------------


def repaired(task: Task, code: str) -> tuple[keras.Model, list[Any]]:
    """What repair's code makes of the task's model, fresh; with the guard that it names."""
    made: dict[str, Any] = {"model": task.model()}
    exec(code, made)
    return made["model"], [made["guard"]] if "guard" in made else []


def along_a_cosine(model: keras.Model, epochs: int) -> keras.callbacks.Callback:
    first = float(model.optimizer.learning_rate)
    return keras.callbacks.LearningRateScheduler(lambda epoch, _: first * (1 + np.cos(np.pi * epoch / epochs)) / 2)


def repairing(name: str, given: Any) -> dict[str, Any]:
    """Check, repair, and both models after equally many steps."""
    task = TASKS[name]
    budget = given.steps or task.budget
    keras.utils.set_random_seed(0)
    model = task.model()
    x, y = task.data(2000, task.length, np.random.default_rng(0))
    began = time.perf_counter()
    diagnosis = tt.check(model, x, y, seconds=300)
    row: dict[str, Any] = {"parameters": model.count_params(), "budget": f"{budget:,} steps",
                           "check": time.perf_counter() - began, "found": [one.code for one in diagnosis]}  # fmt: skip
    print(f"{diagnosis}\n")
    found = tt.repair(model, diagnosis, x, y, seconds=given.seconds, allow_cell_change=task.cell == "SimpleRNN")
    falls = ["a rate that falls"] if task.falling else []
    row |= {"repair": found.seconds, "helped": found.helped,
            "changed": ", ".join([*(one.name for one in found.changes), *falls]) or "nothing"}  # fmt: skip
    print(f"{found}\n({found.seconds:.0f} s)\n")
    row |= {"default": [], "ours": []}
    for seed in range(given.seeds):
        for kind in ("default", "ours") if found.code else ("default",):
            keras.utils.set_random_seed(seed)
            began = time.perf_counter()
            fresh, callbacks = (task.model(), []) if kind == "default" else repaired(task, found.code)
            tt.accelerate(fresh)
            epochs = max(1, budget // 100)
            if kind == "ours" and task.falling:
                callbacks.append(along_a_cosine(fresh, epochs))
            fresh.fit(Fresh(task, task.length, seed), epochs=epochs, verbose=0, callbacks=callbacks)
            row[kind].append(score(fresh, task))
            print(f"{name} seed {seed} {kind:8} loss after {budget:,} steps {row[kind][-1]:.6f} "
                f"({time.perf_counter() - began:.0f} s)")  # fmt: skip
    return row


# Copy ---------------------------------------------------------------------------------------------------------------


def growing(task: Task, model: keras.Model, *, start: int, guard: bool, seconds: float, seed: int) -> tuple[int, int]:
    """Trains for so many seconds over ``start`` blanks, then over ever more; the steps taken, and the last length."""
    tt.accelerate(model)
    callbacks = [tt.Guard()] if guard else []
    length, steps, ends = start, 0, time.perf_counter() + seconds
    while time.perf_counter() < ends:
        losses = model.fit(Fresh(task, length, seed + steps), verbose=0, callbacks=callbacks).history["loss"]
        steps += 100
        if losses[-1] < LEARNED * 10 * np.log(8) / (length + 20):
            length = min(2 * length, task.length)
    return steps, length


def copied(name: str, given: Any) -> dict[str, Any]:
    """Four ways to train, for as many seconds each."""
    task = TASKS[name]
    other = TASKS[INSTEAD.get(name, name)]
    ways: dict[str, dict[str, Any]] = {
        "default": {"made": task.model, "start": task.length, "guard": False},
        "growing, Guard, rate": {"made": partial(task.model, None, 3e-3), "start": 10, "guard": True},
        "biases, Guard, rate": {"made": partial(other.model, task.length, 3e-3), "start": task.length, "guard": True},
        "ours": {"made": partial(other.model, task.length, 3e-3), "start": 10, "guard": True},
    }
    cell = f"{other.cell}, " if other is not task else ""
    row: dict[str, Any] = {"parameters": task.model().count_params(), "budget": f"{task.budget} seconds",
                           "changed": f"{cell}chrono biases, Guard, rate, growing length"}  # fmt: skip
    row |= {way: [] for way in ways}
    for seed in range(given.seeds):
        for way, how in ways.items():
            keras.utils.set_random_seed(seed)
            model = how["made"]()
            taken, length = growing(task, model, start=how["start"], guard=how["guard"], seconds=task.budget,
                                    seed=1000 * seed)  # fmt: skip
            row[way].append(score(model, task))
            print(f"{name} seed {seed} {way:20} loss after {task.budget} s, {taken:,} steps up to {length} blanks: "
                f"{row[way][-1]:.6f}")  # fmt: skip
    return row


def measure(name: str, given: Any) -> dict[str, Any]:
    """A row of the table of one task."""
    task = TASKS[name]
    shown = f"loss of the best constant {task.constant:.4f}, published {task.published or '-'}"
    print(f"\n== {name}: {task.model().count_params():,} parameters, {task.length:,} steps; {shown}")
    row = (copied if task.data is copying else repairing)(name, given)
    return row | {"published": task.published, "measure": f"loss; a constant has {task.constant:.4f}"}
