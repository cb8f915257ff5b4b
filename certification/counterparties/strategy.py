"""The strategy engine: strategies with known results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from certification.contract.schemas import SchemaSet
from certification.counterparties.behaviour import (
    Behaviour,
    Bounded,
    Call,
    Handler,
    now,
    problem_reply,
)
from certification.counterparties.wire import Reply, json_reply

Json = dict[str, Any]
_CONTRACTS = {"type": "integer", "minimum": 1, "maximum": 1000}
_AMOUNT = {"type": "integer", "minimum": 1, "maximum": 1_000_000_000}


def _schema(**properties: Json) -> Json:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["contracts"],
        "properties": {"contracts": _CONTRACTS, **properties},
    }


STRATEGIES: Mapping[str, Json] = {
    "premium": _schema(premium=_AMOUNT),
    "wheel": _schema(
        premium=_AMOUNT, strike=_AMOUNT, instrument={"type": "string", "maxLength": 200}
    ),
    "idle": {"type": "object"},
    "deferred": _schema(premium=_AMOUNT),
    "failing": {"type": "object"},
}
"""`premium` brings contracts x premium; `wheel` also an assignment of contracts x 100 at `strike`,
if `available` covers it; `idle` brings nothing; `deferred` is running until it is read; `failing`
fails."""
PREMIUM_DEFAULT, STRIKE_DEFAULT, SHARES_PER_CONTRACT = 1_500, 1_000, 100
_SCHEMAS = SchemaSet.of({f"{name}.json": schema for name, schema in STRATEGIES.items()})


@dataclass(slots=True)
class Strategies(Behaviour):
    """Executes at once, except for what is `deferred`."""

    associations: Bounded[str, Json] = field(default_factory=Bounded)
    executions: Bounded[str, Json] = field(default_factory=Bounded)
    """By the engine's id."""
    by_ref: Bounded[str, str] = field(default_factory=Bounded)

    def state(self) -> Json:
        """Return associations and executions."""
        return {
            "associations": list(self.associations.values()),
            "executions": [_shown(row) for row in self.executions.values()],
        }

    def list_all(self, call: Call) -> Reply:  # noqa: ARG002  a handler's signature
        """Return the strategies."""
        return json_reply(200, {"data": [_definition(name) for name in STRATEGIES]})

    def get_definition(self, call: Call) -> Reply:
        """Return one strategy."""
        if call.path["name"] not in STRATEGIES:
            return problem_reply("not_found", "There is no such strategy.")
        return json_reply(200, _definition(call.path["name"]))

    def associate(self, call: Call) -> Reply:
        """Keep which strategy an account follows."""
        refusal = _refusal(call.body)
        if refusal is not None:
            return refusal
        account = call.path["account_ref"]
        kept = {"account_ref": account, **call.body, "updated_at": now()}
        self.associations[account] = kept
        return json_reply(200, kept)

    def get_association(self, call: Call) -> Reply:
        """Return which strategy an account follows."""
        kept = self.associations.get(call.path["account_ref"])
        if kept is None:
            return problem_reply("not_found", "The account follows no strategy.")
        return json_reply(200, kept)

    def execute(self, call: Call) -> Reply:
        """Execute a strategy."""
        body = call.body
        refusal = _refusal(body)
        if refusal is not None:
            return refusal
        if body["execution_ref"] in self.by_ref:
            return problem_reply("duplicate_execution", "Read the execution.")
        execution_id = f"run-{self.number()}"
        name = body["strategy"]
        status = {"deferred": "running", "failing": "failed"}.get(name, "done")
        execution = {
            "execution_id": execution_id,
            "execution_ref": body["execution_ref"],
            "account_ref": body["account_ref"],
            "strategy": name,
            "status": status,
            "results": [] if status == "running" else _results(execution_id, body),
            "created_at": now(),
            "_request": body,
        }
        if status == "failed":
            execution["failure"] = "The strategy failed, as it always does."
        self.executions[execution_id] = execution
        self.by_ref[body["execution_ref"]] = execution_id
        where = {"location": f"/v1/executions/{execution_id}"}
        return json_reply(201, _shown(execution), headers=where)

    def find(self, call: Call) -> Reply:
        """Return the execution with the deployment's id, if there is one."""
        found = self.executions.get(self.by_ref.get(call.query["execution_ref"], ""))
        return json_reply(200, {"data": [_shown(found)] if found else []})

    def get(self, call: Call) -> Reply:
        """Return an execution; a deferred one is done from its first reading on."""
        found = self.executions.get(call.path["execution_id"])
        if found is None:
            return problem_reply("not_found", "There is no execution with this id.")
        if found["status"] == "running":
            found |= {
                "status": "done",
                "results": _results(found["execution_id"], found["_request"]),
            }
        return json_reply(200, _shown(found))

    operations: ClassVar[Mapping[str, Handler]] = {
        "listStrategies": list_all,
        "getStrategyDefinition": get_definition,
        "associateStrategy": associate,
        "getAssociation": get_association,
        "executeStrategy": execute,
        "findExecutions": find,
        "getExecution": get,
    }


def _definition(name: str) -> Json:
    return {"name": name, "version": 1, "parameters": STRATEGIES[name]}


def _shown(execution: Json) -> Json:
    return {name: value for name, value in execution.items() if name != "_request"}


def _refusal(body: Json) -> Reply | None:
    if body["strategy"] not in STRATEGIES:
        return problem_reply("unknown_strategy", "Choose one of GET /v1/strategies.")
    found = _SCHEMAS.violations(f"{body['strategy']}.json", body["parameters"])
    if found:
        return problem_reply("parameters_refused", f"{found[0].pointer}: {found[0].message}")
    return None


def _results(execution_id: str, body: Json) -> list[Json]:
    if body["strategy"] in {"idle", "failing"}:
        return []
    given, currency = body["parameters"], body["available"]["currency"]
    contracts = given["contracts"]
    rows: list[Json] = [
        {
            "result_id": f"{execution_id}-1",
            "kind": "premium",
            "amount": {
                "amount": contracts * given.get("premium", PREMIUM_DEFAULT),
                "currency": currency,
            },
            "occurred_at": now(),
        }
    ]
    shares = contracts * SHARES_PER_CONTRACT
    cost = shares * given.get("strike", STRIKE_DEFAULT)
    if body["strategy"] == "wheel" and cost <= body["available"]["amount"]:
        rows.append(
            {
                "result_id": f"{execution_id}-2",
                "kind": "assignment",
                "amount": {"amount": cost, "currency": currency},
                "instrument": given.get("instrument", "SPY"),
                "quantity": shares,
                "occurred_at": now(),
            }
        )
    return rows
