"""Values that a user says mean "missing", such as -999 or "no data": null in every column, of whatever type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .columns import encoded, is_text, kind

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Absent:
    """Texts, and the numbers that some of them are.

    Example:
        >>> import pyarrow as pa
        >>> Absent.of([-999, "no data"]).mask(pa.chunked_array([["-999.0", " no data", "5"]])).to_pylist()
        [None, None, '5']
        >>> Absent.of(["-999"]).mask(pa.chunked_array([[-999, 5]])).to_pylist()
        [None, 5]
    """

    words: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()

    @classmethod
    def of(cls, given: Sequence[Any]) -> Absent:
        words = tuple(str(word).strip() for word in given)
        return cls(words, tuple(number for number in map(_number, words) if number is not None))

    def mask(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """The column with null in their place."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self.words:
            return column
        type = column.type
        if is_text(getattr(type, "value_type", type)):
            index, texts = encoded(column.cast("large_string") if str(type) == "string_view" else column)
            gone = [self.has(text) for text in texts.to_pylist()]
            if not any(gone):
                return column
            index = pc.if_else(pa.array(gone).take(index), None, index)
            masked = pa.chunked_array([pa.DictionaryArray.from_arrays(index, texts)])
            return masked if pa.types.is_dictionary(type) else masked.cast(texts.type)
        if kind(type) != "number" or pa.types.is_boolean(type) or pa.types.is_dictionary(type) or not self.numbers:
            return column
        gone = pc.is_in(pc.cast(column, pa.float64(), safe=False), value_set=pa.array(self.numbers, pa.float64()))
        return pc.if_else(gone, None, column) if pc.any(gone).as_py() else column

    def has(self, value: Any) -> bool:
        """Whether one value is among them."""
        if isinstance(value, str):
            return value.strip() in self.words or (bool(self.numbers) and _number(value) in self.numbers)
        return isinstance(value, int | float | np.number) and not isinstance(value, bool) and value in self.numbers


def _number(text: str) -> float | None:
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        return None
