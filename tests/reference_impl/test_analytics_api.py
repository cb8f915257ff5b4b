"""Analytics over a real server: every figure follows from the listed entries alone."""

import random
from typing import Any

import pytest

from ._recompute import Entry, assert_recomputed

REPORTS = ("performance", "risk", "trend", "prediction")
WINDOW = "?from=2026-09-01T00:00:00Z&to=2026-11-01T00:00:00Z"


def day(number: int, hour: int = 10) -> str:
    """An instant so many days after 1 September 2026."""
    month, offset = (9, 0) if number < 30 else (10, 30)
    return f"2026-{month:02d}-{number - offset + 1:02d}T{hour:02d}:00:00Z"


def entries(client: Any, account_id: str) -> list[Entry]:
    """Walk GET entries to its end."""
    found: list[Entry] = []
    cursor = ""
    while True:
        page = client.get(f"/v1/accounts/{account_id}/entries?limit=200{cursor}").body
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def report(client: Any, subject: str, name: str, query: str = WINDOW) -> dict[str, Any]:
    answer = client.get(f"{subject}/analytics/{name}{query}")
    assert answer.status == 200, answer.body
    return dict(answer.body)


def lively(manager: Any, seed: int, owner_id: str) -> tuple[str, str]:
    """Two accounts with some fifty bookings of every kind in two months, in no order of time."""
    dice = random.Random(seed)  # noqa: S311 - a history that can be had again
    members = {"type": "generation", "currency": "USD", "name": "n", "owner_id": owner_id}
    first, second = (manager.post("/v1/accounts", members).body["id"] for _ in range(2))
    book(manager, "deposit", 900_000, 3, to_account_id=first)
    book(manager, "deposit", 100_000, 4, to_account_id=second)
    booked = []
    for _ in range(45):
        kind = dice.choice(
            ["deposit", "withdrawal", "transfer", "premium", "interest", "fee", "tax", "assignment"]
        )
        at, amount = dice.randrange(3, 60), dice.randrange(1, 9_000)
        into = {"to_account_id": first}
        out = {"from_account_id": first}
        ends = {"transfer": {**out, "to_account_id": second}}
        named = ends.get(kind) or (into if kind in {"deposit", "premium", "interest"} else out)
        booked.append(book(manager, kind, amount, at, **named))
    for transaction in dice.sample(booked, 6):
        undone = manager.post(f"/v1/transactions/{transaction['id']}/reverse", {"reason": "wrong"})
        assert undone.status == 201, undone.body
    held = book(manager, "withdrawal", 700, 20, from_account_id=first, hold=True)
    assert manager.post(f"/v1/transactions/{held['id']}/settle", {}).status == 200
    book(manager, "withdrawal", 800, 21, from_account_id=first, hold=True)
    return first, second


def book(client: Any, kind: str, amount: int, at: int, **members: Any) -> dict[str, Any]:
    answer = client.book(kind, amount, effective_at=day(at), **members)
    assert answer.status == 201, answer.body
    return dict(answer.body)


@pytest.fixture(scope="module")
def pair(manager: Any, new_client: Any) -> tuple[Any, str, str]:
    owner = new_client("customer")
    return (owner, *lively(manager, 7, owner.user_id))


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize(
    "query",
    [
        WINDOW,
        "",
        "?from=2026-09-20T07:30:00Z&to=2026-10-11T23:10:00.5Z",
        "?from=2026-08-01T00:00:00Z",
        "?to=2026-10-20T12:00:00Z",
    ],
)
def test_every_figure_is_recomputed_from_the_entries(
    pair: tuple[Any, str, str], name: str, query: str
) -> None:
    owner, first, second = pair
    for account_id in (first, second):
        answer = report(owner, f"/v1/accounts/{account_id}", name, query)
        assert answer["accounts"] == [account_id]
        assert_recomputed(entries(owner, account_id), answer)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_histories_are_recomputed_too(manager: Any, new_client: Any, seed: int) -> None:
    owner = new_client("customer")
    for account_id in lively(manager, seed, owner.user_id):
        listed = entries(owner, account_id)
        for name in REPORTS:
            assert_recomputed(listed, report(owner, f"/v1/accounts/{account_id}", name))


def test_the_closing_value_is_the_balance(pair: tuple[Any, str, str]) -> None:
    owner, first, _ = pair
    figures = report(owner, f"/v1/accounts/{first}", "performance", "")["figures"]
    balances = owner.get(f"/v1/accounts/{first}").body["balances"]
    assert figures["closing_value"]["value"] == str(balances["total_value"])


def test_what_others_do_changes_nothing(
    pair: tuple[Any, str, str], manager: Any, new_client: Any
) -> None:
    owner, first, _ = pair
    before = [report(owner, f"/v1/accounts/{first}", name) for name in REPORTS]
    lively(manager, 11, new_client("customer").user_id)
    after = [report(owner, f"/v1/accounts/{first}", name) for name in REPORTS]
    assert after == before


def test_a_reversal_takes_the_gain_away_and_is_no_flow(customer: Any, manager: Any) -> None:
    account = customer.account()["id"]
    book(customer, "deposit", 10_000, 1, to_account_id=account)
    premium = book(manager, "premium", 500, 2, to_account_id=account)
    path = f"/v1/accounts/{account}"
    assert report(customer, path, "performance", "")["figures"]["gains"]["value"] == "500"
    manager.post(f"/v1/transactions/{premium['id']}/reverse", {"reason": "booked twice"})
    figures = report(customer, path, "performance", "")["figures"]
    assert (figures["gains"]["value"], figures["outflows"]["value"]) == ("0", "0")
    assert entries(customer, account)[-1]["reverses_id"] == premium["id"]


def test_flows_are_no_result(customer: Any, manager: Any) -> None:
    account = customer.account()["id"]
    book(customer, "deposit", 100_000, 1, to_account_id=account)
    book(manager, "premium", 1_000, 2, to_account_id=account)
    book(customer, "deposit", 899_000, 3, to_account_id=account)
    book(manager, "premium", 10_000, 4, to_account_id=account)
    book(customer, "withdrawal", 1_000_000, 5, from_account_id=account)
    figures = report(customer, f"/v1/accounts/{account}", "performance")["figures"]
    # 1 % on 100,000, then 1 % on 1,000,000: how much money there was does not matter.
    assert figures["time_weighted_return"]["value"] == "0.020100000000"
    assert figures["gains"]["value"] == "11000"


def test_a_window_holds_its_start_and_not_its_end(customer: Any) -> None:
    account = customer.account()["id"]
    for amount, at in ((1, 4), (20, 5), (300, 7)):
        book(customer, "deposit", amount, at, to_account_id=account)
    query = f"?from={day(5)}&to={day(7)}"
    for name in ("performance", "risk"):
        answer = report(customer, f"/v1/accounts/{account}", name, query)
        assert (answer["entries"], answer["window"]["periods"]) == (2, 2)
        assert_recomputed(entries(customer, account), answer)
    figures = report(customer, f"/v1/accounts/{account}", "performance", query)["figures"]
    shown = [figures[name]["value"] for name in ("opening_value", "inflows", "closing_value")]
    assert shown == ["1", "20", "21"]


def test_a_prediction_says_what_it_is_and_looks_as_far_as_asked(pair: tuple[Any, str, str]) -> None:
    owner, first, _ = pair
    near = report(owner, f"/v1/accounts/{first}", "prediction", f"{WINDOW}&horizon=1")
    far = report(owner, f"/v1/accounts/{first}", "prediction", f"{WINDOW}&horizon=365")
    assert near["statement"].startswith("A projection of the past")
    assert far["figures"]["horizon"]["value"] == "365"

    def width(answer: dict[str, Any]) -> float:
        figures = answer["figures"]
        return float(figures["upper"]["value"]) - float(figures["lower"]["value"])

    assert width(far) > width(near) > 0


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("performance", "?from=2026-10-01T00:00:00Z&to=2026-10-01T00:00:00Z"),
        ("performance", "?from=2026-10-02T00:00:00Z&to=2026-10-01T00:00:00Z"),
        ("performance", "?from=2001-01-01T00:00:00Z&to=2026-10-01T00:00:00Z"),
        ("performance", "?to=2999-01-01T00:00:00Z"),
        ("performance", "?to=0000-01-01T00:00:00Z"),
        ("performance", "?to=0001-01-01T00:00:00%2B23:59"),
        ("performance", "?from=yesterday"),
        ("performance", "?from=2026-10-01"),
        ("performance", "?from=2026-10-01T00:00:00"),
        ("performance", "?from=%F0%9F%92%A9"),
        ("performance", "?horizon=3"),
        ("performance", "?window=3"),
        ("prediction", "?horizon=0"),
        ("prediction", "?horizon=366"),
        ("prediction", "?horizon=1e1"),
        ("prediction", "?horizon=%D9%A3"),
        ("prediction", "?horizon=3&horizon=4"),
        ("lineage", ""),
        ("Risk", ""),
    ],
)
def test_a_bad_parameter_is_refused(pair: tuple[Any, str, str], name: str, query: str) -> None:
    owner, first, _ = pair
    answer = owner.get(f"/v1/accounts/{first}/analytics/{name}{query}")
    assert (answer.status, answer.code) == (400, "invalid_parameter")


def test_a_bad_window_is_told_before_a_short_history(customer: Any) -> None:
    path = f"/v1/accounts/{customer.account()['id']}/analytics/performance"
    for query in ("?from=2026-09-04T00:00:00Z&to=2026-09-03T00:00:00Z", "?to=2999-01-01T00:00:00Z"):
        assert customer.get(f"{path}{query}").code == "invalid_parameter"


def test_too_short_a_history_is_told(customer: Any) -> None:
    account = customer.account()["id"]
    path = f"/v1/accounts/{account}/analytics"

    def codes() -> list[str | None]:
        query = "?to=2026-09-04T00:00:00Z"
        return [customer.get(f"{path}/{name}{query}").code for name in REPORTS]

    assert codes() == ["insufficient_history"] * 4
    book(customer, "deposit", 500, 2, to_account_id=account)
    assert codes() == [None, "insufficient_history", "insufficient_history", "insufficient_history"]
    book(customer, "deposit", 500, 1, to_account_id=account)
    assert codes() == [None, None, None, "insufficient_history"]
    book(customer, "deposit", 500, 0, to_account_id=account)
    assert codes() == [None] * 4


def test_a_base_of_nothing_has_no_return(customer: Any, manager: Any) -> None:
    account = customer.account()["id"]
    book(manager, "premium", 500, 2, to_account_id=account)
    query = "?to=2026-09-04T00:00:00Z"
    figures = report(customer, f"/v1/accounts/{account}", "performance", query)["figures"]
    assert figures["time_weighted_return"]["value"] is None
    assert figures["money_weighted_return"]["value"] is None
    assert figures["net_gain"]["value"] == "500"


def test_other_owners_do_not_exist_and_higher_roles_read(
    pair: tuple[Any, str, str], customer: Any, operator: Any, auditor: Any
) -> None:
    owner, first, _ = pair
    path = f"/v1/accounts/{first}/analytics/performance{WINDOW}"
    assert customer.get(path).status == 404
    assert customer.get("/v1/accounts/acc_none/analytics/performance").status == 404
    assert customer.get("/v1/systems/sys_none/analytics/performance").status == 404
    mine = owner.get(path).body
    assert operator.get(path).body == mine
    assert auditor.get(path).body == mine


@pytest.fixture(scope="module")
def system(new_client: Any, manager: Any) -> tuple[Any, dict[str, Any]]:
    owner = new_client("customer")
    money = {"amount": 30_000_000, "currency": "USD"}
    opened = owner.post("/v1/systems", {"name": "s", "amount": money})
    assert opened.status == 201, opened.body
    return owner, opened.body


def test_a_system_is_its_lineage_as_one(system: tuple[Any, dict[str, Any]], manager: Any) -> None:
    owner, opened = system
    path = f"/v1/systems/{opened['id']}"
    generation, revenue, compounding = (account["id"] for account in opened["accounts"])
    owner.book("deposit", 20_000_000, to_account_id=generation)
    forked = owner.post(f"/v1/accounts/{generation}/fork", {})
    assert forked.status == 201, forked.body
    children = [child["id"] for child in forked.body["children"]]
    answer = report(owner, path, "performance", "")
    assert answer["accounts"] == [generation, revenue, compounding, *children]
    assert answer["figures"]["inflows"]["value"] == "50000000"
    assert answer["figures"]["outflows"]["value"] == "0"

    # A merge of members alone makes a member, although it has a root of its own.
    merge = {"sources": [revenue, compounding], "create_target": {"type": "compounding"}}
    merged = manager.post("/v1/merges", merge)
    assert merged.status == 201, merged.body
    heir = merged.body["target"]["id"]
    manager.book("premium", 1_000, to_account_id=heir)
    outside = owner.funded(5_000)
    owner.book("transfer", 2_000, from_account_id=outside["id"], to_account_id=generation)
    answer = report(owner, path, "performance", "")
    assert answer["accounts"] == [generation, revenue, compounding, *children, heir]
    figures = {name: figure["value"] for name, figure in answer["figures"].items()}
    assert (figures["inflows"], figures["gains"]) == ("50002000", "1000")
    assert figures["closing_value"] == "50003000"
    listed = [entry for member in answer["accounts"] for entry in entries(owner, member)]
    assert_recomputed(listed, answer)
    assert manager.get(f"{path}/analytics/performance").body == answer


def test_a_merge_into_an_account_outside_leaves_the_system(new_client: Any, manager: Any) -> None:
    owner = new_client("customer")
    money = {"amount": 10_000_000, "currency": "USD"}
    opened = owner.post("/v1/systems", {"name": "s", "amount": money}).body
    members = [account["id"] for account in opened["accounts"]]
    target = owner.account(type="compounding")
    body = {"sources": [members[1]], "target_id": target["id"]}
    assert manager.post("/v1/merges", body).status == 201
    answer = report(owner, f"/v1/systems/{opened['id']}", "performance", "")
    assert answer["accounts"] == members
    assert answer["figures"]["outflows"]["value"] == "-3000000"
    listed = [entry for member in members for entry in entries(owner, member)]
    assert_recomputed(listed, answer)


def test_a_system_of_another_owner_does_not_exist(
    system: tuple[Any, dict[str, Any]], customer: Any, auditor: Any
) -> None:
    _, opened = system
    path = f"/v1/systems/{opened['id']}/analytics/performance"
    assert customer.get(path).status == 404
    assert auditor.get(path).status == 200


def test_a_denied_member_hides_the_system(new_client: Any, admin: Any) -> None:
    owner, money = new_client("customer"), {"amount": 10_000_000, "currency": "USD"}
    opened = owner.post("/v1/systems", {"name": "s", "amount": money}).body
    members = [account["id"] for account in opened["accounts"]]
    path = f"/v1/systems/{opened['id']}/analytics/performance"
    machine = new_client("service")
    for count, member in enumerate(members, 1):
        grant = {"principal_id": machine.user_id, "scope": "analytics:read", "object_id": member}
        assert admin.post("/v1/grants", grant).status == 201
        # One account of three opens that account, and not the sum of all.
        assert machine.get(f"/v1/accounts/{member}/analytics/performance").status == 200
        assert machine.get(path).status == (200 if count == 3 else 404)
    denied = {"principal_id": owner.user_id, "scope": "accounts:read", "object_id": members[0]}
    assert admin.post("/v1/grants", {**denied, "effect": "deny"}).status == 201
    assert owner.get(path).status == 404
