"""The fault vocabulary: closed kinds, their parameters with bounds, and when a fault applies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from certification.counterparties.names import Party
from certification.errors import UsageError

E = TypeVar("E", bound=Enum)
Value = bool | int | float | str
LEASE_DEFAULT_S = 60.0
LEASE_MAX_S = 3600.0
HUGE_BYTES = 100_000_000


class FaultKind(Enum):
    """What a simulator does instead of answering as its contract says."""

    REFUSE = "refuse"
    """The port is closed and open connections are cut."""
    HANG = "hang"
    """The request is read and never answered; the connection is cut when the fault ends."""
    RESET = "reset"
    """RST after the request was read, or in the middle of the answer."""
    STATUS = "status"
    """A problem document with a 4xx or 5xx."""
    RATE_LIMIT = "rate_limit"
    """429 with Retry-After."""
    SLOW = "slow"
    """The first byte comes late, then the right answer."""
    DRIBBLE = "dribble"
    """The right answer, a few bytes at a time."""
    TRUNCATED = "truncated"
    """Less of the body than Content-Length says, then the end."""
    MALFORMED = "malformed"
    """Bytes that are not HTTP, or a body that is not JSON."""
    HUGE = "huge"
    """An answer of a hundred megabytes, streamed."""
    WRONG_SCHEMA = "wrong_schema"
    """JSON that lacks a member which the contract requires."""
    STALE = "stale"
    """A read shows what it showed first, or a time long past."""
    DUPLICATED = "duplicated"
    """Each callback is delivered several times."""
    REORDERED = "reordered"
    """Callbacks wait for others and are delivered the other way round."""


class WhenKind(Enum):
    """Which of the requests that a fault matches it applies to."""

    ALWAYS = "always"
    FIRST = "first"
    """The first n, or with `per_key` the first n attempts with each idempotency key."""
    EVERY = "every"
    """The n-th, the 2n-th, ..."""
    WINDOW = "window"
    """From `after_s` after arming, for `for_s`: an outage."""
    RAMP = "ramp"
    """A share of the requests that goes from one value to another over a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One parameter: its default and what it may be; numbers between, texts among."""

    default: Value
    low: float = 0
    high: float = 0
    among: tuple[str, ...] = ()

    def problem(self, value: object) -> str | None:
        """Say what is wrong with a value, None if nothing is."""
        if isinstance(self.default, bool):
            return None if isinstance(value, bool) else "is not true or false"
        if self.among:
            return None if value in self.among else f"is not one of {', '.join(self.among)}"
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if not numeric or (isinstance(self.default, int) and not isinstance(value, int)):
            return "is not a whole number" if isinstance(self.default, int) else "is not a number"
        # Written this way round, NaN is refused too.
        if not self.low <= value <= self.high:  # type: ignore[operator]  # numeric says that it is one
            return f"is not between {self.low:g} and {self.high:g}"
        return None


_EFFECT = Bound(default=False)
"""Whether the request has its effect although the caller does not learn it."""
PARAMETERS: Mapping[FaultKind, Mapping[str, Bound]] = {
    FaultKind.REFUSE: {},
    FaultKind.HANG: {"effect": _EFFECT},
    FaultKind.RESET: {
        "at": Bound(default="request", among=("request", "response")),
        "effect": _EFFECT,
    },
    FaultKind.STATUS: {"status": Bound(default=503, low=400, high=599), "effect": _EFFECT},
    FaultKind.RATE_LIMIT: {"retry_after_s": Bound(default=1, low=0, high=3600)},
    FaultKind.SLOW: {"delay_s": Bound(default=1.0, low=0, high=600)},
    FaultKind.DRIBBLE: {"bytes_per_s": Bound(default=10, low=1, high=1_000_000)},
    FaultKind.TRUNCATED: {"share": Bound(default=0.5, low=0, high=0.99)},
    FaultKind.MALFORMED: {
        "form": Bound(default="json", among=("json", "status_line", "header", "chunk", "noise"))
    },
    FaultKind.HUGE: {"bytes": Bound(default=HUGE_BYTES, low=1, high=1_000_000_000)},
    FaultKind.WRONG_SCHEMA: {},
    FaultKind.STALE: {"age_s": Bound(default=3600, low=0, high=366 * 86400)},
    FaultKind.DUPLICATED: {"times": Bound(default=2, low=2, high=100)},
    FaultKind.REORDERED: {
        "held": Bound(default=2, low=2, high=100),
        "wait_s": Bound(default=1.0, low=0, high=60),
    },
}
"""Every parameter of every kind; nothing else is taken."""
WHEN_PARAMETERS: Mapping[WhenKind, Mapping[str, Bound]] = {
    WhenKind.ALWAYS: {},
    WhenKind.FIRST: {
        "n": Bound(default=1, low=1, high=1_000_000),
        "per_key": Bound(default=False),
    },
    WhenKind.EVERY: {"n": Bound(default=2, low=1, high=1_000_000)},
    WhenKind.WINDOW: {
        "after_s": Bound(default=0.0, low=0, high=LEASE_MAX_S),
        "for_s": Bound(default=10.0, low=0, high=LEASE_MAX_S),
    },
    WhenKind.RAMP: {
        "from_share": Bound(default=0.0, low=0, high=1),
        "to_share": Bound(default=1.0, low=0, high=1),
        "over_s": Bound(default=10.0, low=0.001, high=LEASE_MAX_S),
    },
}
CALLBACK_KINDS = frozenset({FaultKind.DUPLICATED, FaultKind.REORDERED})
"""Apply to what the market sends, not to what it answers."""
BY_TIME_ONLY = frozenset({FaultKind.REFUSE, FaultKind.REORDERED})
"""Cannot be counted: there is no request to count, or several belong together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Which of the matching requests; `parameters` are complete."""

    kind: WhenKind
    parameters: Mapping[str, Value]

    def number(self, name: str) -> float:
        """Return a numeric parameter."""
        return float(self.parameters[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One validated fault; `parameters` are complete."""

    kind: FaultKind
    parameters: Mapping[str, Value]
    when: When
    operations: tuple[str, ...]
    """Operation ids of the outbound contract; empty: all, and what is no operation too."""
    lease_s: float
    """After so long it ends by itself, whoever armed it."""

    def number(self, name: str) -> float:
        """Return a numeric parameter."""
        return float(self.parameters[name])

    def document(self) -> dict[str, Any]:
        """Return the form that `parse_fault` reads."""
        return {
            "kind": self.kind.value,
            **self.parameters,
            "when": {"kind": self.when.kind.value, **self.when.parameters},
            "operations": list(self.operations),
            "lease_s": self.lease_s,
        }


def parse_fault(document: object, *, party: Party, operations: Collection[str]) -> Fault:
    """Read a fault as JSON; `UsageError` names the member and what is allowed."""
    given = _table(document, "fault")
    kind = _kind(given.pop("kind", None), FaultKind, "kind")
    when_given = _table(given.pop("when", {"kind": "always"}), "when")
    when_kind = _kind(when_given.pop("kind", None), WhenKind, "when.kind")
    named = given.pop("operations", [])
    if not isinstance(named, list) or not all(name in operations for name in named):
        raise UsageError(f"operations: not operations of {party.value}", hint=_names(operations))
    lease_s = given.pop("lease_s", LEASE_DEFAULT_S)
    problem = Bound(default=LEASE_DEFAULT_S, low=0.001, high=LEASE_MAX_S).problem(lease_s)
    if problem:
        raise UsageError(f"lease_s: {problem}")
    if kind in CALLBACK_KINDS and party is not Party.MARKET:
        raise UsageError(f"kind: {kind.value} is for callbacks, which only the market sends")
    if kind in CALLBACK_KINDS and named:
        raise UsageError(f"operations: {kind.value} applies to callbacks, not to operations")
    if kind in BY_TIME_ONLY and when_kind not in {WhenKind.ALWAYS, WhenKind.WINDOW}:
        raise UsageError(f"when.kind: {kind.value} goes with always or window only")
    if kind is FaultKind.REFUSE and named:
        raise UsageError("operations: a closed port knows no operations")
    return Fault(
        kind=kind,
        parameters=_complete(given, PARAMETERS[kind], ""),
        when=When(
            kind=when_kind, parameters=_complete(when_given, WHEN_PARAMETERS[when_kind], "when.")
        ),
        operations=tuple(named),
        lease_s=float(lease_s),
    )


def _table(document: object, name: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise UsageError(f"{name}: not a JSON object", hint='for example {"kind": "hang"}')
    return dict(document)


def _kind(value: object, kinds: type[E], name: str) -> E:
    for kind in kinds:
        if kind.value == value:
            return kind
    raise UsageError(f"{name}: {_shown(value)} is not a kind", hint=_names(k.value for k in kinds))


def _complete(
    given: Mapping[str, object], bounds: Mapping[str, Bound], where: str
) -> dict[str, Value]:
    for name, value in given.items():
        if name not in bounds:
            allowed = _names(bounds) or "none"
            raise UsageError(f"{where}{name}: no such parameter", hint=f"allowed: {allowed}")
        problem = bounds[name].problem(value)
        if problem:
            raise UsageError(f"{where}{name}: {_shown(value)} {problem}")
    return {name: given.get(name, bound.default) for name, bound in bounds.items()}  # type: ignore[misc]  # problem() has seen each


def _names(names: Any) -> str:
    return ", ".join(sorted(names))


def _shown(value: object) -> str:
    return repr(value)[:60]
