"""Numbers as people write them: $1,234.50, 12 %, 1 234,5, (5), 12.3M. Which text is a number, and how it is written.

All work is done on the different texts of a column, by Arrow. A column has one spelling: its decimal mark, its
thousands mark and its unit. ``decide`` finds it from all texts together and never guesses between two spellings that
give different numbers; ``convert`` reads texts in a spelling that is known, or says which text does not fit.
"""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pyarrow as pa

# Arrow's own list, and what else stands for "missing" in public tables. A lone "-" or "none" is often a category.
MISSING = [
    "", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "-nan", "-NaN", "null", "NULL", "Null", "None", "?", "<NA>", "NaT",
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN", "\\N",
]  # fmt: skip
# These mean "no value" only in a column whose other values are numbers.
PLACEHOLDERS = [
    "-", "--", "---", "\u2013", "\u2014", "\u2212", ".", "..", "...", "*", "**", "***", "n.a.", "N.A.", "n.a", "na",
    "n/d", "N/D", "nd", "ND", "n.d.", "none", "NONE", "nil", "NIL", "missing", "Missing", "unknown", "Unknown",
    "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!", "k.A.", "k. A.", "s/d", "n/v",
]  # fmt: skip
SCALES = {
    "k": 3, "K": 3, "tsd": 3, "Tsd": 3, "thousand": 3,
    "M": 6, "MM": 6, "mn": 6, "Mn": 6, "mln": 6, "Mio": 6, "mio": 6, "million": 6, "Million": 6,
    "B": 9, "b": 9, "bn": 9, "Bn": 9, "Mrd": 9, "mrd": 9, "mlrd": 9, "billion": 9, "Billion": 9,
    "T": 12, "tn": 12, "trillion": 12, "Trillion": 12,
}  # fmt: skip
_CURRENCIES = (
    "AED ARS AUD BGN BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JPY KES KRW KZT MAD MXN MYR "
    "NGN NOK NZD PEN PHP PKR PLN QAR RMB RON RSD RUB SAR SEK SGD THB TRY TWD UAH USD UYU VND ZAR BTC ETH "
    "Rs Rs. kr kr. Kr Kr. Fr Fr. zł Kč Ft lei din \u0440\u0443\u0431 \u0440\u0443\u0431. 元 円 원"
)
_UNITS = (
    "% ‰ pp pct percent bp bps ° °C °F ℃ ℉ C degC degF deg m mm cm dm km µm um nm ft in mi m² m2 km² m³ m3 l L ml mL "
    "g kg mg µg ug t lb lbs oz s sec ms µs us ns h hr hrs min d day days V mV kV A mA W mW kW MW GW kWh MWh GWh Wh J "
    "kJ MJ Pa hPa kPa MPa bar mbar psi atm Hz kHz MHz GHz rpm m/s km/h mph kn kt kts l/s m³/s m3/s µg/m³ ug/m3 µg/m3 "
    "mg/l mg/L mg/m³ W/m² W/m2 ppm ppb dB dBm lx lux cd mol mmol mmHg bpm kcal cal px bit bytes kB MB GB TB pcs Stk "
    "Stück st"
)
CURRENCIES, UNITS = frozenset(_CURRENCIES.split()), frozenset(_UNITS.split())
# Classes of all Unicode letters would take milliseconds to compile, for each column.
MONEY = r"$\x{A2}-\x{A5}\x{9F3}\x{E3F}\x{20A0}-\x{20CF}"
SIGN = rf"(?:[A-Za-z]*\.?[{MONEY}]|[^\x00-@{MONEY}]+\.?)"
NUMBER = r"[\d.,](?:[\d.,' ]*[\d.,])?"
PATTERN = (
    rf"^(?P<open>\()?\s*(?P<minus>[-+])?\s*(?P<before>{SIGN})?\s*(?P<inner>\()?\s*(?P<second>[-+])?\s*"
    rf"(?P<number>{NUMBER})(?P<exponent>[eE][-+]?\d+)?\s*(?P<after>[^\d\s()+\-.,'][^()]*?)?\s*"
    r"(?P<last>-)?\s*(?P<close>\))?$"
)
SPACES = "[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\t]"
NO_CENTS = r"(\d)[.,]-{1,2}(\D*)$"  # 1.036,- and 5.-- are whole prices
UNSEEN = "[\u200b-\u200f\u2060\ufeff]"
DASHES = "[\u2010-\u2013\u2212\ufe63\uff0d]"
APOSTROPHES = "[\u2018\u2019\u02bc\u00b4`]"


@dataclass(frozen=True)
class Spelling:
    """How the numbers of a column are written. ``code`` is the same as text, for a run's file.

    Example:
        >>> Spelling(decimal=",", thousands=".", unit="€").code
        ',.€'
        >>> Spelling.of(",_").thousands
        ''
    """

    decimal: str = "."
    thousands: str = ""
    unit: str = ""

    @property
    def code(self) -> str:
        return f"{self.decimal}{self.thousands or '_'}{self.unit}"

    @classmethod
    def of(cls, code: str) -> Spelling:
        return cls(decimal=code[0], thousands=code[1].replace("_", ""), unit=code[2:])


PLAIN = Spelling()
SURE = 10  # so many texts with three digits behind a comma, and none with fewer, beside numbers below a thousand
MARKS = ((".", ""), (",", ""), (".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the texts of a column are.

    Attributes:
        kind: "numbers" (``values`` are there); "text"; or, where each text is a number and they do not go together:
            "ambiguous" (1,234 is two numbers), "marks" (1.234,5 and 1,234.5), "units" (5 kg and 5 g).
        values: int64 or float64, one a text, null where missing.
        odd: where text: indices of the texts that are no numbers. Else one or two texts that show the trouble.
        certain: the decimal mark that these texts prove, for the other columns of the table; else "".
        placeholders: texts such as "-" that were read as missing.
        said: what is not a number's own spelling, in words; empty where nothing is to be said.
    """

    kind: Literal["numbers", "text", "ambiguous", "marks", "units"]
    values: pa.Array | None = None
    spelling: Spelling = PLAIN
    odd: tuple[int, ...] = ()
    certain: str = ""
    placeholders: tuple[str, ...] = ()
    said: str = ""


@dataclass(frozen=True)
class _Parts:
    """Texts taken apart; arrays of one length. ``good``: a number in some spelling, its sign in order."""

    good: pa.Array
    missing: pa.Array
    negative: pa.Array
    number: pa.Array
    exponent: pa.Array
    units: pa.Array
    scales: pa.Array
    brackets: bool
    behind: bool  # a minus sign


def is_missing(texts: pa.Array, words: list[str] = MISSING) -> pa.Array:
    """Which texts stand for a missing value, blanks aside; nulls do."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.fill_null(pc.is_in(pc.utf8_trim_whitespace(texts), value_set=pa.array(words, texts.type)), True)


def decide(texts: pa.Array, *, evidence: str = "", any_unit: bool = False) -> Verdict:
    """What these different texts of one column are, read together.

    Args:
        texts: strings, each once; nulls and the usual words are missing.
        evidence: the decimal mark that other columns of the table prove, or "".
        any_unit: whether a unit that is not known may stand behind all numbers.

    Example:
        >>> import pyarrow as pa
        >>> decide(pa.array(["1.234,5", "7"])).values.to_pylist()
        [1234.5, 7.0]
        >>> decide(pa.array(["1,234", "2,345"])).kind
        'ambiguous'
    """
    import pyarrow.compute as pc

    texts = texts.cast("string")
    parts = _split(texts)
    placeholder = pc.and_(pc.invert(parts.good), pc.and_(is_missing(texts, PLACEHOLDERS), pc.invert(parts.missing)))
    counted = pc.invert(pc.or_(parts.missing, placeholder))
    bad = pc.and_(counted, pc.invert(parts.good))
    if not pc.any(counted).as_py():
        return Verdict(kind="text", odd=_where(placeholder))
    unit, mixed, unknown = _one_unit(parts, any_unit)
    if unknown:
        bad = pc.or_(bad, pc.is_in(parts.units, value_set=_strings(unknown, parts.units)))
    fits = {marks: pc.match_substring_regex(parts.number, _pattern(*marks)) for marks in MARKS}
    alone = functools.reduce(pc.or_, fits.values())
    bad = pc.or_(bad, pc.and_(counted, pc.invert(pc.fill_null(alone, False))))
    if pc.any(bad).as_py():
        return Verdict(kind="text", odd=_where(bad))
    whole = {marks for marks in MARKS if pc.all(pc.filter(fits[marks], counted)).as_py()}
    if not whole:
        left = pc.and_(counted, pc.invert(fits[".", ","]))
        right = pc.and_(counted, pc.invert(fits[",", "."]))
        return Verdict(kind="marks", odd=(*_where(left)[:1], *_where(right)[:1]))
    if mixed:
        return Verdict(kind="units", odd=mixed)
    marks, certain = _choose(pc.filter(parts.number, counted), whole, evidence)
    if marks is None:
        shown = pc.and_(counted, pc.match_substring(parts.number, ","))
        return Verdict(kind="ambiguous", odd=_where(shown)[:1])
    spelling = Spelling(*marks, unit)
    return Verdict(
        kind="numbers",
        values=_values(parts, counted, spelling),
        spelling=spelling,
        certain=certain,
        placeholders=tuple(pc.filter(texts, placeholder).to_pylist()),
        said=_said(parts, spelling),
    )


def convert(texts: pa.Array, spelling: Spelling) -> tuple[pa.Array, int | None]:
    """Texts as numbers in a known spelling, null where missing; and the index of the first that does not fit.

    Example:
        >>> import pyarrow as pa
        >>> values, odd = convert(pa.array(["1.234", "-", "5,5 €"]), Spelling(",", ".", "€"))
        >>> values.to_pylist(), odd
        ([1234.0, None, 5.5], None)
    """
    import pyarrow.compute as pc

    texts = texts.cast("string")
    parts = _split(texts)
    known = pc.or_(parts.missing, pc.and_(pc.invert(parts.good), is_missing(texts, PLACEHOLDERS)))
    own = pc.is_in(parts.units, value_set=_strings(["", spelling.unit], parts.units))
    zero = pc.and_(pc.fill_null(pc.match_substring_regex(parts.number, r"^[0.,]+$"), False), pc.equal(parts.units, ""))
    fit = pc.fill_null(pc.match_substring_regex(parts.number, _pattern(spelling.decimal, spelling.thousands)), False)
    fit = pc.and_(pc.and_(parts.good, fit), pc.or_(own, zero))
    odd = _where(pc.invert(pc.or_(known, fit)))
    return _values(parts, pc.and_(fit, pc.invert(known)), spelling), odd[0] if odd else None


# -- one text ----------------------------------------------------------------------------------------------------


def _split(texts: pa.Array) -> _Parts:
    import pyarrow as pa
    import pyarrow.compute as pc

    missing = is_missing(texts)
    plain = pc.fill_null(texts, "")
    for unseen, seen in ((SPACES, " "), (UNSEEN, ""), (DASHES, "-"), (APOSTROPHES, "'")):
        plain = pc.replace_substring_regex(plain, unseen, seen)
    plain = pc.replace_substring_regex(pc.utf8_trim_whitespace(plain), NO_CENTS, r"\1\2")
    found = pc.extract_regex(plain, PATTERN)
    part = {field.name: pc.fill_null(pc.struct_field(found, field.name), "") for field in found.type}
    none = pc.is_null(found)
    given = {name: pc.not_equal(part[name], "") for name in ("open", "inner", "close", "second", "last")}
    minus = [pc.equal(part["minus"], "-"), pc.equal(part["second"], "-"), given["last"], given["close"]]
    signs = [pc.not_equal(part["minus"], ""), given["second"], given["last"], given["close"]]
    many = functools.reduce(pc.add, [pc.cast(one, pa.int8()) for one in signs])
    opened = pc.add(pc.cast(given["open"], pa.int8()), pc.cast(given["inner"], pa.int8()))
    order = pc.and_(pc.less_equal(many, 1), pc.equal(opened, pc.cast(given["close"], pa.int8())))
    before, after = (part[name].dictionary_encode() for name in ("before", "after"))
    signed = [_currency(one) for one in before.dictionary.to_pylist()]
    behind = [_suffix(one) for one in after.dictionary.to_pylist()]
    scales = pa.array([scale for scale, _ in behind], pa.int8()).take(after.indices)
    unit_before = pa.array(signed, texts.type).take(before.indices)
    unit_after = pa.array([unit for _, unit in behind], texts.type).take(after.indices)
    twice = pc.and_(pc.not_equal(unit_before, ""), pc.not_equal(unit_after, ""))
    unknown = pc.is_null(unit_before)  # letters in front that are no currency: a code
    good = pc.and_(pc.invert(none), order)
    good = pc.and_(good, pc.invert(pc.or_(pc.fill_null(twice, True), unknown)))
    good = pc.and_(good, pc.or_(pc.equal(part["exponent"], ""), pc.equal(scales, 0)))
    return _Parts(
        good=pc.and_(good, pc.invert(missing)),
        missing=missing,
        negative=functools.reduce(pc.or_, minus),
        number=part["number"],
        exponent=part["exponent"],
        units=pc.if_else(pc.fill_null(pc.equal(unit_before, ""), True), unit_after, unit_before),
        scales=scales,
        brackets=bool(pc.any(pc.and_(good, given["close"])).as_py()),
        behind=bool(pc.any(pc.and_(good, given["last"])).as_py()),
    )


def _currency(sign: str) -> str | None:
    """The sign of a currency; None for other letters."""
    known = not sign or sign in CURRENCIES or sign.upper() in CURRENCIES
    return sign if known or any(unicodedata.category(letter) == "Sc" for letter in sign) else None


def _suffix(text: str) -> tuple[int, str]:
    """What stands behind a number: a power of ten, and a unit or currency."""
    if text in UNITS and text not in SCALES:
        return 0, text
    for length in range(len(text), 0, -1):
        head, rest = text[:length], text[length:].strip()
        scale = SCALES.get(head.rstrip("."))
        if scale is not None and (not rest or _currency(rest) is not None):
            return scale, rest
    return 0, text


# -- all texts of a column ---------------------------------------------------------------------------------------


def _one_unit(parts: _Parts, any_unit: bool) -> tuple[str, tuple[int, ...], list[str]]:
    """The unit of the column; two texts whose units differ; units that are not known."""
    import pyarrow.compute as pc

    zero = pc.fill_null(pc.match_substring_regex(parts.number, r"^[0.,]+$"), False)
    telling = pc.and_(parts.good, pc.invert(pc.and_(zero, pc.equal(parts.units, ""))))
    units = [str(one) for one in pc.unique(pc.filter(parts.units, telling)).to_pylist()]
    unknown = [] if any_unit else [one for one in units if one and one not in UNITS and _currency(one) is None]
    kinds = [one for one in units if one]
    bare = "" in units and any(_currency(one) is None for one in kinds)
    if len(kinds) > 1 or bare:
        pair = kinds[:2] if len(kinds) > 1 else [kinds[0], ""]
        first = [_where(pc.and_(telling, pc.equal(parts.units, one)))[0] for one in pair]
        return "", tuple(first), unknown
    return (kinds[0] if kinds else ""), (), unknown


def _choose(
    number: pa.Array, whole: set[tuple[str, str]], evidence: str
) -> tuple[tuple[str, str] | None, Literal["", ".", ","]]:
    """The marks of a column, None where two readings differ; and the decimal mark that the column proves."""
    import pyarrow.compute as pc

    def some(mark: str) -> bool:
        return bool(pc.any(pc.match_substring(number, mark)).as_py())

    point, comma = some("."), some(",")
    if (".", "") in whole:
        if not point:
            return (".", ""), ""
        if (",", ".") not in whole:
            return (".", ""), "."
        return ((",", ".") if evidence == "," else (".", "")), ""
    if (",", "") in whole:
        if (".", ",") not in whole:
            return (",", ""), ","
        if evidence:
            return ((".", ",") if evidence == "." else (",", "")), ""
        # 999 beside many of 1,000: of as many fractions, some would have other than three digits.
        small = pc.any(pc.match_substring_regex(number, r"^[1-9]\d{0,2}$")).as_py()
        many = pc.sum(pc.match_substring(number, ",")).as_py() >= SURE
        return ((".", ",") if small and many else None), ""
    order = sorted(whole, key=lambda marks: (evidence not in ("", marks[0]), MARKS.index(marks)))
    marks = order[0]
    proven = marks[0] if marks[1] in ".," or (point if marks[0] == "." else comma) else ""
    return marks, ("," if proven == "," else "." if proven == "." else "")


@functools.cache
def _pattern(decimal: str, thousands: str) -> str:
    """Numbers in one spelling. A group of thousands never begins with 0; India writes 12,34,567."""
    d = "\\" + decimal
    plain = rf"\d+(?:{d}\d*)?|{d}\d+"
    if not thousands:
        return rf"^(?:{plain})$"
    t = "\\" + thousands if thousands in ".,'" else thousands
    return rf"^(?:(?:[1-9]\d{{0,2}}(?:{t}\d{{3}})+|[1-9]\d?(?:{t}\d\d)+{t}\d{{3}})(?:{d}\d*)?|{plain})$"


def _values(parts: _Parts, counted: pa.Array, spelling: Spelling) -> pa.Array:
    """int64 where no text has a fraction, else float64: the nearest to what is written."""
    import pyarrow as pa
    import pyarrow.compute as pc

    digits = parts.number
    if spelling.thousands:
        digits = pc.replace_substring(digits, spelling.thousands, "")
    digits = pc.replace_substring(digits, spelling.decimal, ".")
    scaled = pc.not_equal(parts.scales, 0)
    power = pc.if_else(scaled, pc.binary_join_element_wise("e", pc.cast(parts.scales, digits.type), ""), parts.exponent)
    sign = pc.if_else(parts.negative, "-", "")
    text = pc.binary_join_element_wise(pc.cast(sign, digits.type), digits, power, pa.scalar("", digits.type))
    text = pc.if_else(counted, text, pa.scalar(None, text.type))
    if not pc.any(pc.match_substring_regex(pc.fill_null(text, ""), r"[.e]|\d{16}|^-0", ignore_case=True)).as_py():
        return pc.cast(text, pa.int64())
    return pc.cast(text, pa.float64())


def _said(parts: _Parts, spelling: Spelling) -> str:
    import pyarrow.compute as pc

    said = []
    if spelling.decimal == ",":
        said.append("a comma as the decimal mark")
    if spelling.thousands:
        said.append(f"{spelling.thousands!r} between thousands")
    if spelling.unit:
        unit = spelling.unit
        said.append(f"{unit!r} beside them, which is left out{' (12% is 12)' if unit == '%' else ''}")
    powers = sorted(set(pc.unique(pc.filter(parts.scales, parts.good)).to_pylist()) - {0})
    if powers:
        said.append(
            "letters for " + ", ".join({3: "thousand", 6: "million", 9: "billion", 12: "trillion"}[p] for p in powers)
        )
    if parts.brackets:
        said.append("brackets for negative numbers")
    if parts.behind:
        said.append("a minus sign behind negative numbers")
    return ", ".join(said)


def _strings(words: list[str], like: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.array(words, like.type)


def _where(flags: pa.Array) -> tuple[int, ...]:
    import pyarrow.compute as pc

    return tuple(pc.indices_nonzero(pc.fill_null(flags, False))[:1000].to_pylist())
