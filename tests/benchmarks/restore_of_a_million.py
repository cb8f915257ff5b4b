"""How long a restore takes: a book of many accounts, backed up, changed, and restored.

    python tests/benchmarks/restore_of_a_million.py [ACCOUNTS] [FOLDER]

Writes one JSON line of seconds. Each account has a deposit, events and an audit record; while these
are written the guards are set aside, and the restore finds the book whole all the same. The timed
part is what `POST /v1/backups/{id}/restore` does after it has been let in.
"""

import json
import shutil
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from reference_impl import app, audit, config, database, ids, setup
from reference_impl.clock import SystemClock
from reference_impl.operations import moment, resources, restore, store

PASSWORD = "a password for the benchmark"
BATCH = 20_000


def fill(path: Path, accounts: int) -> None:
    """Write accounts, two buckets' worth of journal each, and their audit records."""
    with closing(database.connect(path)) as book:
        book.execute("PRAGMA synchronous = OFF")
        owner = book.execute("SELECT id FROM users").fetchone()[0]
        [world] = book.execute(
            "SELECT id, balance FROM buckets WHERE system = 'external' AND currency = 'USD'"
        ).fetchall()
        tip = book.execute("SELECT coalesce(max(seq), 0) FROM transactions").fetchone()[0]
        balance = world["balance"]
        now_ms = SystemClock().now_ms() - 60_000
        guards = [
            tuple(row)
            for row in book.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
                " AND name NOT IN ('outbox_transaction', 'outbox_account_opened')"
            )
        ]
        for name, _ in guards:
            book.execute(f"DROP TRIGGER {name}")
        for start in range(0, accounts, BATCH):
            book.execute("BEGIN")
            for _ in range(min(BATCH, accounts - start)):
                account = ids.new_id("acc", now_ms)
                tip, balance = tip + 1, balance - 100
                book.execute(
                    "INSERT INTO accounts (id, owner_id, type, currency, name, status,"
                    " base_amount, min_balance, buffer_bps, withdrawal_allowed, root_id, depth,"
                    " created_at, metadata) VALUES (?1, ?2, 'revenue', 'USD', 'One of many',"
                    " 'active', 0, 0, 500, 1, ?1, 0, ?3, '{}')",
                    (account, owner, now_ms),
                )
                bucket = book.execute(
                    "INSERT INTO buckets (account_id, kind, currency) VALUES (?, 'cash', 'USD')",
                    (account,),
                ).lastrowid
                book.executemany(
                    "INSERT INTO lines VALUES (?, ?, ?, NULL, ?, ?, ?)",
                    [
                        (tip, 1, tip, world["id"], -100, balance),
                        (tip, 2, tip, bucket, 100, 100),
                    ],
                )
                book.execute(
                    "INSERT INTO transactions (seq, id, phase, kind, amount, currency,"
                    " to_account_id, effective_at, recorded_at, actor)"
                    " VALUES (?, ?, 'post', 'deposit', 100, 'USD', ?, ?, ?, ?)",
                    (tip, ids.new_id("txn", now_ms), account, now_ms, now_ms, owner),
                )
                act = audit.Act(
                    actor=owner, action="createAccount", request_id="-", payload_digest=""
                )
                audit.append(book, act, target=account, outcome="done", now_ms=now_ms)
            book.execute("COMMIT")
        for statement in moment.BALANCES:
            book.execute(statement)
        for _, text in guards:
            book.execute(text)


def main() -> None:
    """Run it."""
    accounts = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp())
    path = folder / "book.db"
    figures: dict[str, float] = {"accounts": accounts}
    if not path.exists():
        setup.create(path, "admin", PASSWORD)
        began = time.monotonic()
        fill(path, accounts)
        figures["fill_s"] = time.monotonic() - began
    shared = app.build_services(config.Settings(database=path), SystemClock())
    kept = resources.store_of(shared)
    figures["megabytes"] = path.stat().st_size / 1e6
    with store.alone(kept):
        began = time.monotonic()
        made = store.make(kept, resources.order(shared, kept, "full", "bench"))
        figures["backup_s"] = time.monotonic() - began
        shared.writer.submit(lambda connection: resources.enter(connection, made))
        cpu_s, began = time.process_time(), time.monotonic()
        with store.scratch(kept) as place:
            safe = store.make(kept, resources.order(shared, kept, "full", "bench"))
            figures["of_it_safety_s"] = time.monotonic() - began
            wish = restore.Wish(backup_id=made.id, until_ms=None)
            restore.stage(kept, wish, made.id, place / "image.db")
            figures["of_it_stage_s"] = time.monotonic() - began - figures["of_it_safety_s"]
            act = audit.operator(restore.ACTION)
            restore.install(shared, place / "image.db", act, wish, finish=lambda *_: None)
        figures["restore_s"] = time.monotonic() - began
        figures["restore_cpu_s"] = time.process_time() - cpu_s
        store.remove(kept, safe.id)
        store.remove(kept, made.id)
    sys.stdout.write(json.dumps({name: round(value, 2) for name, value in figures.items()}) + "\n")
    if len(sys.argv) <= 2:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
