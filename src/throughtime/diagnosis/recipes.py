"""``Recipe``: how a copy differs from the user's model; the copy that it makes, and the same as code to paste.

A copy is made of the model's own configuration and draws fresh weights. Frozen layers and adapted Normalization keep
what they have, because it was given to them and is not learned.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError, first_line
from ..layers.paths import recurrent_layers

INITIALISERS = ("kernel_initializer", "recurrent_initializer", "unit_forget_bias")  # no part of what is compiled

SIDES = ("layer", "backward_layer")
CLIPPINGS = ("clipnorm", "global_clipnorm", "clipvalue")


@dataclass(frozen=True)
class Place:
    """A layer: its name, or that of the Bidirectional or TimeDistributed ``wrapper`` it is in."""

    name: str
    wrapped: bool = False


@dataclass(frozen=True)
class Recipe:
    """What is changed in a copy; nothing by default.

    Args:
        settings: (layer, argument, value), as in ``(Place("dense"), "activation", "sigmoid")``.
        cells: (layer, class), as in ``(Place("rnn"), "LSTM")``.
        memory: (layer, T): the biases that keep a state for up to T steps (Tallec and Ollivier 2018).
        mask: a value that says that a step is padding.
        inputs: mean and deviation by feature, taken off inside the model.
        outputs: mean and deviation, put on at the model's end.
        loss: in place of the user's.
        rate: the learning rate.
        guard: gradients are clipped as ``Guard`` does, in place of the optimizer's own clipping.
    """

    settings: tuple[tuple[Place, str, Any], ...] = ()
    cells: tuple[tuple[Place, str], ...] = ()
    memory: tuple[tuple[Place, int], ...] = ()
    mask: float | None = None
    inputs: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    outputs: tuple[float, float] | None = None
    loss: tuple[str, bool] | None = None  # its class in keras.losses, and from_logits
    rate: float | None = None
    guard: bool = False

    def setting(self, place: Place, **arguments: Any) -> Recipe:
        """With these arguments of a layer, in place of those it had.

        Example:
            >>> Recipe().setting(Place("dense"), activation="sigmoid").settings
            ((Place(name='dense', wrapped=False), 'activation', 'sigmoid'),)
        """
        others = tuple(one for one in self.settings if not (one[0] == place and one[1] in arguments))
        return replace(self, settings=(*others, *((place, key, value) for key, value in arguments.items())))

    @property
    def structure(self) -> Recipe:
        """Of recipes that have this in common, the compiled functions are the same."""
        kept = tuple(one for one in self.settings if one[1] not in INITIALISERS)
        return replace(self, settings=kept, memory=(), rate=None if self.rate is None else 1.0)


class Copies:
    """Makes copies of a model.

    Args:
        model: built, the user's.
        x: some rows, as the model takes them; subclassed models are built with them.

    Raises:
        ArgumentError: the model cannot be made from its configuration.
    """

    def __init__(self, model: keras.Model, x: Any) -> None:
        self.model, self.x = model, x
        self.subclassed = not isinstance(model, keras.Sequential | keras.src.models.functional.Functional)
        self.own_step = type(model).train_step is not keras.Model.train_step
        try:
            self.make(Recipe(), seed=0)
        except Exception as error:  # of the user's own constructor, or of Keras where get_config is missing
            raise ArgumentError(
                f"the model cannot be copied from its configuration ({first_line(error)}); give "
                f"{type(model).__name__} a get_config from which from_config makes it again."
            ) from error

    @property
    def given(self) -> list[str]:
        """The layers that keep their weights."""
        return [
            layer.name
            for layer in self.model._flatten_layers()
            if not isinstance(layer, keras.Model)
            and layer.weights
            and (isinstance(layer, keras.layers.Normalization) or not layer.trainable)
        ]

    @property
    def wraps(self) -> bool:
        """Whether layers can be put before and behind the model: one input, one output, and Keras's training step."""
        shapes = keras.tree.flatten(self.x)
        single = not isinstance(self.x, dict | list | tuple) and len(shapes) == 1
        return single and not self.own_step and len(getattr(self.model, "outputs", None) or [0]) == 1

    def make(self, recipe: Recipe, seed: int) -> keras.Model:
        """A copy with fresh weights; not compiled. Draws from ``random``, whose state is the caller's affair."""
        random.seed(seed)  # where Keras's initialisers and dropout take their seeds from
        copy, layers = self._subclassed(recipe) if self.subclassed else self._cloned(recipe)
        self._keep_given(layers)
        rng = np.random.default_rng(seed)
        for place, steps in recipe.memory:
            for layer in inside(layers[place.name], place):
                remember(layer, steps, rng)
        return self._wrapped(copy, recipe)

    def _cloned(self, recipe: Recipe) -> tuple[keras.Model, dict[str, Any]]:
        def changed(layer: Any) -> Any:
            config = layer.get_config()
            for place, key, value in recipe.settings:
                if place.name == layer.name:
                    for side in SIDES if place.wrapped else ():
                        if config.get(side):  # Bidirectional writes both down
                            config[side]["config"][key] = value
                    if not place.wrapped:
                        config[key] = value
            for place, cell in recipe.cells:
                if place.name == layer.name and not place.wrapped:
                    return getattr(keras.layers, cell).from_config(config)
            return layer.__class__.from_config(config)

        copy = keras.models.clone_model(self.model, clone_function=changed, recursive=True)
        return copy, {layer.name: layer for layer in copy._flatten_layers()}

    def _subclassed(self, recipe: Recipe) -> tuple[keras.Model, dict[str, Any]]:
        copy = type(self.model).from_config(self.model.get_config())
        # Names that Keras gave differ in each object of the class; the order of its layers does not.
        theirs = [one.name for one in self.model._flatten_layers()]
        early = len(list(copy._flatten_layers())) == len(theirs)
        if not early and recipe.settings:
            raise ArgumentError("its layers are made in build, where their arguments cannot be changed.")
        if early:
            self._set(recipe, dict(zip(theirs, copy._flatten_layers(), strict=True)))
        copy(keras.tree.map_structure(keras.ops.convert_to_tensor, self.x), training=False)
        return copy, dict(zip(theirs, copy._flatten_layers(), strict=True))

    def _set(self, recipe: Recipe, layers: dict[str, Any]) -> None:
        for place, key, value in recipe.settings:
            for layer in inside(layers[place.name], place):
                owner = layer.cell if isinstance(layer, keras.layers.RNN) and key != "return_sequences" else layer
                setattr(owner, key, _attribute(key, value))

    def _keep_given(self, layers: dict[str, Any]) -> None:
        theirs = {layer.name: layer for layer in self.model._flatten_layers()}
        for name in self.given:
            layers[name].set_weights(theirs[name].get_weights())
            if isinstance(theirs[name], keras.layers.Normalization):
                layers[name].finalize_state()

    def _wrapped(self, copy: keras.Model, recipe: Recipe) -> keras.Model:
        first, last = [], []
        if recipe.mask is not None:
            first.append(keras.layers.Masking(recipe.mask, name="padding"))
        if recipe.inputs is not None:
            centre, spread = (np.array(one) for one in recipe.inputs)
            scale, offset = (1 / spread).tolist(), (-centre / spread).tolist()
            first.append(keras.layers.Rescaling(scale, offset, name="scaled_inputs"))
        if recipe.outputs is not None:
            last.append(keras.layers.Rescaling(recipe.outputs[1], recipe.outputs[0], name="scaled_outputs"))
        if not first and not last:
            return copy
        if isinstance(copy, keras.Sequential):
            masked = int(isinstance(copy.layers[0], keras.layers.Masking))
            inputs = keras.Input(batch_shape=copy.input_shape, name="inputs")
            return keras.Sequential([inputs, *copy.layers[:masked], *first, *copy.layers[masked:], *last],
                                    name="repaired")  # fmt: skip
        shape = (None, *self.x.shape[1:]) if self.subclassed else copy.input_shape
        hidden = inputs = keras.Input(batch_shape=shape, name="inputs")
        for layer in (*first, copy, *last):
            hidden = layer(hidden)
        return keras.Model(inputs, hidden, name="repaired")


def place_of(model: keras.Model, name: str) -> tuple[Place, Any] | None:
    """A layer by its name in a finding, as in ``"bidirectional/forward_gru"``; None where there is no such layer.

    Example:
        >>> model = keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(3, name="memory")])
        >>> place_of(model, "memory")[0]
        Place(name='memory', wrapped=False)
    """
    parts = name.split("/")
    found = {layer.name: layer for layer in model._flatten_layers()}
    layer = found.get(parts[-1])
    if layer is None:
        return None
    wrapper = found.get(parts[-2]) if len(parts) > 1 else None
    if isinstance(wrapper, keras.layers.Wrapper):
        return Place(wrapper.name, wrapped=True), layer
    return Place(layer.name), layer


def recurrences(model: keras.Model) -> Iterator[tuple[Place, keras.layers.RNN]]:
    """The recurrent layers with their places; of a Bidirectional one of the two."""
    seen = set()
    for _, layer, container in recurrent_layers(model):
        place = Place(container.name, True) if isinstance(container, keras.layers.Wrapper) else Place(layer.name)
        if place not in seen:
            seen.add(place)
            yield place, layer


def inside(layer: Any, place: Place) -> list[Any]:
    """The layers that a place means: both of a Bidirectional."""
    if not place.wrapped:
        return [layer]
    if isinstance(layer, keras.layers.Bidirectional):
        return [layer.forward_layer, layer.backward_layer]
    return [layer.layer]


def remember(layer: keras.layers.RNN, steps: int, rng: np.random.Generator) -> None:
    """Sets the biases of an LSTM or GRU so that its states last for 1 to ``steps`` steps, each unit for its own time.

    Tallec and Ollivier 2018, "Can recurrent neural networks warp time?", section 2: the forget gate's bias is
    log(uniform(1, T - 1)) and the input gate's its negative; the update gate's the same in a GRU.

    Example:
        >>> layer = keras.layers.LSTM(3)
        >>> layer.build((None, None, 2))
        >>> remember(layer, 60, np.random.default_rng(0))
        >>> bias = keras.ops.convert_to_numpy(layer.cell.bias)
        >>> bool((bias[:3] == -bias[3:6]).all() and (bias[3:6] < np.log(59)).all())
        True
    """
    units = layer.cell.units
    long = np.log(rng.uniform(1, max(steps - 1, 2), units))
    bias = keras.ops.convert_to_numpy(layer.cell.bias).copy()
    if isinstance(layer, keras.layers.LSTM):
        bias[:units], bias[units : 2 * units] = -long, long
    else:
        bias[(0, slice(units)) if bias.ndim == 2 else slice(units)] = long
    layer.cell.bias.assign(bias)


def rate_of(model: keras.Model) -> float | None:
    """The learning rate, as it was written before it became a float32; None where it follows a schedule."""
    if isinstance(model.optimizer.get_config().get("learning_rate"), dict):
        return None
    return float(f"{float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)):.7g}")


def optimizer_config(model: keras.Model, recipe: Recipe) -> dict[str, Any]:
    """The settings of the user's optimizer with the recipe's changes."""
    config = model.optimizer.get_config()
    if not isinstance(config.get("learning_rate"), dict):
        config["learning_rate"] = rate_of(model)
    if recipe.rate is not None:
        config["learning_rate"] = recipe.rate
    if recipe.guard:
        config |= {name: None for name in CLIPPINGS if name in config}
    return config


def loss_of(model: keras.Model, recipe: Recipe) -> Any:
    if recipe.loss is None:
        return model.loss
    name, logits = recipe.loss
    return getattr(keras.losses, name)(**({"from_logits": True} if logits else {}))


def loss_weights_of(model: keras.Model, recipe: Recipe, squared: bool) -> Any:
    """Those of the user; with outputs scaled, such that gradients are those of scaled targets."""
    weights = model._compile_loss._user_loss_weights if model._compile_loss is not None else None
    if recipe.outputs is None:
        return weights
    return 1.0 / recipe.outputs[1] ** (2 if squared else 1)


def _attribute(key: str, value: Any) -> Any:
    if key.endswith("activation"):
        return keras.activations.get(value)
    return keras.initializers.get(value) if key.endswith("initializer") else value
