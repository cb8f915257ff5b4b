"""Times the history checker on long right histories: seconds, and how the cost of one grows.

Run as `python tests/benchmarks/bench_history.py [OPERATIONS]`; figures are processor seconds of one
process. Ends with 1 where 100,000 operations, or fewer, take more than 20 s. `ARCHITECTURE.md`
quotes the figures.
"""

from __future__ import annotations

import gc
import random
import sys
import time

from certification.oracle import history_judge
from certification.oracle.history import (
    Balance,
    History,
    Kind,
    Operation,
    Posting,
    Statement,
    amounts,
)

OPERATIONS = 100_000
LIMIT_S = 20.0
CLIENTS = 20
ACCOUNTS = 8
SEED = 20250101


def serve(count: int) -> History:
    """Return what 20 clients see of 8 accounts: 50 % transfers, 40 % balances, 10 % statements."""
    rng = random.Random(SEED)  # noqa: S311  not a secret
    names = [f"acc_{n}" for n in range(ACCOUNTS)]
    books: dict[str, list[Posting]] = {name: [] for name in names}
    named = amounts(count, most=10**15, draw=SEED)
    rows: list[Operation] = []
    for number in range(1, count + 1):
        at = number * 1_000
        times = (at - rng.randrange(10_000), at + rng.randrange(10_000))
        share = rng.random()
        client, account = f"client-{rng.randrange(CLIENTS)}", rng.choice(names)
        if share < 0.5:
            other = rng.choice([name for name in names if name != account])
            effects = ((account, -named[number - 1]), (other, named[number - 1]))
            for name, amount in effects:
                before = books[name][-1].running if books[name] else 0
                books[name].append(
                    Posting(
                        transaction=f"txn_{number}",
                        amount=amount,
                        running=before + amount,
                        seq=number,
                    )
                )
            rows.append(
                Operation(
                    number=number,
                    client=client,
                    kind=Kind.POST,
                    began_ns=times[0],
                    ended_ns=times[1],
                    effects=effects,
                    transaction=f"txn_{number}",
                )
            )
            continue
        book = books[account]
        shown: Balance | Statement = Balance(ledger=book[-1].running if book else 0)
        if share > 0.9:
            shown = Statement(postings=tuple(book[-50:]), whole=len(book) <= 50)
        rows.append(
            Operation(
                number=number,
                client=client,
                kind=Kind.STATEMENT if share > 0.9 else Kind.BALANCE,
                began_ns=times[0],
                ended_ns=times[1],
                account=account,
                shown=shown,
            )
        )
    return History(
        operations=tuple(rows), final={name: tuple(postings) for name, postings in books.items()}
    )


def seconds(count: int) -> float:
    """Return how long a right history of so many operations takes to judge."""
    case = serve(count)
    # The history itself is the benchmark's: walking it again and again is no work of the checker.
    gc.collect()
    gc.freeze()
    began = time.process_time()
    judged = history_judge.judge(case)
    took = time.process_time() - began
    gc.unfreeze()
    if judged.anomaly is not None:
        raise SystemExit(f"a right history was accused: {judged.anomaly}")
    return took


def main() -> None:
    """Print the figures of a tenth and of the whole."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else OPERATIONS
    few, many = seconds(count // 10), seconds(count)
    growth = (many / count) / (few / (count // 10))
    sys.stdout.write(
        f"{count // 10:>9,} operations: {few:6.2f} s, {few / (count // 10) * 1e6:6.1f} us each\n"
        f"{count:>9,} operations: {many:6.2f} s, {many / count * 1e6:6.1f} us each\n"
        f"cost of one operation, ten times as many: x {growth:.2f}\n"
    )
    if count <= OPERATIONS and many > LIMIT_S:
        raise SystemExit(
            f"too slow: {count:,} operations took {many:.2f} s, {LIMIT_S:g} s is allowed"
        )


if __name__ == "__main__":
    main()
