"""Settings of the whole suite: property tests draw the same cases on every run; compiled programs are kept."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

# What XLA compiled for one test serves the next: most of the suite's time on JAX would go there. Subprocesses share it.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "throughtime-tests-xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")

# No deadline, because no test measures time; derandomized, so that a failure is there on the next run as well.
settings.register_profile("throughtime", deadline=None, derandomize=True, database=None)
settings.load_profile("throughtime")


@pytest.fixture(autouse=True, scope="module")
def _let_go_of_what_was_compiled() -> Iterator[None]:
    """XLA maps memory for each program that it compiles, and crashes at the 65,530 maps that Linux gives a process."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
