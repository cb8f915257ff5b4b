"""Executions of strategies: asked for until their outcome is known, and booked once.

`advance` does the next step of one execution, right after the request that asked for it or in the
background. The engine is asked outside any transaction; what comes of it is one transaction, which
begins with a look at whether the execution has ended meanwhile.
"""

import functools
import json
import logging
import random
import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from reference_impl import access, audit, booking, ids, metrics, outbox, requests, web
from reference_impl.background import Background
from reference_impl.problems import Problem

from .outbound import CallFailedError, Reason
from .registry import STRATEGY_ENGINE
from .strategy_engine import Execution, Result, Run, StrategyCalls, judge

JOB = "strategies"
ACTION = "endStrategyExecution"
EVERY_S = 0.5
DUE_ROWS = 20
BACKOFF_MS, BACKOFF_MS_MAX = 300, 60_000
AGE_MS_MAX = 24 * 3600 * 1000
"""An execution that the engine says nothing of for so long has failed."""
LATER = frozenset({Reason.NOT_CONFIGURED, Reason.OPEN, Reason.FULL})
"""The engine was not asked: the other executions need not try either."""
_log = logging.getLogger(__name__)


def install(jobs: Background, shared: web.Services) -> None:
    """Go on with what is due, in one worker."""
    jobs.run_when_owner(JOB, EVERY_S, lambda: sweep(shared))


def sweep(shared: web.Services) -> bool:
    """Go on with the executions and associations that are due; True if there are more."""
    if shared.gate.closed or not shared.outbound.registry[STRATEGY_ENGINE].configured:
        return False
    connection, now_ms = shared.readers.get(), shared.clock.now_ms()
    rows = connection.execute(
        "SELECT * FROM strategy_executions WHERE due_at <= ? ORDER BY due_at LIMIT ?",
        (now_ms, DUE_ROWS),
    ).fetchall()
    for row in rows:
        if not advance(shared, run_of(row), patient=True):
            return False
    return repair(shared, now_ms) and len(rows) == DUE_ROWS


def repair(shared: web.Services, now_ms: int) -> bool:
    """Tell the engine again what accounts follow, where a change of it was cut off."""
    rows = (
        shared.readers.get()
        .execute(
            "SELECT * FROM strategies WHERE in_doubt AND changing_until <= ?"
            " ORDER BY changing_until LIMIT ?",
            (now_ms, DUE_ROWS),
        )
        .fetchall()
    )
    for row in rows:
        if row["version"]:
            engine = StrategyCalls(shared=shared, traceparent=None, patient=True)
            key, parameters = ids.new_id("str", now_ms), json.loads(row["parameters"])
            try:
                engine.associate(row["account_id"], key, row["name"], parameters)
            except CallFailedError as failed:
                _log.info("a strategy of %s waits: %s", row["account_id"], failed)
                return False
        shared.writer.submit(functools.partial(_settled, row["account_id"], row["changing_until"]))
    return True


def _settled(account_id: str, until_ms: int, connection: sqlite3.Connection) -> None:
    connection.execute(
        "UPDATE strategies SET in_doubt = 0 WHERE account_id = ? AND changing_until = ?",
        (account_id, until_ms),
    )


def run_of(row: sqlite3.Row) -> Run:
    """Return an execution from its row."""
    names = Run.__dataclass_fields__
    return Run(**{name: row[name] for name in names if name != "parameters"} | _parameters(row))


def _parameters(row: sqlite3.Row) -> dict[str, Any]:
    return {"parameters": json.loads(row["parameters"])}


def advance(shared: web.Services, run: Run, *, patient: bool = False) -> bool:
    """Ask the engine and write down what it said; False where it is of no use to ask on.

    Never raises for the engine's sake, nor where nothing can be written now: it stays due.
    """
    engine = StrategyCalls(shared=shared, traceparent=run.traceparent, patient=patient)
    try:
        return _step(shared, engine, run)
    except Problem as busy:
        _log.info("%s stays due: %s", run.id, busy.code)
        return False


def _step(shared: web.Services, engine: StrategyCalls, run: Run) -> bool:
    try:
        found = ask(engine, run)
    except CallFailedError as failed:
        _log.info("%s waits: %s", run.id, failed)
        pause_s = failed.retry_after_s
        change(shared, run, lambda tx: postpone(tx, run, pause_s))
        return failed.reason not in LATER
    if isinstance(found, str):
        reason = found
        change(shared, run, lambda tx: end(tx, run, "failed", reason))
    else:
        execution = found
        change(shared, run, lambda tx: take(tx, run, execution))
    return True


def ask(engine: StrategyCalls, run: Run) -> Execution | str:
    """Return the execution as the engine has it, or why there never will be one."""
    if run.engine_id is not None:
        found = engine.read(run) or engine.find(run)
        if found is not None:
            return found
    answer = engine.execute(run)
    if answer.status == 409:
        found = engine.find(run)
        return found if found is not None else "the strategy engine contradicts itself"
    if answer.document is None:
        return f"the strategy engine refuses it: {answer.code or answer.status}"[:200]
    execution: Execution = answer.document
    return execution


def change(shared: web.Services, run: Run, step: Callable[[web.Tx], str | None]) -> None:
    """Write what came of a step, unless the execution has ended; `step` returns its new status.

    In maintenance nothing is written (Problem `read_only`): the engine will be asked again, and
    answers a key that it knows as before.
    """

    def write(connection: sqlite3.Connection) -> None:
        shared.gate.check(ACTION)
        row = connection.execute(
            "SELECT ended_at FROM strategy_executions WHERE id = ?", (run.id,)
        ).fetchone()
        if row is None or row["ended_at"] is not None:
            return
        now_ms = shared.clock.now_ms()
        outbox.begin(connection, now_ms, run.traceparent)
        status = step(web.Tx(connection=connection, now_ms=now_ms, services=shared))
        if status is not None:
            act = audit.Act(
                actor=STRATEGY_ENGINE,
                action=ACTION,
                request_id="-",
                payload_digest="",
            )
            audit.append(connection, act, target=run.id, outcome=status, now_ms=now_ms)

    shared.writer.submit(write)


def take(tx: web.Tx, run: Run, found: Execution) -> str | None:
    """Book what an execution brought, or wait for it; return the status that ends it."""
    wrong = judge(found, run, tx.now_ms)
    if wrong is not None:
        tx.services.metrics.count(metrics.RESULTS, ("refused",))
        return end(tx, run, "failed", wrong)
    if found.status == "running":
        tx.connection.execute(
            "UPDATE strategy_executions SET status = 'running', engine_id = ? WHERE id = ?",
            (found.execution_id, run.id),
        )
        return postpone(tx, run, 0)
    for result in found.results:
        keep(tx, run, result)
    if found.status == "failed":
        return end(tx, run, "failed", found.failure or "the strategy engine says that it failed")
    return end(tx, run, "done", None)


def keep(tx: web.Tx, run: Run, result: Result) -> None:
    """Book one result, or note which rule refused it; one that was booked before is left alone."""
    known = tx.connection.execute(
        "SELECT 1 FROM strategy_results WHERE account_id = ? AND id = ?",
        (run.account_id, result.result_id),
    ).fetchone()
    if known is not None:
        tx.services.metrics.count(metrics.RESULTS, ("repeated",))
        return
    transaction_id, refusal = None, None
    try:
        transaction_id = booking.book(tx, _actor(run), _booking(run, result))
    except Problem as problem:  # raised before anything of this result was written
        refusal = problem.code
    tx.services.metrics.count(metrics.RESULTS, ("refused" if refusal else "booked",))
    tx.connection.execute(
        "INSERT INTO strategy_results (id, execution_id, account_id, kind, amount, currency,"
        " instrument, quantity, transaction_id, refusal, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            result.result_id,
            run.id,
            run.account_id,
            result.kind,
            result.amount.amount,
            result.amount.currency,
            result.instrument,
            result.quantity,
            transaction_id,
            refusal,
            tx.now_ms,
        ),
    )


def _actor(run: Run) -> access.Caller:
    """Return who books: whoever asked for the execution, with what the kinds of results need."""
    return access.Caller(user_id=run.created_by, session_id="-", roles=("operator",))


def _booking(run: Run, result: Result) -> requests.CreateTransaction:
    money = requests.Money(amount=result.amount.amount, currency=result.amount.currency)
    memo = f"strategy execution {run.id}"
    if result.kind == "premium":
        return requests.CreateTransaction(
            kind="premium", amount=money, to_account_id=run.account_id, memo=memo
        )
    return requests.CreateTransaction(
        kind="assignment", amount=money, from_account_id=run.account_id, memo=memo
    )


def end(tx: web.Tx, run: Run, status: str, failure: str | None) -> str:
    """Write the end of an execution."""
    tx.connection.execute(
        "UPDATE strategy_executions SET status = ?, failure = ?, ended_at = ?, due_at = NULL"
        " WHERE id = ?",
        (status, None if failure is None else failure[:500], tx.now_ms, run.id),
    )
    return status


def postpone(tx: web.Tx, run: Run, retry_after_s: int) -> str | None:
    """Say when the engine is asked again; an execution that is too old has failed."""
    if tx.now_ms - run.created_at > AGE_MS_MAX:
        return end(tx, run, "failed", "the strategy engine did not say what came of it")
    bound = min(BACKOFF_MS * 2 ** min(run.attempts, 10), BACKOFF_MS_MAX)
    wait_ms = max(random.randint(bound // 2, bound), retry_after_s * 1000)  # noqa: S311 - spreads load
    tx.connection.execute(
        "UPDATE strategy_executions SET due_at = ?, attempts = attempts + 1 WHERE id = ?",
        (tx.now_ms + wait_ms, run.id),
    )
    return None


def parameters_text(parameters: Any) -> str:
    """Return parameters as they are kept."""
    return msgspec.json.encode(parameters).decode()
