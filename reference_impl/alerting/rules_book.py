"""The rules about the database, the business and the outside systems."""

from .conditions import All, Is
from .rule import CALLS, HOUR, MINUTE, TRAFFIC_MIN, Rule, fallen, grown, series, slow
from .terms import Foreseen, Now, Number, Of

DATABASE = (
    Rule(
        name="WritesFail",
        kind="threshold",
        severity="critical",
        group="database",
        asks=Is(grown(series("db_commit_failures_total", by=("reason",))), ">", Number(0)),
        for_s=0,
        summary="Writes could not be committed.",
        remedy="busy: something else holds the file. full: make room. lost_disk: check the disk.",
        labels=("reason",),
    ),
    Rule(
        name="CommitsSlow",
        kind="threshold",
        severity="warning",
        group="database",
        asks=slow(series("db_commit_duration_seconds"), 0.05),
        for_s=5 * MINUTE,
        summary="One commit in twenty takes longer than 50 ms.",
        remedy="Compare with the disk's own time of a sync.",
    ),
    Rule(
        name="QueriesSlow",
        kind="threshold",
        severity="warning",
        group="database",
        asks=slow(series("db_read_duration_seconds"), 0.1),
        for_s=5 * MINUTE,
        summary="One request's queries in twenty take longer than 100 ms.",
        remedy="Find the route; look at the plan of its query.",
    ),
    Rule(
        name="IntegrityUnknown",
        kind="threshold",
        severity="critical",
        group="database",
        asks=Is(Now(of=series("db_integrity_ok")), "==", Number(0)),
        for_s=0,
        summary="A sync has failed and the whole file is not checked yet.",
        remedy="Wait for the check; replace the disk; keep a backup at hand.",
    ),
)

BUSINESS = (
    Rule(
        name="TransactionsFallen",
        kind="anomaly",
        severity="warning",
        group="business",
        asks=fallen(series("ledger_transactions_total")),
        for_s=5 * MINUTE,
        summary="Less than half as many transactions are booked as in the hour before.",
        remedy="See whether they are refused (problems by code) or not asked for.",
    ),
    Rule(
        name="EventsWait",
        kind="threshold",
        severity="warning",
        group="integration",
        asks=Is(Now(of=series("outbox_backlog_events", by=("consumer",))), ">", Number(10_000)),
        for_s=MINUTE,
        summary="A consumer has more than 10,000 events before it.",
        remedy="See whether its system takes them.",
        labels=("consumer",),
    ),
    Rule(
        name="EventsPileUp",
        kind="trend",
        severity="info",
        group="integration",
        asks=Is(
            Foreseen(
                of=series("outbox_backlog_events", by=("consumer",)),
                within_s=HOUR,
                ahead_s=4 * HOUR,
            ),
            ">",
            Number(1_000_000),
        ),
        for_s=10 * MINUTE,
        summary="As a consumer's backlog grows now, it is a million within four hours.",
        remedy="See whether its system takes them as fast as they come.",
        labels=("consumer",),
    ),
)

INTEGRATION = (
    Rule(
        name="BreakerOpen",
        kind="threshold",
        severity="critical",
        group="integration",
        asks=Is(Now(of=series("integration_breaker_state", by=("system",))), ">", Number(0)),
        for_s=0,
        summary="An outside system is hardly called: its circuit breaker is not closed.",
        remedy="See what it answers; the breaker closes by itself when it is back.",
        labels=("system",),
        inhibits=("CallsFail", "IntegrationUnreliable"),
    ),
    Rule(
        name="CallsFail",
        kind="threshold",
        severity="warning",
        group="integration",
        asks=All(
            Is(
                Of(
                    grown(series(CALLS, ("outcome", "!~", "ok|refused"), by=("system",))),
                    "/",
                    grown(series(CALLS, by=("system",))),
                ),
                ">",
                Number(0.05),
            ),
            (Is(grown(series(CALLS, by=("system",))), ">=", TRAFFIC_MIN),),
        ),
        for_s=MINUTE,
        summary="More than 5 % of the calls to an outside system fail.",
        remedy="The outcome of the calls says how: timeout, connection, status.",
        labels=("system",),
        inhibits=("IntegrationUnreliable",),
    ),
    Rule(
        name="IntegrationUnreliable",
        kind="threshold",
        severity="info",
        group="integration",
        asks=All(
            Is(
                Of(
                    grown(series(CALLS, ("outcome", "!~", "ok|refused"), by=("system",)), HOUR),
                    "/",
                    grown(series(CALLS, by=("system",)), HOUR),
                ),
                ">",
                Number(0.001),
            ),
            (Is(grown(series(CALLS, by=("system",)), HOUR), ">=", Number(1000)),),
        ),
        for_s=0,
        summary="An outside system answered fewer than 99.9 % of an hour's calls.",
        remedy="Hold it against what was agreed.",
        labels=("system",),
    ),
)
