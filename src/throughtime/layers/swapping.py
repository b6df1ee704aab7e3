"""``accelerate`` and ``to_keras``: a model's recurrent layers become ours, or Keras's again, in place."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from ..archives import ZIP_ERRORS, why_unreadable
from ..errors import ArgumentError, short_line
from ..files import path_of
from ..kernels.schedule import byte_count
from .explanation import WRAPPERS, runs_as_ours
from .explanation import explain as explain
from .paths import bytes_a_step, why_not_fused
from .recurrent import OURS
from .scanned import Scanned

# What Keras's readers, and the layers that they make, raise for a file that says something else than model.save does.
UNREADABLE = (
    *ZIP_ERRORS, OSError, TypeError, LookupError, AttributeError, ImportError, AssertionError, ArithmeticError,
    MemoryError, SyntaxError,
)  # fmt: skip


def accelerate(model: keras.Layer, *, memory: int | str | None = None) -> keras.Layer:
    """Puts the recurrent layers of a model on the native kernel, in place.

    Weights, optimizer, compiled losses and the names in saved files stay as they are. SimpleRNN, GRU and LSTM are found
    in nested models, Bidirectional, TimeDistributed and subclassed models; a subclass of them is left alone, since it
    may override what we replace. What a layer cannot do on the kernel goes on in Keras's loop: see ``explain``. MinGRU,
    MinLSTM and LRU are on it anyway, and come back to it after ``to_keras``.

    Args:
        model: a keras.Model, compiled or not, trained or not; or a layer.
        memory: bytes, as a number or as in ``"256MiB"``, that the layers together may hold between forward and backward
            pass. Each gets its share by what it has to hold a step; what does not fit is computed again, and the
            gradients are the same to the bit. By default all is kept while it fits into a quarter of the machine's
            memory. It is no part of a saved file.

    Returns:
        The same model.

    Raises:
        ArgumentError: not a Keras model or layer; ``memory`` that is no number of bytes, or with no layer that could
            keep to one. One that is too small for a sequence's length is refused when that is known, in ``fit``.

    Example:
        >>> model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(8), keras.layers.Dense(1)])
        >>> accelerate(model) is model, explain(model)[0].path
        (True, 'native kernel')
    """
    _swap(model, OURS, "accelerate")
    if memory is not None:
        set_memory(model, memory)
    for layer in _layers(model):
        if isinstance(layer, WRAPPERS):
            layer.supports_masking = True  # Keras 3.16 has it False, and loses the mask
    return model


def set_memory(model: keras.Layer, memory: int | str) -> None:
    """Gives each layer of ours on the kernel its share: what it has to hold a step, of what all have to.

    Raises:
        ArgumentError: no number of bytes, or no layer that could keep to it.
    """
    budget = byte_count(memory)
    layers = [layer for layer in _layers(model) if runs_as_ours(type(layer)) and why_not_fused(layer) is None]
    if not layers:
        raise ArgumentError(
            f"memory={memory!r} is given, and no layer of the model runs on the native kernel; tt.explain(model) says "
            "why. tt.accelerate(model) puts Keras's own layers on it."
        )
    each = [bytes_a_step(layer) for layer in layers]
    for layer, mine in zip(layers, each, strict=True):
        layer.memory = max(1, budget * mine // sum(each))


def to_keras(model: keras.Layer) -> keras.Layer:
    """Gives a model Keras's own recurrent layers back, in place: for export, second derivatives, or comparison.

    MinGRU, MinLSTM and LRU, which Keras does not have, are computed by a parallel scan in Keras's operations. That is
    no part of a saved file, nor of a copy made from a config, such as ``clone_model``'s.

    Masks go on being passed on. On TensorFlow ``jit_compile`` stays False until the model is compiled again.

    Args:
        model: a keras.Model, compiled or not, trained or not; or a layer.

    Returns:
        The same model.

    Raises:
        ArgumentError: not a Keras model or layer.

    Example:
        >>> model = accelerate(keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(8)]))
        >>> type(to_keras(model).layers[0]) is keras.layers.LSTM
        True
    """
    _swap(model, {ours: stock for stock, ours in OURS.items()}, "to_keras")
    return model


@contextmanager
def accelerated(model: keras.Layer) -> Iterator[None]:
    """A model's stock layers on the native kernel within a block, where that gives the same numbers sooner.

    Stateful layers stay as they are. Functions that were compiled before are for the model as it was, those that are
    compiled within the block for within it: keeping them apart is the caller's affair.
    """
    swapped = []
    try:
        for layer in _layers(model):
            ours = OURS.get(type(layer))
            if ours is not None and not layer.stateful and why_not_fused(layer) is None:
                swapped.append((layer, type(layer), dict(layer.__dict__)))
                layer.__class__ = ours
                layer.adopt()
        yield
    finally:
        for layer, stock, before in swapped:
            layer.__class__ = stock
            for name in [name for name in layer.__dict__ if name not in before]:
                del layer.__dict__[name]
            layer.__dict__.update(before)


def load_model(path: str | os.PathLike[str], *, compiled: bool = False) -> keras.Model:
    """A saved model, or that of a run directory; whatever is wrong with the file is said in one line.

    Args:
        compiled: with its loss and optimizer, where they were saved.

    Raises:
        ArgumentError: there is no such file, or Keras cannot read it.
    """
    file = path_of(path, "file")
    if file.is_dir():
        file = file / "model.keras"
    if not file.is_file():
        raise ArgumentError(f"there is no file {file}; a model that model.save(...) wrote is accepted.")
    return read_model(file, compiled=compiled)


def read_model(file: Path, *, compiled: bool = False, custom_objects: dict[str, Any] | None = None) -> keras.Model:
    """A model from a file. An archive is looked at before Keras unpacks it: what its entries claim, and their sums.

    Raises:
        ArgumentError: it cannot be read.
    """
    try:
        said = why_unreadable(file) if file.suffix == ".keras" else ""
        if said:
            raise ArgumentError(f"{file} cannot be read as a Keras model ({short_line(ValueError(said))}).")
        with warnings.catch_warnings():
            # Of a model that was saved before its first training step: its optimizer has no state yet.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            return keras.saving.load_model(file, compile=compiled, custom_objects=custom_objects)
    except ArgumentError:
        raise
    except UNREADABLE as error:
        raise ArgumentError(f"{file} cannot be read as a Keras model ({short_line(error)}).") from error


def _swap(model: keras.Layer, classes: dict[type, type], called: str) -> None:
    if not isinstance(model, keras.Layer):
        raise ArgumentError(
            f"{called} was given {type(model).__name__}; a keras.Model or keras.Layer is accepted. For a file: "
            f"{called}(keras.models.load_model(path))."
        )
    for layer in _layers(model):
        if isinstance(layer, Scanned):
            _by_scan(layer, called == "to_keras")
        other = classes.get(type(layer))
        if other is None:
            continue
        if other not in OURS.values():
            layer.leave()
        layer.__class__ = other
        if other in OURS.values():
            layer.adopt()
    for part in _layers(model):
        if isinstance(part, keras.Model):
            _forget_compiled(part)


def _by_scan(layer: Scanned, by_scan: bool) -> None:
    """Keras has no such layers, but the operations of a scan."""
    layer.leave()
    layer.by_scan = by_scan
    layer.adopt()


def _layers(model: keras.Layer) -> Iterator[keras.Layer]:
    """A model and all layers in it, wrapped ones too, each once."""
    yield from dict.fromkeys(model._flatten_layers())


def _forget_compiled(model: keras.Model) -> None:
    """The functions that were compiled hold the layers as they were."""
    model.train_function = model.test_function = model.predict_function = None
    if keras.backend.backend() == "tensorflow" and model.compiled and model.jit_compile:
        model.jit_compile = all(layer.supports_jit for layer in _layers(model))
