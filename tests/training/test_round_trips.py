"""What works on a network works on the same one saved and loaded, as ours or Keras's, or cloned, with the same numbers.

Keras makes lists of tuples in a saved model's config, so that what is read from the graph of a model differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import keras
import numpy as np
import onnxruntime
import pytest

import throughtime as tt
from throughtime.data.sequences import SequenceData
from throughtime.errors import ThroughtimeError
from throughtime.gradients.flow import gradient_flow
from throughtime.ragged import Ragged
from throughtime.stream.lines import RunStream
from throughtime.training.baselines import Baselines
from throughtime.training.checking import check_examples
from throughtime.training.networks import feeds_of
from throughtime.training.run import NETWORK_NAMES, Run
from throughtime.training.train import _compile

pytestmark = pytest.mark.backend
# The same weights on the same framework: the native kernel and Keras's loop add up in another order.
SAME = {"rtol": 1e-4, "atol": 1e-5}


def run_of(data: SequenceData, **settings: Any) -> Run:
    preparation, examples = cases.prepared(data)
    model = cases.network(preparation, examples, **settings)
    feeds, pad_value, _ = feeds_of(model, examples)
    return Run(
        model=model, preparation=preparation, baselines=Baselines.fit(preparation, data, examples),
        history=[{"loss": 1.0}],
        best_epoch=1, settings={"cell": "lstm"}, feeds=feeds, pad_value=pad_value,
    )  # fmt: skip


def variants(run: Run, folder: Path, *, stock: bool) -> dict[str, Run]:
    """The same run after each way in which a model is written and read."""
    loaded = Run.load(run.save(folder / "run"))
    file = folder / "run" / "model.keras"
    clone = keras.models.clone_model(run.model)
    clone.set_weights(run.model.get_weights())
    found = {"loaded": loaded, "clone": replace(run, model=clone)}
    found["load_model"] = replace(run, model=keras.saving.load_model(file, compile=False))
    if stock:
        # What a process without throughtime loads: the file says of each layer that it is Keras's.
        found["keras"] = replace(run, model=tt.to_keras(keras.saving.load_model(file, compile=False)))
        assert not any(type(one) in (tt.LSTM, tt.GRU, tt.SimpleRNN) for one in found["keras"].model._flatten_layers())
    return found


def predicted(run: Run, data: SequenceData, folder: Path) -> Any:
    if data.forecast is not None:  # the last steps lie ahead, as what is known of them has to be there
        assert data.target is not None
        values = data.target.values.copy()
        for end in data.offsets[1:]:
            values[end - data.forecast.horizon : end] = np.nan
        data = replace(data, target=replace(data.target, values=values))
    made = run.predict(data)
    return [raw(made.values).tolist() if run.preparation.classes else raw(made.values), raw(made.probabilities)]


def evaluated(run: Run, data: SequenceData, folder: Path) -> Any:
    return np.array(list(run.evaluate(data, part="test").scores[run.name].values()), float)


def exported(run: Run, data: SequenceData, folder: Path) -> Any:
    path = run.export(folder / "model.onnx", overwrite=True)
    session, rng = onnxruntime.InferenceSession(path), np.random.default_rng(3)
    sizes = {"batch": 2, "time": 6, None: 2}
    given = {}
    for one in session.get_inputs():
        shape = [size if isinstance(size, int) else sizes[size] for size in one.shape]
        if one.name == "lengths":
            given[one.name] = np.array([6, 4], np.int32)
        elif "string" in one.type:
            given[one.name] = rng.choice(["a", "b", "north", "x"], shape).astype(object)
        else:
            given[one.name] = rng.normal(size=shape)
    (found,) = session.run(None, given)
    return found[:, :4] if run.preparation.per == "step" and run.preparation.forecast is None else found


def streamed(run: Run, data: SequenceData, folder: Path) -> Any:
    stream, names, schema = RunStream(run), data.schema.numbers, data.schema
    found = []
    for row in range(8):
        given = dict(zip(names, data.numbers[row].tolist(), strict=True))
        given |= {name: data.levels[k][data.categories[row, k]] for k, name in enumerate(schema.categories)}
        if data.forecast is not None:
            assert data.target is not None
            given |= dict(zip(schema.target, data.target.values[row].tolist(), strict=True))
        table = stream.push(given)
        if table is not None:
            found += [value for one in table.to_pylist() for value in one.values() if isinstance(value, float)]
    return np.array(found)


def stepped(run: Run, data: SequenceData, folder: Path) -> Any:
    """Of ``Stream``, on the model's own inputs."""
    stream, examples = tt.Stream(run.model), run.preparation.apply(data)
    found = []
    for row in range(6):
        given = {"numbers": examples.numbers[row], "codes": examples.codes[row], "mask": np.array(True)}
        found.append(stream.push({name: given[name] for name in run.feeds}))
    return np.array(found)


def arrays(run: Run, data: SequenceData) -> tuple[dict[str, np.ndarray], np.ndarray]:
    batches = tt.Batches(run.preparation.apply(data), batch_size=4, shuffle=False, feeds=run.feeds)
    x, y, *_ = batches[0]
    return x, y


def flowed(run: Run, data: SequenceData, folder: Path) -> Any:
    x, y = arrays(run, data)
    flow = gradient_flow(run.model, x, y, loss="sparse_categorical_crossentropy" if run.preparation.classes else "mse")
    return [one.norms for one in flow.values()]


def checked(run: Run, data: SequenceData, folder: Path) -> Any:
    examples = run.preparation.apply(data)
    _compile(run.model, len(run.preparation.classes) or None, {"learning_rate": 1e-3, "clipnorm": None})
    found = check_examples(
        run.model, examples, None, run.preparation, feeds=run.feeds, pad_value=0.0, batch_size=8, train=False,
        seconds=60.0,
    )  # fmt: skip
    return sorted(one.code for one in found), sorted(found.looked_at)


def accelerated(run: Run, data: SequenceData, folder: Path) -> Any:
    tt.accelerate(run.model)
    return [*predicted(run, data, folder), [said.path for said in tt.explain(run.model)]]


def by_keras(run: Run, data: SequenceData, folder: Path) -> Any:
    tt.to_keras(run.model)
    return predicted(run, data, folder)


# In this order, since the last ones change the model's layers.
ABILITIES: tuple[Callable[..., Any], ...] = (
    predicted, evaluated, exported, streamed, stepped, flowed, checked, accelerated, by_keras,
)  # fmt: skip


QUICK = (predicted, exported, streamed, stepped, by_keras)


def everything(run: Run, data: SequenceData, folder: Path, abilities: tuple[Callable[..., Any], ...]) -> dict[str, Any]:
    """What each ability gives, or the line in which it is refused."""
    found: dict[str, Any] = {}
    for ability in abilities:
        try:
            found[ability.__name__] = ability(run, data, folder)
        except ThroughtimeError as error:
            found[ability.__name__] = str(error)
    return found


def raw(values: Any) -> Any:
    return values.values if isinstance(values, Ragged) else values


def equal(found: Any, expected: Any, where: str) -> None:
    assert type(found) is type(expected), f"{where}: {found} in place of {expected}"
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for one, other in zip(found, expected, strict=True):
            equal(one, other, where)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_allclose(found, expected, **SAME, err_msg=where)
    else:
        assert found == expected, where


def check_all(
    task: str,
    folder: Path,
    abilities: tuple[Callable[..., Any], ...] = ABILITIES,
    *,
    targets: int = 2,
    known: tuple[str, ...] = (),
    **settings: Any,
) -> None:
    if task == "forecast":
        data = cases.series((14, 17), known=known, targets=targets)
    else:
        lengths = (5, 1, 9, 4, 5, 12, 1, 3)  # no empty sequence, which no table has
        data = cases.with_categories(cases.sequences(task, lengths, targets=targets))
    run = run_of(data, **settings)
    stock = settings["cell"] in ("lstm", "gru", "rnn")
    others = variants(run, folder, stock=stock)
    expected = everything(run, data, folder, abilities)
    forward = task in ("steps", "forecast") or settings.get("causal", False)
    assert isinstance(expected["streamed"], str) is (not forward or bool(known)), expected["streamed"]
    assert isinstance(expected["exported"], str) is not stock, expected["exported"]
    refused = {name for name, one in expected.items() if isinstance(one, str)}
    assert refused <= {"exported", "streamed", "stepped"}, expected
    for name, one in others.items():
        found = everything(one, data, folder, abilities)
        for ability, wanted in expected.items():
            equal(found[ability], wanted, f"{ability} of {name}")


SOME: dict[str, dict[str, Any]] = {
    "forecast": {"cell": "lstm", "known": ("price", "day"), "targets": 1},
    "classify": {"cell": "gru", "causal": True},
    "steps": {"cell": "mingru"},
}
ALL = {
    f"{task}-{cell}-{depth}-{extra}-{targets}": (task, {"cell": cell, "depth": depth, "targets": targets, **more})
    for task in cases.TASKS
    for cell in NETWORK_NAMES
    for depth in (1, 2)
    for targets in ((1, 2) if task in ("regress", "steps", "forecast") else (1,))
    for extra, more in {
        "plain": {},
        "causal": {"causal": True},
        **({"known": {"known": ("price", "day")}} if task == "forecast" else {}),
    }.items()
}


@pytest.mark.parametrize("task", SOME)
def test_a_model_saved_and_loaded_does_all_that_it_did(task: str, tmp_path: Path) -> None:
    check_all(task, tmp_path, QUICK, **SOME[task])


@pytest.mark.thorough
@pytest.mark.parametrize("name", ALL)
def test_every_model_saved_and_loaded_does_all_that_it_did(name: str, tmp_path: Path) -> None:
    task, settings = ALL[name]
    check_all(task, tmp_path, **settings)
