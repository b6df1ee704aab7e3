"""The encoding of a text file: seen from its first bytes where these say it, UTF-8 elsewhere, never guessed."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

from ..errors import ArgumentError, DataError, nearest

MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
         (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
USUAL = ("cp1252", "latin-1", "utf-16", "utf-8", "cp1250", "cp1251", "shift_jis", "gb18030", "big5", "euc_kr", "cp437")
LINES = re.compile(r"\r\n|\r|\n")


def refuse_unknown(encoding: str | None) -> None:
    """Raises ArgumentError unless Python knows an encoding of this name for text."""
    if encoding is None:
        return
    try:
        "a".encode(encoding)  # of an empty text Python looks nothing up
    except LookupError as error:
        raise ArgumentError(
            f"encoding={encoding!r} is no encoding of text; usual ones are {', '.join(USUAL)}."
            f"{nearest(encoding, USUAL)}"
        ) from error


def choose_encoding(name: str, sample: bytes, given: str | None, recorded: str | None) -> str:
    """How to read a file that begins with ``sample``.

    Args:
        name: of the file, for errors.
        given: what the user says, which decides.
        recorded: of the table trained on: used where this file is no UTF-8.

    Raises:
        DataError: no UTF-8, and nothing else is said.
    """
    refuse_unknown(given)
    marked = next((encoding for mark, encoding in MARKS if sample.startswith(mark)), None)
    if given is not None:
        return "utf-8" if marked == "utf-8" and codecs.lookup(given).name == "utf-8" else given
    if marked is not None:
        return marked
    if b"\0" in sample:
        if recorded is not None and codecs.lookup(recorded).name.startswith(("utf-16", "utf-32")):
            return recorded
        even, odd = sample[::2].count(b"\0"), sample[1::2].count(b"\0")
        if (even + odd) * 10 < len(sample):
            line = sample.count(b"\n", 0, sample.index(b"\0")) + 1
            raise DataError(f"{name} is damaged, or no text: line {line} holds a zero byte; write the file again.")
        order = "utf-16-le" if odd > even else "utf-16-be"
        raise DataError(
            f"{name} is not UTF-8 text: it holds zero bytes, as UTF-16 text without a mark does; say "
            f"encoding={order!r}, or save it as UTF-8."
        )
    if _decodes(sample):
        return "utf-8"
    if recorded is not None:
        return recorded
    raise not_utf8(name, [sample])


def decode_start(sample: bytes, encoding: str) -> str:
    """The text of the first bytes of a file, which may end within a letter."""
    return codecs.getincrementaldecoder(encoding)("replace").decode(sample).lstrip("\ufeff")


def not_utf8(name: str, blocks: Iterable[bytes]) -> DataError:
    """The error for a file that is no UTF-8: where, and what its bytes say in the most usual encoding."""
    line, before = 1, b""
    for block in blocks:
        data = before + block
        if not _decodes(data):
            break
        line += data.count(b"\n")
        before = b""
        cut = max(data.rfind(b"\n") + 1, len(data) - 200)
        line, before = line - data[cut:].count(b"\n"), data[cut:]
    try:
        data.decode("utf-8")
        at = len(data) - 1
    except UnicodeDecodeError as error:
        at = error.start
    line += data.count(b"\n", 0, at)
    first = max(data.rfind(b"\n", 0, at) + 1, at - 30)
    held = re.split(rb"[\r\n]", data[first : at + 30])[0]
    shown = held.decode("cp1252", errors="replace")
    return DataError(
        f"{name} is not UTF-8 text: line {line} holds the bytes {held[max(0, at - first - 8) : at - first + 8]!r}. "
        f"Say its encoding: with encoding='cp1252' (--encoding cp1252, Western Europe) it reads {shown!r}; others "
        "are 'cp1250' (Central Europe), 'cp1251' (Cyrillic), 'shift_jis', 'gb18030'."
    )


def _decodes(data: bytes) -> bool:
    """Whether it is UTF-8, up to a letter that is cut at the end."""
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(data)
    except UnicodeDecodeError:
        return False
    return True
