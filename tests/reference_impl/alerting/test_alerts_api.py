"""Alerts, acknowledgement and silences over the API, with samples and a clock from the test."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reference_impl.alerting import evaluator, judge, store
from reference_impl.alerting.history import Samples
from reference_impl.alerting.rules import RULES
from tests.reference_impl._desk import Desk, opened

SCALE = 60.0


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path, alert_scale=SCALE) as found:
        found.app.extensions["alluse.background"].tend()
        yield found


def look(desk: Desk, seconds: float = 1.0, **breakers: int) -> None:
    """Let time pass and the evaluator see these breakers among the real metrics."""
    desk.hands.advance(seconds)
    desk.app.extensions["alluse.background"].tend()
    samples: Samples = evaluator.scrape(desk.services)
    states = [({"system": name}, float(value)) for name, value in breakers.items()]
    judge = desk.app.extensions["alluse.alerts"]
    judge.look(desk.hands.now, {**samples, "integration_breaker_state": states})


def later(desk: Desk, seconds: float) -> str:
    return datetime.fromtimestamp(desk.hands.now / 1000 + seconds, UTC).isoformat()


def firing(desk: Desk) -> list[Any]:
    return list(desk.get("/v1/alerts").json["data"])


def silence(desk: Desk, seconds: float, **labels: str) -> Any:
    matchers = [{"name": name, "value": value} for name, value in labels.items()]
    body = {"matchers": matchers, "ends_at": later(desk, seconds), "reason": "Maintenance."}
    return desk.post("/v1/silences", body)


def told(desk: Desk) -> list[tuple[str, list[str]]]:
    """Return what reached the outbox of alerts."""
    events = desk.get("/v1/events?limit=200").json["data"]
    alerts = [event for event in events if event["type"].startswith("alluse.alert.")]
    return [(event["type"].rpartition(".")[2], event["data"]["receivers"]) for event in alerts]


def test_an_alert_fires_is_taken_and_is_over(desk: Desk) -> None:
    look(desk, market=0)
    assert firing(desk) == []
    look(desk, market=2)
    (alert,) = firing(desk)
    assert (alert["name"], alert["severity"], alert["status"]) == (
        "BreakerOpen",
        "critical",
        "firing",
    )
    assert alert["labels"]["system"] == "market"
    assert told(desk) == [("firing", ["email", "sms", "chat"])]
    operator = desk.new_user("operator")
    taken = operator.post(f"/v1/alerts/{alert['id']}/acknowledge", {"note": "On it."})
    assert taken.status_code == 200
    assert taken.json["acknowledged_by"] == operator.user_id
    assert (taken.json["status"], taken.json["note"]) == ("acknowledged", "On it.")
    again = desk.post(f"/v1/alerts/{alert['id']}/acknowledge", {"note": "Me too."})
    assert (again.status_code, again.json["acknowledged_by"]) == (200, operator.user_id)
    look(desk, 60, market=2)
    assert firing(desk)[0]["escalation"] == 0
    look(desk, market=0)
    assert firing(desk) == []
    (past,) = desk.get("/v1/alerts/history").json["data"]
    assert (past["id"], past["status"], past["note"]) == (alert["id"], "resolved", "On it.")
    assert [notice["kind"] for notice in past["notices"]] == ["firing", "acknowledged", "resolved"]
    assert [kind for kind, _ in told(desk)] == ["firing", "acknowledged", "resolved"]
    late = desk.post(f"/v1/alerts/{alert['id']}/acknowledge", {})
    assert (late.status_code, late.json["code"]) == (409, "invalid_transition")


def test_the_events_of_an_alert_name_it_as_it_is_shown_and_the_state_before(desk: Desk) -> None:
    look(desk, market=2)
    (alert,) = firing(desk)
    look(desk, 15, market=2)
    assert desk.post(f"/v1/alerts/{alert['id']}/acknowledge", {}).status_code == 200
    look(desk, market=0)
    look(desk, market=2)
    look(desk, market=0)
    events = desk.get("/v1/events?limit=200").json["data"]
    alerts = [event for event in events if event["type"].startswith("alluse.alert.")]
    assert [
        (event["type"].rpartition(".")[2], event["data"].get("kind"), event["data"]["status"])
        for event in alerts
    ] == [
        ("firing", None, "firing"),
        ("escalated", None, "firing"),
        ("acknowledged", "firing", "acknowledged"),
        ("resolved", "acknowledged", "resolved"),
        ("firing", None, "firing"),
        ("resolved", "firing", "resolved"),
    ]
    assert alerts[0]["subject"] == alert["id"]
    assert alert["labels"] == {
        "alertname": "BreakerOpen",
        "severity": "critical",
        "group": "integration",
        "kind": "threshold",
        "system": "market",
    }
    for event in alerts:
        assert event["data"]["labels"] == alert["labels"]
        assert event["data"]["account_ids"] == []


def test_what_nobody_takes_is_passed_on(desk: Desk) -> None:
    look(desk, market=2)
    look(desk, 14, market=2)
    assert told(desk) == [("firing", ["email", "sms", "chat"])]
    look(desk, 2, market=2)
    assert told(desk)[1:] == [("escalated", ["on-call-lead"])]
    look(desk, 10, market=2)
    assert len(told(desk)) == 2
    assert firing(desk)[0]["escalation"] == 1
    (shown,) = desk.get("/api/v2/alerts").json
    assert [row["name"] for row in shown["receivers"]] == ["email", "sms", "chat", "on-call-lead"]


def test_a_silence_keeps_an_alert_quiet_until_it_ends(desk: Desk) -> None:
    made = silence(desk, 600, alertname="BreakerOpen", system="market")
    assert made.status_code == 201
    assert desk.get(made.headers["Location"]).json == made.json
    look(desk, market=2, strategy=2)
    assert told(desk) == [("firing", ["email", "sms", "chat"])]
    quiet, loud = firing(desk)
    assert (quiet["labels"]["system"], quiet["silenced_by"]) == ("market", [made.json["id"]])
    assert loud["silenced_by"] == []
    shown = {row["labels"]["system"]: row for row in desk.get("/api/v2/alerts").json}
    assert shown["market"]["status"] == {
        "state": "suppressed",
        "silencedBy": [made.json["id"]],
        "inhibitedBy": [],
    }
    only = desk.get("/api/v2/alerts?silenced=false").json
    assert [row["labels"]["system"] for row in only] == ["strategy"]
    assert desk.send("DELETE", made.headers["Location"]).status_code == 204
    assert desk.get(made.headers["Location"]).json["ends_at"] <= later(desk, 0).replace(
        "+00:00", "Z"
    )
    look(desk, market=2, strategy=2)
    assert [kind for kind, _ in told(desk)] == ["firing", "firing"]
    assert desk.send("DELETE", made.headers["Location"]).status_code == 204


def test_an_alert_that_is_told_late_is_passed_on_so_much_later(desk: Desk) -> None:
    silence(desk, 60, alertname="BreakerOpen")
    look(desk, market=2)
    look(desk, 60, market=2)
    look(desk, 1, market=2)
    assert told(desk) == [("firing", ["email", "sms", "chat"])]
    desk.app.extensions["alluse.alerts"] = evaluator.Evaluator(desk.services)  # a successor
    look(desk, 13, market=2)
    assert len(told(desk)) == 1
    look(desk, 1, market=2)
    assert told(desk)[1:] == [("escalated", ["on-call-lead"])]


def test_what_is_told_late_because_another_explained_it_is_passed_on_so_much_later(
    desk: Desk,
) -> None:
    alerts = desk.app.extensions["alluse.alerts"]

    def seen(seconds: float, *names: str) -> None:
        desk.hands.advance(seconds)
        desk.app.extensions["alluse.background"].tend()
        labels = {"BreakerOpen": ("market",), "CallsFail": ("market",)}
        every = {name: {labels[name]: 1.0} if name in names else {} for name in labels}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(judge, "holding", lambda *_: every)
            alerts.look(desk.hands.now, evaluator.scrape(desk.services))

    seen(1, "BreakerOpen", "CallsFail")
    seen(1, "BreakerOpen", "CallsFail")
    assert [kind for kind, _ in told(desk)] == ["firing"]
    seen(14_400 / SCALE, "CallsFail")
    seen(1, "CallsFail")
    assert told(desk)[-1] == ("firing", ["email", "chat"])
    seen(14_400 / SCALE - 2, "CallsFail")
    assert told(desk)[-1][0] == "firing"
    seen(2, "CallsFail")
    assert told(desk)[-1] == ("escalated", ["on-call"])


def test_an_alert_is_explained_by_one_of_the_same_system_only(desk: Desk) -> None:
    holding = {
        "BreakerOpen": {("reporting",): 2.0},
        "CallsFail": {("market",): 0.5, ("reporting",): 1.0},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "holding", lambda *_: holding)
        for _ in range(3):
            desk.hands.advance(1)
            desk.app.extensions["alluse.background"].tend()
            alerts = desk.app.extensions["alluse.alerts"]
            alerts.look(desk.hands.now, evaluator.scrape(desk.services))
    by_key = {(row["name"], row["labels"]["system"]): row for row in firing(desk)}
    breaker = by_key["BreakerOpen", "reporting"]["id"]
    assert by_key["CallsFail", "market"]["inhibited_by"] == []
    assert by_key["CallsFail", "reporting"]["inhibited_by"] == [breaker]
    assert [n["receivers"] for n in by_key["CallsFail", "market"]["notices"]] == [["email", "chat"]]
    assert by_key["CallsFail", "reporting"]["notices"] == []
    calls = {
        row["labels"]["system"]: row["status"]
        for row in desk.get("/api/v2/alerts").json
        if row["labels"]["alertname"] == "CallsFail"
    }
    assert calls["market"] == {"state": "active", "silencedBy": [], "inhibitedBy": []}
    assert calls["reporting"] == {"state": "suppressed", "silencedBy": [], "inhibitedBy": [breaker]}


def test_a_silence_ends_by_itself(desk: Desk) -> None:
    silence(desk, 5, alertname="BreakerOpen")
    look(desk, market=2)
    assert told(desk) == []
    look(desk, 5, market=2)
    assert [kind for kind, _ in told(desk)] == ["firing"]


def test_alertmanager_form(desk: Desk) -> None:
    assert desk.get("/api/v2/alerts").json == []
    look(desk, market=2)
    (shown,) = desk.get("/api/v2/alerts?active=true&silenced=false&inhibited=false").json
    (alert,) = firing(desk)
    assert shown["labels"] == alert["labels"]
    assert shown["labels"]["alertname"] == "BreakerOpen"
    assert shown["startsAt"] == alert["started_at"]
    assert shown["status"] == {"state": "active", "silencedBy": [], "inhibitedBy": []}
    assert shown["endsAt"] > shown["updatedAt"] >= shown["startsAt"]
    assert {row["name"] for row in shown["receivers"]} == {"email", "sms", "chat"}
    assert desk.get("/api/v2/alerts?active=false").json == []
    assert desk.get("/api/v2/alerts?active=perhaps").status_code == 400


def test_who_may_do_what(desk: Desk) -> None:
    look(desk, market=2)
    (alert,) = firing(desk)
    reads = ["/v1/alerts", "/v1/alerts/history", "/api/v2/alerts", "/v1/recoveries"]
    customer, auditor = desk.new_user("customer"), desk.new_user("auditor")
    service = desk.new_user("service")
    for path in reads:
        assert customer.get(path).status_code == 403
        assert auditor.get(path).status_code == 200
        assert service.get(path).status_code == 403
        assert desk.other().get(path).status_code == 401
    grant = {"principal_id": service.user_id, "scope": "metrics:read"}
    assert desk.post("/v1/grants", grant).status_code == 201
    assert service.get("/api/v2/alerts").status_code == 200
    for who in (customer, auditor, service):
        assert who.post(f"/v1/alerts/{alert['id']}/acknowledge", {}).status_code == 403
        assert silence(who, 60, alertname="x").status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"matchers": []},
        {"matchers": [{"name": "a"}]},
        {"matchers": [{"name": "a", "value": "b", "isRegex": True}]},
        {"matchers": [{"name": "a", "value": "b"}] * 21},
        {"reason": ""},
        {"ends_at": "tomorrow"},
    ],
)
def test_a_silence_of_another_shape_is_refused(desk: Desk, change: dict[str, Any]) -> None:
    body = {"matchers": [{"name": "a", "value": "b"}], "reason": "Why", "ends_at": later(desk, 60)}
    assert desk.post("/v1/silences", {**body, **change}).status_code == 400
    assert desk.post("/v1/silences", body).status_code == 201


def test_what_is_not_there_or_over_is_refused(desk: Desk) -> None:
    past = silence(desk, -1, alertname="BreakerOpen")
    assert (past.status_code, past.json["code"]) == (422, "invalid_expiry")
    assert desk.get("/v1/silences/sil_none").status_code == 404
    assert desk.send("DELETE", "/v1/silences/sil_none").status_code == 404
    assert desk.post("/v1/alerts/alr_none/acknowledge", {}).status_code == 404


def test_lists_page(desk: Desk) -> None:
    look(desk, a=2, b=2, c=2)
    first = desk.get("/v1/alerts?limit=2&sort=-seq").json
    assert [row["labels"]["system"] for row in first["data"]] == ["c", "b"]
    second = desk.get(f"/v1/alerts?cursor={first['next_cursor']}").json
    assert [row["labels"]["system"] for row in second["data"]] == ["a"]
    assert second["next_cursor"] is None


def test_the_oldest_are_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "KEPT_MAX", 2)
    for _ in range(5):
        look(desk, market=2)
        look(desk, market=0)
    assert len(desk.get("/v1/alerts/history").json["data"]) <= 3


def test_only_the_owner_writes(desk: Desk) -> None:
    desk.hands.advance(60)  # the lease has run out
    samples = {"integration_breaker_state": [({"system": "market"}, 2.0)]}
    with pytest.raises(Exception, match="alerts"):
        desk.app.extensions["alluse.alerts"].look(desk.hands.now, samples)
    assert firing(desk.log_in()) == []
    look(desk, market=2)
    assert len(firing(desk)) == 1


def test_the_rules_are_declared(desk: Desk) -> None:
    shown = desk.get("/.well-known/alluse").json["observability"]
    declared = {row["name"]: row for row in shown["alerts"]}
    assert set(declared) == {rule.name for rule in RULES}
    assert declared["CpuHigh"] == {
        "name": "CpuHigh",
        "for_s": 5,
        "window_s": 5,
        "severity": "warning",
        "kind": "threshold",
        "labels": [],
    }
    assert (shown["alert_time_scale"], shown["alert_interval_s"]) == (60, 1)
