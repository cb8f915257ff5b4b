"""The pages about the business and about alerts."""

from reference_impl import metrics

from .expressions import Now, Rate, Share, Sum
from .panels import Column, Kind, Limit, Page, Panel, Query, Table, Unit
from .sums import ERROR_SHARE, POSTING, of, quantile, total, used

_POSTED = (("outcome", "posted"),)
_TRANSACTIONS = "ledger_transactions_total"

NEWEST_ACCOUNTS = Table(
    id="newest_accounts",
    title="Newest accounts",
    read="/v1/accounts?sort=-seq&limit=10",
    rows="data",
    columns=(
        Column(path="name", title="Name"),
        Column(path="type", title="Type"),
        Column(path="status", title="Status"),
        Column(path="balances.total_value", title="Holds", form="money"),
        Column(path="created_at", title="Opened", form="time"),
    ),
    empty="No account has been opened.",
)
GROWTH_EVENTS = Table(
    id="growth_events",
    title="Latest growth",
    read="/v1/growth/events?sort=-seq&limit=10",
    rows="data",
    columns=(
        Column(path="kind", title="Kind"),
        Column(path="account_id", title="Account"),
        Column(path="amount", title="Amount", form="money"),
        Column(path="created_at", title="When", form="time"),
    ),
    empty="No account has grown.",
)
_ALERT_COLUMNS = (
    Column(path="severity", title="Severity"),
    Column(path="name", title="Rule"),
    Column(path="status", title="Status"),
    Column(path="started_at", title="Since", form="time"),
    Column(path="ended_at", title="Until", form="time"),
    Column(path="annotations.summary", title="What it says"),
)
ALERTS = Table(
    id="alerts",
    title="Alerts",
    read="/v1/alerts?limit=50",
    rows="data",
    columns=_ALERT_COLUMNS,
    empty="No alert is firing.",
)
ALERT_HISTORY = Table(
    id="alert_history",
    title="History of alerts",
    read="/v1/alerts/history?limit=20",
    rows="data",
    columns=_ALERT_COLUMNS,
    empty="No alert has fired.",
)

BUSINESS = Page(
    id="business",
    title="Business",
    about="What happens in the book, and what does it hold?",
    parts=(
        Panel(
            id="accounts_active",
            title="Active accounts",
            kind=Kind.FIGURE,
            unit=Unit.COUNT,
            queries=(Query(show=Now(total("ledger_accounts", where=(("status", "active"),)))),),
        ),
        Panel(
            id="posted",
            title="Transactions posted",
            kind=Kind.FIGURE,
            unit=Unit.COUNT,
            queries=(Query(show=Now(total(_TRANSACTIONS, where=_POSTED))),),
        ),
        Panel(
            id="posted_rate",
            title="Posted now",
            kind=Kind.FIGURE,
            unit=Unit.PER_SECOND,
            queries=(Query(show=Rate(total(_TRANSACTIONS, where=_POSTED))),),
        ),
        Panel(
            id="forks",
            title="Forks so far",
            kind=Kind.FIGURE,
            unit=Unit.COUNT,
            queries=(Query(show=Now(total("growth_operations_total", where=(("kind", "fork"),)))),),
        ),
        Panel(
            id="transactions",
            title="Transactions posted, by kind",
            kind=Kind.LINE,
            unit=Unit.PER_SECOND,
            queries=(Query(show=Rate(Sum(series=_TRANSACTIONS, by=("kind",), where=_POSTED))),),
        ),
        Panel(
            id="moved",
            title="Money moved",
            kind=Kind.LINE,
            unit=Unit.MINOR,
            queries=(
                Query(show=Rate(Sum(series="ledger_moved_minor_units_total", by=("currency",)))),
            ),
            about="Minor units a second, such as cents; lines of different currencies do not"
            " compare.",
        ),
        Panel(
            id="held",
            title="Held by customers",
            kind=Kind.RANK,
            unit=Unit.MONEY,
            queries=(Query(show=Now(Sum(series="ledger_customer_minor_units", by=("currency",)))),),
            about="All buckets of all customer accounts, by currency.",
        ),
        Panel(
            id="accounts",
            title="Accounts by status",
            kind=Kind.RANK,
            unit=Unit.COUNT,
            queries=(Query(show=Now(Sum(series="ledger_accounts", by=("status",)))),),
        ),
        Panel(
            id="growth",
            title="Growth so far, by kind",
            kind=Kind.LINE,
            unit=Unit.COUNT,
            queries=(Query(show=Now(Sum(series="growth_operations_total", by=("kind",)))),),
        ),
        Panel(
            id="refusals",
            title="Refusals by problem code",
            kind=Kind.LINE,
            unit=Unit.PER_SECOND,
            queries=(Query(show=Rate(Sum(series=metrics.PROBLEMS.name, by=("code",)))),),
            about="What the rules refuse; a new code at the top is worth a look.",
        ),
        NEWEST_ACCOUNTS,
        GROWTH_EVENTS,
    ),
)


def _watched(name: str, title: str, query: Query, limit: Limit, unit: Unit = Unit.RATIO) -> Panel:
    return Panel(id=name, title=title, kind=Kind.LINE, unit=unit, queries=(query,), limit=limit)


ALERTING = Page(
    id="alerting",
    title="Alerting",
    about="Which alerts stand, and how near to their limits are the quantities behind them?",
    parts=(
        ALERTS,
        ALERT_HISTORY,
        _watched(
            "latency",
            "Time to answer, 95 %",
            Query(show=quantile(0.95, metrics.REQUESTS), name="all requests"),
            Limit(value=0.2),
            Unit.SECONDS,
        ),
        _watched(
            "posting",
            "Time to book a transaction, 95 %",
            Query(show=quantile(0.95, metrics.REQUESTS, where=POSTING), name="transactions"),
            Limit(value=0.2),
            Unit.SECONDS,
        ),
        _watched(
            "queries",
            "Time of a read in the database, 95 %",
            Query(show=quantile(0.95, metrics.READS), name="reads"),
            Limit(value=0.1),
            Unit.SECONDS,
        ),
        _watched(
            "commits",
            "Time of a commit, 95 %",
            Query(show=quantile(0.95, metrics.COMMITS), name="commits"),
            Limit(value=0.05),
            Unit.SECONDS,
        ),
        _watched(
            "errors", "Answered 5xx", Query(show=ERROR_SHARE, name="share"), Limit(value=0.01)
        ),
        _watched(
            "pool",
            "Write queue in use",
            Query(show=of(metrics.QUEUE.name, metrics.QUEUE_MAX.name), name="in use"),
            Limit(value=0.8),
        ),
        _watched(
            "threads",
            "Threads in use",
            Query(show=of(metrics.ACTIVE.name, metrics.THREADS.name), name="in use"),
            Limit(value=0.9),
        ),
        _watched(
            "files",
            "Open files in use, mean of the workers",
            Query(
                show=Share(
                    of(metrics.FILES.name, metrics.WORKERS.name),
                    Now(Sum(series=metrics.FILES_MAX.name, fold="max")),
                ),
                name="in use",
            ),
            Limit(value=0.8),
        ),
        _watched(
            "breakers",
            "Circuit breakers: 0 closed, 1 half-open, 2 open",
            Query(show=Now(Sum(series="integration_breaker_state", by=("system",)))),
            Limit(value=1),
            Unit.COUNT,
        ),
        _watched(
            "cpu",
            "Processors of the machine, used by the workers",
            Query(
                show=Share(Rate(Sum(series=metrics.CPU.name)), Now(Sum(series="system_cpus"))),
                name="in use",
            ),
            Limit(value=0.8),
        ),
        _watched(
            "memory",
            "Memory of the machine in use",
            Query(
                show=used("system_memory_available_bytes", "system_memory_total_bytes"),
                name="in use",
            ),
            Limit(value=0.8),
        ),
        _watched(
            "disk",
            "Disk in use",
            Query(show=used("disk_free_bytes", "disk_size_bytes"), name="in use"),
            Limit(value=0.8),
        ),
    ),
)
