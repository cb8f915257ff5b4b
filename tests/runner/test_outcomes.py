"""Whatever a check does, its outcome is the right one of the six, in one real run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from certification.evidence import iter_exchanges
from certification.model import Outcome
from certification.runner import RunOutcome

CHECKS = """
STATE = Path(__file__).with_name("state")

@declare("right")
def check_right(ctx):
    ctx.anonymous.call("getLiveness", expect=200)


@declare("wrong")
def check_wrong(ctx):
    reply = ctx.anonymous.call("getLiveness", expect=200)
    ctx.equal(reply.status, 201, "It should have been created", reply)

@declare("one-case-wrong")
@pytest.mark.parametrize("number", [1, 2, 3])
def check_cases(ctx, number):
    reply = ctx.anonymous.call("getLiveness", expect=200)
    ctx.expect(number != 2, "two", expected=1, observed=number, on=[reply])

@declare("harness-bug")
def check_bug(ctx):
    ctx.anonymous.call("getLiveness", expect=200)
    raise KeyError("ours")

@declare("bare-assertion")
def check_assertion(ctx):
    ctx.anonymous.call("getLiveness", expect=200)
    assert 1 == 2

@declare("observes-nothing")
def check_nothing(ctx):
    pass

@declare("cannot-say")
def check_cannot_say(ctx):
    ctx.undecided("too slow to tell")

@declare("cannot-try")
def check_cannot_try(ctx):
    ctx.not_exercised("no such thing here")

@declare("dies")
def check_dies(ctx):
    ctx.anonymous.call("getLiveness", expect=200)
    os._exit(7)

@declare("lost-every-time")
def check_lost(ctx):
    ctx.anonymous.call("getLiveness", expect=200)
    raise ConnectionLost(number=1, reason=Lost.CONNECTION_LOST, detail="reset")

@declare("lost-once")
def check_lost_once(ctx):
    ctx.anonymous.call("getLiveness", expect=200)
    if not STATE.exists():
        STATE.write_text("seen")
        raise ConnectionLost(number=1, reason=Lost.CONNECTION_LOST, detail="reset")

@declare("spends-its-time", budget_s=0.3)
def check_budget(ctx):
    while True:
        ctx.anonymous.call("getLiveness", expect=200)

@declare("runs-alone", alone=True)
def check_alone(ctx):
    ctx.anonymous.call("getLiveness", expect=200)

@declare("after-the-right", last=True, after=["functional/probe/right"])
def check_after(ctx):
    ctx.anonymous.call("getLiveness", expect=200)

@declare("after-the-wrong", last=True, after=["functional/probe/wrong"])
def check_after_wrong(ctx):
    ctx.anonymous.call("getLiveness", expect=200)

@declare("wrong-status-is-a-finding")
def check_status(ctx):
    ctx.anonymous.call("getAccount", path={"id": "none"}, expect=200)

@declare("needs-a-token")
def check_fixture_missing(ctx, no_such_fixture):
    pass
"""
DOCSTRING = "    '''Why: a\n\n    How: b\n\n    Fails when: c\n\n    Remedy: d'''\n"
CHECKS = re.sub(r"(def check_.*:\n)", lambda found: found[1] + DOCSTRING, CHECKS)

EXPECTED = {
    "right": Outcome.PASS,
    "wrong": Outcome.FAIL,
    "one-case-wrong": Outcome.FAIL,
    "harness-bug": Outcome.ERROR,
    "bare-assertion": Outcome.ERROR,
    "observes-nothing": Outcome.ERROR,
    "cannot-say": Outcome.INCONCLUSIVE,
    "cannot-try": Outcome.NOT_EXERCISED,
    "dies": Outcome.ERROR,
    "lost-every-time": Outcome.FAIL,
    "lost-once": Outcome.INCONCLUSIVE,
    "spends-its-time": Outcome.INCONCLUSIVE,
    "runs-alone": Outcome.PASS,
    "after-the-right": Outcome.PASS,
    "after-the-wrong": Outcome.NOT_EXERCISED,
    "wrong-status-is-a-finding": Outcome.FAIL,
    "needs-a-token": Outcome.ERROR,
}


def test_every_way_to_end_has_its_outcome(
    suites: Callable[[str], Path], observe: Callable[..., RunOutcome]
) -> None:
    suites(CHECKS)
    outcome = observe()
    rows = {row.check.id.rsplit("/", 1)[1]: row for row in outcome.judgement.score.checks}
    assert {name: row.outcome for name, row in rows.items()} == EXPECTED
    assert len(rows["one-case-wrong"].cases) == 3
    assert rows["lost-once"].flaky
    assert "KeyError: 'ours'" in (rows["harness-bug"].reason or "")
    assert "traceback" in (rows["harness-bug"].cases[0].traceback or "").lower()
    assert rows["wrong"].findings[0].expected == "201"
    assert rows["wrong"].findings[0].exchanges == (1,)
    assert rows["wrong-status-is-a-finding"].findings[0].observed.startswith("401")
    assert "dependency" in (rows["after-the-wrong"].reason or "")
    assert outcome.judgement.run.footer is not None
    shown = [
        row for row in iter_exchanges(outcome.evidence) if row.check == "functional/probe/wrong"
    ]
    assert [row.number for row in shown] == [1]
