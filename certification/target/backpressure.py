"""Retry-After, read strictly."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_s(value: str | None, *, now: datetime) -> float | None:
    """Read a Retry-After in seconds or as an HTTP date; None where it is missing or neither."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        # Twelve digits are 30,000 years; more only cost memory.
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - now).total_seconds(), 0.0)
