"""What the examples of a walk among people share: the budget of logins, and what is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from certification import offered
from certification.walking.walk import Enough, Walk

if TYPE_CHECKING:
    from certification.target.reply import Reply
    from certification.walking.people import Legal
    from certification.walking.tale import Tale

FAILED_LOGINS_MAX = 2
"""Of one user, below every sensible lock-out; see `PeopleWalk.failed_logins_max`."""
WALK_LOGINS_MAX = 34
"""No example begins after so many."""
SHRINK_LOGINS_MAX = 500


@dataclass(slots=True, kw_only=True)
class PeopleWalk(Walk):
    """What the examples share: the budget of logins, and what the deployment declares."""

    logins: int = 0
    with_grants: bool = field(init=False)
    failed_logins_max: int = field(init=False)

    def __post_init__(self) -> None:
        """Ask for an admin, and whether there are grants."""
        ctx = self.ctx
        ctx.actor("admin")
        self.began_s = ctx.clock()
        self.policies = {}
        self.with_grants = offered.offers(ctx, "createGrant") and offered.offers(ctx, "deleteGrant")
        lockout = ctx.capabilities["auth"].get("lockout", {})
        spare = lockout.get("threshold", FAILED_LOGINS_MAX + 2) - 2
        self.failed_logins_max = max(0, min(spare, FAILED_LOGINS_MAX))

    def begin(self) -> None:
        """Begin an example, or end the walk where one of its budgets is spent."""
        spent = self.logins >= (WALK_LOGINS_MAX if self.failure is None else SHRINK_LOGINS_MAX)
        if spent:
            raise Enough
        Walk.begin(self)

    def legal(self, tale: Tale, reply: Reply, legal: Legal, what: str) -> bool:
        """Fail unless the answer is a legal one; tell whether it is a success."""
        problems = self.ctx.contract.problems
        succeeded = 200 <= reply.status < 300
        code = reply.problem_code or ""
        wanted = {problems[name].status for name in legal.refusals}
        shown = [f"{problems[name].status} {name}" for name in sorted(legal.refusals)]
        if legal.success:
            wanted.add(reply.status if succeeded else 200)
            shown.insert(0, "success")
        tale.sent[tale.number_of(reply)].expected = tuple(sorted(wanted))
        right = legal.success if succeeded else code in legal.refusals
        if not right or (not succeeded and problems[code].status != reply.status):
            self.ctx.fail(
                f"After a legal sequence, {what} was answered otherwise than the rules say",
                expected=" or ".join(shown),
                observed=f"{reply.status} {code}".strip(),
                on=[reply],
                form_only=reply.status >= 500,
            )
        return succeeded
