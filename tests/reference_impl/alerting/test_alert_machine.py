"""From what holds to what is told, without clock or database."""

from collections.abc import Mapping

from reference_impl.alerting.machine import Fire, Machine, Silence, Standing, Tell
from reference_impl.alerting.rules import BY_NAME
from reference_impl.alerting.terms import Figures

MINUTE_MS = 60_000
KEY = ("BreakerOpen", ("market",))
SLOW = ("LatencyHigh", ())
Holding = Mapping[str, Figures | None]
OPEN: Holding = {"BreakerOpen": {("market",): 2.0}}
SLOWLY: Holding = {"LatencyHigh": {(): 0.3}}


def machine(*names: str, scale: float = 1.0) -> Machine:
    return Machine(rules=[BY_NAME[name] for name in names], scale=scale)


def alert(key: tuple[str, tuple[str, ...]] = KEY, **members: object) -> Standing:
    return Standing(id="alr_1", key=key, **{"told_at": 0, **members})  # type: ignore[arg-type]  # any member


def test_a_rule_waits_for_its_time_and_begins_anew_after_a_break() -> None:
    seen = machine("LatencyHigh")
    holds = SLOWLY
    over: Holding = {"LatencyHigh": {}}
    assert seen.step(0, holds, [], []) == []
    assert seen.step(MINUTE_MS - 1, holds, [], []) == []
    assert seen.step(MINUTE_MS, over, [], []) == []
    assert seen.step(MINUTE_MS + 1, holds, [], []) == []
    assert seen.step(2 * MINUTE_MS, holds, [], []) == []
    (fired,) = seen.step(2 * MINUTE_MS + 1, holds, [], [])
    expected = Fire(key=SLOW, value=0.3, pending_at=MINUTE_MS + 1, receivers=BY_ROUTE["warning"])
    assert fired == expected


BY_ROUTE = {"warning": ("email", "chat"), "critical": ("email", "sms", "chat")}


def test_a_scale_divides_the_time() -> None:
    seen = machine("LatencyHigh", scale=60)
    holds = SLOWLY
    assert seen.step(0, holds, [], []) == []
    assert len(seen.step(1000, holds, [], [])) == 1


def test_what_cannot_be_said_neither_fires_nor_ends() -> None:
    seen = machine("BreakerOpen")
    assert seen.step(0, {"BreakerOpen": None}, [], []) == []
    assert seen.step(0, {"BreakerOpen": None}, [alert()], []) == []


def test_one_alert_for_a_rule_and_its_labels() -> None:
    seen = machine("BreakerOpen")
    both: Holding = {"BreakerOpen": {("market",): 2.0, ("strategy",): 2.0}}
    assert [change.key for change in seen.step(0, both, [], []) if isinstance(change, Fire)] == [
        KEY,
        ("BreakerOpen", ("strategy",)),
    ]
    assert [c.key for c in seen.step(1, both, [alert()], []) if isinstance(c, Fire)] == [
        ("BreakerOpen", ("strategy",))
    ]


def test_it_is_over_when_the_rule_holds_no_more_and_those_who_heard_are_told() -> None:
    seen = machine("BreakerOpen")
    (told,) = seen.step(1, {"BreakerOpen": {}}, [alert(escalation=1)], [])
    heard = (*BY_ROUTE["critical"], "on-call-lead")
    assert told == Tell(id="alr_1", kind="resolved", receivers=heard)


def test_nobody_takes_it_so_it_is_passed_on_twice() -> None:
    seen = machine("BreakerOpen")
    assert seen.step(15 * MINUTE_MS - 1, OPEN, [alert()], []) == []
    (first,) = seen.step(15 * MINUTE_MS, OPEN, [alert()], [])
    expected = Tell(id="alr_1", kind="escalated", receivers=("on-call-lead",), escalation=1)
    assert first == expected
    passed_on = alert(escalation=1, told_at=15 * MINUTE_MS)
    assert seen.step(119 * MINUTE_MS, OPEN, [passed_on], []) == []
    (second,) = seen.step(120 * MINUTE_MS, OPEN, [passed_on], [])
    assert isinstance(second, Tell)
    assert second.receivers == ("management",)
    assert seen.step(999 * MINUTE_MS, OPEN, [alert(escalation=2)], []) == []


def test_whoever_hears_of_it_late_has_as_long_to_take_it() -> None:
    seen, late_ms = machine("BreakerOpen"), 300 * MINUTE_MS
    told_late = alert(told_at=late_ms)
    assert seen.step(late_ms + 15 * MINUTE_MS - 1, OPEN, [told_late], []) == []
    (lead,) = seen.step(late_ms + 15 * MINUTE_MS, OPEN, [told_late], [])
    assert isinstance(lead, Tell)
    assert lead.receivers == ("on-call-lead",)
    # Told at 0 and silenced for five hours: the lead is told then, the management much later.
    (lead,) = seen.step(late_ms, OPEN, [alert()], [])
    passed_on = alert(escalation=1, told_at=late_ms)
    assert seen.step(late_ms + 105 * MINUTE_MS - 1, OPEN, [passed_on], []) == []
    assert len(seen.step(late_ms + 105 * MINUTE_MS, OPEN, [passed_on], [])) == 1


def test_what_somebody_took_is_not_passed_on() -> None:
    assert machine("BreakerOpen").step(999 * MINUTE_MS, OPEN, [alert(acknowledged=True)], []) == []


def test_a_silence_keeps_it_quiet_and_it_is_told_when_that_ends() -> None:
    seen = machine("BreakerOpen")
    matchers = (("alertname", "BreakerOpen"), ("system", "market"))
    silence = Silence(id="sil_1", matchers=matchers)
    (fired,) = seen.step(0, OPEN, [], [silence])
    assert isinstance(fired, Fire)
    assert fired.receivers == ()
    quiet = alert(told_at=None)
    assert seen.step(999 * MINUTE_MS, OPEN, [quiet], [silence]) == []
    (told,) = seen.step(999 * MINUTE_MS, OPEN, [quiet], [])
    assert told == Tell(id="alr_1", kind="firing", receivers=BY_ROUTE["critical"])
    other = Silence(id="sil_2", matchers=(("alertname", "BreakerOpen"), ("system", "strategy")))
    (loud,) = machine("BreakerOpen").step(0, OPEN, [], [other])
    assert isinstance(loud, Fire)
    assert loud.receivers == BY_ROUTE["critical"]


def test_a_silent_alert_ends_without_a_word() -> None:
    (over,) = machine("BreakerOpen").step(1, {"BreakerOpen": {}}, [alert(told_at=None)], [])
    assert over == Tell(id="alr_1", kind="resolved", receivers=())


def test_what_another_alert_explains_is_not_told() -> None:
    seen = machine("CallsFail", "BreakerOpen")
    failing: Holding = {"CallsFail": {("market",): 0.5}, "BreakerOpen": {("market",): 2.0}}
    seen.step(0, failing, [alert()], [])
    (fired,) = seen.step(MINUTE_MS, failing, [alert()], [])
    assert isinstance(fired, Fire)
    assert (fired.key[0], fired.receivers) == ("CallsFail", ())


def test_what_is_wrong_with_one_system_explains_nothing_of_another() -> None:
    seen = machine("CallsFail", "BreakerOpen")
    reporting = alert(("BreakerOpen", ("reporting",)))
    failing: Holding = {"CallsFail": {("market",): 0.5}, "BreakerOpen": {("reporting",): 2.0}}
    seen.step(0, failing, [reporting], [])
    (fired,) = seen.step(MINUTE_MS, failing, [reporting], [])
    assert isinstance(fired, Fire)
    assert (fired.key, fired.receivers) == (("CallsFail", ("market",)), BY_ROUTE["warning"])


def test_a_rule_without_labels_explains_what_it_says_as_a_whole() -> None:
    seen = machine("DiskHigh", "DiskFull")
    full: Holding = {"DiskHigh": {(): 0.95}, "DiskFull": {(): 0.95}}
    standing = [alert(("DiskFull", ()))]
    seen.step(0, full, standing, [])
    (fired,) = seen.step(5 * MINUTE_MS, full, standing, [])
    assert isinstance(fired, Fire)
    assert (fired.key[0], fired.receivers) == ("DiskHigh", ())


def test_a_clock_that_was_set_back_only_delays() -> None:
    seen, holds = machine("LatencyHigh"), SLOWLY
    assert seen.step(10 * MINUTE_MS, holds, [], []) == []
    assert seen.step(0, holds, [], []) == []
    assert len(seen.step(MINUTE_MS, holds, [], [])) == 1


def test_an_alert_whose_rule_is_gone_ends() -> None:
    (over,) = machine("LatencyHigh").step(1, {"LatencyHigh": {}}, [alert(("Gone alr_1", ()))], [])
    assert isinstance(over, Tell)
    assert over.kind == "resolved"
