"""A ``Recipe`` as code: what is pasted below the user's own ``model = ...`` makes the repaired model of it."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np

from .recipes import SIDES, Copies, Place, Recipe, inside, loss_weights_of, optimizer_config


def code_of(recipe: Recipe, copies: Copies, *, squared: bool = False) -> str:
    """Code that turns ``model`` into the changed one, compiled and not trained; ``model`` is the user's, compiled.

    Args:
        squared: the loss is a square of errors, so that a scaled output has its weight divided by the square.

    Example:
        >>> model = keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(3), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> print(code_of(Recipe(rate=0.01), Copies(model, np.zeros((2, 5, 2)))))
        import keras
        <BLANKLINE>
        mine = model
        model = keras.models.clone_model(mine)
        model.compile(keras.optimizers.Adam(learning_rate=0.01), loss="mse")
    """
    lines = ["import keras"]
    if recipe.memory:
        lines.append("import numpy as np")
    if recipe.guard:
        lines.append("import throughtime as tt")
    copied = _subclassed(recipe, copies) if copies.subclassed else _cloned(recipe, copies)
    lines += ["", *copied, *_given(copies), *_memory(recipe, copies), *_wrapped(recipe, copies)]
    lines.append(_compiled(recipe, copies.model, squared))
    if recipe.guard:
        lines.append("guard = tt.Guard()  # model.fit(..., callbacks=[guard])")
    return "\n".join(lines)


def _cloned(recipe: Recipe, copies: Copies) -> list[str]:
    if not recipe.settings and not recipe.cells:
        return ["mine = model", "model = keras.models.clone_model(mine)"]
    lines = ["", "def changed(layer):", "    config = layer.get_config()"]
    places = dict.fromkeys([place for place, _, _ in recipe.settings] + [place for place, _ in recipe.cells])
    for place in places:
        lines.append(f"    if layer.name == {place.name!r}:")
        wrapper = {one.name: one for one in copies.model._flatten_layers()}[place.name].get_config()
        inner = [f'["{side}"]["config"]' for side in SIDES if wrapper.get(side)] if place.wrapped else [""]
        for other, key, value in recipe.settings:
            if other == place:
                lines += [f'        config{side}["{key}"] = {_quoted(value)}' for side in inner]
        for other, cell in recipe.cells:
            if other == place:
                lines.append(f"        return keras.layers.{cell}.from_config(config)")
    lines += ["    return layer.__class__.from_config(config)", "", ""]
    return [*lines, "mine = model",
            "model = keras.models.clone_model(mine, clone_function=changed, recursive=True)"]  # fmt: skip


def _subclassed(recipe: Recipe, copies: Copies) -> list[str]:
    lines = ["mine = model", "model = type(mine).from_config(mine.get_config())"]
    for place, key, value in recipe.settings:
        for layer in _reached(place, copies):
            owner = f"{layer}.cell" if key.startswith(("recurrent", "bias")) or _is_cell(place, copies) else layer
            owner = layer if key == "return_sequences" else owner
            wanted = _quoted(value)
            if key.endswith("activation"):
                wanted = f"keras.activations.get({wanted})"
            elif key.endswith("initializer"):
                wanted = f"keras.initializers.get({wanted})"
            lines.append(f"{owner}.{key} = {wanted}")
    return [*lines, "model(x[:1])  # builds it"]


def _is_cell(place: Place, copies: Copies) -> bool:
    found = {layer.name: layer for layer in copies.model._flatten_layers()}[place.name]
    return isinstance(inside(found, place)[0], keras.layers.RNN)


def _reached(place: Place, copies: Copies) -> list[str]:
    """How a layer is reached from ``model``."""
    model = copies.model
    layer: Any = {one.name: one for one in model._flatten_layers()}[place.name]
    if copies.subclassed:
        name = next((key for key, value in vars(model).items() if value is layer), None)
        here = f"model.{name}" if name is not None else f"list(model._flatten_layers())[{_number(model, layer)}]"
    elif layer in model.layers:
        here = f'model.get_layer("{place.name}")'
    else:
        here = f'next(one for one in model._flatten_layers() if one.name == "{place.name}")'
    if not place.wrapped:
        return [here]
    if isinstance(layer, keras.layers.Bidirectional):
        return [f"{here}.forward_layer", f"{here}.backward_layer"]
    return [f"{here}.layer"]


def _number(model: keras.Model, layer: Any) -> int:
    return next(i for i, one in enumerate(model._flatten_layers()) if one is layer)


def _given(copies: Copies) -> list[str]:
    """The layers that keep what they have."""
    return [
        f'model.get_layer("{name}").set_weights(mine.get_layer("{name}").get_weights())'
        for name in copies.given
        if not copies.subclassed
    ]


def _memory(recipe: Recipe, copies: Copies) -> list[str]:
    lines = ["rng = np.random.default_rng(0)"] if recipe.memory else []
    cells = dict(recipe.cells)
    for place, steps in recipe.memory:
        for reached in _reached(place, copies):
            stock = {one.name: one for one in copies.model._flatten_layers()}[place.name]
            lstm = cells.get(place) == "LSTM" or isinstance(inside(stock, place)[0], keras.layers.LSTM)
            lines += [f"cell = {reached}.cell", f"long = np.log(rng.uniform(1, {max(steps - 1, 2)}, cell.units))"]
            if lstm:
                lines.append("cell.bias.assign(np.concatenate([-long, long, 0 * long, 0 * long]))")
            else:
                lines += ["bias = np.zeros(cell.bias.shape)", "np.atleast_2d(bias)[0, : cell.units] = long",
                          "cell.bias.assign(bias)"]  # fmt: skip
    return lines


def _wrapped(recipe: Recipe, copies: Copies) -> list[str]:
    first, last = [], []
    if recipe.mask is not None:
        first.append(f"keras.layers.Masking({recipe.mask:g})")
    if recipe.inputs is not None:
        centre, spread = (np.array(one) for one in recipe.inputs)
        scale, offset = (1 / spread).tolist(), (-centre / spread).tolist()
        first.append(f"keras.layers.Rescaling({scale}, {offset})")
    if recipe.outputs is not None:
        last.append(f"keras.layers.Rescaling({recipe.outputs[1]!r}, {recipe.outputs[0]!r})")
    if not first and not last:
        return []
    if isinstance(copies.model, keras.Sequential):
        parts = ["keras.Input(batch_shape=model.input_shape)"]
        masked = isinstance(copies.model.layers[0], keras.layers.Masking)
        parts += ["model.layers[0]", *first, "*model.layers[1:]"] if masked else [*first, "*model.layers"]
        return ["model = keras.Sequential([", *(f"    {part}," for part in [*parts, *last]), "])"]
    shape = "(None, *x.shape[1:])" if copies.subclassed else "model.input_shape"
    lines = [f"inputs = hidden = keras.Input(batch_shape={shape})"]
    lines += [f"hidden = {layer}(hidden)" for layer in (*first, "model", *last)]
    return [*lines, "model = keras.Model(inputs, hidden)"]


def _compiled(recipe: Recipe, model: keras.Model, squared: bool) -> str:
    config = optimizer_config(model, recipe)
    kind = getattr(keras.optimizers, type(model.optimizer).__name__, None)
    if kind is not None and type(model.optimizer).__module__.startswith("keras."):  # PyTorch has classes of its own
        usual = {name: one.default for name, one in inspect.signature(kind).parameters.items()}
        given = {
            name: value for name, value in config.items()
            if name == "learning_rate" or (name in usual and value != usual[name] and name != "name")
        }  # fmt: skip
        if isinstance(config["learning_rate"], dict):
            given["learning_rate"] = "mine.optimizer._learning_rate"
        arguments = ", ".join(
            f"{name}={value if name == 'learning_rate' else _quoted(value)}" for name, value in given.items()
        )
        optimizer = f"keras.optimizers.{kind.__name__}({arguments})"
    else:
        changes = {name: config[name] for name in config if config[name] != model.optimizer.get_config().get(name)}
        optimizer = f"type(mine.optimizer).from_config({{**mine.optimizer.get_config(), **{changes!r}}})"
    loss = _quoted(model.loss) if isinstance(model.loss, str) else "mine.loss"
    if recipe.loss is not None:
        loss = f"keras.losses.{recipe.loss[0]}({'from_logits=True' if recipe.loss[1] else ''})"
    weights = "" if recipe.outputs is None else f", loss_weights={loss_weights_of(model, recipe, squared):.6g}"
    metrics = metric_names(model)
    return f"model.compile({optimizer}, loss={loss}{weights}{f', metrics={metrics!r}' if metrics else ''})"


def metric_names(model: keras.Model) -> list[str]:
    """The metrics that the user gave by name."""
    given = model._compile_metrics._user_metrics if model._compile_metrics is not None else None
    return [one for one in given if isinstance(one, str)] if isinstance(given, list | tuple) else []


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
