"""Which exchanges a report shows: those of undecided and failed cases, few and short."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from markupsafe import escape

from certification.model import OUTCOME_RANK, CaseResult, Exchange, Outcome, Severity
from certification.report.replay import curl
from certification.report.text import duration_text, shortened
from certification.report.view import ExchangeView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from certification.results import CheckResult

CASES_PER_CHECK: Final = 5
CASES_IN_ALL: Final = 300
EXCHANGES_PER_CASE: Final = 6
BODY_CHARACTERS: Final = 3_000
URL_CHARACTERS: Final = 2_000
HEADERS_SHOWN: Final = 40
REPORT_CHARACTERS: Final = 600_000
"""What all exchanges may take together once escaped; a broken target cannot swell the report."""

TROUBLE: Final = frozenset({Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE})
CaseKey = tuple[str, str]
"""Check id and case name."""
SEVERITY_ORDER: Final = tuple(Severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownExchanges:
    """The exchanges of one case that a report shows, and how many it leaves out."""

    views: tuple[ExchangeView, ...] = ()
    omitted: int = 0


@dataclass(slots=True, kw_only=True)
class _Gathered:
    """What has been read of one case so far; only its last attempt is kept."""

    cited: frozenset[int]
    attempt: int = 0
    seen: int = 0
    kept: list[Exchange] = field(default_factory=list)
    recent: deque[Exchange] = field(default_factory=lambda: deque(maxlen=EXCHANGES_PER_CASE))

    def take(self, exchange: Exchange) -> None:
        """Keep an exchange that a finding cites; of the others only the latest."""
        if exchange.attempt > self.attempt:
            self.attempt, self.seen = exchange.attempt, 0
            self.kept.clear()
            self.recent.clear()
        self.seen += 1
        if exchange.number in self.cited:
            if len(self.kept) < EXCHANGES_PER_CASE:
                self.kept.append(_clipped(exchange))
        elif not self.cited:
            self.recent.append(_clipped(exchange))

    @property
    def shown(self) -> list[Exchange]:
        """The cited exchanges, or the last ones where no finding cites any."""
        return self.kept or list(self.recent)


def wanted_cases(checks: Iterable[CheckResult]) -> dict[CaseKey, frozenset[int]]:
    """Return the cases whose exchanges are worth reading, most severe first, and what they cite."""
    order = sorted(
        (check for check in checks if check.outcome in TROUBLE),
        key=lambda check: (
            -OUTCOME_RANK[check.outcome],
            SEVERITY_ORDER.index(check.check.severity),
        ),
    )
    wanted: dict[CaseKey, frozenset[int]] = {}
    for check in order:
        for case in worst_first(check.cases)[:CASES_PER_CHECK]:
            if case.outcome in TROUBLE and len(wanted) < CASES_IN_ALL:
                numbers = (number for finding in case.findings for number in finding.exchanges)
                wanted[(case.check, case.case)] = frozenset(numbers)
    return wanted


def worst_first(cases: Iterable[CaseResult]) -> list[CaseResult]:
    """Return cases with the worst outcome first, otherwise in the order they ran."""
    return sorted(cases, key=lambda case: -OUTCOME_RANK[case.outcome])


def wants(wanted: Mapping[CaseKey, frozenset[int]]) -> Callable[[str, str, int], bool]:
    """Return the filter that reads only the exchanges of `wanted` from an evidence file."""
    return lambda check, case, _attempt: (check, case) in wanted


def shown_exchanges(
    wanted: Mapping[CaseKey, frozenset[int]], exchanges: Iterable[Exchange]
) -> dict[CaseKey, ShownExchanges]:
    """Return what a report shows of each wanted case; reads `exchanges` once, in any order.

    Memory stays bounded by the limits above, whatever the evidence file holds.
    """
    gathered = {key: _Gathered(cited=cited) for key, cited in wanted.items()}
    for exchange in exchanges:
        case = gathered.get((exchange.check, exchange.case))
        if case is not None and exchange.attempt >= case.attempt:
            case.take(exchange)
    shown: dict[CaseKey, ShownExchanges] = {}
    left = REPORT_CHARACTERS
    for key, case in gathered.items():
        views: list[ExchangeView] = []
        for exchange in case.shown:
            view = exchange_view(exchange)
            left -= sum(len(escape(text)) for text in (view.sent, view.came_back, view.curl))
            if left < 0:
                break
            views.append(view)
        shown[key] = ShownExchanges(views=tuple(views), omitted=case.seen - len(views))
    return shown


def _clipped(exchange: Exchange) -> Exchange:
    """Return the exchange without the part of its answer that is never printed."""
    body = exchange.response_body
    headers = exchange.response_headers[:HEADERS_SHOWN]
    return replace(
        exchange,
        url=exchange.url[:URL_CHARACTERS],
        response_headers=tuple((name[:200], value[:1000]) for name, value in headers),
        response_body=None if body is None else shortened(body, BODY_CHARACTERS),
    )


def exchange_view(exchange: Exchange) -> ExchangeView:
    """Return one exchange as text."""
    body = exchange.request_body
    sent = _message(
        f"{exchange.method} {exchange.url}",
        exchange.request_headers[:HEADERS_SHOWN],
        None if body is None else shortened(body, BODY_CHARACTERS),
    )
    first = exchange.error or "no answer"
    if exchange.status is not None:
        first = f"{exchange.status}" + (f" ({exchange.error})" if exchange.error else "")
    return ExchangeView(
        attempt=exchange.attempt,
        number=exchange.number,
        identity=exchange.identity,
        operation=exchange.operation or "",
        sent=sent,
        came_back=_message(first, exchange.response_headers, exchange.response_body),
        elapsed=duration_text(exchange.elapsed_ms),
        curl=curl(exchange, body_limit=BODY_CHARACTERS),
    )


def _message(first: str, headers: Iterable[tuple[str, str]], body: str | None) -> str:
    """Return a message as it would look on the wire."""
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    if body:
        lines += ["", body]
    return "\n".join(lines)
