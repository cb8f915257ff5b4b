"""What the walk among people expects: each answer worked out by hand from the contract's text."""

from __future__ import annotations

import pytest

from certification.walking import people
from certification.walking.people import (
    CUSTOMER,
    STAFF,
    Given,
    Legal,
    Login,
    Pair,
    People,
    Person,
    Token,
)
from tests.oracle.mutants import is_killed

CLOSED = (False, frozenset({"not_found", "forbidden"}))
EITHER = (True, frozenset({"not_found", "forbidden"}))
SUCCESS = (True, frozenset[str]())
NO_TOKEN = frozenset({"token_invalid", "token_expired"})
OWNER, FRIEND, STRANGER = 0, 1, 2


def told(legal: Legal) -> tuple[bool, frozenset[str]]:
    return legal.success, legal.refusals


def refused(*codes: str) -> tuple[bool, frozenset[str]]:
    return False, frozenset(codes)


def three() -> People:
    """An owner with the account `a`, a friend and a stranger, each logged in once."""
    book = People()
    for number in range(3):
        book.persons.append(Person(id=f"u{number}", username=f"n{number}", password="secret"))
        book.logged_in(number, Pair(access=f"a{number}", refresh=f"r{number}"))
    book.owners["a"] = OWNER
    return book


def lent() -> tuple[People, Given]:
    book = three()
    grant = Given(id="g", giver=OWNER, principal=FRIEND, account="a")
    book.grants.append(grant)
    return book, grant


def renewed(book: People, number: int) -> Login:
    login = book.logins[number]
    book.refreshed(login, Pair(access=f"a{number}+", refresh=f"r{number}+"))
    return login


def test_an_account_is_its_owners_alone() -> None:
    book = three()
    assert told(book.reads_account(OWNER, "a")) == SUCCESS
    assert told(book.reads_account(STRANGER, "a")) == CLOSED
    assert book.lists_accounts(OWNER, OWNER) == ({"a"}, {"a"})
    assert book.lists_accounts(STRANGER, OWNER) == (set(), set())
    assert book.lists_accounts(STRANGER, STRANGER) == (set(), set())


def test_a_user_is_read_by_itself_alone() -> None:
    book = three()
    assert told(book.reads_user(OWNER, OWNER)) == SUCCESS
    assert told(book.reads_user(OWNER, FRIEND)) == CLOSED


def test_a_grant_opens_one_account_to_one_until_it_is_taken_back() -> None:
    book, grant = lent()
    book.owners["b"] = OWNER
    assert told(book.reads_account(FRIEND, "a")) == SUCCESS
    assert told(book.reads_account(FRIEND, "b")) == CLOSED
    assert told(book.reads_account(STRANGER, "a")) == CLOSED
    assert book.lists_accounts(FRIEND, OWNER) == (set(), {"a"})
    book.grants.remove(grant)
    assert told(book.reads_account(FRIEND, "a")) == CLOSED


def test_a_refresh_brings_no_grant_back() -> None:
    book, grant = lent()
    book.grants.remove(grant)
    renewed(book, FRIEND)
    assert told(book.reads_account(FRIEND, "a")) == CLOSED


def test_a_grant_is_taken_back_by_its_giver_or_an_admin() -> None:
    book, grant = lent()
    assert told(book.takes_back(OWNER, grant)) == SUCCESS
    assert told(book.takes_back(None, grant)) == SUCCESS
    assert told(book.takes_back(FRIEND, grant)) == CLOSED
    assert told(book.takes_back(STRANGER, grant)) == CLOSED


@pytest.mark.parametrize("party", [OWNER, FRIEND])
def test_whether_a_grant_outlives_a_change_of_a_party_is_left_open(party: int) -> None:
    book, grant = lent()
    book.changed(party, active=False, roles=CUSTOMER)
    book.changed(party, active=True, roles=CUSTOMER)
    assert told(book.reads_account(FRIEND, "a")) == EITHER
    assert told(book.takes_back(None, grant)) == EITHER


def test_a_change_of_a_third_person_leaves_a_grant_alone() -> None:
    book, _ = lent()
    book.changed(STRANGER, active=False, roles=CUSTOMER)
    assert told(book.reads_account(FRIEND, "a")) == SUCCESS


def test_staff_reads_and_lists_what_is_not_its_own() -> None:
    book = three()
    book.changed(STRANGER, active=True, roles=STAFF)
    assert told(book.reads_account(STRANGER, "a")) == SUCCESS
    assert book.lists_accounts(STRANGER, OWNER) == ({"a"}, {"a"})
    assert told(book.reads_user(STRANGER, OWNER)) == CLOSED
    book.changed(STRANGER, active=True, roles=CUSTOMER)
    assert told(book.reads_account(STRANGER, "a")) == CLOSED


def test_a_refresh_token_works_once() -> None:
    book = three()
    login = renewed(book, OWNER)
    assert told(book.refreshes(login, login.newest)) == SUCCESS
    assert told(book.refreshes(login, login.pairs[0])) == refused("token_reused")


def test_the_older_access_token_may_still_work() -> None:
    book = three()
    old, new = renewed(book, OWNER).pairs
    assert told(book.with_token(new, people.OPEN)) == SUCCESS
    assert told(book.with_token(old, people.OPEN)) == (True, NO_TOKEN)
    assert told(book.with_token(old, people.SHUT)) == (False, CLOSED[1] | NO_TOKEN)


def test_a_second_use_ends_all_of_its_login_and_forgets_the_users_others() -> None:
    book = three()
    book.logged_in(OWNER, Pair(access="b", refresh="b"))
    login = renewed(book, OWNER)
    book.reused(login)
    for pair in login.pairs:
        assert told(book.with_token(pair, people.OPEN)) == refused("token_invalid", "token_expired")
        ended = refused("token_invalid", "token_expired", "token_reused")
        assert told(book.refreshes(login, pair)) == ended
    assert [each.person for each in book.logins] == [OWNER, FRIEND, STRANGER]
    assert book.logins[1].newest.state is Token.GOOD


def test_a_token_of_an_ended_session_ends_no_other() -> None:
    book = three()
    book.logged_in(OWNER, Pair(access="b", refresh="b"))
    login = renewed(book, OWNER)
    book.logged_out(login)
    book.reused(login)
    assert len(book.logins) == 4
    assert login.pairs[0].state is Token.UNSAID


def test_a_logout_ends_its_access_token_and_the_refresh_tokens_of_its_login() -> None:
    book = three()
    book.logged_in(OWNER, Pair(access="b", refresh="b"))
    login = renewed(book, OWNER)
    book.logged_out(login)
    assert login.newest.state is Token.DEAD
    assert not book.refreshes(login, login.newest).success
    assert book.logins[3].newest.state is Token.GOOD
    assert told(book.refreshes(book.logins[3], book.logins[3].newest)) == SUCCESS


@pytest.mark.parametrize(
    ("active", "roles"), [(False, CUSTOMER), (True, STAFF)], ids=["disabled", "promoted"]
)
def test_what_a_change_ended_stays_ended(active: bool, roles: tuple[str, ...]) -> None:
    book = three()
    book.changed(OWNER, active=active, roles=roles)
    book.changed(OWNER, active=True, roles=roles)
    dead = book.logins[OWNER]
    assert (dead.ended, dead.newest.state) == (True, Token.DEAD)
    assert book.logins[FRIEND].newest.state is Token.GOOD
    assert told(book.enters(OWNER)) == SUCCESS


def test_who_is_disabled_is_answered_like_a_wrong_password() -> None:
    book = three()
    book.changed(OWNER, active=False, roles=CUSTOMER)
    assert told(book.enters(OWNER)) == refused("bad_credentials")
    assert told(book.enters(FRIEND)) == SUCCESS


def test_who_becomes_active_keeps_the_sessions_of_since() -> None:
    book = three()
    book.changed(OWNER, active=True, roles=CUSTOMER)
    assert book.logins[OWNER].newest.state is Token.GOOD


MUTANTS = [
    ("if pair.state is Token.DEAD:", "if False:"),
    ("refusals=asked.refusals | NO_TOKEN", "refusals=asked.refusals"),
    ("if self.persons[person].active:", "if True:"),
    ("if login.ended:\n            return", "if False:\n            return"),
    ("        if pair.used:\n            return", "        if False:\n            return"),
    ("return OPEN if person == other else SHUT", "return OPEN"),
    ("self.owners[account] == person or self", "self"),
    (" or self.persons[person].roles == STAFF:\n            return O", ":\n            return O"),
    ("(g.principal, g.account) == (person, account)", "g.account == account"),
    ("(g.principal, g.account) == (person, account)", "g.principal == person"),
    ("if any(grant.sure for grant in held)", "if held"),
    ("return Legal(refusals=CLOSED) if held else SHUT", "return SHUT"),
    ("if by == owner}", "}"),
    ("if person == owner or self", "if self"),
    ("return set(), {name", "return own, {name"),
    ("if person is not None and person != grant.giver", "if False"),
    ("person is not None and person != grant.giver", "person != grant.giver"),
    ("return OPEN if grant.sure else Legal", "return OPEN if True else Legal"),
    ("login.newest.used = True", "login.newest.used = False"),
    ("login.newest.state = Token.UNSAID", "login.newest.state = Token.GOOD"),
    ("        if not login.ended:\n", "        if True:\n"),
    ("            login.end()\n            self.logins", "            self.logins"),
    ("if each.ended or each.person != login.person", "if True"),
    ("if each.ended or each.person != login.person", "if each.person != login.person"),
    ("login.newest.state = Token.DEAD", "pass"),
    ("        login.ended = True\n", "        pass\n"),
    ("if roles != who.roles or not active", "if not active"),
    ("if roles != who.roles or not active", "if roles != who.roles"),
    ("if roles != who.roles or not active", "if True"),
    ("if login.person == person:", "if True:"),
    ("if person in (grant.giver, grant.principal)", "if person == grant.giver"),
    ("if person in (grant.giver, grant.principal)", "if person == grant.principal"),
    ("if person in (grant.giver, grant.principal)", "if True"),
    ("who.active, who.roles = active, roles", "who.active = active"),
]  # fmt: skip


SAME = "from __future__ import annotations\n"


@pytest.mark.parametrize("change", [(SAME, SAME), *MUTANTS], ids=range(len(MUTANTS) + 1))
def test_a_mutant_is_killed(monkeypatch: pytest.MonkeyPatch, change: tuple[str, str]) -> None:
    dies = change != (SAME, SAME)
    assert is_killed(monkeypatch, people, change, globals()) is dies
