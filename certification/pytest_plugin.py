"""Runs checks as pytest tests: one context per case and attempt, one outcome record per case.

The runner starts pytest with this plugin and a run file; the plugin keeps only planned checks,
calls each check itself, and turns whatever happens into an outcome in the spool.
"""

from __future__ import annotations

import inspect
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from certification.checks import CheckFailed, CheckSpec, NotExercised, Undecided, spec_of
from certification.connection import Connection, connect_worker
from certification.context import Context
from certification.errors import TargetLost
from certification.model import CaseResult, CheckId, Finding, Incident, Outcome
from certification.phases import LIFELINE
from certification.runfile import VARIABLE, RunFile, read_run_file
from certification.spool import Spool, SpoolSink
from certification.target.limits import BudgetSpent
from certification.target.outcomes import ConnectionLost
from certification.target.tokens import LoginRefused

CONNECTION: pytest.StashKey[Connection] = pytest.StashKey()
RUN_FILE: pytest.StashKey[RunFile] = pytest.StashKey()
NO_CHECK = CheckId("-")
"""Before the first check of a process begins; nothing is sent then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one call of a check came to."""

    outcome: Outcome
    reason: str | None = None
    finding: Finding | None = None
    traceback: str | None = None
    lost: ConnectionLost | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Read the run file; without one, the checks cannot be run."""
    name = os.environ.get(VARIABLE)
    if not name:
        raise pytest.UsageError("checks are run by `certify run`; see `certify run --help`")
    config.stash[RUN_FILE] = read_run_file(Path(name))
    if (lifeline := os.environ.get(LIFELINE)) and not hasattr(config, "workerinput"):
        threading.Thread(target=_end_with_runner, args=(int(lifeline),), daemon=True).start()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the planned checks; `-k` also matches on check ids."""
    planned = set(config.stash[RUN_FILE].planned)
    kept, dropped = [], []
    for item in items:
        spec = _spec(item)
        if spec is None or spec.id not in planned:
            dropped.append(item)
            continue
        item.extra_keyword_matches.add(spec.id)
        kept.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=dropped)


@pytest.fixture
def ctx(request: pytest.FixtureRequest) -> Context:
    """Hand the check its context; the plugin replaces it for a second attempt."""
    spec = _spec(request.node)
    if spec is None:
        raise pytest.UsageError("ctx is for functions declared with @check")
    return _context(request.config, spec, _case(request.node))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a check, twice where the first call lost its connection, and spool its outcome."""
    spec = _spec(pyfuncitem)
    if spec is None:
        return None
    connection = _connection(pyfuncitem.config)
    if connection.stop_reason():
        pytest.skip("the run is ending")
    case = _case(pyfuncitem)
    began, clock = datetime.now(UTC), time.monotonic()
    attempts = [_attempt(pyfuncitem, spec, case, number=1)]
    if attempts[0].lost is not None:
        attempts += _after_loss(pyfuncitem, spec, case, attempts[0].lost)
    result = _result(attempts, connection.sink.count)
    _spool(pyfuncitem.config).record(
        CaseResult(
            check=spec.id,
            case=case,
            started_at=began.isoformat(timespec="milliseconds"),
            duration_ms=round((time.monotonic() - clock) * 1000, 3),
            **result,
        )
    )
    _tell_pytest(result["outcome"], result["reason"])
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Spool an ERROR where pytest could not even call the check."""
    spec = _spec(item)
    if (
        spec
        and call.when == "setup"
        and call.excinfo
        and not call.excinfo.errisinstance(pytest.skip.Exception)
    ):
        _spool(item.config).record(
            CaseResult(
                check=spec.id,
                case=_case(item),
                outcome=Outcome.ERROR,
                reason=f"the check could not be started: {call.excinfo.value}",
                attempts=(Outcome.ERROR,),
                traceback=str(call.excinfo.getrepr(style="short")),
            )
        )
    return (yield)


def _end_with_runner(lifeline: int) -> None:
    """End this process group when the runner is gone, however it went: no traffic without it."""
    try:
        os.read(lifeline, 1)
    except OSError:
        return
    os.killpg(0, signal.SIGKILL)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the connections of this process."""
    connection = config.stash.get(CONNECTION, None)
    if connection is not None:
        connection.close()


def _attempt(  # noqa: PLR0911  one return for each way a check can end
    item: pytest.Function, spec: CheckSpec, case: str, *, number: int
) -> Attempt:
    """Call the check once; the project's one broad `except` makes any throw an ERROR."""
    connection = _connection(item.config)
    connection.sink.begin(spec.id, case, number)
    arguments = {name: item.funcargs[name] for name in inspect.signature(item.obj).parameters}
    if number > 1 and "ctx" in arguments:
        arguments["ctx"] = _context(item.config, spec, case)
    try:
        item.obj(**arguments)
    except CheckFailed as failed:
        return Attempt(outcome=Outcome.FAIL, reason=failed.finding.message, finding=failed.finding)
    except Undecided as undecided:
        return Attempt(outcome=Outcome.INCONCLUSIVE, reason=str(undecided))
    except NotExercised as reason:
        return Attempt(outcome=Outcome.NOT_EXERCISED, reason=str(reason))
    except LoginRefused as refused:
        return Attempt(outcome=Outcome.INCONCLUSIVE, reason=refused.message)
    except ConnectionLost as lost:
        return Attempt(outcome=Outcome.INCONCLUSIVE, reason=lost.message, lost=lost)
    except BudgetSpent as spent:
        return Attempt(outcome=Outcome.NOT_EXERCISED, reason=spent.message)
    except Exception as error:  # noqa: BLE001  the only place; nothing is swallowed
        return Attempt(
            outcome=Outcome.ERROR,
            reason=f"{type(error).__name__}: {error}"[:300],
            traceback=traceback.format_exc(limit=-12),
        )
    return Attempt(outcome=Outcome.PASS)


def _after_loss(
    item: pytest.Function, spec: CheckSpec, case: str, lost: ConnectionLost
) -> list[Attempt]:
    """Probe readiness; repeat on fresh data if the target is there, otherwise end the run."""
    connection = _connection(item.config)
    try:
        connection.wait_until_ready(item.config.stash[RUN_FILE].ready_deadline_s)
    except TargetLost as gone:
        detail = f"{spec.id}: {lost.message}; then {gone.message}"
        _spool(item.config).record(
            Incident(
                what="target_lost",
                detail=detail,
                at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                voids_verdict=True,
            )
        )
        connection.stop(detail)
        return []
    return [_attempt(item, spec, case, number=2)]


def _result(attempts: Sequence[Attempt], observations: int) -> dict[str, Any]:
    """Fold a case's attempts: a loss that comes again is the target's, a single one is unknown."""
    last = attempts[-1]
    outcome, reason, findings = last.outcome, last.reason, [last.finding] if last.finding else []
    if len(attempts) == 2:
        first = attempts[0].lost
        if last.lost is not None and first is not None:
            outcome = Outcome.FAIL
            reason = "The connection is lost each time, though the deployment says it is ready"
            findings = [
                Finding(
                    message=reason,
                    expected="an answer of the contract",
                    observed=f"{first.message}; again: {last.lost.message}",
                    exchanges=(last.lost.number,),
                    form_only=True,
                )
            ]
        elif last.outcome is Outcome.PASS:
            outcome = Outcome.INCONCLUSIVE
            reason = f"passed when repeated, after a lost connection: {attempts[0].reason}"
    if outcome is Outcome.PASS and observations == 0:
        outcome, reason = Outcome.ERROR, "the check observed nothing"
    return {
        "outcome": outcome,
        "reason": reason,
        "findings": tuple(findings),
        "attempts": tuple(attempt.outcome for attempt in attempts),
        "observations": observations,
        "traceback": last.traceback if outcome is Outcome.ERROR else None,
    }


def _tell_pytest(outcome: Outcome, reason: str | None) -> None:
    if outcome in (Outcome.NOT_EXERCISED, Outcome.NOT_APPLICABLE):
        pytest.skip(reason or outcome.value)
    if outcome is not Outcome.PASS:
        pytest.fail(f"{outcome.value}: {reason}", pytrace=False)


def _spec(item: pytest.Item) -> CheckSpec | None:
    return spec_of(item.obj) if isinstance(item, pytest.Function) else None


def _case(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return callspec.id if callspec is not None else "-"


def _connection(config: pytest.Config) -> Connection:
    """Connect when the first check of this process needs it; the xdist controller never does."""
    if CONNECTION not in config.stash:
        run_file = config.stash[RUN_FILE]
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        spool = Spool(Path(run_file.spool) / f"{worker}-{os.getpid()}.jsonl")
        config.stash[CONNECTION] = connect_worker(run_file, SpoolSink(spool, NO_CHECK))
    return config.stash[CONNECTION]


def _spool(config: pytest.Config) -> Spool:
    return _connection(config).sink.spool


def _context(config: pytest.Config, spec: CheckSpec, case: str) -> Context:
    connection, run_file = _connection(config), config.stash[RUN_FILE]
    return Context(
        spec=spec,
        case=case,
        prefix=run_file.prefix,
        seed=run_file.seed,
        contract=connection.contract,
        capabilities=run_file.capabilities,
        sessions=connection.sessions,
        measure=connection.sink.spool.record,
        created=connection.created,
        objects=connection.objects,
        stopping=lambda: connection.stop_reason() is not None,
        trials=run_file.trials,
    )
