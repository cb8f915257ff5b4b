"""A report's answer: subject, window, method and figures, put together."""

from typing import Any

from reference_impl import web
from reference_impl.clock import text
from reference_impl.config import CURRENCIES
from reference_impl.problems import Problem

from . import line, performance, reading, risk
from .figures import Figure
from .series import CLASSES
from .subjects import Subject
from .window import PERIOD_S, Asked, Window, check, choose, end

REPORTS = ("performance", "risk", "trend", "prediction")
NAMES = {
    "performance": performance.NAME,
    "risk": risk.NAME,
    "trend": line.TREND,
    "prediction": line.PREDICTION,
}
VALUE = "the sum of the amounts of all buckets of all accounts of the subject, in minor units"
MOVEMENTS = (
    "the sum of the entries of one transaction; its class follows from the kind, a reversal has"
    " the class of the transaction in reverses_id"
)
PERIODS = "24 hours each, from `from`; an entry belongs to the period of its effective_at"
ROUNDING = (
    "once, half to even, to the scale of the figure; null for an undefined value or |x| >= 1e30"
)


def report(
    tx: web.Tx, subject: tuple[Subject, list[str]], name: str, terms: tuple[Asked, int]
) -> dict[str, Any]:
    """Return a report; `terms` are the window as asked and the horizon.

    Raises Problem `insufficient_history`, and WindowError.
    """
    about, members = subject
    asked, horizon = terms
    check(asked, tx.now_ms)
    found = reading.find(tx.connection, about, reading.end_of_book(tx.connection))
    if found is None or found.first_ms >= end(asked, tx.now_ms):
        raise short("There is no entry before the end of the window.")
    window = choose(asked, tx.now_ms, found.first_ms)
    read = reading.read(tx.connection, about, window, found)
    shown: dict[str, Any] = {
        "report": name,
        "subject": {"type": about.type, "id": about.id},
        "accounts": members,
        "currency": about.currency,
        "exponent": CURRENCIES[about.currency],
        "as_of_seq": found.last.seq,
        "as_of_line_no": found.last.line,
        "entries": read.entries,
        "window": window_shown(window, read.series.first),
        "method": method(name),
    }
    match name:
        case "performance":
            figures: list[Figure] | None = performance.figures(read.series)
        case "risk":
            exposure = reading.exposure(tx.connection, about, window, found)
            figures = risk.figures(read.series, exposure)
        case "trend":
            outcome = line.trend(read.series.points())
            figures, way = outcome or (None, "")
            shown |= {"direction": way, "direction_rule": line.DIRECTION_RULE}
        case _:
            figures = line.prediction(read.series.points(), horizon)
            shown["statement"] = line.STATEMENT
    if figures is None:
        raise short(f"A {name} needs more periods than there are since the first entry.")
    return {**shown, "figures": {figure.name: figure.shown() for figure in figures}}


def short(detail: str) -> Problem:
    """Return the refusal of too short a history."""
    return Problem("insufficient_history", detail)


def window_shown(window: Window, first: int) -> dict[str, Any]:
    """Return the wire form of a window."""
    return {
        "from": text(window.start_ms),
        "to": text(window.end_ms),
        "period_s": PERIOD_S,
        "periods": window.periods,
        "first_period": first,
    }


def method(name: str) -> dict[str, Any]:
    """Return how the figures of a report come about."""
    return {
        "name": NAMES[name],
        "value": VALUE,
        "movements": MOVEMENTS,
        "classes": dict(CLASSES),
        "periods": PERIODS,
        "rounding": ROUNDING,
    }
