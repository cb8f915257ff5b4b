"""The market: orders, executions, positions, quotes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from certification.counterparties.behaviour import (
    Action,
    Behaviour,
    Bounded,
    Call,
    Handler,
    argument,
    now,
    problem_reply,
)
from certification.counterparties.outbound import execution_report_violations
from certification.counterparties.wire import Reply, json_reply
from certification.errors import UsageError

FINAL = frozenset({"filled", "cancelled", "rejected"})
FILL_DELAY_S = 0.05
RESTING, REJECTED, REFUSED = "RESTING", "REJECTED", "REFUSED"
"""An instrument that begins so stays open, is rejected by a report, or is refused at once."""
FILLS = ("auto", "manual")
REPORTS_MAX = 200

Json = dict[str, Any]


@dataclass(slots=True)
class Market(Behaviour):
    """Fills what its prices allow, by itself or when told to."""

    orders: Bounded[str, Json] = field(default_factory=Bounded)
    """By the deployment's id."""
    by_id: Bounded[str, str] = field(default_factory=Bounded)
    reports: Bounded[str, list[Json]] = field(default_factory=Bounded)
    """Of each order, by the market's id; what was made up by `send` is not among them."""
    positions: Bounded[str, dict[str, int]] = field(default_factory=Bounded)
    quotes: Bounded[str, int] = field(default_factory=Bounded)
    """How many quotes of an instrument were given."""
    fills: str = "auto"

    def price(self, instrument: str) -> tuple[int, int]:
        """Return bid and ask in minor units; they depend on the seed and the instrument alone."""
        ask = 1_000 + self.around.draw(f"price:{instrument}", 90_000)
        return ask - 1 - self.around.draw(f"spread:{instrument}", 9), ask

    def state(self) -> Json:
        """Return orders and positions."""
        return {
            "fills": self.fills,
            "orders": list(self.orders.values()),
            "positions": {name: dict(held) for name, held in self.positions.items()},
        }

    # -- what a deployment calls ---------------------------------------------------------------

    def place(self, call: Call) -> Reply:
        """Take an order; its executions follow."""
        body = call.body
        if body["client_order_id"] in self.orders:
            return problem_reply("duplicate_order", "Read the order.")
        if body["instrument"].startswith(REFUSED):
            return problem_reply("order_refused", "The instrument is not traded.")
        order = {
            "order_id": f"mkt-{self.number()}",
            **body,
            "filled": 0,
            "status": "open",
            "sequence": 0,
            "created_at": now(),
        }
        self.orders[body["client_order_id"]] = order
        self.by_id[order["order_id"]] = body["client_order_id"]
        reply = json_reply(201, order, headers={"location": f"/v1/orders/{order['order_id']}"})
        if self.fills == "auto":
            self.around.later(FILL_DELAY_S, lambda: self._execute(body["client_order_id"]))
        return reply

    def find(self, call: Call) -> Reply:
        """Return the order with the deployment's id, if there is one."""
        order = self.orders.get(call.query["client_order_id"])
        return json_reply(200, {"data": [order] if order else []})

    def get(self, call: Call) -> Reply:
        """Return an order."""
        order = self.orders.get(self.by_id.get(call.path["order_id"], ""))
        if order is None:
            return problem_reply("not_found", "There is no order with this id.")
        return json_reply(200, order)

    def cancel(self, call: Call) -> Reply:
        """Cancel what is not filled."""
        order = self.orders.get(self.by_id.get(call.path["order_id"], ""))
        if order is None:
            return problem_reply("not_found", "There is no order with this id.")
        if order["status"] in FINAL - {"cancelled"}:
            return problem_reply("order_not_open", f"The order is {order['status']}.")
        if order["status"] != "cancelled":
            self._report(order, "cancel")
        return json_reply(200, order)

    def get_executions(self, call: Call) -> Reply:
        """Return what was reported about an order."""
        order_id, after = call.path["order_id"], int(call.query.get("after", "0"))
        if order_id not in self.by_id:
            return problem_reply("not_found", "There is no order with this id.")
        rows = [row for row in self.reports.get(order_id, ()) if row["sequence"] > after]
        return json_reply(200, {"data": rows[:REPORTS_MAX]})

    def get_positions(self, call: Call) -> Reply:
        """Return what an account holds."""
        account = call.query["account_ref"]
        rows = [
            {"instrument": name, "quantity": quantity}
            for name, quantity in sorted(self.positions.get(account, {}).items())
            if quantity
        ]
        return json_reply(200, {"account_ref": account, "as_of": now(), "data": rows})

    def quote(self, call: Call) -> Reply:
        """Return the price of an instrument."""
        instrument = call.path["instrument"]
        if instrument.startswith(REFUSED):
            return problem_reply("not_found", "The instrument is not traded.")
        bid, ask = self.price(instrument)
        currency = call.query.get("currency", "USD")
        self.quotes[instrument] = self.quotes.get(instrument, 0) + 1
        return json_reply(
            200,
            {
                "instrument": instrument,
                "bid": {"amount": bid, "currency": currency},
                "ask": {"amount": ask, "currency": currency},
                "as_of": now(),
                "sequence": self.quotes[instrument],
            },
        )

    # -- what happens to an order --------------------------------------------------------------

    def _execute(self, client_order_id: str) -> None:
        order = self.orders.get(client_order_id)
        if order is None or order["status"] in FINAL:
            return
        if order["instrument"].startswith(REJECTED):
            self._report(order, "reject")
            return
        bid, ask = self.price(order["instrument"])
        limit, buys = order["limit_price"]["amount"], order["side"] == "buy"
        marketable = limit >= ask if buys else limit <= bid
        if order["instrument"].startswith(RESTING) or not marketable:
            return
        price, left = (ask if buys else bid), order["quantity"] - order["filled"]
        first = left * (1 + self.around.draw(client_order_id, 9)) // 10
        if 0 < first < left:
            self._report(order, "partial_fill", first, price)
        self._report(order, "fill", order["quantity"] - order["filled"], price)

    def _report(
        self, order: Json, kind: str, quantity: int = 0, price: int = 0, tamper: str = "none"
    ) -> Json:
        """Change the order and tell the deployment."""
        order["sequence"] += 1
        report: Json = {
            "execution_id": f"{order['order_id']}-{order['sequence']}",
            "order_id": order["client_order_id"],
            "kind": kind,
            "occurred_at": now(),
            "sequence": order["sequence"],
        }
        if kind in {"fill", "partial_fill"}:
            report |= {
                "quantity": quantity,
                "price": {"amount": price, "currency": order["limit_price"]["currency"]},
            }
            order["filled"] += quantity
            held = self.positions.setdefault(order["account_ref"], {})
            signed = quantity if order["side"] == "buy" else -quantity
            held[order["instrument"]] = held.get(order["instrument"], 0) + signed
        order["status"] = {
            "fill": "filled",
            "partial_fill": "partially_filled",
            "cancel": "cancelled",
            "reject": "rejected",
        }.get(kind, order["status"])
        self.reports.setdefault(order["order_id"], []).append(report)
        self.around.callback(report, tamper)
        return report

    # -- what the control API has it do --------------------------------------------------------

    def set_fills(self, arguments: Json) -> Json:
        """Fill by itself (auto) or only when told to (manual)."""
        mode = argument(arguments, "mode", str)
        if mode not in FILLS:
            raise UsageError(f"mode: {mode[:60]!r} is not one of {', '.join(FILLS)}")
        self.fills = mode
        return {"fills": mode}

    def fill(self, arguments: Json) -> Json:
        """Execute an order in part (`quantity`) or to its end, and report it."""
        order = self.orders.get(argument(arguments, "client_order_id", str))
        if order is None or order["status"] in FINAL:
            raise UsageError("client_order_id: no open order has this id")
        left = order["quantity"] - order["filled"]
        quantity = argument(arguments, "quantity", int, left)
        price = argument(arguments, "price", int, order["limit_price"]["amount"])
        if not 1 <= quantity <= left or price < 1:
            raise UsageError(f"quantity: not between 1 and {left}, or price below 1")
        kind = "fill" if quantity == left else "partial_fill"
        return self._report(order, kind, quantity, price)

    def reject(self, arguments: Json) -> Json:
        """Reject an open order, and report it."""
        order = self.orders.get(argument(arguments, "client_order_id", str))
        if order is None or order["status"] in FINAL:
            raise UsageError("client_order_id: no open order has this id")
        return self._report(order, "reject")

    def send(self, arguments: Json) -> Json:
        """Send any execution report, without a change of the order it names.

        `tamper` says what is wrong with its signature; `raw` lets a report through that the
        contract does not allow.
        """
        report = argument(arguments, "report", dict)
        if not arguments.get("raw", False):
            found = execution_report_violations(report)
            if found:
                raise UsageError(f"report{found[0].pointer}: {found[0].message}")
        self.around.callback(report, argument(arguments, "tamper", str, "none"))
        return report

    def drift(self, arguments: Json) -> Json:
        """Change a position behind the deployment's back, for a reconciliation to find."""
        account, instrument = (
            argument(arguments, name, str) for name in ("account_ref", "instrument")
        )
        held = self.positions.setdefault(account, {})
        held[instrument] = held.get(instrument, 0) + argument(arguments, "quantity", int)
        return dict(held)

    operations: ClassVar[Mapping[str, Handler]] = {
        "placeOrder": place,
        "findOrders": find,
        "getOrder": get,
        "cancelOrder": cancel,
        "getExecutions": get_executions,
        "getPositions": get_positions,
        "getQuote": quote,
    }
    actions: ClassVar[Mapping[str, Action]] = {
        "fills": set_fills,
        "fill": fill,
        "reject": reject,
        "send": send,
        "drift": drift,
    }
