"""The pages about the service: operational and performance."""

from reference_impl import metrics

from .expressions import Age, Now, Rate, Share, Sum
from .panels import Column, Kind, Limit, Page, Panel, Query, Table, Unit
from .sums import (
    CLASSES,
    ERROR_SHARE,
    POSTING,
    READING,
    mean,
    of,
    quantile,
    requests,
    used,
    within,
)

CALLS = f"{metrics.CALLS.name}_count"
_QUANTILES = (("median", 0.5), ("95 %", 0.95), ("99 %", 0.99))
_BY_CLASS = tuple(
    Query(show=Rate(requests(where=(("status", pattern),))), name=name) for name, pattern in CLASSES
)

HEALTH = Table(
    id="health",
    title="Health of the parts",
    read="/health/ready",
    rows="checks",
    columns=(
        Column(path="name", title="Check"),
        Column(path="status", title="Status"),
        Column(path="observedValue", title="Value", form="observed"),
        Column(path="output", title="Finding"),
        Column(path="time", title="Checked", form="time"),
    ),
    empty="No check was answered.",
    about="As the worker that answered found them, at most a second old.",
)
INTEGRATIONS = Table(
    id="integrations",
    title="Outside systems",
    read="/v1/integrations",
    rows="data",
    columns=(
        Column(path="name", title="System"),
        Column(path="configured", title="Configured", form="yes"),
        Column(path="breaker", title="Breaker"),
        Column(path="last_success_at", title="Last success", form="time"),
        Column(path="last_failure_at", title="Last failure", form="time"),
        Column(path="last_error", title="Last error"),
    ),
    empty="No outside system is registered.",
    about="An open breaker means that calls are answered without trying them.",
)
RECOVERIES = Table(
    id="recoveries",
    title="What healed itself",
    read="/v1/recoveries?limit=10",
    rows="data",
    columns=(
        Column(path="component", title="Part"),
        Column(path="cause", title="What was wrong"),
        Column(path="action", title="What was done"),
        Column(path="started_at", title="Began", form="time"),
        Column(path="duration_ms", title="Took", form="milliseconds"),
    ),
    empty="Nothing had to be recovered.",
)

OPERATIONAL = Page(
    id="operational",
    title="Operational",
    about="Is the service up, does it answer, and is anything waiting?",
    parts=(
        Panel(
            id="up",
            title="Running for",
            kind=Kind.FIGURE,
            unit=Unit.DURATION,
            queries=(Query(show=Age(Sum(series="process_start_time_seconds", fold="max"))),),
        ),
        Panel(
            id="workers",
            title="Workers",
            kind=Kind.FIGURE,
            unit=Unit.COUNT,
            queries=(Query(show=Now(Sum(series=metrics.WORKERS.name))),),
            limit=Limit(value=1, below=True),
        ),
        Panel(
            id="request_rate",
            title="Requests",
            kind=Kind.FIGURE,
            unit=Unit.PER_SECOND,
            queries=(Query(show=Rate(requests())),),
        ),
        Panel(
            id="error_share",
            title="Answered 5xx",
            kind=Kind.FIGURE,
            unit=Unit.RATIO,
            queries=(Query(show=ERROR_SHARE),),
            limit=Limit(value=0.01),
        ),
        Panel(
            id="queue_fill",
            title="Write queue in use",
            kind=Kind.FIGURE,
            unit=Unit.RATIO,
            queries=(Query(show=of(metrics.QUEUE.name, metrics.QUEUE_MAX.name)),),
            limit=Limit(value=0.8),
        ),
        Panel(
            id="disk_used",
            title="Disk in use",
            kind=Kind.FIGURE,
            unit=Unit.RATIO,
            queries=(Query(show=used("disk_free_bytes", "disk_size_bytes")),),
            limit=Limit(value=0.8),
        ),
        Panel(
            id="requests",
            title="Requests by class of answer",
            kind=Kind.LINE,
            unit=Unit.PER_SECOND,
            queries=_BY_CLASS,
            about="4xx are refusals by a rule; 5xx are failures of the service.",
        ),
        Panel(
            id="waiting",
            title="In work and waiting",
            kind=Kind.LINE,
            unit=Unit.COUNT,
            queries=(
                Query(show=Now(Sum(series=metrics.ACTIVE.name)), name="requests in work"),
                Query(show=Now(Sum(series=metrics.QUEUE.name)), name="writes waiting"),
            ),
            about="A queue that does not empty means that commits are slower than writes come."
            " The last point counts the request for this page.",
        ),
        Panel(
            id="events_kept",
            title="Events in the outbox",
            kind=Kind.LINE,
            unit=Unit.COUNT,
            queries=(
                Query(show=Now(Sum(series="outbox_events")), name="kept"),
                Query(
                    show=Now(Sum(series="outbox_backlog_events", by=("consumer",))),
                    name="waiting for",
                ),
            ),
            about="A consumer whose number only grows is not being served.",
        ),
        Panel(
            id="log_lines",
            title="Warnings and errors logged",
            kind=Kind.LINE,
            unit=Unit.PER_SECOND,
            queries=(Query(show=Rate(Sum(series=metrics.LOGGED.name, by=("level",)))),),
        ),
        Panel(
            id="calls",
            title="Calls to outside systems, by outcome",
            kind=Kind.LINE,
            unit=Unit.PER_SECOND,
            queries=(Query(show=Rate(Sum(series=CALLS, by=("system", "outcome")))),),
        ),
        Panel(
            id="deliveries",
            title="Deliveries of events and reports",
            kind=Kind.LINE,
            unit=Unit.PER_SECOND,
            queries=(
                Query(show=Rate(Sum(series=metrics.DELIVERIES.name, by=("system", "outcome")))),
            ),
        ),
        HEALTH,
        INTEGRATIONS,
        RECOVERIES,
    ),
)

PERFORMANCE = Page(
    id="performance",
    title="Performance",
    about="How long do answers take, and where does the time go?",
    parts=(
        Panel(
            id="median",
            title="Median answer",
            kind=Kind.FIGURE,
            unit=Unit.SECONDS,
            queries=(Query(show=quantile(0.5, metrics.REQUESTS)),),
            limit=Limit(value=0.1),
        ),
        Panel(
            id="p99",
            title="99 % of answers within",
            kind=Kind.FIGURE,
            unit=Unit.SECONDS,
            queries=(Query(show=quantile(0.99, metrics.REQUESTS)),),
            limit=Limit(value=0.2),
        ),
        Panel(
            id="within",
            title="Answered within 200 ms",
            kind=Kind.FIGURE,
            unit=Unit.RATIO,
            queries=(Query(show=within("0.2", metrics.REQUESTS)),),
            limit=Limit(value=0.99, below=True),
        ),
        Panel(
            id="commit_rate",
            title="Commits",
            kind=Kind.FIGURE,
            unit=Unit.PER_SECOND,
            queries=(Query(show=Rate(Sum(series=f"{metrics.COMMITS.name}_count"))),),
        ),
        Panel(
            id="group_size",
            title="Writes in a commit",
            kind=Kind.FIGURE,
            unit=Unit.COUNT,
            queries=(Query(show=mean(metrics.GROUPS)),),
        ),
        Panel(
            id="cpu_each",
            title="Processor time of a request",
            kind=Kind.FIGURE,
            unit=Unit.SECONDS,
            queries=(Query(show=Share(Rate(Sum(series=metrics.CPU.name)), Rate(requests()))),),
        ),
        Panel(
            id="latency",
            title="Time to answer, all requests",
            kind=Kind.LINE,
            unit=Unit.SECONDS,
            queries=tuple(
                Query(show=quantile(share, metrics.REQUESTS), name=name)
                for name, share in _QUANTILES
            ),
            about="Estimated within the edges of the histogram, the highest of which is 10 s.",
            limit=Limit(value=0.2),
        ),
        Panel(
            id="posting",
            title="Time to book a transaction",
            kind=Kind.LINE,
            unit=Unit.SECONDS,
            queries=tuple(
                Query(show=quantile(share, metrics.REQUESTS, where=POSTING), name=name)
                for name, share in _QUANTILES
            ),
            limit=Limit(value=0.2),
        ),
        Panel(
            id="reading",
            title="Time to answer a read",
            kind=Kind.LINE,
            unit=Unit.SECONDS,
            queries=tuple(
                Query(show=quantile(share, metrics.REQUESTS, where=READING), name=name)
                for name, share in _QUANTILES
            ),
            limit=Limit(value=0.1),
        ),
        Panel(
            id="database",
            title="Time in the database",
            kind=Kind.LINE,
            unit=Unit.SECONDS,
            queries=(
                Query(show=quantile(0.5, metrics.COMMITS), name="commit, median"),
                Query(show=quantile(0.99, metrics.COMMITS), name="commit, 99 %"),
                Query(show=quantile(0.5, metrics.READS), name="read, median"),
                Query(show=quantile(0.99, metrics.READS), name="read, 99 %"),
            ),
            about="A commit waits for the disk and for the other workers.",
            limit=Limit(value=0.1),
        ),
        Panel(
            id="outside",
            title="Time of calls to outside systems, 95 %",
            kind=Kind.LINE,
            unit=Unit.SECONDS,
            queries=(Query(show=quantile(0.95, metrics.CALLS, "system")),),
        ),
        Panel(
            id="busiest",
            title="Busiest routes",
            kind=Kind.RANK,
            unit=Unit.PER_SECOND,
            queries=(Query(show=Rate(requests("method", "route"))),),
            about="The route none is a path that leads nowhere.",
        ),
        Panel(
            id="slowest",
            title="Slowest routes, mean time",
            kind=Kind.RANK,
            unit=Unit.SECONDS,
            queries=(Query(show=mean(metrics.REQUESTS, "method", "route")),),
        ),
    ),
)
