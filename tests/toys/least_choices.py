"""The other correct deployment again, with as little as the contract asks for.

It declares the required members of its document only: no policy of passwords, no lock-out, no
second factor. Its limits are about the smallest, its ids have 64 characters, and accounts of one
name stand in the order of seq, whichever way the names run. Started as
`python -m tests.toys.least_choices init|serve ...` with the options of the reference's command.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Sequence
from typing import Any

from certification.contract import load_contract
from tests.toys import other_choices

FACTORY = "tests.toys.least_choices:application"
LIMITS = {
    "MAX_AMOUNT": 1_000_000,
    "PAGE_MAX": 10,
    "PAGE_DEFAULT": 5,
    "BATCH_ITEMS_MAX": 3,
    "MERGE_SOURCES_MAX": 2,
    "METADATA_BYTES_MAX": 256,
    "PASSWORD_LENGTH_MIN": 8,
    "LOCKOUT_THRESHOLD": 1_000_000,
}
DECLARED: dict[str, set[str]] = {
    "implementation": {"name", "version"},
    "limits": {
        "amount_max",
        "page_max",
        "body_bytes_max",
        "batch_items_max",
        "merge_sources_max",
        "metadata_bytes_max",
    },
    "idempotency": {"retention_seconds", "stored_statuses"},
    "consistency": {"read_your_writes"},
    "auth": {"schemes", "token_ttl"},
}
"""What is left of the parts of the document: the required members, and the small limits."""
WHOLE = ("contract_version", "build", "instance", "modules", "currencies")

_INNER = re.compile(r"\b([a-z]{3})_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
_OUTER = re.compile(r"\b[0-9a-f]{64}\b")


def long_id(kind: str, uuid: str) -> str:
    """Return 64 hexadecimal digits: a digest of the id, cut, and the id."""
    short = kind.encode().hex() + uuid.replace("-", "")
    return hashlib.sha256(short.encode()).hexdigest()[: 64 - len(short)] + short


def outward(text: str) -> str:
    """Write the reference's ids as 64 hexadecimal digits, the most that an id may have."""
    return _INNER.sub(lambda found: long_id(found[1], found[2]), text)


def inward(text: str) -> str:
    """Write this deployment's ids in the reference's form; other digits stay."""
    return _OUTER.sub(lambda found: _short_id(found[0]), text)


def _short_id(digits: str) -> str:
    kind, uuid = bytes.fromhex(digits[26:32]).decode("latin-1"), digits[32:]
    uuid = "-".join((uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:]))
    return f"{kind}_{uuid}" if long_id(kind, uuid) == digits else digits


def declared(document: Any) -> Any:
    """Return the capability document with what it must have, and the small limits."""
    shown = other_choices.declared(document)
    parts = {
        part: {name: shown[part][name] for name in sorted(names)}
        for part, names in DECLARED.items()
    }
    return {name: shown[name] for name in WHOLE} | parts


def keyset(asked: Any, columns: Sequence[str]) -> tuple[str, list[Any], str]:
    """Continue a list as the reference does, but accounts of one name always in order of seq."""
    listing: Any = importlib.import_module("reference_impl.listing")
    if len(columns) == 1 or not asked.descending:
        found: tuple[str, list[Any], str] = listing.keyset_of_the_reference(asked, columns)
        return found
    name, seq = columns
    order = f"{name} DESC, {seq} ASC"
    if asked.after is None:
        return "1", [], order
    last = list(asked.after)
    return f"({name} < ? OR ({name} = ? AND {seq} > ?))", [last[0], *last], order


class LeastChoices(other_choices.OtherChoices):
    """The WSGI application around the reference's."""

    outward = staticmethod(outward)
    inward = staticmethod(inward)
    declared = staticmethod(declared)
    lacks = (
        *other_choices.REPORTS,
        *(each.id for each in load_contract().operations.values() if each.optional),
    )


def choose() -> None:
    """Set what the reference would declare otherwise, before its other modules are imported."""
    other_choices.LIMITS.update(LIMITS)
    other_choices.choose()
    listing: Any = importlib.import_module("reference_impl.listing")
    # This file is there twice in the command's process, as it and as the factory's module.
    if not hasattr(listing, "keyset_of_the_reference"):
        listing.keyset_of_the_reference, listing.keyset = listing.keyset, keyset


def application() -> LeastChoices:
    """Build the application in a worker."""
    choose()
    app: Any = importlib.import_module("reference_impl.app")
    return LeastChoices(app.create_app())


def main() -> None:
    """Run the reference's command with this application."""
    choose()
    other_choices.command(FACTORY)


if __name__ == "__main__":
    main()
