"""Live objects for generated requests: ids that exist and belong to the one who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from certification import growing

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Json

ACCOUNTS = ("from_account_id", "to_account_id", "account_id", "target_id", "sweep_to", "object_id")
PEOPLE = ("owner_id", "principal_id")
AMOUNT_MAX = 900
"""What a generated amount is brought down to, so that some can be paid."""
FUNDS = 10_000


@dataclass(slots=True, kw_only=True)
class Pool:
    """Makes objects when they are first asked for, and again once they were used up."""

    ctx: Context
    accounts: list[Json] = field(default_factory=list)
    made: dict[str, str] = field(default_factory=dict)
    turn: int = 0

    def renew(self) -> None:
        """Forget everything: the objects have been closed, settled or merged."""
        self.accounts.clear()
        self.made.clear()

    def account(self) -> str:
        """Return the id of an account with some money, another one each time."""
        if len(self.accounts) < 2:
            self.accounts.append(self.ctx.arrange.account(funds=FUNDS, withdrawal_allowed=True))
        self.turn += 1
        return str(self.accounts[self.turn % len(self.accounts)]["id"])

    def id_for(self, path: str, operation: str) -> str:
        """Return an id for the placeholder of a path."""
        area = path.split("/")[2]
        if operation in {"settleTransaction", "voidTransaction"}:
            area = "holds"
        if operation in {"forkAccount", "reinvestAccount"}:
            area = operation
        if area == "accounts":
            return self.account()
        if area not in self.made:
            self.made[area] = self._makers[area]()
        return self.made[area]

    @property
    def _makers(self) -> Mapping[str, Callable[[], str]]:
        return {
            "transactions": lambda: self._transaction(hold=False),
            "holds": lambda: self._transaction(hold=True),
            "users": lambda: self.ctx.customer.user_id,
            "forkAccount": lambda: str(growing.ripe(self.ctx).account["id"]),
            "reinvestAccount": lambda: str(growing.reinvestable(self.ctx).account["id"]),
            "systems": self._system,
            "growth": self._event,
            "merges": self._merge,
            "reports": self._report,
            "grants": self._grant,
        }

    def _transaction(self, *, hold: bool) -> str:
        account = self.ctx.arrange.account(funds=FUNDS, withdrawal_allowed=True)
        fields = {"hold": True} if hold else {}
        body = self.ctx.arrange.withdrawal_body(account, AMOUNT_MAX, **fields)
        return str(self.ctx.arrange.transaction(body)["id"])

    def _system(self) -> str:
        body = {"name": self.ctx.name("system"), "amount": self.ctx.arrange.money(FUNDS)}
        opened = self.ctx.customer.call("openSystem", body=body, expect=201).body
        for account in opened["accounts"]:
            self.ctx.created("account", account["id"], "customer")
        return str(opened["id"])

    def _event(self) -> str:
        forked = growing.fork(self.ctx, growing.ripe(self.ctx).account)
        return str(forked.body["event"]["id"])

    def _merge(self) -> str:
        sources, target = growing.mergeable(self.ctx)
        return str(growing.merge(self.ctx, sources, target).body["id"])

    def _report(self) -> str:
        account = self.account()
        body = {"report": "entries", "account_id": account}
        made = self.ctx.customer.call("createReport", body=body, expect=201).body
        path = {"id": made["id"]}

        def done() -> bool:
            status = self.ctx.customer.call("getReport", path=path, expect=200).body["status"]
            return bool(status == "done")

        self.ctx.until(done, deadline_s=5)
        return str(made["id"])

    def _grant(self) -> str:
        body = self.ordinary("createGrant")
        return str(self.ctx.customer.call("createGrant", body=body, expect=201).body["id"])

    def ordinary(self, operation: str) -> Json | None:
        """Return a body that any deployment takes, of an operation whose generated ones depend.

        Most generated bodies of these ask for what only some roles may, or for instants that may
        have passed; whether any succeeds must not hang on what was drawn.
        """
        if operation == "updateAccount":
            return {"name": self.ctx.name("fuzzed")}
        if operation == "createGrant":
            mine = {"scope": "accounts:read", "object_id": self.account()}
            return {"principal_id": self.somebody(), **mine}
        if operation not in {"createTransaction", "createTransactionBatch"}:
            return None
        amount = self.ctx.arrange.money(AMOUNT_MAX)
        deposit: Json = {"kind": "deposit", "amount": amount, "to_account_id": self.account()}
        if operation == "createTransaction":
            return deposit
        return {"items": [deposit]}

    def somebody(self) -> str:
        """Return a user who sees every account anyway, so that a grant opens nothing to anybody."""
        role = next((r for r in ("operator", "manager") if r in self.ctx.sessions), "customer")
        return self.ctx.actor(role).user_id

    # -- bodies ------------------------------------------------------------------------------------

    def alive(self, value: Any, name: str = "") -> Any:
        """Return a generated body with live ids, declared currencies and payable amounts."""
        if isinstance(value, Mapping):
            return {key: self.alive(member, key) for key, member in value.items()}
        if isinstance(value, list):
            return [self.alive(member, name) for member in value]
        if isinstance(value, str) and (name in ACCOUNTS or name == "sources"):
            return self.account()
        return self._plain(value, name)

    def _plain(self, value: Any, name: str) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if name == "owner_id" and isinstance(value, str):
            return self.ctx.customer.user_id
        if name == "principal_id" and isinstance(value, str):
            return self.somebody()
        if name == "effect" and value == "deny":
            return "allow"
        if name == "currency" and isinstance(value, str) and value.isupper() and len(value) == 3:
            return self.ctx.arrange.currency
        if name == "amount" and whole and value > AMOUNT_MAX:
            return value % AMOUNT_MAX + 1
        return value
