"""The network for a task, where the user brings none. Its file names Keras's layers alone, so it loads anywhere; one of
"mingru", "minlstm" or "lru" needs throughtime, since Keras does not have them.

classify, regress   embeddings and numbers -> bidirectional cell -> mean and maximum over the valid steps -> dense
tag                 the same cell -> dense at each step
regress a step      a forward cell -> dense at each step (a measurement at t is not to depend on what comes later)
forecast            the window less its last value -> forward cell -> dense, plus a linear path, plus the last value
                    (the highway of LSTNet, Lai et al. 2018; the last-value normalisation of NLinear, Zeng et al. 2023)

With causal=True the cells of the first two run forward alone, so that each answer is of the steps so far and the
network can be streamed; the other two look at no later step anyway.

The mask is an input of its own and is passed to each layer that needs it, so it cannot get lost on the way. Every
initializer and dropout has a seed of its own, so a network is repeatable and the user's random state is not touched.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import keras
from keras import layers, ops

from ..data.examples import Examples
from ..data.transforms import Preparation
from ..errors import ArgumentError, listed
from ..layers.recurrent import GRU, LSTM, SimpleRNN
from ..layers.scanned import LRU, SCANNED, MinGRU, MinLSTM
from .settings import Cell

CELLS = {"lstm": LSTM, "gru": GRU, "rnn": SimpleRNN, "mingru": MinGRU, "minlstm": MinLSTM, "lru": LRU}


def build_network(
    preparation: Preparation,
    examples: Examples,
    *,
    cell: Cell = "lstm",
    units: int = 64,
    depth: int = 1,
    dropout: float = 0.3,
    causal: bool = False,
    seed: int = 0,
) -> keras.Model:
    """An uncompiled model for what was prepared; its inputs are named as ``Batches`` feeds them.

    Args:
        cell: "lstm", "gru" or "rnn" (SimpleRNN); "mingru", "minlstm" or "lru", with a tanh that keeps
            outputs in [-1, 1].
        units: of each recurrent layer (of each direction).
        depth: recurrent layers.
        dropout: share of the recurrent layers' outputs that is dropped in training.
        causal: no layer reads the sequence from its end.
        seed: of the initial weights and of dropout.
    """
    make = _Seeded(cell, units, dropout, (number % 2**31 for number in itertools.count(1000 * int(seed))))
    if preparation.forecast is not None:
        return _forecaster(preparation, examples, make, depth)
    inputs, features = _inputs(preparation, examples.numbers.shape[1], make)
    mask = inputs["mask"] = layers.Input((None,), dtype="bool", name="mask")
    per_step = examples.per == "step"
    outputs, activation = _outputs(preparation)
    both_ways = not causal and (not per_step or activation == "softmax")
    hidden = features
    for _ in range(depth):
        forward = make.cell(return_sequences=True)
        layer = forward
        if both_ways:
            backward = make.cell(return_sequences=True, go_backwards=True, name=f"backward_{forward.name}")
            layer = layers.Bidirectional(forward, backward_layer=backward)
        hidden = make.dropout()(layer(hidden, mask=mask))
    if not per_step:
        hidden = make.dropout()(_pooled(hidden, mask, 1 / (1 - dropout)))
    return keras.Model(inputs, make.dense(outputs, activation=activation, name="output")(hidden))


class _Seeded:
    """Layers whose every random choice has a seed of its own."""

    def __init__(self, cell: Cell, units: int, rate: float, seeds: Iterator[int]) -> None:
        self._cell, self._units, self._rate, self._seeds = CELLS[cell], units, rate, seeds

    def cell(self, **options: Any) -> keras.Layer:
        if self._cell in SCANNED:
            if self._cell is not LRU:
                options |= {"kernel_initializer": keras.initializers.GlorotUniform(next(self._seeds))}
            return self._cell(self._units, activation="tanh", seed=next(self._seeds), **options)
        return self._cell(
            self._units,
            kernel_initializer=keras.initializers.GlorotUniform(next(self._seeds)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(self._seeds)),
            seed=next(self._seeds),  # without one, Keras draws it from Python's global generator
            **options,
        )

    def dropout(self) -> keras.Layer:
        return layers.Dropout(self._rate, seed=next(self._seeds))

    def dense(self, units: int, **options: object) -> keras.Layer:
        options.setdefault("kernel_initializer", keras.initializers.GlorotUniform(next(self._seeds)))
        return layers.Dense(units, **options)

    def embedding(self, size: int) -> keras.Layer:
        # The width grows with the fourth root of the vocabulary (the rule of TensorFlow's feature columns), times 8
        # because small text vocabularies need more than 4 or 5 numbers a word.
        width = min(128, size, round(8 * size**0.25))
        return layers.Embedding(
            size, width, embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05, seed=next(self._seeds))
        )


def _inputs(
    preparation: Preparation,
    width: int,
    make: _Seeded,
    *,
    prefix: str = "",
    steps: int | None = None,
    codes: tuple[int, ...] | None = None,
) -> tuple[dict[str, keras.KerasTensor], keras.KerasTensor]:
    """The inputs ``{prefix}numbers`` and ``{prefix}codes``, and both as one ``(batch, steps, features)`` tensor."""
    inputs, parts = {}, []
    if width:
        name = f"{prefix}numbers"
        inputs[name] = layers.Input((steps, width), name=name)
        parts.append(inputs[name])
    columns = range(len(preparation.vocabulary)) if codes is None else codes
    if len(columns):
        name = f"{prefix}codes"
        inputs[name] = layers.Input((steps, len(columns)), dtype="int32", name=name)
        for place, column in enumerate(columns):
            parts.append(make.embedding(len(preparation.vocabulary[column]) + 1)(inputs[name][:, :, place]))
    return inputs, layers.Concatenate()(parts) if len(parts) > 1 else parts[0]


def _outputs(preparation: Preparation) -> tuple[int, str]:
    if preparation.classes:
        return len(preparation.classes), "softmax"
    return len(preparation.schema.target), "linear"


def _pooled(hidden: keras.KerasTensor, mask: keras.KerasTensor, bound: float) -> keras.KerasTensor:
    """Mean and maximum over valid steps; a sequence without a step gives 0 and ``-bound``.

    ``bound`` is the largest value that can occur: the cells' outputs are in [-1, 1], and dropout scales what it keeps.

    All steps rather than the last state, because that shortens the way of the gradient.
    """
    valid = ops.expand_dims(ops.cast(mask, hidden.dtype), -1)
    mean = ops.sum(hidden * valid, axis=1) / ops.maximum(ops.sum(valid, axis=1), 1.0)
    highest = ops.max(hidden * valid + (valid - 1.0) * bound, axis=1)
    return layers.Concatenate()([mean, highest])


def _forecaster(preparation: Preparation, examples: Examples, make: _Seeded, depth: int) -> keras.Model:
    forecast, targets = preparation.forecast, len(preparation.schema.target)
    assert forecast is not None
    window, horizon = forecast.window, forecast.horizon
    inputs, features = _inputs(preparation, examples.numbers.shape[1], make, steps=window)
    last = features[:, -1:, :targets]
    change = features[:, :, :targets] - last
    # The past targets enter as their difference from the last one; the covariates as they are.
    hidden = layers.Concatenate()([change, features[:, :, targets:]]) if features.shape[-1] > targets else change
    for level in range(depth):
        hidden = make.cell(return_sequences=level < depth - 1)(hidden)
    hidden = make.dropout()(hidden)
    # Zero kernels: training starts at the last-value forecast and has to earn every step away from it.
    path = make.dense(horizon * targets, kernel_initializer="zeros")(hidden)
    linear = make.dense(horizon * targets, kernel_initializer="zeros", use_bias=False)(layers.Flatten()(change))
    outputs = layers.Reshape((horizon, targets))(path + linear) + last
    if examples.known_numbers or examples.known_codes:
        width, codes = len(examples.known_numbers), examples.known_codes
        ahead, future = _inputs(preparation, width, make, prefix="future_", steps=horizon, codes=codes)
        inputs |= ahead
        decoded = layers.Concatenate()([layers.RepeatVector(horizon)(hidden), future])
        decoded = make.dropout()(make.cell(return_sequences=True)(decoded))
        outputs = outputs + make.dense(targets, kernel_initializer="zeros")(decoded)
        outputs = outputs + make.dense(targets, kernel_initializer="zeros", use_bias=False)(future)
    return keras.Model(inputs, outputs)


FEEDS = ("numbers", "codes", "mask", "future_numbers", "future_codes")


def feeds_of(model: keras.Model, examples: Examples) -> tuple[tuple[str, ...] | str, float, str | None]:
    """How a model takes a batch: the names of its inputs, what padding is to hold, and a warning or None.

    A model with named inputs gets those of ``FEEDS`` that it names. A model of one input gets the numbers (or the
    codes, where there are no numbers), padded with the ``mask_value`` of its Masking layer.

    Raises:
        ArgumentError: inputs that nothing here can fill.
    """
    # A subclassed model has no symbolic inputs; it is taken to be a model of one.
    names = [tensor.name for tensor in getattr(model, "inputs", None) or ()]
    named = bool(names) and all(name in FEEDS for name in names)
    keyed = len(names) > 1 or isinstance(getattr(model, "input", None), dict)
    if keyed and not named:
        raise ArgumentError(
            f"the model has the inputs {listed(names)}; name them after what they take, among {listed(FEEDS)}, or give "
            "a model of one input."
        )
    masking = [layer for layer in _all_layers(model) if isinstance(layer, layers.Masking)]
    embedding = [layer for layer in _all_layers(model) if isinstance(layer, layers.Embedding) and layer.mask_zero]
    warnings = []
    masked = "mask" in names or bool(masking) or bool(embedding)
    if not masked and len(examples) and examples.lengths.min() < examples.lengths.max():
        warnings.append(
            "the model has no input named 'mask' and no Masking layer, so it sees the padding of shorter sequences as "
            "data"
        )
    feeds: tuple[str, ...] | str = "numbers" if examples.numbers.shape[1] else "codes"
    if named:  # Keras takes a dict for a model of one input only where it was made with one
        feeds = tuple(names) if keyed else names[0]
    for tensor in getattr(model, "inputs", None) or ():
        array = {"numbers": examples.numbers, "codes": examples.codes}.get(tensor.name if named else str(feeds))
        if array is not None and len(tensor.shape) == 3 and tensor.shape[-1] not in (None, array.shape[1]):
            raise ArgumentError(
                f"the model's input takes {tensor.shape[-1]} features a step, and the data has {array.shape[1]}"
                f"{' (forecasts: the past of the target is one)' if examples.per == 'horizon' else ''}; "
                f"make it keras.Input((None, {array.shape[1]}))."
            )
    fed = (feeds,) if isinstance(feeds, str) else feeds
    for name, array in (("numbers", examples.numbers), ("codes", examples.codes)):
        if array.shape[1] and name not in fed:
            kind = "numeric" if name == "numbers" else "category"
            warnings.append(f"the model has no input named {name!r}, so it does not see the {kind} columns")
    return feeds, float(masking[0].mask_value) if masking else 0.0, "; ".join(warnings) or None


def _all_layers(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def check_outputs(shape: tuple[int, ...], preparation: Preparation, examples: Examples) -> None:
    """Raises ArgumentError where the output of a model for one batch is not of the shape that the task needs."""
    outputs, _ = _outputs(preparation)
    accepted = [outputs, 1] if len(preparation.classes) == 2 else [outputs]
    leading = {"example": ("batch",), "step": ("batch", "steps"), "horizon": ("batch", examples.horizon)}[examples.per]
    fits = len(shape) == len(leading) + 1 and shape[-1] in accepted
    if fits and (examples.per != "horizon" or shape[1] == examples.horizon):
        return
    expected = " or ".join(f"({', '.join(map(str, (*leading, last)))})" for last in accepted)
    advice = {
        "example": "for one answer a sequence, the last recurrent layer has return_sequences=False",
        "step": "for an answer a step, every recurrent layer has return_sequences=True",
        "horizon": f"end with keras.layers.Reshape({(examples.horizon, outputs)})",
    }[examples.per]
    raise ArgumentError(
        f"the model's output for a batch has shape {shape}; this task needs {expected}"
        f"{', a probability a class' if preparation.classes else ''}: {advice}."
    )
