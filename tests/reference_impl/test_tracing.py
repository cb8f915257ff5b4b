"""traceparent as the cases of W3C's own test suite have it."""

import pytest

from reference_impl.tracing import accept

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        GOOD.upper(),
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"{GOOD}-what",
        f"{GOOD}-",
        f"{GOOD}.",
        f"cc-{TRACE}-{SPAN}-01.what",
        f"{GOOD},{GOOD}",
        f" {GOOD}",
        f"00_{TRACE}_{SPAN}_01",
        GOOD.replace("4", "é", 1),
        "0" * 100_000,
    ],
)
def test_what_is_not_valid_begins_a_new_trace(header: str | None) -> None:
    made = accept(header)
    assert made.trace_id != TRACE
    assert len(made.trace_id) == 32
    assert made.trace_id.strip("0")
    assert accept(made.parent).trace_id == made.trace_id


@pytest.mark.parametrize("more", ["", "-what", "-"])
@pytest.mark.parametrize("version", ["00", "01", "cc"])
def test_a_valid_trace_goes_on_with_an_own_span(version: str, more: str) -> None:
    if version == "00" and more:
        return  # not valid: above
    for flags, sampled in (("01", "01"), ("00", "00"), ("ff", "01"), ("02", "00")):
        made = accept(f"{version}-{TRACE}-{SPAN}-{flags}{more}")
        assert made.trace_id == TRACE
        assert made.span_id != SPAN
        assert made.parent == f"00-{TRACE}-{made.span_id}-{sampled}"


def test_a_span_knows_whose_part_it_is_and_each_attempt_is_another() -> None:
    caller = "00f067aa0ba902b7"
    first = accept(f"00-{TRACE}-{caller}-01")
    second = first.again()
    assert first.parent_id == second.parent_id == caller
    assert (second.trace_id, second.sampled) == (TRACE, True)
    assert len({caller, first.span_id, second.span_id}) == 3
    assert accept(None).parent_id == ""
