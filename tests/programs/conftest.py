"""Each program compiles its own model: what is compiled is let go of after it, which would add up to gigabytes."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import pytest


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    yield
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()
