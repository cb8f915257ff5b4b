"""`certify explain`: what a check, a requirement or a problem code is about, and how to fix it."""

from __future__ import annotations

import difflib

import click

from certification.checks import CheckSpec
from certification.errors import UsageError
from certification.model import Requirement


@click.command("explain")
@click.argument("name")
def command(name: str) -> None:
    """Explain NAME: a check id, a requirement id or a problem code."""
    from certification.checks import load_catalogue
    from certification.contract import load_contract
    from certification.register import load_register

    checks = {str(spec.id): spec for spec in load_catalogue()}
    register = {str(row.id): row for row in load_register()}
    problems = load_contract().problems
    if name in checks:
        click.echo(_check(checks[name]))
    elif name in register:
        click.echo(_requirement(register[name], list(checks.values())))
    elif name in problems:
        row = problems[name]
        click.echo(f"{row.code} ({row.status}): {row.title}\n\nCause: {row.cause}\n")
        click.echo(f"Remedy: {row.remedy}")
    else:
        near = difflib.get_close_matches(name, [*checks, *register, *problems], n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "`certify list` shows the checks"
        raise UsageError(f"{name}: no check, requirement or problem of that name", hint=hint)


def _check(spec: CheckSpec) -> str:
    facts = {
        "severity": spec.severity.value,
        "category": spec.category.value,
        "requirements": ", ".join(spec.requirements),
        "operations": ", ".join(spec.operations),
        "identities": ", ".join(spec.identities),
        "phase": spec.phase,
        "veto": spec.veto.value if spec.veto else "none",
        "must catch": ", ".join(spec.defects),
        "standards": ", ".join(spec.standards) or "none",
        "version": str(spec.version),
        "replay": f"certify run --check {spec.id}",
    }
    lines = [spec.id, f"  passes: {spec.title}", f"  fails:  {spec.failure_title}", ""]
    lines += [f"{name}: {text}\n" for name, text in spec.docs.items()]
    lines += [f"{name + ':':<14}{value}" for name, value in facts.items()]
    return "\n".join(lines)


def _requirement(row: Requirement, checks: list[CheckSpec]) -> str:
    verifying = [spec.id for spec in checks if row.id in spec.requirements]
    category = row.category.value if row.category else "a duty of the harness, not scored"
    lines = [f"{row.id}: {row.text}", f"kind: {row.kind.value}", f"category: {category}"]
    lines += [f"reason: {row.reason}"] if row.reason else []
    lines += [f"source: {row.source}"] if row.source else []
    lines.append(f"checks: {', '.join(verifying) or 'none yet'}")
    return "\n".join(lines)
