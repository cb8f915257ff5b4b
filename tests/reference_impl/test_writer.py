"""The batching writer: neighbours, bounds, and answers only after the commit."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reference_impl import database, writer
from reference_impl.problems import Problem


@pytest.fixture
def path(tmp_path: Path) -> Path:
    database.create(tmp_path / "book.db").close()
    return tmp_path / "book.db"


@pytest.fixture
def pen(path: Path) -> Iterator[writer.Writer]:
    opened = writer.Writer(path, queue_size=4, wait_s=10)
    yield opened
    opened.close()


def note(key: str) -> writer.Action[str]:
    def action(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO meta VALUES (?, 'x')", (key,))
        return key

    return action


def keys(path: Path) -> set[str]:
    connection = database.connect(path, read_only=True)
    found = {row["key"] for row in connection.execute("SELECT key FROM meta WHERE value = 'x'")}
    connection.close()
    return found


def test_a_refusal_leaves_its_neighbours_alone(path: Path) -> None:
    def refused(connection: sqlite3.Connection) -> str:
        note("undone")(connection)
        raise Problem("same_account")

    def broken(connection: sqlite3.Connection) -> str:
        note("also undone")(connection)
        raise ZeroDivisionError

    def record(connection: sqlite3.Connection, problem: Problem) -> None:
        note(f"refused {problem.code}")(connection)

    connection = database.connect(path)
    jobs = [
        writer.Job(note("before"), None),
        writer.Job(refused, record),
        writer.Job(broken, record),
        writer.Job(note("after"), None),
    ]
    connection.execute("BEGIN IMMEDIATE")
    for job in jobs:
        writer.apply(connection, job)  # type: ignore[arg-type]  # the batch forgets results
    connection.execute("COMMIT")
    connection.close()
    assert keys(path) == {"before", "refused same_account", "after"}
    assert [type(job.error) for job in jobs] == [
        type(None),
        Problem,
        ZeroDivisionError,
        type(None),
    ]


def test_a_result_is_durable_when_it_is_returned(pen: writer.Writer, path: Path) -> None:
    assert pen.submit(note("one")) == "one"
    assert keys(path) == {"one"}


def test_errors_reach_the_one_who_asked(pen: writer.Writer) -> None:
    def refused(_: sqlite3.Connection) -> str:
        raise Problem("same_account")

    with pytest.raises(Problem, match="same_account"):
        pen.submit(refused)
    assert pen.submit(note("next")) == "next"


def test_a_full_queue_is_busy_at_once_and_recovers(pen: writer.Writer, path: Path) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> str:
        entered.set()
        go_on.wait(10)
        return note("slow")(connection)

    threads = [threading.Thread(target=pen.submit, args=(slow,))]
    threads[0].start()
    entered.wait(10)
    # Four fill the queue, and one more is in the hand of the writer's thread.
    threads += [threading.Thread(target=pen.submit, args=(note(f"w{n}"),)) for n in range(5)]
    for thread in threads[1:]:
        thread.start()
    while not pen._queue.full():
        entered.wait(0.01)
    with pytest.raises(Problem) as refusal:
        pen.submit(note("too many"))
    assert refusal.value.code == "busy"
    assert refusal.value.headers["Retry-After"]
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert keys(path) == {"slow", "w0", "w1", "w2", "w3", "w4"}


def test_waiting_is_bounded_and_what_gave_up_is_not_done(path: Path) -> None:
    pen = writer.Writer(path, queue_size=4, wait_s=0.2)
    entered, go_on = threading.Event(), threading.Event()

    def slow(_: sqlite3.Connection) -> str:
        entered.set()
        go_on.wait(10)
        return "slow"

    def first_in_line() -> None:
        with contextlib.suppress(Problem):
            pen.submit(slow)

    first = threading.Thread(target=first_in_line)
    first.start()
    entered.wait(10)
    with pytest.raises(Problem, match="busy"):
        pen.submit(note("gave up"))
    go_on.set()
    first.join(10)
    assert pen.submit(note("later")) == "later"
    assert keys(path) == {"later"}
    pen.close()


def test_a_locked_database_is_busy_and_recovers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 50)
    pen = writer.Writer(path, queue_size=4, wait_s=10)
    other = database.connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Problem, match="busy"):
        pen.submit(note("blocked"))
    other.execute("ROLLBACK")
    other.close()
    assert pen.submit(note("free")) == "free"
    assert keys(path) == {"free"}
    pen.close()


def test_nothing_of_a_batch_is_acknowledged_when_the_disk_is_full(path: Path) -> None:
    pen = writer.Writer(path, queue_size=4, wait_s=10)
    pages = pen._connection.execute("PRAGMA page_count").fetchone()[0]
    pen.submit(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 1}"))

    def large(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO meta VALUES ('large', ?)", ("x" * 100_000,))
        return "large"

    with pytest.raises(Problem, match="busy"):
        pen.submit(large)
    pen.submit(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
    assert pen.submit(note("room")) == "room"
    assert keys(path) == {"room"}
    pen.close()


def test_two_writers_take_turns(path: Path) -> None:
    pens = [writer.Writer(path, queue_size=100, wait_s=20) for _ in range(2)]

    def write(number: int) -> None:
        for count in range(25):
            pens[number % 2].submit(note(f"{number}-{count}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for pen in pens:
        pen.close()
    assert len(keys(path)) == 100


def test_a_write_alone_is_committed_in_the_thread_of_its_request(pen: writer.Writer) -> None:
    assert pen.submit(lambda _: threading.current_thread()) is threading.current_thread()


def test_a_write_that_meets_another_waits_in_the_queue(pen: writer.Writer) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(_: sqlite3.Connection) -> None:
        entered.set()
        go_on.wait(10)

    first = threading.Thread(target=pen.submit, args=(slow,))
    first.start()
    entered.wait(10)
    names: list[str] = []
    second = threading.Thread(
        target=lambda: names.append(pen.submit(lambda _: threading.current_thread().name))
    )
    second.start()
    while not pen._queue.unfinished_tasks:
        entered.wait(0.01)
    go_on.set()
    second.join(10)
    first.join(10)
    assert names in (["writer"], [first.name])
    assert pen.queue_length() == pen._queue.unfinished_tasks == 0
    assert pen.submit(lambda _: threading.current_thread()) is threading.current_thread()


def test_who_gave_up_while_another_process_had_its_turn_is_not_served(path: Path) -> None:
    pen = writer.Writer(path, queue_size=4, wait_s=0.2)
    with (
        Path(f"{path}.lock").open("ab") as other,
        writer.locked(other.fileno()),
        pytest.raises(Problem, match="busy"),
    ):
        pen.submit(note("gave up"))
    assert pen.submit(note("later")) == "later"
    assert keys(path) == {"later"}
    pen.close()
