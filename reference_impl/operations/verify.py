"""Whether a database file is a whole book: its pages, its references, its sums, its audit trail.

The lines of the journal are added up again, and every record of the audit trail is hashed again,
from the genesis on; nothing that is stored as a sum or a hash is believed.
"""

import sqlite3
from collections.abc import Callable, Iterator

from reference_impl import audit, merkle

FINDINGS_MAX = 20
ROWS = 10_000
SUMS = {
    "SELECT currency, sum(balance) FROM buckets GROUP BY 1 HAVING sum(balance) <> 0": (
        "the trial balance of {0} is {1}, not zero"
    ),
    "SELECT b.id, b.balance, sum(l.amount) FROM buckets b LEFT JOIN lines l ON l.bucket_id = b.id"
    " GROUP BY 1 HAVING b.balance <> coalesce(sum(l.amount), 0)": (
        "bucket {0} has the balance {1}, its lines add up to {2}"
    ),
    "SELECT b.id, b.holds, sum(h.amount) FROM buckets b"
    " LEFT JOIN holds h ON h.bucket_id = b.id AND h.closed = 0"
    " GROUP BY 1 HAVING b.holds <> coalesce(sum(h.amount), 0)": (
        "bucket {0} holds back {1}, its open holds add up to {2}"
    ),
    "SELECT l.transaction_seq, b.currency, sum(l.amount) FROM lines l"
    " JOIN buckets b ON b.id = l.bucket_id GROUP BY 1, 2 HAVING sum(l.amount) <> 0": (
        "the lines of transaction {0} add up to {2} {1}"
    ),
    "SELECT count(*), max(seq) FROM transactions HAVING count(*) <> coalesce(max(seq), 0)": (
        "the journal has {0} transactions up to number {1}"
    ),
    "SELECT t.seq FROM transactions t WHERE phase = 'post'"
    " AND NOT EXISTS (SELECT 1 FROM lines l WHERE l.transaction_seq = t.seq)": (
        "transaction {0} has no lines"
    ),
    "SELECT seq FROM holds WHERE closed <> (seq IN (SELECT hold_seq FROM closings))": (
        "hold {0} and its closing disagree"
    ),
    "SELECT a.id FROM accounts a JOIN buckets b ON b.account_id = a.id"
    " WHERE a.status IN ('closed', 'merged') AND (b.balance <> 0 OR b.holds <> 0)": (
        "account {0} has ended and has money"
    ),
}
"""Query -> what a row of it means."""


def findings(connection: sqlite3.Connection, *, indexes: bool = True) -> list[str]:
    """Return what is wrong with a book, none if it is whole; FINDINGS_MAX at most.

    `indexes`: compare every index with its table as well, which takes as long as all the rest.
    """
    looks: tuple[Callable[[sqlite3.Connection], Iterator[str]], ...]
    looks = (_indexes if indexes else _pages, _references, _sums, _chain)
    found: list[str] = []
    for look in looks:
        try:
            for one in look(connection):
                found.append(one)
                if len(found) >= FINDINGS_MAX:
                    return found
        except (sqlite3.Error, LookupError, ValueError, TypeError) as error:
            return [*found, f"cannot be read: {' '.join(str(error).split())}"]
        if found:  # what comes later relies on it
            return found
    return found


def _indexes(connection: sqlite3.Connection) -> Iterator[str]:
    return _looked(connection, "integrity_check")


def _pages(connection: sqlite3.Connection) -> Iterator[str]:
    return _looked(connection, "quick_check")


def _looked(connection: sqlite3.Connection, pragma: str) -> Iterator[str]:
    for row in connection.execute(f"PRAGMA {pragma}({FINDINGS_MAX})"):
        if row[0] != "ok":
            yield f"integrity: {' '.join(str(row[0]).split())}"


def _references(connection: sqlite3.Connection) -> Iterator[str]:
    for row in connection.execute("PRAGMA foreign_key_check"):
        yield f"a row of {row[0]} refers to a row of {row[2]} that is not there"


def _sums(connection: sqlite3.Connection) -> Iterator[str]:
    for query, meaning in SUMS.items():
        for row in connection.execute(query):
            yield meaning.format(*row)


def _chain(connection: sqlite3.Connection) -> Iterator[str]:
    """Hash every record again, and compare with the leaf, the chain and the stored subtrees."""
    frontier, previous, expected = merkle.Frontier(), audit.GENESIS, 1
    for row in connection.execute("SELECT * FROM audit ORDER BY seq"):
        record = audit.document(row)
        del record["leaf_hash"]
        if row["seq"] != expected or row["prev_hash"] != previous:
            yield f"audit record {row['seq']} does not follow number {expected - 1}"
            return
        leaf = audit.leaf(record)
        if leaf != row["leaf_hash"]:
            yield f"audit record {row['seq']} was changed"
            return
        frontier.add(leaf)
        previous, expected = leaf, expected + 1
    if merkle.root(audit.subtrees(connection), expected - 1) != frontier.root():
        yield "the stored hashes of the audit tree are not those of its records"


def audit_state(connection: sqlite3.Connection) -> tuple[int, str]:
    """Return (size, root in hex) of the audit trail."""
    size = audit.size(connection)
    return size, merkle.root(audit.subtrees(connection), size).hex()
