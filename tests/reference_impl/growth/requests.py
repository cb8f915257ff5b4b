"""Growth operations as a client sends them."""

from typing import Any

Client = Any
Account = dict[str, Any]
FORK_SURPLUS = 5_000_000


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
