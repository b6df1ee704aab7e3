"""The columns of a table as numbers, dates and categories: what each column of text is, decided once and said.

A number's own spelling is read as that number; other spellings (``spelling.py``) are, with a note. Codes with leading
zeros and text stay as they are written. Where two readings give different numbers, ``dtypes`` decides, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError, listed, one_of
from . import columns as col
from .dates import ORDERS
from .sources import Table
from .spelling import MISSING, PLAIN, Spelling, Verdict, decide, is_missing

if TYPE_CHECKING:
    import pyarrow as pa

DTYPES = ("number", "decimal-point", "decimal-comma", "category", "date", *ORDERS)
TEXT = "text"  # in place of a spelling: read as text, without the words for "missing" and the spaces around it
VERBATIM = "verbatim"  # as it is written
GROUPED = r"^[1-9]\d{0,2}(\.\d{3})+$"
PLAIN_DATES = ("date32", "timestamp[s]", "timestamp[ns]")
EXACT = 2**53  # integers beyond it are not all float64
_YEAR, _PART = r"[12]\d{3}", r"\d{1,2}"
_CLOCK = rf"({_PART}:\d\d(:\d\d([.,]\d+)?)?|{_PART}\.\d\d\.\d\d)( ?[aApP]\.?[mM]\.?)?"
_MONTH = r"(?i:jan|feb|fév|mar|mär|apr|avr|may|mai|jun|jul|juil|aug|aoû|sep|oct|okt|nov|dec|dez|déc)[a-zéû]*\.?"
_ZONE = r" ?(Z|[A-Z]{3,4}|[-+]\d\d:?(\d\d)?)?"
_DAY = (
    rf"({_YEAR}[-/.]{_PART}[-/.]{_PART}|{_PART}[-/.]{_PART}[-/.]({_YEAR}|\d\d)"
    rf"|{_PART}[- ./]*{_MONTH}[- ,/]*({_YEAR}|\d\d)|{_MONTH} {_PART}(st|nd|rd|th)?,? {_YEAR})"
)
DATE = (
    rf"^\s*([A-Z][a-z]{{2,8}},? )?({_DAY}([ T,]+{_CLOCK})?{_ZONE}|{_CLOCK}|{_YEAR}(-?(Q[1-4]|W\d\d)|[-/]{_PART})"
    rf"|Q[1-4][-/ ]?{_YEAR}|{_MONTH}[- ]{_YEAR}|{_PART}/{_YEAR})\s*$"
)


@dataclass(frozen=True)
class _Read:
    column: pa.ChunkedArray
    kind: col.Kind
    spelling: Spelling = PLAIN
    odd: str = ""  # what keeps a column of text from being numbers, in words


class Typed:
    """A table whose columns have kinds.

    Args:
        table: as it lies in its file.
        dtypes: column -> one of DTYPES: what the user says of it.
        expected: column -> the code of a spelling, or "text", that another table was read with.
        labels: columns of classes, whose text stays text.
        perhaps: columns that may be classes: integers that a frame holds as text stay text.

    Raises:
        ArgumentError: a dtype that is none. DataError: of a column that is not there.
    """

    def __init__(
        self,
        table: Table,
        *,
        dtypes: Mapping[str, str] | None = None,
        expected: Mapping[str, str] | None = None,
        labels: Sequence[str] = (),
        perhaps: Sequence[str] = (),
    ) -> None:
        self.table, self.notes = table, list[str]()
        self._spelled_so: dict[str, list[tuple[str, str]]] = {}  # how, and columns with an example
        self.source, self.names, self.hidden = table.source, table.names, table.hidden
        self.roles, self.rows = table.roles, table.rows
        self._dtypes, self._expected = dict(dtypes or {}), dict(expected or {})
        self._labels, self._perhaps = tuple(labels), tuple(perhaps)
        self._read: dict[str, _Read] = {}
        self.spellings: dict[str, str] = {}  # of the columns read so far
        self._proven: dict[str, str] = {}
        self._gone: dict[str, list[str]] = {}  # words of columns of text that are taken as missing
        self._taken: set[str] = set()
        self._seen: dict[str, tuple[col.Kind, pa.DataType]] = {}  # of columns read, also once they are handed out
        self.require = table.require
        for name, dtype in self._dtypes.items():
            table.require("dtypes", name)
            one_of(f"dtypes[{name!r}]", dtype, DTYPES)

    @property
    def left(self) -> set[str]:
        """The columns that were not handed out yet."""
        return set(self.names) - self._taken

    def type(self, name: str) -> pa.DataType:
        if not self._is_open(name):
            return self.table.type(name)
        return self._seen[name][1] if name in self._seen else self._decided(name).column.type

    def kind(self, name: str) -> col.Kind:
        """What the column is read as."""
        if not self._is_open(name):
            return col.kind(self.table.type(name))
        return self._seen[name][0] if name in self._seen else self._decided(name).kind

    def what(self, name: str) -> str:
        """The type of the column, for a message."""
        type = getattr(self.type(name), "value_type", self.type(name))
        if self.kind(name) in ("date", "category") and col.is_text(type):
            return f"text such as {self._example(name)!r}"
        return str(type)

    def odd(self, name: str) -> str:
        """What keeps a column of text from being numbers, in words; empty where it is not nearly numbers."""
        return self._decided(name).odd if self._is_open(name) else ""

    def take(self, name: str) -> pa.ChunkedArray:
        if not self._is_open(name):
            return self._hand_out(name)
        read = self._decided(name)
        self._taken.add(name)
        del self._read[name]  # the table keeps no hold on what it has handed out
        return read.column

    def ids(self, name: str) -> pa.ChunkedArray:
        """The column as names of sequences: text as written, unless each is an integer's own spelling."""
        column = self._hand_out(name)
        if not col.is_text(column.type):
            return column
        if self._is_verbatim(name):
            self.spellings[name] = VERBATIM
            return column
        if self.table.written:
            whole = _cast(column, "int64")
            if whole is None:
                whole = _cast(_without_missing(column), "int64")
            if whole is not None and not _has_codes(column):
                return whole
        return self._text(name, column)

    def stamps(self, name: str) -> pa.ChunkedArray:
        """The column as times: numbers and plain dates as such; other text, as it is written, is left to ``stamps``."""
        column = self._hand_out(name)
        if not col.is_text(column.type):
            return column
        for one in (column, _without_missing(column)):
            for type in ("int64", "double", *(PLAIN_DATES if self.table.written else ())):
                plain = _cast(one, type)
                if plain is None:
                    continue
                # A frame's text is written again as text; so are digits with zeros before them.
                return plain if self.table.written and not (type == "int64" and _has_codes(one)) else one
        column = _without_missing(column)
        index, texts = col.encoded(column)
        if _share_of_dates(texts) < 0.5:
            verdict = decide(texts)
            if verdict.kind == "numbers":
                return _laid(verdict.values, index)
            if verdict.kind == "text" and _few(verdict, texts):
                words = self._why_text(index, texts, verdict)
                raise DataError(
                    f"time column {name!r} is not all numbers: {words}; mend it, or leave this row out, if "
                    "it holds a total or units."
                )
        return column

    def order(self, name: str) -> str:
        """What the user says of the dates of a time column, for ``read_times``."""
        dtype = self._dtypes.get(name, "")
        return dtype if dtype == "number" or dtype in ORDERS else ""

    def gone(self, name: str) -> str:
        """A hint for a column whose values are missing: the words that were taken so, and the way to keep them."""
        words = self._gone.get(name)
        if not words:
            return ""
        return f" {listed(words, 3)} count as missing; dtypes={{{name!r}: 'category'}} keeps them as values."

    def _is_verbatim(self, name: str) -> bool:
        return self._dtypes.get(name) == "category" or self._expected.get(name) == VERBATIM

    def _text(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """A column of text as a category: without spaces around it, null where empty or a word for "missing".

        What a frame has as text is there on purpose, as it can have null; unless the table trained on says otherwise.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        index, texts = col.encoded(column)
        trimmed = pc.utf8_trim_whitespace(texts)
        words = is_missing(trimmed)
        found = sorted(set(trimmed.filter(words).drop_null().to_pylist()) - {""})
        if not self.table.written and name not in self._expected:
            words = pc.is_null(trimmed)
            if found:
                self.spellings[name] = VERBATIM
                self.notes.append(f"Column {name!r} holds {listed(found, 3)} as text: read as values like the others.")
        elif found:
            self._gone[name] = found
            self.notes.append(
                f"Column {name!r}: {listed(found, 3)} taken as missing; dtypes={{{name!r}: 'category'}} keeps such "
                "values."
            )
        if pc.all(pc.equal(trimmed, texts)).as_py() is False:
            again = trimmed.dictionary_encode()
            if len(again.dictionary) < len(texts):
                odd = texts[pc.index(pc.not_equal(trimmed, texts), True).as_py()].as_py()
                self.notes.append(
                    f"Column {name!r}: spaces around its values were left out, so {odd[:40]!r} is {odd.strip()[:40]!r}."
                )
            words = pa.array(words.to_numpy(zero_copy_only=False))
            index = pc.if_else(words.take(index), None, again.indices.take(index))
            return col.chunked(pa.DictionaryArray.from_arrays(index, again.dictionary))
        return _dictionary(index, texts, words)

    def _hand_out(self, name: str) -> pa.ChunkedArray:
        self._taken.add(name)
        return self.table.take(name)

    def remarks(self) -> list[str]:
        """What was decided while columns were read; those that are written in one way in one line."""
        said = []
        for how, columns in self._spelled_so.items():
            names, many = listed((name for name, _ in columns), 6), len(columns) > 1
            said.append(
                f"Column{'s' * many} {names} {'are' if many else 'is'} text whose values are all numbers, such as "
                f"{columns[0][1][:30]!r}: read as numbers{how}. dtypes={{{columns[0][0]!r}: 'category'}} keeps it text."
            )
        return [*self.notes, *said]

    # -- one column ----------------------------------------------------------------------------------------------

    def _is_open(self, name: str) -> bool:
        """Whether there is something to decide: text, or what the user says of the column."""
        return name in self._dtypes or col.is_text(self.table.type(name))

    def _decided(self, name: str) -> _Read:
        if name not in self._read:
            self._read[name] = read = self._decide(name)
            self._seen[name] = read.kind, read.column.type
            self._proven.setdefault(name, "")
            if read.kind == "number" and read.spelling != PLAIN:
                self.spellings[name] = read.spelling.code
            elif read.kind == "category" and name not in self._expected:
                self.spellings.setdefault(name, TEXT)
        return self._read[name]

    def _decide(self, name: str) -> _Read:
        dtype = self._dtypes.get(name)
        column = self.table.take(name)
        if str(column.type) == "string_view":
            column = column.cast("large_string")
        text = col.is_text(column.type)
        if dtype == "date" or dtype in ORDERS:
            return _Read(column, "date")
        if dtype == "category":
            self.spellings[name] = VERBATIM
            return _Read(_as_text(column), "category")
        if dtype is not None and not text:
            import pyarrow as pa

            if pa.types.is_dictionary(column.type) and col.is_text(column.type.value_type):
                column, text = column.cast(column.type.value_type), True
            elif col.kind(column.type) not in ("number", "missing"):
                raise DataError(f"column {name!r} holds {column.type} values, which dtypes={dtype!r} does not fit.")
        if not text:
            return _Read(column, col.kind(column.type))
        if name in self._expected:
            return self._expect(name, column, self._expected[name])
        asked = {"decimal-point": ".", "decimal-comma": ","}.get(dtype or "", "")
        plain = None if asked == "," else self._plain(name, column, dtype)
        return plain if plain is not None else self._spelled(name, column, dtype, asked)

    def _plain(self, name: str, column: pa.ChunkedArray, dtype: str | None) -> _Read | None:
        """The column where each of its texts is a number's own spelling, or a code of digits; else None."""
        import pyarrow.compute as pc

        bare = column
        read = _cast(column, "int64")
        if read is None:
            read = _cast(column, "double")
        if read is None:
            bare = _without_missing(column)
            if bare.null_count == column.null_count:
                return None
            if bare.null_count == len(bare):
                return _Read(_nulls(column), "missing")
            read = _cast(bare, "int64")
            read = read if read is not None else _cast(bare, "double")
            if read is None:
                return None
        if read.null_count == len(read):
            return _Read(_nulls(column), "missing")
        kept = None
        if str(read.type) == "int64":
            if dtype is None and _has_codes(bare):
                first = _first(bare, pc.match_substring_regex(bare, "^0[0-9xX]"))
                kept = f"it has leading zeros, as in {first!r}"
        elif dtype is None:
            kept = _code(bare, read)
        if kept is not None:
            self.notes.append(
                f"Column {name!r} is kept as text, since {kept}; dtypes={{{name!r}: 'number'}} reads it as numbers."
            )
            return _Read(self._text(name, column), "category")
        if name in self._labels and not self.table.written:
            return _Read(self._text(name, column), "category")
        if str(read.type) == "double":
            grouped = _all_grouped(bare)
            evidence = self._evidence(name) if grouped and dtype is None else "."
            if evidence == ",":
                return None  # 1.234 is 1234 where other columns have decimal commas
            if not evidence:
                shown = _first(bare, pc.match_substring(bare, "."))
                self.notes.append(
                    f"Column {name!r} is read with decimal points, as in {shown!r}; if the point stands between "
                    f"thousands, say dtypes={{{name!r}: 'decimal-comma'}}."
                )
            self._proven[name] = "" if grouped else "."
        if not self.table.written:
            if str(read.type) == "int64" and name in self._perhaps and dtype is None:
                return _Read(self._text(name, column), "category")
            self._spelled_so.setdefault("", []).append((name, str(bare.drop_null()[0])))
        return _Read(read, "number")

    def _spelled(self, name: str, column: pa.ChunkedArray, dtype: str | None, asked: str) -> _Read:
        import pyarrow.compute as pc

        index, texts = col.encoded(column)
        missing = is_missing(texts)
        if pc.all(missing).as_py() is not False:
            return _Read(_nulls(column), "missing")
        if self.table.written and dtype is None:
            truth = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
            if pc.all(pc.or_(missing, pc.is_in(truth, value_set=_like(["true", "false"], texts)))).as_py():
                return _Read(_laid(pc.if_else(missing, None, pc.equal(truth, "true")), index), "number")
        if dtype is None and _share_of_dates(texts) > 0.9:
            return _Read(_dictionary(index, texts, missing if self.table.written else None), "date")
        verdict = decide(texts, evidence=asked, any_unit=dtype is not None)
        marked = verdict.kind == "ambiguous" or (verdict.kind == "numbers" and not verdict.certain)
        if marked and not asked and pc.any(pc.match_substring_regex(texts, r"[.,]\d")).as_py():
            verdict = decide(texts, evidence=self._evidence(name), any_unit=dtype is not None)
        self._proven[name] = verdict.certain
        if name in self._labels and dtype is None:
            return _Read(self._text(name, column), "category")
        if verdict.kind == "numbers":
            if asked and verdict.spelling.decimal != asked and verdict.certain:
                shown = texts[0].as_py()
                raise DataError(f"column {name!r} has no {dtype}, as dtypes= says: it holds {shown!r}.")
            self._say(name, texts, verdict)
            return _Read(_laid(verdict.values, index), "number", verdict.spelling)
        shown = [texts[i].as_py()[:60] for i in verdict.odd]
        if verdict.kind == "ambiguous":
            raise DataError(
                f"column {name!r} of {self.source} holds {shown[0]!r}, which is {shown[0].replace(',', '')} or "
                f"{shown[0].replace(',', '.')}, and nothing in the table tells which; say dtypes={{{name!r}: "
                f"'decimal-point'}} or dtypes={{{name!r}: 'decimal-comma'}}."
            )
        if verdict.kind == "marks":
            raise DataError(
                f"column {name!r} of {self.source} mixes decimal commas and decimal points, {listed(shown)}; write it "
                f"in one way, leave it out with features=, or keep it text with dtypes={{{name!r}: 'category'}}."
            )
        words = self._why_text(index, texts, verdict)
        if dtype is not None:
            raise DataError(
                f"column {name!r} is to be read as numbers, and {words}; mend it, or leave the field empty."
            )
        return _Read(
            self._text(name, column), "category", odd=words if verdict.kind == "units" or _few(verdict, texts) else ""
        )

    def _expect(self, name: str, column: pa.ChunkedArray, code: str) -> _Read:
        """The column as that of another table was read."""
        import pyarrow.compute as pc

        if code == VERBATIM:
            return _Read(column, "category")
        if code == TEXT:
            return _Read(self._text(name, column), "category")
        spelling = Spelling.of(code)
        if spelling.decimal == ".":
            bare = column
            plain = _cast(column, "int64")
            plain = plain if plain is not None else _cast(column, "double")
            if plain is None:
                bare = _without_missing(column)
                plain = _cast(bare, "double")
            if plain is not None:
                return _Read(plain, "number")
        index, texts = col.encoded(column)
        if pc.all(is_missing(texts)).as_py() is not False:
            return _Read(_nulls(column), "missing")
        try:
            return _Read(col.chunked(col.numbers(column, code, name=name)), "number", spelling)
        except DataError:
            verdict = decide(texts)
            other = verdict.spelling
            if verdict.kind != "numbers" or other.unit not in ("", spelling.unit) or not verdict.certain:
                raise
            self.notes.append(
                f"Column {name!r} of {self.source} is written with {_mark(other)}, and that of the table trained on "
                f"with {_mark(spelling)}: both are read as numbers."
            )
            return _Read(_laid(verdict.values, index), "number", other)

    # -- evidence ------------------------------------------------------------------------------------------------

    def _evidence(self, name: str) -> str:
        """The decimal mark that other columns of text prove; empty where none does, or they differ."""
        for other in self.names:
            if other != name and other not in self._proven and other not in self._dtypes and other in self.left:
                self._proven[other] = self._prove(other)
        found = {mark for other, mark in self._proven.items() if mark and other != name}
        return found.pop() if len(found) == 1 else ""

    def _prove(self, name: str) -> str:

        if not col.is_text(self.table.type(name)) or name in self._read:
            return ""
        column = self.table.peek(name)
        if str(column.type) == "string_view":
            column = column.cast("large_string")
        bare = _without_missing(column)
        if _cast(bare, "int64") is not None:
            return ""
        if _cast(bare, "double") is not None:
            return "" if _all_grouped(bare) else "."
        _, texts = col.encoded(column)
        return "" if _share_of_dates(texts) > 0.5 else decide(texts).certain

    # -- words ---------------------------------------------------------------------------------------------------

    def _say(self, name: str, texts: pa.Array, verdict: Verdict) -> None:
        import pyarrow.compute as pc

        if verdict.said or not self.table.written:
            how = f", with {verdict.said}" if verdict.said else ""
            known = texts.filter(pc.match_substring_regex(texts, r"\d"))
            telling = known.filter(pc.invert(pc.match_substring_regex(known, r"^-?\d*\.?\d*$")))
            self._spelled_so.setdefault(how, []).append((name, str((telling if len(telling) else known)[0])))
        if verdict.placeholders:
            self.notes.append(f"Column {name!r}: {listed(verdict.placeholders, 3)} taken as missing.")

    @staticmethod
    def _why_text(index: pa.Array, texts: pa.Array, verdict: Verdict) -> str:
        shown = [texts[i].as_py()[:60] for i in verdict.odd]
        if verdict.kind == "units":
            return f"it holds numbers in different units, {shown[0]!r} and {shown[1]!r}"
        row = int(np.argmax(index.fill_null(-1).to_numpy(zero_copy_only=False) == verdict.odd[0])) + 1
        return f"it holds {shown[0]!r} in row {row}"

    def _example(self, name: str) -> str:
        column = self._decided(name).column
        return next((one for one in column.slice(0, 1000).to_pylist() if one), "")


def _mark(spelling: Spelling) -> str:
    return "decimal commas" if spelling.decimal == "," else "decimal points"


def _few(verdict: Verdict, texts: pa.Array) -> bool:
    """Whether there are more numbers than texts that are none: most likely slips."""
    import pyarrow.compute as pc

    return 0 < 2 * len(verdict.odd) <= len(texts) - pc.sum(is_missing(texts)).as_py()


# -- Arrow -------------------------------------------------------------------------------------------------------


def _like(words: list[str], texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    return pa.array(words, texts.type)


def _cast(column: pa.ChunkedArray, type: str) -> pa.ChunkedArray | None:
    """The column as numbers; None where a text is none."""
    import pyarrow as pa

    try:
        return column.cast(type)
    except pa.ArrowInvalid:
        return None  # there is no question "does it parse" to ask beforehand


def _without_missing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with null for the words that mean "missing"."""
    import pyarrow.compute as pc

    gone = pc.is_in(pc.utf8_trim_whitespace(column), value_set=_like(MISSING, column))
    return pc.if_else(gone, None, column) if pc.any(gone).as_py() else column


def _has_codes(column: pa.ChunkedArray) -> bool:
    """Whether digits with a leading zero are among these integers."""
    import pyarrow.compute as pc

    return bool(pc.any(pc.and_(pc.starts_with(column, "0"), pc.greater(pc.binary_length(column), 1))).as_py())


def _code(column: pa.ChunkedArray, read: pa.ChunkedArray) -> str | None:
    """Why texts that can be read as floats are names more likely: 12E3, +4930123456, 20 digits."""
    import pyarrow.compute as pc

    if (pc.max(pc.abs(read)).as_py() or 0) >= EXACT:
        long = pc.match_substring_regex(column, r"^-?\d{17,}$")
        if pc.any(long).as_py():
            return f"its integers are longer than numbers hold, as {_first(column, long)!r}"
    if pc.any(pc.starts_with(column, "+")).as_py():
        phone = pc.match_substring_regex(column, r"^\+\d{6,}$")
        if pc.all(phone).as_py():
            return f"each begins with a plus sign, as in {_first(column, phone)!r}"
    for letter in "eE":
        if pc.any(pc.match_substring(column, letter)).as_py():
            code = pc.match_substring_regex(column, r"^\d+[eE]\d+$")
            zero = pc.match_substring_regex(column, r"^0\d*[eE]\d+$")
            if pc.any(zero).as_py() or pc.all(code).as_py():
                return f"it looks like codes, as {_first(column, zero if pc.any(zero).as_py() else code)!r}"
    return None


def _first(column: pa.ChunkedArray, flags: pa.ChunkedArray) -> str:
    import pyarrow.compute as pc

    return str(column[pc.index(pc.fill_null(flags, False), True).as_py()])


def _all_grouped(column: pa.ChunkedArray) -> bool:
    """Whether each point stands before three digits, as it does between thousands."""
    import pyarrow.compute as pc

    for part in (column.slice(0, 1000), column):
        other = pc.and_(pc.match_substring(part, "."), pc.invert(pc.match_substring_regex(part, GROUPED)))
        if pc.any(other).as_py():
            return False
    return bool(pc.any(pc.match_substring(column, ".")).as_py())


def _share_of_dates(texts: pa.Array) -> float:
    """The share of these texts that look like dates or times of day, missing ones aside."""
    import pyarrow.compute as pc

    for part in (texts.slice(0, 200), texts):
        known = part.filter(pc.invert(is_missing(part)))
        share = pc.mean(pc.cast(pc.match_substring_regex(known, DATE), "int8")).as_py() if len(known) else 0.0
        if share < 0.5:
            break
    return float(share)


def _nulls(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    return col.chunked(pa.nulls(len(column)))


def _laid(values: pa.Array, index: pa.Array) -> pa.ChunkedArray:
    """The value of each different text, row by row."""
    return col.chunked(values.take(index))


def _dictionary(index: pa.Array, texts: pa.Array, missing: pa.Array | None) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if missing is not None:
        index = pc.if_else(missing.take(index), None, index)
    return col.chunked(pa.DictionaryArray.from_arrays(index, texts))


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of another type as a category."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type) or col.is_text(column.type) or pa.types.is_null(column.type):
        return column
    if pa.types.is_boolean(column.type) or pa.types.is_temporal(column.type):
        column = column.cast("string")
    return column.dictionary_encode()
