"""The alert rules: what is too much, for how long, how bad it is, and who hears of it.

Times are those of a deployment in use; `Settings.alert_scale` divides all of them, for a
deployment that tests wait for. A rule about proportions has a second condition: below so many
events nothing is said, so that one failure at night wakes nobody.
"""

import math
from collections.abc import Mapping

from .conditions import Absent
from .rule import MINUTE, Rule
from .rules_book import BUSINESS, DATABASE, INTEGRATION
from .rules_machine import OUTSIDE, SYSTEM
from .rules_service import APPLICATION

MEASURED = (
    "http_server_active_requests",
    "http_server_threads",
    "writer_queue_length",
    "db_commit_duration_seconds_count",
    "process_resident_memory_bytes",
    "disk_free_bytes",
    "db_integrity_ok",
    "ledger_transactions_total",
    "events_total",
)
"""Names that every deployment with metrics shows at all times."""
WATCH = (
    Rule(
        name="MetricMissing",
        kind="threshold",
        severity="warning",
        group="service",
        asks=Absent(MEASURED),
        for_s=2 * MINUTE,
        summary="A metric that rules look at is not there: its alerts would stay silent.",
        remedy="See why it is not exported; until then look at its subject by hand.",
        labels=("metric",),
    ),
)

RULES: tuple[Rule, ...] = (*SYSTEM, *APPLICATION, *DATABASE, *BUSINESS, *INTEGRATION, *WATCH)
"""Those that the deployment judges, and declares."""
IN_PROMETHEUS: tuple[Rule, ...] = (*RULES, *OUTSIDE)
"""Those of the rule file."""
BY_NAME: Mapping[str, Rule] = {rule.name: rule for rule in RULES}

INTERVAL_S = 15.0
INTERVAL_MIN_S = 1.0


def interval_s(scale: float) -> float:
    """Return how often the rules are looked at."""
    return max(INTERVAL_S / scale, INTERVAL_MIN_S)


def for_ms(rule: Rule, scale: float) -> int:
    """Return how long a rule must hold before its alert fires."""
    return round(rule.for_s * 1000 / scale)


def declared(scale: float) -> dict[str, object]:
    """Return what the capability document says of the rules."""
    return {
        "alerts": [
            {
                "name": rule.name,
                "for_s": math.ceil(rule.for_s / scale),
                "window_s": math.ceil(rule.asks.reach_s / scale),
                "severity": rule.severity,
                "kind": rule.kind,
                "labels": list(rule.labels),
            }
            for rule in RULES
        ],
        "alert_time_scale": scale,
        "alert_interval_s": math.ceil(interval_s(scale)),
    }
