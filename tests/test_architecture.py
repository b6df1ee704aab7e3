"""The walls of the house: who imports whom, where frameworks are known, and what ``import throughtime`` loads.

The imports are read from the source with ``ast``, so those inside functions and under ``TYPE_CHECKING`` count as well.
A new module fails ``test_every_module_has_its_place`` until it is entered in ``ORDER``.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "throughtime"

# From the ground up: a module imports only modules of the lines above its own. Modules on one line do not know each
# other. The package of a room (its `__init__`) comes after the room's last module, and nothing imports the root.
ORDER = (
    "errors",
    "archives backend schemas ragged",
    "files",
    "data.seasons data.splits data.zones data.spelling data.encoding",
    "data.calendars",
    "data.moments",
    "data.sequences",
    "data.arrays data.stored",
    "data.delimited data.columns data.digits",
    "data.missing data.dates",
    "data.sources data.stamps",
    "data.clock",
    "data.typed",
    "data.rows",
    "data.targets",
    "data.tables",
    "data.scaling data.examples",
    "data.transforms",
    "data.batching data.windows",
    "data.streams",
    "data.text",
    "kernels.problem",
    "kernels.schedule kernels.library kernels.reference kernels.callers",
    "kernels.native",
    "kernels.jax kernels.torch kernels.tensorflow",
    "layers.carrying layers.scan",
    "layers.minimal",
    "layers.lru",
    "layers.paths",
    "layers.fused",
    "layers.recurrent layers.scanned",
    "layers.explanation",
    "layers.swapping",
    "gradients.jax gradients.torch gradients.tensorflow gradients.trajectory gradients.watching",
    "gradients.differentiate",
    "gradients.building gradients.reading",
    "gradients.flow",
    "gradients.arming gradients.peeking",
    "gradients.guarded gradients.locating",
    "gradients.guard",
    "gradients.history gradients.events",
    "gradients.monitor",
    "diagnosis.findings diagnosis.thresholds diagnosis.given diagnosis.tracing diagnosis.progress",
    "diagnosis.keeping",
    "diagnosis.trials diagnosis.printing",
    "diagnosis.evidence",
    "diagnosis.references",
    "diagnosis.data_rules diagnosis.loss_rules diagnosis.model_rules diagnosis.training_rules",
    "diagnosis.check",
    "diagnosis.recipes diagnosis.windowed",
    "diagnosis.cutting",
    "diagnosis.courses diagnosis.remedies diagnosis.pasting",
    "diagnosis.measures diagnosis.proofs",
    "diagnosis.repair",
    "diagnosis.truncation",
    "stream.walking",
    "stream.activations",
    "stream.plan",
    "stream.layers stream.recurrent",
    "stream.operations stream.scanned",
    "stream.refusals",
    "stream.stream",
    "export.graph",
    "export.layers export.recurrent",
    "export.model",
    "export.columns",
    "training.settings",
    "training.features training.forest training.intervals",
    "training.baselines training.networks training.predictions training.checkpoint training.describe "
    "training.evaluation",
    "training.directory",
    "training.callbacks training.scores training.flows training.position",
    "training.carrying training.stored_baselines",
    "training.stored",
    "training.run",
    "training.checking",
    "training.train",
    "training.compare",
    "training.tune",
    "stream.records",
    "stream.reading",
    "stream.lines",
    "report.numbers",
    "report.drawing",
    "report.charts",
    "report.sections",
    "report.evidence",
    "report.page",
    "bench",
    "demo options",
    "cli",
    "__main__",
)
LEVEL = {module: level for level, line in enumerate(ORDER) for module in line.split()}
UNIMPORTED = ("cli", "__main__", "")  # "" is the root package

# The only files that know a framework, each its own.
FRAMEWORK_OF = {
    f"{room}.{framework}": framework
    for room in ("kernels", "gradients")
    for framework in ("jax", "torch", "tensorflow")
}
FRAMEWORKS = {"jax": "jax", "jaxlib": "jax", "torch": "torch", "tensorflow": "tensorflow"}

FORBIDDEN_NAMES = {
    "utils", "helpers", "common", "core", "base", "constants", "config", "types", "registry", "factory", "plugins",
}  # fmt: skip
HEAVY = ("keras", "jax", "torch", "tensorflow", "pandas", "pyarrow", "matplotlib", "sklearn", "typer")


# Reading ------------------------------------------------------------------------------------------------------------


def module_name(path: Path) -> str:
    """``data.tables`` for data/tables.py, ``data`` for data/__init__.py, an empty string for the root's."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def all_sources() -> dict[str, str]:
    return {module_name(path): path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}


def is_package(module: str) -> bool:
    return module == "" or any(other.startswith(f"{module}.") for other in LEVEL)


def is_module(name: str) -> bool:
    """Whether a full name is a module or package of ours, with or without a place in ORDER."""
    ours = name.removeprefix("throughtime.")
    return ours != name and (ours in LEVEL or is_package(ours) or (SOURCE / f"{ours.replace('.', '/')}.py").is_file())


def absolute(name: str, module: str) -> str:
    """The full name of what ``module`` calls ``name``, which starts with a dot for each package to go up."""
    up = len(name) - len(name.lstrip("."))
    if not up:
        return name
    package = ["throughtime", *(part for part in module.split(".") if part)]
    package = package if is_package(module) else package[:-1]
    package = package[: len(package) - up + 1]
    return ".".join([*package, *(part for part in name.lstrip(".").split(".") if part)])


def imported(module: str, source: str) -> Iterator[tuple[int, str]]:
    """``(line, full name)`` of all that is imported, ``from x import y`` being x.y where that is a module of ours."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = absolute("." * node.level + (node.module or ""), module)
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield node.lineno, inner if is_module(inner) else origin
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__", "find_spec") and node.args:
                written = node.args[0]
                if isinstance(written, ast.Constant) and isinstance(written.value, str):
                    # find_spec only asks whether something is installed; of ours it would still be a dependency.
                    if name != "find_spec" or written.value.startswith((".", "throughtime")):
                        yield node.lineno, absolute(written.value, module)
                elif name != "find_spec":
                    yield node.lineno, "?"


def level(module: str) -> float:
    """The place in ORDER; a room's package comes after the last of its modules."""
    if module in LEVEL:
        return LEVEL[module]
    return max(place for name, place in LEVEL.items() if name.startswith(f"{module}.")) + 0.5


def violations(module: str, source: str) -> list[str]:
    """What is wrong with the imports of one module, in words. ``module`` has its place in ORDER."""
    found = []
    for line, name in imported(module, source):
        where = f"{module or '__init__'}:{line}"
        framework = FRAMEWORKS.get(name.split(".")[0])
        if framework and FRAMEWORK_OF.get(module) != framework:
            found.append(f"{where} imports {name}; only kernels/{framework}.py knows {framework}")
        if module == "":
            continue  # the root names everything; what it may load is seen in a process of its own, below
        if name == "?":
            found.append(f"{where} imports a module whose name is computed; write the name, so that it can be checked")
        if name != "throughtime" and not name.startswith("throughtime."):
            continue
        ours = name.removeprefix("throughtime").lstrip(".")
        if ours in UNIMPORTED and module != "__main__":
            found.append(f"{where} imports {name}, which nothing in the package imports")
        elif ours not in LEVEL and not is_package(ours):
            found.append(f"{where} imports {name}, which has no place in ORDER of tests/test_architecture.py")
        elif level(ours) >= level(module):
            found.append(f"{where} imports {name}, which is not above it in ORDER of tests/test_architecture.py")
    return found


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """One cycle for each module from which one is reached, by depth-first search."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
            return
        if module in done:
            return
        for other in sorted(graph.get(module, ())):
            walk(other, [*path, module])
        done.add(module)

    for module in sorted(graph):
        walk(module, [])
    return found


# The house ----------------------------------------------------------------------------------------------------------


def test_every_module_has_its_place() -> None:
    unknown = [module for module in all_sources() if module not in LEVEL and not is_package(module)]
    assert not unknown, (
        f"{unknown} have no place yet: enter them in ORDER at the top of tests/test_architecture.py, below all that "
        "they import and above all that import them, and in the list of rooms in docs/design.md"
    )


@pytest.mark.parametrize("module", sorted(all_sources()))
def test_imports_point_only_to_rooms_above(module: str) -> None:
    if module in LEVEL or is_package(module):  # otherwise the test above names it
        assert violations(module, all_sources()[module]) == []


def test_there_is_no_import_cycle() -> None:
    graph = {
        module: {name.removeprefix("throughtime.") for _, name in imported(module, source)} - {"throughtime"}
        for module, source in all_sources().items()
        if module
    }
    assert cycles(graph) == []


def test_names_say_what_is_inside() -> None:
    paths = [path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_dir() or path.suffix == ".py"]
    vague = [str(path) for path in paths if not FORBIDDEN_NAMES.isdisjoint(path.with_suffix("").parts)]
    assert vague == [], "a name that would fit anything says nothing; name the module for its one idea"


def test_a_folder_is_worth_its_wall() -> None:
    thin = {}
    for package in SOURCE.rglob("__init__.py"):
        modules = [path.name for path in package.parent.glob("*.py") if path != package]
        if len(modules) < 3:
            thin[str(package.parent.relative_to(SOURCE))] = modules
    assert thin == {}, "a folder has three modules or more; otherwise it is one file"


def test_no_module_is_too_long() -> None:
    long = {module: source.count("\n") for module, source in all_sources().items() if source.count("\n") > 600}
    assert long == {}, "a module has at most 600 lines; past 400 it says at its top why"


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = "import sys, throughtime; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "throughtime" in result.stdout.split()
    assert [name for name in HEAVY if name in result.stdout.split()] == []


# The checker itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source", "message"),
    [
        ("ragged", "from .data.tables import read_table", "not above it"),
        ("ragged", "from . import layers", "throughtime.layers, which is not above it"),
        ("ragged", "import throughtime.stream", "not above it"),
        ("data.seasons", "def f():\n    from .sequences import SequenceData", "data.seasons:2 .* not above it"),
        ("data.tables", "if TYPE_CHECKING:\n    from ..training.run import Run", "data.tables:2 .* not above it"),
        ("data.tables", "try:\n    from ..data import batching\nexcept ImportError:\n    pass", "not above it"),
        ("data.tables", "from ..data import SequenceData", r"throughtime\.data, which is not above it"),
        ("data.tables", "from . import SequenceData", r"throughtime\.data, which is not above it"),
        ("data.tables", "from .tables import itself", "not above it"),
        ("training.run", "from ..report import page", "not above it"),
        ("training.run", "from ..report import Page", "not above it"),
        ("diagnosis.model_rules", "from .data_rules import f", "not above it"),
        ("bench", "import importlib\nimportlib.import_module('.cli', 'throughtime')", "bench:2 imports"),
        ("training.tune", "import_module('throughtime.report.page')", "not above it"),
        ("bench", "import_module(f'.kernels.{name}', __package__)", "name is computed"),
        ("report.page", "from ..cli import main", "which nothing in the package imports"),
        ("bench", "import throughtime", "which nothing in the package imports"),
        ("bench", "from throughtime import LSTM", "which nothing in the package imports"),
        ("data.tables", "from .. import LSTM", "which nothing in the package imports"),
        ("bench", "from .newcomer import x", r"throughtime\.newcomer, which has no place in ORDER"),
        ("bench", "import jax.numpy as jnp", "only kernels/jax.py knows jax"),
        ("bench", "def f():\n    from torch import nn", "bench:2 imports torch; only kernels/torch.py"),
        ("kernels.jax", "import tensorflow as tf", "only kernels/tensorflow.py"),
        ("kernels.torch", "__import__('jaxlib')", "only kernels/jax.py"),
        ("", "import tensorflow", "only kernels/tensorflow.py"),
    ],
)
def test_the_checker_sees(module: str, source: str, message: str) -> None:
    found = violations(module, source)
    assert len(found) == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found[0])


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ragged", "from .errors import ArgumentError\nimport numpy as np\nimport pyarrow as pa"),
        ("data.tables", "from . import sequences\nfrom ..ragged import Ragged\nfrom .. import errors"),
        ("data.tables", "from throughtime.data.sequences import SequenceData"),
        ("data", "from .tables import read_table as read_table\nfrom . import text"),
        ("training.run", "from ..data import SequenceData\nfrom ..diagnosis.findings import Finding"),
        ("bench", "import keras\nfrom importlib.util import find_spec\nfind_spec('jax')\nfind_spec(name)"),
        ("bench", "import_module('.kernels.jax', 'throughtime')"),
        ("kernels.jax", "import jax\nfrom jax import numpy\nimport jaxlib\nfrom . import schedule"),
        ("cli", "from .report.page import write\nfrom .training import tune"),
        ("", "from .cli import main\nfrom .layers import LSTM as LSTM\nimport_module(name)"),
    ],
)
def test_the_checker_lets_pass(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_the_checker_sees_cycles() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert cycles({"a": {"b"}, "b": {"c", "numpy"}, "c": {"b"}}) == [["b", "c", "b"]]
    assert cycles({"a": {"a"}}) == [["a", "a"]]
