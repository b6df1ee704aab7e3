"""The archive of the sources, the wheel made of it, and the install where there is no compiler: each in an environment
of its own that has NumPy and nothing else, without a network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
KERNELS = Path(__file__).parent / "kernels"

# Every cell by the installed library, forward and backward, against the NumPy kernels of the same install.
FORWARD_AND_BACKWARD = """
import sys
import numpy as np
from throughtime.kernels import native, reference
sys.path.insert(0, sys.argv[1])
from recurrences import masked
for cell in native.CELLS:
    case = masked(cell, "gaps", batch=5, steps=7, features=3, units=19)
    expected, found = case.results(reference), case.results(native)
    for name, values in found.items():
        # float32 in another order of summation
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5, err_msg=f"{cell} {name}")
print(native.load()._name)
"""


def ran(*command: str | Path, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    without = ("THROUGHTIME_LIBRARY", "THROUGHTIME_REQUIRE_KERNELS", "PYTHONPATH", "CC", "CXX")
    environment = {name: value for name, value in os.environ.items() if name not in without} | variables
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def build(source: Path, folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A wheel by pip; unoptimized, since what is asked here is whether it is whole, and that builds in a fifth of the
    time."""
    return ran(
        *(sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir"),
        *("--config-settings", "cmake.build-type=Debug", *options, "--wheel-dir", folder, source),
        **variables,
    )


def python_with(wheel: Path, folder: Path) -> Path:
    """The interpreter of a new environment that has the wheel and this one's NumPy."""
    made = ran(sys.executable, "-m", "venv", "--without-pip", folder)
    assert made.returncode == 0, made.stderr
    python = folder / "bin" / "python"
    installed = ran(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel)
    assert installed.returncode == 0, installed.stderr
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for part in Path(np.__file__).parents[1].glob("numpy*"):
        (packages / part.name).symlink_to(part)
    return python


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked archive of the sources."""
    folder = tmp_path_factory.mktemp("sources")
    program = "import sys\nfrom scikit_build_core.build import build_sdist\nprint(build_sdist(sys.argv[1]))"
    made = ran(sys.executable, "-c", program, folder)
    assert made.returncode == 0, made.stderr
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def test_the_archive_has_what_the_repository_has(sources: Path) -> None:
    for name in ("csrc", "src", "tests", "benchmarks", "docs"):
        for path in (ROOT / name).rglob("*.*"):
            if path.suffix in {".py", ".cc", ".c", ".h", ".md", ".map", ".html", ".css"}:
                assert (sources / path.relative_to(ROOT)).is_file(), path
    for name in ("CMakeLists.txt", "Makefile", "constraints.txt", "LICENSE", "CHANGELOG.md", "NOTATION.md"):
        assert (sources / name).is_file(), name
    assert not list(sources.glob(".venv")) + list(sources.glob("build")) + list(sources.glob("runs"))


@pytest.mark.thorough
def test_a_wheel_runs_in_an_empty_environment(sources: Path, tmp_path: Path) -> None:
    """Made as ``make wheel`` makes it: for any version of Python, and for machines that have a C library alone."""
    static = ("--config-settings", "cmake.define.THROUGHTIME_STATIC_RUNTIME=ON")
    built = build(sources, tmp_path / "built", *static, THROUGHTIME_REQUIRE_KERNELS="1")
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "built").glob("*.whl")
    assert wheel.name.startswith("throughtime-") and "-py3-none-linux_" in wheel.name
    tools = sysconfig.get_path("scripts")
    repaired = ran(
        *(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", tmp_path / "dist", wheel),
        PATH=f"{tools}{os.pathsep}{os.environ['PATH']}",
    )
    assert repaired.returncode == 0, repaired.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert "-py3-none-manylinux_" in wheel.name

    python = python_with(wheel, tmp_path / "environment")
    computed = ran(python, "-c", FORWARD_AND_BACKWARD, KERNELS, cwd=tmp_path)
    assert computed.returncode == 0, computed.stderr
    library = Path(computed.stdout.strip())
    assert library.name == "libthroughtime.so" and library.is_relative_to(tmp_path / "environment")
    licences = [path.name for path in (tmp_path / "environment").rglob("throughtime-*.dist-info/licenses/**/*")]
    assert {"LICENSE", "NOTICE"} <= set(licences)


def test_without_a_compiler_the_install_succeeds_and_says_so(sources: Path, tmp_path: Path) -> None:
    empty = tmp_path / "no programs"
    empty.mkdir()
    built = build(sources, tmp_path / "built", PATH=str(empty))
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "built").glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    python = python_with(wheel, tmp_path / "environment")
    said = ran(python, "-c", "from throughtime.kernels import native\nprint(native.why_not_available())", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "no native library" in said.stdout and "a compiler and then throughtime again" in said.stdout


def test_without_a_compiler_who_needs_the_kernels_sees_the_error(sources: Path, tmp_path: Path) -> None:
    built = build(sources, tmp_path / "built", PATH=str(tmp_path), THROUGHTIME_REQUIRE_KERNELS="1")
    assert built.returncode != 0
    assert "CMAKE_CXX_COMPILER" in built.stdout + built.stderr
    assert not (tmp_path / "built").exists() or not list((tmp_path / "built").iterdir())
