"""A strict JSON decoder for bodies written by someone who may be careless or hostile."""

import json
import math
import re
from typing import NoReturn

_DIGITS_MAX = 40
_KEY_SHOWN_CHARS = 60

# Strings are skipped whole, also one that never ends; the quantifiers are possessive, so that
# a body made of escaped quotes is read once and not once per quote.
_STRING_OR_BRACKET = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]',
    re.DOTALL,
)
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class ContractDecodeError(ValueError):
    """The bytes are not one JSON value that two readers would understand alike.

    `reason` says why in one bounded line, without unbounded text of the sender.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason beside the exception's arguments."""
        super().__init__(reason)
        self.reason = reason


def parse_json(raw: bytes, *, depth_max: int = 64) -> object:
    """Decode one JSON value (RFC 8259 in UTF-8, with the limits of I-JSON, RFC 7493).

    Refused with ContractDecodeError: other encodings, NaN and Infinity, a number beyond a double
    or of more than 40 digits, a name twice in one object, half a surrogate pair, brackets nested
    deeper than `depth_max`, and anything after the value. Time and memory are linear in `raw`.
    """
    _check_depth(raw, depth_max)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ContractDecodeError(f"not UTF-8: byte {error.start} ({error.reason})") from None
    try:
        value: object = json.loads(
            text,
            parse_int=_parse_int,
            parse_float=_parse_float,
            parse_constant=_parse_constant,
            object_pairs_hook=_parse_object,
        )
    except json.JSONDecodeError as error:
        raise ContractDecodeError(f"not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:  # only for a depth_max near the interpreter's own limit
        raise ContractDecodeError("nested too deep to read") from None
    if _SURROGATE_ESCAPE.search(raw):
        _check_surrogates(value)
    return value


def _check_depth(raw: bytes, depth_max: int) -> None:
    """Count brackets before any recursive reader sees them."""
    if raw.count(b"[") + raw.count(b"{") <= depth_max:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(raw):
        token = match.group()
        if token in (b"[", b"{"):
            depth += 1
            if depth > depth_max:
                raise ContractDecodeError(f"nested deeper than {depth_max} levels")
        elif token in (b"]", b"}"):
            depth -= 1


def _check_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ContractDecodeError("half a surrogate pair in a string") from None


def _parse_int(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise ContractDecodeError(f"a number of {len(digits)} digits")
    return int(digits)


def _parse_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ContractDecodeError("a number beyond the range of a double")
    return number


def _parse_constant(name: str) -> NoReturn:
    raise ContractDecodeError(f"{name} is not JSON")


def _parse_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                shown = ascii(name[:_KEY_SHOWN_CHARS])
                raise ContractDecodeError(f"the name {shown} twice in one object")
            seen.add(name)
    return members
