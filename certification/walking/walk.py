"""One walk over a target: what it may spend, what it sends, and the smallest failure it met."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from certification import growing
from certification.checks import NotExercised, Undecided
from certification.model import Module
from certification.target.limits import BudgetSpent
from certification.target.outcomes import ConnectionLost
from certification.target.session import query_text
from certification.target.tokens import LoginRefused
from certification.walking.tale import Failure, Sent, Tale, at

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from certification.context import Context
    from certification.model import Finding, Json
    from certification.target.reply import Reply

NO_VERDICT = (NotExercised, Undecided, ConnectionLost, BudgetSpent, LoginRefused)
"""What may happen to a request besides an answer; never a reason to shrink an example."""


class Enough(BaseException):
    """Ends the walk at once: it passes Hypothesis, which would shrink an `Exception`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a walk may spend."""

    requests: int
    """No example begins after so many."""
    shrink_requests: int
    """More, once an example has failed, to find a smaller one."""
    seconds: float
    shrink_seconds: float = 25.0
    steps: int = 30
    """Of one example."""
    examples: int = 100_000
    """Beyond every budget: what ends most walks is what they spent. Hypothesis keeps the first
    tenth of them small, 50 at most."""
    accounts: int = 12
    """Of one example."""


@dataclass(slots=True, kw_only=True)
class Walk:
    """What the examples of one walk share."""

    ctx: Context
    limits: Limits
    growth: bool
    """Whether forks, merges and reinvestments are walked too."""
    policies: Mapping[str, Json] = field(init=False)
    began_s: float = field(init=False)
    requests: int = 0
    examples: int = 0
    """Those that were walked to their end."""
    steps: int = 0
    failure: Failure | None = None
    failures: int = 0
    """How many examples failed, replays of one and the same included."""
    failed_at: int = 0
    """Requests when the first one failed."""
    halted: Exception | None = None

    def __post_init__(self) -> None:
        """Read the policies in force, which the book needs."""
        self.began_s = self.ctx.clock()
        declared = {row["id"] for row in self.ctx.capabilities.get("modules", ())}
        there = Module.GROWTH.value in declared
        types = growing.TYPES if there else ()
        self.policies = {name: growing.policy(self.ctx, name) for name in types}
        self.growth = self.growth and there

    # -- what may be spent -------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin an example, or end the walk where the requests or the time are spent."""
        late = self.ctx.clock() - self.began_s > self.limits.seconds
        if self.failure is None and (late or self.requests >= self.limits.requests):
            raise Enough

    def _spend(self) -> None:
        late = self.ctx.clock() - self.began_s > self.limits.seconds + self.limits.shrink_seconds
        shrunk = self.requests - self.failed_at >= self.limits.shrink_requests
        if self.halted is not None or late or (self.failure is not None and shrunk):
            raise Enough
        self.requests += 1

    def failed(self, tale: Tale, finding: Finding) -> None:
        """Take note of a failed example; keep the smallest."""
        self.failures += 1
        if self.failure is None:
            self.failed_at = self.requests
        found = Failure(tale=tale, finding=finding)
        # A crash on the way to a broken rule is shorter than it, and another failure.
        lesser = finding.form_only and self.failure and not self.failure.finding.form_only
        if self.failure is None or (not lesser and found.size <= self.failure.size):
            self.failure = found

    # -- what is sent ------------------------------------------------------------------------------

    def send(self, tale: Tale, role: str, operation: str, **request: Any) -> Reply:
        """Send one operation; the answer must be one that the contract allows.

        `if_match_of` and `repeats` are earlier answers: the ETag of the one, the key of the other.
        `actor` with its `token` sends in the place of the target's identity with that role.
        """
        self._spend()
        known = request.pop("if_match_of", None)
        repeats = request.pop("repeats", None)
        if known is not None:
            request["if_match"] = known.etag
        if repeats is not None:
            request["key"] = repeats.sent_key
        token = request.pop("token", None)
        actor = request.pop("actor", None) or self.ctx.actor(role)
        declared = self.ctx.contract.operations[operation]
        path = declared.url_path(request.get("path", {})) + query_text(request.get("query", {}))
        sent = Sent(
            role=role,
            method=declared.method,
            path=path,
            body=request.get("body"),
            has_key=declared.idempotency_required,
            repeats=None if repeats is None else tale.number_of(repeats),
            if_match_of=None if known is None else tale.number_of(known),
            token=token,
        )
        tale.sent.append(sent)
        try:
            sent.reply = actor.call(operation, **request)
        except NO_VERDICT as error:
            self.halted = error
            raise Enough from error
        return sent.reply

    def expect(
        self, tale: Tale, reply: Reply, *, status: int, refusals: Collection[str], why: str
    ) -> bool:
        """Fail unless the answer is a success, or one of the refusals; tell whether it is one."""
        problems = self.ctx.contract.problems
        wanted = {problems[code].status for code in refusals} or {status}
        tale.sent[tale.number_of(reply)].expected = tuple(sorted(wanted))
        right = reply.problem_code in refusals if refusals else reply.status == status
        if not right or reply.status not in wanted:
            told = " or ".join(f"{problems[c].status} {c}" for c in sorted(refusals))
            if refusals:
                code = next(iter(refusals)) if len(refusals) == 1 else None
                tale.proof = ("/code", code) if code else None
            self.ctx.fail(
                f"After a legal sequence, {why} was answered otherwise than the rules say",
                expected=told or str(status),
                observed=f"{reply.status} {reply.problem_code or ''}".strip(),
                on=[reply],
                form_only=reply.status >= 500,
            )
        return not refusals

    def same(self, tale: Tale, reply: Reply, pointer: str, expected: Any, message: str) -> None:
        """Fail unless a member of the answer is what the book says."""
        observed = at(reply.body, pointer)
        if observed != expected or isinstance(observed, bool) != isinstance(expected, bool):
            tale.sent[tale.number_of(reply)].expected = (reply.status,)
            tale.proof = (pointer, expected)
            self.ctx.fail(
                message,
                expected=f"{pointer} = {expected!r}",
                observed=repr(observed),
                on=[reply],
            )
