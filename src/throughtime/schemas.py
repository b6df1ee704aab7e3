"""What stored JSON may hold: types that are derived from the dataclasses, and checked whole where a file is read.

pydantic does it, strictly: no text becomes a number, NaN and infinity are refused where JSON has null for them, and
a key that nobody knows is an error, so that a misspelt one is not passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import cache
from typing import Annotated, Any, NotRequired, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import TypedDict

from .errors import RunError, short_line

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_OPEN = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Value = float | None  # null stands for what is no finite number


def record(name: str, kinds: dict[str, Any], check: Callable[[Any], Any] | None = None, *, open: bool = False) -> Any:
    """The type of an object with these keys; ``NotRequired[...]`` for one that may be absent.

    Args:
        kinds: the type of each key.
        check: is given the object when its keys are right, and raises ValueError where they do not fit each other.
        open: other keys are let pass.
    """
    make: Any = TypedDict
    made = make(name, kinds)
    made.__pydantic_config__ = _OPEN if open else _STRICT
    return made if check is None else Annotated[made, AfterValidator(_checked(check))]


def record_of(dataclass: type, check: Callable[[Any], Any] | None = None, **kinds: Any) -> Any:
    """The type of a dataclass as JSON. A field with a default may be absent, as in files older than the field.

    Args:
        kinds: types in place of those that the dataclass declares.
    """
    hints = get_type_hints(dataclass)
    keys: dict[str, Any] = {}
    for one in fields(dataclass):
        kind = kinds.get(one.name, hints[one.name])
        optional = one.default is not MISSING or one.default_factory is not MISSING
        keys[one.name] = NotRequired[kind] if optional else kind
    return record(dataclass.__name__, keys, check)


@cache
def _adapter(kind: Callable[[], Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind())


def check_json(text: bytes | str, kind: Callable[[], Any], named: str) -> Any:
    """The value of a JSON text, lists as the types declare them.

    Args:
        kind: a function that makes the type; it is called once.
        named: what the message begins with, as "x.json is damaged".

    Raises:
        RunError: it is no JSON, or not of the type: says where and what was found, the first of all.
    """
    try:
        return _adapter(kind).validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        first = found[0]
        place = _short(".".join(str(one) for one in first["loc"])).strip("'")
        given = "" if first["type"] in ("json_invalid", "missing") else f" (it holds {_short(first['input'])})"
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        said = short_line(ValueError(first["msg"].removeprefix("Value error, ")))
        raise RunError(f"{named}: {f'{place}: ' if place else ''}{said}{given}{more}.") from error


def json_value(text: bytes, named: str) -> Any:
    """A JSON text as plain dicts and lists; refuses nesting that no file of ours has.

    Raises:
        RunError: it is no JSON.
    """
    try:
        return from_json(text)
    except ValueError as error:
        raise RunError(f"{named}: {short_line(error)}.") from error


def same_length(first: str, second: str) -> Callable[[Any], Any]:
    """A check that two lists of an object are of one length."""

    def check(value: Any) -> None:
        if len(value[first]) != len(value[second]):
            raise ValueError(f"{first} has {len(value[first])} values and {second} {len(value[second])}")

    return check


def _checked(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        check(value)
        return value

    return checked


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 90 else f"{text[:87]}..."
