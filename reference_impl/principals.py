"""Scopes: what an operation needs besides a role, and what a principal was given or denied.

The scope of an operation is its area and whether it reads or writes. People work by their roles;
a grant adds or takes a scope, everywhere or on one account. A principal with the role service
works by its grants alone, whatever other roles it has.
"""

import functools
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

AREAS = {
    "alerts": "metrics",
    "silences": "metrics",
    "recoveries": "metrics",
    "api": "metrics",
    "dashboards": "metrics",
    "systems": "growth",
    "merges": "growth",
    "reports": "analytics",
    "orders": "transactions",
    "reconciliations": "transactions",
}
"""First step of a path below /v1 -> area; one that is not here is an area of its own."""
ACCOUNT_AREAS = {
    "entries": "transactions",
    "positions": "transactions",
    "strategy": "transactions",
    "fork": "growth",
    "reinvest": "growth",
    "lineage": "growth",
    "analytics": "analytics",
}
"""Step after the id of an account or system -> area."""
WITHOUT_SCOPE = ("auth",)
"""Everybody may log out and guard the own login."""

SCOPES = (
    "accounts:read",
    "accounts:write",
    "transactions:read",
    "transactions:write",
    "growth:read",
    "growth:write",
    "analytics:read",
    "analytics:write",
    "users:read",
    "audit:read",
    "grants:read",
    "events:read",
    "metrics:read",
)
"""Scopes that a grant may name."""
OBJECT_SCOPES = SCOPES[:7]
"""Scopes that a grant may bind to one account."""
OWNER_SCOPES = (
    "accounts:read",
    "transactions:read",
    "transactions:write",
    "growth:read",
    "analytics:read",
)
"""Scopes that the owner of an account may give to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One grant in force."""

    scope: str
    object_id: str | None
    denies: bool


@functools.lru_cache(maxsize=512)
def scope_of(method: str, rule: str) -> str:
    """Return the scope of an operation by its route, such as /v1/accounts/<account_id>/fork."""
    steps = [step for step in rule.split("/") if step]
    if steps[:1] == ["v1"]:
        steps = steps[1:]
    if not steps or steps[0] in WITHOUT_SCOPE:
        return ""
    area = AREAS.get(steps[0], steps[0])
    if steps[0] in {"accounts", "systems"} and len(steps) > 2:
        area = ACCOUNT_AREAS.get(steps[2], area)
    return f"{area}:{'read' if method in {'GET', 'HEAD'} else 'write'}"


def held(connection: sqlite3.Connection, user_id: str, now_ms: int) -> tuple[Held, ...]:
    """Return the grants of a principal that are in force."""
    rows = connection.execute(
        "SELECT scope, object_id, effect FROM grants WHERE principal_id = ?"
        " AND (expires_at IS NULL OR expires_at > ?) ORDER BY seq",
        (user_id, now_ms),
    ).fetchall()
    return tuple(Held(scope=row[0], object_id=row[1], denies=row[2] == "deny") for row in rows)


def allowed_everywhere(grants: Collection[Held], scope: str) -> bool:
    """Tell whether a scope was given without an object."""
    return any(
        grant.scope == scope and grant.object_id is None and not grant.denies for grant in grants
    )


def objects(grants: Collection[Held], scope: str, *, denied: bool) -> tuple[str, ...]:
    """Return the objects on which a scope was given, or denied."""
    return tuple(
        grant.object_id
        for grant in grants
        if grant.scope == scope and grant.object_id is not None and grant.denies is denied
    )


def denied_everywhere(grants: Collection[Held], scope: str) -> bool:
    """Tell whether a scope was taken away without an object."""
    return any(
        grant.scope == scope and grant.object_id is None and grant.denies for grant in grants
    )
