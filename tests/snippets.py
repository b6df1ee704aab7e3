"""Runs the code of README and of the pages of docs as a reader pastes it, where an extra of throughtime is installed.

    python tests/snippets.py [--extra demo] [PAGE ...]

Each block of Python runs in a process of its own, the lines of the ``console`` blocks one after another, in a fresh
directory that holds what ``make demo`` leaves. KERAS_BACKEND is not set. What the extra does not install cannot be
imported, so that an environment with more in it, such as the tests', shows what a reader would see.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
EXTRAS = {"demo": "jax", "torch": "torch", "tensorflow": "tensorflow"}  # each with the backend that it installs

# What Python runs when it starts: it finds no module of those names, as if they were not installed.
HIDING = """
import importlib.machinery
find = importlib.machinery.PathFinder.find_spec
def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in {hidden!r} else find(name, path, target)
importlib.machinery.PathFinder.find_spec = classmethod(find_spec)
"""


def blocks(language: str, page: str) -> list[str]:
    """The fenced blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    """The arguments of each ``$ throughtime`` line in the console blocks of a page."""
    lines = [line for block in blocks("console", page) for line in block.splitlines()]
    return [shlex.split(line.removeprefix("$ throughtime ")) for line in lines if line.startswith("$ throughtime ")]


def programs(page: str) -> Iterator[tuple[str, list[list[str]]]]:
    """What runs in a directory of its own: a name, and the arguments of Python one call after another."""
    for place, block in enumerate(blocks("python", page), 1):
        yield f"{page}, block {place}", [["-c", block]]
    if commands(page):
        yield f"{page}, commands", [["-m", "throughtime", *command] for command in commands(page)]


def installed_by(extra: str) -> set[str]:
    """The distributions that ``pip install 'throughtime[EXTRA]'`` brings, of those that are here."""
    found: set[str] = set()
    asked = [("throughtime", frozenset({extra}))]
    seen = set()
    while asked:
        name, extras = asked.pop()
        found.add(canonicalize_name(name))
        for line in importlib.metadata.requires(name) or ():
            needed = Requirement(line)
            wanted = needed.marker is None or any(needed.marker.evaluate({"extra": one}) for one in extras | {""})
            following = needed.name, frozenset(needed.extras)
            if wanted and following not in seen:
                seen.add(following)
                asked.append(following)
    return found


def environment(extra: str, folder: Path) -> dict[str, str]:
    """The environment of a machine on which Keras was never run, and nothing but an extra is installed."""
    there = installed_by(extra)
    hidden = {
        module
        for module, distributions in importlib.metadata.packages_distributions().items()
        if there.isdisjoint(map(canonicalize_name, distributions))
    }
    (folder / "sitecustomize.py").write_text(HIDING.format(hidden=hidden))
    without = {"KERAS_BACKEND", "PYTHONPATH"}
    return {name: value for name, value in os.environ.items() if name not in without} | {
        "PYTHONPATH": str(folder), "KERAS_HOME": str(folder), "MPLBACKEND": "agg",
    }  # fmt: skip


def run(calls: Sequence[Sequence[str]], *, extra: str, table: Path, more: Mapping[str, str] | None = None) -> str:
    """Runs Python with such arguments, one call after another, in a fresh directory.

    Args:
        calls: the arguments of each call.
        extra: of throughtime, what is installed.
        table: what lies in runs/demo/vowels.parquet.
        more: of the environment.

    Returns:
        What the first call that fails said, an empty string where none does.
    """
    with tempfile.TemporaryDirectory() as made:
        startup, directory = Path(made) / "startup", Path(made) / "here"
        for folder in (startup, directory / "runs" / "demo"):
            folder.mkdir(parents=True)
        shutil.copy(table, directory / "runs" / "demo" / "vowels.parquet")
        env = environment(extra, startup) | dict(more or {})
        for call in calls:
            done = subprocess.run(
                [sys.executable, *call], cwd=directory, env=env, text=True, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
            if done.returncode:
                return done.stdout.strip() or f"exit code {done.returncode}"
    return ""


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--extra", default="demo", choices=EXTRAS, help="what is installed")
    asked.add_argument("--table", type=Path, default=ROOT / "runs" / "demo" / "vowels.parquet")
    asked.add_argument("pages", nargs="*", default=PAGES)
    options = asked.parse_args()
    found = [program for page in options.pages for program in programs(page)]

    def timed(program: tuple[str, list[list[str]]]) -> tuple[str, float]:
        began = time.monotonic()
        return run(program[1], extra=options.extra, table=options.table), time.monotonic() - began

    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (name, _), (said, seconds) in zip(found, pool.map(timed, found), strict=True):
            print(f"{name}: {'failed' if said else 'ran'} in {seconds:.0f} s", flush=True)
            if said:
                print(said, flush=True)
                failed += 1
    return 1 if failed or not found else 0


if __name__ == "__main__":
    raise SystemExit(main())
