"""Which framework Keras runs on, chosen before Keras is imported."""

from __future__ import annotations

import importlib.util
import os
import sys

from .errors import BackendError, listed, nearest

# In the order of preference: Keras's recurrent loops are compiled whole on JAX.
BACKENDS = {"jax": "jax", "torch": "torch", "tensorflow": "tensorflow"}


def choose_backend() -> str:
    """Settles ``KERAS_BACKEND`` and returns it: as the user set it, else the first of jax, torch, tensorflow installed.

    A Keras that is imported already keeps its backend.

    Raises:
        BackendError: the backend asked for, or any at all, is not installed, or is unknown.
    """
    if "keras" in sys.modules:
        import keras

        return keras.backend.backend()
    asked = os.environ.get("KERAS_BACKEND")
    if asked is not None and asked not in BACKENDS:
        raise BackendError(f"KERAS_BACKEND={asked!r} is not one of {listed(BACKENDS)}.{nearest(asked, BACKENDS)}")
    installed = [name for name, module in BACKENDS.items() if importlib.util.find_spec(module)]
    if asked is not None and asked not in installed:
        others = f", or use one that is installed: KERAS_BACKEND={installed[0]}" if installed else ""
        raise BackendError(
            f"KERAS_BACKEND={asked} is asked for and not installed; pip install 'throughtime[{asked}]'{others}."
        )
    if not installed:
        raise BackendError(
            "no backend for Keras is installed; pip install 'throughtime[jax]' (or [torch], or [tensorflow])."
        )
    # TensorFlow logs its start on stderr, and JAX that it found no GPU: nothing a user of the command line can act on.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = asked or installed[0]
    return os.environ["KERAS_BACKEND"]


def backend_version() -> str:
    """The backend in use with its version, as in ``jax 0.10.2``."""
    from importlib.metadata import PackageNotFoundError, version

    name = choose_backend()
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:  # tensorflow-cpu and the like install the same module under another name
        return name
