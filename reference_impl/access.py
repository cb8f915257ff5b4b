"""Who is asking, and what that role may do: hierarchical roles, ownership, the separate auditor."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from .problems import Problem


class Rank(IntEnum):
    """The chain of roles; each includes those below it. Auditor and service stand outside."""

    NONE = 0
    CUSTOMER = 1
    OPERATOR = 2
    MANAGER = 3
    ADMIN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The principal of a request."""

    user_id: str
    session_id: str
    roles: tuple[str, ...]

    @property
    def rank(self) -> Rank:
        """The highest role of the chain."""
        return rank(self.roles)

    @property
    def auditor(self) -> bool:
        """Whether this principal reads everything."""
        return "auditor" in self.roles


def rank(roles: Iterable[str]) -> Rank:
    """Return the highest rank among roles; auditor and service have none."""
    return max(
        (Rank[role.upper()] for role in roles if role.upper() in Rank.__members__),
        default=Rank.NONE,
    )


def check_rank(caller: Caller, minimum: Rank, *, auditor: bool = False) -> None:
    """Refuse a caller below `minimum`; with `auditor`, an auditor passes too."""
    if caller.rank >= minimum or (auditor and caller.auditor):
        return
    raise Problem("forbidden", f"This needs the role {minimum.name.lower()}.")


def owns(caller: Caller, *owner_ids: str | None) -> bool:
    """Tell whether the caller owns one of the objects."""
    return caller.user_id in owner_ids


def sees_all(caller: Caller) -> bool:
    """Tell whether the caller reads objects of every owner."""
    return caller.rank >= Rank.OPERATOR or caller.auditor


def check_visible(caller: Caller, what: str, *owner_ids: str | None) -> None:
    """Answer 404 for an object of another owner: whether it exists is not told."""
    if not (owns(caller, *owner_ids) or sees_all(caller)):
        raise not_found(what)


def not_found(what: str) -> Problem:
    """Return the 404 for an object that is not there, or not for this caller."""
    return Problem("not_found", f"There is no {what}.")


def check_grant(caller: Caller, user_id: str | None, roles: Iterable[str]) -> None:
    """Refuse to grant a role above the own one, or to change the own roles."""
    if user_id == caller.user_id:
        raise Problem("role_escalation", "Nobody changes the own roles.")
    if rank(roles) > caller.rank:
        raise Problem("role_escalation", "Nobody grants a role above the own.")
