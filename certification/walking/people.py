"""The book of a walk among people: who is there, whose sessions live, who was given what (S1, I4).

Written from the contract's text alone. Where that text leaves a choice, more than one answer is
legal; nothing is predicted that a deployment may decide by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

CUSTOMER = ("customer",)
STAFF = ("customer", "operator")
CLOSED = frozenset({"not_found", "forbidden"})
"""How a door is shut; which of both is right, other checks ask."""
NO_TOKEN = frozenset({"token_invalid", "token_expired"})
NO_REFRESH = frozenset({"token_invalid", "token_expired", "token_reused"})


class Token(Enum):
    """What is known of an access token."""

    GOOD = "good"
    UNSAID = "unsaid"
    """A newer one took its place: the contract does not say whether it still works."""
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Legal:
    """The answers that are right: success, refusals with these codes, or either."""

    success: bool = True
    refusals: frozenset[str] = frozenset()


OPEN = Legal()
SHUT = Legal(success=False, refusals=CLOSED)


@dataclass(slots=True, kw_only=True, eq=False)
class Pair:
    """An access token and the refresh token that came with it."""

    access: str
    refresh: str
    state: Token = Token.GOOD
    used: bool = False
    """Whether the refresh token was exchanged."""


@dataclass(slots=True, kw_only=True, eq=False)
class Login:
    """What came of one login: a family of pairs, the newest last."""

    person: int
    pairs: list[Pair]
    ended: bool = False

    @property
    def newest(self) -> Pair:
        """The pair that nothing has taken the place of."""
        return self.pairs[-1]

    def end(self) -> None:
        """End every session of this login."""
        self.ended = True
        for pair in self.pairs:
            pair.state = Token.DEAD


@dataclass(slots=True, kw_only=True)
class Person:
    """A user as an admin made it."""

    id: str
    username: str
    password: str
    roles: tuple[str, ...] = CUSTOMER
    active: bool = True


@dataclass(slots=True, kw_only=True)
class Given:
    """The grant to read one account."""

    id: str
    giver: int
    principal: int
    account: str
    sure: bool = True
    """Whether it must open: a disabled or changed party may take a grant along, or not."""


@dataclass(slots=True, kw_only=True)
class People:
    """Everything that the requests of one example amount to."""

    persons: list[Person] = field(default_factory=list)
    logins: list[Login] = field(default_factory=list)
    owners: dict[str, int] = field(default_factory=dict)
    """The owner of each account."""
    grants: list[Given] = field(default_factory=list)
    """Those that were not taken back."""

    # -- what must be answered ---------------------------------------------------------------------

    def with_token(self, pair: Pair, asked: Legal) -> Legal:
        """Return the legal answers to a request with this access token."""
        if pair.state is Token.DEAD:
            return Legal(success=False, refusals=NO_TOKEN)
        if pair.state is Token.UNSAID:
            return Legal(success=asked.success, refusals=asked.refusals | NO_TOKEN)
        return asked

    def enters(self, person: int) -> Legal:
        """Judge a login with the right password: a disabled user is answered like a wrong one."""
        if self.persons[person].active:
            return OPEN
        return Legal(success=False, refusals=frozenset({"bad_credentials"}))

    def refreshes(self, login: Login, pair: Pair) -> Legal:
        """Judge the exchange of a refresh token (S1)."""
        if login.ended:
            return Legal(success=False, refusals=NO_REFRESH)
        if pair.used:
            return Legal(success=False, refusals=frozenset({"token_reused"}))
        return OPEN

    def reads_user(self, person: int, other: int) -> Legal:
        """Judge reading a user: oneself; here nobody is admin or auditor."""
        return OPEN if person == other else SHUT

    def reads_account(self, person: int, account: str) -> Legal:
        """Judge reading an account: its owner, staff, and whoever it was given to (I4)."""
        if self.owners[account] == person or self.persons[person].roles == STAFF:
            return OPEN
        held = [g for g in self.grants if (g.principal, g.account) == (person, account)]
        if any(grant.sure for grant in held):
            return OPEN
        return Legal(refusals=CLOSED) if held else SHUT

    def lists_accounts(self, person: int, owner: int) -> tuple[set[str], set[str]]:
        """Return which accounts of an owner a list must show, and which it may show."""
        own = {account for account, by in self.owners.items() if by == owner}
        if person == owner or self.persons[person].roles == STAFF:
            return own, own
        return set(), {name for name in own if self.reads_account(person, name).success}

    def takes_back(self, person: int | None, grant: Given) -> Legal:
        """Judge taking a grant back: whoever gave it, or an admin (no person of the example)."""
        if person is not None and person != grant.giver:
            return SHUT
        return OPEN if grant.sure else Legal(refusals=CLOSED)

    # -- what comes of it --------------------------------------------------------------------------

    def logged_in(self, person: int, pair: Pair) -> None:
        """Take a new login into the book."""
        self.logins.append(Login(person=person, pairs=[pair]))

    def refreshed(self, login: Login, pair: Pair) -> None:
        """Take the successor of the newest pair into the book."""
        login.newest.used = True
        login.newest.state = Token.UNSAID
        login.pairs.append(pair)

    def reused(self, login: Login) -> None:
        """End the login whose used refresh token came back.

        Whether a deployment then ends the other logins of the user as well is its choice: they are
        forgotten.
        """
        if not login.ended:
            login.end()
            self.logins = [
                each for each in self.logins if each.ended or each.person != login.person
            ]

    def logged_out(self, login: Login) -> None:
        """End the newest access token and the refresh tokens of a login."""
        login.ended = True
        login.newest.state = Token.DEAD

    def changed(self, person: int, *, active: bool, roles: tuple[str, ...]) -> None:
        """Give a user another status or other roles; what ended stays ended."""
        who = self.persons[person]
        if roles != who.roles or not active:
            for login in self.logins:
                if login.person == person:
                    login.end()
        for grant in self.grants:
            if person in (grant.giver, grant.principal):
                grant.sure = False
        who.active, who.roles = active, roles
