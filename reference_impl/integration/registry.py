"""The integration points as data, and the validator of what the operator says about them.

An operator names each outside system in the environment, as the counterparties of the contract are
named: ALLUSE_COUNTERPARTY_<NAME>_URL and ..._TOKEN for STRATEGY_ENGINE, MARKET, USER_MANAGEMENT,
NOTIFICATION and REPORTING, and ALLUSE_COUNTERPARTY_MARKET_SECRET. A token or secret may be
`file:PATH`. A system without a URL is not configured: its operations answer 503
`integration_unavailable`, and everything else works. What is wrong is refused before the port
opens.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from reference_impl.config import Settings, StartRefusedError

from .breakers import Rules

PREFIX = "ALLUSE_COUNTERPARTY_"
STRATEGY_ENGINE = "strategy-engine"
MARKET = "market"
USER_MANAGEMENT = "user-management"
NOTIFICATION = "notification"
REPORTING = "reporting"
LATENCY_BUDGET_MS = 100
"""What a call may take when its system answers at once: the network and this program."""
BUDGET_MS_MAX = 10_000
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is always true of a system, wherever it is."""

    name: str
    purpose: str
    critical: bool = False
    """Whether this deployment is not ready while the system is away."""
    fallback: str | None = None
    """What is done without it."""
    signs: bool = False
    """Whether it signs callbacks, so that a secret is needed."""


KINDS = (
    Kind(
        name=STRATEGY_ENGINE,
        purpose="strategies of accounts, their execution and results",
        fallback="associations and results as last known; executions wait",
    ),
    Kind(
        name=MARKET,
        purpose="orders, executions and positions",
        fallback="no new orders; those taken wait, with their money held; positions as booked",
        signs=True,
    ),
    Kind(
        name=USER_MANAGEMENT,
        purpose="identity tokens and the keys to check them",
        fallback="keys as last fetched; logins with a password",
    ),
    Kind(
        name=NOTIFICATION,
        purpose="events for people and other systems",
        fallback="events wait in the outbox",
    ),
    Kind(
        name=REPORTING,
        purpose="copies of finished reports",
        fallback="reports wait; they can be fetched here",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What an operator may choose about all systems together."""

    timeout_ms: int = 2_000
    retries_max: int = 2
    failure_threshold: int = 3
    window_s: int = 30
    open_s: int = 10
    half_open_max: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One integration point of this deployment."""

    kind: Kind
    timing: Timing
    url: str = ""
    """Empty: not configured."""
    token: str = field(default="", repr=False)
    secret: bytes = field(default=b"", repr=False)
    """Key of the callbacks' signatures."""

    @property
    def name(self) -> str:
        """The name in the API, in metrics and in the outbound contracts."""
        return self.kind.name

    @property
    def configured(self) -> bool:
        """Whether there is somewhere to call."""
        return bool(self.url)

    @property
    def rules(self) -> Rules:
        """What opens and closes its breaker."""
        timing = self.timing
        return Rules(
            failure_threshold=timing.failure_threshold,
            window_s=timing.window_s,
            slow_ms=max(timing.timeout_ms // 2, 1),
            open_s=timing.open_s,
            half_open_max=timing.half_open_max,
            lease_ms=timing.timeout_ms + 1_000,
        )

    @property
    def budget_ms(self) -> int:
        """All attempts of a call together, with the waits between them."""
        timing = self.timing
        return min(timing.timeout_ms * (timing.retries_max + 1) + 1_000, BUDGET_MS_MAX)


class Registry:
    """The five integration points."""

    def __init__(self, points: Mapping[str, Point]) -> None:
        """Keep the points by name."""
        self._points = MappingProxyType(dict(points))

    def __iter__(self) -> Iterator[Point]:
        """Yield the points in the order of `KINDS`."""
        return iter(self._points.values())

    def __getitem__(self, name: str) -> Point:
        """Return a point; KeyError if there is no such system."""
        return self._points[name]

    def get(self, name: str) -> Point | None:
        """Return a point, if there is such a system."""
        return self._points.get(name)


def timing(settings: Settings) -> Timing:
    """Return what the operator chose."""
    return Timing(
        timeout_ms=settings.call_timeout_ms,
        retries_max=settings.call_retries,
        failure_threshold=settings.breaker_failures,
        window_s=settings.breaker_window_s,
        open_s=settings.breaker_open_s,
        half_open_max=settings.breaker_trials,
    )


def variable(name: str, what: str) -> str:
    """Return the environment variable for one fact about a system."""
    return f"{PREFIX}{name.upper().replace('-', '_')}_{what}"


def load(environment: Mapping[str, str], timing: Timing | None = None) -> Registry:
    """Read and validate what the environment says.

    Raises StartRefusedError with one line: the variable, what is wrong with it, and the way out;
    never the value of a token or secret.
    """
    timing = timing or Timing()
    known = {variable(kind.name, what) for kind in KINDS for what in ("URL", "TOKEN")}
    known |= {variable(kind.name, "SECRET") for kind in KINDS if kind.signs}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            raise StartRefusedError(
                f"{name}: no such setting; choose from {', '.join(sorted(known))}"
            )
    return Registry({kind.name: _point(kind, environment, timing) for kind in KINDS})


def _point(kind: Kind, environment: Mapping[str, str], timing: Timing) -> Point:
    names = {what: variable(kind.name, what) for what in ("URL", "TOKEN", "SECRET")}
    url = environment.get(names["URL"], "").strip()
    if not url:
        for what in ("TOKEN", "SECRET"):
            if environment.get(names[what]):
                raise StartRefusedError(f"{names[what]} is set without {names['URL']}: set both")
        return Point(kind=kind, timing=timing)
    check_url(names["URL"], url)
    token = _referenced(names["TOKEN"], environment)
    if not _TOKEN.fullmatch(token):
        raise StartRefusedError(
            f"{names['TOKEN']}: give the token that this system asks for, 1 to 4096 visible"
            " ASCII characters, or file:PATH of one"
        )
    secret = b""
    if kind.signs:
        secret = _key(names["SECRET"], _referenced(names["SECRET"], environment))
    return Point(kind=kind, timing=timing, url=url.rstrip("/"), token=token, secret=secret)


def check_url(setting: str, url: str) -> None:
    """Refuse what is not the address of a server, and plain HTTP beyond this machine."""
    fix = "give a URL such as https://market.example:8443"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise StartRefusedError(f"{setting}: {error}; {fix}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise StartRefusedError(f"{setting}: not an http or https URL with a host; {fix}")
    if parts.username is not None or parts.query or parts.fragment or port == 0:
        raise StartRefusedError(f"{setting}: has a user, query, fragment or port 0; {fix}")
    if not re.fullmatch(r"[\x21-\x7e]+", url):
        raise StartRefusedError(f"{setting}: has a blank or a character beyond ASCII; {fix}")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise StartRefusedError(
            f"{setting}: a token would cross the network in the clear; use https"
        )


def _referenced(setting: str, environment: Mapping[str, str]) -> str:
    given = environment.get(setting, "")
    if not given.startswith("file:"):
        return given
    try:
        return Path(given.removeprefix("file:")).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartRefusedError(f"{setting}: {error}; name a readable text file") from error


def _key(setting: str, text: str) -> bytes:
    fix = "give whsec_ and 24 to 64 bytes in base64, or file:PATH of that"
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise StartRefusedError(f"{setting}: not base64; {fix}") from error
    if not text.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise StartRefusedError(f"{setting}: not a secret of Standard Webhooks; {fix}")
    return key
