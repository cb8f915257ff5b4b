"""Growth under real concurrency: every outcome is that of some order, one after the other."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

Client = Any
Account = dict[str, Any]
Act = Callable[[Client], Any]
THRESHOLD = 5_000_000
ROUNDS = 12


@pytest.fixture(scope="module")
def clients(server: Any, admin: Client) -> list[Client]:
    """The admin four times, each on its own connection; the server has two workers."""
    return [type(admin)(server.port, admin.token, admin.user_id) for _ in range(4)]


def race(clients: list[Client], *acts: Act) -> list[Any]:
    """Let every act begin at the same moment; return the answers in the order of the acts."""
    start = threading.Barrier(len(acts))

    def run(client: Client, act: Act) -> Any:
        start.wait(10)
        return act(client)

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, clients, acts))


def read(client: Client, account: Account) -> Account:
    return dict(client.get(f"/v1/accounts/{account['id']}").body)


def fork(account: Account) -> Act:
    return lambda client: client.post(f"/v1/accounts/{account['id']}/fork", {})


def merge(source: Account, target: Account) -> Act:
    body = {"sources": [source["id"]], "target_id": target["id"]}
    return lambda client: client.post("/v1/merges", body)


def deposit(account: Account, amount: int) -> Act:
    return lambda client: client.book("deposit", amount, to_account_id=account["id"])


def withdraw(account: Account, amount: int) -> Act:
    return lambda client: client.book("withdrawal", amount, from_account_id=account["id"])


def transfer(source: Account, target: Account, amount: int) -> Act:
    ends = {"from_account_id": source["id"], "to_account_id": target["id"]}
    return lambda client: client.book("transfer", amount, **ends)


def outcome(answer: Any) -> tuple[int, str | None]:
    return answer.status, answer.code


def value(client: Client, *accounts: Account) -> int:
    return sum(read(client, account)["balances"]["total_value"] for account in accounts)


@pytest.mark.parametrize("leaves", ["withdrawal", "transfer"])
@pytest.mark.parametrize("amount", [1, THRESHOLD, THRESHOLD + 1])
def test_fork_against_money_that_leaves(clients: list[Client], leaves: str, amount: int) -> None:
    first = clients[0]
    for _ in range(ROUNDS // 2):
        parent, other = first.funded(THRESHOLD + 1), first.account()
        act = (
            withdraw(parent, amount) if leaves == "withdrawal" else transfer(parent, other, amount)
        )
        forked, left = race(clients, fork(parent), act)
        balance = read(first, parent)["balances"]
        assert balance["available"] >= 0
        children = sum(c["balances"]["ledger"] for c in forked.body.get("children", ()))
        moved = amount if left.status == 201 else 0
        assert balance["ledger"] == THRESHOLD + 1 - children - moved
        if forked.status == 201 and left.status == 201:
            # The surplus forks off, so money can only have left before, down to the threshold.
            assert amount == 1
            assert left.body["seq"] < forked.body["event"]["seq"]
            assert children == THRESHOLD
        elif forked.status == 201:
            assert outcome(left) == (422, "insufficient_available")
            assert children == THRESHOLD + 1
        else:
            assert outcome(forked) == (422, "not_eligible")
            assert left.status == 201
            assert amount > 1


@pytest.mark.parametrize(("funds", "forks"), [(THRESHOLD, 1), (3 * THRESHOLD, 1)])
def test_forks_of_one_parent(clients: list[Client], funds: int, forks: int) -> None:
    first = clients[0]
    for _ in range(ROUNDS):
        parent = first.funded(funds)
        answers = race(clients, *[fork(parent)] * 4)
        made = [answer for answer in answers if answer.status == 201]
        assert len(made) == forks
        refused = [outcome(answer) for answer in answers if answer.status != 201]
        assert set(refused) <= {(422, "not_eligible")}
        children = [child for answer in made for child in answer.body["children"]]
        nodes = first.get(f"/v1/accounts/{parent['id']}/lineage").body["data"]
        assert {node["account_id"] for node in nodes} == {
            parent["id"],
            *(child["id"] for child in children),
        }
        assert value(first, parent, *children) == funds


def test_forks_of_one_parent_that_must_cool_down(clients: list[Client]) -> None:
    first = clients[0]
    path = "/v1/growth/policies/generation"
    before = first.get(path)
    policy = {**before.body["policy"], "name": "cooling"}
    policy["fork"] = {
        **policy["fork"],
        "fork_amount": "threshold",
        "trigger": "balance",
        "cool_down_s": 3600,
    }
    headers = {"If-Match": before.headers["etag"]}
    assert first.send("PUT", path, {"policy": policy}, headers=headers).status == 200
    try:
        for _ in range(ROUNDS):
            parent = first.funded(10 * THRESHOLD)
            answers = race(clients, *[fork(parent)] * 4)
            assert sorted(map(outcome, answers), key=str) == [
                (201, None),
                *[(409, "fork_cooldown_active")] * 3,
            ]
            for answer in answers:
                assert answer.status == 201 or 0 < int(answer.headers["retry-after"]) <= 3600
            assert read(first, parent)["balances"]["ledger"] == 9 * THRESHOLD
    finally:
        tag = first.get(path).headers["etag"]
        body = {"policy": before.body["policy"]}
        assert first.send("PUT", path, body, headers={"If-Match": tag}).status == 200


def test_merge_against_a_deposit_into_the_source(clients: list[Client]) -> None:
    first = clients[0]
    for _ in range(2 * ROUNDS):
        source, target = first.funded(100), first.funded(10, type="compounding")
        merged, paid = race(clients, merge(source, target), deposit(source, 7))
        assert merged.status == 201
        now = read(first, source)
        assert (now["status"], now["balances"]["total_value"]) == ("merged", 0)
        if paid.status == 201:
            assert paid.body["seq"] < merged.body["event"]["seq"]
            assert merged.body["event"]["amount"] == 107
        else:
            assert outcome(paid) == (409, "account_merged")
            assert paid.body["merged_into_id"] == target["id"]
        assert read(first, target)["balances"]["ledger"] == 110 + 7 * (paid.status == 201)


def test_merges_into_each_other(clients: list[Client]) -> None:
    first = clients[0]
    for _ in range(2 * ROUNDS):
        one, two = (first.funded(n, type="compounding") for n in (100, 11))
        answers = race(clients, merge(one, two), merge(two, one))
        assert sorted(map(outcome, answers), key=str) == [(201, None), (409, "account_merged")]
        ends = [read(first, account) for account in (one, two)]
        assert sorted(account["status"] for account in ends) == ["active", "merged"]
        survivor = next(account for account in ends if account["status"] == "active")
        assert survivor["merged_into_id"] is None
        assert survivor["balances"]["ledger"] == 111


def test_merges_of_one_source_into_two_targets(clients: list[Client]) -> None:
    first = clients[0]
    for _ in range(ROUNDS):
        source = first.funded(100)
        targets = [first.account(type="compounding") for _ in range(4)]
        answers = race(clients, *[merge(source, target) for target in targets])
        assert sorted(answer.status for answer in answers) == [201, 409, 409, 409]
        assert value(first, source, *targets) == 100


def test_close_against_a_credit(clients: list[Client]) -> None:
    first = clients[0]
    for _ in range(2 * ROUNDS):
        account = first.account()

        def close(client: Client, account: Account = account) -> Any:
            path = f"/v1/accounts/{account['id']}/close"
            return client.post(path, {}, headers={"If-Match": '"1"'})

        closed, paid = race(clients, close, deposit(account, 7))
        now = read(first, account)
        if closed.status == 200:
            assert outcome(paid) == (409, "account_closed")
            assert (now["status"], now["balances"]["ledger"]) == ("closed", 0)
        else:
            assert outcome(closed) == (409, "balance_not_zero")
            assert paid.status == 201
            assert (now["status"], now["balances"]["ledger"]) == ("active", 7)


def test_fork_against_a_merge_of_the_parent(clients: list[Client]) -> None:
    first = clients[0]
    for _ in range(ROUNDS):
        parent, target = first.funded(THRESHOLD), first.funded(1, type="compounding")
        forked, merged = race(clients, fork(parent), merge(parent, target))
        children = forked.body.get("children", [])
        if forked.status == 201:
            assert outcome(merged) == (422, "nothing_to_merge")
        else:
            assert outcome(forked) == (409, "account_merged")
            assert merged.status == 201
        assert value(first, parent, target, *children) == THRESHOLD + 1


def test_reinvestments_of_one_period(clients: list[Client]) -> None:
    first = clients[0]
    path = "/v1/growth/candidates?kind=reinvest&limit=1"
    for _ in range(ROUNDS):
        account = first.funded(4_000_000, type="revenue")
        period = first.get(f"{path}&account_id={account['id']}").body["data"][0]["period"]
        body = {"period": period, "amount": {"amount": 1_000_000, "currency": "USD"}}

        def ask(client: Client, account: Account = account, body: Any = body) -> Any:
            return client.post(f"/v1/accounts/{account['id']}/reinvest", body)

        answers = race(clients, *[ask] * 4)
        assert sorted(map(outcome, answers), key=str) == [
            (201, None),
            *[(409, "already_reinvested")] * 3,
        ]
        figures = read(first, account)["balances"]
        assert (figures["ledger"], figures["total_value"]) == (3_000_000, 4_000_000)


def test_one_key_makes_one_family(clients: list[Client]) -> None:
    first = clients[0]
    token = first.token
    for number in range(ROUNDS):
        parent = first.funded(4 * THRESHOLD)

        def ask(client: Client, parent: Account = parent, number: int = number) -> Any:
            client.token = token
            path = f"/v1/accounts/{parent['id']}/fork"
            return client.post(path, {}, key=f"one-key-for-four-{number:04d}")

        answers = race(clients, *[ask] * 4)
        assert len({answer.raw for answer in answers}) == 1
        assert [answer.status for answer in answers] == [201] * 4
        replayed = [answer.headers.get("idempotency-replayed") for answer in answers]
        assert sorted(map(str, replayed)) == ["None", "true", "true", "true"]
        nodes = first.get(f"/v1/accounts/{parent['id']}/lineage").body["data"]
        assert len(nodes) == 3


def test_the_book_is_whole_after_all_of_it(clients: list[Client]) -> None:
    """Every line of growth adds up, and no ended account holds anything."""
    first = clients[0]
    seqs, cursor = [], ""
    while cursor is not None:
        page = first.get(f"/v1/transactions?limit=200{cursor and '&cursor='}{cursor}").body
        for transaction in page["data"]:
            seqs.append(transaction["seq"])
            assert sum(line["amount"] for line in transaction["lines"]) == 0
        cursor = page["next_cursor"]
    assert seqs == list(range(1, len(seqs) + 1))
    ended = first.get("/v1/accounts?status=merged&limit=200").body["data"]
    assert not any(account["balances"]["total_value"] for account in ended)
