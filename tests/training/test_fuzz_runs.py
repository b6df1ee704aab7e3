"""A run directory with one file damaged: it loads as it was, or is refused in one line. Nothing crashes."""

from __future__ import annotations

import collections
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cases import made
from run_mutations import FILES

from throughtime.training.checkpoint import Progress
from throughtime.training.train import train

pytestmark = pytest.mark.backend
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of a classifier and one of a forecaster, each with its last checkpoint kept."""
    folder, found = tmp_path_factory.mktemp("runs"), {}
    written = Progress.write

    def kept(self: Progress, path: Path, *, fingerprint: dict) -> None:
        written(self, path, fingerprint=fingerprint)
        shutil.copy(path, folder / "checkpoint.npz")
        (folder / "fingerprint.json").write_text(json.dumps(fingerprint))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Progress, "write", kept)
        for task in ("classify", "forecast"):
            train(made(task), made(task, seed=2), units=2, epochs=1, buckets=1, progress=False, out=folder / task)
            for name in ("checkpoint.npz", "fingerprint.json"):
                shutil.move(folder / name, folder / task / name)
            found[task] = folder / task
    return found


def outcomes(kind: str, directory: Path, first: int, count: int) -> collections.Counter[str]:
    """How many mutations were loaded and refused, by a process of their own; fails on anything else."""
    program = [sys.executable, str(HERE / "run_mutations.py"), kind, str(directory), str(first), str(count)]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=900)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"kind"')]
    assert done.returncode == 0, (done.returncode, lines[-1:], done.stderr[-2000:])
    found = collections.Counter(line["outcome"] for line in lines if "outcome" in line)
    assert found.total() == count * len(kind.split(","))
    odd = [line for line in lines if line.get("outcome", "loaded") not in ("loaded", "refused")]
    assert odd == [], f"{len(odd)} of {count}; the first is {odd[0]['kind']} {odd[0]['number']}:\n{odd[0]['outcome']}"
    return found


def test_a_damaged_file_is_refused_in_one_line_or_loads_as_it_was(directories: dict[str, Path]) -> None:
    assert outcomes(",".join(FILES), directories["classify"], 0, 10)["refused"] >= 20


@pytest.mark.thorough
@pytest.mark.parametrize("task", ["classify", "forecast"])
@pytest.mark.parametrize("kind", FILES)
def test_hundreds_of_damaged_files(kind: str, task: str, directories: dict[str, Path], capsys) -> None:
    found = outcomes(kind, directories[task], 16, 300)
    with capsys.disabled():
        print(f"\n{kind} of {task}: {dict(found)}")
    assert found["refused"] >= 60
