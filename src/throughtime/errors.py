"""What throughtime raises, and how an argument is refused.

Every error says what was given, what is accepted and how to mend it, in one line. The command line prints that line
and exits with code 2; in Python the classes are also the built-in ones that callers expect to catch.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class ThroughtimeError(Exception):
    """Anything that the user can mend: bad data, a bad argument, a missing backend, a damaged run directory."""


class ArgumentError(ThroughtimeError, ValueError):
    """An argument outside of what is accepted."""


class DataError(ThroughtimeError, ValueError):
    """Data that cannot be trained on or predicted from as it is."""


class BackendError(ThroughtimeError, ImportError):
    """A framework or an optional package that is needed and not installed."""


class RunError(ThroughtimeError, OSError):
    """A run directory that is missing, damaged, or would be overwritten."""


class DerivativeError(ThroughtimeError, NotImplementedError):
    """A derivative that the native kernels do not have."""


class NonFiniteLossError(ThroughtimeError, ArithmeticError):
    """The loss became NaN or infinite during training."""


def first_line(error: BaseException) -> str:
    """What an error says, in a line: Keras wraps that of a layer in lines of its own, in bold.

    Example:
        >>> first_line(ValueError("no such file\\nand more"))
        'no such file'
    """
    said = re.sub(r"\x1b\[[0-9;]*m", "", str(error).strip() or type(error).__name__)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Exception encountered when calling"):
        lines = lines[1:]
    return lines[0]


def short_line(error: BaseException, most: int = 240) -> str:
    """``first_line`` of what a reader of damaged bytes says: without those bytes, and not too long.

    Example:
        >>> short_line(ValueError("bad name 'a\x01\x02' in header"))
        "bad name 'a??' in header"
    """
    line = "".join(letter if letter.isprintable() else "?" for letter in first_line(error))
    return line if len(line) <= most else f"{line[: most - 3]}..."


def listed(names: Iterable[object], limit: int = 12) -> str:
    """Names for a message: ``'a', 'b', 'c' and 7 more``."""
    shown = [repr(str(name)) for name in names]
    if len(shown) > limit:
        return f"{', '.join(shown[:limit])} and {len(shown) - limit} more"
    return ", ".join(shown)


def nearest(given: object, accepted: Iterable[object]) -> str:
    """`` Did you mean 'speaker'?`` where something accepted comes close to what was given, else an empty string."""
    by_folded = {str(name).casefold(): str(name) for name in accepted}
    close = difflib.get_close_matches(str(given).casefold(), by_folded, n=3, cutoff=0.6)
    if not close:
        return ""
    return f" Did you mean {' or '.join(repr(by_folded[name]) for name in close)}?"


def counted(count: int, noun: str, several: str = "") -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "step"), counted(2000, "step"), counted(0, "class", "classes")
        ('1 step', '2,000 steps', '0 classes')
    """
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


def spanned(least: int, most: int, noun: str) -> str:
    """Two numbers with their noun, one where they are the same.

    Example:
        >>> spanned(3, 8, "step"), spanned(5, 5, "step"), spanned(1, 1, "step")
        ('3 to 8 steps', '5 steps', '1 step')
    """
    return counted(most, noun) if least == most else f"{least:,} to {counted(most, noun)}"


def choose(argument: str, given: object, accepted: Iterable[str]) -> str:
    """The one of ``accepted`` that was given, in capitals or not. Raises ArgumentError where there is none.

    Example:
        >>> choose("cell", "LSTM", ["lstm", "gru"])
        'lstm'
    """
    accepted = list(accepted)
    folded = {name.casefold(): name for name in accepted}
    chosen = folded.get(given.casefold()) if isinstance(given, str) else None
    if chosen is None:
        one_of(argument, given, accepted)
        raise ArgumentError(f"{argument}={given!r} is no text; one of {listed(accepted)}.")
    return chosen


def one_of(argument: str, given: object, accepted: Iterable[object]) -> None:
    """Raises ArgumentError unless ``given`` is one of ``accepted``."""
    accepted = list(accepted)
    if given not in accepted:
        raise ArgumentError(
            f"{argument}={given!r} is not accepted; one of {listed(accepted)}.{nearest(given, accepted)}"
        )
