"""The rules about the machine and its workers."""

from .conditions import Absent, All, Is
from .rule import HOUR, MINUTE, WINDOW, Rule, grown, over, series, used
from .terms import Age, Foreseen, Grown, Now, Number, Of

SYSTEM = (
    Rule(
        name="CpuHigh",
        kind="threshold",
        severity="warning",
        group="machine",
        asks=over(
            Of(
                Grown(of=series("process_cpu_seconds_total"), within_s=WINDOW, a_second=True),
                "/",
                Now(of=series("system_cpus")),
            ),
            0.8,
        ),
        for_s=5 * MINUTE,
        summary="The workers use more than 80 % of the machine's processors.",
        remedy="See which routes are busy; add processors or refuse earlier.",
    ),
    Rule(
        name="MemoryHigh",
        kind="threshold",
        severity="warning",
        group="machine",
        asks=over(used("system_memory_available_bytes", "system_memory_total_bytes"), 0.8),
        for_s=2 * MINUTE,
        summary="More than 80 % of the machine's memory is used.",
        remedy="Find what uses it; fewer threads need less.",
    ),
    Rule(
        name="MemoryRunsOut",
        kind="trend",
        severity="warning",
        group="machine",
        asks=Is(
            Foreseen(of=series("process_resident_memory_bytes"), within_s=HOUR, ahead_s=4 * HOUR),
            ">",
            Of(Number(0.8), "*", Now(of=series("system_memory_total_bytes"))),
        ),
        for_s=10 * MINUTE,
        summary="As the workers grow now, they fill the memory within four hours.",
        remedy="Restart the workers one by one and find what is kept.",
    ),
    Rule(
        name="DiskHigh",
        kind="threshold",
        severity="warning",
        group="disk",
        asks=over(used("disk_free_bytes", "disk_size_bytes"), 0.8),
        for_s=5 * MINUTE,
        summary="More than 80 % of the disk of the database is used.",
        remedy="Move backups and reports away, or enlarge the disk.",
    ),
    Rule(
        name="DiskFull",
        kind="threshold",
        severity="critical",
        group="disk",
        asks=over(used("disk_free_bytes", "disk_size_bytes"), 0.9),
        for_s=MINUTE,
        summary="More than 90 % of the disk of the database is used.",
        remedy="Make room now: without it nothing can be written.",
        inhibits=("DiskHigh", "DiskRunsOut"),
    ),
    Rule(
        name="DiskRunsOut",
        kind="trend",
        severity="warning",
        group="disk",
        asks=Is(
            Foreseen(of=series("disk_free_bytes"), within_s=HOUR, ahead_s=4 * HOUR), "<", Number(0)
        ),
        for_s=10 * MINUTE,
        summary="As the disk fills now, it is full within four hours.",
        remedy="Find what grows: the log, backups or the book itself.",
    ),
    Rule(
        name="FilesHigh",
        kind="threshold",
        severity="warning",
        group="machine",
        asks=over(
            Of(
                Now(of=series("process_open_fds")),
                "/",
                Of(Now(of=series("process_max_fds")), "*", Now(of=series("process_workers"))),
            ),
            0.8,
        ),
        for_s=2 * MINUTE,
        summary="The workers have more than 80 % of the files open that they may.",
        remedy="Look for connections that are not closed; raise the limit.",
    ),
    Rule(
        name="WorkerReplaced",
        kind="composite",
        severity="warning",
        group="service",
        asks=All(
            Is(grown(series("process_worker_starts_total")), ">", Number(0)),
            (Is(Age(of=series("process_start_time_seconds")), ">", Number(WINDOW + 2 * MINUTE)),),
        ),
        for_s=0,
        summary="A worker has ended and another took its place.",
        remedy="Its last lines in the log say why; the recoveries say when.",
    ),
)

OUTSIDE = (
    Rule(
        name="ServiceDown",
        kind="threshold",
        severity="critical",
        group="service",
        asks=Absent(("process_workers",)),
        for_s=MINUTE,
        summary="No worker is seen: the service is down, or nobody reads its metrics.",
        remedy="Look at the service unit and at the way to the deployment.",
        labels=("metric",),
    ),
)
"""Only a Prometheus outside the deployment can judge these: whoever judges here is a worker, and
shows by that that there is one."""
