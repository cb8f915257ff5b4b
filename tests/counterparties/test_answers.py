"""The five as a deployment meets them: right answers, consistent state, violations."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import jwt
import pytest

from certification.counterparties.names import Party
from certification.counterparties.outbound import load_outbound
from certification.counterparties.parties import Counterparties
from certification.counterparties.users import TAMPERS
from tests.counterparties.raw_client import Answer, Raw

BATCH = "application/cloudevents-batch+json"


def valid(raw: Raw, operation: str, answer: Answer) -> Answer:
    outbound = load_outbound(raw.party.party)
    reference = outbound.operations[operation].answers[answer.status]
    assert outbound.violations(reference, answer.json) == ()
    return answer


def event(seq: int, *accounts: str, name: str | None = None) -> dict[str, Any]:
    return {
        "id": name or f"evt-{seq}",
        "source": "urn:alluse:deployment:1",
        "type": "transaction.posted",
        "specversion": "1.0",
        "time": "2026-11-21T10:00:00Z",
        "subject": "txn_1",
        "seq": seq,
        "data": {"account_ids": list(accounts)},
    }


# -- market ----------------------------------------------------------------------------------


def test_an_order_is_filled_by_the_price_and_positions_follow(market: Raw) -> None:
    ask = market.call("GET", "/v1/quotes/SPY").json["ask"]["amount"]
    limit = {"amount": ask, "currency": "USD"}
    body = market.order("o1", instrument="SPY", limit_price=limit)
    placed = valid(
        market, "placeOrder", market.call("POST", "/v1/orders", body, key=market.fresh_key())
    )
    assert placed.json["status"] == "open"
    path = placed.headers["location"]
    for _ in range(100):
        order = valid(market, "getOrder", market.call("GET", path)).json
        if order["status"] == "filled":
            break
        threading.Event().wait(0.01)
    assert (order["status"], order["filled"]) == ("filled", 10)
    positions = valid(market, "getPositions", market.call("GET", "/v1/positions?account_ref=acc_1"))
    assert positions.json["data"] == [{"instrument": "SPY", "quantity": 10}]
    told = valid(market, "getExecutions", market.call("GET", f"{path}/executions")).json["data"]
    assert sum(row["quantity"] for row in told) == 10
    last = market.call("GET", f"{path}/executions?after={len(told) - 1}").json["data"]
    assert last == told[-1:]
    final = market.call("DELETE", path, key=market.fresh_key())
    assert (final.status, final.json["code"]) == (409, "order_not_open")


def test_a_limit_below_the_price_rests_and_can_be_cancelled_once(market: Raw) -> None:
    low = {"amount": 1, "currency": "USD"}
    body = market.order("o1", instrument="SPY", limit_price=low)
    placed = market.call("POST", "/v1/orders", body, key=market.fresh_key()).json
    threading.Event().wait(0.1)
    path, key = f"/v1/orders/{placed['order_id']}", market.fresh_key()
    assert market.call("GET", path).json["status"] == "open"
    first = valid(market, "cancelOrder", market.call("DELETE", path, key=key))
    again = market.call("DELETE", path, key=key)
    assert first.json == again.json
    assert again.headers["idempotency-replayed"] == "true"
    assert first.json["status"] == "cancelled"


def test_the_same_order_is_placed_once_whatever_the_key(market: Raw) -> None:
    key = market.fresh_key()
    first = market.call("POST", "/v1/orders", market.order("o1"), key=key)
    assert market.call("POST", "/v1/orders", market.order("o1"), key=f'"{key}"').json == first.json
    other = market.call("POST", "/v1/orders", market.order("o1"), key=market.fresh_key())
    assert (other.status, other.json["code"]) == (409, "duplicate_order")
    changed = market.call("POST", "/v1/orders", market.order("o1", quantity=11), key=key)
    assert (changed.status, changed.json["code"]) == (422, "idempotency_payload_mismatch")
    assert len(market.party.state()["orders"]) == 1
    (violation,) = market.party.violations()
    assert "another payload" in violation.violations[0]


def test_instruments_that_say_what_becomes_of_an_order(market: Raw) -> None:
    refused = market.order("o1", instrument="REFUSED-X")
    answer = market.call("POST", "/v1/orders", refused, key=market.fresh_key())
    assert valid(market, "placeOrder", answer).json["code"] == "order_refused"
    rejected = market.order("o2", instrument="REJECTED-X")
    path = market.call("POST", "/v1/orders", rejected, key=market.fresh_key()).headers["location"]
    threading.Event().wait(0.15)
    assert market.call("GET", path).json["status"] == "rejected"


def test_prices_depend_on_the_seed_and_the_instrument_alone(market: Raw) -> None:
    quotes = [market.call("GET", "/v1/quotes/QQQ").json for _ in range(2)]
    assert quotes[0]["ask"] == quotes[1]["ask"]
    assert quotes[0]["sequence"] < quotes[1]["sequence"]
    assert market.call("GET", "/v1/quotes/IWM").json["ask"] != quotes[0]["ask"]


# -- strategy engine ---------------------------------------------------------------------------


@pytest.fixture
def engine(parties: Counterparties) -> Raw:
    return Raw(parties.strategy_engine)


def execute(engine: Raw, ref: str, strategy: str, **parameters: Any) -> Answer:
    body = {
        "execution_ref": ref,
        "account_ref": "acc_1",
        "strategy": strategy,
        "parameters": parameters,
        "available": {"amount": 1_000_000, "currency": "USD"},
    }
    answer = engine.call("POST", "/v1/executions", body, key=engine.fresh_key())
    return valid(engine, "executeStrategy", answer)


def test_results_are_those_that_the_parameters_say(engine: Raw) -> None:
    done = execute(engine, "e1", "wheel", contracts=2, premium=150, strike=4_000).json
    rows = [(row["kind"], row["amount"]["amount"]) for row in done["results"]]
    assert rows == [("premium", 300), ("assignment", 800_000)]
    assert done["results"][1]["quantity"] == 200
    beyond = execute(engine, "e2", "wheel", contracts=2, premium=150, strike=6_000).json
    assert [row["kind"] for row in beyond["results"]] == ["premium"]


def test_a_deferred_execution_is_done_when_it_is_read(engine: Raw) -> None:
    begun = execute(engine, "e1", "deferred", contracts=1).json
    assert (begun["status"], begun["results"]) == ("running", [])
    read = engine.call("GET", f"/v1/executions/{begun['execution_id']}").json
    assert read["status"] == "done"
    assert len(read["results"]) == 1


def test_strategies_that_are_refused_or_fail(engine: Raw) -> None:
    assert execute(engine, "e1", "unheard").json["code"] == "unknown_strategy"
    assert execute(engine, "e2", "premium", contracts=0).json["code"] == "parameters_refused"
    failed = execute(engine, "e3", "failing").json
    assert (failed["status"], failed["results"]) == ("failed", [])
    assert execute(engine, "e3", "failing").json["code"] == "duplicate_execution"
    for row in engine.call("GET", "/v1/strategies").json["data"]:
        valid(engine, "getStrategyDefinition", engine.call("GET", f"/v1/strategies/{row['name']}"))


def test_an_association_is_kept(engine: Raw) -> None:
    path = "/v1/accounts/acc_1/strategy"
    assert engine.call("GET", path).status == 404
    body = {"strategy": "premium", "parameters": {"contracts": 1}}
    valid(engine, "associateStrategy", engine.call("PUT", path, body, key=engine.fresh_key()))
    assert valid(engine, "getAssociation", engine.call("GET", path)).json["strategy"] == "premium"


# -- user management ---------------------------------------------------------------------------


@pytest.fixture
def issuer(parties: Counterparties) -> Raw:
    return Raw(parties.user_management)


def verified(issuer: Raw, token: str) -> dict[str, Any]:
    """Verify as a deployment would, with a library that knows nothing of the simulator."""
    keys = valid(issuer, "getKeys", issuer.call("GET", "/jwks.json")).json
    kid = jwt.get_unverified_header(token)["kid"]
    key = next((row for row in keys["keys"] if row["kid"] == kid), None)
    if key is None:
        raise jwt.InvalidTokenError("unknown kid")
    claims: dict[str, Any] = jwt.decode(
        token,
        jwt.PyJWK(key),
        algorithms=["ES256"],
        audience="account-system",
        issuer=issuer.party.url,
        options={"require": ["exp", "nbf", "sub", "jti"]},
    )
    return claims


def test_tokens_verify_with_the_published_keys_also_after_a_rotation(issuer: Raw) -> None:
    before = issuer.party.act("issue", username="maria")["token"]
    issuer.party.act("rotate")
    after = issuer.party.act("issue", username="maria")["token"]
    for token in (before, after):
        assert verified(issuer, token)["preferred_username"] == "maria"
    issuer.party.act("rotate", withdraw=True)
    with pytest.raises(jwt.InvalidTokenError):
        verified(issuer, before)


@pytest.mark.parametrize("tamper", [name for name in TAMPERS if name != "none"])
def test_every_tampered_token_is_refused_by_a_library(issuer: Raw, tamper: str) -> None:
    token = issuer.party.act("issue", username="maria", tamper=tamper)["token"]
    with pytest.raises(jwt.InvalidTokenError):
        verified(issuer, token)


def test_introspection_knows_its_tokens_and_hides_them_from_the_journal(issuer: Raw) -> None:
    token = issuer.party.act("issue", username="maria")["token"]
    form = "application/x-www-form-urlencoded"

    def ask() -> Any:
        sent = f"token={token}".encode()
        answer = issuer.call("POST", "/oauth2/introspect", sent, media_type=form)
        return valid(issuer, "introspectToken", answer).json

    assert ask()["preferred_username"] == "maria"
    issuer.party.act("revoke", token=token)
    assert ask() == {"active": False}
    assert token not in str(issuer.party.journal())
    assert issuer.party.violations() == ()


def test_metadata_leads_to_the_keys(issuer: Raw) -> None:
    answer = issuer.call("GET", "/.well-known/openid-configuration", Authorization="")
    document = valid(issuer, "getMetadata", answer).json
    assert document["issuer"] == issuer.party.url
    assert document["jwks_uri"] == f"{issuer.party.url}/jwks.json"
    assert answer.headers["cache-control"].startswith("max-age=")


# -- notification and reporting ----------------------------------------------------------------


def deliver(raw: Raw, *events: dict[str, Any]) -> Any:
    answer = raw.call("POST", "/v1/events", list(events), key=raw.fresh_key(), media_type=BATCH)
    return valid(raw, "deliverEvents", answer).json


def test_repeated_events_are_told_and_a_wrong_order_is_a_violation(
    parties: Counterparties,
) -> None:
    raw = Raw(parties.notification)
    assert deliver(raw, event(1, "a"), event(3, "a")) == {"accepted": 2, "duplicates": 0}
    assert deliver(raw, event(1, "a"), event(2, "b")) == {"accepted": 1, "duplicates": 1}
    assert raw.party.violations() == ()
    assert deliver(raw, event(2, "a", name="late")) == {"accepted": 1, "duplicates": 0}
    (violation,) = raw.party.violations()
    assert violation.violations == ["order: seq 2 of a came after 3"]
    assert raw.party.state()["out_of_order"] == 1


def test_a_batch_with_one_wrong_event_is_refused_whole(parties: Counterparties) -> None:
    raw = Raw(parties.notification)
    broken = {**event(2, "a"), "specversion": "0.3"}
    assert deliver(raw, event(1, "a"), broken)["code"] == "invalid_request"
    assert raw.party.state()["accepted"] == 0


def test_a_report_is_kept_where_its_digest_is_right(parties: Counterparties) -> None:
    raw = Raw(parties.reporting)
    content = "a;b\r\n1;ü\r\n"
    body = {
        "report_ref": "rep_1",
        "report": "portfolio",
        "format": "csv",
        "generated_at": "2026-11-21T10:00:00Z",
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "bytes": len(content.encode()),
        "content": content,
    }
    wrong = {**body, "content": "other"}
    refused = raw.call("POST", "/v1/reports", wrong, key=raw.fresh_key())
    assert valid(raw, "pushReport", refused).json["code"] == "digest_mismatch"
    pushed = raw.call("POST", "/v1/reports", body, key=raw.fresh_key())
    assert valid(raw, "pushReport", pushed).status == 201
    read = valid(raw, "getReport", raw.call("GET", pushed.headers["location"]))
    assert read.json["status"] == "published"


# -- what every one of them refuses --------------------------------------------------------------


@pytest.mark.parametrize("party", list(Party))
def test_health_is_answered_by_all(parties: Counterparties, party: Party) -> None:
    raw = Raw(getattr(parties, party.attribute))
    assert valid(raw, "getHealth", raw.health()).json == {"status": "pass"}


@pytest.mark.parametrize(
    ("changed", "status", "named"),
    [
        ({"Authorization": "Bearer wrong"}, 401, "Authorization"),
        ({"Authorization": ""}, 401, "Authorization"),
        ({"traceparent": ""}, 400, "traceparent is missing"),
        ({"traceparent": "00-0-0-01"}, 400, "traceparent has not the form"),
        ({"key": None}, 400, "Idempotency-Key is missing"),
        ({"key": "short"}, 400, "Idempotency-Key has not the form"),
        ({"media_type": "text/plain"}, 400, "Content-Type"),
        ({"body": b"{"}, 400, "not JSON"),
        ({"body": b'{"a":1,"a":2}'}, 400, "twice"),
        ({"quantity": 0}, 400, "/quantity"),
        ({"colour": "red"}, 400, "colour"),
        ({"path": "/v1/orders?x=1"}, 400, "query x"),
        ({"path": "/v2/orders"}, 404, "not in the contract"),
    ],
)
def test_a_call_that_breaks_the_contract_is_a_violation(
    market: Raw, changed: dict[str, Any], status: int, named: str
) -> None:
    order = market.order("o1")
    path = changed.pop("path", "/v1/orders")
    for name in ("quantity", "colour"):
        if name in changed:
            order[name] = changed.pop(name)
    body = changed.pop("body", order)
    answer = market.call("POST", path, body, **{"key": market.fresh_key(), **changed})
    assert answer.status == status
    (entry,) = market.party.violations()
    assert named in " ".join(entry.violations)
    assert market.party.state()["orders"] == []


def test_a_token_opens_one_counterparty_only(parties: Counterparties, market: Raw) -> None:
    other = Raw(parties.reporting)
    answer = other.call("GET", "/v1/health", Authorization=f"Bearer {market.party.token}")
    assert answer.status == 401
    assert len({party.token for party in parties}) == 5
