"""What is written for users runs: the examples of every docstring, and the code of README and of the pages of docs."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import snippets

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    for path in sorted((ROOT / "src" / "throughtime").rglob("*.py"))
    if path.name not in ("__main__.py",)
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings_run(name: str) -> None:
    module = importlib.import_module(name.removesuffix(".__init__"))
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert failed == 0


def test_public_functions_and_classes_show_an_example() -> None:
    import throughtime

    without = [
        name
        for name in throughtime.__all__
        if name not in ("ThroughtimeError", "Run", "write_report", "read_like", "SequenceData")
        and ">>>" not in (getattr(throughtime, name).__doc__ or "")
    ]
    assert without == []


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small table with the columns that README speaks of."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 12, 60)
    utterance = np.repeat(np.arange(60), lengths)
    frame = np.concatenate([np.arange(n) for n in lengths])
    columns = {"utterance": utterance, "frame": frame, "speaker": 1 + utterance % 2}
    columns |= {f"c{i}": (i - 2) * (utterance % 2) + rng.normal(0, 0.3, len(utterance)) for i in range(4)}
    path = tmp_path_factory.mktemp("table") / "vowels.parquet"
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


# A page takes one process here, and each of its blocks starts with no names. On JAX, as the demo installs it, that is
# `make snippets`, with a process for each block, and with the commands; CI runs it beside the tests.
PASTED = """
import sys
for place, block in enumerate(sys.argv[1:], 1):
    exec(compile(block, f"block {place}", "exec"), {"__name__": "__main__"})
"""


@pytest.mark.parametrize(("extra", "backend"), list(snippets.EXTRAS.items()))
def test_python_as_pasted_runs_on_the_one_backend_that_is_installed(extra: str, backend: str, table: Path) -> None:
    block = snippets.blocks("python", "README.md")[0]
    others = sorted({*snippets.EXTRAS.values()} - {backend})
    seen = (
        f"{block}\nassert keras.backend.backend() == {backend!r}\nimport importlib.util\n"
        f"assert not any(map(importlib.util.find_spec, {others!r}))"
    )
    assert snippets.run([["-c", seen]], extra=extra, table=table) == ""


def test_code_that_needs_more_than_is_installed_is_seen(table: Path) -> None:
    for module in ("torch", "polars", "pytest", "ruff"):
        assert f"No module named '{module}'" in snippets.run([["-c", f"import {module}"]], extra="demo", table=table)
    assert "No module named 'tensorflow'" in snippets.run([["-c", "import keras"]], extra="demo", table=table)
    assert "pandas" in snippets.installed_by("demo") and "pandas" not in snippets.installed_by("torch")


@pytest.mark.thorough
@pytest.mark.parametrize("extra", ["torch", "tensorflow"])
@pytest.mark.parametrize("page", [page for page in snippets.PAGES if snippets.blocks("python", page)])
def test_the_python_of_a_page_runs_on_the_other_backends(page: str, extra: str, table: Path) -> None:
    assert snippets.run([["-c", PASTED, *snippets.blocks("python", page)]], extra=extra, table=table) == ""


def test_keras_is_imported_after_throughtime_in_what_readers_paste() -> None:
    """Where it is imported first, it looks for TensorFlow, whatever is installed."""
    pasted = [(page, block) for page in snippets.PAGES for block in snippets.blocks("python", page)]
    assert len(pasted) > 10
    for page, block in pasted:
        imported = [node.names[0].name for node in ast.parse(block).body if isinstance(node, ast.Import)]
        if "keras" in imported:
            assert "throughtime" in imported[: imported.index("keras")], (page, imported)


def test_the_commands_of_readme_are_seen() -> None:
    assert [command[0] for command in snippets.commands("README.md")] == ["train", "predict", "check"]


def test_every_code_has_a_line_in_the_page_of_findings_with_the_thresholds_as_they_are() -> None:
    from throughtime.diagnosis import thresholds
    from throughtime.diagnosis.findings import CODES

    page = (ROOT / "docs" / "findings.md").read_text()
    assert sorted(re.findall(r"^\| `([\w-]+)` \|", page, flags=re.MULTILINE)) == sorted(CODES)
    named = re.findall(r"`([A-Z_]+) = ([^`]+)`", page)
    assert len(named) > 30
    assert [one for one in named if getattr(thresholds, one[0]) != float(one[1])] == []
