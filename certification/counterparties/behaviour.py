"""What the five simulators have in common: a call, an answer, problems, and bounded memory."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from certification.counterparties.journal import wall_time
from certification.counterparties.wire import PROBLEM, Reply, json_reply
from certification.errors import UsageError

K = TypeVar("K")
V = TypeVar("V")
OBJECTS_MAX = 50_000
"""Of one kind in one simulator; the oldest are forgotten."""
_PROBLEMS: Mapping[str, tuple[int, str, bool]] = {
    "invalid_request": (400, "The request does not follow the contract", False),
    "unauthorized": (401, "The token is not known here", False),
    "not_found": (404, "There is no such object", False),
    "idempotency_payload_mismatch": (422, "The key was used with another payload", False),
    "rate_limited": (429, "Too many calls", True),
    "internal_error": (500, "Something broke", True),
    "unavailable": (503, "Not available for now", True),
    "duplicate_order": (409, "The client_order_id was used before", False),
    "order_not_open": (409, "The order is final", False),
    "order_refused": (422, "The order is refused", False),
    "unknown_strategy": (422, "There is no such strategy", False),
    "parameters_refused": (422, "The strategy refuses its parameters", False),
    "duplicate_execution": (409, "The execution_ref was used before", False),
    "batch_too_large": (413, "The batch is too large", False),
    "duplicate_report": (409, "The report_ref was pushed before", False),
    "digest_mismatch": (422, "The digest is not that of the content", False),
    "report_too_large": (413, "The report is too large", False),
}


def problem_reply(
    code: str, detail: str, *, status: int | None = None, retry_after_s: int | None = None
) -> Reply:
    """Make a problem document; 429 and 503 carry Retry-After."""
    usual, title, retryable = _PROBLEMS[code]
    answered = status or usual
    document = {
        "type": f"urn:alluse:counterparty:{code}",
        "title": title,
        "status": answered,
        "detail": detail[:500],
        "code": code,
        "retryable": retryable,
    }
    headers = {}
    if answered in {429, 503}:
        headers["retry-after"] = str(1 if retry_after_s is None else retry_after_s)
    if answered == 401:
        headers["www-authenticate"] = "Bearer"
    made = json_reply(answered, document, headers=headers)
    return Reply(status=answered, body=made.body, media_type=PROBLEM, headers=made.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that follows the contract."""

    operation: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    complain: Callable[[str], None]
    """Books a violation that a schema cannot see, e.g. of an order of events."""


class Bounded(OrderedDict[K, V]):
    """A dict that forgets its oldest items."""

    def __init__(self, items_max: int = OBJECTS_MAX) -> None:
        """Hold at most `items_max`."""
        super().__init__()
        self._items_max = items_max

    def __setitem__(self, key: K, value: V) -> None:
        """Set, and forget the oldest where there are too many."""
        super().__setitem__(key, value)
        while len(self) > self._items_max:
            self.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a simulator may use besides its own state."""

    seed: int
    url: Callable[[], str]
    """Its own base URL."""
    later: Callable[[float, Callable[[], None]], None]
    """Runs something in the simulators' thread after so many seconds."""
    callback: Callable[[dict[str, Any], str], None]
    """Sends an execution report, tampered with as named (see `callbacks.Tamper`)."""

    def draw(self, text: str, below: int) -> int:
        """Return a number from 0 to below `below` that depends on the seed and the text alone."""
        digest = hashlib.sha256(f"{self.seed}:{text}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % below


Handler = Callable[[Any, Call], Reply]
Action = Callable[[Any, dict[str, Any]], Any]


@dataclass(slots=True)
class Behaviour:
    """Base of the five: answers calls from its state; a subclass lists its operations."""

    around: Surroundings
    made: int = field(default=0)
    """Objects made so far; the number in their ids."""
    origin: str = field(default_factory=lambda: secrets.token_hex(4))
    """In the ids as well: a deployment that outlives a simulator must not see an id again."""

    operations: ClassVar[Mapping[str, Handler]]
    actions: ClassVar[Mapping[str, Action]] = {}
    """What the control API can have it do, by name."""

    def handle(self, call: Call) -> Reply:
        """Answer a call."""
        if call.operation == "getHealth":
            return json_reply(200, {"status": "pass"})
        return self.operations[call.operation](self, call)

    def act(self, name: str, arguments: dict[str, Any]) -> Any:
        """Carry out an action of the control API; `UsageError` for an unknown one."""
        if name not in self.actions:
            raise UsageError(
                f"{name[:60]}: no such action", hint=", ".join(self.actions) or "it has none"
            )
        return self.actions[name](self, arguments)

    def state(self) -> dict[str, Any]:
        """Return what it holds, for a comparison with what the deployment says."""
        return {}

    def number(self) -> str:
        """Return the number of a new object; another one after a reset or a new start as well."""
        self.made += 1
        return f"{self.origin}-{self.made}"


def argument(arguments: dict[str, Any], name: str, kind: type[V], default: V | None = None) -> V:
    """Return an argument of an action; `UsageError` names it where it is missing or wrong."""
    value = arguments.get(name, default)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{name}: not a {kind.__name__}", hint=f"give {name}")
    return value


def now() -> str:
    """Return the wall time as the contracts write it."""
    return wall_time()
