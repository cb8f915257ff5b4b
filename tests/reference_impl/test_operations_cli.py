"""Configuration, migrations and the way back in time, from the command line."""

import contextlib
import os
import sqlite3
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reference_impl import database, setup
from reference_impl.__main__ import main
from reference_impl.config import Settings, StartRefusedError
from reference_impl.operations import migrations, moment, settings, undo
from reference_impl.operations.refused import BackupRefusedError

from ._desk import ADMIN_PASSWORD, opened


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], env=environment)


# ---- configuration -------------------------------------------------------------------------


def gathered(file: str, tmp_path: Path, given: dict[str, Any], **environment: str) -> Settings:
    path = tmp_path / "reference.toml"
    path.write_text(file)
    return settings.gather(path, environment, given)[0]


def test_the_command_line_goes_before_the_variable_before_the_file(tmp_path: Path) -> None:
    file = 'database = "a.db"\nworkers = 3\nthreads = 5\nport = 7'
    found = gathered(file, tmp_path, {"workers": 9}, ALLUSE_WORKERS="8", ALLUSE_THREADS="6")
    assert (found.workers, found.threads, found.port) == (9, 6, 7)
    assert found.database == Path("a.db").absolute()
    assert found.queue_size == Settings(database=Path("x")).queue_size


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("workrs = 2", "workrs: there is no such key; did you mean workers?"),
        ("workers = 0", "workers: 0 is out of range; choose a whole number from 1 to 64"),
        ('workers = "2"', "workers: '2' is no whole number"),
        ("workers = true", "workers: True is no whole number"),
        ("workers = 2.0", "workers: 2.0 is no whole number"),
        ("drain_s = nan", "drain_s: nan is out of range"),
        ('metrics = "yes"', "metrics: 'yes' is no true or false"),
        ('log_level = "loud"', "choose debug, info, warning, error"),
        ('certificate = "/nowhere"', "certificate: /nowhere: there is no such file"),
        ('admin_password = "x"', "a secret is never a setting"),
        ("[server]\nport = 1", "server: there is no such key"),
        ("port =", "is not TOML"),
        ("production = true\ntestability = true", "testability: it lets anybody turn the clock"),
        ("production = true\nalert_scale = 60", "alert_scale: 60 lets alerts come and go too"),
        ("production = true\ndisk_free_min = 0", "disk_free_min: with 0 readiness says yes"),
        ("production = true\nmetrics = false", "metrics: without them alerts and dashboards"),
        ('host = "0.0.0.0"', "plain HTTP is served on loopback only"),
        ('password_complexity = "greek"', "'greek' is no class"),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(StartRefusedError) as caught:
        gathered(f'database = "a.db"\n{line}', tmp_path, {})
    assert said in str(caught.value)
    assert str(tmp_path / "reference.toml") in str(caught.value) or line.startswith(
        ("production", "host")
    )


def test_a_variable_that_is_nearly_a_setting_is_refused_and_others_are_not() -> None:
    given = {"database": "a.db"}
    with pytest.raises(StartRefusedError, match="did you mean ALLUSE_WORKERS"):
        settings.gather(None, {"ALLUSE_WORKRES": "2"}, given)
    with pytest.raises(StartRefusedError, match="ALLUSE_WORKERS: workers: 'many' is no whole"):
        settings.gather(None, {"ALLUSE_WORKERS": "many"}, given)
    settings.gather(None, {"ALLUSE_DEFECT": "x", "PATH": "y"}, given)


def test_nothing_is_opened_with_a_wrong_configuration(tmp_path: Path) -> None:
    path = tmp_path / "reference.toml"
    path.write_text("workers = 0\nthreads = 0")
    refused = run("serve", "--config", path, "--database", tmp_path / "none.db")
    assert refused.exit_code == 2
    assert "workers: 0" in refused.output
    assert "threads: 0" in refused.output
    assert "none.db" not in refused.output


def test_the_reference_is_of_the_settings_and_gives_the_defaults(tmp_path: Path) -> None:
    shown = run("config", "reference").output
    assert set(settings.meanings()) == set(settings.kinds())
    values = "\n".join(
        line.removeprefix("# ")
        for line in shown.splitlines()
        if line.partition(" = ")[0].removeprefix("# ") in settings.kinds() and " = " in line
    )
    document = tomllib.loads(values)
    document["database"] = str(tmp_path / "book.db")
    defaults = Settings(database=tmp_path / "book.db")
    assert {name: type(value)(getattr(defaults, name)) for name, value in document.items()} == (
        document
    )
    assert set(document) == set(settings.kinds())
    again = gathered(settings.render(defaults), tmp_path, {})
    assert again == defaults


# ---- migrations ----------------------------------------------------------------------------


def old_book(path: Path) -> Path:
    """A database as version 1 made it, with a user and money in it."""
    setup.create(path, "admin", ADMIN_PASSWORD)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert migrations.downgrade(connection, 1) == 1
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
    return path


def test_an_older_database_is_refused_and_opens_after_a_migration(tmp_path: Path) -> None:
    path = old_book(tmp_path / "book.db")
    refused = run("serve", "--database", path)
    assert refused.exit_code == 2
    assert "migrate --database" in refused.output
    done = run("migrate", "--database", path)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "book.db.schema-1").is_file()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        fresh = tmp_path / "fresh.db"
        setup.create(fresh, "admin", ADMIN_PASSWORD)
        with contextlib.closing(sqlite3.connect(fresh)) as expected:
            assert migrations.objects(connection) == migrations.objects(expected)
        row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        assert row[0] == str(database.SCHEMA_VERSION)
    with opened(tmp_path) as desk:
        assert desk.get("/v1/users").json["data"][0]["username"] == "admin"
        assert desk.send("PUT", "/v1/maintenance", {"read_only": False}).status_code == 200
    assert run("migrate", "--database", path).output.startswith("0 steps")


def test_the_way_back_keeps_what_was_booked_since(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        account = desk.funded(700)
    assert run("migrate", "--database", tmp_path / "book.db", "--to", "1").exit_code == 0
    assert "migrate" in run("serve", "--database", tmp_path / "book.db").output
    assert run("migrate", "--database", tmp_path / "book.db").exit_code == 0
    with opened(tmp_path) as desk:
        assert desk.get(f"/v1/accounts/{account}").json["balances"]["ledger"] == 700


def test_each_migration_keeps_the_book_as_it_found_it(tmp_path: Path) -> None:
    path = old_book(tmp_path / "book.db")
    sizes = []
    for number in range(1, 4):
        name = path.with_name("book.db.schema-1" + (f".{number}" if number > 1 else ""))
        output = run("migrate", "--database", path).output
        assert output.rstrip().endswith(f"as it was: {name}")
        with contextlib.closing(sqlite3.connect(name)) as copy:
            assert migrations.version_of(copy) == 1
            sizes.append(copy.execute("SELECT count(*) FROM audit").fetchone()[0])
        assert run("migrate", "--database", path, "--to", "1").exit_code == 0
    assert sizes == sorted(set(sizes)), "each one of its time"


def test_a_migration_that_is_tried_again_keeps_one_copy(tmp_path: Path) -> None:
    path = old_book(tmp_path / "book.db")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE foreign_one (id INTEGER)")
    for _ in range(2):
        assert run("migrate", "--database", path).exit_code == 2
    assert [one.name for one in tmp_path.glob("book.db.schema-*")] == ["book.db.schema-1"]


def test_a_migration_killed_half_way_has_not_happened(tmp_path: Path) -> None:
    path = old_book(tmp_path / "book.db")
    child = os.fork()
    if child == 0:
        # Killed when most statements are done, and nothing is committed.
        connection = sqlite3.connect(path, isolation_level=None)
        done: list[int] = []

        def count() -> int:
            done.append(1)
            if len(done) > 40:
                os._exit(9)
            return 0

        connection.set_progress_handler(count, 20)
        migrations.upgrade(connection)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert migrations.version_of(connection) == 1
        with migrations.pattern(1) as old:
            assert migrations.objects(connection) == migrations.objects(old)
    assert run("migrate", "--database", path).exit_code == 0


def test_a_schema_that_somebody_changed_is_not_migrated(tmp_path: Path) -> None:
    path = old_book(tmp_path / "book.db")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER lines_no_update")
    refused = run("migrate", "--database", path)
    assert refused.exit_code == 2
    assert "trigger lines_no_update (missing)" in refused.output
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert migrations.version_of(connection) == 1


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "book.db"
    setup.create(path, "admin", ADMIN_PASSWORD)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert "newer version" in run("migrate", "--database", path).output


# ---- the way back in time ------------------------------------------------------------------


def test_every_table_has_its_way_back() -> None:
    """A new table belongs into one of the lists of `operations/undo.py`."""
    with migrations.pattern(database.SCHEMA_VERSION) as book:
        tables = {name for kind, name in migrations.objects(book) if kind == "table"}
        referred = {
            table: {row[2] for row in book.execute(f"PRAGMA foreign_key_list({table})")}
            for table in undo.LIVE
        }
    listed = [*undo.TRACKED, *undo.CUT, *undo.LIVE, *undo.AS_BACKED_UP, *undo.FLEETING]
    assert sorted(listed) == sorted(tables)
    for table, parents in referred.items():
        assert parents <= {*undo.LIVE}, f"{table} stays, what it refers to may not"


def test_erasure_leaves_nothing_in_the_way_back(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        person = desk.new_user("customer", username="somebody-known")
        found = desk.get(f"/v1/users/{person.session['user']['id']}")
        url = f"/v1/users/{person.session['user']['id']}"
        log = "SELECT count(*) FROM undo_log"
        connection = desk.services.readers.get()
        tag = found.headers["ETag"]
        assert desk.send("PATCH", url, {"status": "locked"}, **{"If-Match": tag}).status_code == 200
        assert connection.execute(log).fetchone()[0] > 0
        tag = desk.get(url).headers["ETag"]
        gone = desk.send("DELETE", f"{url}/personal-data", **{"If-Match": tag})
        assert gone.status_code == 204
        assert connection.execute(log).fetchone()[0] == 0
        content = Path(desk.services.settings.database).read_bytes()
        assert b"somebody-known" not in content


def test_no_trigger_of_the_way_back_lies_on_the_path_of_a_transfer(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        first, second = desk.funded(100), desk.funded(100)
        connection = desk.services.readers.get()
        log = "SELECT count(*) FROM undo_log"
        before = connection.execute(log).fetchone()[0]
        money = {"amount": 1, "currency": "USD"}
        body = {"kind": "transfer", "amount": money}
        body |= {"from_account_id": first, "to_account_id": second}
        assert desk.post("/v1/transactions", body).status_code == 201
        assert connection.execute(log).fetchone()[0] == before


def test_every_statement_of_the_way_back_takes_its_change_back(tmp_path: Path) -> None:
    setup.create(tmp_path / "book.db", "admin", ADMIN_PASSWORD)
    connection = database.connect(tmp_path / "book.db")
    before = dump(connection)
    begun = connection.execute("SELECT max(seq) FROM undo_log").fetchone()[0]
    connection.execute("BEGIN")
    connection.execute("UPDATE users SET legal_name = x'00ff27', version = 9")
    connection.execute("INSERT INTO password_history VALUES (1, (SELECT id FROM users), 'o''k', 5)")
    connection.execute("DELETE FROM password_history")
    connection.execute("DELETE FROM credentials")
    connection.execute("COMMIT")
    assert dump(connection) != before
    rows = connection.execute(
        "SELECT statement FROM undo_log WHERE seq > ? ORDER BY seq DESC", (begun,)
    ).fetchall()
    for row in rows:
        connection.execute(row[0])
    assert dump(connection) == before
    connection.close()


def test_the_way_back_is_bounded_and_says_where_it_ends(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        connection = database.connect(desk.services.settings.database)
        for number in range(6):
            desk.hands.advance(10)
            desk.new_user("customer", username=f"user-{number}")
        kept = connection.execute("SELECT count(*) FROM undo_log").fetchone()[0]
        assert undo.prune(connection, kept) == 0
        reached = moment.reach(connection, desk.hands.now - 25_000)
        assert reached > 0
        assert undo.prune(connection, 3) > 0
        assert connection.execute("SELECT count(*) FROM undo_log").fetchone()[0] <= 3
        assert moment.reach(connection, desk.hands.now) > reached
        with pytest.raises(BackupRefusedError, match="what was before is not kept"):
            moment.reach(connection, desk.hands.now - 45_000)
        connection.close()


def dump(connection: sqlite3.Connection) -> list[Callable[[], object]]:
    found: list[Any] = []
    for table in ("users", "credentials", "password_history"):
        found += [tuple(row) for row in connection.execute(f"SELECT * FROM {table}")]  # noqa: S608 - own names
    return found


def test_instants_of_the_command_line_are_utc() -> None:
    from reference_impl.operations.backup_cli import moment_of

    assert moment_of(datetime(1970, 1, 2)) == 86_400_000  # noqa: DTZ001 - as click gives it
    assert datetime.fromtimestamp(86_400, UTC).day == 2
