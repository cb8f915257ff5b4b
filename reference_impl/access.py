"""Who is asking, and what may be done: hierarchical roles, ownership, grants, the separate auditor.

The order of what counts: a scope that was denied is denied to everyone; then the role of the
chain, the owner, and a scope that was given. A service has no role but what its grants give.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from . import principals
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
    scope: str = ""
    """The scope of the operation that is called; empty for those that need none."""
    grants: tuple[principals.Held, ...] = ()
    """The grants of the principal that are in force."""

    @property
    def rank(self) -> Rank:
        """The highest role of the chain; for a service, what its grants for this scope amount to.

        A scope that was given everywhere is worth an operator in its area and never more.
        """
        if not self.service:
            return rank(self.roles)
        if self.everywhere:
            return Rank.OPERATOR
        return Rank.CUSTOMER if self.objects else Rank.NONE

    @property
    def auditor(self) -> bool:
        """Whether this principal reads everything: by its role, or a service by this scope."""
        if self.service:
            return self.everywhere and not self.writes
        return "auditor" in self.roles

    @property
    def service(self) -> bool:
        """Whether this is a machine, which has explicit scopes only."""
        return "service" in self.roles

    @property
    def writes(self) -> bool:
        """Whether the operation that is called changes something."""
        return self.scope.endswith(":write")

    @property
    def everywhere(self) -> bool:
        """Whether the scope of the operation was given without an object."""
        return principals.allowed_everywhere(self.grants, self.scope)

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects on which the scope of the operation was given."""
        return principals.objects(self.grants, self.scope, denied=False)

    @property
    def hidden(self) -> tuple[str, ...]:
        """The objects on which the scope of the operation was denied."""
        return principals.objects(self.grants, self.scope, denied=True)


def rank(roles: Iterable[str]) -> Rank:
    """Return the highest rank among roles; auditor and service have none."""
    return max(
        (Rank[role.upper()] for role in roles if role.upper() in Rank.__members__),
        default=Rank.NONE,
    )


def check_scope(caller: Caller) -> None:
    """Refuse an operation whose scope was denied, or that a service has no grant for."""
    if not caller.scope:
        return
    lacks = caller.service and not (caller.everywhere or caller.objects)
    if lacks or principals.denied_everywhere(caller.grants, caller.scope):
        raise Problem("forbidden", f"This needs the scope {caller.scope}.")


def check_rank(caller: Caller, minimum: Rank, *, auditor: bool = False) -> None:
    """Refuse a caller below `minimum`; with `auditor`, an auditor passes too."""
    if caller.rank >= minimum or (auditor and caller.auditor):
        return
    raise Problem("forbidden", f"This needs the role {minimum.name.lower()}.")


def owns(caller: Caller, *owner_ids: str | None) -> bool:
    """Tell whether the caller owns one of the objects."""
    return caller.user_id in owner_ids


def acts_for(caller: Caller, owner_ids: Iterable[str | None], objects: Iterable[str]) -> bool:
    """Tell whether the caller may do what the owner may: as the owner, or by a grant."""
    return owns(caller, *owner_ids) or not set(objects).isdisjoint(caller.objects)


def sees_all(caller: Caller) -> bool:
    """Tell whether the caller reads objects of every owner; an auditor only reads them."""
    if caller.rank >= Rank.OPERATOR or caller.everywhere:
        return True
    return caller.auditor and not caller.writes


def check_visible(
    caller: Caller, what: str, *owner_ids: str | None, objects: Iterable[str] = ()
) -> None:
    """Answer 404 for an object of another owner: whether it exists is not told.

    `objects` are the accounts that it is or touches: a grant or a denial may name them. Who may
    read such an account and not do this is answered 403.
    """
    if not caller.grants and owns(caller, *owner_ids):
        return
    names = set(objects)
    reading = f"{caller.scope.partition(':')[0]}:read"
    unseen = principals.objects(caller.grants, reading, denied=True)
    unseen += principals.objects(caller.grants, "accounts:read", denied=True)
    if not names.isdisjoint(unseen):
        raise not_found(what)
    if not names.isdisjoint(caller.hidden):
        raise Problem("forbidden", f"{caller.scope} on {what} was taken away.")
    if acts_for(caller, owner_ids, names) or sees_all(caller):
        return
    given = {grant.object_id for grant in caller.grants if not grant.denies}
    if caller.writes and not names.isdisjoint(given):
        raise Problem("forbidden", f"This needs the scope {caller.scope} on {what}.")
    raise not_found(what)


def hidden_accounts(caller: Caller) -> tuple[str, ...]:
    """Return the accounts that a list leaves out for this caller."""
    unseen = principals.objects(caller.grants, "accounts:read", denied=True)
    return tuple({*caller.hidden, *unseen})


def not_found(what: str) -> Problem:
    """Return the 404 for an object that is not there, or not for this caller."""
    return Problem("not_found", f"There is no {what}.")


def check_grant(caller: Caller, user_id: str | None, roles: Iterable[str]) -> None:
    """Refuse to grant a role above the own one, or to change the own roles."""
    if user_id == caller.user_id:
        raise Problem("role_escalation", "Nobody changes the own roles.")
    if rank(roles) > caller.rank:
        raise Problem("role_escalation", "Nobody grants a role above the own.")
