"""What the API itself answers to the viewer of a page: the rows of the tables.

The operation is called inside this process as the API serves it, with an access token of the
viewer's own session: so a table shows what this viewer may read, and an operation that this
deployment lacks is told as such.
"""

from collections.abc import Iterator
from typing import Any

import flask
import msgspec
from flask import current_app, g, request
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from reference_impl import access, config, tokens, web

from .panels import Column, Table

TEXT_MAX = 200
"""Longer texts are cut: a table is for looking at."""
ROWS_MAX = 50


def table(caller: access.Caller, wanted: Table) -> dict[str, Any]:
    """Return the rows of a table, or why there are none."""
    answer = call(caller, wanted.read)
    try:
        document = msgspec.json.decode(answer.get_data())
    except msgspec.DecodeError:
        document = {}
    found = document.get(wanted.rows) if isinstance(document, dict) else None
    if found is None:
        return {"unavailable": why(answer.status_code, document)}
    picked = [[cell(row, column) for column in wanted.columns] for row in rows(found)]
    return {"rows": picked[:ROWS_MAX], "left_out": max(len(picked) - ROWS_MAX, 0)}


def call(caller: access.Caller, path: str) -> flask.Response:
    """Answer a GET of the API as this caller."""
    shared = web.services()
    token = tokens.issue(
        shared.token_secret,
        user_id=caller.user_id,
        session_id=caller.session_id,
        now_ms=shared.clock.now_ms(),
    )
    headers = Headers({"Authorization": f"Bearer {token}", "X-Request-Id": g.request_id})
    environ = EnvironBuilder(
        path, headers=headers, environ_base={"REMOTE_ADDR": request.remote_addr or "-"}
    ).get_environ()
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - as Flask says
    with app.request_context(environ):
        answer: flask.Response = app.full_dispatch_request()
    return answer


def why(status: int, document: Any) -> str:
    """Return why an answer has no rows, in words."""
    code = document.get("code") if isinstance(document, dict) else None
    match status, code:
        case 404, "not_found":
            return "Not available: this deployment does not offer it."
        case 403, _:
            return "Not available: your role does not read it."
        case 200, _:
            return "Not available: the answer has no such part."
        case _:
            return f"Not available now: the API answered {status} {code or ''}".rstrip() + "."


def rows(found: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a list, or of an object that has a list for each name."""
    if isinstance(found, dict):
        for name, some in found.items():
            yield from ({"name": name, **one} for one in some)
    else:
        yield from (one for one in found if isinstance(one, dict))


def cell(row: dict[str, Any], column: Column) -> str:
    """Return one cell as text; empty where the row has no such member."""
    holder: Any = row
    *way, last = column.path.split(".")
    for step in way:
        holder = holder.get(step) if isinstance(holder, dict) else None
    value = holder.get(last) if isinstance(holder, dict) else None
    if value is None:
        return ""
    if column.form == "money":
        return money(value, holder.get("currency"))
    if column.form == "yes":
        return "yes" if value is True else "no"
    if column.form == "observed":
        return observed(value, holder.get("observedUnit", ""))
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"


def observed(value: Any, unit: str) -> str:
    """Return what a health check measured; bytes as GiB."""
    if unit == "By" and isinstance(value, int | float):
        return f"{value / 2**30:,.1f} GiB"
    return f"{value} {unit}".strip()


def money(value: Any, currency: Any) -> str:
    """Return an amount in the currency's own unit; `value` is minor units or a Money object."""
    if isinstance(value, dict):
        value, currency = value.get("amount"), value.get("currency")
    if not isinstance(value, int) or currency not in config.CURRENCIES:
        return ""
    exponent = config.CURRENCIES[currency]
    whole, part = divmod(abs(value), 10**exponent)
    sign = "-" if value < 0 else ""
    fraction = f".{part:0{exponent}d}" if exponent else ""
    return f"{sign}{whole:,}{fraction} {currency}"
