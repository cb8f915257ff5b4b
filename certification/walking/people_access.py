"""Steps of a walk among people: accounts are opened and lent, and everybody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from certification.walking.people import CUSTOMER, OPEN, SHUT, Given, Legal, Login, Pair
from certification.walking.people_machine import (
    LOGIN,
    NUMBER,
    PERSON,
    PERSONS_MAX,
    ComingMachine,
)
from certification.walking.steps import step

if TYPE_CHECKING:
    from certification.model import Json
    from certification.target.reply import Reply

ACCOUNTS_MAX = 3
REFUSED_GRANT = frozenset({"not_found", "forbidden", "role_escalation"})


class PeopleMachine(ComingMachine):
    """All steps of a walk among people."""

    @property
    def gifts(self) -> list[tuple[Login, str, int]]:
        """What can be given: as whom, which account, to whom; nothing is given twice."""
        persons = self.people.persons
        held = {(grant.account, grant.principal) for grant in self.people.grants}
        customers = {n for n, who in enumerate(persons) if who.active and who.roles == CUSTOMER}
        return [
            (login, account, number)
            for login in self.alive
            if self.walk.with_grants and login.person in customers
            for account, owner in self.people.owners.items()
            if owner == login.person
            for number in sorted(customers - {owner})
            if (account, number) not in held
        ]

    # -- accounts and grants -----------------------------------------------------------------------

    @step(when=lambda self: self.alive and len(self.people.owners) < ACCOUNTS_MAX, who=LOGIN)
    def open_account(self, who: int) -> None:
        """Open an account of one's own."""
        login = self.acting(who)
        with self.doing(f"person {login.person + 1} opens an account"):
            self.open(login)

    @step(weight=8, when=lambda self: self.gifts, which=NUMBER)
    def give(self, which: int) -> None:
        """Give another customer the reading of an account."""
        login, account, number = self.gifts[which % len(self.gifts)]
        with self.doing(f"person {login.person + 1} lets person {number + 1} read {account}"):
            body = self._grant(account, number)
            reply = self.ask(login.person, login.newest, "createGrant", OPEN, body=body)
            if reply is not None:
                self.people.grants.append(
                    Given(
                        id=reply.body["id"],
                        giver=login.person,
                        principal=number,
                        account=account,
                    )
                )

    def _grant(self, account: str, principal: int) -> Json:
        to = self.people.persons[principal].id
        return {"principal_id": to, "scope": "accounts:read", "object_id": account}

    @step(when=lambda self: self.walk.with_grants and self.alive, who=LOGIN, which=NUMBER)
    def overreach(self, who: int, which: int) -> None:
        """Give away an account that is not one's own."""
        login, account = self.acting(who), self.account(which)
        owner = self.people.owners[account]
        others = {0, 1} - {login.person}
        if owner == login.person:
            return
        legal = Legal(success=False, refusals=REFUSED_GRANT)
        with self.doing(f"person {login.person + 1} gives {account} of person {owner + 1} away"):
            body = self._grant(account, min(others))
            self.ask(login.person, login.newest, "createGrant", legal, body=body)

    @step(weight=8, when=lambda self: self.people.grants, which=NUMBER, by=st.integers(0, 3))
    def take_back(self, which: int, by: int) -> None:
        """Take a grant back: as an admin or as its giver; others may not."""
        grant = self.people.grants[which % len(self.people.grants)]
        number = grant.giver if by == PERSONS_MAX else self.person(by)
        login = next((each for each in self.alive if each.person == number), None)
        name = f"person {number + 1}" if login else "an admin"
        legal = self.people.takes_back(number if login else None, grant)
        with self.doing(f"{name} takes back what person {grant.principal + 1} may read"):
            if login:
                self.ask(number, login.newest, "deleteGrant", legal, path={"id": grant.id})
            else:
                reply = self.walk.send(self.tale, "admin", "deleteGrant", path={"id": grant.id})
                self.judge(reply, legal, "deleteGrant")
            if legal.success:
                self.people.grants.remove(grant)

    # -- what everybody sees -----------------------------------------------------------------------

    @step(weight=3, when=lambda self: self.people.logins, who=LOGIN, of=PERSON)
    def read_user(self, who: int, of: int) -> None:
        """Read a user, oneself or another."""
        login = self.people.logins[-1 - who % len(self.people.logins)]
        number = self.person(of)
        with self.doing(f"person {login.person + 1} reads person {number + 1}"):
            self._read_user(login.person, login.newest, number)

    def _read_user(self, person: int, pair: Pair, number: int) -> None:
        legal = self.people.reads_user(person, number)
        path = {"id": self.people.persons[number].id}
        reply = self.ask(person, pair, "getUser", legal, path=path)
        if reply is not None:
            self.compare_user(reply, number)

    @step(weight=4, when=lambda self: self.people.logins, who=LOGIN, old=NUMBER, which=NUMBER)
    def read_account(self, who: int, old: int, which: int) -> None:
        """Read an account with any token, living or not."""
        login = self.people.logins[-1 - who % len(self.people.logins)]
        pair = login.pairs[-1 - old % len(login.pairs)]
        account = self.account(which)
        with self.doing(f"person {login.person + 1} reads {account}"):
            self._read_account(login.person, pair, account)

    def _read_account(self, person: int, pair: Pair, account: str) -> None:
        legal = self.people.reads_account(person, account)
        reply = self.ask(person, pair, "getAccount", legal, path={"id": account})
        if reply is not None:
            owner = self.people.persons[self.people.owners[account]].id
            message = "After a legal sequence, an account has another owner"
            self.walk.same(self.tale, reply, "/id", account, message)
            self.walk.same(self.tale, reply, "/owner_id", owner, message)

    @step(weight=2, when=lambda self: self.alive, who=LOGIN, of=PERSON)
    def list_accounts(self, who: int, of: int) -> None:
        """List the accounts of an owner, as the owner, staff, a grantee or a stranger."""
        login, owner = self.acting(who), self.person(of)
        query = {"owner_id": self.people.persons[owner].id}
        with self.doing(f"person {login.person + 1} lists the accounts of person {owner + 1}"):
            must, may = self.people.lists_accounts(login.person, owner)
            legal = OPEN if must else Legal(refusals=SHUT.refusals)
            reply = self.ask(login.person, login.newest, "listAccounts", legal, query=query)
            if reply is not None:
                self._compare_list(reply, must, may)

    def _compare_list(self, reply: Reply, must: set[str], may: set[str]) -> None:
        shown = {row["id"] for row in reply.body["data"]}
        whole = reply.body["next_cursor"] is None
        self.walk.ctx.expect(
            shown <= may and (not whole or must <= shown),
            "After a legal sequence, a list of accounts shows another choice than it must",
            expected=f"all of {sorted(must)}, none but {sorted(may)}",
            observed=str(sorted(shown)),
            on=[reply],
        )

    def teardown(self) -> None:
        """Have everybody read everything, with every token that is left or must be dead."""
        if self.broken or not self.people.owners:
            return
        last: dict[int, Login] = {}
        for login in self.people.logins:
            last[login.person] = login
        with self.doing("everybody reads everything"):
            for login in self.alive:
                if last[login.person] is login:
                    self._read_user(login.person, login.newest, login.person)
                    for account in self.people.owners:
                        self._read_account(login.person, login.newest, account)
            for login in self.people.logins:
                if login.ended:
                    self._read_account(login.person, login.newest, self.account(0))
            for login in self.people.logins:
                if login.ended:
                    self.exchange(login, login.newest)
        self.walk.examples += 1
