"""The shared library: where it is found, what is said where it cannot be used, and what the environment chooses.

Mostly in processes of their own, because a process loads the library once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from throughtime.errors import ArgumentError, BackendError
from throughtime.kernels import library, native


def in_a_process(program: str, **variables: str) -> str:
    command = [sys.executable, "-c", f"import throughtime\nfrom throughtime.kernels import native\n{program}"]
    environment = os.environ | variables
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def path_of_library() -> Path:
    return Path(native.load()._name)


# Finding it ---------------------------------------------------------------------------------------------------------


def test_it_lies_in_any_folder_of_the_package(tmp_path: Path) -> None:
    """In an editable install, the library and the sources are in two folders."""
    shutil.copy(path_of_library(), tmp_path)
    program = f"throughtime.__path__.insert(0, {str(tmp_path)!r})\nprint(native.load()._name)"
    assert in_a_process(program, THROUGHTIME_LIBRARY="") == str(tmp_path / path_of_library().name)


def test_the_environment_names_another_one(tmp_path: Path) -> None:
    other = tmp_path / "another name"
    shutil.copy(path_of_library(), other)
    assert in_a_process("print(native.load()._name)", THROUGHTIME_LIBRARY=str(other)) == str(other)


def test_without_one_the_reason_is_said(tmp_path: Path) -> None:
    program = (
        f"throughtime.__path__ = [{str(tmp_path)!r}]\n"
        "from throughtime.errors import BackendError\n"
        "print(native.why_not_available())\n"
        "try:\n"
        "    native.load()\n"
        "except BackendError as error:\n"
        "    print(error)\n"
    )
    why_not, error = in_a_process(program, THROUGHTIME_LIBRARY="").splitlines()
    assert "no native library" in why_not and "a compiler and then throughtime again" in why_not
    assert error == f"the native kernels are not available: {why_not}"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "the system cannot load it"), (b"no library", "the system cannot load it")],
)
def test_one_that_was_asked_for_and_cannot_be_used_is_an_error(
    content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a reason to go on without: both ways of asking raise."""
    path = tmp_path / "wrong.so"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("THROUGHTIME_LIBRARY", str(path))
    library._found.cache_clear()
    try:
        for ask in (native.load, native.why_not_available):
            with pytest.raises(BackendError, match=f"THROUGHTIME_LIBRARY=.*wrong.so cannot be used: {message}"):
                ask()
    finally:
        library._found.cache_clear()


def test_a_library_of_somebody_else_is_refused() -> None:
    import _ctypes

    found, why_not = library._opened(Path(_ctypes.__file__))
    assert found is None
    assert why_not.endswith("is not a library of throughtime's.")


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    path = path_of_library()
    other = library.ABI_VERSION + 1
    monkeypatch.setattr(library, "ABI_VERSION", other)
    found, why_not = library._opened(path)
    assert found is None
    assert f"has interface {other - 1}, this throughtime needs {other}; install throughtime again" in why_not


# What the environment chooses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", native.supported())
def test_the_environment_chooses_the_instruction_set(isa: str) -> None:
    assert in_a_process("print(native.isa())", THROUGHTIME_ISA=isa) == isa


def test_the_environment_chooses_the_number_of_threads() -> None:
    assert in_a_process("print(native.threads())", THROUGHTIME_THREADS="3") == "3"
    assert native.threads() >= 1


def test_an_unknown_instruction_set_is_refused() -> None:
    program = (
        "from throughtime.errors import ArgumentError\n"
        "import numpy as np\n"
        "one = np.ones((1, 1), np.float32)\n"
        "problem = native.Problem('rnn_tanh', batch=1, steps=1, features=1, units=1)\n"
        "for call in (native.isa, lambda: native.forward(problem, x=one[None], kernel=one, recurrent_kernel=one)):\n"
        "    try:\n"
        "        call()\n"
        "    except ArgumentError as error:\n"
        "        print(error)\n"
    )
    said = in_a_process(program, THROUGHTIME_ISA="sse9").splitlines()
    assert len(said) == 2
    assert all("THROUGHTIME_ISA=sse9" in line and "'portable'" in line for line in said)


def test_the_peak_is_measured() -> None:
    for isa in native.supported():
        assert native.peak_gflops(isa, threads=1, seconds=0.001) > 0
    with pytest.raises(ArgumentError, match="isa='sse9' is not accepted"):
        native.peak_gflops("sse9")


THREADS = {"THROUGHTIME_THREADS": "", "OMP_NUM_THREADS": ""}
HERE = len(os.sched_getaffinity(0))


def test_there_are_no_more_threads_than_openmp_is_to_have() -> None:
    assert in_a_process("print(native.threads())", **THREADS | {"OMP_NUM_THREADS": "1"}) == "1"
    assert in_a_process("print(native.threads())", **THREADS | {"OMP_NUM_THREADS": "9999"}) == str(HERE)
    both = {"OMP_NUM_THREADS": "1", "THROUGHTIME_THREADS": "3"}
    assert in_a_process("print(native.threads())", **THREADS | both) == "3"


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "900000000 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "20000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "no number\n"}, None),
        ({}, None),
    ],
)
def test_there_are_no_more_threads_than_the_quota_of_a_container(
    files: dict[str, str], processors: int | None, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    found = in_a_process("print(native.threads())", **THREADS | {"THROUGHTIME_CGROUP": str(tmp_path)})
    assert found == str(processors or HERE)
