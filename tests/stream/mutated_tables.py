"""Tables as text, and what people, spreadsheets and broken pipes make of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import numpy as np

NUMBERS = (
    "1.5", " 2.5", "2.5 ", "+1.5", "-0", "1e3", "1E-2", "1_000", "\uff11\uff12", "0x10", "1,234.5", "1.234,5",
    "1,5", "1.5.2",
    "inf", "-Infinity", "nan", "1e999", "9" * 400, "9" * 5000, "$5", "5%", "true", "TRUE", "false", "-", "(5)", "5 kg",
    "007", "1 234", "\u0663", ".5", "5.", "--5", "5e", "12:30", "2024-01-01", "None", "null", "1e-400",
    "12345678901234567890",
)  # fmt: skip
MISSING = ("", "NA", "?", " ", "n/a", "N/A", "NaN", "null", "-", "none", "<NA>", '""')
LABELS = (
    "1", "1.0", " n", "n ", "N", "new", "ä", "a,b", "a;b", 'say "n"', "two\nlines", "two\r\nlines", "x" * 300,
    "x" * 200_000, "true",
    "2024-01-01", "#n", "\u2028", "\x0b", "\x85", "'", '"', "[1]", "{}", "0", "007",
)  # fmt: skip
TIMES = (
    "0", "-1", "5", "5.0", "5.5", "1e3", "99999999999999999999", "2024-05-01", "2024-05-01T23:00",
    "2024-05-01 23:00:00Z",
    "2024-05-01T23:00+02:00", "01/02/2024", "13/02/2024", "31.12.2024", "20240131", "noon", "", "NA", "12:30",
    "1,5", " 7", "007", "inf", "nan",
)  # fmt: skip
IDS = ("", "NA", "01", "1", "1.0", "a ", "A", "new", "-0", "0", "1e3", "null", "ä", "a\nb", "True", "9" * 30, "[1, 2]")

Grid = list[list[str]]
Rng = np.random.Generator


def text_of(grid: Grid, *, delimiter: str = ",", end: str = "\n", quoting: int = csv.QUOTE_MINIMAL) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(grid)  # type: ignore[arg-type]
    return out.getvalue().encode()


def mutated(grid: Grid, rng: Rng) -> bytes:
    """The bytes of a table with one thing changed, or two."""
    grid = [list(row) for row in grid]
    kind = CELLS[int(rng.integers(len(CELLS)))]
    for _ in range(int(rng.integers(0, 3))):
        kind(grid, rng)
    made = WRITTEN[int(rng.integers(len(WRITTEN)))](grid, rng)
    if rng.random() < 0.35:
        made = BYTES[int(rng.integers(len(BYTES)))](made, rng)
    return made


def _one(rng: Rng, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def cell(words: tuple[str, ...], *columns: str) -> Callable[[Grid, Rng], None]:
    """Puts one of the words into one of the columns, in one row or in all."""

    def change(grid: Grid, rng: Rng) -> None:
        found = [name for name in columns if name in grid[0]]
        if not found or len(grid) < 2:
            return
        place, word = grid[0].index(_one(rng, tuple(found))), _one(rng, words)
        rows = range(1, len(grid)) if rng.random() < 0.15 else [int(rng.integers(1, len(grid)))]
        for row in rows:
            if place < len(grid[row]):
                grid[row][place] = word

    return change


def doubled_name(grid: Grid, rng: Rng) -> None:
    name = _one(rng, tuple(grid[0]))
    for place, row in enumerate(grid):
        row.append(name if place == 0 else "1")


def other_header(grid: Grid, rng: Rng) -> None:
    place = int(rng.integers(len(grid[0])))
    name = grid[0][place]
    grid[0][place] = _one(rng, (name.upper(), f" {name} ", "", f"{name}2", f'"{name}"', f"\ufeff{name}", f"#{name}"))


def without_column(grid: Grid, rng: Rng) -> None:
    place = int(rng.integers(len(grid[0])))
    for row in grid:
        del row[place : place + 1]


def other_order(grid: Grid, rng: Rng) -> None:
    order = rng.permutation(len(grid[0]))
    grid[:] = [[row[place] if place < len(row) else "" for place in order] for row in grid]


def more_columns(grid: Grid, rng: Rng) -> None:
    words = (*NUMBERS, *LABELS[:8])
    for place, row in enumerate(grid):
        row.insert(0, "more" if place == 0 else _one(rng, words))


def other_rows(grid: Grid, rng: Rng) -> None:
    """A row twice, one gone, two changed about, one with a field too many or too few, a line of separators alone."""
    if len(grid) < 3:
        return
    first, second = (int(one) for one in rng.integers(1, len(grid), 2))
    kind = int(rng.integers(6))
    if kind == 0:
        grid.insert(first, list(grid[second]))
    elif kind == 1:
        del grid[first]
    elif kind == 2:
        grid[first], grid[second] = grid[second], grid[first]
    elif kind == 3:
        grid[first].append("1")
    elif kind == 4:
        grid[first].pop()
    else:
        grid.insert(first, [""] * len(grid[0]))


CELLS: tuple[Callable[[Grid, Rng], None], ...] = (
    cell(NUMBERS, "x", "on", "load", "rain"), cell(MISSING, "x", "on", "shop", "load", "rain"), cell(LABELS, "shop"),
    cell(TIMES, "day"), cell(IDS, "who"),
    cell((*NUMBERS, *LABELS), "x", "on", "shop", "day", "who", "load", "rain", "label"),
    doubled_name, other_header, without_column, other_order, more_columns, other_rows,
)  # fmt: skip


def written_with(**options: object) -> Callable[[Grid, Rng], bytes]:
    return lambda grid, rng: text_of(grid, **options)  # type: ignore[arg-type]


WRITTEN: tuple[Callable[[Grid, Rng], bytes], ...] = (
    written_with(), written_with(), written_with(end="\r\n"), written_with(end="\r"), written_with(delimiter=";"),
    written_with(delimiter="\t"), written_with(delimiter="|"), written_with(quoting=csv.QUOTE_ALL),
)  # fmt: skip


def _inserted(made: bytes, rng: Rng, piece: bytes) -> bytes:
    place = int(rng.integers(len(made) + 1))
    return made[:place] + piece + made[place:]


def _line(made: bytes, rng: Rng, line: bytes) -> bytes:
    lines = made.split(b"\n")
    lines.insert(int(rng.integers(len(lines) + 1)), line)
    return b"\n".join(lines)


def _flipped(made: bytes, rng: Rng) -> bytes:
    data = bytearray(made)
    if data:
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _without(made: bytes, rng: Rng) -> bytes:
    first, last = sorted(rng.integers(0, len(made) + 1, 2))
    return made[:first] + made[min(last, first + 8) :]


BYTES: tuple[Callable[[bytes, Rng], bytes], ...] = (
    lambda made, rng: b"\xef\xbb\xbf" + made,
    lambda made, rng: made.decode(errors="replace").encode("utf-16"),
    lambda made, rng: _inserted(made, rng, b"\xe4"),
    lambda made, rng: _inserted(made, rng, b"\0"),
    lambda made, rng: _inserted(made, rng, b'"'),
    lambda made, rng: _inserted(made, rng, b","),
    lambda made, rng: _inserted(made, rng, b"\n"),
    lambda made, rng: _line(made, rng, b""),
    lambda made, rng: _line(made, rng, b"# a comment, of two"),
    lambda made, rng: _line(made, rng, b"   "),
    lambda made, rng: _line(made, rng, b'"never closed,1'),
    lambda made, rng: b"sep=,\n" + made,
    lambda made, rng: b"# made by hand\n\n" + made,
    lambda made, rng: made.rstrip(b"\n"),
    lambda made, rng: made + b"\n\n",
    lambda made, rng: made[: int(rng.integers(len(made) + 1))],
    _flipped, _flipped, _without,
)  # fmt: skip
