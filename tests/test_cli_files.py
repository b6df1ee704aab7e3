"""The command line where files cannot be written: one line, exit code 2, and nothing half written."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from throughtime import cli
from throughtime.training.directory import hold

COMMAND = ["train", "sums.csv", "--target", "y", "--sequence", "s", "--units", "2", "--epochs", "1", "--quiet"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = (f"{s},{s * t % 7},{s % 5}" for s in range(40) for t in range(3 + s % 4))
    Path("sums.csv").write_text("s,x,y\n" + "\n".join(rows))
    return tmp_path


def refused(*arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with."""
    monkeypatch.setattr(sys, "argv", ["throughtime", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr()
    assert (stopped.value.code, said.out) == (2, ""), said
    (line,) = said.err.splitlines()
    assert line.startswith("error: ") and len(line) < 500
    return line


LONG = "n" * 300
NOWHERE = [
    ([*COMMAND, "--out", ""], "--out='' names no file or directory"),
    ([*COMMAND, "--out", LONG], "File name too long"),
    ([*COMMAND, "--out", f"runs/{LONG}"], "File name too long"),
    ([*COMMAND, "--out", "sums.csv"], "sums.csv cannot be made a directory: File exists"),
    ([*COMMAND, "--out", "sums.csv/run"], "cannot be made a directory: Not a directory"),
    ([*COMMAND, "--out", "/dev/full"], "cannot be made a directory"),
    ([*COMMAND, "--out", "/proc/run"], "cannot be made a directory"),
    (["predict", "run", "sums.csv", "--out", ""], "--out='' names no file"),
    (["predict", "run", "sums.csv", "--out", f"{LONG}.csv"], "File name too long"),
    (["predict", "run", "sums.csv", "--out", "nowhere/p.csv"], "nowhere is not a directory"),
    (["predict", "run", "sums.csv", "--out", "p.parquet", "--for-spreadsheet"], "p.parquet holds no formulas"),
    (["bench", "--json", ""], "--json='' names no file"),
    (["bench", "--json", "nowhere/b.json"], "nowhere is not a directory"),
    (["bench", "--json", LONG], "File name too long"),
    (["demo", "--out", ""], "--out='' names no file"),
    (["demo", "--out", LONG], "File name too long"),
    (["explain", ""], "file='' names no file"),
    (["explain", LONG], "File name too long"),
]


@pytest.mark.parametrize(("arguments", "says"), NOWHERE)
def test_a_place_that_cannot_be_is_refused_before_the_work(
    arguments: list[str], says: str, here: Path, monkeypatch, capsys
) -> None:
    assert says in refused(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert [path.name for path in here.iterdir()] == ["sums.csv"]


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_second_training_in_one_directory_is_refused(resume: list[str], here: Path, monkeypatch, capsys) -> None:
    program = (
        "import sys, pathlib, throughtime.training.directory as d\n"
        "with d.hold(pathlib.Path('run')): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        line = refused(*COMMAND, "--out", "run", *resume, monkeypatch=monkeypatch, capsys=capsys)
        assert "another training is at work in run; wait until it has ended, or choose another directory." in line
        assert other.stdin is not None
        other.stdin.close()


def test_trainings_without_a_directory_each_get_their_own(here: Path, monkeypatch) -> None:
    class Context:
        """What a command gives back at its end."""

        def __init__(self) -> None:
            self.held: list = []

        def with_resource(self, resource) -> None:
            resource.__enter__()
            self.held.append(resource)

    contexts = [Context() for _ in range(3)]
    found = [cli._hold_directory(context, "sums.csv", None, False) for context in contexts]  # type: ignore[arg-type]
    assert [path.as_posix() for path in found] == ["runs/sums", "runs/sums-2", "runs/sums-3"]
    for context in reversed(contexts):
        context.held[0].__exit__(None, None, None)
    assert not (here / "runs").exists()
    with hold(here / "runs" / "sums"):
        assert cli._hold_directory(Context(), "sums.csv", None, False) == Path("runs/sums-2")  # type: ignore[arg-type]


@pytest.mark.backend
@pytest.mark.thorough
def test_where_files_may_not_grow_a_training_ends_in_one_line(here: Path) -> None:
    """The limit that the system puts on files stands for a full disk, at every kibibyte."""
    program = [sys.executable, "-W", "ignore", "-c", "from throughtime.cli import console; console()", *COMMAND]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    codes = []
    for limit in (*range(16), 24, 32, 48, 64, 96, 512):  # a whole run has files of up to 110 KiB

        def limited(most: int = limit << 10) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        out = here / f"run{limit}"
        whole = [*program, "--out", out.name]
        done = subprocess.run(whole, capture_output=True, text=True, env=environment, preexec_fn=limited)
        codes.append(done.returncode)
        if done.returncode:
            assert done.returncode == 2 and done.stdout == "", done.stderr
            (line,) = [line for line in done.stderr.splitlines() if "oneDNN" not in line]
            # Where not one byte can be written, Python finds no temporary directory before anything of ours is written.
            said = "File too large" if limit else "No usable temporary directory"
            assert line.startswith("error: ") and said in line
            left = {path.name for path in out.iterdir()} if out.exists() else set()
            assert left <= {"checkpoint.npz", "run.json", "model.keras", "baselines.npz"}
            again = subprocess.run([*whole, "--resume"], capture_output=True, text=True, env=environment)
            assert again.returncode == 0, again.stderr
        assert {path.name for path in out.iterdir()} == {"run.json", "model.keras", "baselines.npz", "report.html"}
    assert {0, 2} == set(codes)


@pytest.mark.backend
def test_an_output_that_is_full_is_said(here: Path) -> None:
    program = [sys.executable, "-W", "ignore", "-c", "from throughtime.cli import main; main()", "--version"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "error: No space left on device.\n")
