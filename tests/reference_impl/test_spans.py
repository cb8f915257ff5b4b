"""What is told of a call, and which endpoints may be one."""

from dataclasses import replace
from pathlib import Path

import pytest

from reference_impl import spans
from reference_impl.config import Settings, StartRefusedError
from reference_impl.operations import settings
from reference_impl.tracing import accept

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector.example/", "https://collector.example/v1/traces"),
        ("https://collector.example/tenant", "https://collector.example/tenant/v1/traces"),
    ],
)
def test_traces_have_their_place_below_an_endpoint(endpoint: str, url: str) -> None:
    assert settings.refusal("otlp_endpoint", endpoint) is None
    assert spans.traces_url(endpoint) == url


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("127.0.0.1:4318", "not an http or https URL"),
        ("grpc://127.0.0.1:4317", "not an http or https URL"),
        ("http://", "not an http or https URL"),
        ("http://127.0.0.1:0", "not an http or https URL"),
        ("http://127.0.0.1:hush", "can be read"),
        ("http://[::1", "can be read"),
        ("http://user:hush@127.0.0.1:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("http://127.0.0.1:4318?key=1", "query"),
        ("http://127.0.0.1:4318/a b", "blank"),
        ("http://127.0.0.1:4318/v1/traces", "leave /v1/traces out"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_way_out(endpoint: str, said: str) -> None:
    found = settings.refusal("otlp_endpoint", endpoint)
    assert found is not None
    assert said in found
    assert "hush" not in found


def test_without_an_endpoint_nothing_is_checked_and_nothing_started() -> None:
    from reference_impl.metrics import Nothing

    off = Settings(database=Path("b.db"))
    spans.check(off)
    assert spans.start(off, "here", Nothing()) is None
    assert settings.refusal("otlp_endpoint", "") is None


def test_secret_headers_do_not_leave_this_machine_in_the_clear() -> None:
    given = Settings(database=Path("b.db"), otlp_endpoint="http://collector.example:4318")
    for name in spans.HEADERS:
        with pytest.raises(StartRefusedError, match="use https") as refused:
            spans.check(given, {name: "authorization=hush"})
        assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADERS", "hush"),
        ("TRACES_HEADERS", "a=b,hush"),
        ("TIMEOUT", "0"),
        ("TRACES_TIMEOUT", "-1"),
        ("COMPRESSION", "zip"),
        ("CERTIFICATE", "/not/there.pem"),
        ("CLIENT_KEY", "/not/there.pem"),
    ],
)
def test_what_the_exporter_would_pass_over_is_refused(name: str, value: str) -> None:
    given = Settings(database=Path("b.db"), otlp_endpoint="http://127.0.0.1:4318")
    variable = f"OTEL_EXPORTER_OTLP_{name}"
    with pytest.raises(StartRefusedError, match=variable) as refused:
        spans.check(given, {variable: value})
    assert "hush" not in str(refused.value)


def test_what_the_exporter_understands_may_stand() -> None:
    given = Settings(database=Path("b.db"), otlp_endpoint="https://collector.example")
    variables = {"HEADERS": "a=b%20c, d=e=", "TIMEOUT": "2.5", "COMPRESSION": "gzip"}
    spans.check(given, {f"OTEL_EXPORTER_OTLP_{name}": text for name, text in variables.items()})


def test_the_switch_of_the_specification_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    from reference_impl.metrics import Nothing

    monkeypatch.setenv(spans.DISABLED, "True")
    given = replace(Settings(database=Path("b.db")), otlp_endpoint="http://127.0.0.1:4318")
    assert spans.start(given, "here", Nothing()) is None


@pytest.mark.parametrize(
    ("outcome", "status", "error"),
    [
        ("ok", 200, None),
        ("ok", 404, "404"),
        ("server_error", 503, "503"),
        ("timeout", None, "timeout"),
        ("invalid", 200, "invalid"),
    ],
)
def test_how_a_call_ended(outcome: str, status: int | None, error: str | None) -> None:
    attempt = spans.Attempt(
        system="market",
        method="GET",
        operation="getQuote",
        number=1,
        outcome=outcome,
        status=status,
    )
    trace = accept(CALLER)
    span = spans.called(trace, attempt, (1, 2))
    assert (span.name, span.kind, span.trace) == ("GET getQuote", spans.Kind.CLIENT, trace)
    assert span.failed is (error is not None)
    assert span.attributes.get("error.type") == error
    assert span.attributes.get("http.response.status_code") == status
    assert span.attributes["alluse.outcome"] == outcome
    assert "http.request.resend_count" not in span.attributes
