"""Lock-out: at the declared threshold, for the declared time, of the one who failed and alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from certification import guests, lockouts
from certification.checks import check
from certification.model import Severity

if TYPE_CHECKING:
    from certification.context import Context
    from certification.guests import Guest
    from certification.target.reply import Reply

THRESHOLD_MAX = 20
"""A hash for each failure: a higher threshold is not worth its cost to the deployment."""
WAIT_MAX_S = 12
"""A longer lock is not waited out."""
STANDARDS = ["OWASP-API:2023-2", "CWE-307"]
NEW_CONNECTION = {"Connection": "close"}
"""Lets the next request reach another process of the deployment."""


def threshold_of(ctx: Context) -> int:
    """Return the declared threshold; NOT_EXERCISED where there is none within reach."""
    declared = ctx.capabilities["auth"].get("lockout")
    if declared is None:
        ctx.not_exercised("the deployment declares no lock-out")
    threshold: int = declared["threshold"]
    if threshold > THRESHOLD_MAX:
        ctx.not_exercised(f"{threshold} failures are more than this check sends")
    return threshold


def fail(guest: Guest, **expected: Any) -> Reply:
    """Log in with a wrong password, over a connection of its own."""
    body = {"username": guest.username, "password": f"{guest.password}y"}
    return guest.context.anonymous.call("login", body=body, headers=NEW_CONNECTION, **expected)


def lock(guest: Guest, failures: int) -> tuple[Reply, float]:
    """Fail until the user is locked; return a 423 and the moment before which no lock began."""
    ctx = guest.context
    for _ in range(failures - 1):
        fail(guest, problem="bad_credentials")
    since_s = ctx.clock()
    # The failure that begins the lock may be answered either way.
    fail(guest, problem=["bad_credentials", "locked"])
    reply = fail(guest)
    lockouts.is_locked(ctx, reply, since_s)
    return reply, since_s


def waited_out(ctx: Context, lock_s: float | None) -> float:
    """Return how long a lock lasts; NOT_EXERCISED where that is too long to wait, or not said."""
    if lock_s is None:
        ctx.not_exercised("a lock does not say how long it lasts")
    if lock_s > WAIT_MAX_S:
        ctx.not_exercised(f"a lock of {lock_s:g} s is not waited out")
    return lock_s


def retry_after(ctx: Context, reply: Reply) -> float:
    """Return the Retry-After of a 423."""
    ctx.expect(
        reply.retry_after_s is not None,
        "A lock does not say how long it lasts",
        expected="Retry-After",
        observed=reply.headers.get("Retry-After"),
        on=[reply],
    )
    return reply.retry_after_s or 0.0


@check(
    "functional/lockout/locks-at-the-threshold",
    title="The declared number of failures locks, and fewer do not",
    failure_title="A user is locked at another number of failures than declared",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["login", "createUser"],
    defects=["lockout-counts-per-process", "lockout-never-begins", "locks-one-failure-early"],
    identities=["admin"],
    standards=STANDARDS,
)
def check_locks_at_the_threshold(ctx: Context) -> None:
    """Fail once less than declared, enter, then fail as often as declared.

    Why: A counter that each process keeps for itself multiplies the guesses an attacker has; one
    that locks early shuts out people who mistype.
    How: One failure fewer than `auth.lockout.threshold`, the right password, then as many failures
    as the threshold, each over a new connection; then the wrong password six times more.
    Fails when: the right password is refused after the first row, or any of the last logins is not
    423 `locked`.
    Remedy: Count in a store that all processes share, in one step with the decision.
    """
    threshold = threshold_of(ctx)
    guest, _ = guests.create(ctx)
    for _ in range(threshold - 1):
        fail(guest, problem="bad_credentials")
    guests.try_log_in(guest, expect=200)
    locked, since_s = lock(guest, threshold)
    for _ in range(5):
        lockouts.is_locked(ctx, fail(guest), since_s, locked)


@check(
    "functional/lockout/right-password-while-locked",
    title="While a lock lasts the right password is refused, and a success is what ends the row",
    failure_title="A locked user is let in with the right password",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["login"],
    defects=["right-password-opens-locks", "others-success-opens-locks"],
    identities=["admin"],
    standards=STANDARDS,
)
def check_right_password_while_locked(ctx: Context) -> None:
    """Lock a user, let somebody else in, and try the right password.

    Why: A lock that the right password opens tells a guesser when the guess was right, at full
    speed; one that another user's login opens is no lock for whoever has an account of the own.
    How: Lock one user; another one fails once and logs in from the same place; the first one tries
    the right password.
    Fails when: the other user is refused, or the right password is not 423 `locked`.
    Remedy: Judge the lock before the password; count each name by itself.
    """
    threshold = threshold_of(ctx)
    if threshold < 2:
        ctx.not_exercised("one failure locks the other user too")
    guest, _ = guests.create(ctx)
    other, _ = guests.create(ctx)
    locked, since_s = lock(guest, threshold)
    fail(other, problem="bad_credentials")
    guests.try_log_in(other, expect=200)
    lockouts.is_locked(ctx, guests.try_log_in(guest), since_s, locked)


@check(
    "functional/lockout/retry-after-is-honest",
    title="A lock ends when Retry-After says, and what is declared",
    failure_title="A lock lasts longer or shorter than it says",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["login"],
    defects=["lock-outlasts-its-word", "lock-ends-early"],
    identities=["admin"],
    standards=[*STANDARDS, "RFC 9110"],
)
def check_retry_after_is_honest(ctx: Context) -> None:
    """Lock a user, wait as long as the answer says, and log in.

    Why: Clients and people wait as long as they are told; a lock that ends early is no lock.
    How: Lock a user; compare Retry-After with the first declared delay, or with the longest lock
    where no delays are declared; after half of it the right password must still be refused; after
    all of it, it must be taken.
    Fails when: Retry-After is missing or longer than declared, the right password is taken well
    before it is over, or refused after it.
    Remedy: Compute Retry-After from the same instant that decides, rounded up.
    """
    threshold, delays = threshold_of(ctx), lockouts.delays_of(ctx)
    longest_s: float = ctx.capabilities["auth"]["lockout"]["seconds"]
    declared_s = longest_s if delays is None else waited_out(ctx, delays[0])
    if declared_s < 1:
        ctx.not_exercised("the first lock ends before it can be looked at")
    guest, _ = guests.create(ctx)
    locked, began_s = lock(guest, threshold)
    said_s = retry_after(ctx, locked)
    ctx.expect(
        said_s <= declared_s + 1,
        "A lock is announced for longer than declared",
        expected=f"at most {declared_s:g} s",
        observed=f"{said_s:g} s",
        on=[locked],
    )
    ctx.wait(waited_out(ctx, said_s) / 2)
    early = guests.try_log_in(guest)
    sure_s = min(said_s, lockouts.sure_s(ctx, [locked]))
    if early.status == 200 and ctx.clock() - began_s < sure_s - 0.1:
        ctx.fail(
            "A lock ends before the time that it said",
            expected=f"423 for {said_s:g} s",
            observed=early.status,
            on=[locked, early],
        )
    ctx.wait(said_s / 2 + 0.3)
    guests.try_log_in(guest, expect=200)


@check(
    "functional/lockout/delays-grow",
    title="Each failure after a lock locks for as long as declared",
    failure_title="Locks do not grow as declared",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["login"],
    defects=["locks-never-grow", "lock-forgets-the-row"],
    identities=["admin"],
    standards=STANDARDS,
)
def check_delays_grow(ctx: Context) -> None:
    """Fail once more after the first lock and read how long the second one lasts.

    Why: A lock of fixed length is a guess every so many seconds, for ever; a growing one makes
    guessing hopeless and forgives who mistyped.
    How: Lock a user, wait the first delay out, fail once and read Retry-After of the next login.
    Fails when: that is not 423, or lasts longer than the second declared delay, or so much shorter
    that it cannot be it.
    Remedy: Keep the row of failures until a success; choose the delay by its length.
    """
    threshold, delays = threshold_of(ctx), lockouts.delays_of(ctx)
    if delays is None:
        ctx.not_exercised("the deployment does not declare how long each lock lasts")
    first_s = waited_out(ctx, delays[0])
    guest, _ = guests.create(ctx)
    locked, _ = lock(guest, threshold)
    ctx.wait(max(retry_after(ctx, locked), first_s) + 0.3)
    # It may be refused as wrong, or already as locked by itself.
    before_s = ctx.clock()
    again = fail(guest, problem=["bad_credentials", "locked"])
    second = fail(guest)
    took_s = ctx.clock() - before_s
    grown_s = delays[min(1, len(delays) - 1)]
    if grown_s < 1 + took_s:
        ctx.not_exercised("the second lock ends before it can be looked at")
    ctx.is_problem(second, "locked")
    said_s = retry_after(ctx, second)
    ctx.expect(
        grown_s - took_s - 1 <= said_s <= grown_s + 1,
        "The second lock does not last as declared",
        expected=f"{grown_s:g} s",
        observed=f"{said_s:g} s",
        on=[again, second],
    )


@check(
    "functional/lockout/unknown-users-lock-alike",
    title="A name that no user has is locked like any other",
    failure_title="The lock-out tells which users exist",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["login"],
    defects=["unknown-names-are-never-locked", "lock-names-the-user"],
    identities=["admin"],
    standards=[*STANDARDS, "CWE-204"],
)
def check_unknown_users_lock_alike(ctx: Context) -> None:
    """Fail with a user's name and with nobody's, and compare the answers one by one.

    Why: If only real users are locked, five wrong guesses tell whether somebody has an account.
    How: As many failures as the threshold and one more, with a name of a user and with a name of
    the same form that nobody has.
    Fails when: the two rows of answers differ in anything but ids and instants.
    Remedy: Count by the name that was sent, before looking the user up.
    """
    threshold = threshold_of(ctx)
    known, _ = guests.create(ctx)
    nobody = guests.Guest(known.session, ctx, username=f"t{uuid4().hex[:24]}", password="x" * 30)
    told: list[list[object]] = []
    since_s = ctx.clock()
    answers: list[Reply] = []
    for guest in (known, nobody):
        replies = [fail(guest) for _ in range(threshold + 1)]
        names = ("type", "title", "status", "code", "retryable")
        told.append([tuple(reply.body.get(name) for name in names) for reply in replies])
        answers += replies[-2:]
        words = [word for reply in replies for word in _words(reply) if guest.username in word]
        ctx.equal(words, [], "A refusal repeats the name", *replies[-1:])
    if told[1] != told[0] and lockouts.may_be_over(ctx, since_s, answers):
        ctx.undecided("a lock may have been over before it could be looked at")
    ctx.equal(told[1], told[0], "An unknown name is answered otherwise", *answers)


def _words(reply: Reply) -> list[str]:
    return [str(reply.body.get(name, "")) for name in ("title", "detail")]


@check(
    "functional/lockout/admin-lifts-a-lock",
    title="An admin lifts a lock at once",
    failure_title="An admin cannot lift a lock",
    severity=Severity.LOW,
    requirements=["SYS-SEC"],
    operations=["login", "updateUser"],
    defects=["locks-cannot-be-lifted"],
    identities=["admin"],
)
def check_admin_lifts_a_lock(ctx: Context) -> None:
    """Lock a user and set the status active as admin.

    Why: Somebody can lock a customer out by guessing badly; the desk must be able to undo it.
    How: Lock a user, set `status` to active as admin, and log in with the right password.
    Fails when: the change or the login is refused.
    Remedy: Forget the name's failures where an admin sets the status active.
    """
    threshold = threshold_of(ctx)
    guest, _ = guests.create(ctx)
    lock(guest, threshold)
    guests.update(ctx, guest, {"status": "active"}, expect=200)
    guests.try_log_in(guest, expect=200)


@check(
    "functional/lockout/guesses-at-once",
    title="Guesses that arrive at once are counted like guesses one by one",
    failure_title="Guesses that arrive at once get past the threshold",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["login"],
    defects=["failures-are-counted-late"],
    identities=["admin"],
    standards=[*STANDARDS, "CWE-367"],
)
def check_guesses_at_once(ctx: Context) -> None:
    """Send more wrong passwords at once than the threshold allows.

    Why: A lock that is looked at before the password and counted after it lets a burst through.
    How: Twice the threshold of wrong passwords, eight at least, each over a connection of its own,
    released together.
    Fails when: more are answered as wrong passwords than the threshold allows.
    Remedy: Decide on the lock again in the step that counts the failure.
    """
    threshold = threshold_of(ctx)
    guest, _ = guests.create(ctx)
    began_s = ctx.clock()
    replies = ctx.together([lambda: fail(guest)] * max(2 * threshold, 8))
    tried = [reply for reply in replies if reply.status == 401]
    if len(tried) > threshold and lockouts.may_be_over(ctx, began_s, replies):
        ctx.undecided("the burst may have lasted longer than the first lock")
    ctx.expect(
        len(tried) <= threshold,
        "More wrong passwords were tried than the lock-out allows",
        expected=f"at most {threshold}",
        observed=len(tried),
        on=tried[:8],
    )
