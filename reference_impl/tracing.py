"""W3C Trace Context (level 1): what comes in, checked, and what goes out, with an own span."""

import os
import re

import msgspec

HEADERS = ("traceparent",)
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_SAMPLED = 0x01


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """The trace of a request and this server's span in it."""

    trace_id: str
    span_id: str
    sampled: bool
    parent_id: str = ""
    """The span that this one is part of; empty: the trace begins here."""

    @property
    def parent(self) -> str:
        """The header that continues the trace below this span."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def again(self) -> "Trace":
        """Return another span beside this one: the next attempt of the same work."""
        return msgspec.structs.replace(self, span_id=os.urandom(8).hex())


def accept(header: str | None) -> Trace:
    """Continue the caller's trace, or begin a new one where the header is not there or not valid.

    Section 3.2.2 of the recommendation: version ff, ids of zeros, upper-case digits and other
    lengths are not valid; a later version may have more behind a further hyphen.
    """
    fresh = os.urandom(24).hex()
    if header is not None:
        found = _FORM.fullmatch(header)
        if found is not None and _is_valid(found):
            sampled = bool(int(found[4], 16) & _SAMPLED)
            return Trace(trace_id=found[2], span_id=fresh[:16], sampled=sampled, parent_id=found[3])
    return Trace(trace_id=fresh[16:], span_id=fresh[:16], sampled=True)


def _is_valid(found: re.Match[str]) -> bool:
    version, trace_id, parent_id, _, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return False
    return trace_id.strip("0") != "" and parent_id.strip("0") != ""
