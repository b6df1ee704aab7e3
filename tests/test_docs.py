"""What is written for users runs: the examples of every docstring, and the code of README and of the pages of docs."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from throughtime import cli

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


@pytest.fixture
def vowels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small table with the columns that README speaks of."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 12, 60)
    utterance = np.repeat(np.arange(60), lengths)
    frame = np.concatenate([np.arange(n) for n in lengths])
    columns = {"utterance": utterance, "frame": frame, "speaker": 1 + utterance % 2}
    columns |= {f"c{i}": (i - 2) * (utterance % 2) + rng.normal(0, 0.3, len(utterance)) for i in range(4)}
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "runs" / "demo" / "vowels.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(language: str, page: str = "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def test_the_python_of_readme_runs(vowels: Path) -> None:
    found = blocks("python")
    assert found
    for block in found:
        exec(compile(block, "README.md", "exec"), {})
    assert (vowels / "report.html").exists()


@pytest.mark.parametrize("page", ["docs/cells.md", "docs/long-sequences.md"])
def test_the_python_of_other_pages_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks("python", page)
    assert found
    for block in found:
        exec(compile(block, page, "exec"), {})


def test_the_commands_of_readme_run(vowels: Path, monkeypatch, capfd) -> None:
    lines = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines() if line[:2] == "$ "]
    ours = [line for line in lines if line.startswith("throughtime ")]
    assert len(ours) >= 2
    for line in ours:
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert not stopped.value.code, capfd.readouterr().err


def test_every_code_has_a_line_in_the_page_of_findings_with_the_thresholds_as_they_are() -> None:
    from throughtime.diagnosis import thresholds
    from throughtime.diagnosis.findings import CODES

    page = (ROOT / "docs" / "findings.md").read_text()
    assert sorted(re.findall(r"^\| `([\w-]+)` \|", page, flags=re.MULTILINE)) == sorted(CODES)
    named = re.findall(r"`([A-Z_]+) = ([^`]+)`", page)
    assert len(named) > 30
    assert [one for one in named if getattr(thresholds, one[0]) != float(one[1])] == []
