"""Settings of the whole suite: property tests draw the same cases on every run; compiled programs are kept."""

from __future__ import annotations

import os
import sys
import tempfile
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import settings

# What XLA compiled for one test serves the next: most of the suite's time on JAX would go there. Subprocesses share it.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "throughtime-tests-xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
# A test runs what it compiled once or twice: LLVM is not asked to make it fast. It saves a quarter of the time on JAX.
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 " + os.environ.get("XLA_FLAGS", "")

# One test runs on each core. Threads of OpenMP beside that wait in turn, at full speed: a third of the time on PyTorch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline, because no test measures time; derandomized, so that a failure is there on the next run as well.
settings.register_profile("throughtime", deadline=None, derandomize=True, database=None)
settings.load_profile("throughtime")


@pytest.fixture(autouse=True, scope="module")
def _let_go_of_what_was_compiled() -> Iterator[None]:
    """XLA maps memory for each program that it compiles, and crashes at the 65,530 maps that Linux gives a process."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


# Tests of layers and trainings in many combinations, each of which JAX and TensorFlow compile anew: they take most of
# the time there, and seconds on PyTorch. All of them run on PyTorch, and a fixed quarter on each of the others; with
# --thorough, all run everywhere.
COMPILED = (
    "layers/test_scan.py", "layers/test_scanned.py", "layers/test_equality.py", "layers/test_memory.py",
    "layers/test_swapping.py", "layers/test_stateful.py", "layers/test_states.py", "gradients/test_locating.py",
    "gradients/test_flow.py", "gradients/test_guard.py", "gradients/test_monitor.py", "diagnosis/test_check.py",
    "diagnosis/test_truncation.py",
    "data/test_batching.py", "stream/test_stream.py", "training/test_checking.py", "training/test_carrying.py",
    "training/test_networks.py", "training/test_round_trips.py", "training/test_run.py", "training/test_train.py",
    "gradients/test_self_probe.py", "gradients/test_building.py", "gradients/test_state_shapes.py",
    "gradients/test_reading.py", "diagnosis/test_leaks.py", "diagnosis/test_losses.py", "stream/test_saved_models.py",
    "stream/test_snapshots.py", "training/test_directory.py", "training/test_stored.py", "training/test_fuzz_runs.py",
    "kernels/test_jax.py", "kernels/test_tensorflow.py", "test_cli.py", "test_stream_cli.py",
)  # fmt: skip
QUARTER = {"jax": 0, "tensorflow": 1}
EVERYWHERE = ("killed_at_any_moment",)  # what a stop in the middle leaves is each backend's own affair

# Of the programs, those at such places: every other one on PyTorch, which compiles nothing, every 48th on the others.
# Of a file that is named, as in `pytest tests/programs`, all tests run on whichever backend.
PROGRAMS = {"jax": (1, 48), "tensorflow": (9, 48), "torch": (0, 2)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="also run what is marked thorough: minutes to hours")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    thorough = config.getoption("--thorough")
    if not thorough:
        exhaustive = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=exhaustive)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]
    backend = os.environ.get("KERAS_BACKEND", "")
    if thorough or backend not in ("jax", "torch", "tensorflow") or config.args != config.getini("testpaths"):
        return
    left_out = [item for item in items if _is_left_out(item, backend)]
    config.hook.pytest_deselected(items=left_out)
    chosen = set(left_out)
    items[:] = [item for item in items if item not in chosen]


def _is_left_out(item: pytest.Item, backend: str) -> bool:
    path, case = item.path.as_posix(), getattr(item, "callspec", None)
    if case is not None and "program" in case.indices and path.endswith("programs/test_programs.py"):
        place, every = PROGRAMS[backend]
        return case.indices["program"] % every != place
    return (
        backend != "torch"
        and path.endswith(COMPILED)
        and item.get_closest_marker("backend") is not None
        and not any(word in item.name for word in EVERYWHERE)
        and zlib.crc32(item.nodeid.encode()) % 4 != QUARTER[backend]
    )
