"""Every declared type of event: what makes it happen from outside, and what it tells."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reference_impl import totp

from ._waiting import wait_for
from .conftest import PASSWORD, Client, init_database, log_in
from .growth.requests import family, into, merge, reinvest, this_quarter
from .market._reports import reconciled
from .market.conftest import Desk, a_world

Told = tuple[str, dict[str, Any]]
"""What an event is about, and what its data say at least."""
Maker = Callable[[Desk], Told]
MAKERS: dict[str, Maker] = {}
HERE = Path(__file__).parent
ELSEWHERE = {
    "test_events_api.py": (
        *("account.opened", "account.closed", "grant.given", "growth.forked"),
        *("growth.system_opened", "login.locked", "session.ended", "session.started"),
        *("transaction.held", "transaction.posted", "transaction.settled"),
        *("transaction.voided", "user.created"),
    ),
    "market/test_orders_api.py": ("order.placed", "order.open", "order.cancelled"),
    "alerting/test_alerts_api.py": (
        *("alert.acknowledged", "alert.escalated", "alert.firing", "alert.resolved"),
    ),
}
"""Other tests, and the types that they make and see in the feed."""


def makes(name: str) -> Callable[[Maker], Maker]:
    """Enter in the table what makes an event of a type."""

    def enter(maker: Maker) -> Maker:
        MAKERS[name] = maker
        return maker

    return enter


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with a_world() as world:
        server = world.start(init_database(tmp_path_factory.mktemp("types") / "book.db"))
        admin = log_in(server.port, "admin", "an admin's long password")
        made = Desk(world, server, admin, admin, admin)
        made.customer, made.operator = made.user("customer"), made.user("operator")
        yield made
        assert server.stop() == 0


# What happens --------------------------------------------------------------------------------


def changed(desk: Desk, account: dict[str, Any], **members: Any) -> int:
    """Change an account as its manager; return its version."""
    path = f"/v1/accounts/{account['id']}"
    tag = desk.admin.get(path).headers["etag"]
    answer = desk.admin.patch(path, members, tag=tag)
    assert answer.status == 200, answer.body
    return int(answer.headers["etag"].strip('"'))


def of_account(account: dict[str, Any], version: int, before: str) -> Told:
    name = account["id"]
    data = {"account_ids": [name], "version": version, "kind": before, "merged_into_id": None}
    return name, data


@makes("account.updated")
def rename(desk: Desk) -> Told:
    account = desk.customer.account()
    return of_account(account, changed(desk, account, name="Another"), "active")


@makes("account.suspended")
def suspend(desk: Desk) -> Told:
    account = desk.customer.account()
    return of_account(account, changed(desk, account, status="suspended"), "active")


@makes("account.reactivated")
def reactivate(desk: Desk) -> Told:
    account = desk.customer.account()
    changed(desk, account, status="suspended")
    return of_account(account, changed(desk, account, status="active"), "suspended")


@makes("account.merged")
def end_by_merging(desk: Desk) -> Told:
    source, target = desk.customer.funded(5), desk.customer.funded(5)
    assert merge(desk.customer, source, **into(target)).status == 201
    name = source["id"]
    return name, {"account_ids": [name], "kind": "active", "merged_into_id": target["id"]}


@makes("growth.merged")
def merge_children(desk: Desk) -> Told:
    _, one, two = family(desk.customer)
    answer = merge(desk.customer, one, **into(two))
    assert answer.status == 201, answer.body
    event, money = answer.body["event"], {"amount": 5_000_000, "currency": "USD"}
    return event["id"], {"kind": "explicit", "amount": money, "account_id": two["id"]}


@makes("growth.reinvested")
def reinvest_all(desk: Desk) -> Told:
    account = desk.customer.funded(2_000_000, type="revenue")
    period = this_quarter(desk.customer, account)
    answer = reinvest(desk.customer, account, period=period, all_available=True)
    assert answer.status == 201, answer.body
    event, money = answer.body["event"], {"amount": 2_000_000, "currency": "USD"}
    return event["id"], {"amount": money, "account_id": account["id"]}


@makes("growth.policy_changed")
def change_the_policy(desk: Desk) -> Told:
    path = "/v1/growth/policies/compounding"
    now = desk.admin.get(path)
    policy = {**now.body["policy"], "name": "by-the-table", "version": 1}
    tag = {"If-Match": now.headers["etag"]}
    answer = desk.admin.send("PUT", path, {"policy": policy}, headers=tag)
    assert answer.status == 200, answer.body
    ref = "by-the-table@1"
    version = int(answer.headers["etag"].strip('"'))
    return ref, {"kind": "compounding", "policy_ref": ref, "version": version, "account_ids": []}


@makes("transaction.expired")
def let_a_hold_end(desk: Desk) -> Told:
    account = desk.customer.funded(100)
    ends = {"from_account_id": account["id"]}
    at = datetime.now(UTC) + timedelta(seconds=1)
    held = desk.customer.book("withdrawal", 40, hold=True, expires_at=at.isoformat(), **ends)
    path = f"/v1/transactions/{held.body['id']}"
    wait_for(lambda: desk.customer.get(path).body["status"], lambda now: now == "expired", 8.0)
    assert desk.customer.book("withdrawal", 1, **ends).status == 201  # whoever comes next closes it
    money = {"amount": 40, "currency": "USD"}
    told = {"kind": "withdrawal", "amount": money, "account_ids": [account["id"]]}
    return held.body["id"], told


@makes("grant.ended")
def take_a_grant_back(desk: Desk) -> Told:
    friend, account = desk.user("customer"), desk.customer.account()
    body = {"principal_id": friend.user_id, "scope": "accounts:read", "object_id": account["id"]}
    given = desk.customer.post("/v1/grants", body)
    assert given.status == 201, given.body
    path = f"/v1/grants/{given.body['id']}"
    assert desk.customer.send("DELETE", path).status == 204
    data = {"user_id": friend.user_id, "scope": "accounts:read", "account_ids": [account["id"]]}
    return given.body["id"], data


def of_user(user: Client, **more: Any) -> Told:
    return user.user_id, {"user_id": user.user_id, "account_ids": [], **more}


@makes("user.updated")
def disable_a_user(desk: Desk) -> Told:
    user = desk.user("customer")
    path = f"/v1/users/{user.user_id}"
    assert desk.admin.patch(path, {"status": "disabled"}, tag='"1"').status == 200
    return of_user(user, kind="active", status="disabled", version=2)


@makes("user.password_changed")
def change_a_password(desk: Desk) -> Told:
    user = desk.user("customer")
    body = {"password": "another long password", "current_password": PASSWORD}
    assert user.patch(f"/v1/users/{user.user_id}", body, tag='"1"').status == 200
    return of_user(user)


@makes("user.erased")
def erase_a_user(desk: Desk) -> Told:
    user = desk.user("customer")
    path = f"/v1/users/{user.user_id}/personal-data"
    assert desk.admin.send("DELETE", path, headers={"If-Match": '"1"'}).status == 204
    return of_user(user, kind="active", version=2)


def enrolled(desk: Desk) -> tuple[Client, str]:
    """Return a user with a second factor, and its secret."""
    user = desk.user("customer")
    secret = str(user.post("/v1/auth/mfa/enroll", {"method": "totp"}).body["secret"])
    body = {"method": "totp", "code": totp.code(secret, step())}
    answer = user.post("/v1/auth/mfa/enroll", body)
    assert answer.body["confirmed"] is True, answer.body
    return user, secret


def step() -> int:
    return totp.step_of(int(time.time() * 1000))


@makes("mfa.enabled")
def enrol(desk: Desk) -> Told:
    return of_user(enrolled(desk)[0])


@makes("mfa.disabled")
def switch_the_factor_off(desk: Desk) -> Told:
    user, secret = enrolled(desk)
    body = {"code": totp.code(secret, step() + 1)}  # the code of now was used
    assert user.post("/v1/auth/mfa/disable", body).status == 204
    return of_user(user)


def of_order(account: dict[str, Any], order: str, status: str, filled: int) -> Told:
    data = {"kind": "buy", "status": status, "quantity": 10, "filled": filled}
    return order, {"account_ids": [account["id"]], **data}


@makes("order.filled")
def buy(desk: Desk) -> Told:
    account = desk.customer.funded(2_000_000)
    price = {"amount": 100_000, "currency": "USD"}
    order = desk.placed(account, instrument="SPY", limit_price=price)["id"]
    desk.ended(order, "filled")
    return of_order(account, order, "filled", 10)


@makes("order.partially_filled")
def buy_a_part(desk: Desk) -> Told:
    account = desk.customer.funded(10_000)
    order = desk.placed(account)["id"]
    desk.market.act("fill", client_order_id=order, quantity=4, price=90)
    desk.ended(order, "partially_filled")
    return of_order(account, order, "partially_filled", 4)


@makes("order.rejected")
def ask_for_what_is_refused(desk: Desk) -> Told:
    account = desk.customer.funded(10_000)
    order = desk.order(account, instrument="REFUSED-1").body["id"]
    desk.ended(order, "rejected")
    return of_order(account, order, "rejected", 0)


@makes("positions.reconciled")
def compare_positions(desk: Desk) -> Told:
    account = desk.customer.funded(10_000)
    desk.market.act("drift", account_ref=account["id"], instrument="NEW", quantity=2)
    made = desk.operator.post("/v1/reconciliations", {"account_id": account["id"]})
    found = reconciled(desk, made)
    data = {"kind": "different", "differences": 1, "account_ids": [account["id"]]}
    return found["id"], data


# What is told --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_an_event_tells_of_what_happened(desk: Desk, name: str) -> None:
    subject, expected = MAKERS[name](desk)
    # The client holds the answer against the contract, each event's schema included.
    feed = desk.operator.get(f"/v1/events?type=alluse.{name}&subject={subject}").body["data"]
    (event,) = feed
    told = {member: event["data"].get(member, "nothing") for member in expected}
    assert (event["type"], event["subject"], told) == (f"alluse.{name}", subject, expected)


def test_every_declared_type_is_made_by_a_test(desk: Desk) -> None:
    declared = desk.operator.get("/.well-known/alluse").body["events"]["types"]
    elsewhere = [name for names in ELSEWHERE.values() for name in names]
    assert sorted({*MAKERS, *elsewhere}) == sorted(name[len("alluse.") :] for name in declared)
    assert not {*MAKERS} & {*elsewhere}


@pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file, names in ELSEWHERE.items() for name in names]
)
def test_the_other_tests_name_what_they_are_said_to_show(file: str, name: str) -> None:
    text, last = (HERE / file).read_text("utf-8"), name.rpartition(".")[2]
    assert name in text or f'"{last}"' in text
