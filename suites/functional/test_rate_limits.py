"""Rate limits: the declared rate is given, more is refused, to the one who asked too much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from certification import guests
from certification.checks import check
from certification.model import Severity

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Json
    from certification.target.reply import Reply

REQUESTS_MAX = 500
"""A larger rate is not used up: it would cost more than the answer is worth."""
REFILL_MAX_PER_S = 60
"""A rate that comes back faster cannot be used up from outside with certainty."""
GIVEN = 60
"""So many requests at once are asked for where the rate is larger."""
AT_ONCE = 20
WAIT_MAX_S = 15
WINDOW_MAX_S = 20
OVER = 1.15
"""What is counted from outside is that much uncertain."""
STANDARDS = ["OWASP-API:2023-4", "RFC 6585"]

Send = Callable[[dict[str, str]], "Reply"]
"""Sends one request that counts, with these headers, and returns even a 429."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What came of requests sent as fast as possible."""

    answers: list[Reply]
    took_s: float

    @property
    def passed(self) -> list[Reply]:
        """Those that were not refused as too many."""
        return [reply for reply in self.answers if reply.status != 429]

    @property
    def refused(self) -> list[Reply]:
        """Those that were."""
        return [reply for reply in self.answers if reply.status == 429]


def burst(ctx: Context, send: Send, number: int, **headers: str) -> Burst:
    """Send so many requests over connections of their own, some at once."""
    began_s = ctx.clock()
    answers: list[Reply] = []
    for start in range(0, number, AT_ONCE):
        size = min(AT_ONCE, number - start)
        answers += ctx.together([lambda: send({"Connection": "close", **headers})] * size)
    return Burst(answers=answers, took_s=ctx.clock() - began_s)


def within_reach(rate: Json) -> bool:
    """Tell whether a rate can be used up with few requests."""
    refill: bool = rate["requests"] <= REFILL_MAX_PER_S * rate["window_s"]
    return refill and rate["requests"] <= REQUESTS_MAX


def use_up(ctx: Context, send: Send, rate: Json) -> Reply:
    """Send until nothing passes any more; fail where more passes than declared; return a 429.

    The bound is that of a bucket: as many at once as declared, and again as many in each window. A
    deployment that counts in fixed windows may pass twice as many around the turn of one; that is
    tried a second time, away from the turn, before it is held against it. Undecided where sending
    takes so long that the second time may meet a turn as well.
    """
    per_s, sent_s = rate["requests"] / rate["window_s"], 0.0
    for _ in range(2):
        began_s, passed, dry = ctx.clock(), 0, 0
        last: list[Reply] = []
        while passed <= 3 * rate["requests"] and dry < 2:
            part = burst(ctx, send, AT_ONCE)
            passed += len(part.passed)
            last = part.answers
            allowed = (rate["requests"] + per_s * (ctx.clock() - began_s)) * OVER + 2
            # Dry: what passes is what has come back meanwhile. Twice, since one process of
            # several may be dry before the others.
            dry = dry + 1 if len(part.passed) <= per_s * part.took_s * OVER + 1 else 0
            if passed > allowed:
                break
        sent_s += ctx.clock() - began_s
        if passed <= allowed:
            if not part.refused:
                ctx.undecided("the requests could not be sent fast enough to use the rate up")
            return part.refused[-1]
        if rate["window_s"] > WINDOW_MAX_S:
            ctx.undecided("more passed than declared, but windows so long are not waited out")
        ctx.wait(rate["window_s"] * 1.5)
    if sent_s > rate["window_s"] / 2:
        ctx.undecided("more passed than declared, but windows so short may have turned each time")
    return ctx.fail(
        "More requests pass than declared",
        expected=f"at most {allowed:.0f}, twice",
        observed=f"{passed} or more",
        on=last[:8],
    )


def comes_back(ctx: Context, send: Send, refused: Reply) -> None:
    """Wait as long as a 429 says; fail where the next request is refused again."""
    wait_s = refused.retry_after_s
    ctx.expect(
        wait_s is not None,
        "A 429 does not say how long to wait",
        expected="Retry-After",
        observed=refused.headers.get("Retry-After"),
        on=[refused],
    )
    if wait_s is None or wait_s > WAIT_MAX_S:
        ctx.not_exercised(f"a wait of {wait_s} s is not waited out")
    ctx.wait(wait_s + 0.2)
    again = send({})
    ctx.expect(
        again.status != 429,
        "A request is refused although its Retry-After is over",
        expected=f"taken after {wait_s:g} s",
        observed=again.status,
        on=[refused, again],
    )


def ignores_headers(ctx: Context, send: Send, rate: Json) -> None:
    """Fail where made-up origins in headers give more than the rate of this one again.

    The rate has just been used up, but a window may turn while this is sent: one whole rate may
    then pass, whatever the headers say. So it goes on until half is refused, or more has passed
    than any way of counting allows.
    """
    names = ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "True-Client-IP")

    def from_elsewhere() -> Reply:
        address = f"203.0.113.{1 + uuid4().int % 250}"
        made_up = dict.fromkeys(names, address) | {"Forwarded": f"for={address}"}
        return send({"Connection": "close", **made_up})

    began_s, passed = ctx.clock(), 0
    per_s = rate["requests"] / rate["window_s"]
    while True:
        burst_s = ctx.clock()
        answers = ctx.together([from_elsewhere] * AT_ONCE)
        new = [reply for reply in answers if reply.status != 429]
        passed += len(new)
        now_s = ctx.clock()
        # Where windows are fixed, so many may have begun meanwhile, each with the whole rate.
        windows = 1 + (now_s - began_s) // rate["window_s"]
        if passed > rate["requests"] * windows * OVER + 2:
            break
        back = per_s * (now_s - burst_s) * OVER + 2
        # Nearly each of these says another origin: a fresh rate for each would refuse few.
        if len(new) <= max(back, AT_ONCE / 2) < AT_ONCE:
            return
        if back >= AT_ONCE:
            ctx.undecided("the rate came back while it was looked at")
    ctx.fail(
        "A header that anybody can write gives a fresh rate",
        expected=f"at most {rate['requests']} in each of {windows:.0f} windows",
        observed=f"{passed} or more",
        on=new[:8],
    )


@check(
    "functional/rate-limits/principals-get-their-rate",
    title="A principal gets the declared rate, and no more where that can be tried",
    failure_title="A principal gets less than the declared rate, or more",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["listAccounts"],
    defects=[
        "principals-get-less-than-declared",
        "declared-rate-is-not-kept",
        "rate-is-counted-per-process",
        "rate-is-shared-by-everybody",
    ],
    identities=["admin"],
    standards=STANDARDS,
)
def check_principals_get_their_rate(ctx: Context) -> None:
    """Use the rate of one principal up, as far as few requests can.

    Why: A limit that each process counts for itself is twice what was planned for; one that counts
    everybody together lets one client stop all others.
    How: A user of the check's own sends as many reads at once as declared, 60 at most. Where the
    rate is at most 500 and comes back slowly, it goes on until it is refused; another user reads;
    the first one waits as long as it is told and reads. (A larger rate is not used up: then only
    the first half is shown.)
    Fails when: one of the first is 429, more pass than declared, the other user is refused, or
    Retry-After is missing or wrong.
    Remedy: Count per principal in a store that all processes share.
    """
    rate: Json | None = ctx.capabilities["auth"].get("rate_limit")
    if rate is None:
        ctx.not_exercised("the deployment declares no rate of a principal")
    guest, other = guests.arrive(ctx), guests.arrive(ctx)

    def read(headers: dict[str, str]) -> Reply:
        query = {"limit": 1}
        return guest.call("listAccounts", query=query, headers=headers, back_pressure=False)

    first = burst(ctx, read, min(rate["requests"], GIVEN))
    ctx.expect(
        not first.refused,
        "A principal is refused below the declared rate",
        expected=f"{rate['requests']} requests at once",
        observed=f"{len(first.refused)} of {len(first.answers)} refused",
        on=first.refused[:8],
    )
    if not within_reach(rate):
        return
    left = {**rate, "requests": max(rate["requests"] - len(first.answers), 1)}
    # What was sent already counts; the window's share of the whole rate comes back meanwhile.
    refused = use_up(ctx, read, left if rate["requests"] > GIVEN else rate)
    query = {"limit": 1}
    beside = other.call("listAccounts", query=query, back_pressure=False)
    ctx.equal(beside.status, 200, "Another principal is refused as well", refused, beside)
    comes_back(ctx, read, refused)


@check(
    "functional/rate-limits/attempts-to-enter-are-limited",
    title="Attempts to enter from one address are limited as declared",
    failure_title="Attempts to enter are not limited as declared",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["refreshSession"],
    defects=[
        "attempts-to-enter-are-not-limited",
        "attempts-are-counted-per-process",
        "a-header-gives-a-fresh-rate",
        "retry-after-of-the-rate-lies",
    ],
    alone=True,
    standards=[*STANDARDS, "CWE-307"],
    budget_s=120,
)
def check_attempts_to_enter_are_limited(ctx: Context) -> None:
    """Use the rate of this address up with refresh tokens that nobody was given.

    Why: The lock-out stops guesses at one name; only the rate of an address stops one guess at each
    of ten thousand names.
    How: Where the rate is at most 500 and comes back slowly: send made-up refresh tokens until they
    are refused as too many; go on under made-up origins in headers; wait as told and send one more.
    Fails when: more pass than declared, a header gives a fresh rate, or Retry-After is missing or
    wrong.
    Remedy: Count by the peer's address in a store that all processes share; believe headers of
    known proxies only.
    """
    rate: Json | None = ctx.capabilities["auth"].get("login_rate_limit")
    if rate is None:
        ctx.not_exercised("the deployment declares no rate of logins")
    if not within_reach(rate):
        ctx.not_exercised("the declared rate of logins is too large to be used up")

    def attempt(headers: dict[str, str]) -> Reply:
        body = {"refresh_token": f"rt_{uuid4().hex}"}
        reply = ctx.anonymous.call(
            "refreshSession", body=body, headers=headers, back_pressure=False
        )
        ctx.is_problem(reply, ["token_invalid", "token_expired", "rate_limited"])
        return reply

    refused = use_up(ctx, attempt, rate)
    ignores_headers(ctx, attempt, rate)
    comes_back(ctx, attempt, refused)
