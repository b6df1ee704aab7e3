"""Whether check says of a loss and its targets what fit does: the oracle is fit itself, on a twin."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import throughtime as tt
from throughtime.diagnosis.loss_rules import RULES

pytestmark = pytest.mark.backend
RNG = np.random.default_rng(6)
COUNT, STEPS = 40, 6
X = RNG.normal(size=(COUNT, STEPS, 2)).astype("float32")
CODES = {rule.__name__.replace("_", "-") for rule in RULES}
SPARSE, ONE_HOT = "sparse_categorical_crossentropy", "categorical_crossentropy"
LABELS = RNG.integers(0, 3, COUNT)
TAGS = RNG.integers(0, 3, (COUNT, STEPS))
AMOUNTS = RNG.normal(size=(COUNT, 4)).astype("float32")
IGNORED = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)

# Units and activation of the output, whether it is one at each step, the loss, targets, and arguments of fit.
Given = tuple[int, str | None, bool, Any, np.ndarray, dict[str, Any]]
RIGHT: dict[str, Given] = {
    "labels": (3, "softmax", False, SPARSE, LABELS, {}),
    "labels as floats": (3, "softmax", False, SPARSE, LABELS.astype("float32"), {}),
    "labels as a column": (3, "softmax", False, SPARSE, LABELS[:, None], {"class_weight": {0: 1.0, 1: 2.0, 2: 1.0}}),
    "one-hot rows": (3, "softmax", False, ONE_HOT, keras.utils.to_categorical(LABELS, 3), {}),
    "tags": (3, "softmax", True, SPARSE, TAGS, {"sample_weight": RNG.random((COUNT, STEPS))}),
    "tags of which some are ignored": (3, "softmax", True, IGNORED, np.where(TAGS == 2, -1, TAGS), {}),
    "amounts without an axis": (1, None, False, "mse", AMOUNTS[:, 0], {}),
    "amounts at each step": (1, None, True, "mae", X[:, :, 0], {}),
    "soft yes or no": (1, "sigmoid", False, "binary_crossentropy", RNG.random(COUNT), {}),
    "quantiles of their own": (3, None, False, lambda y, q: keras.ops.mean(keras.ops.abs(y - q), -1),
                               AMOUNTS[:, :1], {}),
}  # fmt: skip
STOPS: dict[str, Given] = {
    "labels for one-hot rows": (3, "softmax", False, ONE_HOT, LABELS, {}),
    "tags for one-hot rows": (3, "softmax", True, ONE_HOT, TAGS, {}),
    "a unit too many": (5, None, False, "mse", AMOUNTS, {}),
    "steps too few": (4, None, True, "mse", np.repeat(AMOUNTS[:, None], STEPS - 1, axis=1), {}),
    "class_weight and a label a step": (3, "softmax", True, SPARSE, TAGS, {"class_weight": {0: 1.0, 1: 9.0}}),
    "both kinds of weights": (3, "softmax", False, SPARSE, LABELS,
                              {"class_weight": {0: 1.0}, "sample_weight": np.ones(COUNT)}),
}  # fmt: skip
WRONG: dict[str, tuple[str, Given]] = {
    "from 1 on": ("wrong-labels", (3, "softmax", False, SPARSE, LABELS + 1, {})),
    "with -1": ("wrong-labels", (3, "softmax", True, SPARSE, TAGS - 1, {})),
    "too many classes": ("wrong-labels", (2, "softmax", False, SPARSE, LABELS, {})),
    "cut off": ("wrong-labels", (3, "softmax", False, SPARSE, LABELS * 0.7, {})),
    "signs": ("wrong-labels", (1, "sigmoid", False, "binary_crossentropy", np.sign(X[:, 0, 0]), {})),
    "one target for four units": ("target-shape", (4, None, False, "mse", AMOUNTS[:, :1], {})),
    "four targets for one unit": ("target-shape", (1, None, False, "mae", AMOUNTS, {})),
}


def network(units: int, activation: str | None, per_step: bool, loss: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    rnn = tt.GRU(4, return_sequences=per_step)
    model = keras.Sequential([keras.Input((STEPS, 2)), rnn, layers.Dense(units, activation=activation)])
    model.compile("adam", loss)
    return model


def codes(given: Given) -> list[str]:
    *shape, targets, fit = given
    found = tt.check(network(*shape), X, targets, fit={"batch_size": 16, **fit}, train=False)
    assert all(len(one.evidence.splitlines()) == 1 for one in found)
    return [one.code for one in found.errors if one.code in CODES]


def stops(given: Given) -> bool:
    *shape, targets, fit = given
    try:
        network(*shape).fit(X[:16], targets[:16], batch_size=16, verbose=0, **{
            name: value[:16] if name == "sample_weight" else value for name, value in fit.items()
        })  # fmt: skip
    except Exception:  # whatever each backend raises
        return True
    return False


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_said_of_targets_that_fit_takes(name: str) -> None:
    assert codes(RIGHT[name]) == []


@pytest.mark.parametrize("name", STOPS)
def test_what_fit_stops_with_is_an_error(name: str) -> None:
    assert codes(STOPS[name]) == ["loss-fails"]


@pytest.mark.parametrize("name", WRONG)
def test_what_the_loss_takes_for_something_else_is_an_error(name: str) -> None:
    code, given = WRONG[name]
    assert codes(given) == [code]


@pytest.mark.thorough
@pytest.mark.parametrize("name", [*RIGHT, *STOPS])
def test_fit_stops_where_it_is_said_that_it_does(name: str) -> None:
    assert stops({**RIGHT, **STOPS}[name]) == (name in STOPS)


def test_labels_of_no_weight_are_harmless_where_the_loss_leaves_them_out() -> None:
    wanted = np.where(TAGS == 2, -1, TAGS)
    given: Given = (3, "softmax", True, SPARSE, wanted, {"sample_weight": (wanted >= 0).astype("float32")})
    assert codes(given) == ([] if not stops(given) else ["wrong-labels"])


def test_probabilities_under_a_loss_of_logits() -> None:
    given: Given = (3, "softmax", False, keras.losses.SparseCategoricalCrossentropy(from_logits=True), LABELS, {})
    looks_through = keras.backend.backend() == "tensorflow"  # it takes the logits that the softmax was taken of
    assert codes(given) == ([] if looks_through else ["probabilities-as-logits"])


def test_weights_by_output_are_those_of_each() -> None:
    inputs = keras.Input((STEPS, 2))
    h = tt.LSTM(3)(inputs)
    heads = {"a": layers.Dense(1, name="a")(h), "b": layers.Dense(3, activation="softmax", name="b")(h)}
    model = keras.Model(inputs, heads)
    model.compile("adam", {"a": "mse", "b": SPARSE})
    y = {"a": AMOUNTS[:, :1], "b": LABELS}
    both = {"a": np.ones(COUNT), "b": RNG.random(COUNT)}
    assert tt.check(model, X, y, fit={"sample_weight": both}, train=False).errors == []
    (found,) = tt.check(model, X, y, fit={"sample_weight": {"a": np.ones(COUNT)}}, train=False).errors
    assert found.code == "loss-fails" and "sample_weight" in found.evidence
    (found,) = tt.check(model, X, y, fit={"class_weight": {0: 2.0}}, train=False).errors
    assert found.code == "loss-fails" and "single" in found.evidence


@pytest.mark.parametrize("penalized", ["kernel", "recurrent", "bias", "activity"])
@pytest.mark.parametrize("room", [tt, layers], ids=["ours", "stock"])
def test_a_penalty_is_a_part_of_the_loss_and_no_fault_of_it(room: Any, penalized: str) -> None:
    """Whatever it is of: Keras looks up the values that penalties are of by themselves."""
    penalty = {f"{penalized}_regularizer": keras.regularizers.L1L2(0.01, 0.02)}
    model = keras.Sequential(
        [keras.Input((STEPS, 2)), room.GRU(3, bias_initializer="ones", **penalty), layers.Dense(4)]
    )
    model.compile(loss="mse")
    assert not CODES & {one.code for one in tt.check(model, X, AMOUNTS, train=False)}
    expected = model.evaluate(X, AMOUNTS, batch_size=COUNT, verbose=0)
    assert tt.gradient_flow(model, X, AMOUNTS).loss == pytest.approx(expected, rel=1e-5)
