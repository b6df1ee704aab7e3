# ruff: noqa: RUF001 - typeset signs are what this module is for: minus, multiplication, dash
"""How a number reads in a report: three significant digits, thousands separated, and nothing rounded into a lie.

A share of 99.97 % is not printed as 100 %, and one of 0.02 % is not printed as 0 %; a missing value is a dash.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import datetime
from numbers import Integral, Real
from typing import Any

MISSING = "–"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PERCENT = {"accuracy", "balanced_accuracy", "top_5_accuracy", "sequence_accuracy"}
_OF_ONE = {"f1", "macro_f1", "micro_f1", "weighted_f1", "precision", "recall", "average_precision", "r2", "auc",
           "roc_auc", "skill"}  # fmt: skip
IN_TARGET_UNITS = {"rmse", "mae", "median_absolute_error"}
_WORDS = {"f1": "F1", "r2": "R²", "rmse": "RMSE", "mae": "MAE", "mse": "MSE", "mase": "MASE", "smape": "sMAPE",
          "mape": "MAPE", "auc": "AUC", "roc": "ROC"}  # fmt: skip


def finite(value: Any) -> bool:
    """Whether ``value`` is a number that can be drawn; None, NaN, infinities and text are not."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def metric(name: str) -> str:
    """The name of a metric as it is written in prose: ``macro_f1`` is "macro F1"."""
    return " ".join(_WORDS.get(word, word) for word in str(name).split("_"))


def _signed(text: str) -> str:
    return text.replace("-", "−")


def _scientific(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{max(digits - 1, 0)}e}".split("e")
    return f"{_signed(mantissa)}×10{str(int(exponent)).translate(_RAISED)}"


def number(value: Any, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits; whole numbers in full, powers of ten where zeros would pile up."""
    if not finite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, MISSING) if isinstance(value, float) else MISSING
    if value == 0:
        return "0"
    if isinstance(value, Integral) and abs(int(value)) < 10**15:
        return _signed(f"{value:,}")
    if not 1e-4 <= abs(value) < 1e7:
        return _scientific(value, digits)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return _signed(f"{value:,.{decimals}f}")


def count(value: Any) -> str:
    """A quantity that is whole more often than not, such as a median of lengths: "15", else "14.5"."""
    return number(int(value)) if finite(value) and value == int(value) else number(value)


def share(value: Any) -> str:
    """A part of one as a percentage with one decimal, kept apart from 0 % and 100 % unless it is exactly that."""
    if not finite(value):
        return number(value)
    if 0 < value < 0.0005:
        return "<0.1%"
    if 0.9995 <= value < 1:
        return ">99.9%"
    return "0%" if value == 0 else "100%" if value == 1 else _signed(f"{100 * value:,.1f}%")


def of_one(value: Any) -> str:
    """A score whose best is 1, with three decimals, which reads 1 only where it is 1."""
    if not finite(value):
        return number(value)
    if 0.9995 <= value < 1:
        return ">0.999"
    return _signed(f"{value:.3f}") if abs(value) < 1e6 else _scientific(value, 3)


def scores(name: str, values: Sequence[Any]) -> list[str]:
    """A column of one metric, so that the decimal points stand under each other where the sizes allow it."""
    if name in PERCENT:
        return [share(value) for value in values]
    if name in _OF_ONE:
        return [of_one(value) for value in values]
    sizes = [abs(value) for value in values if finite(value) and value != 0]
    if not sizes or not (min(sizes) >= 1e-4 and max(sizes) < 1e6 and max(sizes) / min(sizes) < 1e3):
        return [number(value) for value in values]
    decimals = max(0, 2 - math.floor(math.log10(min(sizes))))
    return [_signed(f"{value:,.{decimals}f}") if finite(value) else number(value) for value in values]


def ticks(values: Sequence[float]) -> list[str]:
    """Labels of an axis: as many decimals as the step between ``values`` asks for, and no more."""
    if len(values) < 2:
        return [count(value) for value in values]
    step = min(abs(b - a) for a, b in itertools.pairwise(values))
    largest = max(abs(value) for value in values)
    if step < 1e-5 or largest >= 1e15:
        digits = 1 + max(0, round(math.log10(largest / step))) if step else 3
        return [_scientific(value, min(digits, 5)) if value else "0" for value in values]
    for unit, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if largest >= unit and step >= unit / 1000:
            decimals = _decimals(step / unit)
            return [_signed(f"{value / unit:,.{decimals}f}{sign}") if value else "0" for value in values]
    return [_signed(f"{value:,.{_decimals(step)}f}") for value in values]


def _decimals(step: float) -> int:
    """The fewest decimals that write ``step`` to within a hundredth of itself."""
    for decimals in range(9):
        if abs(round(step, decimals) - step) <= 0.01 * step:
            return decimals
    return 9


def duration(seconds: Any) -> str:
    """Seconds as a person says them: "41 s", "3 min 20 s", "1 h 04 min"."""
    if not finite(seconds) or seconds < 0:
        return MISSING
    if seconds < 10:
        return f"{number(float(seconds), 2)} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def moment(text: Any) -> str:
    """An ISO 8601 time as "22 November 2026, 20:30 UTC"; what is not one is returned as it was given."""
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    zone = when.tzname() or ""
    return f"{when.day} {when:%B %Y, %H:%M} {zone}".rstrip()


def date(text: Any) -> str:
    """An ISO 8601 time as "1 July 2017, 06:00", without the time of day at midnight; a number as it is."""
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return count(text) if finite(text) else str(text)
    day = f"{when.day} {when:%B %Y}"
    return day if (when.hour, when.minute, when.second) == (0, 0, 0) else f"{day}, {when:%H:%M}"


def interval(low: Any, high: Any, percent: bool = False) -> str:
    """Both ends with their signs, in points of a hundred or as shares of one; a dash where an end is not known."""
    if not (finite(low) and finite(high)):
        return MISSING
    ends = [f"{100 * end:+.1f}" if percent else f"{end:+.3f}" if abs(end) < 1e3 else number(end) for end in (low, high)]
    return _signed(" to ".join(ends))


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """ "1 sequence", "1,216 sequences"."""
    return f"{number(count)} {noun if count == 1 else plural or noun + 's'}"
