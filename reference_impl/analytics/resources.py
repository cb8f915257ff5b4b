"""GET /v1/accounts/{id}/analytics/{report} and /v1/systems/{id}/analytics/{report}."""

import re
from collections.abc import Callable
from datetime import UTC
from typing import Any

import flask
import msgspec

from reference_impl import clock, listing, requests, web
from reference_impl.access import Caller, Rank
from reference_impl.problems import bad_parameter

from . import documents, line, subjects
from .window import Asked, WindowError

blueprint = flask.Blueprint("analytics", __name__)

Need = Callable[[web.Tx, Caller, str], tuple[subjects.Subject, list[str]]]


def instant(name: str, value: str) -> int:
    """Read a moment as milliseconds since 1970."""
    try:
        # Into UTC first: an offset can lead out of the calendar.
        return clock.milliseconds(msgspec.convert(value, requests.Instant).astimezone(UTC))
    except (msgspec.ValidationError, OverflowError):
        raise bad_parameter(name, "a date-time of RFC 3339 with its offset") from None


def periods(name: str, value: str) -> int:
    """Read a horizon."""
    if not re.fullmatch(r"[0-9]{1,3}", value) or not 1 <= int(value) <= line.HORIZON_MAX:
        raise bad_parameter(name, f"a whole number from 1 to {line.HORIZON_MAX}")
    return int(value)


def answer(subject_id: str, report: str, need: Need) -> flask.Response:
    """Answer with a report of a subject that the caller sees."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    listing.one_of(*documents.REPORTS)("report", report)
    allowed: dict[str, listing.Parse] = {"from": instant, "to": instant}
    if report == "prediction":
        allowed["horizon"] = periods
    given = listing.parameters(allowed)
    asked = Asked(start_ms=given.get("from"), end_ms=given.get("to"))
    terms = (asked, given.get("horizon", line.HORIZON_DEFAULT))
    with web.snapshot() as tx:
        try:
            shown: dict[str, Any] = documents.report(
                tx, need(tx, caller, subject_id), report, terms
            )
        except WindowError as error:
            raise bad_parameter(error.name, error.detail) from None
    return web.respond_json(shown)


@blueprint.get("/v1/accounts/<account_id>/analytics/<report>")
def get_analytics(account_id: str, report: str) -> flask.Response:
    """Return a report of one account."""
    return answer(account_id, report, subjects.need_account)


@blueprint.get("/v1/systems/<system_id>/analytics/<report>")
def get_system_analytics(system_id: str, report: str) -> flask.Response:
    """Return a report of a system: its accounts and all that grew out of them, as one."""
    return answer(system_id, report, subjects.need_system)
