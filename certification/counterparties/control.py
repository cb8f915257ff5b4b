"""The control API: faults, journal, state and actions of the simulators, as JSON behind a token."""

from __future__ import annotations

import hmac
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from certification.contract.decode import ContractDecodeError, parse_json
from certification.counterparties import playing
from certification.counterparties.callbacks import Callbacks
from certification.counterparties.connections import Connection
from certification.counterparties.faults import parse_fault
from certification.counterparties.journal import ENTRIES_MAX
from certification.counterparties.names import Party
from certification.counterparties.simulator import Simulator
from certification.counterparties.wire import Reply, Request, json_reply
from certification.errors import UsageError
from certification.target.address import AddressError, parse_base_url

LIMIT_DEFAULT = 1_000
_STATUS_OF_USAGE = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request to the control API."""

    simulator: Simulator | None
    rest: tuple[str, ...]
    """What of the path follows."""
    query: Mapping[str, str]
    body: Any


Route = Callable[["Control", Asked], Any]


@dataclass(slots=True, eq=False)
class Control:
    """Answers the control API in the simulators' own thread."""

    token: str
    simulators: Mapping[Party, Simulator]
    urls: Mapping[Party, str]
    callbacks: Callbacks
    new_behaviours: Callable[[], None]
    """Gives every simulator a fresh state."""
    regate: Callable[[], Any]
    """Opens and closes ports as the faults now have it."""
    broken: list[str] = field(default_factory=list)
    """What went wrong in the simulators themselves."""

    async def answer(self, connection: Connection, request: Request) -> bool:
        """Answer one request."""
        reply = self._reply(request)
        # An armed or cleared `refuse` is in force when the caller reads the answer.
        await self.regate()
        await playing.answer(connection, reply, keep_alive=request.keep_alive)
        return True

    def _reply(self, request: Request) -> Reply:
        given = request.headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            return json_reply(
                401,
                {"error": "no token, or not the one of this run"},
                headers={"www-authenticate": "Bearer"},
            )
        path, _, query = request.target.partition("?")
        try:
            body = parse_json(request.body) if request.body else {}
            found = self._route(request.method, path, dict(parse_qsl(query)), body)
        except ContractDecodeError as error:
            return json_reply(400, {"error": f"body: {error.reason}"})
        except UsageError as error:
            return json_reply(_STATUS_OF_USAGE, {"error": error.message, "hint": error.hint})
        if found is None:
            return json_reply(404, {"error": f"{request.method} {path[:100]}: no such operation"})
        return json_reply(200, found)

    def _route(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        parts = tuple(path.split("/")[1:])
        if parts[:2] == ("v1", "counterparties") and len(parts) > 3:
            simulator = self._simulator(parts[2])
            route = _OF_ONE.get((method, parts[3]))
            asked = Asked(simulator=simulator, rest=parts[4:], query=query, body=body)
            return None if route is None or simulator is None else route(self, asked)
        route = _OF_ALL.get((method, path))
        asked = Asked(simulator=None, rest=(), query=query, body=body)
        return None if route is None else route(self, asked)

    def _simulator(self, name: str) -> Simulator | None:
        return next((row for party, row in self.simulators.items() if party.value == name), None)

    # -- of all ---------------------------------------------------------------------------------

    def _overview(self, asked: Asked) -> Any:  # noqa: ARG002  a route's signature
        rows = [
            {**simulator.facts(), "url": self.urls[party]}
            for party, simulator in self.simulators.items()
        ]
        return {
            "counterparties": rows,
            "deployment": self.callbacks.base_url,
            "callbacks_dropped": self.callbacks.dropped,
            "broken": self.broken[:20],
        }

    def _deployment(self, asked: Asked) -> Any:
        value = asked.body.get("base_url") if isinstance(asked.body, dict) else None
        try:
            address = parse_base_url(value if isinstance(value, str) else "")
        except AddressError as error:
            raise UsageError(f"base_url: {error}", hint='{"base_url": "https://host"}') from None
        self.callbacks.send_to(address.text, _trust(asked.body.get("ca")))
        return {"deployment": address.text}

    def _reset(self, asked: Asked) -> Any:
        for simulator in self.simulators.values():
            simulator.disarm()
            simulator.counts.clear()
            simulator.answers.clear()
            simulator.first.clear()
            simulator.journal.forget()
        self.new_behaviours()
        return self._overview(asked)

    # -- of one ---------------------------------------------------------------------------------

    def _faults(self, asked: Asked) -> Any:
        now_s = time.monotonic()
        rows = [
            {
                "id": armed.id,
                **armed.fault.document(),
                "left_s": max(0.0, armed.armed_s + armed.fault.lease_s - now_s),
            }
            for armed in _one(asked).plan
        ]
        return {"faults": rows}

    def _replace_faults(self, asked: Asked) -> Any:
        given = asked.body.get("faults") if isinstance(asked.body, dict) else None
        if not isinstance(given, list) or len(given) > 100:
            raise UsageError("faults: not a list of at most 100", hint='{"faults": [...]}')
        simulator = _one(asked)
        known = simulator.outbound.operations
        faults = [parse_fault(row, party=simulator.party, operations=known) for row in given]
        simulator.disarm()
        for fault in faults:
            simulator.arm(fault, time.monotonic())
        return self._faults(asked)

    def _add_fault(self, asked: Asked) -> Any:
        simulator = _one(asked)
        if len(simulator.plan) >= 100:
            raise UsageError("faults: there are 100 already", hint="clear some first")
        known = simulator.outbound.operations
        fault = parse_fault(asked.body, party=simulator.party, operations=known)
        return {"id": simulator.arm(fault, time.monotonic()).id}

    def _clear_faults(self, asked: Asked) -> Any:
        given = asked.rest[0] if asked.rest else None
        _one(asked).disarm(None if given is None else _number(given, "id"))
        return self._faults(asked)

    def _journal(self, asked: Asked) -> Any:
        journal = _one(asked).journal
        since = _number(asked.query.get("since", "0"), "since")
        limit = _number(asked.query.get("limit", str(LIMIT_DEFAULT)), "limit")
        rows: list[dict[str, Any]] = []
        for entry in journal.since(since):
            if len(rows) >= min(limit, ENTRIES_MAX):
                break
            rows.append(entry.document())
        journal.flush()
        return {"entries": rows, "count": journal.count, "first_kept": journal.first_kept}

    def _state(self, asked: Asked) -> Any:
        return _one(asked).behaviour.state()

    def _act(self, asked: Asked) -> Any:
        if len(asked.rest) != 1 or not isinstance(asked.body, dict):
            raise UsageError("POST .../actions/NAME with a JSON object")
        return {"result": _one(asked).behaviour.act(asked.rest[0], asked.body)}


_OF_ALL: Mapping[tuple[str, str], Route] = {
    ("GET", "/v1/counterparties"): Control._overview,  # noqa: SLF001  a table of its own methods
    ("PUT", "/v1/deployment"): Control._deployment,  # noqa: SLF001
    ("POST", "/v1/reset"): Control._reset,  # noqa: SLF001
}
_OF_ONE: Mapping[tuple[str, str], Route] = {
    ("GET", "faults"): Control._faults,  # noqa: SLF001
    ("PUT", "faults"): Control._replace_faults,  # noqa: SLF001
    ("POST", "faults"): Control._add_fault,  # noqa: SLF001
    ("DELETE", "faults"): Control._clear_faults,  # noqa: SLF001
    ("GET", "journal"): Control._journal,  # noqa: SLF001
    ("GET", "state"): Control._state,  # noqa: SLF001
    ("POST", "actions"): Control._act,  # noqa: SLF001
}


def _one(asked: Asked) -> Simulator:
    if asked.simulator is None:
        raise UsageError("no counterparty is named")
    return asked.simulator


def _trust(ca: object) -> ssl.SSLContext | None:
    """Return trust in a private authority alone; None for the usual ones."""
    if ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(ca))
    except OSError as error:
        raise UsageError(f"ca: {str(ca)[:200]}: {error.strerror}", hint="give a PEM file") from None


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise UsageError(f"{name}: {text[:40]!r} is not a number")
    return int(text)
