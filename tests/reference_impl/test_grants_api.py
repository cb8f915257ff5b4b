"""Grants: what one principal is given or denied beside its roles, on every path."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import database, principals

from ._desk import Desk, opened


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as found:
        yield found


def open_account(owner: Desk, funds: int = 0) -> str:
    body = {"type": "generation", "currency": "USD", "name": "Weekly income"}
    account = str(owner.post("/v1/accounts", body).json["id"])
    if funds:
        assert book(owner, "deposit", funds, to_account_id=account).status_code == 201
    return account


def book(who: Desk, kind: str, amount: int, **members: Any) -> Any:
    money = {"amount": amount, "currency": "USD"}
    return who.post("/v1/transactions", {"kind": kind, "amount": money, **members})


def grant(giver: Desk, principal: Desk, scope: str, **members: Any) -> Any:
    return giver.post("/v1/grants", {"principal_id": principal.user_id, "scope": scope, **members})


def ids(answer: Any) -> set[str]:
    assert answer.status_code == 200, answer.data
    return {row["id"] for row in answer.json["data"]}


def test_an_owner_lets_another_read_one_account_until_it_is_taken_back(desk: Desk) -> None:
    owner, friend = desk.new_user("customer"), desk.new_user("customer")
    shared, other = open_account(owner, 500), open_account(owner)
    for path in (f"/v1/accounts/{shared}", f"/v1/accounts/{shared}/entries"):
        assert friend.get(path).json["code"] == "not_found"
    made = grant(owner, friend, "accounts:read", object_id=shared)
    assert made.status_code == 201
    location = made.headers["Location"]
    assert friend.get(location).json == made.json
    seen = friend.get(f"/v1/accounts/{shared}").json
    assert seen["balances"]["available"] == 500
    assert "external_account_ref" not in seen
    assert ids(friend.get("/v1/accounts")) == {shared}
    assert friend.get(f"/v1/accounts/{other}").json["code"] == "not_found"
    assert friend.get(f"/v1/accounts/{shared}/entries").json["code"] == "not_found"
    assert book(friend, "withdrawal", 1, from_account_id=shared).json["code"] == "forbidden"
    change = friend.send("PATCH", f"/v1/accounts/{shared}", {"name": "m"}, **{"If-Match": '"1"'})
    assert change.json["code"] == "forbidden"
    assert friend.send("DELETE", location).json["code"] == "forbidden"
    assert owner.send("DELETE", location).status_code == 204
    assert friend.get(f"/v1/accounts/{shared}").json["code"] == "not_found"
    assert ids(friend.get("/v1/accounts")) == set()
    assert owner.get(location).json["code"] == "not_found"


def test_entries_and_payments_have_scopes_of_their_own(desk: Desk) -> None:
    owner, clerk = desk.new_user("customer"), desk.new_user("customer")
    account = open_account(owner, 500)
    paid = book(owner, "withdrawal", 10, from_account_id=account).json["id"]
    assert grant(owner, clerk, "transactions:read", object_id=account).status_code == 201
    assert len(clerk.get(f"/v1/accounts/{account}/entries").json["data"]) == 2
    assert clerk.get(f"/v1/transactions/{paid}").status_code == 200
    assert paid in ids(clerk.get("/v1/transactions"))
    assert paid in ids(clerk.get(f"/v1/transactions?account_id={account}"))
    assert clerk.get(f"/v1/accounts/{account}").json["code"] == "not_found"
    assert grant(owner, clerk, "transactions:write", object_id=account).status_code == 201
    assert book(clerk, "withdrawal", 20, from_account_id=account).status_code == 201
    held = book(clerk, "withdrawal", 20, from_account_id=account, hold=True).json["id"]
    assert clerk.post(f"/v1/transactions/{held}/void", {}).status_code == 200
    assert owner.get(f"/v1/accounts/{account}").json["balances"]["available"] == 470
    assert book(clerk, "fee", 1, from_account_id=account).json["code"] == "forbidden"


def test_a_grant_ends_by_itself(desk: Desk) -> None:
    owner, friend = desk.new_user("customer"), desk.new_user("customer")
    account = open_account(owner)
    ends = "2027-01-15T09:00:00Z"  # the desk's clock stands at 08:00 of that day
    made = grant(owner, friend, "accounts:read", object_id=account, expires_at=ends)
    assert made.status_code == 201, made.data
    assert friend.get(f"/v1/accounts/{account}").status_code == 200
    desk.hands.advance(3600)
    friend.log_in(friend.session["username"], "a long enough password")
    assert friend.get(f"/v1/accounts/{account}").json["code"] == "not_found"
    owner.log_in(owner.session["username"], "a long enough password")
    late = grant(owner, friend, "accounts:read", object_id=account, expires_at=ends)
    assert late.json["code"] == "invalid_expiry"


def test_an_operator_is_narrowed(desk: Desk) -> None:
    owner, operator = desk.new_user("customer"), desk.new_user("operator")
    plain, guarded, hidden = (open_account(owner, 100) for _ in range(3))
    paid = book(owner, "withdrawal", 10, from_account_id=hidden).json["id"]
    denied = {"effect": "deny"}
    assert grant(desk, operator, "transactions:write", object_id=guarded, **denied).json["id"]
    assert grant(desk, operator, "accounts:read", object_id=hidden, **denied).json["id"]
    assert book(operator, "fee", 1, from_account_id=plain).status_code == 201
    assert book(operator, "fee", 1, from_account_id=guarded).json["code"] == "forbidden"
    assert operator.get(f"/v1/accounts/{guarded}").status_code == 200
    for path in (f"accounts/{hidden}", f"accounts/{hidden}/entries", f"transactions/{paid}"):
        assert operator.get(f"/v1/{path}").json["code"] == "not_found", path
    assert book(operator, "fee", 1, from_account_id=hidden).json["code"] == "not_found"
    transfer = book(operator, "transfer", 1, from_account_id=plain, to_account_id=guarded)
    assert transfer.json["code"] == "forbidden"
    assert ids(operator.get("/v1/accounts")) == {plain, guarded}
    assert paid not in ids(operator.get("/v1/transactions"))
    assert paid in ids(desk.get("/v1/transactions"))
    assert grant(desk, operator, "growth:read", **denied).status_code == 201
    refused = operator.get("/v1/growth/events")
    assert (refused.status_code, refused.json["detail"]) == (
        403,
        "This needs the scope growth:read.",
    )


def test_a_denial_goes_before_ownership_and_before_a_gift(desk: Desk) -> None:
    owner = desk.new_user("customer")
    account = open_account(owner, 100)
    made = grant(desk, owner, "transactions:write", effect="deny").json
    assert grant(desk, owner, "transactions:write").status_code == 201
    assert book(owner, "withdrawal", 1, from_account_id=account).json["code"] == "forbidden"
    assert owner.get(f"/v1/accounts/{account}").status_code == 200
    assert owner.send("DELETE", f"/v1/grants/{made['id']}").json["code"] == "forbidden"
    assert desk.send("DELETE", f"/v1/grants/{made['id']}").status_code == 204
    assert book(owner, "withdrawal", 1, from_account_id=account).status_code == 201


def test_nobody_widens_the_own_rights_or_narrows_an_admin(desk: Desk) -> None:
    owner, stranger = desk.new_user("customer"), desk.new_user("customer")
    admin, operator = desk.new_user("admin"), desk.new_user("operator")
    account, foreign = open_account(owner), open_account(stranger)
    cases = (
        (desk, desk, {"scope": "accounts:read"}, "role_escalation"),
        (owner, owner, {"scope": "accounts:read", "object_id": account}, "role_escalation"),
        (desk, admin, {"scope": "accounts:read", "effect": "deny"}, "role_escalation"),
        (owner, stranger, {"scope": "accounts:read"}, "forbidden"),
        (owner, stranger, {"scope": "accounts:write", "object_id": account}, "forbidden"),
        (
            owner,
            stranger,
            {"scope": "accounts:read", "object_id": account, "effect": "deny"},
            "forbidden",
        ),
        (owner, stranger, {"scope": "accounts:read", "object_id": foreign}, "not_found"),
        (operator, stranger, {"scope": "accounts:read", "object_id": account}, "forbidden"),
        (desk, owner, {"scope": "audit:read", "object_id": account}, "validation_failed"),
        (desk, owner, {"scope": "everything"}, "validation_failed"),
        (desk, owner, {"scope": "accounts:read", "object_id": "acc_none"}, "not_found"),
    )
    for giver, principal, members, code in cases:
        answer = grant(giver, principal, **members)
        assert answer.json["code"] == code, (members, answer.data)
    nobody = {"principal_id": "usr_none", "scope": "accounts:read"}
    assert desk.post("/v1/grants", nobody).json["code"] == "not_found"
    assert desk.get("/v1/grants").json["data"] == []


def test_lists_of_grants_show_what_concerns_one(desk: Desk) -> None:
    owner, friend = desk.new_user("customer"), desk.new_user("customer")
    account = open_account(owner)
    first = grant(owner, friend, "accounts:read", object_id=account).json["id"]
    second = grant(desk, friend, "analytics:read").json["id"]
    assert ids(desk.get("/v1/grants")) == {first, second}
    assert ids(desk.new_user("auditor").get("/v1/grants")) == {first, second}
    assert ids(friend.get("/v1/grants")) == {first, second}
    assert ids(owner.get("/v1/grants")) == {first}
    assert ids(desk.new_user("operator").get("/v1/grants")) == set()
    assert owner.get(f"/v1/grants/{second}").json["code"] == "not_found"
    assert ids(desk.get(f"/v1/grants?object_id={account}")) == {first}
    page = desk.get(f"/v1/grants?principal_id={friend.user_id}&limit=1").json
    rest = desk.get(f"/v1/grants?cursor={page['next_cursor']}").json
    assert [row["id"] for row in page["data"] + rest["data"]] == [first, second]
    assert rest["next_cursor"] is None


def test_an_auditor_who_is_a_customer_too_still_writes_only_own_accounts(desk: Desk) -> None:
    owner, both = desk.new_user("customer"), desk.new_user("customer", "auditor")
    account = open_account(owner, 100)
    assert both.get(f"/v1/accounts/{account}").status_code == 200
    assert book(both, "withdrawal", 1, from_account_id=account).json["code"] == "not_found"
    assert book(both, "deposit", 1, to_account_id=open_account(both)).status_code == 201


def test_a_service_works_by_its_scopes_alone(desk: Desk) -> None:
    owner, service = desk.new_user("customer"), desk.new_user("service", "operator")
    account, other = open_account(owner, 100), open_account(owner, 100)
    for path in ("/v1/accounts", f"/v1/accounts/{account}", "/v1/transactions", "/v1/audit"):
        assert service.get(path).json["code"] == "forbidden", path
    assert grant(desk, service, "accounts:read", object_id=account).status_code == 201
    assert ids(service.get("/v1/accounts")) == {account}
    assert service.get(f"/v1/accounts/{other}").json["code"] == "not_found"
    assert service.get("/v1/transactions").json["code"] == "forbidden"
    assert book(service, "deposit", 1, to_account_id=account).json["code"] == "forbidden"
    assert grant(desk, service, "transactions:write").status_code == 201
    booked = book(service, "fee", 5, from_account_id=other)
    assert booked.status_code == 201
    reverse = f"/v1/transactions/{booked.json['id']}/reverse"
    assert service.post(reverse, {"reason": "r"}).json["code"] == "forbidden"
    assert service.get(f"/v1/transactions/{booked.json['id']}").json["code"] == "forbidden"
    assert grant(desk, service, "audit:read").status_code == 201
    assert service.get("/v1/audit/checkpoint").status_code == 200
    assert service.get("/v1/users").json["code"] == "forbidden"
    assert service.post("/v1/accounts", {}).json["code"] == "forbidden"
    assert service.post("/v1/auth/logout").status_code == 204


def test_a_service_with_one_account_opens_none(desk: Desk) -> None:
    owner, service = desk.new_user("customer"), desk.new_user("service")
    account = open_account(owner)
    assert grant(desk, service, "accounts:write", object_id=account).status_code == 201
    body = {"type": "generation", "currency": "USD", "name": "n"}
    assert service.post("/v1/accounts", body).json["code"] == "forbidden"
    named = service.send("PATCH", f"/v1/accounts/{account}", {"name": "m"}, **{"If-Match": '"1"'})
    assert (named.status_code, named.json["name"]) == (200, "m")
    status = {"status": "suspended"}
    refused = service.send("PATCH", f"/v1/accounts/{account}", status, **{"If-Match": '"2"'})
    assert refused.json["code"] == "forbidden"


@pytest.mark.parametrize(
    ("method", "rule", "scope"),
    [
        ("GET", "/v1/accounts/<account_id>", "accounts:read"),
        ("POST", "/v1/accounts/<account_id>/close", "accounts:write"),
        ("GET", "/v1/accounts/<account_id>/entries", "transactions:read"),
        ("POST", "/v1/accounts/<account_id>/fork", "growth:write"),
        ("POST", "/v1/merges", "growth:write"),
        ("GET", "/v1/systems/<system_id>/analytics/<report>", "analytics:read"),
        ("DELETE", "/v1/users/<user_id>/personal-data", "users:write"),
        ("POST", "/v1/auth/logout", ""),
        ("GET", "/metrics", "metrics:read"),
    ],
)
def test_every_route_has_its_scope(method: str, rule: str, scope: str) -> None:
    assert principals.scope_of(method, rule) == scope


def test_every_route_behind_a_token_asks_for_a_scope(desk: Desk) -> None:
    service = desk.new_user("service")
    asked = 0
    for rule in desk.app.url_map.iter_rules():
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            # A callback has a signature in place of a token.
            if not rule.rule.startswith("/v1/") or rule.rule.startswith(
                ("/v1/auth/", "/v1/callbacks/")
            ):
                continue
            path = rule.rule.replace("<", "").replace(">", "")
            answer = service.send(method, path, None if method == "GET" else {})
            assert answer.status_code == 403, (method, path, answer.data)
            asked += 1
    assert asked > 30


def test_grants_are_read_by_an_index(desk: Desk) -> None:
    connection = database.connect(desk.database, read_only=True)
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT scope, object_id, effect FROM grants WHERE principal_id = ?"
        " AND (expires_at IS NULL OR expires_at > ?) ORDER BY seq",
        ("u", 1),
    ).fetchall()
    connection.close()
    assert [row["detail"] for row in plan] == [
        "SEARCH grants USING INDEX grants_by_principal (principal_id=?)"
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"principal_id": NaN, "scope": "accounts:read"}',
        b'{"principal_id": "u", "principal_id": "v", "scope": "accounts:read"}',
        b'{"principal_id": 1e400, "scope": "accounts:read"}',
        b'{"principal_id": "u", "scope": ["accounts:read"]}',
        b'{"principal_id": "u", "scope": "accounts:read", "effect": null}',
        b'{"principal_id": "u", "scope": "accounts:read", "roles": ["admin"]}',
        b'{"principal_id": "u", "scope": "accounts:read", "expires_at": "2027-02-30T00:00:00Z"}',
        b'{"principal_id": "u", "scope": "accounts:read", "expires_at": "9999-12-31T23:59:60Z"}',
        b'{"principal_id": "\\ud800", "scope": "accounts:read"}',
        b'{"principal_id": "u", "scope": "accounts:read", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"\xff\xfe",
    ],
)
def test_a_malformed_grant_is_refused(desk: Desk, raw: bytes) -> None:
    headers = {"Authorization": f"Bearer {desk.token}", "Idempotency-Key": "0123456789abcdef"}
    answer = desk.app.test_client().post(
        "/v1/grants", data=raw, headers=headers, content_type="application/json"
    )
    assert answer.status_code == 400, answer.data
    assert answer.json["code"] in {"malformed_json", "validation_failed"}
