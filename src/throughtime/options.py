"""The options of the command line that several commands have; what they say, read, and refused in their own words."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Iterable
from typing import Any

import typer
from typer.models import CommandInfo

from .errors import ArgumentError, choose

TABLE = typer.Argument(help="CSV, Parquet, Arrow or .ts file: one row a time step.", show_default=False)
TARGET = typer.Option(help="Column to predict; forecasts: several, with commas.")
SEQUENCE = typer.Option(help="Column that tells the sequences apart. Without it: one long series.")
TIME = typer.Option(help="Column to sort each sequence by; or the columns that make up the time: Date,Time.")
DTYPES = typer.Option(
    help="Columns as COLUMN=KIND, with commas: number, decimal-point, decimal-comma, category, date; of a time column "
    "day-first, month-first, year-first."
)
ENCODING = typer.Option(help="Of a text file, such as cp1252. By default UTF-8, or as its first bytes say.")
SKIP = typer.Option(help="Lines of a text file above its row of column names.")
NA_VALUES = typer.Option(help="What else means missing, in any column, with commas; such as -999.")
FEATURES = typer.Option(help="Input columns, with commas. By default all others.")
TASK = typer.Option(help="classify, regress, forecast or tag. By default seen from the target.")
WITHOUT_VALUE = r"(?=$|[\s,;.)])"
DTYPES_GIVEN = r"dtypes=\{(?:'(?P<name>[^']*)'|\"(?P<other>[^\"]*)\"): '(?P<kind>[\w-]+)'\}"
SEVERAL_GIVEN = r"(?<![\w-])(time|features|known|target)=\((('[^']*',? ?)+)\)"


def columns_of(given: str | None) -> list[str] | None:
    return None if given is None else [name.strip() for name in given.split(",") if name.strip()]


def dtypes_of(given: str | None) -> dict[str, str] | None:
    """``a=number,b=category`` as a dict; a name may hold an equals sign."""
    pairs = [pair.rpartition("=") for pair in columns_of(given) or ()]
    for name, sign, kind in pairs:
        if not (name and sign and kind):
            raise ArgumentError(f"--dtypes {given!r} is not COLUMN=KIND, with commas between, such as price=number.")
    return {name.strip(): kind.strip() for name, _, kind in pairs} if given is not None else None


def column_or_columns(given: str | None) -> str | list[str] | None:
    names = columns_of(given)
    return names[0] if names is not None and len(names) == 1 else names


def training_options(
    settings: dict[str, Any], *, memory: str | None, validation: float, test: float, history: str, forecast: bool
) -> dict[str, Any]:
    """The settings of a training, refused before a table is read, which may take minutes."""
    from .data.splits import refuse_shares
    from .kernels.schedule import byte_count
    from .training.settings import Settings

    Settings(**settings)
    if memory is not None:
        byte_count(memory)
    refuse_shares(validation=validation, test=test)
    history = choose("history", history, ("own", "shared"))
    if validation <= 0:
        raise ArgumentError(f"--validation={validation:g}; early stopping needs a share above 0.")
    if history != "own" and not forecast:
        raise ArgumentError("--history belongs to forecasts.")
    return settings


def name_options(said: str, *, values: bool, commands: Iterable[CommandInfo]) -> str:
    """Says ``--batch-size`` for what Python calls ``batch_size=``, where the command has such an option.

    Args:
        said: a message.
        values: False where ``time=3`` is the value 3 in a column that has the name of an option.
        commands: of the command line; the one that runs is looked up among them.
    """
    for command in commands:
        if command.callback is not None and [command.callback.__name__] == sys.argv[1:2]:
            parameters = inspect.signature(command.callback).parameters.values()
            names = "|".join(one.name for one in parameters if one.default is not one.empty)
            said = re.sub(DTYPES_GIVEN, _dtypes, said)
            said = re.sub(SEVERAL_GIVEN, _several, said)
            said = re.sub(rf"(?<![\w-])({names})=(?=(\S?)){'' if values else WITHOUT_VALUE}", _option, said)
    return said


def _dtypes(found: re.Match[str]) -> str:
    """``dtypes={'zip': 'number'}`` as it is typed in a shell."""
    name = found["name"] if found["name"] is not None else found["other"]
    return f"--dtypes {shlex.quote(name + '=' + found['kind'])}"


def _several(found: re.Match[str]) -> str:
    """``time=('Date', 'Time')`` as it is typed in a shell."""
    names = re.findall(r"'([^']*)'", found[2])
    return f"--{found[1].replace('_', '-')} {shlex.quote(','.join(names))}"


def _option(found: re.Match[str]) -> str:
    return f"--{found[1].replace('_', '-')}{'=' if found[2] not in ('', ',', ';', '.', ')') else ''}"
