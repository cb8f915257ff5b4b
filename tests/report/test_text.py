"""Numbers are cut, never rounded up; foreign text is visible; commands are quoted."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certification.model import CheckId, Exchange
from certification.report.replay import certify_command, curl, quote
from certification.report.text import (
    interval_text,
    percent_text,
    score_text,
    signed_text,
    visible,
)
from certification.results import Interval
from tests.report.made_run import Shape
from tests.report.made_run import header as header_of

NASTY = (
    "it's",
    "$(touch /tmp/owned)",
    "`id`",
    '"; rm -rf /; "',
    "a\nb\tc",
    "\\n is not a line feed",
    "--output=/etc/passwd",
    "@/etc/passwd",
    "\x1b[201~injected\r",
    "ünïcödé ☃",
    "",
)


@given(st.fractions(min_value=0, max_value=1), st.fractions(min_value=0, max_value=1))
def test_a_number_below_a_threshold_is_never_printed_as_more(
    value: Fraction, bound: Fraction
) -> None:
    shown = Fraction(score_text(value))
    assert shown <= value
    assert value - shown < Fraction(1, 1000)
    if value < bound:
        assert shown < bound


def test_only_a_whole_score_prints_as_one() -> None:
    assert score_text(Fraction(9999, 10000)) == "0.999"
    assert percent_text(Fraction(9999, 10000)) == "99 %"
    assert (score_text(Fraction(1)), percent_text(Fraction(1))) == ("1.000", "100 %")


def test_differences_are_cut_towards_zero() -> None:
    assert signed_text(Fraction(-1, 3)) == "-0.333"
    assert signed_text(Fraction(-1, 9000)) == "+0.000"
    assert signed_text(Fraction(1, 3)) == "+0.333"


def test_an_interval_prints_both_ends_and_a_decided_score_one() -> None:
    lower, upper = Fraction(947, 1000), Fraction(981, 1000)
    assert interval_text(Interval(lower=lower, upper=upper)) == "0.947 - 0.981"
    assert interval_text(Interval(lower=lower, upper=lower)) == "0.947"


def test_hidden_characters_are_spelled_out() -> None:
    assert visible("a\u202eb\x00c\ud800d\u2028e") == "a\\u202eb\\x00c\\ud800d\\u2028e"
    assert visible("kept\tand\n☃") == "kept\tand\n☃"


@given(st.text())
def test_visible_text_can_always_be_written(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert visible(shown) == shown


def bash_words(command: str) -> list[bytes]:
    """Return what bash makes of the words after the first, with TOKEN set."""
    done = subprocess.run(
        ["bash", "-c", f"set -- {command}; printf '%s\\0' \"$@\""],  # noqa: S607  - any bash
        capture_output=True,
        check=True,
        env={"TOKEN": "s3cret", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )
    assert not done.stderr
    return done.stdout.split(b"\0")[:-1]


@pytest.mark.parametrize("text", NASTY)
def test_a_quoted_text_is_one_word_of_bash_that_means_itself(text: str) -> None:
    assert bash_words(quote(text)) == [text.encode()]
    assert "\x1b" not in quote(text)


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_survives_bash(text: str) -> None:
    assert bash_words(quote(text)) == [text.replace("[redacted]", "s3cret").encode()]


def exchange(**changes: object) -> Exchange:
    values: dict[str, object] = {
        "check": CheckId("functional/money/x"),
        "case": "-",
        "attempt": 1,
        "number": 1,
        "identity": "customer",
        "operation": "login",
        "method": "POST",
        "url": "https://host.test/a?b=[1]",
        "request_headers": (("Authorization", "[redacted]"), ("Host", "host.test")),
        "request_body": '{"password": "[redacted]", "name": "it\'s"}',
        "started_at": "",
        "elapsed_ms": 1.0,
    }
    return Exchange(**(values | changes))  # type: ignore[arg-type]  # the fields' types stand above


def test_curl_carries_the_request_and_a_variable_for_each_secret() -> None:
    words = [word.decode() for word in bash_words(curl(exchange()))]
    assert words[:3] == ["curl", "--include", "--globoff"]
    assert words[words.index("--request") + 1] == "POST"
    assert words[words.index("--url") + 1] == "https://host.test/a?b=[1]"
    assert words[words.index("--header") + 1] == "Authorization: Bearer s3cret"
    assert words[-1] == '{"password": "s3cret", "name": "it\'s"}'
    assert not any(word.startswith("Host") for word in words)


@pytest.mark.parametrize("text", NASTY)
def test_nothing_a_target_sent_leaves_its_word(text: str) -> None:
    hostile = exchange(
        url=text,
        method=text,
        request_body=text,
        request_headers=(("X-A", text), ("@/etc/passwd", "x"), ("Authorization", text)),
    )
    words = [word.decode() for word in bash_words(curl(hostile))]
    assert words == [
        *("curl", "--include", "--globoff", "--request", text, "--url", text),
        *("--header", f"X-A: {text}", "--header", "Authorization: Bearer s3cret"),
        *("--data-raw", text),
    ]


def test_a_long_body_is_a_file_instead_of_a_wrong_copy() -> None:
    command = curl(exchange(request_body="x" * 50), body_limit=40)
    assert command.endswith("--data-binary @request-body.txt")


def test_a_check_is_replayed_with_its_seed() -> None:
    header = header_of(Shape())
    name = header.profile["name"]
    assert certify_command("functional/money/x", header) == (
        f"certify run --profile {name} --check functional/money/x --seed {header.seed}"
    )
    elsewhere = replace(header, target_file="a b.toml")
    words = bash_words(certify_command("$(id)", elsewhere))
    assert words[2:4] == [b"--target", b"a b.toml"]
    assert b"$(id)" in words
