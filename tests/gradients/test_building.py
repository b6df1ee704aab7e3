"""Whatever Keras builds late (losses by output, their metrics, layers, seeds) is not built, counted or broken.

The oracle is a twin that nobody looked at: both are fitted, and are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers, losses

import throughtime as tt
from throughtime.gradients.locating import locate

pytestmark = pytest.mark.backend
RNG = np.random.default_rng(3)
X = RNG.normal(size=(24, 5, 2)).astype("float32")
Y = [X[:, -1, :1], RNG.integers(0, 3, 24), X.mean(axis=1)]
STOCK = ["mse", "sparse_categorical_crossentropy", "mae"]
OBJECTS: list[Any] = [losses.Huber(), losses.SparseCategoricalCrossentropy(), losses.MeanSquaredError()]
NAMES = ["a", "b", "c"]


class Penalised(layers.Layer):
    """Adds a loss of its own, and a mask of dropout that a seed generator draws."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.drop = layers.Dropout(0.3, seed=5)

    def call(self, x: Any, training: bool = False) -> Any:
        self.add_loss(1e-2 * keras.ops.mean(keras.ops.square(x)))
        return self.drop(x, training=training)


class Subclassed(keras.Model):
    def __init__(self, heads: list[Any], keyed: bool, penalised: bool) -> None:
        super().__init__()
        self.rnn = layers.GRU(3)
        self.more = Penalised() if penalised else layers.Identity()
        self.heads, self.keyed = heads, keyed

    def call(self, x: Any, training: bool = False) -> Any:
        h = self.more(self.rnn(x), training=training)
        made = [head(h) for head in self.heads]
        if self.keyed:
            return dict(zip(NAMES, made, strict=False))
        return made if len(made) > 1 else made[0]


def heads_of(outputs: int) -> list[Any]:
    made = [
        layers.Dense(width, activation=activation, name=name)
        for width, activation, name in zip((1, 3, 2), (None, "softmax", None), NAMES, strict=True)
    ]
    return made[:outputs]


def model_of(kind: str, outputs: int, keyed: bool, penalised: bool) -> keras.Model:
    heads = heads_of(outputs)
    if kind == "subclassed":
        return Subclassed(heads, keyed, penalised)
    if kind == "sequential":  # not built
        rnn = layers.LSTM(3)
        return keras.Sequential([rnn, Penalised() if penalised else layers.Identity(), heads[0]])
    inputs = keras.Input((5, 2))
    h = tt.LSTM(3)(inputs)
    h = Penalised()(h) if penalised else h
    made = [head(h) for head in heads]
    return keras.Model(inputs, dict(zip(NAMES, made, strict=False)) if keyed else made if outputs > 1 else made[0])


def settings_of(outputs: int, keyed: bool, given_as: str, weighted: bool, metrics: bool) -> dict[str, Any]:
    """The arguments of compile: one loss for all outputs, or one for each, as text or objects; or none for the last."""
    each = (OBJECTS if given_as == "objects" else STOCK)[:outputs]
    if given_as == "without one" and outputs > 1:
        each = [*each[:-1], None]
    whole: Any = dict(zip(NAMES, each, strict=False)) if keyed else each if outputs > 1 else each[0]
    if given_as == "one for all":
        whole = "mae"
    made: dict[str, Any] = {"loss": whole}
    if weighted and outputs > 1 and given_as not in ("one for all", "without one"):
        factors = [0.5, 2.0, 1.5][:outputs]
        made["loss_weights"] = dict(zip(NAMES, factors, strict=False)) if keyed else factors
    if metrics and outputs == 1 and not keyed:
        made["metrics"] = ["mae"]
    elif metrics and keyed:
        made["metrics"] = {"a": ["mae", keras.metrics.MeanSquaredError()]}
    return made


def targets_of(outputs: int, keyed: bool) -> Any:
    each = Y[:outputs]
    return dict(zip(NAMES, each, strict=False)) if keyed else each if outputs > 1 else each[0]


def weights_of(outputs: int, keyed: bool, weighted: bool) -> Any:
    if not weighted:
        return None
    each = [np.linspace(0.5, 1.5, 24, dtype="float32") * (1 + place) for place in range(outputs)]
    return dict(zip(NAMES, each, strict=False)) if keyed else each if outputs > 1 else each[0]


LOOKS: dict[str, Callable[[keras.Model, Any, Any], Any]] = {
    "flow": lambda model, y, weights: tt.gradient_flow(model, X, y, sample_weight=weights),
    "check": lambda model, y, weights: tt.check(model, X, y, fit={"sample_weight": weights}, train=False),
    "trained check": lambda model, y, weights: tt.check(model, X, y, fit={"sample_weight": weights}, seconds=2.0),
    "locate": lambda model, y, weights: locate(model, X, y, weights),
}


def every_value(model: keras.Model) -> Iterator[np.ndarray]:
    """Of all variables there are; a value that leaked from a trace cannot be read."""
    for variable in [*model.variables, *model.optimizer.variables, *model.metrics_variables]:
        yield np.array(keras.ops.convert_to_numpy(variable.value))


def fit(model: keras.Model, y: Any, weights: Any) -> dict[str, list[float]]:
    keras.utils.set_random_seed(1)
    history = model.fit(X, y, sample_weight=weights, batch_size=12, verbose=0, shuffle=False)
    return history.history


def same_after(looks: list[str], kind: str, outputs: int, keyed: bool, penalised: bool, given_as: str, weighted: bool,
               metrics: bool) -> None:  # fmt: skip
    if kind == "sequential":
        outputs, keyed = 1, False
    if given_as == "one for all" and outputs > 1:
        given_as = "texts"  # classes under a loss of numbers are no model
    y, weights = targets_of(outputs, keyed), weights_of(outputs, keyed, weighted and given_as != "without one")
    pair = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        model = model_of(kind, outputs, keyed, penalised)
        model.compile("adam", **settings_of(outputs, keyed, given_as, weighted, metrics))
        pair.append(model)
    looked, twin = pair
    loss = looked._compile_loss
    for look in looks:
        LOOKS[look](looked, y, weights)
    assert looked._compile_loss is loss and not loss.built and not loss.metrics
    ours, theirs = fit(looked, y, weights), fit(twin, y, weights)
    assert ours == theirs
    for one, other in zip(every_value(looked), every_value(twin), strict=True):
        np.testing.assert_array_equal(one, other)


CASES = [
    (["flow", "flow"], "functional", 2, False, False, "texts", False, False),
    (["check", "flow", "check"], "functional", 3, True, True, "objects", True, True),
    (["flow", "check"], "subclassed", 2, True, True, "texts", True, False),
    (["locate", "check"], "sequential", 1, False, True, "texts", True, True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{'-'.join(case[0])}-{case[1]}-{case[2]}")
def test_a_model_that_was_looked_at_is_fitted_as_one_that_was_not(case: tuple[Any, ...]) -> None:
    same_after(*case)


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")  # Keras's, where an output has no loss
@pytest.mark.thorough
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    looks=st.lists(st.sampled_from(list(LOOKS)), min_size=1, max_size=3),
    kind=st.sampled_from(["functional", "subclassed", "sequential"]), outputs=st.integers(1, 3), keyed=st.booleans(),
    penalised=st.booleans(), given_as=st.sampled_from(["texts", "objects", "one for all", "without one"]),
    weighted=st.booleans(), metrics=st.booleans(),
)  # fmt: skip
def test_any_model_that_was_looked_at_is_fitted_as_one_that_was_not(
    looks: list[str], kind: str, outputs: int, keyed: bool, penalised: bool, given_as: str, weighted: bool,
    metrics: bool,
) -> None:  # fmt: skip
    same_after(looks, kind, outputs, keyed, penalised, given_as, weighted, metrics)


def test_callbacks_leave_a_model_with_several_outputs_that_can_be_looked_at_and_fitted() -> None:
    y = targets_of(2, True)
    model = model_of("functional", 2, True, True)
    model.compile("adam", **settings_of(2, True, "texts", True, False))
    model.fit(X, y, verbose=0, callbacks=[tt.GradientMonitor(probe=(X, y)), tt.Guard()])
    names = [one.name for one in model._compile_loss.metrics]
    LOOKS["flow"](model, y, None)
    LOOKS["locate"](model, y, None)
    fit(model, y, None)
    assert [one.name for one in model._compile_loss.metrics] == names == ["a_loss", "b_loss"]
    assert all(np.isfinite(value).all() for value in every_value(model))


def test_an_unbuilt_model_is_built_and_not_trained() -> None:
    pair = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        pair.append(keras.Sequential([layers.GRU(3), layers.Dense(1)]))
    model, twin = pair
    model.compile(keras.optimizers.Adam(0.1), "mse")
    tt.check(model, X, Y[0])
    twin.build((None, 5, 2))
    for one, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.input_shape == (None, 5, 2) and int(model.optimizer.iterations) == 0
