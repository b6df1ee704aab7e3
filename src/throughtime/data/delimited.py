"""Delimited text as columns of text, as it is written: where the table begins, its delimiter, its encoding."""

from __future__ import annotations

import contextlib
import csv as python_csv
import functools
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, DataError, counted, listed
from .encoding import LINES, choose_encoding, decode_start, not_utf8

if TYPE_CHECKING:
    import pyarrow as pa

PACKED = (".gz", ".bz2", ".zst", ".lz4")
SAMPLE, LONGEST = 1 << 16, 1 << 24
BLOCK = 1 << 20
NUMBER = r"[-+]?(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?"


@dataclass
class Delimited:
    """The columns of a text file.

    Attributes:
        columns: text by name; null where a field is empty.
        rows: of each column.
        encoding: as it was read, None for UTF-8 and for what the file itself says.
        notes: what was left out, in words.
    """

    columns: dict[str, pa.ChunkedArray]
    rows: int
    encoding: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class _Start:
    """Where the table begins: lines above its first row of values, its delimiter, and names that stand in a comment."""

    skip: int
    delimiter: str
    width: int
    names: list[str] | None = None
    single: bool = False


def read_delimited(
    path: Path, *, encoding: str | None = None, recorded: str | None = None, skip: int | None = None
) -> Delimited:
    """The columns of a text file, all as text.

    Args:
        encoding: None: as the file says, UTF-8 elsewhere.
        recorded: the encoding of the table trained on, for a file that is no UTF-8.
        skip: lines above the row of column names; None: empty lines and comments alone.

    Raises:
        ArgumentError: an encoding that is not known, or a number of lines that is none.
        DataError: no table, or a damaged one; the line is named.
    """
    if skip is not None and (not isinstance(skip, int) or isinstance(skip, bool) or skip < 0):
        raise ArgumentError(
            f"skip={skip!r} is not a number of lines; give how many lines stand above the column names."
        )
    try:
        return _read_as(path, encoding, recorded, skip)
    except _WrongEncodingError:
        if encoding is not None or recorded is None:
            raise
        return _read_as(path, recorded, recorded, skip)


class _WrongEncodingError(DataError):
    """Bytes that are no text in the encoding that was tried."""


def _read_as(path: Path, encoding: str | None, recorded: str | None, skip: int | None) -> Delimited:
    import pyarrow as pa

    try:
        with pa.input_stream(str(path)) as stream:
            sample = stream.read(SAMPLE)
            used = choose_encoding(path.name, sample, encoding, recorded)
            text = decode_start(sample, used)
            while (
                len(sample) < LONGEST and len(LINES.findall(text)) <= (skip or 0) + 1 and (more := stream.read(BLOCK))
            ):
                sample += more
                text = decode_start(sample, used)
    except UnicodeError as error:
        raise _WrongEncodingError(f"{path.name} is not {used} text ({_line(error)}); say another encoding=.") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path.name} cannot be unpacked: {_line(error)}.") from error
    notes: list[str] = []
    if used not in ("utf-8", encoding, recorded):
        notes.append(f"{path.name} is read as {used.upper()} text, as its first bytes say.")
    start = _find_start(path.name, text, skip, notes)
    table = _read(path, used, start, notes)
    if start.names is None:
        if not table.num_rows:
            raise DataError(f"{path.name} is empty: there is no row of column names.")
        names = [column[0].as_py() or "" for column in table.columns]
        table = table.slice(1)
    else:
        names = start.names
    names = [name.strip().lstrip("\ufeff") for name in names]
    if all(re.fullmatch(NUMBER, name) for name in names) and any(re.search("[.,]", name) for name in names):
        raise DataError(
            f"{path.name} has no row of column names: its first line holds numbers, {listed(names, 3)}; add a line of "
            "names above it."
        )
    table, names = _without_empty(table, names, notes)
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubled:
        raise DataError(f"{path.name} has more than one column named {listed(doubled)}; rename them.")
    columns = {name: table.column(i) for i, name in enumerate(names)}
    plain = used in ("utf-8", "utf-16", "utf-32") and used != encoding
    return Delimited(columns=columns, rows=table.num_rows, encoding=None if plain else used, notes=notes)


# -- where the table begins --------------------------------------------------------------------------------------


def _find_start(name: str, text: str, skip: int | None, notes: list[str]) -> _Start:
    lines = LINES.split(text)
    whole = lines[:-1] if len(lines) > 1 and len(text) >= SAMPLE // 4 else lines  # the last one may be cut off
    at, forced = (skip or 0), ""
    comments: list[str] = []
    if skip is not None and at >= len([line for line in lines if line.strip()]) and len(text) < SAMPLE // 4:
        raise ArgumentError(f"skip={skip} leaves nothing of {name}, which has {len(lines)} lines.")
    while at < len(lines):
        line = lines[at].strip()
        if line.casefold().startswith("sep=") and not comments and len(line) <= 5:
            forced = line[4:5] or "\t"
            notes.append(f"The first line of {name}, {line!r}, was read as the delimiter of the table.")
        elif line.startswith("#"):
            comments.append(lines[at])
        elif line:
            break
        at += 1
    header = lines[at] if at < len(lines) else ""
    below = [line for line in whole[at + 1 :] if line.strip() and not line.startswith("#")]
    if comments:
        last = comments[-1].lstrip("# \t")
        delimiter = forced or _delimiter(last, below, seek=False)
        cells, first = _cells(last, delimiter), _cells(header, delimiter)
        named = len(cells) == len(first) and (len(cells) > 1 or not below)
        if named and any(_is_value(cell) for cell in first) and not any(_is_value(cell) for cell in cells):
            notes.append(f"The column names of {name} were taken from its comment line {comments[-1].strip()[:60]!r}.")
            if len(comments) > 1:
                notes.append(f"Left out: {counted(len(comments) - 1, 'comment line')} beginning with '#'.")
            return _Start(skip=at, delimiter=delimiter, width=len(first), names=cells, single=len(first) == 1)
        if not header and not below:  # a header that begins with '#', and nothing else
            raise DataError(f"{name} is empty: it has comment lines and no row of column names.")
        notes.append(f"Left out: {counted(len(comments), 'comment line')} beginning with '#'.")
    if not header:
        raise DataError(f"{name} is empty: there is no row of column names.")
    delimiter = forced or _delimiter(header, below)
    if skip is None:
        _refuse_preamble(name, lines, whole, at, delimiter)
    try:
        rest = "\n".join(lines[at:])
        fields = next(python_csv.reader(io.StringIO(rest, newline=""), delimiter=delimiter))
    except python_csv.Error:
        fields = header.split(delimiter)
    return _Start(skip=at, delimiter=delimiter, width=len(fields), single=len(fields) == 1)


def _unquoted(line: str) -> str:
    return re.sub(r'"[^"]*"', '""', line)


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(python_csv.reader([line], delimiter=delimiter))]
    except (python_csv.Error, StopIteration):
        return [cell.strip() for cell in line.split(delimiter)]


def _is_value(cell: str) -> bool:
    """Whether it is a number or date more likely than a name."""
    return bool(re.fullmatch(NUMBER, cell) or re.fullmatch(r"\d{1,4}[-/.:]\d{1,2}([-/.:]\d{1,4})?([ T].*)?", cell))


def _delimiter(header: str, below: list[str], *, seek: bool = True) -> str:
    """The delimiter most often seen in the header; where the lines below do not fit that, the one that they share."""
    bare = _unquoted(header)
    delimiter = max(",\t;|", key=bare.count)
    counts = {one: [_unquoted(line).count(one) for line in below[:100]] for one in ",\t;|"}
    if delimiter in bare and (not below or bare.count(delimiter) in counts[delimiter][-3:]):
        return delimiter
    if " " in header.strip() and len({line.count(" ") for line in (header, *below[:2])}) == 1 and delimiter not in bare:
        return " "
    shared = {one: found.count(found[-1]) for one, found in counts.items() if found and found[-1]}
    if seek and len(below) > 2 and shared:
        return max(shared, key=lambda one: (shared[one], counts[one][-1]))
    return delimiter


def _refuse_preamble(name: str, lines: list[str], whole: list[str], at: int, delimiter: str) -> None:
    """Raises DataError where the lines below the first one have more fields, which says where the table begins."""
    counted = [(i, _unquoted(line).count(delimiter)) for i, line in enumerate(whole[at:], at) if line.strip()]
    if len(counted) < 3:
        return
    first, later = counted[0][1], counted[-3:]
    most = later[-1][1]
    if most <= first or any(count != most for _, count in later) or '"' in lines[at].replace('""', ""):
        return
    begins = next(i for i, count in counted if count == most)
    cells = _cells(lines[begins], delimiter)
    if sum(map(_is_value, cells)) * 2 >= len(cells):
        raise DataError(
            f"the first line of {name} has {first + 1} value{'s' * (first > 0)}, {lines[at].strip()[:40]!r}, and line "
            f"{begins + 1} has {most + 1}; give each column a name, or say skip= where lines stand above the names."
        )
    raise DataError(
        f"{name} begins with {begins} line{'s' * (begins > 1)} that belong{'s' * (begins == 1)} to no table, "
        f"{lines[at].strip()[:40]!r}; say skip={begins} (--skip {begins}) to begin with the column names "
        f"{listed(cells, 3)}."
    )


# -- reading -----------------------------------------------------------------------------------------------------


def _read(path: Path, encoding: str, start: _Start, notes: list[str]) -> pa.Table:
    """All columns as text, the row of names first where it is one."""
    import pyarrow as pa
    from pyarrow import csv

    left: list[str] = []

    def judge(row: Any) -> str:
        if row.text.lstrip().startswith("#"):
            left.append(row.text)
            return "skip"
        return "error"

    parse = {
        "delimiter": start.delimiter,
        "newlines_in_values": True,  # costs nothing measurable
        # An empty line in a table of one column is a missing value; in others it is nothing.
        "ignore_empty_lines": not start.single,
    }
    convert = csv.ConvertOptions(
        null_values=[""], strings_can_be_null=True, column_types={f"f{i}": pa.string() for i in range(start.width)}
    )
    options: dict[str, Any] = {"encoding": encoding, "autogenerate_column_names": True, "skip_rows": start.skip}
    block = BLOCK
    while True:
        try:
            table = csv.read_csv(
                path,
                read_options=csv.ReadOptions(block_size=block, **options),
                parse_options=csv.ParseOptions(invalid_row_handler=judge, **parse),
                convert_options=convert,
            )
            break
        except (pa.ArrowInvalid, pa.ArrowCapacityError, UnicodeError) as error:
            short = "straddling" in str(error) or "cannot infer number" in str(error)
            if short and block < min(1 << 30, path.stat().st_size * (100 if path.suffix in PACKED else 1)):
                block, left = block * 32, []
                continue
            if isinstance(error, UnicodeError) or "UTF8" in str(error):
                raise _not_text(path, encoding, error) from error
            if "cannot infer number" in str(error):
                raise DataError(f"{path.name} is empty: there is no row of column names.") from error
            if "straddling" in str(error):
                raise DataError(
                    f'{path.name} has a row of more than {block >> 20} MB; a quote (") that is never closed makes one.'
                ) from error
            raise DataError(f"{path.name}: {_bad_row(path, options, parse, block) or _line(error)}.") from error
    if left:
        notes.append(f"Left out: {counted(len(left), 'line')} beginning with '#', the first {left[0].strip()[:40]!r}.")
    _refuse_long(path.name, table)
    _refuse_swallowed(path.name, table, start)
    return table


def _refuse_long(name: str, table: pa.Table, longest: int = BLOCK) -> None:
    """Raises DataError for a value of a megabyte: no number, no category, most often a quote that is never closed."""
    import pyarrow.compute as pc

    for i, column in enumerate(table.columns):
        if column.nbytes < longest:
            continue
        lengths = pc.binary_length(column)
        if (pc.max(lengths).as_py() or 0) >= longest:
            row = pc.index(pc.greater_equal(lengths, longest), True).as_py()
            held = column[row].as_py()
            raise DataError(
                f"{name} has a value of {len(held) / 1e6:.0f} MB in column {i + 1}, row {row}, which begins "
                f'{held[:30]!r}; close the quote (") before it, or leave the column out of the file.'
            )


def _refuse_swallowed(name: str, table: pa.Table, start: _Start) -> None:
    """Raises DataError for a value that holds whole rows of the table: a quote was never closed."""
    import pyarrow.compute as pc

    for i, column in enumerate(table.columns):
        broken = pc.fill_null(pc.match_substring(column, "\n"), False)
        if not pc.any(broken).as_py():
            continue
        for row in pc.indices_nonzero(broken).to_pylist()[:1000]:
            held = column[row].as_py()
            near = row - 1 if row > 1 else row + 1
            whole = [other[near].as_py() if near < table.num_rows else None for other in table.columns]
            if not _is_rows(held, i, start, whole):
                continue
            above = [other.slice(0, row) for other in table.columns]
            ends = sum(pc.sum(pc.count_substring(one, "\n")).as_py() or 0 for one in above)
            raise DataError(
                f'{name} has a quote (") that is never closed: the value that begins with {held[:30]!r} in line '
                f"{start.skip + row + ends + 1} (empty lines not counted) holds {held.count(chr(10))} of the lines "
                "below it. Close the quote, or take it out."
            )


def _is_rows(held: str, place: int, start: _Start, above: list[str | None]) -> bool:
    """Whether a value with line ends is made of rows: as many fields in each, and numbers where the row above has them.

    The first piece is the rest of its own row; the last one, up to the next quote, begins a row.
    """
    first, *middle, last = LINES.split(held)
    cells = [_cells(line, start.delimiter) for line in middle if line.strip()]
    if place == 0 and start.width > 1 and len(_cells(first, start.delimiter)) == start.width:
        cells.insert(0, _cells(first, start.delimiter))  # the whole row
    begun = _cells(last, start.delimiter)
    if any(len(one) != start.width for one in cells) or not (cells or (place and len(begun) == place + 1)):
        return False
    if first.count(start.delimiter) != start.width - 1 - place and cells == []:
        return False
    rows = [*cells, *([begun[:place]] if place and len(begun) == place + 1 else [])]
    pairs = [(above[i] or "", cell) for row in rows for i, cell in enumerate(row)]
    values = [(_is_value(known.strip()), _is_value(cell)) for known, cell in pairs if known and cell]
    if not any(known for known, _ in values):
        return len(cells) >= 2 and (start.width >= 3 or any(_is_value(cell) for row in cells for cell in row))
    return sum(known == found for known, found in values) >= 0.8 * len(values)


def _not_text(path: Path, encoding: str, error: Exception) -> DataError:
    import pyarrow as pa

    if encoding != "utf-8":
        return _WrongEncodingError(f"{path.name} is not {encoding} text ({_line(error)}); say another encoding=.")

    def blocks() -> Iterator[bytes]:
        with pa.input_stream(str(path)) as stream:
            while block := stream.read(BLOCK):
                yield block

    return _WrongEncodingError(str(not_utf8(path.name, blocks())))


def _bad_row(path: Path, options: dict[str, Any], parse: dict[str, Any], block: int) -> str:
    """Where the text is malformed: read once more on one thread, which alone counts the rows."""
    import pyarrow as pa
    from pyarrow import csv

    bad: list[Any] = []

    def note(row: Any) -> str:
        if row.text.lstrip().startswith("#"):
            return "skip"
        bad.append(row)
        return "error"

    with contextlib.suppress(pa.ArrowInvalid, UnicodeError):  # the caller raises; the row is wanted here
        csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False, block_size=block, **options),
            parse_options=csv.ParseOptions(invalid_row_handler=note, **parse),
        )
    if not bad:
        return ""
    row = bad[0]
    if "\n" in row.text and row.text.count('"') % 2:
        return f'line {row.number} (empty lines not counted) has a quote (") that is never closed: {row.text[:40]!r}'
    return (
        f"line {row.number} (empty lines not counted) has {counted(row.actual_columns, 'value')}, the lines above it "
        f"{row.expected_columns}: {row.text[:60]!r}; mend it, or say skip= where lines stand above the column names"
    )


def _without_empty(table: pa.Table, names: list[str], notes: list[str]) -> tuple[pa.Table, list[str]]:
    """Without columns that have neither name nor value, further ones without a name, and rows without any value."""
    import pyarrow.compute as pc

    void = [i for i, name in enumerate(names) if not name and table.column(i).null_count == table.num_rows]
    if void and len(void) < len(names):
        notes.append(f"Left out: {counted(len(void), 'column')} without a name and without a value.")
        kept = [i for i in range(len(names)) if i not in void]
        table, names = table.select(kept), [names[i] for i in kept]
    if names.count("") > 1:
        notes.append(f"{names.count('')} columns without a name were left out; name them to use them.")
        kept = [i for i, name in enumerate(names) if name]
        table, names = table.select(kept), [names[i] for i in kept]
    if len(names) > 1 and table.num_rows and min(column.null_count for column in table.columns):
        gone = functools.reduce(pc.and_, (pc.is_null(column) for column in table.columns))
        count = pc.sum(gone).as_py() or 0
        if 0 < count < table.num_rows:
            first = pc.index(gone, True).as_py() + 1
            notes.append(f"Left out: {counted(count, 'line')} of separators alone, the first in row {first}.")
            table = table.filter(pc.invert(gone))
    return table, names


def _line(error: Exception) -> str:
    """The first line of a library's message."""
    return str(error).strip().partition("\n")[0].rstrip(".")
