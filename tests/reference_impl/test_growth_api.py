"""Growth from outside: systems, forks, merges, reinvestments, policies and what shows them."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

Client = Any
Account = dict[str, Any]
FORK_SURPLUS = 5_000_000


@pytest.fixture
def usd(admin: Client) -> Callable[[], int]:
    """Sum what customers hold, over every account and bucket."""

    def total() -> int:
        found, path = 0, "/v1/accounts?limit=200"
        while path:
            page = admin.get(path).body
            found += sum(account["balances"]["total_value"] for account in page["data"])
            cursor = page["next_cursor"]
            path = f"/v1/accounts?limit=200&cursor={cursor}" if cursor else ""
        return found

    return total


def fork(client: Client, account: Account, body: Any = None, **options: Any) -> Any:
    return client.post(f"/v1/accounts/{account['id']}/fork", body or {}, **options)


def reinvest(client: Client, account: Account, **members: Any) -> Any:
    return client.post(f"/v1/accounts/{account['id']}/reinvest", members)


def merge(client: Client, *sources: Account, **members: Any) -> Any:
    return client.post("/v1/merges", {"sources": [a["id"] for a in sources], **members})


def into(account: Account) -> dict[str, str]:
    return {"target_id": account["id"]}


def read(client: Client, account: Account) -> Account:
    return dict(client.get(f"/v1/accounts/{account['id']}").body)


def this_quarter(client: Client, account: Account) -> str:
    path = f"/v1/growth/candidates?kind=reinvest&account_id={account['id']}"
    return str(client.get(path).body["data"][0]["period"])


def family(client: Client, surplus: int = 2 * FORK_SURPLUS) -> tuple[Account, Account, Account]:
    parent = client.funded(surplus)
    made = fork(client, parent)
    assert made.status == 201, made.body
    one, two = made.body["children"]
    return parent, one, two


# Systems


def test_a_system_opens_by_the_split_of_the_policy(customer: Client) -> None:
    body = {"name": "First", "amount": {"amount": 10_000_001, "currency": "USD"}}
    made = customer.post("/v1/systems", {**body, "metadata": {"plan": 7}})
    assert made.status == 201
    accounts = made.body["accounts"]
    assert [a["type"] for a in accounts] == ["generation", "revenue", "compounding"]
    assert [a["balances"]["ledger"] for a in accounts] == [4_000_001, 3_000_000, 3_000_000]
    for account in accounts:
        assert account["base_amount"] == account["balances"]["ledger"]
        assert (account["root_id"], account["depth"]) == (account["id"], 0)
        assert account["metadata"] == {"plan": 7}
    assert [a["withdrawal_allowed"] for a in accounts] == [True, True, False]
    assert customer.get(made.headers["location"]).body == made.body
    opening = customer.get(f"/v1/transactions/{made.body['transaction_id']}").body
    assert opening["kind"] == "opening"
    assert min(line["amount"] for line in opening["lines"]) == -10_000_001
    listed = customer.get(f"/v1/transactions?account_id={accounts[1]['id']}").body["data"]
    assert [transaction["id"] for transaction in listed] == [opening["id"]]


@pytest.mark.parametrize(
    ("money", "code"),
    [
        ({"amount": 1, "currency": "USD"}, "amount_too_small"),
        ({"amount": 100, "currency": "XXX"}, "unsupported_currency"),
    ],
)
def test_a_system_that_cannot_be_split_is_refused(customer: Client, money: Any, code: str) -> None:
    refused = customer.post("/v1/systems", {"name": "n", "amount": money})
    assert (refused.status, refused.code) == (422, code)


def test_only_an_operator_opens_for_another(
    customer: Client, operator: Client, new_client: Callable[..., Client]
) -> None:
    other = new_client("customer")
    body = {"name": "n", "amount": {"amount": 100, "currency": "JPY"}, "owner_id": other.user_id}
    assert customer.post("/v1/systems", body).code == "forbidden"
    made = operator.post("/v1/systems", body)
    assert made.body["owner_id"] == other.user_id
    assert other.get(made.headers["location"]).status == 200
    assert customer.get(made.headers["location"]).status == 404
    assert operator.post("/v1/systems", {**body, "owner_id": "usr_no"}).status == 404


# Forks


def test_a_fork_splits_the_surplus_to_the_unit(customer: Client, usd: Callable[[], int]) -> None:
    parent = customer.funded(15_000_001, base_amount=10_000_000)
    before = usd()
    made = fork(customer, parent, {"reason": "enough"})
    assert made.status == 201
    assert usd() == before
    event, children = made.body["event"], made.body["children"]
    assert [leg["amount"] for leg in event["legs"]] == [2_500_001, 2_500_000]
    assert [c["balances"]["ledger"] for c in children] == [2_500_001, 2_500_000]
    assert [c["type"] for c in children] == ["generation", "compounding"]
    assert [leg["account_id"] for leg in event["legs"]] == [c["id"] for c in children]
    for child in children:
        assert child["base_amount"] == child["balances"]["ledger"]
        assert (child["parent_id"], child["root_id"]) == (parent["id"], parent["root_id"])
        assert (child["depth"], child["policy_ref"]) == (1, parent["policy_ref"])
        assert child["owner_id"] == customer.user_id
        assert read(customer, child) == {**child, "balances": read(customer, child)["balances"]}
    assert made.body["parent"]["balances"]["ledger"] == 10_000_000
    assert made.body["parent"]["base_amount"] == 10_000_000
    assert event["facts"]["surplus"] == event["facts"]["trigger_value"] == 5_000_001
    assert event["facts"]["threshold"] == FORK_SURPLUS
    assert customer.get(made.headers["location"]).body == event
    transaction = customer.get(f"/v1/transactions/{event['transaction_id']}").body
    assert (transaction["kind"], transaction["seq"]) == ("fork", event["seq"])
    assert sum(line["amount"] for line in transaction["lines"]) == 0


def test_a_fork_is_repeated_by_its_key_without_a_second_child(customer: Client) -> None:
    parent = customer.funded(2 * FORK_SURPLUS)
    key = str(uuid.uuid4())
    first, second = (fork(customer, parent, key=key) for _ in range(2))
    assert first.raw == second.raw
    assert second.headers["idempotency-replayed"] == "true"
    lineage = customer.get(f"/v1/accounts/{parent['id']}/lineage").body["data"]
    assert len(lineage) == 3


def test_a_dry_run_changes_nothing(customer: Client) -> None:
    parent = customer.funded(250 + FORK_SURPLUS)
    before = read(customer, parent)
    trial = fork(customer, parent, {"dry_run": True})
    assert trial.status == 200
    assert [leg["amount"] for leg in trial.body["legs"]] == [2_500_125, 2_500_125]
    assert trial.body["facts"]["surplus"] == 250 + FORK_SURPLUS
    assert read(customer, parent) == before
    refused = fork(customer, customer.funded(1), {"dry_run": True})
    assert (refused.status, refused.code) == (422, "not_eligible")


def test_an_account_below_its_threshold_does_not_fork(customer: Client) -> None:
    parent = customer.funded(FORK_SURPLUS + 99, base_amount=100)
    assert fork(customer, parent).code == "not_eligible"
    customer.book("deposit", 1, to_account_id=parent["id"])
    assert fork(customer, parent).status == 201
    assert fork(customer, parent).code == "not_eligible"
    revenue = customer.funded(2 * FORK_SURPLUS, type="revenue")
    assert fork(customer, revenue).code == "not_eligible"


def test_holds_and_the_minimum_balance_stay(customer: Client, manager: Client) -> None:
    parent = customer.funded(FORK_SURPLUS)
    hold = customer.book("withdrawal", 1, from_account_id=parent["id"], hold=True)
    assert fork(customer, parent).code == "not_eligible"
    customer.post(f"/v1/transactions/{hold.body['id']}/void", {})
    tag = customer.get(f"/v1/accounts/{parent['id']}").headers["etag"]
    manager.patch(f"/v1/accounts/{parent['id']}", {"min_balance": 1}, tag=tag)
    assert fork(customer, parent).code == "not_eligible"


def test_an_explicit_fork_is_for_managers(customer: Client, manager: Client) -> None:
    parent = customer.funded(250, base_amount=0)
    legs = [
        {"type": "generation", "bps": 5000},
        {"type": "revenue", "bps": 4500},
        {"type": "compounding", "bps": 500},
    ]
    money = {"amount": 250, "currency": "USD"}
    body = {"mode": "explicit", "amount": money, "legs": legs}
    assert fork(customer, parent, body).code == "forbidden"
    short = {**body, "legs": legs[:2]}
    assert fork(manager, parent, short).code == "shares_invalid"
    euro = {**body, "amount": {"amount": 250, "currency": "EUR"}}
    assert fork(manager, parent, euro).code == "currency_mismatch"
    tiny = {**body, "amount": {"amount": 3, "currency": "USD"}}
    assert fork(manager, parent, tiny).code == "amount_too_small"
    made = fork(manager, parent, body)
    assert [c["balances"]["ledger"] for c in made.body["children"]] == [125, 113, 12]
    assert {c["owner_id"] for c in made.body["children"]} == {customer.user_id}
    assert made.body["event"]["mode"] == "explicit"


def test_a_manager_overrides_the_surplus_but_not_the_floor(
    customer: Client, manager: Client
) -> None:
    parent = customer.funded(1000, base_amount=1000)
    body = {
        "mode": "explicit",
        "amount": {"amount": 950, "currency": "USD"},
        "legs": [{"type": "revenue", "bps": 10_000}],
    }
    assert fork(manager, parent, body).code == "not_eligible"
    too_much = {**body, "amount": {"amount": 951, "currency": "USD"}, "override": True}
    assert fork(manager, parent, too_much).code == "not_eligible"
    made = fork(manager, parent, {**body, "override": True})
    assert (made.status, made.body["event"]["override"]) == (201, True)


@pytest.mark.parametrize(
    "body",
    [
        {"mode": "explicit"},
        {"amount": {"amount": 5, "currency": "USD"}},
        {"override": True},
        {"mode": "both"},
        {"legs": []},
        {"mode": "explicit", "amount": {"amount": 0, "currency": "USD"}, "legs": [{}]},
        {"dry_run": "yes"},
        {"reason": "\u0000"},
        {"surprise": 1},
        [],
        None,
    ],
)
def test_a_fork_of_a_wrong_shape_is_refused(customer: Client, body: Any) -> None:
    parent = customer.funded(2 * FORK_SURPLUS)
    raw = b"null" if body is None else None
    path = f"/v1/accounts/{parent['id']}/fork"
    refused = customer.post(path, body, raw=raw)
    assert refused.status == 400, refused.body


def test_if_match_guards_a_fork(customer: Client) -> None:
    parent = customer.funded(2 * FORK_SURPLUS)
    assert fork(customer, parent, headers={"If-Match": '"7"'}).code == "precondition_failed"
    assert fork(customer, parent, headers={"If-Match": '"1"'}).status == 201


def test_growth_belongs_to_the_owner_or_a_manager(
    customer: Client, operator: Client, auditor: Client, new_client: Callable[..., Client]
) -> None:
    parent = customer.funded(2 * FORK_SURPLUS)
    stranger = new_client("customer")
    target = stranger.account(type="compounding")
    assert fork(stranger, parent).status == 404
    assert merge(stranger, parent, **into(target)).status == 404
    assert reinvest(stranger, parent, period="2026-Q1", all_available=True).status == 404
    for client in (operator, auditor):
        assert fork(client, parent).code == "forbidden"
        assert merge(client, parent, **into(target)).code == "forbidden"
    made = fork(customer, parent)
    for path in (made.headers["location"], f"/v1/accounts/{parent['id']}/lineage"):
        assert stranger.get(path).status == 404
        assert auditor.get(path).status == 200
    assert stranger.get(f"/v1/growth/events?account_id={parent['id']}").body["data"] == []
    assert stranger.get(f"/v1/growth/candidates?account_id={parent['id']}").body["data"] == []
    assert stranger.get(f"/v1/growth/summary?owner_id={customer.user_id}").body["periods"] == []


# Merges


def test_a_merge_moves_every_bucket_and_ends_the_sources(
    customer: Client, operator: Client, usd: Callable[[], int]
) -> None:
    one, two = customer.funded(700), customer.funded(30, min_balance=20)
    operator.book("assignment", 200, from_account_id=one["id"])
    target = customer.funded(11, type="compounding", base_amount=5)
    before = usd()
    made = merge(customer, one, two, **into(target), reason="fewer")
    assert made.status == 201
    assert usd() == before
    now = made.body["target"]
    assert now["balances"]["buckets"] == {"cash": 541, "position:shares": 200}
    assert now["base_amount"] == 5 + 530
    assert now["version"] == target["version"] + 1
    for source in made.body["sources"]:
        assert (source["status"], source["merged_into_id"]) == ("merged", target["id"])
        figures = source["balances"]
        assert figures["ledger"] == figures["available"] == figures["total_value"] == 0
        assert not any(figures["buckets"].values())
    event = made.body["event"]
    assert (event["amount"], event["kind"]) == (730, "merge")
    assert {(leg["account_id"], leg["bucket"], leg["amount"]) for leg in event["legs"]} == {
        (one["id"], "cash", 500),
        (one["id"], "position:shares", 200),
        (two["id"], "cash", 30),
    }
    assert customer.get(made.headers["location"]).body == made.body
    assert customer.get(f"/v1/growth/events/{event['id']}").body == event
    for account in (one, two, target):
        listed = customer.get(f"/v1/transactions?account_id={account['id']}&kind=merge").body
        assert [t["id"] for t in listed["data"]] == [event["transaction_id"]]


def test_a_merged_account_is_read_for_ever_and_written_never(
    customer: Client, manager: Client
) -> None:
    source, target = customer.funded(100), customer.account(type="compounding")
    spare = customer.account()
    history = customer.get(f"/v1/accounts/{source['id']}/entries").body["data"]
    assert merge(customer, source, **into(target)).status == 201
    path = f"/v1/accounts/{source['id']}"
    shown = customer.get(path)
    assert shown.body["status"] == "merged"
    assert customer.get(f"{path}/entries").body["data"][:1] == history
    assert customer.get(f"{path}/lineage").status == 200
    tag = shown.headers["etag"]
    writes = [
        customer.book("deposit", 1, to_account_id=source["id"]),
        customer.book("withdrawal", 1, from_account_id=source["id"]),
        customer.book("transfer", 1, from_account_id=target["id"], to_account_id=source["id"]),
        customer.patch(path, {"name": "new"}, tag=tag),
        customer.post(f"{path}/close", {}, headers={"If-Match": tag}),
        fork(customer, source),
        reinvest(customer, source, period="2026-Q1", all_available=True),
        merge(customer, source, **into(spare)),
        merge(customer, spare, **into(source)),
    ]
    for refused in writes:
        assert (refused.status, refused.code) == (409, "account_merged"), refused.body
        assert refused.body["merged_into_id"] == target["id"]
    transaction = customer.get(f"/v1/transactions?account_id={target['id']}").body["data"][0]
    undo = manager.post(f"/v1/transactions/{transaction['id']}/reverse", {"reason": "no"})
    assert (undo.status, undo.code) == (422, "not_reversible")


def test_a_merge_can_open_its_target(customer: Client) -> None:
    _, one, two = family(customer)
    lone = customer.funded(5)
    made = merge(customer, one, two, create_target={"type": "compounding", "name": "All"})
    target = made.body["target"]
    assert made.body["target_created"] is True
    assert (target["name"], target["type"], target["version"]) == ("All", "compounding", 1)
    assert (target["parent_id"], target["root_id"]) == (None, one["root_id"])
    assert target["depth"] == 1
    assert target["base_amount"] == target["balances"]["ledger"] == 2 * FORK_SURPLUS
    other = merge(customer, target, lone, create_target={"type": "compounding"})
    last = other.body["target"]
    assert (last["root_id"], last["depth"]) == (last["id"], 0)
    assert read(customer, one)["merged_into_id"] == target["id"]


def test_merges_inside_a_family_leave_births_alone(customer: Client) -> None:
    parent, one, two = family(customer)
    assert merge(customer, one, **into(two)).status == 201
    customer.book("deposit", 1, to_account_id=parent["id"])
    assert merge(customer, parent, **into(two)).status == 201
    nodes = customer.get(f"/v1/accounts/{one['id']}/lineage").body["data"]
    found = {node["account_id"]: node for node in nodes}
    assert found[two["id"]]["parent_id"] == parent["id"]
    assert found[two["id"]]["effective_parent_id"] is None
    assert found[one["id"]]["effective_parent_id"] == two["id"]
    assert [event["role"] for event in found[two["id"]]["events"]] == ["child", "target", "target"]


def test_what_cannot_merge_is_refused(customer: Client, manager: Client) -> None:
    source, target = customer.funded(100), customer.account(type="compounding")
    empty, euro = customer.account(), customer.funded(5, currency="EUR")
    refusals = [
        (merge(customer, source, source, **into(target)), 422, "duplicate_source"),
        (merge(customer, source, target, **into(target)), 422, "target_in_sources"),
        (merge(customer, *[source] * 11, **into(target)), 422, "duplicate_source"),
        (merge(customer, empty, **into(target)), 422, "nothing_to_merge"),
        (merge(customer, euro, **into(target)), 422, "currency_mismatch"),
        (merge(customer, source, mode="policy", **into(target)), 422, "below_merge_threshold"),
        (merge(customer, source, **into(target), override=True), 403, "forbidden"),
        (merge(customer, source, **into({"id": "acc_none"})), 404, "not_found"),
        (merge(customer, source), 400, "validation_failed"),
        (merge(customer, source, **into(target), partial=True), 400, "validation_failed"),
        (merge(customer, **into(target)), 400, "validation_failed"),
    ]
    hold = customer.book(
        "transfer", 1, from_account_id=source["id"], to_account_id=target["id"], hold=True
    ).body
    refusals.append((merge(customer, source, **into(empty)), 409, "pending_holds"))
    refusals.append((merge(customer, customer.funded(1), **into(target)), 409, "pending_holds"))
    customer.post(f"/v1/transactions/{hold['id']}/void", {})
    other = manager.funded(5)
    refusals.append((merge(manager, source, other, **into(target)), 422, "owner_mismatch"))
    manager.patch(f"/v1/accounts/{source['id']}", {"status": "suspended"}, tag='"1"')
    refusals.append((merge(customer, source, **into(target)), 409, "account_not_active"))
    for refused, status, code in refusals:
        assert (refused.status, refused.code) == (status, code), refused.body
    assert read(customer, target)["balances"]["ledger"] == 0


def test_eleven_sources_are_too_many(customer: Client) -> None:
    target = customer.account(type="compounding")
    sources = [customer.funded(1) for _ in range(11)]
    assert merge(customer, *sources, **into(target)).code == "too_many_sources"
    assert merge(customer, *sources[:10], **into(target)).status == 201
    assert read(customer, target)["balances"]["ledger"] == 10


def test_a_family_of_enough_value_merges_by_the_policy(customer: Client) -> None:
    _, one, two = family(customer, 50_000_001)
    candidate = next(
        found
        for found in customer.get("/v1/growth/candidates?kind=merge").body["data"]
        if set(found["sources"]) == {one["id"], two["id"]}
    )
    assert candidate["eligible"] is True
    assert candidate["amount"]["amount"] == 50_000_001
    target = {"create_target": {"type": "compounding"}}
    alone = merge(customer, one, mode="policy", **target)
    assert alone.code == "below_merge_threshold"
    made = merge(customer, one, two, mode="policy", **target)
    assert made.status == 201
    assert made.body["event"]["facts"]["trigger_value"] == 50_000_001
    assert customer.get("/v1/growth/candidates?kind=merge").body["data"] == []


# Reinvestments


def test_a_reinvestment_moves_cash_into_positions(customer: Client, usd: Callable[[], int]) -> None:
    account = customer.funded(4_000_000, type="revenue", base_amount=3_000_000)
    period = this_quarter(customer, account)
    money = {"amount": 1_000_001, "currency": "USD"}
    before = usd()
    trial = reinvest(customer, account, period=period, amount=money, dry_run=True)
    assert trial.status == 200
    assert read(customer, account)["balances"]["ledger"] == 4_000_000
    made = reinvest(customer, account, period=period, amount=money)
    assert made.status == 201
    assert usd() == before
    assert made.body["event"]["legs"] == trial.body["legs"]
    figures = made.body["account"]["balances"]
    assert figures["buckets"] == {
        "cash": 2_999_999,
        "position:contracts": 750_001,
        "position:leaps": 250_000,
    }
    assert figures["total_value"] == 4_000_000
    assert customer.get(made.headers["location"]).body == made.body["event"]
    again = reinvest(customer, account, period=period, amount=money)
    assert (again.status, again.code) == (409, "already_reinvested")
    nodes = customer.get(f"/v1/accounts/{account['id']}/lineage").body["data"]
    assert [event["role"] for event in nodes[0]["events"]] == ["self"]
    entries = customer.get(f"/v1/accounts/{account['id']}/entries").body["data"]
    assert [entry["amount"] for entry in entries] == [4_000_000, -1_000_001, 750_001, 250_000]


def test_all_that_is_available_is_what_the_buffer_leaves(customer: Client) -> None:
    account = customer.funded(4_000_000, type="compounding", base_amount=3_000_000)
    customer.book(
        "transfer",
        1,
        from_account_id=account["id"],
        to_account_id=customer.account()["id"],
        hold=True,
    )
    made = reinvest(customer, account, period=this_quarter(customer, account), all_available=True)
    assert made.body["event"]["amount"] == 4_000_000 - 1 - 150_000
    assert made.body["account"]["balances"]["available"] == 150_000


def test_other_legs_are_for_managers(customer: Client, manager: Client) -> None:
    account = customer.funded(4_000_000, type="revenue")
    ask = {"period": this_quarter(customer, account), "all_available": True}
    shares = [{"bucket": "position:shares", "bps": 10_000}]
    assert reinvest(customer, account, **ask, legs=shares).code == "forbidden"
    twice = [{"bucket": "position:shares", "bps": 5_000}] * 2
    assert reinvest(manager, account, **ask, legs=twice).code == "shares_invalid"
    made = reinvest(manager, account, **ask, legs=shares)
    assert made.body["event"]["mode"] == "explicit"
    assert made.body["account"]["balances"]["buckets"]["position:shares"] == 4_000_000


@pytest.mark.parametrize(
    ("members", "status", "code"),
    [
        ({"amount": {"amount": 999_999, "currency": "USD"}}, 422, "below_minimum"),
        ({"amount": {"amount": 4_000_001, "currency": "USD"}}, 422, "insufficient_available"),
        ({"amount": {"amount": 100_000_001, "currency": "USD"}}, 422, "above_maximum"),
        ({"amount": {"amount": 1_000_000, "currency": "EUR"}}, 422, "currency_mismatch"),
        ({"all_available": True, "period": "9999-Q1"}, 422, "period_not_open"),
        ({"all_available": True, "period": "2026-Q5"}, 400, "validation_failed"),
        ({"all_available": False}, 400, "validation_failed"),
        ({}, 400, "validation_failed"),
    ],
)
def test_a_reinvestment_that_breaks_a_rule_is_refused(
    customer: Client, members: dict[str, Any], status: int, code: str
) -> None:
    account = customer.funded(200_000_000 if code == "above_maximum" else 4_000_000, type="revenue")
    refused = reinvest(customer, account, **{"period": "2026-Q1", **members})
    assert (refused.status, refused.code) == (status, code), refused.body
    assert fork(customer, account).code == "not_eligible"


# What shows growth


def test_candidates_say_what_a_request_would_say(customer: Client) -> None:
    ready = customer.funded(2 * FORK_SURPLUS)
    poor = customer.funded(1)
    saving = customer.funded(2_000_000, type="revenue")
    data = customer.get("/v1/growth/candidates").body["data"]
    found = {(item["account_id"], item["kind"]): item for item in data}
    assert len(found) == 6
    fork_ready = found[ready["id"], "fork"]
    assert (fork_ready["eligible"], fork_ready["reasons"]) == (True, [])
    assert fork_ready["amount"] == {"amount": 2 * FORK_SURPLUS, "currency": "USD"}
    assert found[poor["id"], "fork"]["reasons"] == ["not_eligible"]
    assert found[poor["id"], "fork"]["amount"] is None
    assert found[saving["id"], "reinvest"]["amount"]["amount"] == 2_000_000
    assert found[poor["id"], "reinvest"]["reasons"] == [
        "not_eligible",
        "below_minimum",
        "amount_too_small",
    ]
    for item in data:
        account = {"id": item["account_id"]}
        if item["kind"] == "fork":
            answer = fork(customer, account, {"dry_run": True})
        else:
            answer = reinvest(
                customer, account, period=item["period"], all_available=True, dry_run=True
            )
        assert (answer.status == 200) == item["eligible"]
        assert item["eligible"] or answer.code == item["reasons"][0]


def walk(client: Client, path: str) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        page = client.get(f"{path}&cursor={cursor}" if cursor else path).body
        found += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize("sort", ["seq", "-seq"])
def test_lists_of_growth_are_walked_to_their_end(customer: Client, sort: str) -> None:
    parent, one, _ = family(customer)
    for _ in range(3):
        customer.book("deposit", FORK_SURPLUS, to_account_id=parent["id"])
        assert fork(customer, parent).status == 201
    customer.book("deposit", FORK_SURPLUS, to_account_id=one["id"])
    assert fork(customer, one).status == 201
    events = walk(customer, f"/v1/growth/events?limit=2&sort={sort}")
    seqs = [event["seq"] for event in events]
    assert seqs == sorted(set(seqs), reverse=sort == "-seq")
    assert len(seqs) == 5
    own = walk(customer, f"/v1/growth/events?limit=1&account_id={one['id']}&kind=fork")
    assert [event["account_id"] for event in own] == [parent["id"], one["id"]]
    last = customer.get(f"/v1/growth/events?from_seq={max(seqs)}").body["data"]
    assert [event["seq"] for event in last] == [max(seqs)]
    nodes = walk(customer, f"/v1/accounts/{one['id']}/lineage?limit=2&sort={sort}")
    assert len({node["account_id"] for node in nodes}) == len(nodes) == 11
    depths = {node["account_id"]: node["depth"] for node in nodes}
    for node in nodes:
        assert node["root_id"] == parent["id"]
        if node["parent_id"]:
            assert node["depth"] == depths[node["parent_id"]] + 1
    candidates = walk(customer, f"/v1/growth/candidates?limit=3&sort={sort}")
    keys = [(item["account_id"], item["kind"], *item.get("sources", ())) for item in candidates]
    assert len(keys) == len(set(keys)) == 11 * 2 + 5
    ready = walk(customer, f"/v1/growth/candidates?limit=3&eligible=false&sort={sort}")
    assert len(ready) == sum(not item["eligible"] for item in candidates)


def test_growth_is_summed_by_quarter_and_currency(customer: Client, auditor: Client) -> None:
    _, one, two = family(customer)
    merge(customer, one, **into(two))
    euro = customer.funded(2_000_000, type="revenue", currency="EUR")
    period = this_quarter(customer, euro)
    reinvest(customer, euro, period=period, all_available=True)
    expected = [
        {
            "period": period,
            "currency": "EUR",
            "forks": 0,
            "merges": 0,
            "reinvestments": 1,
            "forked": 0,
            "merged": 0,
            "reinvested": 2_000_000,
        },
        {
            "period": period,
            "currency": "USD",
            "forks": 1,
            "merges": 1,
            "reinvestments": 0,
            "forked": 2 * FORK_SURPLUS,
            "merged": FORK_SURPLUS,
            "reinvested": 0,
        },
    ]
    assert customer.get("/v1/growth/summary").body["periods"] == expected
    own = auditor.get(f"/v1/growth/summary?owner_id={customer.user_id}&from_period={period}")
    assert own.body["periods"] == expected
    assert customer.get("/v1/growth/summary?to_period=2020-Q1").body["periods"] == []
    assert customer.get("/v1/growth/summary?to_period=2020").status == 400
    assert auditor.get("/v1/growth/summary").body["periods"][-1]["forks"] >= 1


HOSTILE = {
    "not json": b"{",
    "not utf-8": b'{"reason": "\xff"}',
    "deep": b"[" * 100_000,
    "deep member": b'{"reason": ' + b'{"a": ' * 5000 + b"1" + b"}" * 5001,
    "repeated": b'{"mode": "policy", "mode": "policy"}',
    "nan": b'{"amount": {"amount": NaN, "currency": "USD"}}',
    "huge": b'{"amount": {"amount": ' + b"9" * 5000 + b', "currency": "USD"}}',
    "over int64": b'{"amount": {"amount": 99999999999999999999, "currency": "USD"}}',
    "exponent": b'{"amount": {"amount": 1e400, "currency": "USD"}}',
    "fraction": b'{"amount": {"amount": 1.5, "currency": "USD"}}',
    "surrogate": b'{"reason": "\\ud800"}',
    "wrong type": b'{"sources": {"a": 1}, "period": 7, "policy": [], "name": null, "legs": 3}',
    "array": b"[]",
    "number": b"7",
    "null": b"null",
    "empty": b"",
    "large": b'{"reason": "' + b"x" * 1_100_000 + b'"}',
    "odd key": '{"\u202e\U0001f600": 1}'.encode(),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bodies_are_refused(admin: Client, raw: bytes) -> None:
    account = admin.funded(5)
    paths = [
        ("POST", "/v1/systems"),
        ("POST", f"/v1/accounts/{account['id']}/fork"),
        ("POST", "/v1/merges"),
        ("POST", f"/v1/accounts/{account['id']}/reinvest"),
        ("PUT", "/v1/growth/policies/generation"),
    ]
    for method, path in paths:
        headers = {"Idempotency-Key": str(uuid.uuid4()), "If-Match": '"1"'}
        answer = admin.send(method, path, raw=raw, headers=headers)
        assert 400 <= answer.status < 423, (path, answer.body)
    assert read(admin, account)["balances"]["ledger"] == 5


@pytest.mark.parametrize(
    "path",
    [
        "/v1/growth/candidates?kind=grow",
        "/v1/growth/candidates?eligible=yes",
        "/v1/growth/events?from_seq=-1",
        "/v1/growth/events?account_id=%00",
        "/v1/growth/events?cursor=x",
        "/v1/growth/summary?from_period=2026-Q9",
        "/v1/growth/summary?sort=seq",
        "/v1/growth/policies/none",
    ],
)
def test_wrong_parameters_are_refused(admin: Client, path: str) -> None:
    assert admin.get(path).status == 400


def test_what_is_not_there_is_not_found(admin: Client) -> None:
    lone = merge(admin, admin.funded(5), create_target={"type": "compounding"}).body
    for path in (
        "/v1/systems/sys_none",
        "/v1/growth/events/gev_none",
        "/v1/merges/gev_none",
        "/v1/accounts/acc_none/lineage",
    ):
        assert admin.get(path).status == 404
    parent = admin.funded(FORK_SURPLUS)
    event = fork(admin, parent).body["event"]["id"]
    assert admin.get(f"/v1/merges/{event}").status == 404
    assert admin.get(f"/v1/merges/{lone['id']}").status == 200


def test_grants_hide_and_open_growth(
    customer: Client, admin: Client, new_client: Callable[..., Client]
) -> None:
    parent, one, two = family(customer)
    merged = merge(customer, one, **into(two)).body
    machine = new_client("service")
    assert machine.get("/v1/growth/events").code == "forbidden"
    give = {"principal_id": machine.user_id, "scope": "growth:read"}
    assert admin.post("/v1/grants", give).status == 201
    path = f"/v1/growth/events?account_id={parent['id']}"
    assert [event["kind"] for event in machine.get(path).body["data"]] == ["fork"]
    assert fork(machine, parent).code == "forbidden"
    take = {
        "principal_id": customer.user_id,
        "scope": "accounts:read",
        "effect": "deny",
        "object_id": two["id"],
    }
    assert admin.post("/v1/grants", take).status == 201
    assert customer.get(f"/v1/merges/{merged['id']}").status == 404
    assert customer.get(f"/v1/transactions/{merged['event']['transaction_id']}").status == 404
    assert [e["kind"] for e in customer.get("/v1/growth/events").body["data"]] == ["fork"]
    seen = {item["account_id"] for item in customer.get("/v1/growth/candidates").body["data"]}
    assert seen == {parent["id"]}
    nodes = customer.get(f"/v1/accounts/{parent['id']}/lineage").body["data"]
    assert {node["account_id"] for node in nodes} == {parent["id"], one["id"]}
    kinds = [t["kind"] for t in customer.get("/v1/transactions").body["data"]]
    assert kinds == ["deposit"]
