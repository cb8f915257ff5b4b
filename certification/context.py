"""What a check is handed: actors that send contract operations, expectations, bursts and waits."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from certification.checks import CheckFailed, CheckSpec, NotExercised, Undecided
from certification.model import Finding, Measurement

if TYPE_CHECKING:
    from certification.arrange import Arrange
    from certification.contract import Contract
    from certification.model import Json
    from certification.target.reply import Reply
    from certification.target.session import Session

T = TypeVar("T")

READS = ("GET", "HEAD")
BACK_PRESSURE_REPEATS_MAX = 12
"""How often a 503 `busy` with Retry-After is waited out before the check says it cannot decide."""


@dataclass(frozen=True, slots=True)
class Actor:
    """One identity at the target; every call is checked against the contract."""

    session: Session
    context: Context

    @property
    def role(self) -> str:
        """The identity's role, e.g. `customer`."""
        return self.session.role

    @property
    def user_id(self) -> str:
        """The id that the target gave this user."""
        return self.session.user_id

    def call(
        self,
        operation: str,
        *,
        expect: int | Collection[int] | None = None,
        problem: str | Collection[str] | None = None,
        at_once: bool = False,
        **request: Any,
    ) -> Reply:
        """Send one operation; fail the check unless the answer is contract-valid and as expected.

        `expect` is a status or several, `problem` a code of the catalogue or several; with neither,
        any answer that the contract allows is returned. `request` takes path, query, body, headers,
        key and if_match as `Session.call` does. A 503 `busy` is waited out with the same key. A
        read waits until it must show what the case wrote before, unless it is to be sent `at_once`.
        """

        def send(refused: Reply | None) -> Reply:
            # The key of the refused attempt, so that an effect it had after all is not doubled.
            key = {"key": refused.sent_key} if refused is not None and refused.sent_key else {}
            return self._send(operation, **{**request, **key})

        method = self.context.contract.operations[operation].method
        if method in READS and not at_once:
            self.context.arrange.let_own_writes_arrive()
        reply = self._past_back_pressure(operation, method, send)
        self.context.conforms(reply)
        if problem is not None:
            self.context.is_problem(reply, problem)
        elif expect is not None:
            self.context.has_status(reply, expect)
        return reply

    def raw(self, method: str, path: str, **request: Any) -> Reply:
        """Send bytes that the contract would not let `call` send; nothing is checked.

        A 503 with Retry-After is waited out as in `call`; the bytes must be safe to repeat. A read
        waits as in `call`.
        """
        if method in READS:
            self.context.arrange.let_own_writes_arrive()
        return self._past_back_pressure(
            f"{method} {path}",
            method,
            lambda _refused: self.session.send_raw(method, path, **request),
        )

    def _send(self, operation: str, **request: Any) -> Reply:
        return self.session.call(operation, **request)

    def _past_back_pressure(
        self, what: str, method: str, send: Callable[[Reply | None], Reply]
    ) -> Reply:
        """Send until the deployment takes the request; `send` is given the refusal before it."""
        reply = None
        for _ in range(BACK_PRESSURE_REPEATS_MAX):
            self.context.within_budget()
            try:
                reply = send(reply)
            finally:
                if method not in READS:
                    self.context.wrote_s = self.context.clock()
            if reply.status != 503 or reply.retry_after_s is None:
                return reply
            self.context.wait(min(reply.retry_after_s, 5.0))
        raise Undecided(f"{what} answered 503 with Retry-After {BACK_PRESSURE_REPEATS_MAX} times")


@dataclass(slots=True)
class Context:
    """Handed to a check as `ctx`; one per case and attempt."""

    spec: CheckSpec
    case: str
    prefix: str
    """Starts the name of everything that this run creates."""
    seed: int
    contract: Contract
    capabilities: Json
    sessions: Mapping[str, Session]
    measure: Callable[[Measurement], None]
    created: Callable[[str, str, str], None]
    """Books an object (kind, id, owner's role) for the sweep and the clean-up."""
    objects: Callable[[], Sequence[tuple[str, str, str]]]
    """Everything that the run created so far, in all workers."""
    stopping: Callable[[], bool]
    """Whether the run ends early; no request starts then."""
    trials: Mapping[str, int] = field(default_factory=dict)
    """The profile's trial counts by name."""
    clock: Callable[[], float] = time.monotonic
    random: random.Random = field(init=False)
    arrange: Arrange = field(init=False)
    began_s: float = field(init=False)
    wrote_s: float = field(init=False, default=-math.inf)
    """When the latest write of any actor ended, answered or not, on `clock`."""

    def __post_init__(self) -> None:
        """Derive the case's own random numbers, so that a replay draws the same."""
        from certification.arrange import Arrange

        self.random = random.Random(f"{self.seed}:{self.spec.id}:{self.case}")  # noqa: S311  not a secret
        self.arrange = Arrange(context=self)
        self.began_s = self.clock()

    def declared(self, *path: str) -> Any:
        """Return a member of the capability document; fail the check where it is not declared."""
        value: Any = self.capabilities
        for name in path:
            if not isinstance(value, Mapping) or name not in value:
                self.fail(
                    "The capability document lacks a member that the contract requires",
                    expected=".".join(path),
                    observed="absent",
                )
            value = value[name]
        return value

    # -- who ---------------------------------------------------------------------------------

    def actor(self, role: str) -> Actor:
        """Return the identity with this role; NOT_EXERCISED where the target file gives none."""
        session = self.sessions.get(role)
        if session is None:
            raise NotExercised(f"no identity with the role {role}")
        return Actor(session, self)

    @property
    def anonymous(self) -> Actor:
        """Nobody: sends no token."""
        return self.actor("anonymous")

    @property
    def customer(self) -> Actor:
        """The first customer."""
        return self.actor("customer")

    @property
    def customer2(self) -> Actor:
        """The second customer: another owner."""
        return self.actor("customer2")

    @property
    def operator(self) -> Actor:
        """Sees any account, posts special transactions."""
        return self.actor("operator")

    @property
    def manager(self) -> Actor:
        """Reverses, suspends, closes."""
        return self.actor("manager")

    @property
    def admin(self) -> Actor:
        """Manages users; many targets give none."""
        return self.actor("admin")

    @property
    def auditor(self) -> Actor:
        """Reads everything, writes nothing."""
        return self.actor("auditor")

    # -- what was expected ---------------------------------------------------------------------

    def fail(
        self,
        message: str,
        *,
        expected: object,
        observed: object,
        on: Sequence[Reply] = (),
        form_only: bool = False,
    ) -> NoReturn:
        """End the check with a finding; `on` names the answers that show it.

        `form_only` says that the answer's form is wrong and nothing is known of its effect, so that
        the check's veto is not raised.
        """
        raise CheckFailed(
            Finding(
                message=message,
                expected=_short(expected),
                observed=_short(observed),
                exchanges=tuple(reply.exchange_number for reply in on),
                form_only=form_only,
            )
        )

    def expect(
        self,
        holds: bool,
        message: str,
        *,
        expected: object,
        observed: object,
        on: Sequence[Reply] = (),
    ) -> None:
        """Fail with this finding unless it holds."""
        if not holds:
            self.fail(message, expected=expected, observed=observed, on=on)

    def equal(self, observed: object, expected: object, message: str, *on: Reply) -> None:
        """Fail unless both are equal and of the same kind; True is not 1 and 10.0 is not 10."""
        same = observed == expected and isinstance(observed, bool) == isinstance(expected, bool)
        self.expect(same, message, expected=expected, observed=observed, on=on)

    def conforms(self, reply: Reply) -> None:
        """Fail unless the answer is one that the contract allows for its operation."""
        if reply.violations:
            first = reply.violations[0]
            more = f" (and {len(reply.violations) - 1} more)" if len(reply.violations) > 1 else ""
            self.fail(
                "The answer does not follow the contract",
                expected=f"{reply.operation}: a valid answer",
                observed=f"{reply.status} {first.pointer}: {first.message}{more}",
                on=[reply],
                form_only=True,
            )

    def has_status(self, reply: Reply, expect: int | Collection[int]) -> None:
        """Fail unless the answer has (one of) the statuses."""
        wanted = {expect} if isinstance(expect, int) else set(expect)
        if reply.status not in wanted:
            self.fail(
                f"{reply.operation} answered another status than expected",
                expected=" or ".join(str(status) for status in sorted(wanted)),
                observed=_answer(reply),
                on=[reply],
                form_only=reply.status >= 500,
            )

    def is_problem(self, reply: Reply, problem: str | Collection[str]) -> None:
        """Fail unless the answer is (one of) these problems, under the catalogue's status."""
        codes = {problem} if isinstance(problem, str) else set(problem)
        wanted = {code: self.contract.problems[code].status for code in codes}
        if wanted.get(reply.problem_code or "") != reply.status:
            self.fail(
                f"{reply.operation} was not refused as the contract says",
                expected=" or ".join(f"{status} {code}" for code, status in sorted(wanted.items())),
                observed=_answer(reply),
                on=[reply],
                form_only=reply.status >= 500,
            )

    def undecided(self, reason: str) -> NoReturn:
        """End the check as INCONCLUSIVE."""
        raise Undecided(reason)

    def not_exercised(self, reason: str) -> NoReturn:
        """End the check as NOT_EXERCISED."""
        raise NotExercised(reason)

    # -- time and concurrency --------------------------------------------------------------------

    def within_budget(self) -> None:
        """End the check as INCONCLUSIVE once its time budget is spent or the run is ending."""
        if self.stopping():
            raise Undecided("the run is ending")
        if self.clock() - self.began_s > self.spec.budget_s:
            raise Undecided(f"the check's budget of {self.spec.budget_s:g} s is spent")

    def wait(self, seconds: float) -> None:
        """Wait; Ctrl-C ends it."""
        threading.Event().wait(seconds)

    def until(self, predicate: Callable[[], T | None], *, deadline_s: float) -> T | None:
        """Ask again and again until the answer is truthy; None when the deadline passed.

        Every later read must show what was found, too.
        """
        end = self.clock() + deadline_s
        while True:
            found = predicate()
            if found:
                self.arrange.let_writes_arrive()
                return found
            if self.clock() >= end:
                return None
            self.wait(0.05)

    def together(self, actions: Sequence[Callable[[], T]]) -> list[T]:
        """Run all actions at once, released by one barrier; return their results in order.

        The first exception is raised after all have ended, so that nothing runs on behind a check.
        """
        barrier = threading.Barrier(len(actions))

        def released(action: Callable[[], T]) -> T:
            barrier.wait(timeout=30)
            return action()

        with ThreadPoolExecutor(max_workers=len(actions)) as pool:
            futures = [pool.submit(released, action) for action in actions]
        return [future.result() for future in futures]

    def name(self, what: str) -> str:
        """Return a name for a new object that shows the run and is unlike any other."""
        return f"{self.prefix}-{what}-{self.random.getrandbits(40):010x}"


def _answer(reply: Reply) -> str:
    if reply.problem_code:
        return f"{reply.status} {reply.problem_code}"
    return str(reply.status)


def _short(value: object, cap: int = 500) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= cap else f"{text[:cap]}… ({len(text)} characters)"
