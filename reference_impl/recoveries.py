"""What healed itself: noticed by the worker that watches, and shown under /v1/recoveries.

The sources: workers that ended without notice and were replaced (each leaves a sign of life every
second), circuit breakers that closed again, components whose check failed and passes again, the
queue of writes that was full and drained, and the check of the file after a failed sync. A server
that was killed as a whole is noticed by the next one: nobody had given the lease back.

What fails at the moment is noted in the server's folder: a fault that takes the watching worker's
life or lease with it is over only under the eyes of its successor.
"""

import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flask
import msgspec

from . import access, background, clock, health, listing, metrics, runtime_dir, web

blueprint = flask.Blueprint("recoveries", __name__)

JOB = "recoveries"
EVERY_S = 1.0
KEPT_MAX = 10_000
FULL, DRAINED = 0.8, 0.1
"""Shares of the places in the queue of writes."""
START_S = 60.0
"""A lease that ran out is held against the server before this one only so soon after its start."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A fault that is over."""

    component: str
    cause: str
    action: str
    started_at: int
    ended_at: int


class Known(msgspec.Struct):
    """What the watching worker knows and has not written to the book."""

    failing: dict[str, tuple[int, str]] = {}
    """Component -> since when (ms) and why."""
    healed: list[Recovery] = []


class Watch:
    """Notices what fails and what is well again, in the worker that owns the job."""

    def __init__(self, shared: web.Services) -> None:
        """Know of no fault."""
        self._shared = shared
        self._folder = runtime_dir.current()
        self._note = self._folder and self._folder / "failing"
        self._left, self._left_ns = msgspec.json.encode(Known()), 0
        """What the note holds, and when it was left."""
        self._failing: dict[str, tuple[int, str]] = {}
        self._healed: list[Recovery] = []
        self._ended: list[Recovery] = []
        """Of the server before, from the thread that tends the leases."""
        self._known: set[Path] = set()

    def step(self) -> None:
        """Look once, and write what is over; what cannot be written yet is kept.

        Raises LostLeaseError if another worker watches.
        """
        shared = self._shared
        background.check_owner(shared.readers.get(), JOB, shared)  # before any note is taken away
        self._take_up()
        while self._ended:
            self._healed.append(self._ended.pop())
        now_ms = shared.clock.now_ms()
        self._healed += [*self.components(now_ms), *self.queue(now_ms)]
        if self._folder is not None:
            self._healed += [*workers(self._folder, now_ms, self._known), *synced(self._folder)]
        self._leave()
        seen, closed = breakers(shared.readers.get())
        found = [*self._healed, *closed]
        if not found and seen is None:
            return

        def run(connection: sqlite3.Connection) -> None:
            background.check_owner(connection, JOB, shared)
            write(connection, found, seen)

        shared.writer.submit(run)
        self._healed.clear()
        self._leave()

    def _take_up(self) -> None:
        """Go on from what another worker knew, if one has watched since this one did."""
        if self._note is None or (left_ns := _modified_ns(self._note)) == self._left_ns:
            return
        self._left, self._left_ns = _text(self._note).encode(), left_ns
        found = msgspec.json.decode(self._left, type=Known)
        self._failing, self._healed = found.failing, found.healed

    def _leave(self) -> None:
        """Note what is known for the next one, if it has changed and this worker still watches."""
        content = msgspec.json.encode(Known(failing=self._failing, healed=self._healed))
        if self._note is None or content == self._left:
            return
        background.check_owner(self._shared.readers.get(), JOB, self._shared)
        hidden = self._note.with_name(f".failing-{os.getpid()}")
        try:
            hidden.write_bytes(content)
            hidden.rename(self._note)
        except OSError as error:  # a disk that is full may be the fault
            _log.info("what fails could not be noted: %s", error)
            return
        self._left, self._left_ns = content, _modified_ns(self._note)

    def taken_over(self, name: str, holder: str, until_ms: int) -> None:
        """Notice that the server before this one ended without notice."""
        if name != JOB or self._folder is None:
            return
        now_ms = self._shared.clock.now_ms()
        here = any(_text(path) == holder for path in self._folder.glob("alive-*"))
        started_s = float(_text(self._folder / "started") or 0)
        if not here and now_ms / 1000 - started_s < START_S:
            self._ended.append(
                Recovery(
                    component="server",
                    cause="The server ended without notice.",
                    action="It was started again; what was confirmed is there.",
                    started_at=min(until_ms - background.LEASE_MS, now_ms),
                    ended_at=now_ms,
                )
            )

    def components(self, now_ms: int) -> Iterator[Recovery]:
        """Yield the components whose check passes again."""
        for component, name in health.COMPONENTS.items():
            _, look = health.CHECKS[name]
            try:
                found = look(self._shared)
            except (sqlite3.Error, LookupError, OSError) as error:
                found = {"status": "fail", "output": type(error).__name__}
            bad = found["status"] != "pass"
            what = found.get("output") or f"{name}: {found.get('observedValue', found['status'])}"
            yield from self._fault(component, now_ms, what if bad else None, "It works again.")

    def queue(self, now_ms: int) -> Iterator[Recovery]:
        """Yield the queue of writes, when it has drained after it was full."""
        share = queue_share(self._shared)
        was = "queue" in self._failing
        bad = share > FULL or (was and share > DRAINED)
        cause = "The queue of writes was full." if bad else None
        yield from self._fault("queue", now_ms, cause, "It was worked off.")

    def _fault(
        self, component: str, now_ms: int, cause: str | None, action: str
    ) -> Iterator[Recovery]:
        if cause is not None:
            self._failing.setdefault(component, (now_ms, cause))
        elif component in self._failing:
            since_ms, before = self._failing.pop(component)
            yield Recovery(
                component=component,
                cause=before,
                action=action,
                started_at=min(since_ms, now_ms),
                ended_at=now_ms,
            )


def queue_share(shared: web.Services) -> float:
    """Return the share of the places in the queues of writes of all workers that is taken."""
    if not shared.settings.metrics:
        return shared.writer.queue_length() / shared.settings.queue_size
    totals = {metrics.QUEUE.name: 0.0, metrics.QUEUE_MAX.name: 0.0}
    for series in shared.metrics.store.everything():
        if series.live and series.family in totals:
            totals[series.family] += series.values[0]
    return totals[metrics.QUEUE.name] / (totals[metrics.QUEUE_MAX.name] or 1)


def workers(folder: Path, now_ms: int, known: set[Path]) -> Iterator[Recovery]:
    """Yield the workers that gave no sign of life any more and have been replaced.

    `known` holds those that are known to have taken a place, and grows.
    """
    signs = {path: int(path.name.partition("-")[2]) for path in folder.glob("alive-*")}
    dead = sorted((path for path, pid in signs.items() if not runs(pid)), key=_modified_ms)
    births = sorted(
        (_modified_ms(folder / f"worker-{pid}"), path)
        for path, pid in signs.items()
        if path not in dead and path not in known
    )
    for path in dead:
        last_sign = min(_modified_ms(path), now_ms)
        later = [(born, young) for born, young in births if born > last_sign]
        if not later:
            continue
        births.remove(later[0])
        known.add(later[0][1])
        path.unlink(missing_ok=True)
        (folder / path.name.replace("alive", "worker")).unlink(missing_ok=True)
        yield Recovery(
            component="worker",
            cause="The process ended without notice.",
            action="The server started another one.",
            started_at=last_sign,
            ended_at=max(min(later[0][0], now_ms), last_sign),
        )


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits to be collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stat = _text(Path(f"/proc/{pid}/stat"))
    return stat.rpartition(")")[2].split()[:1] != ["Z"]


def synced(folder: Path) -> Iterator[Recovery]:
    """Yield the checks of the file that workers made after a failed sync."""
    for path in sorted(folder.glob("synced-*")):
        since_ms, until_ms = json.loads(path.read_text("ascii"))
        path.unlink()
        yield Recovery(
            component="database",
            cause="A sync of the database failed.",
            action="The whole file was synced anew and checked before serving again.",
            started_at=min(since_ms, until_ms),
            ended_at=until_ms,
        )


def note_synced(folder: Path, lost: Path) -> None:
    """Leave a note, for whoever watches, that the file was checked after a failed sync."""
    if lost.is_file():
        note = json.dumps([_modified_ms(lost), time.time_ns() // 1_000_000])
        hidden = folder / f".synced-{os.getpid()}"
        hidden.write_text(note, "ascii")
        hidden.rename(folder / f"synced-{os.getpid()}")


def breakers(connection: sqlite3.Connection) -> tuple[int | None, list[Recovery]]:
    """Return how far the changes of breakers go, if there are new ones, and what has closed."""
    row = connection.execute("SELECT seq FROM recovery_marks WHERE source = 'breakers'").fetchone()
    mark = row["seq"] if row else 0
    rows = connection.execute(
        "SELECT seq, name, at_ms, before, after FROM breaker_changes WHERE seq > ? ORDER BY seq",
        (mark,),
    ).fetchall()
    closed = []
    for row in (row for row in rows if row["after"] == "closed"):
        opened = connection.execute(
            "SELECT at_ms, reason FROM breaker_changes WHERE name = ? AND seq < ?"
            " AND before = 'closed' ORDER BY seq DESC LIMIT 1",
            (row["name"], row["seq"]),
        ).fetchone()
        closed.append(
            Recovery(
                component=f"integration:{row['name']}",
                cause=((opened and opened["reason"]) or "Its calls failed.")[:500],
                action="Its circuit breaker tried it and closed again.",
                started_at=min(opened["at_ms"] if opened else row["at_ms"], row["at_ms"]),
                ended_at=row["at_ms"],
            )
        )
    return (rows[-1]["seq"] if rows else None), closed


def write(connection: sqlite3.Connection, found: list[Recovery], seen: int | None) -> None:
    """Store recoveries, the oldest beyond those that are kept going, and how far was read.

    One that is there is not stored again: who wrote it may have died before noting so.
    """
    connection.executemany(
        "INSERT INTO recoveries (component, cause, action, started_at, ended_at)"
        " SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM recoveries WHERE"
        " (component, cause, started_at, ended_at) = (?1, ?2, ?4, ?5))",
        [(r.component, r.cause, r.action, r.started_at, r.ended_at) for r in found],
    )
    connection.execute(
        "DELETE FROM recoveries WHERE seq <= (SELECT max(seq) FROM recoveries) - ?", (KEPT_MAX,)
    )
    if seen is not None:
        connection.execute(
            "INSERT INTO recovery_marks VALUES ('breakers', ?)"
            " ON CONFLICT (source) DO UPDATE SET seq = excluded.seq",
            (seen,),
        )


def install(jobs: background.Background, shared: web.Services) -> Watch:
    """Watch in one worker."""
    watch = Watch(shared)
    jobs.run_when_owner(JOB, EVERY_S, watch.step)
    jobs.on_taken_over = watch.taken_over
    return watch


@blueprint.get("/v1/recoveries")
def list_recoveries() -> flask.Response:
    """Return a page of what healed itself."""
    caller = web.caller(access.Rank.OPERATOR, auditor=True)
    asked = listing.page("listRecoveries", caller.user_id, ("seq",), {})
    after, values, order = listing.keyset(asked, ("seq",))
    query = f"SELECT * FROM recoveries WHERE {after} ORDER BY {order} LIMIT {asked.limit + 1}"  # noqa: S608 - own names and marks
    rows = web.reader().execute(query, values).fetchall()
    return web.respond_json(listing.answer(asked, rows, lambda row: [row["seq"]], view))


def view(row: sqlite3.Row) -> dict[str, Any]:
    """Return a recovery's wire form."""
    return {
        "component": row["component"],
        "cause": row["cause"],
        "action": row["action"],
        "started_at": clock.text(row["started_at"]),
        "ended_at": clock.text(row["ended_at"]),
        "duration_ms": row["ended_at"] - row["started_at"],
    }


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _modified_ms(path: Path) -> int:
    return _modified_ns(path) // 1_000_000


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
