"""Text that comes piece by piece, as the rows of a table: CSV with a header, or JSON lines.

A row is handed on as soon as its last line is there. Quotes, line ends, comments, repeated names and empty lines are
what they are in a file that is read at once; what cannot be read is named by its line.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..data.encoding import MARKS
from ..errors import DataError, listed

LINE = re.compile(r"\r\n|\r|\n")
LONGEST = 1 << 24  # letters of one row: more is a quote that was never closed
PIECE = 1 << 16
DELIMITERS = ",\t;|"


@dataclass(frozen=True)
class Record:
    """One row: where it stands, and its values by column, text or what JSON has."""

    where: str
    values: dict[str, Any]


def pieces_of(file: BinaryIO) -> Iterator[str]:
    """What is there of a file, as soon as it is there, as text; bytes that are no UTF-8 stay to be found."""
    data = b""
    while len(data) < 4 and (more := file.read1(PIECE)):  # type: ignore[attr-defined]
        data += more
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    plain = encoding == "utf-8"
    decoder = codecs.getincrementaldecoder("utf-8-sig" if plain else encoding)(
        "surrogateescape" if plain else "replace"
    )
    while data:
        yield decoder.decode(data)
        data = file.read1(PIECE)  # type: ignore[attr-defined]
    yield decoder.decode(b"", final=True)


class Records:
    """Rows out of pieces of text.

    Args:
        needed: columns that are looked for, which tell a header with spaces between its names.
        encoding: of the table trained on, for lines that are no UTF-8.
        skip: lines above the header.

    Example:
        >>> records = Records()
        >>> [one.values for one in records.feed('who,say\\na,"two\\nlines"\\nb,')]
        [{'who': 'a', 'say': 'two\\nlines'}]
        >>> [one.values for one in records.finish()]
        [{'who': 'b', 'say': ''}]
    """

    def __init__(self, needed: Collection[str] = (), *, encoding: str | None = None, skip: int = 0) -> None:
        self.header: list[str] | None = None
        self.as_json: bool | None = None
        self._needed, self._encoding, self._skip = needed, encoding, skip
        self._delimiter = ","
        self._forced = ""
        self._pending, self._after_return = "", False
        self._number, self._first = 0, 0
        self._text, self._inside = "", False

    def feed(self, text: str) -> Iterator[Record]:
        """The rows that end in this piece.

        Raises:
            DataError: a line that is no row, after the rows before it.
        """
        if self._after_return and text.startswith("\n"):  # of a line end that was cut in two
            text = text[1:]
        if text:
            self._after_return = text.endswith("\r")
        text, at = self._pending + text, 0
        for end in LINE.finditer(text):
            line, at = text[at : end.end()], end.end()
            record = self._line(line)
            if record is not None:
                yield record
        self._pending = text[at:]
        self._refuse_long(len(self._text) + len(self._pending))

    def finish(self) -> Iterator[Record]:
        """The last row, where no line end stands behind it.

        Raises:
            DataError: a quote that is not closed, or no row of names.
        """
        if self._pending:
            line, self._pending = self._pending, ""
            record = self._line(line)
            if record is not None:
                yield record
        if self._inside:
            raise DataError(f'line {self._first} opens a quote (") that is never closed; close it.')
        if self.header is None and not self.as_json:
            raise DataError("the input is empty: there is no row of column names.")

    def _line(self, line: str) -> Record | None:
        self._number += 1
        if self._number <= self._skip:
            return None
        if not self._text:
            self._first = self._number
        if self.as_json is None and line.strip() and not (self._text or self._skipped(line)):
            self.as_json = line.lstrip("\ufeff \t").startswith("{")
            self._delimiter = self._forced or self._see_delimiter(line)
        elif self.as_json is None and not self._text:
            return None
        where = f"line {self._first}"
        if self.as_json:
            return Record(where, _object(self._decoded(line, where), where)) if line.strip() else None
        self._text += line
        self._inside = _is_inside(line, self._delimiter, self._inside)
        self._refuse_long(len(self._text))
        if self._inside:
            return None
        text, self._text = LINE.sub("", self._text) if len(self._text) < 3 else self._text, ""
        return self._row(self._decoded(text, where), where)

    def _row(self, text: str, where: str) -> Record | None:
        if not text.rstrip("\r\n") and (self.header is None or len(self.header) > 1):
            return None
        try:
            fields = next(csv.reader([text], delimiter=self._delimiter), [""])
        except csv.Error as error:
            raise DataError(f"{where} cannot be read as CSV ({error}).") from error
        fields = fields or [""]
        if self.header is None:
            self.header = [name.strip().lstrip("\ufeff") for name in fields]
            doubled = sorted(name for name, count in Counter(self.header).items() if count > 1 and name)
            if doubled:
                raise DataError(f"{where}, the header, has more than one column named {listed(doubled)}; rename them.")
            return None
        if len(fields) != len(self.header):
            if text.lstrip().startswith("#"):
                return None
            raise DataError(f"{where} has {len(fields)} fields, and the header {len(self.header)}: "
                            f"{listed(self.header)}.")  # fmt: skip
        if len(fields) > 1 and not any(fields):
            return None  # separators alone
        return Record(where, dict(zip(self.header, fields, strict=True)))

    def _skipped(self, line: str) -> bool:
        """Of the lines above the header: comments, and how spreadsheets name their delimiter."""
        bare = line.strip().lstrip("\ufeff")
        if bare.casefold().startswith("sep=") and len(bare) <= 5 and not self._forced:
            self._forced = bare[4:5] or "\t"
            return True
        return bare.startswith("#")

    def _see_delimiter(self, line: str) -> str:
        bare = re.sub(r'"[^"]*"', "", line)
        delimiter = max(DELIMITERS, key=bare.count)
        if delimiter not in bare and not {name.strip() for name in line.split(" ")}.isdisjoint(self._needed):
            return " " if " " in line.strip() else delimiter
        return delimiter

    def _decoded(self, text: str, where: str) -> str:
        """The text, where bytes that are no UTF-8 stand as lone surrogates in the encoding of the table trained on.

        Raises:
            DataError: bytes that are neither, and zero bytes.
        """
        bad = b"\0" if "\0" in text else b""
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                bad = text[error.start : error.start + 8].encode(errors="surrogateescape")
                if self._encoding is not None:
                    try:
                        return text.encode(errors="surrogateescape").decode(self._encoding)
                    except UnicodeDecodeError as other:
                        bad = other.object[other.start : other.start + 8]
        if bad:
            raise DataError(f"{where} is not UTF-8 text: it holds the bytes {bad[:8]!r}; write UTF-8.")
        return text

    def _refuse_long(self, length: int) -> None:
        if length > LONGEST:
            raise DataError(
                f"line {self._first or self._number + 1} begins a row of more than {LONGEST >> 20} MB; a quote "
                '(") that is never closed makes one.'
            )


def _is_inside(line: str, delimiter: str, inside: bool) -> bool:
    """Whether a quoted field goes on behind the line. A quote opens a field only where the field begins."""
    if not inside and '"' not in line:
        return False
    begins, place = True, 0
    while place < len(line):
        letter = line[place]
        if inside:
            if letter == '"':
                if line[place + 1 : place + 2] == '"':
                    place += 1
                else:
                    inside, begins = False, False
        elif letter == '"' and begins:
            inside = True
        else:
            begins = letter == delimiter
        place += 1
    return inside


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.lstrip("\ufeff"), object_pairs_hook=_Pairs)
    except RecursionError as error:
        raise DataError(f"{where} holds JSON within JSON too deep to be read; a row has single values.") from error
    except ValueError as error:
        raise DataError(f"{where} is no JSON ({error}); a line is one object, as the first one was.") from error
    if not isinstance(row, _Pairs):
        raise DataError(f"{where} is {type(row).__name__} in JSON; a line is an object of columns and values.")
    doubled = sorted(name for name, count in Counter(name for name, _ in row).items() if count > 1)
    if doubled:
        raise DataError(f"{where} has more than one column named {listed(doubled)}; rename them.")
    return {name: dict(value) if isinstance(value, _Pairs) else value for name, value in row}


class _Pairs(list[tuple[str, Any]]):
    """Names and values of an object, a repeated name too."""
