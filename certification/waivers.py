"""Read the statements that people make about a run: waivers, workarounds and attestations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certification.model import Attestation, CheckId, RequirementId, Waiver, Workaround
from certification.toml_source import Section, load_toml

if TYPE_CHECKING:
    from pathlib import Path


def load_waivers(path: Path) -> tuple[Waiver, ...]:
    """Read the `[[waiver]]` tables: check, reason, owner, ticket, expires.

    An expired waiver is read all the same: it fails the run, where everybody sees it. Raises
    UsageError naming file, line and key; two waivers for one check are refused.
    """
    rows, _workarounds = _tables(path)
    found: dict[str, Waiver] = {}
    for row in rows:
        waiver = Waiver(
            check=CheckId(_said(row, "check")),
            reason=_said(row, "reason"),
            owner=_said(row, "owner"),
            ticket=_said(row, "ticket"),
            expires=row.day("expires"),
        )
        row.done()
        if waiver.check in found:
            raise row.error("check", f"{waiver.check} is waived twice")
        found[waiver.check] = waiver
    return tuple(found.values())


def load_workarounds(path: Path) -> tuple[Workaround, ...]:
    """Read the `[[workaround]]` tables of the same file: check, text, owner."""
    _waivers, rows = _tables(path)
    found = []
    for row in rows:
        found.append(
            Workaround(
                check=CheckId(_said(row, "check")),
                text=_said(row, "text"),
                owner=_said(row, "owner"),
            )
        )
        row.done()
    return tuple(found)


def load_attestations(path: Path) -> tuple[Attestation, ...]:
    """Read the `[[attestation]]` tables: requirement, statement, person, role, date, expires.

    Raises UsageError naming file, line and key, also where a statement expires before it was made
    or a requirement is attested twice.
    """
    root = load_toml(path).root()
    rows = root.sections("attestation")
    root.done()
    found: dict[str, Attestation] = {}
    for row in rows:
        attestation = Attestation(
            requirement=RequirementId(_said(row, "requirement")),
            statement=_said(row, "statement"),
            person=_said(row, "person"),
            role=_said(row, "role"),
            date=row.day("date"),
            expires=row.day("expires"),
        )
        row.done()
        if attestation.expires < attestation.date:
            raise row.error("expires", f"{attestation.expires} is before {attestation.date}")
        if attestation.requirement in found:
            raise row.error("requirement", f"{attestation.requirement} is attested twice")
        found[attestation.requirement] = attestation
    return tuple(found.values())


def _tables(path: Path) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
    root = load_toml(path).root()
    tables = root.sections("waiver"), root.sections("workaround")
    root.done()
    return tables


def _said(row: Section, key: str) -> str:
    """Read a text that somebody must answer for: not blank."""
    text = row.text(key)
    if not text.strip():
        raise row.error(key, "is blank", hint=f"say the {key}")
    return text
