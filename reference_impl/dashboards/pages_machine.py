"""The page about what the service uses: processes, machine and files."""

from reference_impl import metrics

from .expressions import Now, Rate, Sum
from .panels import Kind, Limit, Page, Panel, Query, Unit
from .sums import total, used

TECHNICAL = Page(
    id="technical",
    title="Technical",
    about="What do the processes, the machine and the files of the book use?",
    parts=(
        Panel(
            id="cpu",
            title="Processor",
            kind=Kind.FIGURE,
            unit=Unit.CORES,
            queries=(Query(show=Rate(Sum(series=metrics.CPU.name))),),
        ),
        Panel(
            id="machine_memory",
            title="Memory of the machine in use",
            kind=Kind.FIGURE,
            unit=Unit.RATIO,
            queries=(
                Query(show=used("system_memory_available_bytes", "system_memory_total_bytes")),
            ),
            limit=Limit(value=0.8),
        ),
        Panel(
            id="integrity",
            title="Book checked after a failed sync",
            kind=Kind.FIGURE,
            unit=Unit.YES,
            queries=(Query(show=Now(Sum(series="db_integrity_ok", fold="min"))),),
            limit=Limit(value=1, below=True),
        ),
        Panel(
            id="starts",
            title="Workers started so far",
            kind=Kind.FIGURE,
            unit=Unit.COUNT,
            queries=(Query(show=Now(Sum(series=metrics.WORKER_STARTS.name))),),
        ),
        Panel(
            id="lost_lines",
            title="Access lines lost",
            kind=Kind.FIGURE,
            unit=Unit.COUNT,
            queries=(Query(show=Now(Sum(series=metrics.LOG_DROPPED.name))),),
            limit=Limit(value=0),
        ),
        Panel(
            id="commit_failures",
            title="Commits that failed",
            kind=Kind.FIGURE,
            unit=Unit.COUNT,
            queries=(Query(show=Now(Sum(series=metrics.FAILURES.name))),),
            limit=Limit(value=0),
        ),
        Panel(
            id="cpu_time",
            title="Processor time",
            kind=Kind.LINE,
            unit=Unit.CORES,
            queries=(Query(show=Rate(Sum(series=metrics.CPU.name)), name="all workers"),),
        ),
        Panel(
            id="memory",
            title="Memory of the workers",
            kind=Kind.LINE,
            unit=Unit.BYTES,
            queries=(Query(show=Now(Sum(series=metrics.MEMORY.name)), name="resident"),),
            about="The files that workers share are counted once for each of them.",
        ),
        Panel(
            id="files",
            title="Open files",
            kind=Kind.LINE,
            unit=Unit.COUNT,
            queries=(Query(show=Now(Sum(series=metrics.FILES.name)), name="all workers"),),
        ),
        Panel(
            id="book_size",
            title="Files of the book",
            kind=Kind.LINE,
            unit=Unit.BYTES,
            queries=(
                Query(show=Now(Sum(series="db_size_bytes")), name="database"),
                Query(show=Now(Sum(series="db_wal_bytes")), name="write-ahead log"),
            ),
            about="A log that only grows means that a long read holds it.",
        ),
        Panel(
            id="disk",
            title="Disk in use",
            kind=Kind.LINE,
            unit=Unit.RATIO,
            queries=(Query(show=used("disk_free_bytes", "disk_size_bytes"), name="in use"),),
            limit=Limit(value=0.8),
        ),
        Panel(
            id="failures",
            title="Failed commits by reason",
            kind=Kind.LINE,
            unit=Unit.PER_SECOND,
            queries=(Query(show=Rate(total(metrics.FAILURES.name, "reason"))),),
        ),
        Panel(
            id="jobs",
            title="Work in the background, steps by job",
            kind=Kind.LINE,
            unit=Unit.PER_SECOND,
            queries=(Query(show=Rate(Sum(series=metrics.JOB_RUNS.name, by=("job",)))),),
        ),
        Panel(
            id="failed_jobs",
            title="Work in the background, failed steps",
            kind=Kind.LINE,
            unit=Unit.PER_SECOND,
            queries=(Query(show=Rate(Sum(series=metrics.JOB_FAILURES.name, by=("job",)))),),
        ),
    ),
)
