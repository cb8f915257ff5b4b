"""Settings of the server: what it is told, how that reaches its workers, and its fixed limits."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

MAX_AMOUNT = 9_007_199_254_740_991
"""Largest amount and customer balance, in minor units: the largest I-JSON integer."""
MAX_SYSTEM_BALANCE = 4_611_686_018_427_387_904
"""Largest balance of a system account: half of what SQLite's integers hold."""
CURRENCIES: Mapping[str, int] = {"BHD": 3, "EUR": 2, "GBP": 2, "JPY": 0, "USD": 2}
"""Accepted currencies and the number of digits of their minor unit."""

BODY_BYTES_MAX = 1024 * 1024
BATCH_ITEMS_MAX = 1000
MERGE_SOURCES_MAX = 10
METADATA_BYTES_MAX = 4096
PAGE_DEFAULT = 50
PAGE_MAX = 200
HOLD_TTL_S_MAX = 90 * 24 * 3600
IDEMPOTENCY_RETENTION_S = 48 * 3600
ACCESS_TTL_S = 900
SESSION_IDLE_S = 30 * 60
"""A session that is not refreshed for so long has ended (NIST SP 800-63B, AAL2)."""
REFRESH_TTL_S = SESSION_IDLE_S
SESSION_TTL_S = 12 * 3600
"""A session ends so long after the login, whatever is refreshed."""
PASSWORD_LENGTH_MIN = 12
PASSWORD_LENGTH_MAX = 256
PASSWORD_HISTORY = 5
"""So many passwords, the present one included, are not taken again."""
LOCKOUT_THRESHOLD = 5
"""Failed logins in a row, of one name from one source, before the first lock."""
LOCKOUT_DELAYS_S = (2, 10, 60, 300, 900)
"""How long the first lock lasts, the one after the next failure, ...; the last one repeats."""
LOCKOUT_NAME_THRESHOLD = 100
"""The same of one name from all sources together (NIST SP 800-63B, section 5.2.2)."""
LOCKOUT_MEMORY_S = 24 * 3600
"""Failures that nothing followed for so long are forgotten."""
MFA_CHALLENGE_TTL_S = 120
MFA_ATTEMPTS_MAX = 5
BUFFER_BPS_DEFAULT = 500
EVENTS_RETENTION_S = 7 * 24 * 3600
"""An event is kept for so long, whoever has fetched it or not."""
EVENTS_KEPT_MAX = 5_000_000
"""So many events are kept at most; both are part of the trigger outbox_fold in the schema."""
WEBHOOKS_MAX = 32
OUTBOX_BACKLOG_MAX = 10_000
"""With more events waiting for a consumer the health check warns."""
DISK_FREE_MIN_BYTES = 64 * 1024 * 1024
"""With less free space on the disk of the database this deployment is not ready."""

ENVIRONMENT_PREFIX = "ALLUSE_"


class StartRefusedError(Exception):
    """The server cannot start: one line naming what is wrong and the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator chooses; every field travels to the workers as ALLUSE_<FIELD>."""

    database: Path
    """The book: a file made by `init`; its keys lie beside it."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 0
    """Port to listen on; 0: a free one."""
    workers: int = 2
    """Processes that answer requests."""
    threads: int = 32
    """Requests that one process works on at a time."""
    log_level: str = "warning"
    """The least important lines that are written."""
    allow_plain_http: bool = False
    """Serve without TLS beyond loopback, because something in front of it speaks TLS."""
    queue_size: int = 512
    """Writes that may wait in one process; the next one is answered 503 `busy`."""
    write_wait_s: float = 5.0
    """How long a request waits for its commit before it is answered 503 `busy`."""
    password_wait_s: float = 10.0
    """How long a login waits for its turn at the password hash."""
    password_complexity: str = ""
    """Classes of characters that a password needs, separated by commas."""
    certificate: str = ""
    """PEM file of the TLS certificate and its chain; empty: plain HTTP."""
    private_key: str = ""
    """PEM file of the certificate's key, without a passphrase."""
    rate_requests: int = 100_000
    """So many requests of one principal in a window; the next one is answered 429."""
    rate_window_s: int = 10
    """Seconds of that window."""
    login_requests: int = 6_000
    """So many logins, refreshes and codes from one address in a window."""
    login_window_s: int = 60
    """Seconds of that window."""
    metrics: bool = True
    """Count, and serve the counts under /metrics."""
    access_log: bool = True
    """One line a request at level info, or error where the answer is 5xx."""
    otlp_endpoint: str = ""
    """Base URL of an OpenTelemetry collector that takes OTLP over HTTP; empty: no spans are
    exported."""
    call_timeout_ms: int = 2_000
    """A call to an outside system, from its first byte to the answer's last one."""
    call_retries: int = 2
    """Further attempts of such a call, where repeating is harmless."""
    breaker_failures: int = 3
    """So many failures within the window open a breaker."""
    breaker_window_s: int = 30
    """Failures further apart than this do not add up."""
    breaker_open_s: int = 10
    """So long an open breaker lets nothing out."""
    breaker_trials: int = 2
    """So many calls try at a time when that is over; so many successes close it."""
    webhook_allow: str = ""
    """Hosts, or host:port, separated by commas, that webhooks may lead to although they are
    internal or plain http."""
    webhook_ca: str = ""
    """PEM file of authorities that receivers of webhooks may be certified by, besides the usual."""
    webhook_timeout_ms: int = 10_000
    """An attempt, from resolving the name to the status of the answer."""
    webhook_retry_ms: int = 500
    """The first pause after a failure at most; it doubles with each further one."""
    webhook_retry_max_ms: int = 900_000
    """No pause is longer."""
    webhook_attempts: int = 12
    """After so many an event is given up that the receiver does not take while it takes others."""
    webhook_give_up_s: int = 86_400
    """The same of an event that everything else waits behind, after so long."""
    webhook_overlap_s: int = 86_400
    """So long the secret before a rotation signs as well."""
    disk_free_min: int = DISK_FREE_MIN_BYTES
    """Bytes that must be free for readiness; below four times as many it warns."""
    alert_scale: float = 1.0
    """All times of the alert rules are divided by this; 60 makes a second of a minute."""
    drain_s: float = 0.1
    """How long readiness says no before the server stops to take requests."""
    backup_folder: str = ""
    """Where backups are kept; empty: beside the database, in its name and `.backups`."""
    production: bool = False
    """Refuse to start with testability, alert_scale, metrics off, disk_free_min 0 or log_level
    debug."""
    testability: bool = False
    """Offer the clock, snapshots and resets of the module testability."""

    def environment(self) -> dict[str, str]:
        """Return the variables that `from_environment` reads back; none is a secret."""
        return {
            f"{ENVIRONMENT_PREFIX}{field.name.upper()}": str(getattr(self, field.name))
            for field in fields(self)
        }


def complexity(settings: Settings) -> tuple[str, ...]:
    """Return the classes of characters that a password needs."""
    return tuple(name.strip() for name in settings.password_complexity.split(",") if name.strip())


def read_back(kind: Any, text: str) -> object:
    """Return a value that `environment` has made text of; `kind` is the type of its field."""
    if kind is bool:
        return text == "True"
    return kind(text)


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings back in a worker; a variable that is not there keeps its default."""
    given: dict[str, Any] = {
        field.name: read_back(field.type, environment[name])
        for field in fields(Settings)
        if (name := f"{ENVIRONMENT_PREFIX}{field.name.upper()}") in environment
    }
    if "database" not in given:
        raise StartRefusedError("ALLUSE_DATABASE is not set: start with `serve --database PATH`")
    return Settings(**given)
