"""How numbers and foreign text are printed, the same in every format."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fractions import Fraction

    from certification.results import Interval

_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U0001d173-\U0001d17a\U000e0001-\U000e007f]"
)
"""Controls, invisible format and direction characters, lone surrogates, non-characters."""


def visible(text: str) -> str:
    r"""Return `text` with every invisible or direction-changing character as `\xNN` or `\uNNNN`.

    Tab and line feed stay. What a target sends can so neither hide itself nor reorder the line it
    is printed in, and the result can always be encoded as UTF-8 and as XML 1.0.
    """
    return _HIDDEN.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    """Spell one character out, in the way Python and JSON readers know."""
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(text: str) -> str:
    """Return `text` made visible, with every run of white space as one blank."""
    return " ".join(visible(text).split())


def shortened(text: str, limit: int) -> str:
    """Return at most `limit` characters of `text` and say how many are missing."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text) - limit} more characters in the evidence file)"


def score_text(value: Fraction, places: int = 3) -> str:
    """Return `value` with `places` decimals, cut towards zero.

    Never rounded up, so that a number below a threshold is never printed as the threshold.
    """
    scaled = abs(value.numerator) * 10**places // value.denominator
    sign = "-" if value < 0 and scaled else ""
    whole, part = divmod(scaled, 10**places)
    return f"{sign}{whole}.{part:0{places}d}"


def signed_text(value: Fraction) -> str:
    """Return a difference of scores with its sign, cut towards zero."""
    text = score_text(value)
    return text if text.startswith("-") else f"+{text}"


def percent_text(value: Fraction) -> str:
    """Return a share as whole percent, cut: `100 %` only where nothing is missing."""
    return f"{value.numerator * 100 // value.denominator} %"


def interval_text(interval: Interval) -> str:
    """Return `0.947 - 0.981`, or one number where nothing is unknown."""
    if interval.decided:
        return score_text(interval.lower)
    return f"{score_text(interval.lower)} - {score_text(interval.upper)}"


def duration_text(duration_ms: float) -> str:
    """Return a duration in the unit that a reader would choose."""
    if duration_ms < 1000:
        return f"{duration_ms:.0f} ms"
    if duration_ms < 60_000:
        return f"{duration_ms / 1000:.1f} s"
    minutes, seconds = divmod(int(duration_ms / 1000), 60)
    return f"{minutes} min {seconds:02d} s"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 check`, `2 checks`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
