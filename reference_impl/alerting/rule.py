"""What a rule is, who hears of which severity, and the phrases that rules are made of."""

from collections.abc import Mapping
from dataclasses import dataclass

from reference_impl.metrics import OUTSIDE_CODES

from .conditions import All, Condition, Is
from .terms import Grown, Now, Number, Of, Quantile, Selector

MINUTE, HOUR = 60.0, 3600.0
TRAFFIC_MIN = Number(20)
"""So many events within the window before a proportion of them says anything."""
ERRORS_MIN = Number(5)
"""So many errors within the window before they wake anybody, however few the answers are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Who hears of an alert that nobody has taken so long after it was first told of."""

    after_s: float
    receivers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who hears of alerts of one severity."""

    receivers: tuple[str, ...]
    escalations: tuple[Escalation, ...] = ()

    def reached(self, escalation: int) -> tuple[str, ...]:
        """Return everybody who hears of an alert that was passed on so many times."""
        more = [name for step in self.escalations[:escalation] for name in step.receivers]
        return tuple(dict.fromkeys((*self.receivers, *more)))


ROUTES: Mapping[str, Route] = {
    "critical": Route(
        receivers=("email", "sms", "chat"),
        escalations=(
            Escalation(after_s=15 * MINUTE, receivers=("on-call-lead",)),
            Escalation(after_s=2 * HOUR, receivers=("management",)),
        ),
    ),
    "warning": Route(
        receivers=("email", "chat"),
        escalations=(Escalation(after_s=4 * HOUR, receivers=("on-call",)),),
    ),
    "info": Route(receivers=("daily-digest",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule."""

    name: str
    kind: str
    """threshold, anomaly, composite or trend."""
    severity: str
    group: str
    """What it is about; a notice names it, so that what belongs together is seen together."""
    asks: Condition
    for_s: float
    summary: str
    remedy: str
    inhibits: tuple[str, ...] = ()
    """Rules that say nothing new while this one fires."""
    labels: tuple[str, ...] = ()
    """Labels that tell its alerts apart."""


def series(name: str, *where: tuple[str, str, str], by: tuple[str, ...] = ()) -> Selector:
    """Return a selector."""
    return Selector(series=name, where=where, by=by)


REQUESTS = "http_server_request_duration_seconds"
TRANSFERS = (("method", "=", "POST"), ("route", "=", "/v1/transactions"))
NOT_PASSWORDS = ("route", "!~", "/v1/auth/.*|/v1/users.*")
"""Hashing a password takes longer than a slow request, and is meant to."""
CALLS = "integration_call_duration_seconds_count"
WINDOW = 5 * MINUTE


def grown(of: Selector, within_s: float = WINDOW, *, zero: bool = False) -> Grown:
    """Return by how much a counter grew."""
    return Grown(of=of, within_s=within_s, no_series_is_zero=zero)


def enough(of: Selector) -> Is:
    """Ask for enough events that a proportion says something."""
    return Is(grown(of), ">=", TRAFFIC_MIN)


def slow(histogram: Selector, limit_s: float) -> All:
    """Ask whether one in twenty took longer, of enough."""
    counted = Selector(series=f"{histogram.series}_count", where=histogram.where)
    quantile = Quantile(q=0.95, of=histogram, within_s=WINDOW)
    return All(Is(quantile, ">", Number(limit_s)), (enough(counted),))


def fallen(of: Selector) -> All:
    """Less than half of the hour before, where that hour had something to fall from."""
    now = Grown(of=of, within_s=WINDOW, no_series_is_zero=True)
    before = Grown(of=of, within_s=HOUR, before_s=WINDOW)
    twelfth = Of(before, "*", Number(0.5 * WINDOW / HOUR))
    busy = Is(before, ">=", Number(600))
    return All(Is(now, "<", twelfth), (busy,))


def used(left: str, size: str) -> Of:
    """Return the share that is not left."""
    return Of(Number(1), "-", Of(Now(of=series(left)), "/", Now(of=series(size))))


def over(share_used: Of, limit: float) -> Is:
    """Ask for more than a limit."""
    return Is(share_used, ">", Number(limit))


ALL_REQUESTS = series(f"{REQUESTS}_count")
ANSWERS_5XX = series(f"{REQUESTS}_count", ("status", "=~", "5.."))
OUTSIDE_AWAY = series("http_server_problems_total", ("code", "=~", "|".join(OUTSIDE_CODES)))
"""Refusals, all 503, because an outside system fails: BreakerOpen and CallsFail tell of those."""
OWN_ERRORS = Of(grown(ANSWERS_5XX), "-", grown(OUTSIDE_AWAY, zero=True))
BUSY_WRITERS = Of(Now(of=series("writer_queue_length")), "/", Now(of=series("writer_queue_limit")))
BUSY_THREADS = Of(
    Now(of=series("http_server_active_requests")), "/", Now(of=series("http_server_threads"))
)
