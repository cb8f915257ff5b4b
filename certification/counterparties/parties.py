"""What a check holds of the counterparties: urls, faults, journals, actions."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import httpcore

from certification.counterparties import view
from certification.counterparties.faults import LEASE_DEFAULT_S, FaultKind, Value
from certification.counterparties.hosting import Host, Hosting, callback_secret, party_token
from certification.counterparties.journal import ENTRIES_MAX, Entry
from certification.counterparties.names import Party
from certification.errors import HarnessError, UsageError

TIMEOUT_S = 15.0
When = Mapping[str, Any]
ALWAYS: When = {"kind": "always"}


def first(n: int, *, per_key: bool = False) -> When:
    """Only the first n requests, or the first n attempts with each idempotency key."""
    return {"kind": "first", "n": n, "per_key": per_key}


def every(n: int) -> When:
    """Only the n-th request, the 2n-th, and so on."""
    return {"kind": "every", "n": n}


def window(*, for_s: float, after_s: float = 0.0) -> When:
    """From `after_s` after arming, for `for_s`."""
    return {"kind": "window", "after_s": after_s, "for_s": for_s}


def ramp(*, over_s: float, from_share: float = 0.0, to_share: float = 1.0) -> When:
    """Apply to a share of the requests that changes evenly over the time."""
    return {"kind": "ramp", "over_s": over_s, "from_share": from_share, "to_share": to_share}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """The control API as calls."""

    control_url: str
    token: str = field(repr=False)
    pool: httpcore.ConnectionPool = field(default_factory=httpcore.ConnectionPool, repr=False)

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """Call the control API; `UsageError` as it says, `HarnessError` where it is gone."""
        headers = [("authorization", f"Bearer {self.token}"), ("content-type", "application/json")]
        body = b"" if document is None else json.dumps(document).encode()
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
        try:
            answer = self.pool.request(
                method,
                f"{self.control_url}{path}",
                headers=headers,
                content=body,
                extensions={"timeout": timeout},
            )
            found = json.loads(answer.content)
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            ValueError,
        ) as error:
            raise HarnessError(f"the counterparties at {self.control_url}: {error!r}") from error
        if answer.status == 400:
            raise UsageError(str(found.get("error")), hint=found.get("hint"))
        if answer.status != 200:
            problem = f"the counterparties at {self.control_url}: {answer.status} {found}"[:300]
            raise HarnessError(problem, hint="is the token the one that they were started with?")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmedFault:
    """A fault at work; as a context manager it ends with the block."""

    party: SimulatedParty
    id: int

    def clear(self) -> None:
        """End it; nothing happens if its lease has run out."""
        self.party.call("DELETE", f"faults/{self.id}")

    def __enter__(self) -> Self:
        """Go on with the fault at work."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedParty:
    """One counterparty."""

    party: Party
    url: str
    token: str = field(repr=False)
    """What the deployment calls it with."""
    wire: Wire = field(repr=False)

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """Call its part of the control API."""
        return self.wire.call(method, f"/v1/counterparties/{self.party.value}/{path}", document)

    def fault(
        self,
        kind: FaultKind,
        *,
        when: When = ALWAYS,
        operations: tuple[str, ...] = (),
        lease_s: float = LEASE_DEFAULT_S,
        **parameters: Value,
    ) -> ArmedFault:
        """Put a fault to work until it is cleared or its lease runs out.

        `UsageError` names a parameter that the kind does not have or that is out of bounds.
        """
        document = {
            "kind": kind.value,
            "when": dict(when),
            "operations": list(operations),
            "lease_s": lease_s,
            **parameters,
        }
        return ArmedFault(party=self, id=self.call("POST", "faults", document)["id"])

    def clear(self) -> None:
        """End every fault."""
        self.call("DELETE", "faults")

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults at work, with `left_s` of their leases."""
        rows: list[dict[str, Any]] = self.call("GET", "faults")["faults"]
        return rows

    def mark(self) -> int:
        """Return the number of the last request so far, for `since`."""
        count: int = self.call("GET", "journal?limit=0")["count"]
        return count

    def journal(self, *, since: int = 0, operation: str | None = None) -> tuple[Entry, ...]:
        """Return what arrived or was sent after `since`, oldest first.

        Raises `HarnessError` where the memory of the journal no longer reaches back so far, because
        an answer would not be the truth.
        """
        query = urlencode({"since": since, "limit": ENTRIES_MAX})
        found = self.call("GET", f"journal?{query}")
        # After a reset nothing is kept: first_kept is count + 1 then, and nothing is missing.
        if found["entries"] and since and found["first_kept"] > since + 1:
            raise HarnessError(f"the journal of {self.party.value} begins at {found['first_kept']}")
        entries = (Entry(**row) for row in found["entries"])
        return tuple(row for row in entries if operation in {None, row.operation})

    def callers(self, *, since: int = 0) -> tuple[view.Caller, ...]:
        """Return what each instance of the deployment did after `since`."""
        return view.callers(self.journal(since=since))

    def attempts(
        self, *, since: int = 0, operation: str | None = None
    ) -> tuple[view.Attempts, ...]:
        """Return the requests after `since` by idempotency key."""
        return view.attempts(self.journal(since=since, operation=operation))

    def violations(self, *, since: int = 0) -> tuple[Entry, ...]:
        """Return the requests after `since` that do not follow the outbound contract."""
        return tuple(row for row in self.journal(since=since) if row.violations)

    def state(self) -> dict[str, Any]:
        """Return what it holds: orders and positions, executions, counts of events, reports."""
        found: dict[str, Any] = self.call("GET", "state")
        return found

    def act(self, name: str, **arguments: Any) -> Any:
        """Have it do something: see docs/counterparties.md for the actions of each."""
        return self.call("POST", f"actions/{name}", arguments)["result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterparties:
    """The five, wherever they are served: `start` serves them here, `attach` finds them."""

    strategy_engine: SimulatedParty
    market: SimulatedParty
    user_management: SimulatedParty
    notification: SimulatedParty
    reporting: SimulatedParty
    callback_secret: str = field(repr=False)
    wire: Wire = field(repr=False)

    @classmethod
    @contextlib.contextmanager
    def start(cls, hosting: Hosting | None = None) -> Iterator[Counterparties]:
        """Serve the five for the time of the context, on free ports of the loopback by default."""
        host = Host(hosting or Hosting(token=secrets.token_urlsafe(32)))
        try:
            host.serve()
            parties = cls.attach(host.control_url, host.hosting.token)
            try:
                yield parties
            finally:
                parties.close()
        finally:
            host.stop()

    @classmethod
    def attach(cls, control_url: str, token: str) -> Counterparties:
        """Find simulators that are served elsewhere; `HarnessError` where there are none."""
        wire = Wire(control_url=control_url.rstrip("/"), token=token)
        try:
            rows = wire.call("GET", "/v1/counterparties")["counterparties"]
        except HarnessError:
            wire.pool.close()
            raise
        urls = {row["name"]: row["url"] for row in rows}
        handles = {
            party.attribute: SimulatedParty(
                party=party,
                url=urls[party.value],
                token=party_token(token, party),
                wire=wire,
            )
            for party in Party
        }
        return cls(**handles, callback_secret=callback_secret(token), wire=wire)

    def __iter__(self) -> Iterator[SimulatedParty]:
        """Go over the five."""
        return (getattr(self, party.attribute) for party in Party)

    def point_at(self, base_url: str, *, ca: Path | None = None) -> None:
        """Say where the deployment takes callbacks; `ca` is a private authority's PEM file."""
        document = {"base_url": base_url, **({"ca": str(ca)} if ca is not None else {})}
        self.wire.call("PUT", "/v1/deployment", document)

    def overview(self) -> dict[str, Any]:
        """Return counts, faults and last arrivals; `HarnessError` where a simulator broke."""
        found: dict[str, Any] = self.wire.call("GET", "/v1/counterparties")
        if found["broken"]:
            raise HarnessError(f"a counterparty broke: {found['broken'][0]}")
        return found

    def close(self) -> None:
        """Close our connections; the simulators go on."""
        self.wire.pool.close()

    def reset(self) -> None:
        """Forget faults, state and journal; the numbers of the journal go on."""
        self.wire.call("POST", "/v1/reset")
