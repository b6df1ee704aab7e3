"""Which framework Keras runs on, chosen before Keras is imported."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

from .errors import BackendError, listed, nearest

# In the order of preference: Keras's recurrent loops are compiled whole on JAX.
BACKENDS = {"jax": "jax", "torch": "torch", "tensorflow": "tensorflow"}

# What Keras writes into keras.json when it is first imported, on whichever backend: nobody's choice.
UNASKED = {"floatx": "float32", "epsilon": 1e-07, "backend": "tensorflow", "image_data_format": "channels_last"}


def set_backend() -> None:
    """Sets ``KERAS_BACKEND`` for an ``import keras`` to come, where the user has not; called by ``import throughtime``.

    Nothing is imported, and nothing is refused: that is for ``choose_backend``, when Keras is needed.
    """
    if "keras" in sys.modules:
        return
    asked, _ = _asked()
    installed = _installed()
    name = asked if asked is not None else next(iter(installed), None)
    if name in installed:
        _settle(name)


def choose_backend() -> str:
    """Settles ``KERAS_BACKEND`` and returns it: as the user set it, else the first of jax, torch, tensorflow installed.

    The user sets it in the environment, or in the keras.json that Keras reads. A Keras that is imported already keeps
    its backend.

    Raises:
        BackendError: the backend asked for, or any at all, is not installed, or is unknown.
    """
    if "keras" in sys.modules:
        import keras

        return keras.backend.backend()
    asked, where = _asked()
    if asked is not None and asked not in BACKENDS:
        raise BackendError(f"{where} is not one of {listed(BACKENDS)}.{nearest(asked, BACKENDS)}")
    installed = _installed()
    if asked is not None and asked not in installed:
        others = f", or use one that is installed: KERAS_BACKEND={installed[0]}" if installed else ""
        raise BackendError(f"{where} is asked for and not installed; pip install 'throughtime[{asked}]'{others}.")
    if not installed:
        raise BackendError(
            "no backend for Keras is installed; pip install 'throughtime[jax]' (or [torch], or [tensorflow])."
        )
    return _settle(asked or installed[0])


def _settle(name: str) -> str:
    # TensorFlow logs its start on stderr, and JAX that it found no GPU: nothing a user of the command line can act on.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = name
    return name


def _installed() -> list[str]:
    return [name for name, module in BACKENDS.items() if importlib.util.find_spec(module)]


def _asked() -> tuple[str | None, str]:
    """The backend that the user chose, None without; and the choice in words, for a message."""
    name = os.environ.get("KERAS_BACKEND")
    if name:
        return name, f"KERAS_BACKEND={name!r}"
    path = _keras_json()
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # Keras goes on without it as well
        return None, ""
    if not isinstance(settings, dict) or settings == UNASKED or not isinstance(settings.get("backend"), str):
        return None, ""
    return settings["backend"], f"backend={settings['backend']!r} in {path}"


def _keras_json() -> Path:
    """The file that Keras reads its settings from."""
    if "KERAS_HOME" in os.environ:
        return Path(os.environ["KERAS_HOME"]).expanduser() / "keras.json"
    home = Path(os.path.expanduser("~"))
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras" / "keras.json"


def backend_version() -> str:
    """The backend in use with its version, as in ``jax 0.10.2``."""
    from importlib.metadata import PackageNotFoundError, version

    name = choose_backend()
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:  # tensorflow-cpu and the like install the same module under another name
        return name
