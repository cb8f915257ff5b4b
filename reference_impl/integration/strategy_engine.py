"""The strategy engine: what is asked there, and what of its answers may be believed.

`judge` is a pure function: it says why an execution must not be booked. The rest is calls.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from reference_impl import clock, web
from reference_impl.config import MAX_AMOUNT

from .outbound import Answer, Call, query, segment
from .registry import STRATEGY_ENGINE

CLOCKS_APART_MS = 300_000
"""The engine's clock and this one may be so far apart."""
RESULTS_MAX = 100
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\Z")]


class Money(msgspec.Struct):
    """An amount as the engine says it."""

    amount: Annotated[int, Meta(ge=0, le=MAX_AMOUNT)]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]


class Result(msgspec.Struct):
    """What an execution brought."""

    result_id: Id
    kind: Literal["premium", "assignment"]
    amount: Money
    occurred_at: Annotated[datetime, Meta(tz=True)]
    instrument: Name | None = None
    quantity: Annotated[int, Meta(ge=1, le=MAX_AMOUNT)] | None = None


class Execution(msgspec.Struct):
    """An execution as the engine sees it."""

    execution_id: Id
    execution_ref: Id
    account_ref: Id
    strategy: Name
    status: Literal["running", "done", "failed"]
    results: Annotated[list[Result], Meta(max_length=RESULTS_MAX)]
    created_at: Annotated[datetime, Meta(tz=True)]
    failure: Annotated[str, Meta(max_length=500)] | None = None


class _Found(msgspec.Struct):
    data: Annotated[list[Execution], Meta(max_length=1)]


class _Association(msgspec.Struct):
    account_ref: Id
    strategy: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An execution as this deployment keeps it."""

    id: str
    account_id: str
    strategy: str
    parameters: dict[str, Any]
    available: int
    currency: str
    status: str
    engine_id: str | None
    attempts: int
    traceparent: str
    created_at: int
    created_by: str


def judge(found: Execution, run: Run, now_ms: int) -> str | None:
    """Return why nothing of an execution may be booked; None if it is sound."""
    return _foreign(found, run, now_ms) or _unsound(found, run)


def _foreign(found: Execution, run: Run, now_ms: int) -> str | None:
    named = (found.execution_ref, found.account_ref, found.strategy)
    if named != (run.id, run.account_id, run.strategy):
        return "the answer names another execution, account or strategy"
    if run.engine_id is not None and found.execution_id != run.engine_id:
        return "the answer names another execution of the engine"
    instants = [found.created_at, *(result.occurred_at for result in found.results)]
    earliest, latest = run.created_at - CLOCKS_APART_MS, now_ms + CLOCKS_APART_MS
    if not all(earliest <= clock.milliseconds(instant) <= latest for instant in instants):
        return "the answer has times that are not those of this execution"
    return None


def _unsound(found: Execution, run: Run) -> str | None:
    if found.status != "done" and found.results:
        return "there are results of an execution that is not done"
    if len({result.result_id for result in found.results}) < len(found.results):
        return "two results have one id"
    wrong = next(filter(None, (_wrong(result, run.currency) for result in found.results)), None)
    if wrong is not None:
        return wrong
    costs = [item.amount.amount for item in found.results if item.kind == "assignment"]
    return "assignments cost more than was available" if sum(costs) > run.available else None


def _wrong(result: Result, currency: str) -> str | None:
    if result.amount.currency != currency:
        return "a result is in another currency"
    if result.amount.amount < 1:
        return "a result has no amount"
    if result.kind == "assignment" and (result.instrument is None or result.quantity is None):
        return "an assignment lacks its instrument or quantity"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyCalls:
    """Calls to the strategy engine; each raises CallFailedError where nothing usable comes."""

    shared: web.Services
    traceparent: str | None
    patient: bool = False

    def _call(self, call: Call) -> Answer:
        return self.shared.outbound.call(STRATEGY_ENGINE, call, patient=self.patient)

    def associate(self, account_id: str, key: str, name: str, parameters: Any) -> Answer:
        """Say which strategy an account follows."""
        return self._call(
            Call(
                operation="associateStrategy",
                method="PUT",
                target=f"/v1/accounts/{segment(account_id)}/strategy",
                body={"strategy": name, "parameters": parameters},
                needs=_Association,
                key=key,
                traceparent=self.traceparent,
            )
        )

    def execute(self, run: Run) -> Answer:
        """Ask for an execution; the same request again has no further effect."""
        return self._call(
            Call(
                operation="executeStrategy",
                method="POST",
                target="/v1/executions",
                body={
                    "execution_ref": run.id,
                    "account_ref": run.account_id,
                    "strategy": run.strategy,
                    "parameters": run.parameters,
                    "available": {"amount": run.available, "currency": run.currency},
                },
                needs=Execution,
                key=run.id,
                traceparent=self.traceparent,
            )
        )

    def find(self, run: Run) -> Execution | None:
        """Look for an execution by this deployment's own id."""
        answer = self._call(
            Call(
                operation="findExecutions",
                method="GET",
                target=f"/v1/executions{query(execution_ref=run.id)}",
                needs=_Found,
                traceparent=self.traceparent,
            )
        )
        return answer.document.data[0] if answer.document and answer.document.data else None

    def read(self, run: Run) -> Execution | None:
        """Read an execution that the engine has confirmed; None if it has none of this id."""
        answer = self._call(
            Call(
                operation="getExecution",
                method="GET",
                target=f"/v1/executions/{segment(run.engine_id or '')}",
                needs=Execution,
                traceparent=self.traceparent,
            )
        )
        found: Execution | None = answer.document
        return found if answer.status == 200 else None
