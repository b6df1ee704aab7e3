"""What ``tt.check`` says of every program in tests/programs, on each backend: the cause of each faulty one, and silence
on each healthy one.

    python benchmarks/programs.py                     all programs, all backends, each backend in a process of its own
    python benchmarks/programs.py --backends jax --only mask --verbose

Prints a row a program: what it is expected to be, what was reported on each backend, and the seconds that check took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

BACKENDS = ("jax", "torch", "tensorflow")
TESTS = Path(__file__).parents[1] / "tests"


def run(only: str, verbose: bool) -> None:
    """All programs on this process's backend, a JSON line each."""
    sys.path[0] = str(TESTS)  # in place of this folder, where this file is called programs too
    import keras

    import throughtime as tt
    from programs.catalogue import PROGRAMS

    for program in PROGRAMS:
        if only not in (program.name, program.code or "healthy") and only not in program.name:
            continue
        case = program.make()
        options = {
            name: getattr(case, name)
            for name in ("validation_data", "fit", "series", "task")
            if getattr(case, name) is not None
        }
        began = time.perf_counter()
        # So many seconds that a busy machine judges as an idle one does; on an idle one they are not used.
        diagnosis = tt.check(case.model, case.x, case.y, **options, seconds=600)
        seconds = time.perf_counter() - began
        expected = program.code if keras.backend.backend() in program.backends else None
        found = [(one.severity, one.code, [sub.code for sub in one.folded]) for one in diagnosis.findings]
        print(json.dumps({"name": program.name, "expected": expected, "found": found, "seconds": seconds}), flush=True)
        if verbose:
            print(diagnosis, file=sys.stderr)
        keras.utils.clear_session(free_memory=False)


def verdict(expected: str | None, found: list) -> str:
    """``ok`` where the cause is reported, or nothing of weight on a healthy program; else what is wrong."""
    serious = [code for severity, code, _ in found if severity != "note"]
    if expected is None:
        return "FALSE ALARM" if serious else "ok"
    if expected not in [code for _, code, _ in found]:
        return "MISSED"
    return "ok" if len(serious) <= 1 else "ok, and more"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--only", default="", help="programs whose name holds this, or of this code")
    parser.add_argument("--verbose", action="store_true", help="print each diagnosis whole")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.only, arguments.verbose)
        return
    table: dict[str, dict[str, dict]] = {}
    for backend in arguments.backends.split(","):
        command = [sys.executable, __file__, "--run", "--only", arguments.only]
        command += ["--verbose"] if arguments.verbose else []
        environment = os.environ | {"KERAS_BACKEND": backend}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                row = json.loads(line)
                table.setdefault(row["name"], {})[backend] = row
                said = ", ".join(f"{code} ({severity})" for severity, code, _ in row["found"]) or "-"
                print(
                    f"{backend:10} {verdict(row['expected'], row['found']):12} {row['name']:44} "
                    f"expected {row['expected'] or '-':32} found {said}  {row['seconds']:.1f} s",
                    flush=True,
                )
        if process.returncode:
            sys.exit(f"{backend} stopped with {process.returncode}")
    print()
    for backend in arguments.backends.split(","):
        rows = [one[backend] for one in table.values() if backend in one]
        verdicts = [verdict(row["expected"], row["found"]) for row in rows]
        faulty = [one for one, row in zip(verdicts, rows, strict=True) if row["expected"]]
        healthy = [one for one, row in zip(verdicts, rows, strict=True) if not row["expected"]]
        seconds = sorted(row["seconds"] for row in rows) or [0.0]
        print(
            f"{backend:10} cause reported {sum(one != 'MISSED' for one in faulty)} of {len(faulty)} "
            f"({sum(one == 'ok, and more' for one in faulty)} with another beside it); false alarms "
            f"{sum(one != 'ok' for one in healthy)} of {len(healthy)}; seconds a check: median "
            f"{seconds[len(seconds) // 2]:.1f}, longest {seconds[-1]:.1f}"
        )


if __name__ == "__main__":
    main()
