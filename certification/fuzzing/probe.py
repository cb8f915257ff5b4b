"""Sends generated requests of one operation and judges every answer by the contract."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from certification import offered
from certification.checks import CheckFailed
from certification.fuzzing.cases import ABSENT, Generated, Stop, generate, parameters_of
from certification.fuzzing.pool import Pool
from certification.malformed import is_refused, send_raw
from certification.target.session import UNSET, json_bytes, query_text
from certification.walking.walk import NO_VERDICT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from certification.context import Actor, Context
    from certification.contract import Operation
    from certification.target.reply import Reply

ORDER = ("customer", "operator", "manager", "auditor", "admin")
"""Who sends: the one with the least rights whose role allows the operation."""
SHAPE_REFUSED = frozenset({400, 401, 413, 415})
"""Token, role and shape come before existence, state and rules: any later refusal took it."""
OPENS = frozenset({"createAccount", "openSystem"})
UNKNOWN = "not_a_member"
"""A member that no body of the contract has."""
BODY_MAX_BYTES = 200_000
"""Of a generated body; a larger one is not sent."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """How the valid requests of an operation were answered."""

    sent: int = 0
    succeeded: int = 0
    refused: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Probe:
    """Fuzzes one operation on objects of its own."""

    ctx: Context
    operation: Operation
    pool: Pool
    actor: Actor
    requests_left: int
    parameters: Mapping[str, Mapping[str, Any]]
    """The schemas of the declared query parameters."""
    plain: dict[str, Any] = field(default_factory=dict)
    """The first valid body that was sent; plainly forbidden ones are made of it."""
    tally: Tally = field(default_factory=Tally)
    failure: Exception | None = None

    def valid(self, made: Generated) -> None:
        """Send a request of the right shape: accepted, or refused as the operation declares."""
        body = made.body if made.body is ABSENT else self.pool.alive(made.body)
        if body is not ABSENT and (isinstance(body, bytes) or self._violations(body)):
            return
        query = {name: value for name, value in made.query.items() if name != "cursor"}
        if not self.tally.sent:
            # The first one is plain: what is left out has its default.
            made, query = Generated(path={}, query={}, body=made.body), {}
        reply = self._call(made, query, body)
        if reply is None:
            return
        if isinstance(body, dict) and not self.plain:
            self.plain = body
        self.tally.sent += 1
        code = reply.problem_code
        if 200 <= reply.status < 300:
            self.tally.succeeded += 1
            self._book(reply)
        elif code is not None:
            self.tally.refused[code] = self.tally.refused.get(code, 0) + 1
            self.ctx.expect(
                code in self.operation.problems,
                f"{self.operation.id} refuses with a problem that it does not declare",
                expected=", ".join(sorted(self.operation.problems)),
                observed=f"{reply.status} {code}",
                on=[reply],
            )

    def ordinary(self) -> None:
        """Send the ordinary body, where there is one: an operation must not fail by the draw."""
        body = self.pool.ordinary(self.operation.id)
        if body is not None:
            self.valid(Generated(path={}, query={}, body=body))

    def plainly_forbidden(self) -> None:
        """Send a valid body with a member too many, then with each of its members null.

        What is generated may leave these out by chance, and they are what is forgotten most.
        """
        bodies = [{**self.plain, UNKNOWN: True}, {**self.plain, UNKNOWN: None}]
        bodies += [{**self.plain, name: None} for name in sorted(self.plain)]
        for body in bodies if self.plain else ():
            self.invalid(Generated(path={}, query={}, body=body))

    def invalid(self, made: Generated) -> None:
        """Send a request that the contract forbids: refused with a problem document."""
        body = made.body
        if isinstance(body, bytes):
            self._bytes(made, body)
            return
        body = body if body is ABSENT else self.pool.alive(body)
        forbidden = [] if body is ABSENT else [str(v.message) for v in self._violations(body)]
        forbidden += forbidden_in_query(self.parameters, made.query)
        if body is not ABSENT and not forbidden:
            # What was made wrong is a header, and those are sent by checks of their own.
            return
        reply = self._call(made, made.query, body)
        if reply is None or not forbidden:
            return
        self.ctx.expect(
            reply.status in SHAPE_REFUSED or reply.problem_code == "forbidden",
            f"{self.operation.id} takes what its schema forbids",
            expected=f"400, before anything else is looked at: {'; '.join(forbidden)[:400]}",
            observed=f"{reply.status} {reply.problem_code or ''}".strip(),
            on=[reply],
        )

    def _violations(self, body: Any) -> tuple[Any, ...]:
        return self.operation.request_violations(body)

    def _call(self, made: Generated, query: Mapping[str, Any], body: Any) -> Reply | None:
        """Send it; the answer must conform. None where it cannot be sent at all."""
        try:
            size = 0 if body is ABSENT else len(json_bytes(body))
            text = query_text(query)
        except (ValueError, TypeError, UnicodeError, RecursionError):
            return None
        if size > BODY_MAX_BYTES or len(text) > 4_000 or "%00" in text:
            return None
        self._spend()
        path = self._path(made)
        request: dict[str, Any] = {"path": path, "query": query}
        if self.operation.if_match.value == "required":
            request["if_match"] = self.actor.call("getAccount", path=path, expect=200).etag
        sent = UNSET if body is ABSENT else body
        return self.actor.call(self.operation.id, body=sent, **request)

    def _bytes(self, made: Generated, content: bytes) -> None:
        self._spend()
        headers = {"Content-Type": "application/json", "Idempotency-Key": self.ctx.name("k" * 16)}
        if self.operation.if_match.value == "required":
            headers["If-Match"] = '"1"'
        path = self.operation.url_path(self._path(made))
        reply = send_raw(self.actor, self.operation.method, path, headers=headers, content=content)
        is_refused(self.actor, reply)

    def _path(self, made: Generated) -> dict[str, str]:
        """Return live ids for the placeholders; sets of values stay as they were generated."""
        found: dict[str, str] = {}
        for name in re.findall(r"\{(\w+)\}", self.operation.path):
            if name == "id":
                found[name] = self.pool.id_for(self.operation.path, self.operation.id)
            else:
                # A placeholder that is not as declared is another path: probed elsewhere.
                known = {"type": "generation", "report": "performance"}.get(name, "none")
                given = str(made.path.get(name, known))
                found[name] = given if re.fullmatch(r"[a-z]{1,20}", given) else known
        return found

    def _spend(self) -> None:
        if self.requests_left <= 0:
            raise Stop
        self.requests_left -= 1

    def _book(self, reply: Reply) -> None:
        """Remember what was opened for sweep and clean-up; renew what was used up."""
        body = reply.body if isinstance(reply.body, dict) else {}
        opened = [body] if self.operation.id == "createAccount" else []
        opened += body.get("accounts", []) if self.operation.id == "openSystem" else []
        opened += body.get("children", [])
        opened += [body["target"]] if body.get("target_created") else []
        for account in opened:
            self.ctx.created("account", account["id"], self.actor.role)
        if self.operation.id not in OPENS and self.operation.method != "GET":
            self.pool.renew()


def forbidden_in_query(
    declared: Mapping[str, Mapping[str, Any]], query: Mapping[str, Any]
) -> list[str]:
    """Return what is plainly wrong in declared query parameters; what may be read two ways is not.

    Looked at are numbers out of range, text that is no number, and values outside a set.
    """
    wrong = []
    for name, value in query.items():
        schema = declared.get(name)
        if schema is None or not isinstance(value, (str, int)) or isinstance(value, bool):
            continue
        text = str(value)
        if schema.get("type") == "integer" and text:
            if not re.fullmatch(r"[+-]?[0-9]+(\.0*)?", text.strip()):
                wrong.append(f"{name} is no integer")
            elif re.fullmatch(r"-?[1-9][0-9]*", text) and not _in_range(int(text[:40]), schema):
                wrong.append(f"{name} is out of range")
        elif "enum" in schema and text and text not in schema["enum"]:
            wrong.append(f"{name} is none of {', '.join(map(str, schema['enum']))}")
    return wrong


def _in_range(number: int, schema: Mapping[str, Any]) -> bool:
    least, most = schema.get("minimum", number), schema.get("maximum", number)
    return bool(least <= number <= most)


def fuzz(ctx: Context, operation_id: str) -> Tally:
    """Send valid, then forbidden requests of an operation; raises `CheckFailed` at the first fault.

    `ctx.trials["fuzz_requests"]` is the profile's budget of requests for one operation. An
    operation that is not offered, or that no valid request could make succeed, is NOT_EXERCISED.
    """
    operation = ctx.contract.operations[operation_id]
    if "public" not in operation.roles and not offered.offers(ctx, operation_id):
        ctx.not_exercised(f"the deployment does not offer {operation_id}")
    role = next((r for r in ORDER if r in operation.roles and r in ctx.sessions), None)
    if role is None and {"self", "public"} & set(operation.roles):
        role = "customer"
    if role is None:
        ctx.not_exercised(f"no identity may call {operation_id}")
    place = (operation.path, operation.method)
    budget = ctx.trials.get("fuzz_requests", 40)
    probe = Probe(
        ctx=ctx,
        operation=operation,
        pool=Pool(ctx=ctx),
        actor=ctx.actor(role),
        requests_left=0,
        parameters=dict(parameters_of(place)),
    )
    for valid in (True, False):
        # Every generated valid request looks much like the next one; forbidden ones differ more.
        probe.requests_left = share = budget // 3 if valid else budget - budget // 3
        drawn = f"{ctx.seed}:{operation_id}:{valid}"
        act = probe.valid if valid else probe.invalid
        with suppress(Stop):
            probe.ordinary() if valid else probe.plainly_forbidden()
        _generated(probe, place, (valid, share if valid else 3 * share, drawn), act)
    if not probe.tally.succeeded:
        answers = ", ".join(f"{code} {n}x" for code, n in sorted(probe.tally.refused.items()))
        ctx.not_exercised(
            f"none of {probe.tally.sent} valid requests succeeded: {answers or 'no answer'}"
        )
    return probe.tally


def _generated(probe: Probe, place: tuple[str, str], how: tuple[bool, int, str], act: Any) -> None:
    valid, count, drawn = how

    def use(made: Generated) -> None:
        try:
            act(made)
        except Stop:
            raise
        except (CheckFailed, *NO_VERDICT) as error:
            # Kept and raised outside, so that Hypothesis does not send it all again.
            probe.failure = error
            raise Stop from error

    generate(place, valid=valid, count=count, drawn=drawn, use=use)
    if probe.failure is not None:
        raise probe.failure
