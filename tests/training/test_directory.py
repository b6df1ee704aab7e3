"""The run directory: one training at a time, whole files or none, nothing left by what was killed."""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from series import rising_or_falling, sums

from throughtime import cli
from throughtime.data.tables import read_table
from throughtime.errors import ArgumentError, RunError
from throughtime.files import beside, path_of, write_aside
from throughtime.training.checking import check_saved
from throughtime.training.directory import hold
from throughtime.training.run import Run
from throughtime.training.train import train

SMALL: dict[str, Any] = {"units": 2, "buckets": 1, "epochs": 2, "patience": 2, "progress": False}
WHOLE = {"run.json", "model.keras", "baselines.npz"}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONWARNINGS": "ignore"}


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


# One at a time -------------------------------------------------------------------------------------------------------

HOLDS = """
    import sys, time
    from pathlib import Path
    from throughtime.training.directory import hold
    with hold(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(300)
"""


@pytest.mark.backend
def test_a_second_training_is_refused_at_once_and_a_killed_one_locks_nobody_out(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    program = [sys.executable, "-c", textwrap.dedent(HOLDS), str(out)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        for resume in (False, True):
            with pytest.raises(RunError, match="another training is at work in .*run; wait until it has ended"):
                train(rising_or_falling(), out=out, resume=resume, **SMALL)
        (out / ".run.json.0123456789ab.aside").write_text("{")  # as a kill in the middle of writing leaves it
        (out / ".model.4711.keras").write_text("")  # as earlier versions left it
        (out / ".gitignore").write_text("*")
        process.send_signal(signal.SIGKILL)
    run = train(rising_or_falling(), out=out, **SMALL)
    assert names(out) == {*WHOLE, ".gitignore"}
    with hold(out):  # of this process: it may save where it trains
        run.save(out, overwrite=True)


def test_of_many_threads_one_is_inside(tmp_path: Path) -> None:
    inside, most, entered, refused = 0, 0, 0, 0
    begin, count = threading.Barrier(8), threading.Lock()

    def work() -> None:
        nonlocal inside, most, entered, refused
        begin.wait()
        for _ in range(30):
            try:
                with hold(tmp_path / "run"):
                    with count:
                        inside += 1
                        entered += 1
                        most = max(most, inside)
                    time.sleep(0.002)  # others have their turn while this one is inside
                    with count:
                        inside -= 1
            except RunError:
                with count:
                    refused += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and entered + refused == 240 and entered
    assert not (tmp_path / "run").exists() or names(tmp_path / "run") == set()


def test_a_new_directory_is_one_process_s(tmp_path: Path) -> None:
    with hold(tmp_path / "run", new=True), pytest.raises(FileExistsError), hold(tmp_path / "run", new=True):
        raise AssertionError
    assert names(tmp_path) == set()


def test_what_the_block_raises_comes_out_and_the_lock_is_gone(tmp_path: Path) -> None:
    def fail() -> None:
        with hold(tmp_path / "run"):
            (tmp_path / "run" / "kept").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert names(tmp_path / "run") == {"kept"}


# Paths ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ["", "a\0b"])
def test_a_path_that_names_nothing_is_refused(odd: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="out="):
        path_of(odd, "out")


def test_a_name_too_long_is_said_in_one_line(tmp_path: Path) -> None:
    for length, fits in ((200, True), (255, True), (256, False), (5000, False)):
        path = tmp_path / ("n" * length)
        if fits:
            write_aside(path_of(path, "out"), lambda file: file.write(b"x"))
            assert names(tmp_path) == {path.name}
            path.unlink()
        else:
            with pytest.raises(RunError, match="File name too long") as refused:
                path_of(path, "out")
            assert len(str(refused.value)) < 400


def test_a_device_stays_a_device_and_a_link_a_link(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No space left on device"):
        write_aside(Path("/dev/full"), lambda file: file.write(b"x" * 10_000))
    assert Path("/dev/full").is_char_device()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_aside(tmp_path / "link", lambda file: file.write(b"x"))
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_bytes() == b"x"


def test_files_that_belong_together_are_all_new_or_all_old(tmp_path: Path) -> None:
    def fail(*paths: Path) -> None:
        with beside(*paths) as asides:
            asides[0].write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    paths = [tmp_path / name for name in "abc"]
    for text in ("old", "new"):
        with pytest.raises(RunError, match="cannot be written: No space"):
            fail(*paths)
        assert {path.read_text() for path in tmp_path.iterdir()} == ({"old"} if text == "new" else set())
        with beside(*paths) as asides:
            for aside in asides:
                aside.write_text(text)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys("abc", "new")


# A full disk ---------------------------------------------------------------------------------------------------------


@contextmanager
def full_at(number: int, folder: Path) -> Iterator[Callable[[], int]]:
    """The disk of a folder is full from its ``number``-th change on: a file made, written to, flushed, or renamed."""
    changes = 0

    def change() -> None:
        nonlocal changes
        changes += 1
        if changes >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            change()
            return super().write(data)

    opened, replaced, synced = builtins.open, os.replace, os.fsync

    def opens(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if not isinstance(file, int) and str(file).startswith(str(folder)) and set(mode) & set("wxa"):
            change()
            return io.BufferedWriter(Raw(file, mode.replace("b", "")))
        return opened(file, mode, *rest, **options)

    def replaces(source: Any, target: Any) -> None:
        change()
        replaced(source, target)

    def syncs(number: int) -> None:
        change()
        synced(number)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(builtins, "open", opens)
        patched.setattr(io, "open", opens)
        patched.setattr(os, "replace", replaces)
        patched.setattr(os, "fsync", syncs)
        yield lambda: changes


def same(one: Run, other: Run) -> None:
    for a, b in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.history == other.history


def fails_and_goes_on(number: int, out: Path, whole: Run) -> None:
    with full_at(number, out), pytest.raises(RunError, match="No space left on device") as failed:
        train(rising_or_falling(), out=out, **SMALL)
    assert "\n" not in str(failed.value)
    left = names(out) if out.exists() else set()
    assert left <= {"checkpoint.npz", "model.keras", "baselines.npz"}, "no file aside, and no run.json without the rest"
    same(whole, train(rising_or_falling(), out=out, resume=True, **SMALL))
    assert names(out) == WHOLE
    assert check_saved(out, rising_or_falling(), train=False) is not None


def changes_of_a_training(folder: Path) -> tuple[int, Run]:
    with full_at(10**9, folder) as changes:
        whole = train(rising_or_falling(), out=folder / "whole", **SMALL)
        return changes(), whole


@pytest.mark.backend
def test_a_disk_that_is_full_loses_nothing(tmp_path: Path) -> None:
    count, whole = changes_of_a_training(tmp_path)
    assert count > 15
    for number in (2, count):  # the first checkpoint, the last rename
        fails_and_goes_on(number, tmp_path / str(number), whole)


@pytest.mark.backend
@pytest.mark.thorough
def test_a_disk_that_is_full_at_any_change_loses_nothing(tmp_path: Path) -> None:
    count, whole = changes_of_a_training(tmp_path)
    for number in range(1, count + 1):
        fails_and_goes_on(number, tmp_path / str(number), whole)


# Killed --------------------------------------------------------------------------------------------------------------

# A stage: the file that is about to take its place, and at which time.
STAGES = {
    "a checkpoint": ("checkpoint.npz", 2),
    "before the save": ("model.keras", 1),
    "within the save": ("baselines.npz", 1),
    "before run.json": ("run.json", 1),
    "before the test scores": ("run.json", 2),
    "before the report": ("report.html", 1),
}
COMMAND = ["train", "--target", "y", "--sequence", "s", "--units", "2", "--epochs", "2", "--quiet"]
KILLED = """
    import os, signal, sys
    from pathlib import Path
    name, time, replaced, seen = sys.argv[1], int(sys.argv[2]), os.replace, []

    def replace(source, target):
        seen.append(Path(target).name)
        if seen[-1] == name and seen.count(name) == time:
            os.kill(os.getpid(), signal.SIGKILL)
        replaced(source, target)

    os.replace = replace
    sys.argv = ["throughtime", *sys.argv[3:]]
    from throughtime.cli import console
    console()
"""


def table_of(folder: Path) -> str:
    data = sums(40)
    assert data.target is not None
    answers = np.repeat(data.target.values[:, 0], data.lengths)
    sequence = np.repeat(np.arange(len(data)), data.lengths)
    columns = zip(sequence.tolist(), data.numbers[:, 0].tolist(), answers.tolist(), strict=True)
    (folder / "sums.csv").write_text("s,x,y\n" + "".join(f"{s},{x!r},{y!r}\n" for s, x, y in columns))
    return str(folder / "sums.csv")


def command(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["throughtime", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert not stopped.value.code


def killed_and_resumed(stages: list[str], folder: Path) -> None:
    table = table_of(folder)
    command(COMMAND[0], table, *COMMAND[1:], "--out", str(folder / "whole"))
    whole, data = Run.load(folder / "whole"), read_table(table, target="y", sequence="s")
    for stage in stages:
        out = folder / stage
        arguments = [COMMAND[0], table, *COMMAND[1:], "--out", str(out)]
        name, nth = STAGES[stage]
        program = [sys.executable, "-c", textwrap.dedent(KILLED), name, str(nth), *arguments]
        killed = subprocess.run(program, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert any(name.endswith(".aside") or ".aside." in name for name in names(out)), "it was killed in the middle"
        command(*arguments, "--resume")
        assert names(out) == {*WHOLE, "report.html"}, stage
        before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
        command(*arguments, "--resume")
        assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before, "nothing was missing"
        resumed = Run.load(out)
        same(whole, resumed)
        assert resumed.evaluations == whole.evaluations
        assert "--resume" not in (out / "report.html").read_text()
        check_saved(out, data, train=False)  # refuses a model without its loss


@pytest.mark.backend
def test_killed_at_the_end_a_run_is_finished_by_resume(tmp_path: Path) -> None:
    killed_and_resumed(["before the report"], tmp_path)


@pytest.mark.backend
@pytest.mark.thorough
def test_killed_at_any_stage_a_run_is_finished_by_resume(tmp_path: Path) -> None:
    killed_and_resumed(list(STAGES), tmp_path)


@pytest.mark.backend
def test_a_loaded_run_that_is_saved_again_keeps_its_loss(tmp_path: Path) -> None:
    train(sums(), out=tmp_path / "run", **SMALL)
    Run.load(tmp_path / "run").save(tmp_path / "copy")
    Run.load(tmp_path / "copy").save(tmp_path / "copy", overwrite=True)
    diagnosis = check_saved(tmp_path / "copy", sums(seed=1), train=False)
    assert diagnosis.looked_at
