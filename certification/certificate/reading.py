"""Reads a signed statement back; whether it is genuine and true is asked elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from certification.certificate.envelope import EnvelopeError, Sealed, canonical, parse_json
from certification.certificate.statement import CERTIFICATE_TYPE, STATEMENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from certification.model import Json


def parse_statement(sealed: Sealed, *, kind: str, needed: Mapping[str, type]) -> Json:
    """Return the in-toto statement whose predicate has the `needed` keys, each of its type.

    Raises `EnvelopeError` for anything else, another version of the predicate included.
    """
    statement = parse_json(sealed.payload, "the statement")
    if canonical(statement) != sealed.payload:
        raise EnvelopeError("the statement is not spelled as this program spells it")
    if statement.get("_type") != STATEMENT_TYPE:
        raise EnvelopeError(f"statement type is not {STATEMENT_TYPE}")
    found = statement.get("predicateType")
    if found != kind:
        raise EnvelopeError(f"predicate type {str(found)[:80]!r} is not {kind}")
    predicate = statement.get("predicate")
    if not isinstance(predicate, dict):
        raise EnvelopeError("there is no predicate")
    _require(predicate, needed, "")
    return statement


def parse_certificate(sealed: Sealed) -> Json:
    """Return the statement of a certificate; raises `EnvelopeError`."""
    statement = parse_statement(
        sealed,
        kind=CERTIFICATE_TYPE,
        needed={"title": str, "scoring": str, "issuance": dict, "evidence": dict},
    )
    predicate = statement["predicate"]
    issuance = predicate["issuance"]
    _require(predicate["evidence"], {"sha256": str}, "evidence.")
    _require(issuance, {"issued": str, "valid_until": str, "keyid": str}, "issuance.")
    moment(issuance["issued"])
    moment(issuance["valid_until"])
    return statement


def moment(text: str) -> datetime:
    """Read a UTC time as `utc` of the statement writes it; raises `EnvelopeError`."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise EnvelopeError(f"{text[:40]!r} is no UTC time") from None


def _require(table: Mapping[str, object], needed: Mapping[str, type], where: str) -> None:
    for key, kind in needed.items():
        if not isinstance(table.get(key), kind):
            raise EnvelopeError(f"`{where}{key}` is missing")
