"""Files and frames as named Arrow columns, read one at a time so that a table never lies in memory twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError, BackendError, DataError, listed, nearest
from .delimited import PACKED, read_delimited
from .encoding import MARKS, refuse_unknown
from .missing import Absent

if TYPE_CHECKING:
    import pyarrow as pa

TEXT, PARQUET, ARROW, TS = "text", "Parquet", "Arrow", ".ts"
KINDS = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".tab"), TEXT),
    **dict.fromkeys((".parquet", ".pq"), PARQUET),
    **dict.fromkeys((".arrow", ".arrows", ".feather", ".ipc"), ARROW),
    ".ts": TS,
}
ACCEPTED = "CSV (.csv, .tsv, .txt, also .gz), Parquet, Arrow (.arrow, .feather, .ipc) and .ts"
SIGNATURES = (
    (b"PAR1", PARQUET),
    (b"ARROW1", ARROW),
    (b"\xff\xff\xff\xff", ARROW),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip or Excel file (save an Excel sheet as CSV)"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file (save the sheet as CSV)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy file (use tt.from_arrays)"),
    (b"\x1f\x8b", "a gzip file (its name must end in .csv.gz)"),
    (b"FEA1", "a Feather file of version 1 (write it again as version 2)"),
    (b"SQLite format 3", "an SQLite database"),
)


class Table:
    """Named columns; ``take`` hands each out once and keeps no hold on it."""

    def __init__(
        self,
        *,
        source: str,
        names: Sequence[str],
        rows: int,
        read: Callable[[str], pa.ChunkedArray],
        types: Mapping[str, pa.DataType] | None = None,
        hidden: Sequence[str] = (),
        roles: Mapping[str, str] | None = None,
        written: bool = False,
        notes: Sequence[str] = (),
        encoding: str | None = None,
    ) -> None:
        doubled = sorted(name for name, count in Counter(names).items() if count > 1)
        if doubled:
            raise DataError(f"{source} has more than one column named {listed(doubled)}; rename them.")
        if not names:
            raise DataError(f"{source} has no columns.")
        if rows == 0:
            raise DataError(f"{source} is empty: it has columns ({listed(names)}) and no rows.")
        self.source = source
        self.names = tuple(names)
        self.hidden = tuple(hidden)  # may be named, but is no feature by default: the index of a pandas frame
        self.roles = dict(roles or {})  # what the format itself says columns are for: argument -> column
        self.rows = rows
        self.written = written  # all columns are text, as it is written in a file
        self.notes = tuple(notes)
        self.encoding = encoding
        self._read = read
        self._types = dict(types or {})
        self._held: dict[str, pa.ChunkedArray] = {}
        self._absent = Absent.of(())

    def without(self, words: str | float | Sequence[str | float]) -> tuple[str, ...]:
        """Takes these texts and numbers as missing, in each column; returns them as text.

        Raises:
            ArgumentError: a value that is neither.
        """
        given = [words] if isinstance(words, str | int | float | np.number) else list(words)
        for word in given:
            if not isinstance(word, str | int | float | np.number) or isinstance(word, bool):
                raise ArgumentError(f"na_values holds {word!r}; give texts or numbers, such as -999.")
        self._absent = Absent.of(given)
        return self._absent.words

    def type(self, name: str) -> pa.DataType:
        if name not in self._types:
            self._types[name] = self.peek(name).type
        return self._types[name]

    def peek(self, name: str) -> pa.ChunkedArray:
        """The column, which ``take`` will hand out as well."""
        if name not in self._held:
            self._held[name] = self._absent.mask(self._read(name))
        return self._held[name]

    def take(self, name: str) -> pa.ChunkedArray:
        column = self._held.pop(name) if name in self._held else self._absent.mask(self._read(name))
        # Arrow sorts and takes no string views yet.
        return column.cast("large_string") if str(column.type) == "string_view" else column

    def require(self, argument: str, name: str) -> None:
        """Raises DataError unless there is such a column."""
        if name not in self.names and name not in self.hidden:
            hint = ""
            if all(re.fullmatch(r"[-+.\deE]*", column) for column in self.names):
                hint = " The first row seems to hold data; add a row of column names above it."
            raise DataError(
                f"{argument}={name!r} is not a column of {self.source}, which has {listed(self.names, 30)}."
                f"{nearest(name, (*self.names, *self.hidden))}{hint}"
            )


def open_table(
    source: Any,
    *,
    encoding: str | None = None,
    recorded: str | None = None,
    skip: int | None = None,
    recorded_skip: int = 0,
) -> Table:
    """The columns of a file or of a frame in memory. Those of a text file are text, as it is written.

    Args:
        encoding, skip: of a text file; None: as it says itself.
        recorded, recorded_skip: of the table trained on: the encoding for a text file that is no UTF-8, and the lines
            to skip where ``skip`` is not said.

    Raises:
        ArgumentError: neither a path nor a frame; ``encoding`` or ``skip`` for what is no text file.
        DataError: no such file, or not of the kind that its name says, or damaged.
    """
    refuse_unknown(encoding)
    path = Path(source).expanduser() if isinstance(source, str | Path) else None
    kind = None if path is None else _kind_of(path, encoded=encoding is not None or recorded is not None)
    if kind != TEXT and (encoding is not None or skip):
        raise ArgumentError("encoding= and skip= belong to text files, such as CSV.")
    if kind is None or path is None:
        return _frame(source)
    if kind == TEXT:
        lines = recorded_skip if skip is None and recorded_skip else skip
        text = read_delimited(path, encoding=encoding, recorded=recorded, skip=lines)
        return Table(
            source=path.name,
            names=list(text.columns),
            rows=text.rows,
            read=text.columns.pop,
            written=True,
            notes=text.notes,
            encoding=text.encoding,
        )
    return {PARQUET: _parquet, ARROW: _arrow, TS: _ts}[kind](path)


# -- frames ------------------------------------------------------------------------------------------------------


def _frame(frame: Any) -> Table:
    import narwhals as nw
    import pyarrow as pa

    if isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    if isinstance(frame, pa.Table):
        columns = {name: frame.column(i) for i, name in enumerate(frame.column_names)}
        return Table(source="pyarrow Table", names=frame.column_names, rows=frame.num_rows, read=columns.__getitem__)
    try:
        made = nw.from_native(frame)
    except TypeError as error:
        raise ArgumentError(
            f"read_table takes a path, or a pandas, polars or pyarrow frame; given {type(frame).__name__}."
        ) from error
    except nw.exceptions.DuplicateError as error:
        raise DataError("the frame has more than one column of the same name; rename them.") from error
    if isinstance(made, nw.LazyFrame):
        made = made.collect()
    series = {str(one.name): one for one in made.iter_columns()}
    names = [str(one.name) for one in made.iter_columns()]
    hidden = []
    if made.implementation.is_pandas():
        index = made.to_native().index
        for level, name in enumerate(index.names):
            if name is not None and str(name) not in series:
                hidden.append(str(name))
                values = index.get_level_values(level).to_series(name=name)
                series[str(name)] = nw.from_native(values, series_only=True)

    def read(name: str) -> pa.ChunkedArray:
        try:
            array = series[name].to_arrow()
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise DataError(f"column {name!r} mixes values of different kinds: {_line(error)}.") from error
        return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])

    return Table(
        source=f"{made.implementation.value} DataFrame", names=names, rows=made.shape[0], read=read, hidden=hidden
    )


# -- files -------------------------------------------------------------------------------------------------------


def _kind_of(path: Path, *, encoded: bool) -> str:
    """TEXT, PARQUET, ARROW or TS; raises DataError for what is none of them, or not what its name says."""
    name = path.name
    if path.is_dir():
        inside = [file.name for file in sorted(path.iterdir()) if _kind(file) is not None]
        raise DataError(f"{path} is a directory; give one file{f', such as {listed(inside, 5)}' if inside else ''}.")
    if not path.exists():
        near = nearest(name, [file.name for file in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise DataError(f"there is no file {path}.{near}")
    with path.open("rb") as opened:
        head = opened.read(64)
    found = next((kind for signature, kind in SIGNATURES if head.startswith(signature)), None)
    kind = _kind(path)
    packed = path.suffix.lower() in PACKED
    if not head:
        raise DataError(f"{name} is empty: the file has no bytes.")
    letters = encoded or b"\0" not in head or _is_utf16(head)
    if kind is None:
        kind = found if found in (PARQUET, ARROW) else None
        if found is None and letters:
            kind = TEXT
        if kind is None:
            what = found or f"a file that starts with the bytes {head[:8]!r}"
            raise DataError(f"{name} is {what}; read_table reads {ACCEPTED}.")
    elif not packed and found != kind and (found is not None or kind in (PARQUET, ARROW) or not letters):
        what = f"{found} data" if found in (PARQUET, ARROW) else found or f"a file that starts with {head[:16]!r}"
        raise DataError(f"{name} is not a {kind} file as its name says, it is {what}; rename it or save it again.")
    return kind


def _is_utf16(head: bytes) -> bool:
    """Whether zero bytes are those of letters: behind a mark, or at every second place."""
    zeros = [head[side::2].count(b"\0") * 3 > len(head) for side in (0, 1)]
    return any(head.startswith(mark) for mark, _ in MARKS) or zeros in ([True, False], [False, True])


def _kind(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        return TEXT if suffixes[:-1] and KINDS.get(suffixes[-2]) == TEXT else None
    return KINDS.get(suffixes[-1]) if suffixes else None


def _line(error: Exception) -> str:
    """The first line of a library's message."""
    return str(error).strip().partition("\n")[0].rstrip(".")


def _damage() -> tuple[type[Exception], ...]:
    """What Arrow raises of a damaged file: lengths beyond all memory, unknown types, names that are no text."""
    import pyarrow as pa

    return (pa.ArrowException, UnicodeDecodeError, OSError)


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    damage = _damage()
    try:
        file = pq.ParquetFile(path)
        schema, rows = file.schema_arrow, file.metadata.num_rows
    except damage as error:
        raise DataError(f"{path.name} is a damaged Parquet file: {_line(error)}.") from error

    def read(name: str) -> pa.ChunkedArray:
        try:
            column = file.read(columns=[name]).column(name)
            column.validate(full=True)
            if len(column) != rows:
                raise pa.ArrowInvalid(f"it has {len(column)} values, and the table {rows} rows")
            return column
        except damage as error:
            raise DataError(f"column {name!r} of {path.name} cannot be read: {_line(error)}.") from error

    fields = [field for field in schema if not field.name.startswith("__index_level_")]
    return Table(
        source=path.name,
        names=[field.name for field in fields],
        rows=rows,
        read=read,
        types={field.name: field.type for field in fields},
    )


def _arrow(path: Path) -> Table:
    import pyarrow as pa

    try:
        # No memory map: a file that is damaged or cut while it is mapped ends the process with a signal.
        with pa.OSFile(str(path)) as opened:
            is_file = opened.read(6) == b"ARROW1"
            opened.seek(0)
            reader = pa.ipc.open_file(opened) if is_file else pa.ipc.open_stream(opened)
            table = reader.read_all()
        table.validate(full=True)
        names = table.column_names  # decodes them
    except _damage() as error:
        raise DataError(f"{path.name} is a damaged Arrow file: {_line(error)}.") from error
    return _held(path.name, table, names)


def _held(source: str, table: pa.Table, names: Sequence[str], roles: Mapping[str, str] | None = None) -> Table:
    names = [name.strip() for name in names]
    columns = {name: table.column(i) for i, name in enumerate(names)}
    types = {name: column.type for name, column in columns.items()}
    return Table(source=source, names=names, rows=table.num_rows, read=columns.pop, types=types, roles=roles)


def _ts(path: Path) -> Table:
    """aeon's ``.ts``: columns "sequence", "x0", "x1", ... and "target", one row a time step."""
    import pyarrow as pa

    try:
        from aeon.datasets import load_from_ts_file
    except ImportError as error:
        raise BackendError("reading .ts files needs aeon: pip install throughtime[ts]") from error
    try:
        series, labels = load_from_ts_file(str(path))
    except (ValueError, IndexError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{path.name} is not a .ts file that aeon can read: {_line(error)}.") from error
    if not len(series):
        raise DataError(f"{path.name} is not a .ts file that aeon can read: it holds no series after @data.")
    lengths = np.array([one.shape[1] for one in series])
    owner = np.repeat(np.arange(len(series)), lengths)
    columns: dict[str, Any] = {"sequence": owner}
    for c in range(series[0].shape[0]):
        columns[f"x{c}"] = np.concatenate([one[c] for one in series])
    if len(labels):
        classes = labels.dtype.kind in "UO"
        columns["target"] = pa.array(labels).dictionary_encode().take(pa.array(owner)) if classes else labels[owner]
    roles: dict[str, str] = {role: role for role in ("sequence", "target") if role in columns}
    return _held(path.name, pa.table(columns), list(columns), roles)
