"""What a program of the catalogue is, and how one is entered: ``@faulty(code)`` or ``@healthy()`` on a function.

Models are random but seeded by the program's name, data by the generators of ``data``: each run makes the same.
"""

from __future__ import annotations

import functools
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

ALL_BACKENDS = ("jax", "torch", "tensorflow")


@dataclass(frozen=True, eq=False)
class Case:
    """The arguments of ``tt.check``."""

    model: keras.Model
    x: Any
    y: Any
    validation_data: Any = None
    fit: dict[str, Any] | None = None
    series: Any = None
    task: str | None = None


@dataclass(frozen=True)
class Program:
    """A program that has one known fault, or none."""

    name: str
    code: str | None  # the fault that is its cause; None: healthy
    make: Callable[[], Case]
    backends: tuple[str, ...] = ALL_BACKENDS  # where it is faulty; on the others it is healthy
    source: str = ""  # where people had this fault

    @property
    def summary(self) -> str:
        return (self.make.__doc__ or "").strip()


ENTERED: dict[str, Program] = {}


def _enter(code: str | None, backends: tuple[str, ...], source: str) -> Callable[[Callable[[], Case]], Any]:
    def decorate(make: Callable[[], Case]) -> Callable[[], Case]:
        name = make.__name__.replace("_", "-")
        if name in ENTERED:
            raise ValueError(f"two programs are called {name}")
        if not make.__doc__:
            raise ValueError(f"the program {name} does not say what it is")

        @functools.wraps(make)
        def seeded() -> Case:
            keras.utils.set_random_seed(zlib.crc32(name.encode()) % 2**31)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Keras's own warning is what these users overlooked
                return make()

        ENTERED[name] = Program(name, code, seeded, backends, source)
        return seeded

    return decorate


def faulty(code: str, *, source: str = "", backends: tuple[str, ...] = ALL_BACKENDS) -> Any:
    return _enter(code, backends, source)


def healthy(*, source: str = "") -> Any:
    return _enter(None, ALL_BACKENDS, source)
