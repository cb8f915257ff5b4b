"""Resources under /dashboards: the pages, their data, the way in and out, and the static files."""

import hashlib
from pathlib import Path

import flask
from flask import request

from reference_impl import access, config, idempotency, sessions, web
from reference_impl.clock import text
from reference_impl.problems import Problem

from . import entry, figures, pages, reads, samples
from .panels import Page

blueprint = flask.Blueprint("dashboards", __name__, template_folder="templates")

RANGES_S = {"300": "5 minutes", "900": "15 minutes", "3600": "1 hour"}
RANGE_DEFAULT_S = "900"
STATIC = {
    "dashboards.css": "text/css; charset=utf-8",
    "values.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "login.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""Served to everybody: the login page needs them, and they say nothing."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def install(app: flask.Flask, shared: web.Services) -> None:
    """Serve the dashboards and, in a server, keep their history."""
    app.register_blueprint(blueprint)
    samples.keep(app.extensions["alluse.background"], shared)


@blueprint.get("/dashboards")
def front() -> flask.Response:
    """Lead to the first page."""
    return see(f"/dashboards/{pages.PAGES[0].id}")


@blueprint.get("/dashboards/login")
def login_page() -> flask.Response:
    """Show the login page."""
    return html("dashboards/login.html")


@blueprint.post("/dashboards/session")
def open_session() -> flask.Response:
    """Exchange an access token, sent as a header, for the cookie."""
    if "Authorization" not in request.headers:
        raise Problem("token_missing", "Send Authorization: Bearer <token>.")
    found = entry.caller()
    return entry.admit(flask.Response(status=204), found)


@blueprint.delete("/dashboards/session")
def close_session() -> flask.Response:
    """End the session that the cookie stands for, and take the cookie back."""
    found = entry.caller()

    def change(tx: web.Tx) -> idempotency.Reply:
        sessions.end(tx, found.session_id, "logout")
        return idempotency.Reply(status=204, body=b"", headers={}, target=found.session_id)

    return entry.dismiss(web.write(found, "logout", change, once=False))


@blueprint.get("/dashboards/<page_id>")
def show(page_id: str) -> flask.Response:
    """Show a page, or lead to the login."""
    try:
        found = entry.caller()
    except Problem as problem:
        if problem.kind.status == 401:
            return see("/dashboards/login")
        raise
    page = need(page_id)
    answer = html(
        "dashboards/page.html",
        page=page,
        pages=pages.PAGES,
        ranges=RANGES_S,
        chosen=RANGE_DEFAULT_S,
        every_ms=int(samples.EVERY_S * 1000),
        viewer=found.user_id,
    )
    return entry.renew(answer, found)


@blueprint.get("/dashboards/<page_id>/data")
def data(page_id: str) -> flask.Response:
    """Return the figures of a page; `range_s` is one of RANGES_S."""
    found = entry.caller()
    page = need(page_id)
    wanted = request.args.get("range_s", RANGE_DEFAULT_S)
    if wanted not in RANGES_S:
        raise Problem("validation_failed", f"range_s is one of {', '.join(RANGES_S)}.")
    range_s = int(wanted)
    flask.current_app.extensions["alluse.sample"]()
    now = samples.take(web.services())
    kept = samples.history()
    older = [] if kept is None else kept.since(now.at_s - range_s)
    document = figures.document(page, samples.window(older, now))
    document |= {
        "page": page.id,
        "at": text(int(now.at_s * 1000)),
        "range_s": range_s,
        "exponents": dict(config.CURRENCIES),
        "tables": {part.id: reads.table(found, part) for part in page.tables},
    }
    return entry.renew(web.respond_json(document), found)


@blueprint.get("/dashboards/static/<name>")
def static(name: str) -> flask.Response:
    """Return a file that the pages load."""
    if name not in STATIC:
        raise access.not_found("file")
    content = Path(__file__).with_name("static").joinpath(name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"Content-Type": STATIC[name], "Cache-Control": "no-cache", "ETag": tag}
    return web.not_modified(tag) or flask.Response(content, headers=headers)


def need(page_id: str) -> Page:
    """Return a page, or 404."""
    page = pages.BY_ID.get(page_id)
    if page is None:
        raise access.not_found("dashboard")
    return page


def html(template: str, **values: object) -> flask.Response:
    """Return a page under a policy that lets nothing foreign and nothing inline run."""
    content = flask.render_template(template, **values)
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY}
    return flask.Response(content, headers=headers)


def see(path: str) -> flask.Response:
    """Lead to another page."""
    return flask.Response(status=303, headers={"Location": path})
