"""Who has asked for a call. JAX and TensorFlow do not say why they trace a function; what is on the call stack does."""

from __future__ import annotations

import sys

EXPORTERS = (
    "keras.src.export",
    "tensorflow.python.saved_model",
    "tensorflow.lite.python",
    "jax._src.export",
    "jax.experimental.jax2tf",
    "jax2onnx",
    "tf2onnx",
)
EXPORTED = "the model is being exported, and there is no native kernel where it will run: Keras's operations are there."


def called_from(*packages: str) -> bool:
    """Whether code of a package, or of a module in it, is on the way to the caller.

    Takes microseconds: for calls that are traced, not for those that compute.

    Example:
        >>> called_from("doctest"), called_from("keras.src.export")
        (True, False)
    """
    frame = sys._getframe(1)
    within = tuple(f"{package}." for package in packages)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name in packages or name.startswith(within):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
