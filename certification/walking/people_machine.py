"""Steps of a walk among people: they arrive, log in and out, and an admin changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import initialize

from certification import guests
from certification.walking.machine import WalkMachine
from certification.walking.people import (
    CUSTOMER,
    OPEN,
    STAFF,
    Legal,
    Login,
    Pair,
    People,
    Person,
    Token,
)
from certification.walking.steps import step
from certification.walking.tale import at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from certification.model import Json
    from certification.target.reply import Reply
    from certification.walking.people_walk import PeopleWalk

PERSON = st.integers(0, 2)
LOGIN = st.integers(0, 5)
"""A login of the example, 0 for the newest; counts round where there are fewer."""
NUMBER = st.integers(0, 7)
PERSONS_MAX = 3
LOGINS_MAX = 6
"""Of one example: each costs the deployment a hash."""
CHANGES_MAX = 3
"""Of one example: each ends the sessions of a user, and who has none shows little."""


class ComingMachine(WalkMachine):
    """Draws only from what its own example made: users, logins, accounts and grants."""

    walk: ClassVar[PeopleWalk]

    def __init__(self) -> None:
        """Begin an example in which nobody is there."""
        super().__init__()
        self.people = People()
        self.logins = 0
        self.changes = 0
        self.failed: dict[int, int] = {}
        self.expires_s: dict[str, float] = {}

    # -- what steps are made of --------------------------------------------------------------------

    def send(self, person: int, pair: Pair, operation: str, **request: Any) -> Reply:
        """Send an operation with a token of the example."""
        ctx = self.walk.ctx
        who = self.people.persons[person]
        actor = guests.Guest(
            ctx.anonymous.session, ctx, id=who.id, username=who.username, token=pair.access
        )
        role = f"person_{person + 1}"
        more = {"actor": actor, "token": pair.access}
        return self.walk.send(self.tale, role, operation, **more, **request)

    def judge(self, reply: Reply, legal: Legal, what: str) -> bool:
        """Fail unless the answer is legal; tell whether it is a success."""
        return self.walk.legal(self.tale, reply, legal, what)

    def ask(
        self, person: int, pair: Pair, operation: str, legal: Legal, **request: Any
    ) -> Reply | None:
        """Send with a token of any state; return the answer if it is, rightly, a success."""
        reply = self.send(person, pair, operation, **request)
        if reply.problem_code == "token_expired" and self._may_have_expired(pair):
            self.tale.sent[-1].expected = (401,)
            return None
        right = self.people.with_token(pair, legal)
        return reply if self.judge(reply, right, operation) else None

    def _may_have_expired(self, pair: Pair) -> bool:
        return self.walk.ctx.clock() >= self.expires_s[pair.access]

    def admin(self, operation: str, **request: Any) -> Reply:
        """Send an operation as admin; it must succeed."""
        reply = self.walk.send(self.tale, "admin", operation, **request)
        self.judge(reply, OPEN, operation)
        return reply

    def anonymous(self, operation: str, body: Json) -> Reply:
        """Send an operation without a token."""
        return self.walk.send(self.tale, "anonymous", operation, body=body)

    def pair_of(self, reply: Reply, began_s: float) -> Pair:
        """Take the tokens of an answer."""
        if "access_token" not in reply.body:
            self.walk.ctx.not_exercised("a new user must enrol a second factor first")
        pair = Pair(access=reply.body["access_token"], refresh=reply.body["refresh_token"])
        self.expires_s[pair.access] = began_s + reply.body["expires_in"] - 1
        return pair

    @property
    def alive(self) -> list[Login]:
        """The logins that can act for certain, the newest first."""
        found = [login for login in self.people.logins if login.newest.state is Token.GOOD]
        return found[::-1]

    @property
    def idle(self) -> list[int]:
        """Those who are disabled."""
        return [number for number, who in enumerate(self.people.persons) if not who.active]

    @property
    def outside(self) -> list[int]:
        """Those who may log in and have no session."""
        inside = {login.person for login in self.alive}
        persons = enumerate(self.people.persons)
        return [number for number, who in persons if who.active and number not in inside]

    @property
    def replaced(self) -> list[tuple[Login, Pair]]:
        """The pairs whose refresh token must not work again."""
        return [
            (login, pair)
            for login in self.people.logins
            for pair in login.pairs
            if pair.used or login.ended
        ]

    def acting(self, number: int) -> Login:
        """Return a login that can act."""
        return self.alive[number % len(self.alive)]

    def account(self, number: int) -> str:
        """Return an account by its number."""
        return list(self.people.owners)[number % len(self.people.owners)]

    def person(self, number: int) -> int:
        """Return the number of a person, counting round."""
        return number % len(self.people.persons)

    # -- people come -------------------------------------------------------------------------------

    @initialize()
    def begin_with_two(self) -> None:
        """Let two users in; the first one opens an account."""
        with self.doing("two customers arrive, person 1 opens an account"):
            self._arrive()
            self._arrive()
            self.open(self.alive[-1])

    def _arrive(self) -> None:
        name, password = f"t{uuid4().hex[:24]}", guests.new_password(self.walk.ctx)
        number = len(self.people.persons) + 1
        made = 'python3 -c "import secrets; print(secrets.token_hex({}))"'
        self.tale.made[name] = (f"name_{number}", f"t$({made.format(12)})")
        more = "x" * max(0, len(password) - 36)
        self.tale.made[password] = (f"password_{number}", f"'Zx9!'$({made.format(16)}){more}")
        body: Json = {"username": name, "password": password, "roles": list(CUSTOMER)}
        reply = self.admin("createUser", body=body)
        self.people.persons.append(Person(id=reply.body["id"], username=name, password=password))
        self._enter(number - 1)

    def _enter(self, number: int) -> None:
        who = self.people.persons[number]
        began_s = self.walk.ctx.clock()
        self.walk.logins += 1
        self.logins += 1
        reply = self.anonymous("login", {"username": who.username, "password": who.password})
        if self.judge(reply, self.people.enters(number), "login"):
            self.people.logged_in(number, self.pair_of(reply, began_s))

    @step(when=lambda self: len(self.people.persons) < PERSONS_MAX)
    def arrive(self) -> None:
        """Let one more user in."""
        with self.doing(f"person {len(self.people.persons) + 1} arrives"):
            self._arrive()

    def open(self, login: Login) -> None:
        """Open an account; staff says for whom."""
        ctx = self.walk.ctx
        fields = {"type": "generation", "currency": ctx.arrange.currency, "name": ctx.name("walk")}
        owner = {"owner_id": self.people.persons[login.person].id}
        body = {**fields, **(owner if self.people.persons[login.person].roles == STAFF else {})}
        reply = self.ask(login.person, login.newest, "createAccount", OPEN, body=body)
        if reply is not None:
            ctx.created("account", reply.body["id"], "customer")
            self.people.owners[reply.body["id"]] = login.person

    # -- sessions ----------------------------------------------------------------------------------

    @step(when=lambda self: self.logins < LOGINS_MAX, who=PERSON)
    def log_in(self, who: int) -> None:
        """Log in with the right password, as a disabled user at most a few times."""
        number = self.person(who)
        if not self.people.persons[number].active:
            if self.failed.get(number, 0) >= self.walk.failed_logins_max:
                return
            self.failed[number] = self.failed.get(number, 0) + 1
        with self.doing(f"person {number + 1} logs in"):
            self._enter(number)

    @step(weight=12, when=lambda self: self.outside and self.logins < LOGINS_MAX, who=PERSON)
    def come_back(self, who: int) -> None:
        """Log in as somebody who has no session."""
        number = self.outside[who % len(self.outside)]
        with self.doing(f"person {number + 1} logs in"):
            self._enter(number)

    @step(weight=4, when=lambda self: self.alive, who=LOGIN)
    def refresh(self, who: int) -> None:
        """Exchange the newest refresh token of a login."""
        login = self.acting(who)
        with self.doing(f"person {login.person + 1} refreshes a session"):
            self.exchange(login, login.newest)

    @step(when=lambda self: self.replaced, which=NUMBER)
    def refresh_again(self, which: int) -> None:
        """Exchange a refresh token that was used or whose session has ended."""
        login, pair = self.replaced[-1 - which % len(self.replaced)]
        word = "used" if pair.used else "unused"
        of = "an ended" if login.ended else "a living"
        person = login.person + 1
        with self.doing(f"person {person} presents a {word} refresh token of {of} session"):
            self.exchange(login, pair)

    def exchange(self, login: Login, pair: Pair) -> None:
        """Exchange a refresh token, fresh or not."""
        began_s = self.walk.ctx.clock()
        legal = self.people.refreshes(login, pair)
        reply = self.anonymous("refreshSession", {"refresh_token": pair.refresh})
        if self.judge(reply, legal, "refreshSession"):
            self.people.refreshed(login, self.pair_of(reply, began_s))
        elif pair.used:
            self.people.reused(login)

    @step(when=lambda self: len(self.alive) > 1, who=LOGIN)
    def log_out(self, who: int) -> None:
        """End a session."""
        login = self.acting(who)
        with self.doing(f"person {login.person + 1} logs out"):
            if self.ask(login.person, login.newest, "logout", OPEN) is not None:
                self.people.logged_out(login)

    # -- what an admin does ------------------------------------------------------------------------

    @step(when=lambda self: self.changes < CHANGES_MAX, who=PERSON)
    def disable(self, who: int) -> None:
        """Disable a user."""
        number = self.person(who)
        person = self.people.persons[number]
        if person.active:
            with self.doing(f"an admin disables person {number + 1}"):
                self._change(number, {"status": "disabled"}, active=False, roles=person.roles)

    @step(weight=4, when=lambda self: self.idle, who=PERSON)
    def enable(self, who: int) -> None:
        """Enable a disabled user."""
        number = self.idle[who % len(self.idle)]
        roles = self.people.persons[number].roles
        with self.doing(f"an admin enables person {number + 1}"):
            self._change(number, {"status": "active"}, active=True, roles=roles)

    @step(when=lambda self: self.changes < CHANGES_MAX, who=PERSON)
    def change_roles(self, who: int) -> None:
        """Make a customer an operator, or an operator a customer again."""
        number = self.person(who)
        person = self.people.persons[number]
        roles = CUSTOMER if person.roles == STAFF else STAFF
        with self.doing(f"an admin makes person {number + 1} {' and '.join(roles)}"):
            self._change(number, {"roles": list(roles)}, active=person.active, roles=roles)

    def _change(self, number: int, body: Json, *, active: bool, roles: tuple[str, ...]) -> None:
        self.changes += 1
        path = {"id": self.people.persons[number].id}
        read = self.admin("getUser", path=path)
        self.compare_user(read, number)
        self.admin("updateUser", path=path, body=body, if_match_of=read)
        self.people.changed(number, active=active, roles=roles)

    def compare_user(self, reply: Reply, number: int) -> None:
        """Fail unless a user reads as the book has it."""
        person = self.people.persons[number]
        shown = sorted(at(reply.body, "/roles"))
        facts: Mapping[str, Any] = {
            "/id": person.id,
            "/username": person.username,
            "/status": "active" if person.active else "disabled",
        }
        if shown != sorted(person.roles):
            facts = {"/roles": list(person.roles)}
        for pointer, value in facts.items():
            message = "After a legal sequence, a user does not read as an admin left it"
            self.walk.same(self.tale, reply, pointer, value, message)
